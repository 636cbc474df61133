"""What the engine asks of who calls, and what it shows to who is no administrator.

Source: `getPermissionCheckSubjects` of the engine's commands, `ActionType`, and of its database
`fn_get_entity_parents`, `get_entity_permissions` and the views `user_…_permissions_view`. Recorded are the
403 of an action, the 404 of a VM that is not to be seen and the 400 of the list of jobs. Profiles of disks
and CPUs, MAC pools and quotas, which everyone may use at first, are not looked at. What only administrators
may change asks for the permit `configure_engine` here, whatever it is.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Attachment,
    Cluster,
    DataCenter,
    Disk,
    Event,
    Host,
    Network,
    Permission,
    StorageDomain,
    Target,
    Template,
    User,
    Vm,
    VnicProfile,
)
from ovirt_provision.simulator.markup import Element, find_text, reference_of
from ovirt_provision.simulator.world import World

if TYPE_CHECKING:
    from ovirt_provision.simulator.api import Request


@dataclass(frozen=True)
class Need:
    """A permit, and on what: None is on everything."""

    permit: str
    target: Target | None


def parents(world: World, target: Target | None) -> set[Target | None]:
    """What a permission can be on to hold for `target`: that itself, and all that it lies in."""
    found: set[Target | None] = {None, target}
    if target is None:
        return found
    kind, identity = target
    entity: Any = _table(world, kind).get(identity)
    if kind == "vms" and entity is not None:
        found |= parents(world, ("clusters", entity.cluster.id))
    elif kind == "templates" and entity is not None and entity.attachments:
        found.add(("datacenters", entity.attachments[0].disk.domain.data_center.id))
    elif kind in ("hosts", "vmpools") and entity is not None:
        found |= parents(world, ("clusters", entity.cluster.id))
    elif kind in ("clusters", "storagedomains", "networks") and entity is not None:
        found.add(("datacenters", entity.data_center.id))
    elif kind == "vnicprofiles" and entity is not None:
        found |= parents(world, ("networks", entity.network.id)) | {(kind, "")}
    elif kind == "disks" and entity is not None:
        found |= parents(world, ("storagedomains", entity.domain.id))
        for vm in world.holders(entity):
            found |= {("vms", vm.id), ("clusters", vm.cluster.id)}
    return found


def _table(world: World, kind: str) -> Mapping[str, Any]:
    tables: Mapping[str, Mapping[str, Any]] = {
        "vms": world.vms,
        "templates": world.templates,
        "disks": world.disks,
        "clusters": world.clusters,
        "datacenters": world.data_centers,
        "storagedomains": world.domains,
        "networks": world.networks,
        "vnicprofiles": world.profiles,
        "hosts": world.hosts,
        "vmpools": world.pools,
    }
    return tables.get(kind, {})


def is_permitted(world: World, user: User, need: Need) -> bool:
    """Whether a role of the user, or of everyone, permits it there."""
    places = parents(world, need.target)
    return any(
        need.permit in world.roles[one.role].permits
        for one in world.permissions.values()
        if one.user in (user, None) and one.target in places
    )


# What each call asks for


def check(request: "Request", pattern: str, ids: Mapping[str, str]) -> None:
    """Raises the engine's refusal when who asks has not all that a call needs.

    `pattern` is the path with `{name}` for ids, which are in lower case.
    """
    world, user = request.world, request.user
    if user is None or request.method in ("GET", "OPTIONS") or world.rules(user):
        return
    needs = list(_needs(request, re.sub(r"{\w+}", "{}", pattern), [one.lower() for one in ids.values()]))
    if not all(is_permitted(world, user, need) for need in needs):
        raise faults.engine_fault("not authorized")


def _needs(request: "Request", pattern: str, ids: Sequence[str]) -> Iterable[Need]:
    call = f"{request.method} {pattern}"
    rule = _RULES.get(call)
    if rule is not None:
        return rule(request, ids)
    for place, (kind, permit) in _BELOW.items():
        if re.fullmatch(place, call):
            return [Need(permit, (kind, ids[0]) if kind and ids else None)]
    return [Need("configure_engine", None)]


_Rule = Callable[["Request", Sequence[str]], Iterable[Need]]

_VM_ACTIONS = {
    "start": "run_vm",
    "stop": "stop_vm",
    "shutdown": "shut_down_vm",
    "reboot": "reboot_vm",
    "reset": "reset_vm",
    "suspend": "hibernate_vm",
    "migrate": "migrate_vm",
    "cancelmigration": "migrate_vm",
    "clone": "create_vm",
    "reordermacaddresses": "create_vm",
    "detach": "edit_vm_pool_configuration",
    "export": "import_export_vm",
    "(logon|ticket|screenshot|graphicsconsoles/{}/.*)": "connect_to_vm",
    "(previewsnapshot|commitsnapshot|undosnapshot|snapshots|snapshots/{}/restore)": "manipulate_vm_snapshots",
    "(freezefilesystems|thawfilesystems)": "configure_vm_storage",
    "nics/.*": "configure_vm_network",
}

# By what the call is, below an object of a kind, or of none: the first that matches.
_BELOW: Mapping[str, tuple[str, str]] = {
    **{f"POST /vms/{{}}/{action}": ("vms", permit) for action, permit in _VM_ACTIONS.items()},
    r"\w+ .*/tags(/{})?": ("", "tag_management"),
    r"\w+ .*/?affinitylabels(/.*)?": ("", "tag_management"),
    "DELETE /vms/{}/snapshots/{}": ("vms", "manipulate_vm_snapshots"),
    "DELETE /vms/{}/nics/{}.*": ("vms", "configure_vm_network"),
    "DELETE /vms/{}": ("vms", "delete_vm"),
    r"\w+ /vms/{}/permissions.*": ("vms", "manipulate_permissions"),
    r"\w+ /vms/{}(/.*)?": ("vms", "edit_vm_properties"),
    "DELETE /templates/{}": ("templates", "delete_template"),
    r"\w+ /templates/{}/nics.*": ("templates", "configure_template_network"),
    r"\w+ /templates/{}/permissions.*": ("templates", "manipulate_permissions"),
    r"\w+ /templates/{}(/.*)?": ("templates", "edit_template_properties"),
    "DELETE /disks/{}": ("disks", "delete_disk"),
    "POST /disks/{}/sparsify": ("disks", "sparsify_disk"),
    "POST /disks/{}/reduce": ("disks", "reduce_disk"),
    r"\w+ /disks/{}/permissions.*": ("disks", "manipulate_permissions"),
    r"\w+ /disks/{}(/.*)?": ("disks", "edit_disk_properties"),
    "DELETE /vmpools/{}": ("vmpools", "delete_vm_pool"),
    "PUT /vmpools/{}": ("vmpools", "edit_vm_pool_configuration"),
    "POST /vmpools/{}/allocatevm": ("vmpools", "vm_pool_basic_operations"),
    r"\w+ /clusters/{}/affinitygroups.*": ("clusters", "manipulate_affinity_groups"),
    "POST /events": ("", "inject_external_events"),
    "POST /jobs.*": ("", "inject_external_tasks"),
    **{
        rf"\w+ /{kind}/{{}}/permissions.*": (kind, "manipulate_permissions")
        for kind in (
            "clusters",
            "datacenters",
            "storagedomains",
            "networks",
            "vnicprofiles",
            "hosts",
            "vmpools",
        )
    },
    r"\w+ (/users/{})?/permissions.*": ("", "manipulate_permissions"),
}


def _create_vm(request: "Request", _ids: Sequence[str]) -> Iterator[Need]:
    world, body = request.world, request.body("vm", "add")
    cluster = _referred(world.clusters, body.find("cluster"))
    if cluster is None:
        return
    yield Need("create_vm", ("clusters", cluster.id))
    snapshot_id = reference_of(body, "snapshots/snapshot")
    if snapshot_id:
        for vm in world.vms.values():
            for snapshot in vm.snapshots:
                if snapshot.id == snapshot_id.lower():
                    yield from _create_disks(snapshot.attachments, body)
                    yield Need("create_vm", ("vms", vm.id))
        return
    template = _referred_template(world, body.find("template"))
    if template is None or template.id == ZERO_ID:
        return
    if request.view is not None and not request.view.shows("templates", template.id):
        raise faults.entity_not_found("GetVmTemplate")
    yield Need("create_vm", ("templates", template.id))
    yield from _create_disks(template.attachments, body)
    if body.find("cpu/cpu_tune") is not None:
        yield Need("edit_admin_vm_properties", ("clusters", cluster.id))


def _create_disks(attachments: Sequence[Attachment], body: Element) -> Iterator[Need]:
    """On the storage domain of each disk: that of its source, or what the body says of it."""
    said = {
        key.lower(): reference_of(disk, "storage_domains/storage_domain")
        for disk in body.iterfind("disk_attachments/disk_attachment/disk")
        if (key := disk.get("id") or find_text(disk, "image_id"))
    }
    for one in attachments:
        domain = said.get(one.disk.id) or said.get(one.disk.image_id) or one.disk.domain.id
        yield Need("create_disk", ("storagedomains", domain))


def _create_template(request: "Request", _ids: Sequence[str]) -> Iterator[Need]:
    world, body = request.world, request.body("template", "add")
    source: Vm | None = _referred(world.vms, body.find("vm"))
    if source is not None and request.view is not None and not request.view.shows("vms", source.id):
        raise faults.entity_not_found(source.id)
    cluster = _referred(world.clusters, body.find("cluster")) or (source.cluster if source else None)
    if cluster is not None:
        yield Need("create_template", ("datacenters", cluster.data_center.id))


def _create_disk(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    body = request.body("disk", "add")
    domain = _referred(request.world.domains, body.find("storage_domains/storage_domain"))
    place = ids[0] if ids else domain.id if domain is not None else None
    yield Need("create_disk", ("storagedomains", place) if place is not None else None)


def _attach_disk(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    yield Need("configure_vm_storage", ("vms", ids[0]))
    disk = request.body("disk_attachment", "add").find("disk")
    if disk is None:
        return
    attached = disk.get("id")
    if attached:
        yield Need("attach_disk", ("disks", attached.lower()))
        return
    domain = _referred(request.world.domains, disk.find("storage_domains/storage_domain"))
    yield Need("create_disk", ("storagedomains", domain.id) if domain is not None else None)


def _edit_attachment(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    yield Need("edit_disk_properties", ("disks", ids[1]))
    if request.body("disk_attachment", "update").find("active") is not None:
        yield Need("configure_vm_storage", ("vms", ids[0]))


def _remove_attachment(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    if request.flag("detach_only", default=True):
        yield Need("configure_vm_storage", ("vms", ids[0]))
    else:
        yield Need("delete_disk", ("disks", ids[1]))


def _export_template(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    domain = request.body("action", "export").find("storage_domain")
    if domain is None:
        yield Need("import_export_vm", ("templates", ids[0]))
        return
    found = _referred(request.world.domains, domain)
    yield Need("import_export_vm", ("storagedomains", found.id) if found is not None else None)


def _copy_disk(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
    yield Need("configure_disk_storage", ("disks", ids[0]))
    domain = _referred(request.world.domains, request.body("action", "copy").find("storage_domain"))
    if domain is not None:
        yield Need("create_disk", ("storagedomains", domain.id))


def _connect_nic(kind: str, permit: str) -> _Rule:
    def rule(request: "Request", ids: Sequence[str]) -> Iterator[Need]:
        yield Need(permit, (kind, ids[0]))
        body = request.body("nic", "add" if request.method == "POST" else "update")
        profile = reference_of(body, "vnic_profile").lower()
        owner: Vm | Template | None = _table(request.world, kind).get(ids[0])
        nics = owner.nics if owner is not None else []
        old = next((one.profile for one in nics if one.id == ids[-1]), None)
        if profile and (old is None or old.id != profile):
            yield Need(permit, ("vnicprofiles", profile))

    return rule


def _transfer(request: "Request", _ids: Sequence[str]) -> Iterator[Need]:
    body = request.body("image_transfer", "add")
    disk = reference_of(body, "disk") or reference_of(body, "image")
    if disk:
        yield Need("edit_disk_properties", ("disks", disk.lower()))


def _steer_transfer(_request: "Request", _ids: Sequence[str]) -> Iterator[Need]:
    """Whatever is transferred, since the engine looks only whether it is told a storage domain, which the API
    does not. Source: `TransferImageStatusCommand`."""
    yield Need("create_disk", None)


def _create_pool(request: "Request", _ids: Sequence[str]) -> Iterator[Need]:
    world, body = request.world, request.body("vm_pool", "add")
    cluster = _referred(world.clusters, body.find("cluster"))
    template = _referred_template(world, body.find("template"))
    if cluster is not None:
        yield Need("create_vm_pool", ("clusters", cluster.id))
    if template is not None:
        yield Need("create_vm", ("templates", template.id))


_RULES: Mapping[str, _Rule] = {
    "POST /vms": _create_vm,
    "POST /templates": _create_template,
    "POST /templates/{}/export": _export_template,
    "POST /disks": _create_disk,
    "POST /storagedomains/{}/disks": _create_disk,
    "POST /disks/{}/copy": _copy_disk,
    "POST /disks/{}/move": _copy_disk,
    "POST /vms/{}/diskattachments": _attach_disk,
    "PUT /vms/{}/diskattachments/{}": _edit_attachment,
    "DELETE /vms/{}/diskattachments/{}": _remove_attachment,
    "POST /vms/{}/nics": _connect_nic("vms", "configure_vm_network"),
    "PUT /vms/{}/nics/{}": _connect_nic("vms", "configure_vm_network"),
    "POST /templates/{}/nics": _connect_nic("templates", "configure_template_network"),
    "PUT /templates/{}/nics/{}": _connect_nic("templates", "configure_template_network"),
    "POST /imagetransfers": _transfer,
    **{
        f"POST /imagetransfers/{{}}/{action}": _steer_transfer
        for action in ("cancel", "extend", "finalize", "pause", "resume")
    },
    "POST /vmpools": _create_pool,
}


def _referred(table: Mapping[str, Any], element: Element | None) -> Any:
    """What an element of a body means by id or name; None when there is no such thing."""
    if element is None:
        return None
    given, name = element.get("id"), find_text(element, "name")
    if given:
        return table.get(given.lower())
    return next((one for one in table.values() if one.name == name), None)


def _referred_template(world: World, element: Element | None) -> Template | None:
    if element is not None and not element.get("id"):
        return next(iter(world.templates_named(find_text(element, "name") or "")), None)
    found: Template | None = _referred(world.templates, element)
    return found


# What who makes something may do with it


def give_to_maker(request: "Request", pattern: str, made: Element) -> None:
    """Gives who has made a VM, a template or a disk the roles on it that the engine gives."""
    world, user = request.world, request.user or request.world.admin
    call, identity = f"{request.method} {pattern}", made.get("id", "")
    if call == "POST /vms":
        vm = world.vms.get(identity)
        if vm is None:
            return
        if request.view is not None or not is_permitted(
            world, user, Need("manipulate_permissions", ("vms", vm.id))
        ):
            world.give("UserVmManager", user, ("vms", vm.id))
        for one in vm.attachments:
            world.give("DiskOperator", user, ("disks", one.disk.id))
    elif call == "POST /templates":
        for role in ("TemplateOwner", "UserTemplateBasedVm"):
            world.give(role, user, ("templates", identity))
    elif call in _MAKES_DISK and not reference_of(request.body(*_MAKES_DISK[call]), "disk"):
        world.give("DiskOperator", user, ("disks", identity))


_MAKES_DISK = {
    "POST /disks": ("disk", "add"),
    "POST /storagedomains/{domain}/disks": ("disk", "add"),
    "POST /vms/{vm}/diskattachments": ("disk_attachment", "add"),
}
"""The calls that make a disk, the last one unless it names one; and what they take."""


# What who is no administrator is shown


class View:
    """What someone is shown by the roles that they have, or everyone has; not by those of administrators."""

    def __init__(self, world: World, user: User) -> None:
        self._world = world
        own = [one for one in world.permissions.values() if one.user in (user, None)]
        own = [one for one in own if not world.roles[one.role].administrative]
        self._on = _by_kind(own)
        self._below = _by_kind(one for one in own if world.roles[one.role].shows_children)
        self._direct = {one.target for one in own if one.user is user and one.target is not None}
        self._vms: list[Vm] = [world.vms[one] for one in self._on["vms"] if one in world.vms]
        self._templates = [world.templates[one] for one in self._on["templates"] if one in world.templates]

    def shows(self, kind: str, identity: str) -> bool:
        """Whether an object of a collection is shown. Of some collections everything is."""
        if kind not in _SHOWN:
            return True
        entity = _table(self._world, kind).get(identity)
        return entity is not None and _SHOWN[kind](self, entity)

    def shows_event(self, event: Event) -> bool:
        """The events of what someone was given a role on, be it by making it, are shown."""
        for name, (identity, _) in event.refs.items():
            kind = _KINDS.get(name, "")
            if (kind, identity) in self._direct and self.shows(kind, identity or ""):
                return True
        return False

    def _under(self, cluster: Cluster | None) -> bool:
        below = self._below
        return bool(below[""]) or (
            cluster is not None
            and (cluster.id in below["clusters"] or cluster.data_center.id in below["datacenters"])
        )

    def _shows_vm(self, vm: Vm) -> bool:
        return vm.id in self._on["vms"] or self._under(vm.cluster)

    def _shows_template(self, template: Template) -> bool:
        return (
            template.id in self._on["templates"]
            or any(vm.template is template for vm in self._vms)
            or bool(self._below[""])
            or (
                template.cluster is not None and template.cluster.data_center.id in self._below["datacenters"]
            )
        )

    def _shows_disk(self, disk: Disk) -> bool:
        below = self._below
        return (
            disk.id in self._on["disks"]
            or bool(below[""])
            or any(one.id in below["storagedomains"] for one in disk.domains)
            or any(one.data_center.id in below["datacenters"] for one in disk.domains)
            or disk.id in self._disks_of_holders
        )

    @functools.cached_property
    def _disks_of_holders(self) -> set[str]:
        world = self._world
        holders: list[Vm | Template] = [
            *(vm for vm in world.vms.values() if self._shows_vm(vm)),
            *(template for template in world.templates.values() if self._shows_template(template)),
        ]
        return {one.disk.id for holder in holders for one in holder.attachments}

    def _shows_cluster(self, cluster: Cluster) -> bool:
        return (
            bool(self._on[""])
            or cluster.id in self._on["clusters"]
            or cluster.data_center.id in self._on["datacenters"]
            or any(vm.cluster is cluster for vm in self._vms)
            or any(template.cluster is cluster for template in self._templates)
        )

    def _shows_data_center(self, center: DataCenter) -> bool:
        clusters = [one for one in self._world.clusters.values() if one.data_center is center]
        return (
            bool(self._on[""])
            or center.id in self._on["datacenters"]
            or any(one.id in self._on["clusters"] for one in clusters)
            or any(vm.cluster in clusters for vm in self._vms)
        )

    def _shows_domain(self, domain: StorageDomain) -> bool:
        center = domain.data_center
        return (
            bool(self._on[""])
            or domain.id in self._on["storagedomains"]
            or center.id in self._on["datacenters"]
            or any(vm.cluster.data_center is center for vm in self._vms)
            or any(domain in one.disk.domains for each in self._templates for one in each.attachments)
        )

    def _shows_profile(self, profile: VnicProfile) -> bool:
        below, network = self._below, profile.network
        return (
            bool(below[""])
            or not self._on["vnicprofiles"].isdisjoint((profile.id, ""))
            or network.id in below["networks"]
            or network.data_center.id in below["datacenters"]
            or any(
                network in one.networks
                for one in self._world.clusters.values()
                if one.id in below["clusters"]
            )
        )

    def _shows_network(self, network: Network) -> bool:
        return any(
            self._shows_profile(one) for one in self._world.profiles.values() if one.network is network
        )

    def _shows_host(self, host: Host) -> bool:
        cluster = host.cluster
        return (
            bool(self._on[""])
            or host.id in self._on["hosts"]
            or cluster.id in self._on["clusters"]
            or cluster.data_center.id in self._on["datacenters"]
        )


_SHOWN: Mapping[str, Callable[[View, Any], bool]] = {
    "vms": View._shows_vm,
    "templates": View._shows_template,
    "disks": View._shows_disk,
    "clusters": View._shows_cluster,
    "datacenters": View._shows_data_center,
    "storagedomains": View._shows_domain,
    "vnicprofiles": View._shows_profile,
    "networks": View._shows_network,
    "hosts": View._shows_host,
}
_KINDS = {
    "vm": "vms",
    "template": "templates",
    "host": "hosts",
    "data_center": "datacenters",
    "storage_domain": "storagedomains",
    "cluster": "clusters",
}


def _by_kind(permissions: Iterable[Permission]) -> Mapping[str, set[str]]:
    """Ids of their objects by collection; a permission on everything stands under no name."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in permissions:
        kind, identity = one.target or ("", "everything")
        found[kind].add(identity)
    return found
