"""Exports of VMs and templates, what lies on a storage domain, and imports of it.

Sources: the API model, and the recorded events of an export. Not recorded, so judged: the texts of the
refusals and how long the copies take.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ovirt_provision.simulator import faults, machine_config, storage
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    complete,
    find_or_404,
    links,
    perform,
    reference,
)
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Attachment,
    Cluster,
    Host,
    Nic,
    StorageDomain,
    Template,
    Vm,
    new_id,
)
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node, without
from ovirt_provision.simulator.resources.diskattachments import render_attachment
from ovirt_provision.simulator.resources.disks import copy_disks, render_disk
from ovirt_provision.simulator.resources.lookups import find_cluster, find_domain
from ovirt_provision.simulator.resources.snapshots import new_snapshot
from ovirt_provision.simulator.resources.templates import render_template
from ovirt_provision.simulator.resources.vms import check_at_rest, check_idle, default_domain, render_vm
from ovirt_provision.simulator.world import World

routes = Routes()

_EVENTS = {"export": (1162, 1150, 1151), "import": (1165, 1152, 1153)}
_TEMPLATE_EVENTS = {"export": (1164, 1156, 1157), "import": (1163, 1158, 1159)}
"""The codes of what begins, is done and has failed."""


def _kind(entity: Vm | Template) -> str:
    return "VM" if isinstance(entity, Vm) else "Template"


def _log(
    world: World, verb: str, moment: int, entity: Vm | Template, domain: StorageDomain, correlation_id: str
) -> None:
    if isinstance(entity, Vm):
        code = _EVENTS[verb][moment]
        world.log(code, vm=entity, domain=domain, job=None, correlation_id=correlation_id)
    else:
        code = _TEMPLATE_EVENTS[verb][moment]
        world.log(code, template=entity, domain=domain, job=None, correlation_id=correlation_id)


# Exports


@routes.add("POST", "/vms/{vm}/export")
def export_vm(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)

    def check(body: Element, domain: StorageDomain) -> None:
        action = "export VM"
        request.hold("vm", found.id, action)
        check_at_rest(found, action)
        stands_alone = found.template.id == ZERO_ID or find_bool(body, "discard_snapshots", False)
        if not stands_alone and found.template.id not in domain.exports:
            name = found.template.name
            raise faults.engine_fault("template not exported", action=action, template=name)
        found.lock = "vm exported"
        found.status = "image_locked"

    def end() -> None:
        found.lock = None
        found.status = "down"

    return _export(request, found, check, end)


@routes.add("POST", "/templates/{template}/export")
def export_template(request: Request, template: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)

    def check(_body: Element, _domain: StorageDomain) -> None:
        if found.status != "ok":
            raise faults.engine_fault("template being created", action="export Template")
        found.status = "locked"

    def end() -> None:
        found.status = "ok"

    return _export(request, found, check, end)


def _export(
    request: Request,
    entity: Vm | Template,
    check: Callable[[Element, StorageDomain], None],
    end: Callable[[], None],
) -> Reply:
    """`check` refuses what cannot be exported, else locks it; `end` unlocks it."""
    world = request.world
    action = f"export {_kind(entity)}"

    def export(body: Element) -> list[Element]:
        if body.find("storage_domain") is None:
            return _export_appliance(request, entity, body)
        domain = find_domain(world, _element(body, "storage_domain"))
        if domain is None:
            raise faults.engine_fault("domain unknown", action=action)
        if domain.type != "export":
            raise faults.engine_fault("no export domain", action=action)
        if domain.status != "active":
            raise faults.engine_fault("domain status", action=action, status=domain.status.capitalize())
        if entity.id in domain.exports and not find_bool(body, "exclusive", False):
            raise faults.engine_fault("same identifier", action=action, type=_kind(entity))
        with world.command(
            f"Exporting {_kind(entity)} {entity.name} to Export Domain {domain.name}", request.correlation_id
        ) as job:
            frozen = _frozen(entity)
            check(body, domain)
            world.execute_job(job)
            _log(world, "export", 0, entity, domain, job.correlation_id)

            def done(error: str | None) -> None:
                end()
                if error is None:
                    _forget(world, domain.exports, entity.id)
                    domain.exports[entity.id] = frozen
                _log(world, "export", 1 if error is None else 2, entity, domain, job.correlation_id)

            copies = [one.disk for one in frozen.attachments]
            sources = [one.disk for one in entity.attachments if not one.disk.shareable]
            storage.export(world, copies, sources, job, done)
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, "export", export)


def _export_appliance(request: Request, entity: Vm | Template, body: Element) -> list[Element]:
    """To a file in a folder of a host; the VM may run. Source: `ExportOvaCommand` and its heirs."""
    world = request.world
    action = f"export {_kind(entity)}"
    host = _find_host(world, _element(body, "host"))
    folder = (find_text(body, "directory") or "").removesuffix("/")
    path = f"{folder}/{find_text(body, 'filename') or f'{entity.name}.ova'}"
    title = f"Exporting {_kind(entity)} {entity.name} as an OVA to {path} on Host {host.name}"
    with world.command(title, request.correlation_id) as job:
        if host.status != "up":
            raise faults.engine_fault("host not up", action=action)
        if folder not in host.folders:
            raise faults.engine_fault("no folder", folder=folder, host=host.name)
        request.hold(_kind(entity).lower(), entity.id, action)
        if isinstance(entity, Vm):
            check_idle(entity, action)
        elif entity.status != "ok":
            raise faults.engine_fault("template being created", action=action)
        world.execute_job(job)
        frozen = _frozen(entity)
        copies = [one.disk for one in frozen.attachments]

        def done(error: str | None) -> None:
            if error is None:
                _forget(world, host.appliances, path)
                host.appliances[path] = frozen
            if isinstance(entity, Vm):
                entity.lock = None
                world.log(1224 if error is None else 1225, vm=entity, job=job, host=host, path=path)
            else:
                entity.status = "ok"
                world.log(1227 if error is None else 1228, template=entity, job=job, host=host, path=path)

        if isinstance(entity, Vm):
            world.log(1223, vm=entity, job=job)
            entity.lock = "vm exported"
            snapshot = new_snapshot(request, entity, "Auto-generated for Export To OVA")
            storage.export_running(world, entity, snapshot, copies, job, done)
        else:
            world.log(1226, template=entity, job=job)
            entity.status = "locked"
            sources = [one.disk for one in entity.attachments if not one.disk.shareable]
            storage.export(world, copies, sources, job, done)
    return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]


def _find_host(world: World, wanted: Element) -> Host:
    given, name = wanted.get("id"), find_text(wanted, "name")
    host = next((one for one in world.hosts.values() if given == one.id or name == one.name), None)
    if host is None:
        raise faults.entity_not_found(given or f"Hosts: name={name}")
    return host


def _element(body: Element, tag: str) -> Element:
    found = body.find(tag)
    return found if found is not None else node(tag)


def _frozen(entity: Vm | Template) -> Vm | Template:
    """The entity as it is now, with volumes of its own, which are still to be made."""
    attachments = [
        replace(one, disk=replace(one.disk, volume=new_id()))
        for one in entity.attachments
        if not one.disk.shareable
    ]
    nics = [replace(nic) for nic in entity.nics]
    config = copy.deepcopy(entity.config)
    if isinstance(entity, Vm):
        return replace(
            entity,
            config=config,
            attachments=attachments,
            nics=nics,
            status="down",
            lock=None,
            guest=None,
            host=None,
            started=None,
            creation={},
            next_run=None,
            tags=[],
            snapshots=[],
            cloning=[],
            pool=None,
        )
    return replace(entity, config=config, attachments=attachments, nics=nics, tags=[], cloning=[])


def _forget(world: World, exports: dict[str, Vm | Template], key: str) -> None:
    exported = exports.pop(key, None)
    for attachment in exported.attachments if exported is not None else ():
        world.guests.remove_disk(attachment.disk.volume)


# What is on a domain


def _vms(world: World, domain: StorageDomain) -> Mapping[str, Vm]:
    """What was exported to it; on a domain for data the VMs with disks there."""
    if domain.type == "export":
        return {one.id: one for one in domain.exports.values() if isinstance(one, Vm)}
    return {
        vm.id: vm for vm in world.vms.values() if any(one.disk.domain is domain for one in vm.attachments)
    }


def _templates(world: World, domain: StorageDomain) -> Mapping[str, Template]:
    if domain.type == "export":
        return {one.id: one for one in domain.exports.values() if isinstance(one, Template)}
    return {
        one.id: one
        for one in world.templates.values()
        if any(domain in attachment.disk.domains for attachment in one.attachments)
    }


def _render(request: Request, domain: StorageDomain, entity: Vm | Template) -> Element:
    if isinstance(entity, Vm):
        path, rels = f"/storagedomains/{domain.id}/vms/{entity.id}", ["diskattachments", "disks"]
        shown = render_vm(request, entity)
    else:
        path, rels = f"/storagedomains/{domain.id}/templates/{entity.id}", ["disks"]
        shown = render_template(entity)
    shown = without(shown, ("actions", "link"))
    shown.extend([actions(path, ["import", "register"]), *links(path, rels)])
    shown.append(reference("storage_domain", "/storagedomains", domain.id))
    shown.set("href", BASE + path)
    return shown


def _disks(request: Request, path: str, attachments: Sequence[Attachment]) -> Reply:
    def render(attachment: Attachment) -> Element:
        shown = without(render_disk(attachment.disk), ("actions", "link"))
        shown.set("href", f"{BASE}{path}/{attachment.disk.id}")
        return shown

    return collection(request, "disks", attachments, render)


def _on_domain(tag: str) -> None:
    """The VMs or the templates on a domain."""
    base = f"/storagedomains/{{domain}}/{tag}"

    def find_all(request: Request, domain: str) -> tuple[StorageDomain, Mapping[str, Vm | Template]]:
        found: StorageDomain = find_or_404(request.world.domains, domain)
        return found, (_vms if tag == "vms" else _templates)(request.world, found)

    def find(request: Request, domain: str, entity: str) -> tuple[StorageDomain, Vm | Template]:
        found, entities = find_all(request, domain)
        return found, find_or_404(entities, entity)

    @routes.add("GET", base)
    def list_all(request: Request, domain: str) -> Reply:
        """None is unregistered: the engine knows all that it has written."""
        found, entities = find_all(request, domain)
        rows = [] if request.flag("unregistered") else sorted(entities.values(), key=lambda one: one.name)
        return collection(request, tag, rows, lambda one: _render(request, found, one))

    @routes.add("GET", base + "/{entity}")
    def show(request: Request, domain: str, entity: str) -> Reply:
        return Reply(200, _render(request, *find(request, domain, entity)))

    @routes.add("GET", base + "/{entity}/disks")
    def list_disks(request: Request, domain: str, entity: str) -> Reply:
        return _disks(request, request.path.rstrip("/"), find(request, domain, entity)[1].attachments)

    @routes.add("GET", base + "/{entity}/disks/{disk}")
    def show_disk(request: Request, domain: str, entity: str, disk: str) -> Reply:
        attachments = find(request, domain, entity)[1].attachments
        path = request.path.rstrip("/").rpartition("/")[0]
        shown = _disks(request, path, [find_or_404({one.disk.id: one for one in attachments}, disk)])
        assert shown.element is not None
        return Reply(200, shown.element[0])

    @routes.add("DELETE", base + "/{entity}")
    def remove(request: Request, domain: str, entity: str) -> Reply:
        found, exported = find(request, domain, entity)
        if found.type != "export":
            raise faults.engine_fault("no export domain", action=f"remove {_kind(exported)}")
        _forget(request.world, found.exports, entity)
        return complete()

    @routes.add("POST", base + "/{entity}/register")
    def register(request: Request, domain: str, entity: str) -> Reply:
        find(request, domain, entity)
        raise faults.not_found()

    @routes.add("POST", base + "/{entity}/import")
    def bring_in(request: Request, domain: str, entity: str) -> Reply:
        found, exported = find(request, domain, entity)
        if found.type != "export":
            raise faults.engine_fault("no export domain", action=f"import {_kind(exported)}")
        return perform(request, "import", lambda body: [_import(request, exported, body)[1]])


_on_domain("vms")
_on_domain("templates")


@routes.add("GET", "/storagedomains/{domain}/vms/{vm}/diskattachments")
def list_attachments(request: Request, domain: str, vm: str) -> Reply:
    found = find_or_404(_vms(request.world, find_or_404(request.world.domains, domain)), vm)
    return collection(
        request, "disk_attachments", found.attachments, lambda one: _render_attachment(domain, found, one)
    )


@routes.add("GET", "/storagedomains/{domain}/vms/{vm}/diskattachments/{disk}")
def show_attachment(request: Request, domain: str, vm: str, disk: str) -> Reply:
    found = find_or_404(_vms(request.world, find_or_404(request.world.domains, domain)), vm)
    attachment = find_or_404({one.disk.id: one for one in found.attachments}, disk)
    return Reply(200, _render_attachment(domain, found, attachment))


def _render_attachment(domain: str, vm: Vm, attachment: Attachment) -> Element:
    shown = render_attachment(attachment, vm.id)
    shown.set("href", f"{BASE}/storagedomains/{domain}/vms/{vm.id}/diskattachments/{attachment.disk.id}")
    return shown


# Imports


def _import(request: Request, exported: Vm | Template, body: Element) -> tuple[Vm | Template, Element]:
    """What is made, and the element of the job that makes it."""
    world = request.world
    kind = _kind(exported)
    action = f"import {kind}"
    wanted = body.find("cluster")
    cluster = find_cluster(world, wanted) if wanted is not None else exported.cluster
    assert cluster is not None  # only Blank has none, and cannot be exported
    given = body.find("storage_domain")
    domain = find_domain(world, given) if given is not None else default_domain(world, cluster)
    if domain is None or domain.type != "data":
        raise faults.engine_fault("domain unknown", action=action)
    clone = find_bool(body, "clone", False)
    name = find_text(body, f"{kind.lower()}/name") or exported.name
    table: Mapping[str, Vm | Template] = world.vms if isinstance(exported, Vm) else world.templates
    with world.command(f"Importing {kind} {name} to Cluster {cluster.name}", request.correlation_id) as job:
        if not clone and exported.id in table:
            raise faults.engine_fault("same identifier", action=action, type=kind)
        request.hold(f"{kind.lower()} name", name, action)
        machine_config.check_name(name, action)
        if any(one.name == name for one in table.values()):
            raise faults.engine_fault("name in use", action=action, type=kind)
        storage.check_room(world, domain, action)
        made = _made(world, exported, body, cluster, name, clone=clone)
        world.execute_job(job)
        target = node("disk", None, node("storage_domains", None, node("storage_domain", id=domain.id)))
        overrides = {one.disk.id: target for one in exported.attachments}
        sources = copy_disks(world, made, exported.attachments, overrides)
        if not clone:
            for attachment, source in zip(made.attachments, sources, strict=True):
                if source.id not in world.disks:
                    attachment.disk.id = attachment.disk.volume = source.id
        if isinstance(made, Vm):
            made.status = "image_locked"
            made.nics = _nics(world, exported.nics, cluster, action)
            world.vms[made.id] = made
        else:
            made.status = "locked"
            world.templates[made.id] = made
        _log(world, "import", 0, made, domain, job.correlation_id)

        def done(error: str | None) -> None:
            if error is None and isinstance(made, Vm):
                made.status = "down"
            elif error is None:
                made.status = "ok"
            elif isinstance(made, Vm):
                world.vms.pop(made.id, None)
            else:
                world.templates.pop(made.id, None)
            _log(world, "import", 1 if error is None else 2, made, domain, job.correlation_id)

        storage.bring_in(world, [one.disk for one in made.attachments], sources, job, done)
    return made, node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)


def _imports_of(kind: str) -> None:
    """From the file of a host. Source: `BackendExternalVmImportsResource` and its twin for templates."""
    root = f"external_{kind}_import"

    @routes.add("POST", f"/external{kind}imports")
    def bring_in(request: Request) -> Reply:
        world = request.world
        body = request.body(root, "add")
        mandatory = {"url": "url", "host": "host.id|name", "cluster": "cluster.id|name"}
        mandatory["storage_domain"] = "storageDomain.id|name"
        missing = [label for tag, label in mandatory.items() if body.find(tag) is None]
        if missing:
            raise faults.incomplete(f"External{kind.capitalize()}Import", missing)
        if find_text(body, "provider", "ova") != "ova":
            raise faults.not_simulated("the import from other providers than OVA", "POST " + request.path)
        host = _find_host(world, _element(body, "host"))
        found = host.appliances.get((find_text(body, "url") or "").removeprefix("ova://"))
        if found is None or _kind(found).lower() != kind:
            raise faults.engine_fault("internal")
        parts = (copy.deepcopy(_element(body, tag)) for tag in ("cluster", "storage_domain", kind))
        settings = (node("clone", "true"), node("collapse_snapshots", "true"))
        made, _ = _import(request, found, node("action", None, *parts, *settings))
        assert made.cluster is not None
        shown = without(body, ("password", kind, "cluster", "host", "storage_domain"))
        domain = find_domain(world, _element(body, "storage_domain"))
        assert domain is not None
        shown.extend(
            [
                reference("cluster", "/clusters", made.cluster.id),
                reference("host", "/hosts", host.id),
                reference("storage_domain", "/storagedomains", domain.id),
                reference(kind, f"/{kind}s", made.id),
            ]
        )
        return Reply(201, shown)


_imports_of("vm")
_imports_of("template")


def _made(
    world: World, exported: Vm | Template, body: Element, cluster: Cluster, name: str, *, clone: bool
) -> Vm | Template:
    """What the import makes, still without disks."""
    entity_id = new_id() if clone else exported.id
    config = copy.deepcopy(exported.config)
    if isinstance(exported, Template):
        known = not clone and exported.base_id in world.templates
        return replace(
            exported,
            id=entity_id,
            name=name,
            cluster=cluster,
            config=config,
            base_id=exported.base_id if known else entity_id,
            attachments=[],
            nics=[replace(nic, id=new_id()) for nic in exported.nics],
            tags=[],
            cloning=[],
        )
    template = exported.template
    if find_bool(body, "collapse_snapshots", False):
        template = world.templates[ZERO_ID]
    elif template.id not in world.templates:
        raise faults.engine_fault("import lacks template", template=template.name)
    return replace(
        exported,
        id=entity_id,
        name=name,
        cluster=cluster,
        config=config,
        template=template,
        attachments=[],
        nics=[],
        creation={},
        tags=[],
        active_snapshot_id=new_id(),
        snapshots=[],
        cloning=[],
        lock=None,
    )


def _nics(world: World, nics: Sequence[Nic], cluster: Cluster, action: str) -> list[Nic]:
    """The NICs again; an address that another VM has by now is replaced."""
    made: list[Nic] = []
    for nic in nics:
        mac = nic.mac
        if mac is None or mac in world.macs():
            mac = world.new_mac(cluster.mac_pool, action, [one.mac for one in made if one.mac is not None])
        profile = nic.profile if nic.profile is not None and nic.profile.id in world.profiles else None
        made.append(replace(nic, id=new_id(), mac=mac, profile=profile))
    return made
