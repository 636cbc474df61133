"""What the engine comes with: operating systems, instance types, cluster levels, options…"""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from ovirt_provision.simulator import faults, machine_config
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import Template, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.search import Field
from ovirt_provision.simulator.world import World, instance_type_config

routes = Routes()


def _fixed(
    path: str,
    tag: str,
    rows: Callable[[], Sequence[Any]],
    render: Callable[[Any], Element],
) -> None:
    """A collection that can be read; the id of a row is that of its rendering."""

    @routes.add("GET", path)
    def _list(request: Request) -> Reply:
        return collection(request, tag, rows(), render)

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


def _render_instance_type(instance_type: Template) -> Element:
    path = f"/instancetypes/{instance_type.id}"
    return node(
        "instance_type",
        None,
        node("name", instance_type.name),
        node("description", instance_type.description),
        *links(path, ["watchdogs", "graphicsconsoles", "nics"]),
        node("creation_time", instance_type.created),
        *(copy.deepcopy(child) for child in instance_type.config if child.tag in _OF_INSTANCE_TYPE),
        href=BASE + path,
        id=instance_type.id,
    )


@routes.add("GET", "/instancetypes")
def list_instance_types(request: Request) -> Reply:
    rows = sorted(request.world.instance_types.values(), key=lambda one: one.name)
    fields = {"name": Field(lambda one: one.name, free_text=True)}
    return collection(request, "instance_types", rows, _render_instance_type, fields)


@routes.add("GET", "/instancetypes/{key}")
def show_instance_type(request: Request, key: str) -> Reply:
    return Reply(200, _render_instance_type(find_or_404(request.world.instance_types, key)))


@routes.add("POST", "/instancetypes")
def add_instance_type(request: Request) -> Reply:
    """Not recorded: what it says is judged, here and below."""
    world = request.world
    body = request.body("instance_type", "add")
    made = Template(new_id(), "", None, instance_type_config(1 << 30, 1), world.now, "")
    _change_instance_type(request, made, body, "add Instance Type", creates=True)
    world.instance_types[made.id] = made
    return created(_render_instance_type(made))


@routes.add("PUT", "/instancetypes/{key}")
def update_instance_type(request: Request, key: str) -> Reply:
    found: Template = find_or_404(request.world.instance_types, key)
    body = request.body("instance_type", "update")
    _change_instance_type(request, found, body, "edit Instance Type", creates=False)
    return Reply(200, _render_instance_type(found))


def _change_instance_type(
    request: Request, one: Template, body: Element, action: str, *, creates: bool
) -> None:
    name = find_text(body, "name") or one.name
    others = [other for other in request.world.instance_types.values() if other is not one]
    if any(other.name == name for other in others):
        raise faults.engine_fault("name in use", action=action, type="Instance Type")
    request.number(body, "memory", "add" if creates else "update")
    config = copy.deepcopy(one.config)
    machine_config.apply(config, body, action, creates=creates)
    one.name, one.config = name, config
    one.description = find_text(body, "description", one.description) or ""


@routes.add("DELETE", "/instancetypes/{key}")
def remove_instance_type(request: Request, key: str) -> Reply:
    """VMs that were made of it stay as they are, without it."""
    world = request.world
    find_or_404(world.instance_types, key)
    del world.instance_types[key]
    for vm in world.vms.values():
        if vm.instance_type == key:
            vm.instance_type = None
    return complete()


_HARDWARE = ("cpu", "high_availability", "io", "memory", "memory_policy", "migration_downtime", "usb")


def hardware_of(world: World, instance_type: str) -> Element:
    """What a VM takes from its instance type, as the configuration of a VM; raises the engine's fault when
    there is none with this id. Its display is left out.

    Source: `VmMapper.doMapVmBaseHwPartToVmStatic` of the engine.
    """
    found = world.instance_types.get(instance_type)
    if found is None:
        raise faults.entity_not_found("GetInstanceType")
    return node("config", None, *(copy.deepcopy(one) for one in found.config if one.tag in _HARDWARE))


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


_fixed("/operatingsystems", "operation_systems", lambda: list(load("operating_systems")), _operating_system)
_fixed("/icons", "icons", _icons, _icon)
_fixed("/clusterlevels", "cluster_levels", lambda: list(load("cluster_levels").items()), _cluster_level)
_fixed(
    "/schedulingpolicies",
    "scheduling_policies",
    lambda: list(load("scheduling_policies")),
    _scheduling_policy,
)


def _properties() -> dict[str, dict[str, str]]:
    """The custom properties that VMs may have. There are none but the engine's own."""
    own = ";".join(f"{name}=^{pattern}$" for name, pattern in machine_config.CUSTOM_PROPERTIES.items())
    versions = list(load("cluster_levels"))
    return {
        "PredefinedVMProperties": dict.fromkeys(versions, own),
        "UserDefinedVMProperties": dict.fromkeys(versions, ""),
    }


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@routes.add("GET", "/options/{option}")
def show_option(request: Request, option: str) -> Reply:
    """Options that are not in the table are unknown here."""
    table = {**load("options"), **_properties()}
    name = next((name for name in table if name.lower() == option), "")
    found = table.get(name)
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
