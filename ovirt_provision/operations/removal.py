"""Removing what is ours, forwards to 404. Destroy, undo and the janitor all end here."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence

import structlog

from ovirt_provision.engine import Engine
from ovirt_provision.engine.account import Need
from ovirt_provision.engine.model import Disk, Snapshot, Template, Vm
from ovirt_provision.errors import DeadlineExceeded, ForeignVersion, OperationCancelled, ProvisionError
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import GONE, INTENDED, LATE, PRESENT, REMOVING, Ledger, Object
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.waits import snapshot_gone, template_gone, vm_down, vm_gone

log = structlog.get_logger("operations")

# Seconds between two looks whether a disk of others has been attached.
_LOOK_AGAIN = 15.0


@contextlib.contextmanager
def left_to_the_janitor(run: Provisioning, row: Object) -> Iterator[None]:
    """For removing what an operation made on its way and needs no more: it does not fail for what the engine
    does not let go of."""
    try:
        yield
    except (OperationCancelled, LedgerError):
        raise
    except ProvisionError as error:
        log.warning(
            "left to be removed", operation=run.operation.id, kind=row.kind, name=row.name, error=str(error)
        )


async def remove_machine(run: Provisioning, row: Object) -> None:
    """Removes the VM and the disks that it owns, and ends only when the engine answers 404 for each of them.

    A VM that is gone already is fine, and one that was adopted is only forgotten. Disks that are not its own
    are detached first and kept. Raises NotOurs, and touches nothing, when a VM with our id does not carry our
    mark.
    """
    if row.adopted:
        run.ledger.update_object(row.id, state=GONE)
        return
    _begin(run, row)
    row = await with_its_id(run, row)
    vm_id = row.known_id
    removed: set[str] = set()

    def has_come_back(vm: Vm) -> bool:
        return not _disks_known(run.ledger.object(row.id), vm)

    while True:
        going = await run.insist(lambda: _remove_vm(run, row, vm_id), patience=run.timeouts.destroy)
        removed.update(going or ())
        if going is None or await vm_gone(run, vm_id, row.name, unless=has_come_back):
            break
    for child in run.ledger.children(row.id):
        await _disk_gone(run, child, left_behind=child.engine_id not in removed)
    for snapshot in run.ledger.children(row.id, "snapshot"):
        run.ledger.update_object(snapshot.id, state=GONE)
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


async def _remove_vm(run: Provisioning, row: Object, vm_id: str) -> Collection[str] | None:
    """Asks the engine to remove the VM; the ids of the disks that go with it, None when there is no VM.

    All that it looks at is looked at anew each time: while the engine refuses, or the VM powers off, a start
    that comes late may bring it up again, and somebody may attach a disk, which must not go with it.
    """
    while True:
        vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow="disk_attachments.disk"))
        if vm is None:
            return None
        run.insist_on_ours(vm)
        if vm.status == "image_locked":
            await _unlocked(run, vm)
            continue
        if not _disks_known(run.ledger.object(row.id), vm):
            adopt_disks(run, row, vm)
        foreign = _foreign_disks(vm, run.ledger.disk_ids(row.id))
        if vm.status != "down":
            # One that may not be removed is not stopped, either.
            needs = [Need("delete_vm", "VM", vm_id, row.name)]
            await run.in_time(run.engine.account.insist(f"remove VM {row.name}", needs))
            await bring_down(run, vm, gently=bool(foreign))
            continue
        for disk in foreign:
            await run.engine.machines.detach_disk(vm_id, disk, correlation_id=run.correlation_id)
        if await _attach_may_come(run, row):
            continue
        await run.engine.machines.remove(vm_id, row.name, correlation_id=run.correlation_id)
        # The engine keeps those that several VMs may have.
        return {disk.id for disk in vm.disks if not disk.shareable} - {disk.id for disk in foreign}


async def _attach_may_come(run: Provisioning, row: Object) -> bool:
    """Waits as long as the engine may still attach a disk of others that it was asked to and gave no answer.

    It would go with the VM; until then the VM is looked at again and again. True if it was waited.
    """
    left = run.ledger.object(row.id).details.get("attaching_until", 0.0) - run.clock.time()
    if left <= 0:
        return False
    run.note(f"waiting whether a disk of others is still being attached to VM {row.name}")
    await run.sleep(min(left, _LOOK_AGAIN))
    return True


async def find_vm(engine: Engine, row: Object, mark: Mark) -> Vm | None:
    """The VM behind a ledger row: by its id, and where that id is only hoped for, by name and mark.

    That the engine honours our id for a copy of a snapshot nobody has seen. Once it has told the id of the
    copy, one that merely looks like it is somebody else's.
    """
    vm = await engine.machines.get(row.known_id)
    if vm is None and row.details.get("copied") and row.unanswered:
        named = await engine.machines.find_by_name(row.name)
        if named is not None and Mark.parse(named.comment) == mark:
            return named
    return vm


async def with_its_id(run: Provisioning, row: Object) -> Object:
    """The row of a VM with the id that the engine has given it."""
    if not row.details.get("copied"):
        return row
    vm = await run.insist(lambda: find_vm(run.engine, row, run.mark("vm", row)))
    if vm is None or vm.id == row.engine_id:
        return row
    return run.ledger.update_object(row.id, engine_id=vm.id)


async def remove_snapshot(run: Provisioning, row: Object) -> None:
    """Removes a snapshot of ours; one that is gone with its VM, or was never made, is fine."""
    _begin(run, row)
    source = run.ledger.object(row.parent_id or 0)
    for snapshot in await find_snapshots(run, row):
        await _remove_snapshot(run, source, snapshot)
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


async def find_snapshots(run: Provisioning, row: Object) -> list[Snapshot]:
    """The snapshots behind a ledger row, oldest first: by its id if the engine has told it, else by mark.

    Nothing keeps the engine from making several of a request that was repeated.
    """
    source = run.ledger.object(row.parent_id or 0)
    mark = run.mark("snapshot", row)
    return [
        snapshot
        for snapshot in await run.insist(lambda: run.engine.snapshots.of_vm(source.known_id))
        if snapshot.id == row.engine_id
        or (row.engine_id is None and Mark.parse(snapshot.description) == mark)
    ]


async def _remove_snapshot(run: Provisioning, source: Object, snapshot: Snapshot) -> None:
    vm_id, cid = source.known_id, run.correlation_id
    snapshots, watcher = run.engine.snapshots, run.engine.watcher
    if snapshot.status == "locked":
        await run.wait(
            watcher.snapshot(
                vm_id, snapshot.id, lambda s: s is None or s.status != "locked", correlation_id=cid
            )
        )
    run.note(f"removing the snapshot of VM {source.name}")
    await run.insist(
        lambda: snapshots.remove(vm_id, snapshot.id, source.name, correlation_id=cid),
        patience=run.timeouts.destroy,
    )
    await snapshot_gone(run, source, snapshot.id)


async def remove_template(run: Provisioning, row: Object) -> None:
    """Removes a template of ours; gone already, or never made, is fine."""
    _begin(run, row)
    template = await find_template(run, row)
    if template is not None:
        run.ledger.update_object(row.id, engine_id=template.id)
        template_id = template.id
        await run.insist(
            lambda: insist_on_own_versions(
                run.engine, run.ledger, run.installation, template, correlation_id=run.correlation_id
            )
        )
        if template.status == "locked":
            await _template_unlocked(run, template)
        await run.insist(
            lambda: run.engine.templates.remove(template_id, row.name, correlation_id=run.correlation_id),
            patience=run.timeouts.destroy,
        )
        await template_gone(run, template_id, row.name)
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


async def users_of(engine: Engine, template: Template) -> list[str]:
    """Names of the VMs that stand on a template version, as far as the account sees them."""
    found = await engine.machines.search(f'template.name="{template.name}"', max_rows=1000)
    return sorted(vm.name for vm in found if vm.template_id == template.id)


async def insist_on_own_versions(
    engine: Engine, ledger: Ledger, installation: str, template: Template, *, correlation_id: str = ""
) -> None:
    """Raises ForeignVersion: without its base a version becomes the base itself, which changes it."""
    if template.base_id != template.id:
        return
    for version in await engine.templates.versions_of(template.name):
        if (
            version.base_id == template.id
            and our_template(ledger, installation, engine.name, version) is None
        ):
            raise ForeignVersion(
                name=template.name, version=version.version, id=version.id, correlation_id=correlation_id
            )


async def find_template(run: Provisioning, row: Object) -> Template | None:
    """The template behind a ledger row: by its id if the engine has told it, else by name and mark."""
    if row.engine_id is not None:
        engine_id = row.engine_id
        return await run.insist(lambda: run.engine.templates.get(engine_id))
    expected = str(run.mark("template", row))
    versions = await run.insist(lambda: run.engine.templates.versions_of(row.name))
    return next((t for t in versions if str(Mark.parse(t.comment)) == expected), None)


def _foreign_disks(vm: Vm, owned: Collection[str | None]) -> list[Disk]:
    return [disk for disk in vm.disks if disk.id not in owned]


def _begin(run: Provisioning, row: Object) -> None:
    # A late arrival stays `late`: its key may belong to a newer Machine by now.
    if row.state != LATE:
        run.ledger.update_object(row.id, state=REMOVING)


async def _unlocked(run: Provisioning, vm: Vm) -> None:
    """Waits until the engine has let go of a VM that it is still making or copying."""

    def satisfied(state: Vm | None) -> bool:
        run.note(f"VM {vm.name} is {state.status if state else 'gone'}")
        return state is None or state.status != "image_locked"

    await run.wait(
        run.engine.watcher.vm(vm.id, satisfied, correlation_id=run.correlation_id, with_disks=True)
    )


async def _template_unlocked(run: Provisioning, template: Template) -> None:
    """Waits until the engine has ended the making of a template: until then it refuses to remove it."""

    def satisfied(state: Template | None) -> bool:
        run.note(f"template {template.name} is {state.status if state else 'gone'}")
        return state is None or state.status != "locked"

    await run.wait(
        run.engine.watcher.template(
            template.id, satisfied, name=template.name, correlation_id=run.correlation_id
        )
    )


def adopt_disks(run: Provisioning, row: Object, vm: Vm) -> None:
    """Writes down which disks a VM got by its create, when it is first seen with all of them; they do not
    change any more.

    When the VM has more disks than that, nobody can say which are its own: then none is, and all are kept.
    """
    known = run.ledger.disk_ids(row.id)
    disks: Sequence[Disk] = [disk for disk in vm.disks if disk.id not in known]
    if len(disks) > row.details.get("disks", 0):
        log.warning("a VM has disks that are not its own, so all are kept", vm=row.name, id=row.engine_id)
        disks = ()
    with run.ledger.transaction() as connection:
        for disk in disks:
            run.ledger.add_object(
                connection,
                engine=row.engine,
                kind="disk",
                engine_id=disk.id,
                name=disk.name,
                owner=row.owner,
                key=row.key,
                generation=row.generation,
                request_id=row.request_id,
                parent_id=row.id,
                state=PRESENT,
            )
    run.ledger.add_details(row.id, {"disks_known": True, "created_at": vm.created_at})


def _disks_known(row: Object, vm: Vm) -> bool:
    """False also for a VM that a late create has made anew, with new disks, after it was removed."""
    known = bool(row.details.get("disks_known"))
    return known and (not row.unanswered or row.details.get("created_at", vm.created_at) == vm.created_at)


async def bring_down(run: Provisioning, vm: Vm, *, gently: bool) -> None:
    """Brings a VM down. What is thrown away needs no shutdown; a disk that is kept does."""
    if gently:
        try:
            await run.insist(
                lambda: run.engine.machines.shut_down(vm.id, vm.name, correlation_id=run.correlation_id),
                on_vm=vm.id,
            )
            await vm_down(run, vm.id, within=("shutdown", run.timeouts.shutdown))
            return
        except DeadlineExceeded:
            run.note(f"VM {vm.name} does not shut down; powering it off")
            now = await run.insist(lambda: run.engine.machines.get(vm.id))
            if now is not None:
                run.insist_on_ours(now)
    await run.insist(
        lambda: run.engine.machines.power_off(vm.id, vm.name, correlation_id=run.correlation_id),
        on_vm=vm.id,
        patience=run.timeouts.destroy,
    )
    await vm_down(run, vm.id, within=("power_off", run.timeouts.power_off))


async def _disk_gone(run: Provisioning, child: Object, *, left_behind: bool) -> None:
    """Waits until a disk of a removed VM is gone; the engine removes it in the background (behaviour.md
    22).

    One that somebody has attached to another VM stays with that: to take it away would change what is not
    ours. One that merely has the id that ours was to get stays, too.
    """
    disk_id, cid, watcher = child.known_id, run.correlation_id, run.engine.watcher
    while left_behind:
        disk = await run.insist(lambda: run.engine.disks.get(disk_id))
        if disk is None:
            break
        if _is_of_others(run, child, disk):
            log.warning("a disk of others has the id of one of ours", disk=disk_id, name=disk.name)
            break
        if await run.insist(lambda: run.engine.disks.is_attached(disk_id)):
            log.warning("a disk of ours is left to the VM that has it", disk=disk_id, name=child.name)
            break
        if disk.status != "locked":
            await run.insist(
                lambda disk=disk: run.engine.disks.remove(disk, correlation_id=cid),  # type: ignore[misc]
                patience=run.timeouts.destroy,
            )
            left_behind = False
        else:
            # It is being made, or removed already.
            run.note(f"waiting until the engine has let go of disk {child.name}")
            await run.wait(
                watcher.disk(
                    disk_id, lambda state: state is None or state.status != "locked", correlation_id=cid
                )
            )
    else:
        run.note(f"waiting until disk {child.name} is gone")
        await run.wait(watcher.disk(disk_id, lambda state: state is None, correlation_id=cid))
    # Before it counts as gone: of what is gone the next daemon thinks no more.
    bury_if_unanswered(run, child)
    run.ledger.update_object(child.id, state=GONE)


def _is_of_others(run: Provisioning, row: Object, disk: Disk) -> bool:
    """Whether a disk with the id of a row is not the one that we asked for. Until the engine has told that it
    made ours, only the mark tells."""
    return row.state != PRESENT and Mark.parse(disk.description) != run.mark("disk", row)


async def remove_disk(run: Provisioning, row: Object) -> None:
    """Removes a disk of ours that has turned up after its Machine was destroyed."""
    _begin(run, row)
    await _disk_gone(run, row, left_behind=True)


def forget_intents(ledger: Ledger, rows: Iterable[Object]) -> None:
    """Has nothing looked for of what was intended and never asked for: whatever was is undone by now."""
    for row in rows:
        if row.state == INTENDED:
            ledger.update_object(row.id, state=GONE)


def bury_if_unanswered(run: Provisioning, row: Object) -> None:
    """Has the janitor look whether a create that was never answered makes an object after all."""
    if run.ledger.object(row.id).unanswered:
        run.ledger.bury(
            row.id,
            run.clock.time() + run.timeouts.engine_request + run.timeouts.late_create_grace,
        )
