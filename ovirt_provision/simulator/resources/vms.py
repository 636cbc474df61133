"""`/vms`: making, changing, running and removing VMs."""

import copy
import functools
import operator
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lxml import etree

from ovirt_provision.simulator import defaults, faults, machine_config, markup, storage
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    complete,
    created,
    find_or_404,
    links,
    reference,
    require_id,
)
from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Cluster,
    Disk,
    Job,
    Nic,
    StorageDomain,
    Template,
    Vm,
    new_id,
)
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node, reference_of, required
from ovirt_provision.simulator.power import reported
from ovirt_provision.simulator.resources.catalogue import hardware_of
from ovirt_provision.simulator.resources.disks import check_unlocked, copy_disks
from ovirt_provision.simulator.resources.lookups import (
    find_cluster,
    find_domain,
    find_template,
    resolve_hosts,
)
from ovirt_provision.simulator.resources.quotas import chosen_quota, quota_ids
from ovirt_provision.simulator.resources.tags import with_descendants
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = [
    "reboot",
    "migrate",
    "ticket",
    "undosnapshot",
    "screenshot",
    "cancelmigration",
    "commitsnapshot",
    "clone",
    "freezefilesystems",
    "logon",
    "maintenance",
    "previewsnapshot",
    "autopincpuandnumanodes",
    "reordermacaddresses",
    "thawfilesystems",
    "shutdown",
    "start",
    "stop",
    "suspend",
    "reset",
    "export",
    "detach",
]
LINKS = [
    "diskattachments",
    "cdroms",
    "mediateddevices",
    "watchdogs",
    "graphicsconsoles",
    "numanodes",
    "nics",
    "katelloerrata",
    "permissions",
    "tags",
    "affinitylabels",
    "snapshots",
    "applications",
    "hostdevices",
    "reporteddevices",
    "sessions",
    "backups",
    "checkpoints",
    "statistics",
]

_CONSOLE_PORT = 5900

_STATUSES = frozenset(
    [
        "unassigned",
        "down",
        "up",
        "poweringup",
        "paused",
        "migratingfrom",
        "migratingto",
        "unknown",
        "notresponding",
        "waitforlaunch",
        "rebootinprogress",
        "savingstate",
        "restoringstate",
        "suspended",
        "imageillegal",
        "imagelocked",
        "poweringdown",
    ]
)


def fields(world: World) -> Fields:
    return {
        "name": Field(operator.attrgetter("name"), free_text=True),
        "comment": Field(lambda vm: vm.comment, free_text=True),
        "description": Field(lambda vm: vm.description, free_text=True),
        "status": Field(operator.attrgetter("status"), Kind.STATUS, values=_STATUSES),
        "id": Field(lambda vm: vm.id, Kind.ID),
        "vm.id": Field(lambda vm: vm.id, Kind.ID),
        "host": Field(lambda vm: vm.host.name if vm.running and vm.host else None, free_text=True),
        "ip": Field(lambda vm: [ip for nic in reported(world, vm) for ip in nic.addresses]),
        "os": Field(lambda vm: find_text(vm.config, "os/type")),
        "creationdate": Field(lambda vm: vm.created, Kind.TIME),
        "memory": Field(lambda vm: int(find_text(vm.config, "memory") or 0) >> 20, Kind.NUMBER),
        "cluster": Field(lambda vm: vm.cluster.name, free_text=True),
        "cluster.name": Field(lambda vm: vm.cluster.name),
        "datacenter": Field(lambda vm: vm.cluster.data_center.name, free_text=True),
        "tag": Field(
            lambda vm: _tag_names(world, vm),
            Kind.CASED_TEXT,
            unequal=lambda vm: [tag.name for tag in vm.tags],
        ),
        "type": Field(
            lambda vm: find_text(vm.config, "type"), Kind.STATUS, values=frozenset({"desktop", "server"})
        ),
        "template": Field(lambda vm: vm.template.name),
        "template.name": Field(lambda vm: vm.template.name),
        "template.id": Field(lambda vm: vm.template.id, Kind.ID),
        "storage.name": Field(lambda vm: [one.disk.domain.name for one in vm.attachments]),
        "storage": Field(lambda vm: [one.disk.domain.name for one in vm.attachments]),
        "created_by_user_id": Field(lambda _vm: world.user_id, Kind.ID, column="vms.created_by_user_id"),
        "next_run_config_exists": Field(lambda vm: vm.next_run is not None, Kind.BOOLEAN),
        "vcpus": Field(_vcpus, Kind.NUMBER),
    }


def _vcpus(vm: Vm) -> int:
    count = 1
    for part in ("cores", "sockets", "threads"):
        count *= int(find_text(vm.config, f"cpu/topology/{part}") or 1)
    return count


def _tag_names(world: World, vm: Vm) -> list[str]:
    """The tags of the VM and all above them: a search for a tag includes its children."""
    return [
        tag.name for tag in world.tags.values() if any(own in with_descendants(world, tag) for own in vm.tags)
    ]


def render_vm(
    request: Request, vm: Vm, *, all_content: bool = False, creation_id: str | None = None
) -> Element:
    """The VM as the API shows it, arranged."""
    shape, texts = _shown(request, vm, all_content=all_content)
    made = etree.fromstring(_template(shape) % texts)
    for tag in ("description", "comment"):
        if not texts[tag]:
            required(made, tag).text = ""  # which is not the same as no text, in JSON
    if all_content and vm.status != "image_locked":
        initialization = made.find("initialization")
        if initialization is None:
            initialization = node("initialization")
            made.append(initialization)
        initialization.append(machine_config.ovf(vm))
    if creation_id is not None:
        made.extend(_creation(f"/vms/{vm.id}", creation_id))
    if request.view is not None:
        for tag in _OF_HOSTS:
            for element in made.findall(tag):
                made.remove(element)
    return markup.arrange(made) if all_content or creation_id is not None else made


_OF_HOSTS = ("host", "placement_policy")
"""What the filtered view leaves out, and takes from nobody. Source: `removeRestrictedInfo` of the engine."""


def _shown(request: Request, vm: Vm, *, all_content: bool = False) -> tuple["_Shape", dict[str, str]]:
    """What a VM's element is made of: its shape, and as XML the texts that have places in its template."""
    config = vm.next_run if vm.next_run is not None and request.flag("next_run") else vm.config
    host = vm.host if vm.running else None
    shape = _Shape(
        etree.tostring(config),
        all_content,
        vm.running,
        request.world.ca_certificate,
        vm.cluster.id,
        vm.cluster.cpu_profile_id,
        vm.quota_id or vm.cluster.data_center.quota_id,
        bool(reported(request.world, vm)),
        vm.next_run is not None,
        host.id if host is not None else None,
        vm.run_once,
        vm.started is not None,
        vm.status,
        vm.stop_reason,
        vm.stopped is not None,
        vm.instance_type,
        vm.original_template.id,
        vm.template.id,
        vm.pool.id if vm.pool is not None else None,
        # A port that nobody has asked for is not opened for the sake of an element.
        vm.guest.screen.port if vm.guest is not None and vm.guest.screen.is_open else _CONSOLE_PORT,
    )
    texts = {
        "id": vm.id,
        "name": vm.name,
        "description": vm.description,
        "comment": vm.comment,
        "creation_time": vm.created,
        "start_time": vm.started,
        "stop_time": vm.stopped,
        "fqdn": find_text(vm.config, "initialization/host_name") or vm.name,
    }
    return shape, {tag: markup.escape(markup.text_of(value)) for tag, value in texts.items()}


class _Shape(NamedTuple):
    """All that a VM's element is made of but for the texts of `_shown`.

    `config` is XML; `host_id` is None while no host runs the VM.
    """

    config: bytes
    all_content: bool
    running: bool
    certificate: str
    cluster_id: str
    cpu_profile_id: str
    quota_id: str
    reports: bool
    has_next_run: bool
    host_id: str | None
    run_once: bool
    was_started: bool
    status: str
    stop_reason: str | None
    was_stopped: bool
    instance_type: str | None
    original_template_id: str
    template_id: str
    pool_id: str | None
    console_port: int


_SOMEONE = new_id()
"""Stands for the id of a VM while a template is made. As nobody knows it, it means nothing else there."""


# VMs of a farm differ in little, and clients poll them. A template is made of its key alone, so it is never
# out of date; reading it as XML takes a fifth of the time of making the elements.
@functools.lru_cache(maxsize=1024)
def _template(shape: _Shape) -> str:
    """XML with places for `id` and texts, as `%` takes it."""
    path = f"/vms/{_SOMEONE}"
    made = node(
        "vm",
        None,
        actions(path, ACTIONS),
        _place("name"),
        _place("description"),
        _place("comment"),
        *links(path, LINKS),
        _place("creation_time"),
        *machine_config.shown(
            etree.fromstring(shape.config),
            all_content=shape.all_content,
            running=shape.running,
            certificate=shape.certificate,
            console_port=shape.console_port,
        ),
        *machine_config.of_cluster(shape.cluster_id, shape.cpu_profile_id, shape.quota_id),
        *((_place("fqdn"), *markup.parse(_GUEST.strip())) if shape.reports else ()),
        node("next_run_configuration_exists", shape.has_next_run),
        *_run(shape),
        node("status", shape.status),
        node("stop_reason", shape.stop_reason) if shape.stop_reason is not None else None,
        _place("stop_time") if shape.was_stopped else None,
        reference("instance_type", "/instancetypes", shape.instance_type) if shape.instance_type else None,
        reference("original_template", "/templates", shape.original_template_id),
        reference("template", "/templates", shape.template_id),
        reference("vm_pool", "/vmpools", shape.pool_id) if shape.pool_id is not None else None,
        href=BASE + path,
        id=_SOMEONE,
    )
    text = etree.tostring(markup.arrange(made), encoding="unicode").replace("%", "%%")
    return re.sub(rf"{_SOMEONE}@(\w+)", r"%(\1)s", text).replace(_SOMEONE, "%(id)s")


@functools.lru_cache(maxsize=1024)
def _listed_template(shape: _Shape) -> str:
    return markup.member_xml(etree.fromstring(_template(shape)))


def _place(tag: str) -> Element:
    return node(tag, f"{_SOMEONE}@{tag}")


def _run(shape: _Shape) -> list[Element]:
    if shape.host_id is None:
        return []
    return [
        node("run_once", shape.run_once),
        _place("start_time") if shape.was_started else node("start_time"),
        reference("host", "/hosts", shape.host_id),
    ]


_GUEST = b"""
<guest>
  <guest_operating_system>
    <architecture>x86_64</architecture>
    <codename>bookworm</codename>
    <distribution>Debian GNU/Linux</distribution>
    <family>Linux</family>
    <kernel><version><full_version>6.1</full_version><major>6</major><minor>1</minor></version></kernel>
    <version><full_version>12</full_version><major>12</major></version>
  </guest_operating_system>
  <guest_time_zone><name>UTC</name><utc_offset>+00:00</utc_offset></guest_time_zone>
</guest>
"""


def _creation(path: str, creation_id: str) -> list[Element]:
    href = f"{BASE}{path}/creation_status/{creation_id}"
    return [node("creation_status", "pending"), node("link", href=href, rel="creation_status")]


@routes.add("GET", "/vms")
def list_vms(request: Request) -> Reply:
    show_all = request.flag("all_content")

    def write(vm: Vm) -> str:
        shape, texts = _shown(request, vm)
        return _listed_template(shape) % texts

    return collection(
        request,
        "vms",
        request.world.vms.values(),
        lambda vm: render_vm(request, vm, all_content=show_all),
        fields(request.world),
        order=operator.attrgetter("name"),
        arranged=True,
        write=None if show_all or request.view is not None else write,
    )


@routes.add("GET", "/vms/{vm}")
def show_vm(request: Request, vm: str) -> Reply:
    found = find_or_404(request.world.vms, vm)
    return Reply(200, render_vm(request, found, all_content=request.flag("all_content")), arranged=True)


@routes.add("GET", "/vms/{vm}/creation_status/{creation}")
def show_creation(request: Request, vm: str, creation: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    status = find_or_404(found.creation, creation)
    href = f"{BASE}/vms/{vm}/creation_status/{creation}"
    return Reply(200, node("creation", None, node("status", status), href=href, id=creation))


# Making a VM


@routes.add("POST", "/vms")
def add_vm(request: Request) -> Reply:
    world = request.world
    body = _unrestricted(request, request.body("vm", "add"))
    _require(body, "cluster")
    name = find_text(body, "name")
    if not name:
        raise faults.incomplete("Vm", ["name"])
    if body.find("snapshots/snapshot") is not None:
        return _add_from_snapshot(request, body)
    _require(body, "template")
    cluster = find_cluster(world, _element(body, "cluster"))
    template = find_template(world, _element(body, "template"))
    if find_bool(body, "use_latest_template_version", False):
        template = world.templates_named(template.name)[0]
    clone = request.flag("clone")
    action = "add VM"
    chosen = body.get("id")
    vm_id = require_id(chosen) if chosen else ZERO_ID
    config = machine_config.copy_config(template)
    defaults.settle_in_cluster(config)
    instance_type = _instance_type(body)
    if instance_type is not None:
        markup.merge(config, hardware_of(world, instance_type))
    request.number(body, "memory", "add")
    resolve_hosts(world, body)
    machine_config.apply(config, body, action, creates=True)
    description = f"Creating VM {name} in Cluster {cluster.name}"
    if clone:
        description = f"Creating VM {name} from Template {template.name} in Cluster {cluster.name}"
    with world.command(description, request.correlation_id) as job:
        _check_new(request, vm_id, name, action)
        if template.status == "locked" and template.attachments:
            raise faults.engine_fault("template being created", action=action)
        overrides = _overrides(request, body, template)
        _check_overrides(request, overrides, template, clone=clone)
        _check_platform(world, config, cluster)
        quota = reference_of(body, "quota")
        if quota and all(require_id(quota) != one for one in quota_ids(world, cluster.data_center)):
            raise faults.engine_fault("quota missing", action=action)
        for domain in {one.disk.domain.id: one.disk.domain for one in template.attachments}.values():
            storage.check_room(world, domain, action)
        world.execute_job(job)
        base = world.templates[ZERO_ID] if clone else template
        vm = new_vm(world, body, vm_id, cluster, config, base, template)
        vm.instance_type = instance_type
        vm.quota_id = require_id(quota) if quota else None
        give_nics(world, vm, template.nics, action)
        sources = copy_disks(world, vm, template.attachments, overrides, thin=not clone)
        world.vms[vm.id] = vm
        return _build(request, vm, template, sources, job, clone=clone)


def _unrestricted(request: Request, body: Element) -> Element:
    """What the engine takes of a body from who asks."""
    if request.view is not None:
        for element in body.findall("placement_policy"):
            body.remove(element)
    return body


def _instance_type(body: Element) -> str | None:
    given = reference_of(body, "instance_type")
    return require_id(given) if given else None


def _check_new(request: Request, vm_id: str, name: str, action: str) -> None:
    """Refuses an id or a name that is taken, and takes the name's lock."""
    world = request.world
    if vm_id in world.vms and world.vms[vm_id].name != name:
        raise faults.engine_fault("id in use", action=action, type="VM")
    request.hold("vm name", name, action)
    machine_config.check_name(name, action)
    if world.vm_named(name) is not None:
        raise faults.engine_fault("name in use", action=action, type="VM")
    if vm_id in world.templates and vm_id != ZERO_ID:
        raise faults.engine_fault("internal")


def new_vm(
    world: World,
    body: Element,
    vm_id: str,
    cluster: Cluster,
    config: Element,
    template: Template,
    original_template: Template,
) -> Vm:
    """A VM as the body names it, without disks and NICs and not yet in the world."""
    vm = Vm(
        new_id() if vm_id == ZERO_ID else vm_id,
        find_text(body, "name") or "",
        cluster,
        config,
        world.now,
        template,
        original_template,
        find_text(body, "description") or "",
        find_text(body, "comment") or "",
        disc=template.disc,
    )
    vm.stopped = world.now
    return vm


def _add_from_snapshot(request: Request, body: Element) -> Reply:
    """A VM with full copies of a snapshot's disks. That an id of the client's own is honoured is read in the
    engine's source, not recorded."""
    world = request.world
    element = _element(body, "snapshots/snapshot")
    if not element.get("id"):
        raise faults.incomplete("Snapshot", ["id"])
    cluster = find_cluster(world, _element(body, "cluster"))
    wanted = require_id(element.get("id", ""))
    found = [(vm, one) for vm in world.vms.values() for one in vm.snapshots if one.id == wanted]
    if not found:
        raise faults.entity_not_found("")
    ((source, snapshot),) = found
    action = "add VM"
    chosen = body.get("id")
    vm_id = require_id(chosen) if chosen else ZERO_ID
    config = copy.deepcopy(snapshot.config)
    request.number(body, "memory", "add")
    resolve_hosts(world, body)
    machine_config.apply(config, body, action, creates=True)
    name = find_text(body, "name") or ""
    description = f"Creating VM {name} from Snapshot {snapshot.description} in Cluster {cluster.name}"
    with world.command(description, request.correlation_id) as job:
        request.hold("vm", source.id, action)
        _check_new(request, vm_id, name, action)
        check_idle(source, action)
        world.execute_job(job)
        vm = new_vm(world, body, vm_id, cluster, config, world.templates[ZERO_ID], source.original_template)
        give_nics(world, vm, snapshot.nics, action)
        by_image = {
            find_text(disk, "image_id"): disk
            for disk in body.iterfind("disk_attachments/disk_attachment/disk")
        }
        overrides = {
            one.disk.id: by_image[one.disk.image_id]
            for one in snapshot.attachments
            if one.disk.image_id in by_image
        }
        sources = copy_disks(world, vm, snapshot.attachments, overrides, suffix=f"_{vm.name}")
        world.vms[vm.id] = vm
        if not sources:
            world.log(34, vm=vm, job=job)
            return created(render_vm(request, vm, all_content=True))
        world.log(37, vm=vm, job=job)
        request.keep("vm name", vm.name)
        snapshot.status = "locked"
        creation_id = new_id()
        vm.creation[creation_id] = "pending"

        def unlock() -> None:
            snapshot.status = "ok"

        storage.build_vm(world, vm, sources, job, thin=False, creation_id=creation_id, then=unlock)
        return Reply(202, render_vm(request, vm, all_content=True, creation_id=creation_id))


def check_not_busy(vm: Vm, action: str) -> None:
    """Refuses what cannot be done while something is made of the VM or of a snapshot of it."""
    if vm.lock is not None:
        raise faults.engine_fault(vm.lock, action=action, vm=vm.name)
    if any(snapshot.status == "locked" for snapshot in vm.snapshots):
        raise faults.engine_fault("vm during snapshot", action=action)


def check_idle(vm: Vm, action: str) -> None:
    """Refuses what needs the VM's disks while something is made of or with them."""
    check_not_busy(vm, action)
    if vm.status == "image_locked":
        raise faults.engine_fault("vm locked", action=action)
    check_unlocked(vm, action)


def check_at_rest(vm: Vm, action: str) -> None:
    """Refuses what needs the VM to be down and its disks to be free."""
    check_not_busy(vm, action)
    if vm.status != "down":
        raise faults.engine_fault("vm not down", action=action)
    check_unlocked(vm, action)


def default_domain(world: World, cluster: Cluster) -> StorageDomain | None:
    """The active domain for data of the cluster's data center with the most room, of equals the last."""
    own = [one for one in world.domains.values() if one.data_center is cluster.data_center]
    active = [one for one in own if one.status == "active" and one.type == "data"]
    return max(active, key=lambda one: (one.available, one.name), default=None)


def _build(
    request: Request, vm: Vm, template: Template, sources: list[Disk], job: Job, *, clone: bool
) -> Reply:
    world = request.world
    if not sources:
        # Where it would put disks is in the events of a VM without any.
        domain = default_domain(world, vm.cluster) if template.id == ZERO_ID else None
        world.log(34, vm=vm, template=template, domain=domain, job=job)
        if template.id == ZERO_ID:
            world.log(53, vm=vm, template=template, domain=domain, job=job)
        else:
            request.keep("vm name", vm.name)
            world.after(world.timing.lock_tail, lambda _error: world.locks.discard(("vm name", vm.name)))
        return created(render_vm(request, vm, all_content=True))
    world.log(37, vm=vm, template=template, job=job)
    request.keep("vm name", vm.name)
    if clone:
        template.cloning.append(vm.name)
        storage.build_vm(
            world,
            vm,
            sources,
            job,
            thin=False,
            creation_id=None,
            then=lambda: template.cloning.remove(vm.name),
        )
        return created(render_vm(request, vm, all_content=True))
    creation_id = new_id()
    vm.creation[creation_id] = "pending"
    storage.build_vm(world, vm, sources, job, thin=True, creation_id=creation_id)
    return Reply(202, render_vm(request, vm, all_content=True, creation_id=creation_id))


def _element(body: Element, tag: str) -> Element:
    found = body.find(tag)
    assert found is not None
    return found


def _require(body: Element, tag: str) -> None:
    element = body.find(tag)
    if element is None or not (element.get("id") or find_text(element, "name")):
        raise faults.incomplete("Vm", [f"{tag}.id|name"])


def _overrides(request: Request, body: Element, template: Template) -> dict[str, Element]:
    """What the request says about single disks of the template, by their ids."""
    found = {}
    for disk in body.iterfind("disk_attachments/disk_attachment/disk"):
        given = disk.get("id")
        if not given:
            continue
        if require_id(given) not in {one.disk.id for one in template.attachments}:
            raise faults.not_found()
        domain = disk.find("storage_domains/storage_domain")
        if domain is not None and find_domain(request.world, domain) is None:
            raise faults.engine_fault("domain unknown", action="add VM")
        found[given.lower()] = disk
    return found


def _check_overrides(
    request: Request, overrides: Mapping[str, Element], template: Template, *, clone: bool
) -> None:
    """Source: `AddVmCommand` of the engine: who says something about one disk has to name them all."""
    action = "add VM"
    if overrides and len(overrides) != len(template.attachments):
        raise faults.engine_fault("disks without domain", action=action)
    for attachment in template.attachments if overrides else ():
        source, changes = attachment.disk, overrides[attachment.disk.id]
        wanted = changes.find("storage_domains/storage_domain")
        domain = find_domain(request.world, wanted) if wanted is not None else source.domain
        assert domain is not None
        if not clone and (find_text(changes, "format") or source.format) != "cow":
            raise faults.engine_fault("thin disk raw", action=action)
        if domain.status != "active":
            raise faults.engine_fault("domain status", action=action, status=domain.status.capitalize())
        if domain.type != "data":
            raise faults.engine_fault("disks without domain", action=action)
        if not clone and domain not in source.domains:
            raise faults.engine_fault("template elsewhere", action=action)
        chosen_quota(request.world, changes, domain, 0, action)


def _check_platform(world: World, config: Element, cluster: Cluster) -> None:
    """Source: `validateDedicatedVdsExistOnSameCluster` and `isTpmDeviceSupported` of the engine."""
    for element in config.iterfind("placement_policy/hosts/host"):
        host = world.hosts.get(element.get("id", ""))
        if host is None or host.cluster is not cluster:
            raise faults.engine_fault("host elsewhere", action="add VM")
    if find_bool(config, "tpm_enabled", False):
        system = find_text(config, "os/type")
        support = next((row[6] for row in load("operating_systems") if row[1] == system), "unsupported")
        if support == "unsupported" or find_text(config, "bios/type") not in ("q35_ovmf", "q35_secure_boot"):
            raise faults.engine_fault("tpm unsupported", action="add VM")


def give_nics(world: World, vm: Vm, nics: Sequence[Nic], action: str) -> None:
    """Gives the VM NICs like these, with addresses of its own."""
    for nic in nics:
        mac = world.new_mac(vm.cluster.mac_pool, action, [own.mac for own in vm.nics if own.mac is not None])
        vm.nics.append(Nic(new_id(), nic.name, mac, nic.profile, nic.interface, nic.linked, nic.plugged))


# Changing and removing a VM


@routes.add("PUT", "/vms/{vm}")
def update_vm(request: Request, vm: str) -> Reply:
    world = request.world
    found: Vm = find_or_404(world.vms, vm)
    body = _unrestricted(request, request.body("vm", "update"))
    action = "edit VM"
    cluster = body.find("cluster")
    new_cluster = find_cluster(world, cluster) if cluster is not None else found.cluster
    name = find_text(body, "name") or found.name
    request.number(body, "memory", "update")
    with world.command(f"Editing VM {found.name} properties", request.correlation_id) as job:
        request.hold("vm", found.id, action)
        machine_config.check_name(name, action)
        if name != found.name and world.vm_named(name) is not None:
            raise faults.engine_fault("name in use", action=action, type="VM")
        template = body.find("template")
        if (
            template is not None
            and template.get("id")
            and require_id(template.get("id", "")) not in world.templates
        ):
            raise faults.engine_fault("template missing", action=action)
        if found.running and found.next_run is not None:
            pending = find_text(found.next_run, "memory")
            if pending != find_text(found.config, "memory"):  # whatever this request changes
                raise faults.engine_fault("memory waits for next run")
        changed = markup.without(found.next_run if found.next_run is not None else found.config, ())
        instance_type = _instance_type(body)
        if instance_type is not None:
            markup.merge(changed, hardware_of(world, instance_type))
        if body.find("initialization") is not None:
            for old in changed.findall("initialization"):
                changed.remove(old)
        resolve_hosts(world, body)
        machine_config.apply(changed, body, action, creates=False)
        later = found.running and _waits_for_next_run(body)
        if later or (found.running and request.flag("next_run")):
            found.next_run = changed
        else:
            found.config = changed
        found.instance_type = instance_type or found.instance_type
        found.name = name
        found.cluster = new_cluster
        found.description = find_text(body, "description", found.description) or ""
        found.comment = find_text(body, "comment", found.comment) or ""
        world.log(35, vm=found, job=job)
    return Reply(200, render_vm(request, found, all_content=True))


def _waits_for_next_run(body: Element) -> bool:
    """Whether a change of a running VM holds only from its next run on. Sockets are plugged in at once."""
    if any(body.find(tag) is not None for tag in ("memory", "memory_policy", "bios")):
        return True
    cpu = body.find("cpu")
    if cpu is None:
        return False
    topology = cpu.find("topology")
    return len(cpu) != 1 or topology is None or [part.tag for part in topology] != ["sockets"]


_ASYNC_REMOVAL = 1.0  # seconds, as recorded


@routes.add("DELETE", "/vms/{vm}")
def remove_vm(request: Request, vm: str) -> Reply:
    world = request.world
    found: Vm = find_or_404(world.vms, vm)
    action = "remove VM"
    with world.command(f"Removing VM {found.name} from system", request.correlation_id) as job:
        request.hold("vm", found.id, action)
        if found.running:
            raise faults.engine_fault("vm running", action=action)
        if found.status == "suspended":
            raise faults.engine_fault("vm suspended")
        if found.pool is not None:
            raise faults.engine_fault("vm in pool", action=action)
        check_not_busy(found, action)
        check_unlocked(found, action)
        if find_bool(found.config, "delete_protected", False):
            raise faults.engine_fault("delete protection", action=action)
        if request.flag("detach_only") and found.template.id != ZERO_ID:
            raise faults.engine_fault("detach of template's", action=action)
        world.execute_job(job)
        if "async" in request.query and request.flag("async"):
            # The only case in which the VM is still seen for a moment.
            job.in_background = True
            request.keep("vm", found.id)
            world.after(_ASYNC_REMOVAL, lambda _error: _remove(world, found, job, detach=False))
            return Reply(202)
        _remove(world, found, job, detach=request.flag("detach_only"))
    return complete(job.id)


def _remove(world: World, vm: Vm, job: Job, *, detach: bool) -> None:
    world.vms.pop(vm.id, None)
    world.forget_permissions(("vms", vm.id))
    groups = [one.members["vms"] for one in world.affinity_groups.values()]
    for members in (*groups, *(one.members["vms"] for one in world.affinity_labels.values())):
        if vm.id in members:
            members.remove(vm.id)

    def log(_error: str | None = None) -> None:
        world.log(113, vm=vm, job=job)

    if job.in_background:  # then the engine writes the event a little after the VM is gone
        world.after(_ASYNC_REMOVAL, log)
    else:
        log()
    world.locks.discard(("vm", vm.id))
    for snapshot in list(vm.snapshots):
        storage.forget_snapshot(world, vm, snapshot)
    own = [attachment.disk for attachment in vm.attachments if not attachment.disk.shareable]
    if detach or not own:
        if job.in_background:
            world.end_job(job)
        return
    storage.remove(world, own, job)
