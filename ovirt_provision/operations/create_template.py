"""CreateTemplate: a new template, or a new version of one, from a Machine that is down, sealed or not."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import Template, Vm
from ovirt_provision.errors import (
    ForeignDiskAttached,
    MachineNotDown,
    NameInUse,
    NotOurs,
    ReferencesNotFound,
    Violation,
    did_you_mean,
)
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import HANDED_OVER, INTENDED, Ledger, Object
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.machines import find_machine, insist_on_idle
from ovirt_provision.operations.provisioning import Provisioning, is_ours
from ovirt_provision.operations.removal import bury_if_unanswered, remove_template
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import template_ok, vm_ready
from ovirt_provision.v1 import templates_pb2


async def resolve(call: Call) -> dict[str, Any]:
    request = call.request
    insist_on_allowed(call, "templates", request.name, "name")
    row = find_machine(call.ledger, call.owner, call.engine.name, request.machine_key)
    vm = await call.engine.machines.get(row.known_id, follow="disk_attachments.disk")
    if vm is None or vm.status != "down":
        raise MachineNotDown(key=row.key, status=vm.status if vm else "no longer in the engine")
    if not is_ours(call.ledger, call.installation, call.engine.name, vm):
        raise NotOurs(kind="VM", name=vm.name, id=vm.id, detail="it does not carry the mark of its Machine")
    _insist_on_own_disks(call.ledger, row, vm)
    versions = await call.engine.templates.versions_of(request.name)
    if request.new_version:
        return {"vm_id": vm.id, "base_id": await _base_of(call, versions)}
    if versions:
        raise NameInUse(name=request.name, kind="template", holder=versions[-1].id)
    return {"vm_id": vm.id}


def _insist_on_own_disks(ledger: Ledger, row: Object, vm: Vm) -> None:
    """Raises ForeignDiskAttached: a template is made of all disks of its VM, and each is locked for it."""
    owned = {disk.engine_id for disk in ledger.children(row.id)}
    for disk in vm.disks:
        if row.details.get("disks_known") and disk.id not in owned:
            raise ForeignDiskAttached(key=row.key, disk=disk.name, id=disk.id)


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


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    source = find_machine(call.ledger, call.owner, call.engine.name, call.request.machine_key)
    insist_on_idle(call.ledger, source)
    object_id = call.ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="template",
        engine_id=None,
        name=call.request.name,
        owner=call.owner,
        key=source.key,
        generation=source.generation,
        request_id=call.request.request_id,
        state=INTENDED,
    )
    call.ledger.set_lease(connection, object_id, HANDED_OVER)
    return Intent(object_id=object_id, plan={**plan, "source_object_id": source.id})


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
        template = await run.engine.templates.create(
            row.name,
            vm_id=run.plan["vm_id"],
            comment=str(mark),
            description=request.description,
            seal=request.seal,
            correlation_id=run.correlation_id,
            base_id=run.plan.get("base_id", ""),
            version_name=request.version_name,
        )
        return template.id

    if row.engine_id is None:
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
    """Waits until the template is ok and the engine has given the Machine back."""
    row = run.object
    template = await template_ok(run, row.known_id, row.name)
    await vm_ready(run, run.plan["vm_id"], f"template {row.name}")
    details = {**row.details, "version": template.version, "version_name": template.version_name}
    run.ledger.update_object(row.id, details=details)


async def undo_create(run: Provisioning) -> None:
    await remove_template(run, run.object)


def phases(request: templates_pb2.CreateTemplateRequest) -> Sequence[Phase[Provisioning]]:
    return (
        Phase(
            "creating-template",
            timeout="create_version" if request.new_version else "create_machine",
            done=10,
            act=create,
            undo=undo_create,
        ),
        Phase("sealing", timeout="seal", done=100, observe=wait_until_ok)
        if request.seal
        else Phase("copying-disks", timeout="create_template", done=100, observe=wait_until_ok),
    )


CREATE_TEMPLATE = Verb("CreateTemplate", templates_pb2.CreateTemplateRequest, resolve, intend, phases)
