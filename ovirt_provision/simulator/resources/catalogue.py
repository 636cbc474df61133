"""What the engine comes with and nobody changes: operating systems, instance types, cluster levels…"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ovirt_provision.simulator import defaults, faults, markup
from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, collection, links, reference
from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import Template
from ovirt_provision.simulator.markup import Element, node
from ovirt_provision.simulator.search import Field, Fields

routes = Routes()


def _fixed(
    path: str,
    tag: str,
    rows: Callable[[], Sequence[Any]],
    render: Callable[[Any], Element],
    fields: Fields | None = None,
) -> None:
    """A collection that can be read; the id of a row is that of its rendering."""

    @routes.add("GET", path)
    def _list(request: Request) -> Reply:
        return collection(request, tag, rows(), render, fields)

    @routes.add("GET", f"{path}/{{item}}")
    def _show(_request: Request, item: str) -> Reply:
        for row in rows():
            element = render(row)
            if element.get("id") == item:
                return Reply(200, element)
        raise faults.not_found()


def _operating_system(row: Sequence[Any]) -> Element:
    number, name, description, architecture, large_icon, small_icon, tpm = row
    return node(
        "operating_system",
        None,
        node("name", name),
        node("description", description),
        node("architecture", architecture),
        reference("large_icon", "/icons", large_icon) if large_icon else None,
        reference("small_icon", "/icons", small_icon) if small_icon else None,
        node("tpm_support", tpm),
        href=f"{BASE}/operatingsystems/{number}",
        id=str(number),
    )


_OF_INSTANCE_TYPE = (
    "cpu",
    "display",
    "high_availability",
    "io",
    "memory",
    "memory_policy",
    "migration",
    "migration_downtime",
    "os",
    "placement_policy",
    "usb",
)


def _instance_type_config(row: Sequence[Any]) -> Element:
    _, _, _, mebibytes, sockets = row
    config = defaults.vm_config(memory=mebibytes << 20, cpus=sockets)
    for place, text in (("display/type", "spice"), ("io/threads", "0")):
        markup.set_text(config, place, text)
    for parent, tag in (("cpu", "architecture"), ("os", "type")):
        element = config.find(parent)
        if element is not None:
            element[:] = [child for child in element if child.tag != tag]
    return config


def instance_types_as_templates() -> Mapping[str, Template]:
    """The templates that the engine keeps instance types as, by id.

    Source: `GetVmTemplateByVmtGuid` in the engine's database does not tell them apart.
    """
    return {
        row[0]: Template(
            row[0], row[1], None, _instance_type_config(row), _INSTANCE_TYPES_MADE, row[0], description=row[2]
        )
        for row in load("instance_types")
    }


_INSTANCE_TYPES_MADE = datetime(2014, 5, 4, 21, tzinfo=UTC)


def _instance_type(row: Sequence[Any]) -> Element:
    identity, name, description, _, _ = row
    path = f"/instancetypes/{identity}"
    return node(
        "instance_type",
        None,
        node("name", name),
        node("description", description),
        *links(path, ["watchdogs", "graphicsconsoles", "nics"]),
        node("creation_time", _INSTANCE_TYPES_MADE),
        *(child for child in _instance_type_config(row) if child.tag in _OF_INSTANCE_TYPE),
        href=BASE + path,
        id=identity,
    )


_HARDWARE = ("cpu", "high_availability", "io", "memory", "memory_policy", "migration_downtime", "usb")


def hardware_of(instance_type: str) -> Element:
    """What a VM takes from its instance type, as the configuration of a VM; raises the engine's fault when
    there is none with this id. Its display is left out.

    Source: `VmMapper.doMapVmBaseHwPartToVmStatic` of the engine.
    """
    for row in load("instance_types"):
        if row[0] == instance_type:
            config = _instance_type(row)
            return node("config", None, *(child for child in config if child.tag in _HARDWARE))
    raise faults.entity_not_found("GetInstanceType")


def _permit(row: Sequence[Any]) -> Element:
    number, name, administrative = row
    return node("permit", None, node("name", name), node("administrative", administrative), id=str(number))


def _cluster_level(item: tuple[str, Sequence[Sequence[Any]]]) -> Element:
    version, cpus = item
    types = [
        node(
            "cpu_type",
            None,
            node("architecture", architecture),
            node("level", level),
            node("name", name),
        )
        for architecture, level, name in cpus
    ]
    return node(
        "cluster_level",
        None,
        node("cpu_types", None, *types),
        node("permits", None, *(_permit(row) for row in load("permits"))),
        href=f"{BASE}/clusterlevels/{version}",
        id=version,
    )


def _scheduling_policy(row: Sequence[Any]) -> Element:
    identity, name, properties = row
    path = f"/schedulingpolicies/{identity}"
    return node(
        "scheduling_policy",
        None,
        node("name", name),
        *links(path, ["filters", "weights", "balances"]),
        node("default_policy", name == "none"),
        node("locked", "true"),
        node("properties", None, *(_property(key, value) for key, value in properties.items())),
        href=BASE + path,
        id=identity,
    )


def _property(name: str, value: str) -> Element:
    return node("property", None, node("name", name), node("value", value))


# One picture for all: a single transparent point.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def _icons() -> list[str]:
    return sorted({icon for row in load("operating_systems") for icon in row[4:6] if icon})


def _icon(identity: str) -> Element:
    return node(
        "icon",
        None,
        node("data", _PNG),
        node("media_type", "image/png"),
        href=f"{BASE}/icons/{identity}",
        id=identity,
    )


_NAME: Fields = {"name": Field(lambda row: row[1], free_text=True)}

_fixed("/operatingsystems", "operation_systems", lambda: list(load("operating_systems")), _operating_system)
_fixed("/icons", "icons", _icons, _icon)
_fixed("/instancetypes", "instance_types", lambda: list(load("instance_types")), _instance_type, _NAME)
_fixed("/clusterlevels", "cluster_levels", lambda: list(load("cluster_levels").items()), _cluster_level)
_fixed(
    "/schedulingpolicies",
    "scheduling_policies",
    lambda: list(load("scheduling_policies")),
    _scheduling_policy,
)


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@routes.add("GET", "/options/{option}")
def show_option(request: Request, option: str) -> Reply:
    """Options that are not in the table are unknown here."""
    name = next((name for name in load("options") if name.lower() == option), "")
    found = load("options").get(name)
    if found is None:
        raise faults.not_found()
    wanted = request.query.get("version")
    values = [
        node("system_option_value", None, node("value", _option(value)), node("version", version))
        for version, value in found.items()
        if wanted in (None, version)
    ]
    return Reply(
        200,
        node(
            "system_option",
            None,
            node("name", name),
            node("values", None, *values),
            href=f"{BASE}/options/{name}",
            id=name,
        ),
    )


def _empty(path: str, tag: str) -> None:
    @routes.add("GET", path)
    def _list(request: Request) -> Reply:
        return collection(request, tag, [], lambda row: row)


_empty("/bookmarks", "bookmarks")
_empty("/externalhostproviders", "external_host_providers")
_empty("/openstackimageproviders", "openstack_image_providers")
_empty("/openstacknetworkproviders", "openstack_network_providers")
_empty("/openstackvolumeproviders", "openstack_volume_providers")
