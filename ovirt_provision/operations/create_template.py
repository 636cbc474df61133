"""CreateTemplate: a new template, or a new version of one, from a Machine that is down, sealed or not.

One that is tested or replaces another is made under a temporary name and gets its own when it counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template, Vm
from ovirt_provision.engine.templates import DiskCopy, TemplateRequest, needs_of_template
from ovirt_provision.errors import (
    ForeignDiskAttached,
    InvalidRequest,
    NameInUse,
    NotOurs,
    NotYours,
    ReferencesNotFound,
    TemplateExists,
    TemplateHasVersions,
    TemplateInUse,
    TemplateNotClean,
    Violation,
    did_you_mean,
)
from ovirt_provision.guest.first_boot import violations_of
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, HANDED_OVER, INTENDED, Ledger, Object
from ovirt_provision.operations import boot_test
from ovirt_provision.operations.allowance import insist_on_allowed, insist_on_callers
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.machines import find_machine, insist_on_idle, vm_that_is_down
from ovirt_provision.operations.media import take_payload_out
from ovirt_provision.operations.old_versions import remove_versions
from ovirt_provision.operations.problems import all_at_once
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.references import (
    find_permissions,
    find_storage,
    find_tags,
    grant,
)
from ovirt_provision.operations.removal import bury_if_unanswered, remove_template, users_of
from ovirt_provision.operations.replacement import (
    insist_on_no_other,
    keep,
    remove_old,
    rename,
    stays,
    temporary_name,
)
from ovirt_provision.operations.sparsify_disk import sparsify, why_not
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import template_ok, vm_ready
from ovirt_provision.v1 import templates_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Looks at the Machine, and at what has the name. Raises NotAllowed, what `source_of` and `find_name`
    raise, ReferencesNotFound, InvalidRequest and EnginePermissionDenied."""
    request = call.request
    # Before the look-ups, so that no near miss tells what else there is.
    insist_on_allowed(call, "templates", request.name, "name")
    vm = None
    if not request.validate_only:
        vm = await source_of(call, request.machine_key)
        await _insist_on_making(call, vm)
    plan = await all_at_once(
        find_name(call),
        find_tags(call.engine, request.tags),
        find_permissions(call.engine, request.permissions),
        find_storage(call.engine, request.storage_domain, request.disk_format, vm),
        violations=_violations_of_test(call, vm),
    )
    plan["admin"] = call.limits.is_admin
    if vm is not None and request.sparsify:
        await _insist_on_sparsifiable(call, vm, plan.get("disk_changes", ()))
    if vm is not None:
        plan |= {
            "vm_id": vm.id,
            "cluster_id": vm.cluster_id,
            "disks": len(vm.disks),
            "initialization": list(vm.initialization),
            "disc": vm.disc,
        }
    return plan


async def source_of(call: Call, key: str) -> Vm:
    """The VM of the Machine that a template is to be made of, whole and with the discs in its drives. Raises
    MachineNotFound, MachineNotDown, NotOurs and ForeignDiskAttached."""
    row = find_machine(call.ledger, call.owner, call.engine.name, key)
    vm = await vm_that_is_down(call, row, follow="disk_attachments.disk,cdroms", all_content=True)
    _insist_on_own_disks(call.ledger, row, vm)
    return vm


async def _insist_on_making(call: Call, vm: Vm) -> None:
    """Raises InvalidRequest for a guest that the engine cannot seal, and EnginePermissionDenied."""
    if call.request.seal and vm.os_type.startswith("windows"):
        wrong = f"the engine cannot seal Windows ({vm.os_type}); run sysprep in the guest instead"
        raise InvalidRequest([Violation("seal", wrong)])
    await call.engine.account.insist(f"create template {call.request.name}", needs_of_template(vm.cluster_id))


async def _insist_on_sparsifiable(call: Call, vm: Vm, changes: Sequence[dict[str, Any]]) -> None:
    """Raises InvalidRequest for all disks that would be of no kind that the engine sparsifies, and
    EnginePermissionDenied."""
    changed = {change["id"]: change for change in changes}
    wrong = []
    domains: dict[str, None] = {}
    for disk in vm.disks:
        change = changed.get(disk.id, {})
        disk_format, sparse = disk.format, disk.sparse
        if change.get("format"):
            disk_format, sparse = change["format"], change["sparse"]
        domains |= dict.fromkeys([change["domain_id"]] if change.get("domain_id") else disk.domain_ids)
        if why := why_not(disk_format, sparse=sparse):
            advice = "set disk_format to RAW" if sparse else "choose a storage_domain that is no block device"
            wrong.append(
                Violation(
                    "sparsify",
                    f"the template's copy of disk '{disk.name}' cannot be sparsified: {why}; {advice}",
                )
            )
    if wrong:
        raise InvalidRequest(wrong)
    needs = [Need("sparsify_disk", "storage domain", domain) for domain in domains]
    await call.engine.account.insist(f"sparsify the disks of template {call.request.name}", needs)


async def find_name(call: Call) -> dict[str, Any]:
    """What stands under the name: the base of a new version, or the template to replace.

    Raises ReferencesNotFound for no such base, NameInUse and TemplateExists; with `replace` NotOurs,
    NotYours, TemplateHasVersions and TemplateInUse.
    """
    try:
        return await _holder(call)
    except (NameInUse, NotOurs, NotYours, TemplateInUse, TemplateHasVersions) as error:
        error.violations = (Violation("name", str(error)),)
        raise


async def _holder(call: Call) -> dict[str, Any]:
    request = call.request
    versions = await call.engine.templates.versions_of(request.name)
    if request.new_version:
        return {"base_id": await _base_of(call, versions)}
    if not versions:
        return {}
    holder = versions[-1]
    row = our_template(call.ledger, call.installation, call.engine.name, holder)
    if not request.replace:
        taken = TemplateExists if row is not None else NameInUse
        raise taken(name=request.name, kind="template", holder=holder.id)
    if row is None:
        raise NotOurs(kind="template", name=holder.name, id=holder.id, detail="the ledger does not know it")
    insist_on_callers(call, row, "template", holder.id)
    if len(versions) > 1:
        numbers = ", ".join(str(version.version) for version in reversed(versions))
        raise TemplateHasVersions(name=holder.name, versions=numbers)
    users = await users_of(call.engine, holder)
    if users:
        raise TemplateInUse(name=holder.name, id=holder.id, users=", ".join(users), new="")
    return {"old_object_id": row.id, "old_id": holder.id}


async def _base_of(call: Call, versions: Sequence[Template]) -> str:
    """Id of the template that a new version hangs on. Raises ReferencesNotFound."""
    bases = sorted({version.base_id for version in versions})
    if len(bases) == 1:
        return bases[0]
    name = call.request.name
    if bases:
        wrong = f"several templates are called '{name}', in different data centers: {', '.join(bases)}"
    else:
        found = await call.engine.templates.search("", max_rows=1000)
        known = {template.name for template in found if call.limits.may_use("templates", template.name)}
        wrong = f"no template '{name}' to make a new version of{did_you_mean(name, known)}"
    raise ReferencesNotFound([Violation("name", wrong)])


def _violations_of_test(call: Call, vm: Vm | None) -> Sequence[Violation]:
    return violations_of(
        call.request.boot_test.initialization,
        "boot_test.initialization",
        vm_name=boot_test.key_of(call.request),
        os_type=vm.os_type if vm is not None else "",
    )


def _insist_on_own_disks(ledger: Ledger, row: Object, vm: Vm) -> None:
    """Raises ForeignDiskAttached: a template is made of all disks of its VM, and each is locked for it."""
    owned = ledger.disk_ids(row.id)
    for disk in vm.disks:
        if row.details.get("disks_known") and disk.id not in owned:
            raise ForeignDiskAttached(key=row.key, disk=disk.name, id=disk.id)


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Writes the template, and takes the Machine. Raises MachineNotFound, MachineBusy, TemplateBusy and
    TooManyMachines, for the Machine of a boot test."""
    request = call.request
    source = find_machine(call.ledger, call.owner, call.engine.name, request.machine_key)
    insist_on_idle(call.ledger, source)
    if "old_object_id" in plan:
        insist_on_no_other(call.ledger, plan["old_object_id"])
    object_id = intend_template(
        call, connection, name=first_name(request), key=source.key, generation=source.generation
    )
    plan = {**plan, "source_object_id": source.id}
    if request.HasField("boot_test"):
        plan["test_object_id"] = boot_test.intend_test(call, connection, disks=plan["disks"])
    return Intent(object_id=object_id, plan=plan)


def intend_template(
    call: Call,
    connection: sa.Connection,
    *,
    name: str,
    key: str,
    generation: int = 1,
    arguments: Mapping[str, Any] | None = None,
) -> int:
    """Writes the template that a call is to make of the Machine of that key and generation, and returns its
    row id. It lives without a client."""
    object_id = call.ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="template",
        engine_id=None,
        name=name,
        owner=call.owner,
        key=key,
        generation=generation,
        request_id=call.request.request_id,
        state=INTENDED,
        arguments=arguments or {},
    )
    call.ledger.set_lease(connection, object_id, HANDED_OVER)
    return object_id


def first_name(request: templates_pb2.CreateTemplateRequest) -> str:
    """What it is called until it counts."""
    return temporary_name(request.name, request.request_id) if is_renamed(request) else request.name


def is_renamed(request: templates_pb2.CreateTemplateRequest) -> bool:
    """Whether it is made under a temporary name. A version has none: the engine gives it that of its base."""
    return not request.new_version and (request.replace or request.HasField("boot_test"))


async def create(run: Provisioning) -> None:
    """Sends the create until a template with our mark stands (law 1).

    The name fences a new template: one of that name with another mark is somebody else's. Nothing fences a
    version, so a request for one that was not answered is repeated only when it cannot have an effect any
    more, and for a second version it is looked afterwards.
    """
    row, request = run.object, run.request
    mark = run.mark("template", row)

    async def check() -> None:
        vm = await run.insist(
            lambda: run.engine.machines.get(run.plan["vm_id"], follow="disk_attachments.disk")
        )
        if vm is not None:
            run.insist_on_ours(vm)
            _insist_on_own_disks(run.ledger, run.ledger.object(run.plan["source_object_id"]), vm)

    async def send() -> str:
        base_id = run.plan.get("base_id", "")
        try:
            return await _send(run, row, str(mark), base_id)
        except EngineNotFound:
            # Another build may have removed the base as one version too many: then there is another base.
            bases = {version.base_id for version in await run.engine.templates.versions_of(row.name)}
            if not base_id or len(bases) != 1 or base_id in bases:
                raise
            return await _send(run, row, str(mark), bases.pop())

    if row.engine_id is None:
        await _empty_drives(run)
        await create_once(
            run,
            row,
            doing=f"create template {row.name}",
            find=lambda: _find(run, row, mark),
            send=send,
            check=check,
            may_repeat=(lambda asked_at: _is_over(run, asked_at)) if request.new_version else None,
        )
    if request.new_version:
        bury_if_unanswered(run, row)


async def _empty_drives(run: Provisioning) -> None:
    """Takes out of the Machine what its template would have in its drives, too."""
    source = run.ledger.object(run.plan["source_object_id"])
    await take_payload_out(run, source)
    if run.plan.get("disc"):
        await run.insist(
            lambda: run.engine.machines.eject(
                source.known_id, source.name, correlation_id=run.correlation_id
            ),
            on_vm=source.known_id,
        )


async def _send(run: Provisioning, row: Object, mark: str, base_id: str) -> str:
    request = run.request
    template = await run.engine.templates.create(
        TemplateRequest(
            name=row.name,
            vm_id=run.plan["vm_id"],
            comment=mark,
            description=request.description,
            seal=request.seal,
            base_id=base_id,
            version_name=request.version_name,
            clone_permissions=request.clone_permissions,
            disks=[DiskCopy(**change) for change in run.plan.get("disk_changes", ())],
            cluster_id=run.plan.get("cluster_id", ""),
        ),
        correlation_id=run.correlation_id,
    )
    return template.id


async def _is_over(run: Provisioning, asked_at: float) -> bool:
    """True when a request for a version, sent at that time, cannot have an effect any more."""
    left = asked_at + run.timeouts.engine_request + run.timeouts.late_create_grace - run.clock.time()
    if left > 0:
        run.note(f"the engine may still make the version that it was asked for, for {left:.0f} s")
        return False
    vm = await run.insist(lambda: run.engine.machines.get(run.plan["vm_id"]))
    run.note(f"VM {vm.name} is {vm.status}" if vm else "the VM is gone")
    return vm is not None and vm.status == "down"


async def _find(run: Provisioning, row: Object, mark: Mark) -> str | None:
    """The id of the template with our name and mark, the oldest if a request has made several.

    Raises NameInUse when the name of a new template is somebody else's.
    """
    versions = await run.insist(lambda: run.engine.templates.versions_of(row.name))
    for template in reversed(versions):
        if Mark.parse(template.comment) == mark:
            return template.id
    if versions and not run.request.new_version:
        raise NameInUse(
            name=row.name, kind="template", holder=versions[-1].id, correlation_id=run.correlation_id
        )
    return None


async def wait_until_ok(run: Provisioning) -> None:
    """Waits until the template is ok and the engine has given the Machine back, and looks what it carries."""
    row = run.object
    template = await template_ok(run, row.known_id, row.name)
    await vm_ready(run, run.plan["vm_id"], f"template {row.name}")
    await _insist_on_clean(run, row)
    details = {"version": template.version, "version_name": template.version_name}
    run.ledger.add_details(row.id, details)


async def _insist_on_clean(run: Provisioning, row: Object) -> None:
    """Raises TemplateNotClean when the template carries more initialization than the Machine did before.

    What a build's guest is told at its start belongs to that start alone; in a template every clone would
    have it.
    """
    template = await run.insist(lambda: run.engine.templates.get(row.known_id, all_content=True))
    more = set(template.initialization if template else ()) - set(run.plan["initialization"])
    if more:
        raise TemplateNotClean(
            name=row.name, fields=", ".join(sorted(more)), correlation_id=run.correlation_id
        )


async def sparsify_disks(run: Provisioning) -> None:
    template_id = run.object.known_id
    template = await run.insist(lambda: run.engine.templates.get(template_id, follow="disk_attachments.disk"))
    await sparsify(run, [disk.id for disk in template.disks] if template is not None else [])
    await template_ok(run, template_id, run.object.name)


async def tag(run: Provisioning) -> None:
    template_id = run.object.known_id
    for tag_id in run.plan["tag_ids"]:
        await run.insist(
            lambda tag_id=tag_id: run.engine.templates.add_tag(  # type: ignore[misc]
                template_id, tag_id, correlation_id=run.correlation_id
            )
        )


async def grant_roles(run: Provisioning) -> None:
    await grant(run, "template", run.object.known_id)


async def undo_create(run: Provisioning) -> None:
    """Removes the new template, unless the old one may be gone for it."""
    boot_test.forget_test(run)
    if stays(run.object):
        keep(run)
    # What is gone is not looked for again: a daemon that dies soon each time has to get on, too.
    elif run.object.state != GONE:
        await remove_template(run, run.object)


def phases(request: templates_pb2.CreateTemplateRequest) -> Sequence[Phase[Provisioning]]:
    """What is replaced or removed goes last, and from then on nothing is taken back."""
    tested = request.HasField("boot_test")
    ends = not (request.keep_versions or is_renamed(request))
    made = 50 if tested else 100 if ends else 90
    return (
        Phase(
            "creating-template",
            timeout="create_version" if request.new_version else "create_machine",
            done=10,
            act=create,
            undo=undo_create,
        ),
        Phase("sealing", timeout="seal", done=made, observe=wait_until_ok)
        if request.seal
        else Phase("copying-disks", timeout="create_template", done=made, observe=wait_until_ok),
        *(
            (Phase("sparsifying", timeout="sparsify", done=made, act=sparsify_disks),)
            if request.sparsify
            else ()
        ),
        *((Phase("tagging", timeout="create_machine", done=made, act=tag),) if request.tags else ()),
        *(
            (Phase("granting", timeout="create_machine", done=made, act=grant_roles),)
            if request.permissions
            else ()
        ),
        *(boot_test.phases(request.boot_test) if tested else ()),
        *(
            (Phase("removing-old", timeout="destroy", done=95, act=remove_old, cancellable=False),)
            if request.replace
            else ()
        ),
        *(
            (
                Phase(
                    "renaming",
                    timeout="create_machine",
                    done=100,
                    act=rename,
                    cancellable=not request.replace,
                ),
            )
            if is_renamed(request)
            else ()
        ),
        *(
            (Phase("removing-versions", timeout="destroy", done=100, act=remove_versions, cancellable=False),)
            if request.keep_versions
            else ()
        ),
    )


CREATE_TEMPLATE = Verb("CreateTemplate", templates_pb2.CreateTemplateRequest, resolve, intend, phases)
