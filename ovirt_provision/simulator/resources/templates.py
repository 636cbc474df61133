"""`/templates`."""

from ovirt_provision.simulator import faults, machine_config, markup, storage
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
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Cluster,
    Job,
    Nic,
    Template,
    Vm,
    new_id,
)
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.resources.disks import check_legal, check_unlocked, copy_disks
from ovirt_provision.simulator.resources.lookups import find_cluster
from ovirt_provision.simulator.resources.vms import check_not_busy
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["export"]
LINKS = [
    "diskattachments",
    "cdroms",
    "mediateddevices",
    "watchdogs",
    "graphicsconsoles",
    "nics",
    "permissions",
    "tags",
]

FIELDS: Fields = {
    "name": Field(lambda template: template.name, free_text=True),
    "comment": Field(lambda template: template.comment, free_text=True),
    "description": Field(lambda template: template.description, free_text=True),
    "os": Field(lambda template: find_text(template.config, "os/type")),
    "creationdate": Field(lambda template: template.created, Kind.TIME),
    "mem": Field(lambda template: int(find_text(template.config, "memory") or 0) >> 20, Kind.NUMBER),
    "status": Field(
        lambda template: template.status, Kind.STATUS, values=frozenset({"ok", "locked", "illegal"})
    ),
    "version_name": Field(lambda template: template.version_name),
    "version_number": Field(lambda template: template.version_number, Kind.NUMBER),
    "cluster": Field(lambda template: template.cluster.name if template.cluster else None),
    "cluster.name": Field(lambda template: template.cluster.name if template.cluster else None),
    "datacenter": Field(lambda template: template.cluster.data_center.name if template.cluster else None),
    "id": Field(lambda template: template.id, Kind.ID),
    "vmt_id": Field(lambda template: template.id, Kind.ID),
    "storage.name": Field(
        lambda template: [domain.name for one in template.attachments for domain in one.disk.domains]
    ),
    "architecture": Field(lambda template: find_text(template.config, "cpu/architecture")),
}


def render_template(template: Template, *, all_content: bool = False) -> Element:
    path = f"/templates/{template.id}"
    cluster = template.cluster
    return node(
        "template",
        None,
        actions(path, ACTIONS),
        node("name", template.name),
        node("description", template.description),
        node("comment", template.comment),
        *links(path, LINKS),
        node("creation_time", template.created),
        *machine_config.shown(template.config, all_content=all_content, running=False, certificate=""),
        *(
            machine_config.of_cluster(cluster.id, cluster.cpu_profile_id, cluster.data_center.quota_id)
            if cluster is not None
            else ()
        ),
        node("status", template.status),
        node(
            "version",
            None,
            node("version_name", template.version_name),
            node("version_number", template.version_number),
            reference("base_template", "/templates", template.base_id),
        ),
        href=BASE + path,
        id=template.id,
    )


@routes.add("GET", "/templates")
def list_templates(request: Request) -> Reply:
    rows = sorted(request.world.templates.values(), key=lambda one: (one.name, one.version_number))
    show_all = request.flag("all_content")
    return collection(
        request, "templates", rows, lambda template: render_template(template, all_content=show_all), FIELDS
    )


@routes.add("GET", "/templates/{template}")
def show_template(request: Request, template: str) -> Reply:
    """Instance types are templates, too, to whom knows their ids, such as from permissions."""
    every = {**request.world.instance_types, **request.world.templates}
    return Reply(200, render_template(find_or_404(every, template), all_content=request.flag("all_content")))


@routes.add("POST", "/templates")
def add_template(request: Request) -> Reply:
    world = request.world
    body = request.body("template", "add")
    name = find_text(body, "name") or ""
    source = body.find("vm")
    if source is None:
        raise faults.no_signature()
    vm = _source(world, source)
    # An id of one's own does not become the template's: the engine takes it for the id of the source VM.
    chosen = body.get("id")
    wrong_source = bool(chosen) and require_id(chosen or "") not in (vm.id, ZERO_ID)
    cluster_body = body.find("cluster")
    cluster = find_cluster(world, cluster_body) if cluster_body is not None else vm.cluster
    action = "add Template"
    base = _base(world, body)
    with world.command(
        f"Creating VM Template {name} in Data Center {cluster.data_center.name}", request.correlation_id
    ) as job:
        machine_config.check_name(name, action)
        # Versions of one base are not fenced against each other.
        if base is None:
            request.hold("template name", name, action)
            _check_base_name(world, name, action)
        _check_source(vm, action)
        for domain in {one.disk.domain.id: one.disk.domain for one in vm.attachments}.values():
            storage.check_room(world, domain, action)
        world.execute_job(job)
        template = _new_template(request, body, vm, name, cluster, base)
        world.templates[template.id] = template
        if wrong_source:
            template.attachments.clear()
            template.status = "locked"
            markup.set_text(template.config, "bios/type", "q35_sea_bios")
            markup.set_text(template.config, "soundcard_enabled", False)
            job.in_background = True
            if require_id(chosen or "") in world.templates:
                _fail_for_ever(world, template, job)
            return created(render_template(template, all_content=True))
        wanted = body.iterfind("vm/disk_attachments/disk_attachment/disk")
        overrides = {disk.get("id", "").lower(): disk for disk in wanted}
        sources = copy_disks(world, template, vm.attachments, overrides)
        world.log(48, vm=vm, template=template, job=job)
        template.status = "locked"
        reply = created(render_template(template, all_content=True))
        if sources:
            storage.build_template(world, template, vm, sources, job, seal=request.flag("seal"))
        else:
            job.in_background = True
            world.after(world.timing.lock_tail, lambda _error: _finish(world, template, vm, job))
    return reply


def _finish(world: World, template: Template, vm: Vm, job: Job) -> None:
    template.status = "ok"
    world.log(51, vm=vm, template=template, job=job)
    world.end_job(job)


def _fail_for_ever(world: World, template: Template, job: Job) -> None:
    """The engine tries again and again to finish a template that was given the id of another."""

    def fail(_error: str | None) -> None:
        if template.id in world.templates:
            world.log(1322, template=template, job=job)
            world.after(10.0, fail)

    world.after(10.0, fail)


def _source(world: World, element: Element) -> Vm:
    given = element.get("id")
    vm = world.vms.get(require_id(given)) if given else world.vm_named(find_text(element, "name") or "")
    if vm is None:
        raise faults.entity_not_found(given or find_text(element, "name") or "")
    return vm


def _base(world: World, body: Element) -> Template | None:
    element = body.find("version/base_template")
    if element is None:
        return None
    base = world.templates.get(require_id(element.get("id") or ""))
    if base is None:
        raise faults.entity_not_found("GetVmTemplate")
    return base


def _check_base_name(world: World, name: str, action: str) -> None:
    for holder in world.templates_named(name):
        if holder.status == "locked":
            raise faults.engine_fault("template name used", action=action)
        raise faults.engine_fault("name in use", action=action, type="Template")


def _check_source(vm: Vm, action: str) -> None:
    if vm.status != "down":
        raise faults.engine_fault("template source busy", action=action)
    check_not_busy(vm, action)
    check_unlocked(vm, action)
    check_legal(vm, action)


def _new_template(
    request: Request, body: Element, vm: Vm, name: str, cluster: Cluster, base: Template | None
) -> Template:
    world = request.world
    config = machine_config.copy_config(vm)
    machine_config.apply(config, body, "add Template", creates=False)
    template_id = new_id()
    template = Template(
        template_id, name, cluster, config, world.now, base.base_id if base is not None else template_id
    )
    if base is not None:
        versions = [one for one in world.templates.values() if one.base_id == base.base_id]
        template.name = base.name
        template.version_number = max(one.version_number for one in versions) + 1
        template.version_name = find_text(body, "version/version_name") or ""
    else:
        template.version_name = find_text(body, "version/version_name") or template.version_name
    template.description = find_text(body, "description") or ""
    template.comment = find_text(body, "comment", vm.comment) or ""
    template.disc = vm.disc
    template.nics = [
        Nic(new_id(), nic.name, None, nic.profile, nic.interface, nic.linked, nic.plugged) for nic in vm.nics
    ]
    return template


@routes.add("PUT", "/templates/{template}")
def update_template(request: Request, template: str) -> Reply:
    world = request.world
    found: Template = find_or_404(world.templates, template)
    body = request.body("template", "update")
    action = "edit Template"
    name = find_text(body, "name") or found.name
    with world.command(f"Editing Template {found.name} properties", request.correlation_id) as job:
        machine_config.check_name(name, action)
        if name != found.name and world.templates_named(name):
            raise faults.engine_fault("name in use", action=action, type="Template")
        if found.status == "locked":
            raise faults.engine_fault("template locked")
        machine_config.apply(found.config, body, action, creates=False)
        for version in [one for one in world.templates.values() if one.base_id == found.base_id]:
            version.name = name
        found.description = find_text(body, "description", found.description) or ""
        found.comment = find_text(body, "comment", found.comment) or ""
        found.version_name = find_text(body, "version/version_name", found.version_name) or ""
        world.log(49, template=found, job=job)
    return Reply(200, render_template(found, all_content=True))


@routes.add("DELETE", "/templates/{template}")
def remove_template(request: Request, template: str) -> Reply:
    world = request.world
    found: Template = find_or_404(world.templates, template)
    center = found.cluster.data_center.name if found.cluster is not None else "<UNKNOWN>"
    action = "remove Template"
    with world.command(
        f"Removing VM Template {found.name} from Data Center {center}", request.correlation_id
    ) as job:
        if found.cluster is None:
            raise faults.engine_fault("cluster missing", action=action)
        # One that was made with an id of its own has no disks and stays locked, but can be removed.
        if found.status == "locked" and (found.attachments or found.removing):
            raise faults.engine_fault("template being created", action=action)
        if found.cloning:
            raise faults.engine_fault("template in use", action=action, vm=found.cloning[0])
        users = sorted(vm.name for vm in world.vms.values() if vm.template is found)
        if users:
            raise faults.engine_fault("template used", vms=",".join(users))
        _check_disks(world, found, action)
        world.execute_job(job)
        world.log(50, template=found, job=job)
        found.status = "locked"
        disks = [attachment.disk for attachment in found.attachments]
        found.attachments = []
        found.removing = True
        _rebase_versions(world, found)
        storage.remove(world, disks, job, lambda: _forget(world, found, job.correlation_id))
    if request.flag("async") and "async" in request.query:
        return Reply(202)
    return complete(job.id)


def _check_disks(world: World, template: Template, action: str) -> None:
    mine = {attachment.disk.id for attachment in template.attachments}
    based = [disk for disk in world.disks.values() if disk.source in mine]
    if based:
        # The engine's own line separator comes out like this.
        disks = " %n".join(f"{disk.name}  ({disk.id})" for disk in based) + " "
        raise faults.engine_fault("template has disks on it", action=action, disks=disks)


def _rebase_versions(world: World, template: Template) -> None:
    """The oldest of the other versions becomes their base."""
    rest = sorted(
        (one for one in world.templates.values() if one.base_id == template.id and one is not template),
        key=lambda one: one.version_number,
    )
    for version in rest:
        version.base_id = rest[0].id


def _forget(world: World, template: Template, correlation_id: str) -> None:
    world.templates.pop(template.id, None)
    world.forget_permissions(("templates", template.id))
    world.log(251, template=template, job=None, correlation_id=correlation_id)
