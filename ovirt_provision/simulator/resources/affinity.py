"""Affinity groups and labels. The scheduler heeds neither: there is little choice among simulated hosts."""

from collections.abc import Mapping
from typing import Any

from ovirt_provision.simulator import faults, markup
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
    require_id,
)
from ovirt_provision.simulator.entities import AffinityGroup, AffinityLabel, new_id
from ovirt_provision.simulator.faults import Fault
from ovirt_provision.simulator.markup import Element, find_text, node, set_text
from ovirt_provision.simulator.world import World

routes = Routes()

_MEMBERS = {
    "vms": ("vms", "vm", "vms"),
    "hosts": ("hosts", "host", "hosts"),
    "vmlabels": ("vm_labels", "affinity_label", "affinitylabels"),
    "hostlabels": ("host_labels", "affinity_label", "affinitylabels"),
}
"""What is in a group: list, element and home collection by the name of the link."""

_RULE = ("enabled", "enforcing", "positive")


def _table(world: World, home: str) -> Mapping[str, Any]:
    tables: Mapping[str, Mapping[str, Any]] = {
        "vms": world.vms,
        "hosts": world.hosts,
        "affinitylabels": world.affinity_labels,
    }
    return tables[home]


# Groups


def render_group(group: AffinityGroup) -> Element:
    path = f"/clusters/{group.cluster.id}/affinitygroups/{group.id}"
    vms_rule = markup.required(group.config, "vms_rule")
    members = [
        node(tag, None, *(reference(element, f"/{home}", one) for one in group.members[tag]))
        for tag, element, home in _MEMBERS.values()
    ]
    return node(
        "affinity_group",
        None,
        node("name", group.name),
        node("description", group.description) if group.description is not None else None,
        *links(path, _MEMBERS),
        node("broken", "false"),
        node("enforcing", find_text(vms_rule, "enforcing")),
        node("positive", find_text(vms_rule, "positive")),
        *markup.without(group.config, ()),
        reference("cluster", "/clusters", group.cluster.id),
        *members,
        href=BASE + path,
        id=group.id,
    )


def _find_group(request: Request, cluster: str, group: str) -> AffinityGroup:
    found: AffinityGroup = find_or_404(request.world.affinity_groups, group)
    if found.cluster.id != cluster:
        raise faults.not_found()
    return found


def _apply(group: AffinityGroup, body: Element) -> None:
    group.name = find_text(body, "name") or group.name
    group.description = find_text(body, "description", group.description)
    own = ("name", "description", "enforcing", "positive", *(tag for tag, _, _ in _MEMBERS.values()))
    markup.merge(group.config, markup.without(body, own))
    # The way before there were rules: it is about VMs.
    for tag in ("enforcing", "positive"):
        text = find_text(body, tag)
        if text is not None and body.find("vms_rule") is None:
            set_text(group.config, f"vms_rule/{tag}", text)
            set_text(group.config, "vms_rule/enabled", "true")
    for rule in ("vms_rule", "hosts_rule"):
        for tag in _RULE:
            if group.config.find(f"{rule}/{tag}") is None:
                set_text(group.config, f"{rule}/{tag}", "false")
    if group.config.find("priority") is None:
        set_text(group.config, "priority", 1)
    for tag, element, _ in _MEMBERS.values():
        if body.find(tag) is not None:
            group.members[tag] = [one.get("id", "") for one in body.iterfind(f"{tag}/{element}")]


@routes.add("GET", "/clusters/{cluster}/affinitygroups")
def list_groups(request: Request, cluster: str) -> Reply:
    rows = [one for one in request.world.affinity_groups.values() if one.cluster.id == cluster]
    return collection(request, "affinity_groups", rows, render_group)


@routes.add("POST", "/clusters/{cluster}/affinitygroups")
def add_group(request: Request, cluster: str) -> Reply:
    world = request.world
    found = find_or_404(world.clusters, cluster)
    body = request.body("affinity_group", "add")
    name = find_text(body, "name")
    if any(group.name == name for group in world.affinity_groups.values()):
        raise faults.engine_fault("affinity group name used", action="add Affinity Group")
    group = AffinityGroup(new_id(), "", found, node("affinity_group"))
    _apply(group, body)
    world.affinity_groups[group.id] = group
    return created(render_group(group))


@routes.add("GET", "/clusters/{cluster}/affinitygroups/{group}")
def show_group(request: Request, cluster: str, group: str) -> Reply:
    return Reply(200, render_group(_find_group(request, cluster, group)))


@routes.add("PUT", "/clusters/{cluster}/affinitygroups/{group}")
def update_group(request: Request, cluster: str, group: str) -> Reply:
    found = _find_group(request, cluster, group)
    _apply(found, request.body("affinity_group", "update"))
    return Reply(200, render_group(found))


@routes.add("DELETE", "/clusters/{cluster}/affinitygroups/{group}")
def remove_group(request: Request, cluster: str, group: str) -> Reply:  # noqa: ARG001
    if request.world.affinity_groups.pop(group, None) is None:
        raise Fault(
            400,
            'cannot invoke "org.ovirt.engine.core.common.scheduling.affinitygroup.getvmlabels()" because '
            '"ag" is null',
        )
    return complete()


def _add_member_routes(link: str) -> None:
    tag, element, home = _MEMBERS[link]
    kind = {"vm": "VM", "host": "Host", "affinity_label": "Label"}[element]
    path = f"/clusters/{{cluster}}/affinitygroups/{{group}}/{link}"

    @routes.add("GET", path)
    def list_members(request: Request, cluster: str, group: str) -> Reply:
        found = _find_group(request, cluster, group)
        table = _table(request.world, home)
        rows = [one for one in found.members[tag] if one in table]

        def render(one: str) -> Element:
            return node(element, node("name", table[one].name), href=f"{BASE}/{home}/{one}", id=one)

        return collection(request, home if element != "affinity_label" else "affinity_labels", rows, render)

    @routes.add("POST", path)
    def add_member(request: Request, cluster: str, group: str) -> Reply:
        found = _find_group(request, cluster, group)
        body = request.body(element, "add")
        given = body.get("id")
        if not given:
            raise faults.server_error("java.lang.NullPointerException")
        wanted = require_id(given)
        if wanted in found.members[tag]:
            raise faults.engine_fault("affinity member twice", action="edit Affinity Group", kind=kind)
        if wanted not in _table(request.world, home):
            raise faults.engine_fault("affinity member missing", kind=kind)
        found.members[tag].append(wanted)
        return Reply(200, body)

    @routes.add("DELETE", f"{path}/{{member}}")
    def remove_member(request: Request, cluster: str, group: str, member: str) -> Reply:
        found = _find_group(request, cluster, group)
        if member not in found.members[tag]:
            raise faults.engine_fault("affinity member invalid", action="edit Affinity Group", kind=kind)
        found.members[tag].remove(member)
        return complete()


for _link in _MEMBERS:
    _add_member_routes(_link)


# Labels


def render_label(label: AffinityLabel, *, linked: bool = True) -> Element:
    path = f"/affinitylabels/{label.id}"
    return node(
        "affinity_label",
        None,
        node("name", label.name),
        *(links(path, ["hosts", "vms"]) if linked else []),
        node("has_implicit_affinity_group", label.implicit),
        node("read_only", "false"),
        href=BASE + path,
        id=label.id,
    )


@routes.add("GET", "/affinitylabels")
def list_labels(request: Request) -> Reply:
    return collection(request, "affinity_labels", list(request.world.affinity_labels.values()), render_label)


@routes.add("POST", "/affinitylabels")
def add_label(request: Request) -> Reply:
    world = request.world
    body = request.body("affinity_label", "add")
    name = find_text(body, "name") or ""
    if any(label.name == name for label in world.affinity_labels.values()):
        raise faults.engine_fault("affinity label name used")
    label = AffinityLabel(new_id(), name, markup.find_bool(body, "has_implicit_affinity_group", False))
    world.affinity_labels[label.id] = label
    return created(render_label(label))


@routes.add("GET", "/affinitylabels/{label}")
def show_label(request: Request, label: str) -> Reply:
    return Reply(200, render_label(find_or_404(request.world.affinity_labels, label)))


@routes.add("PUT", "/affinitylabels/{label}")
def update_label(request: Request, label: str) -> Reply:
    found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
    body = request.body("affinity_label", "update")
    found.name = find_text(body, "name") or found.name
    found.implicit = markup.find_bool(body, "has_implicit_affinity_group", found.implicit)
    return Reply(200, render_label(found))


@routes.add("DELETE", "/affinitylabels/{label}")
def remove_label(request: Request, label: str) -> Reply:
    found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
    if any(found.members.values()):
        raise faults.engine_fault("affinity label in use")
    del request.world.affinity_labels[label]
    return complete()


def _add_label_routes(owners: str, element: str) -> None:
    """The members of a label, and the labels of a member."""

    @routes.add("GET", f"/affinitylabels/{{label}}/{owners}")
    def list_labelled(request: Request, label: str) -> Reply:
        found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
        rows = found.members[owners]
        return collection(request, owners, rows, lambda one: reference(element, f"/{owners}", one))

    @routes.add("POST", f"/affinitylabels/{{label}}/{owners}")
    def label_one(request: Request, label: str) -> Reply:
        found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
        wanted = require_id(request.body(element, "add").get("id", ""))
        if wanted not in _table(request.world, owners):
            raise faults.entity_not_found(wanted)
        if wanted not in found.members[owners]:
            found.members[owners].append(wanted)
        return Reply(200, reference(element, f"/{owners}", wanted))

    @routes.add("GET", f"/affinitylabels/{{label}}/{owners}/{{member}}")
    def show_labelled(request: Request, label: str, member: str) -> Reply:
        found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
        if member not in found.members[owners]:
            raise faults.not_found()
        return Reply(200, reference(element, f"/{owners}", member))

    @routes.add("DELETE", f"/affinitylabels/{{label}}/{owners}/{{member}}")
    def unlabel(request: Request, label: str, member: str) -> Reply:
        return _unlabel(request, label, owners, member)

    @routes.add("GET", f"/{owners}/{{member}}/affinitylabels")
    def list_labels_of(request: Request, member: str) -> Reply:
        rows = [one for one in request.world.affinity_labels.values() if member in one.members[owners]]
        return collection(request, "affinity_labels", rows, render_label)

    @routes.add("POST", f"/{owners}/{{member}}/affinitylabels")
    def add_label_to(request: Request, member: str) -> Reply:
        find_or_404(_table(request.world, owners), member)
        wanted = require_id(request.body("affinity_label", "add").get("id", ""))
        found = request.world.affinity_labels.get(wanted)
        if found is None:
            raise faults.entity_not_found(wanted)
        if member not in found.members[owners]:
            found.members[owners].append(member)
        return created(render_label(found, linked=False))

    @routes.add("GET", f"/{owners}/{{member}}/affinitylabels/{{label}}")
    def show_label_of(request: Request, member: str, label: str) -> Reply:
        found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
        if member not in found.members[owners]:
            raise faults.not_found()
        return Reply(200, render_label(found))

    @routes.add("DELETE", f"/{owners}/{{member}}/affinitylabels/{{label}}")
    def remove_label_of(request: Request, member: str, label: str) -> Reply:
        return _unlabel(request, label, owners, member)


def _unlabel(request: Request, label: str, owners: str, member: str) -> Reply:
    found: AffinityLabel = find_or_404(request.world.affinity_labels, label)
    if member not in found.members[owners]:
        raise faults.not_found()
    found.members[owners].remove(member)
    return complete()


_add_label_routes("vms", "vm")
_add_label_routes("hosts", "host")
