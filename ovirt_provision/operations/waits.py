"""What the verbs wait for, and what ends a wait early."""

import contextlib
from collections.abc import Callable, Sequence

from ovirt_provision.engine.model import Disk, Snapshot, Template, Vm
from ovirt_provision.errors import DeadlineExceeded, MachineFailed, NoAddress
from ovirt_provision.guest.addresses import Absence, Address, absence, addresses_of
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.v1 import resources_pb2

# How long the engine's status may lag behind a start that it has accepted, in seconds.
_START_LAG = 15.0
_UNDER_WAY = {"wait_for_launch", "powering_up", "reboot_in_progress", "up", "restoring_state"}
_STUCK = {"paused": "paused", "not_responding": "not responding", "suspended": "suspended"}


async def vm_ready(
    run: Provisioning,
    vm_id: str,
    doing: str,
    *,
    disks: int = 0,
    look_first: bool = True,
    seen: Callable[[Vm], None] = lambda _: None,
) -> Vm:
    """Waits until a VM is down, with at least so many disks and all of them ok, and its jobs have ended.

    A disk that is illegal stays so until a person repairs it, so that ends the wait.

    `look_first` reads the VM at once, because it may well be ready; without it the watcher's next look is the
    first. `seen` is given the VM at every look.

    The jobs are waited for only as far as the account may see them, and at most for the time-out `job`: jobs
    can hang.
    """

    def satisfied(vm: Vm | None) -> bool:
        if vm is None:
            raise run.failure(doing, "the VM has vanished")
        seen(vm)
        if illegal := [disk.name for disk in vm.disks if disk.status == "illegal"]:
            raise run.failure(doing, f"disk {', '.join(illegal)} is illegal")
        locked = [disk.name for disk in vm.disks if disk.status != "ok"]
        run.note(f"VM {vm.name} is {vm.status}" + (f", disk {', '.join(locked)} is not ok" if locked else ""))
        return vm.ready and len(vm.disks) >= disks

    vm = None
    if look_first:
        vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow="disk_attachments.disk"))
    if not (look_first and satisfied(vm)):
        vm = await run.wait(
            run.engine.watcher.vm(vm_id, satisfied, correlation_id=run.correlation_id, with_disks=True)
        )
    assert vm is not None
    await _jobs_ended(run)
    return vm


async def _jobs_ended(run: Provisioning) -> None:
    def ended(unfinished: Sequence[str] | None) -> bool:
        if unfinished:
            run.note(f"job: {unfinished[0]}")
        return not unfinished

    if await run.insist(lambda: run.engine.events.jobs_seem_finished(run.correlation_id)):
        return
    with contextlib.suppress(DeadlineExceeded):
        await run.wait(run.engine.watcher.jobs(run.correlation_id, ended), within=("job", run.timeouts.job))
    # Where the phase's deadline came first, too: the object itself is ready, and jobs can hang.
    run.check_cancelled()


async def vm_up(run: Provisioning, vm_id: str, *, or_booting: bool = False) -> Vm:
    """Waits until a VM that was started is up; with `or_booting` until its guest boots."""
    started = run.clock.monotonic()
    seen_under_way = False

    def satisfied(vm: Vm | None) -> bool:
        nonlocal seen_under_way
        vm = _still_there(run, vm, "being started")
        run.note(f"VM {vm.name} is {vm.status}")
        seen_under_way = seen_under_way or vm.status in _UNDER_WAY
        if vm.status == "down" and (seen_under_way or run.clock.monotonic() - started > _START_LAG):
            raise MachineFailed(
                name=vm.name, status="down", doing="starting", correlation_id=run.correlation_id
            )
        return vm.status == "up" or (or_booting and vm.status == "powering_up")

    vm = await run.wait(run.engine.watcher.vm(vm_id, satisfied, correlation_id=run.correlation_id))
    assert vm is not None
    return vm


async def vm_reports(
    run: Provisioning, vm_id: str, selection: resources_pb2.AddressSelection, settle: float
) -> Sequence[Address]:
    """Waits until the guest of a running VM reports addresses that count, the same for `settle` seconds.

    Raises NoAddress at the deadline.
    """
    last: Vm | None = None
    found: Sequence[Address] = ()
    since = 0.0

    def satisfied(vm: Vm | None) -> bool:
        nonlocal last, found, since
        vm = last = _still_there(run, vm, "waiting for its address")
        if vm.status == "down":
            raise MachineFailed(
                name=vm.name,
                status="down",
                doing="waiting for its address",
                correlation_id=run.correlation_id,
            )
        now, before, found = run.clock.monotonic(), found, addresses_of(vm, selection)
        if found != before:
            since = now
        told = ", ".join(address.ip for address in found)
        run.note(f"the guest has {told}" if found else f"the guest {absence(vm, selection)[1]}")
        return bool(found) and now - since >= settle

    try:
        await run.wait(
            run.engine.watcher.vm(vm_id, satisfied, correlation_id=run.correlation_id, with_addresses=True)
        )
    except DeadlineExceeded as error:
        # It may have passed before the first reading.
        if last is None:
            raise
        why, told = absence(last, selection)
        if found:
            why, told = Absence.UNSETTLED, f"changes its addresses, the last time within {settle:g} s"
        raise NoAddress(
            name=last.name,
            why=why.value,
            told=told,
            timeout=error.fields["timeout"],
            seconds=error.fields["seconds"],
            phase=error.phase,
            correlation_id=error.correlation_id,
        ) from None
    return found


async def vm_gone(run: Provisioning, vm_id: str, name: str, *, unless: Callable[[Vm], bool]) -> bool:
    """Waits until the engine answers 404 for a VM that was removed: most often at once (behaviour.md 22).

    False, as soon as the VM that is there is one for which `unless` is true.
    """
    vm = await run.insist(lambda: run.engine.machines.get(vm_id))
    if vm is not None and not unless(vm):
        run.note(f"waiting until VM {name} is gone")
        vm = await run.wait(
            run.engine.watcher.vm(
                vm_id, lambda state: state is None or unless(state), correlation_id=run.correlation_id
            )
        )
    return vm is None


async def template_gone(run: Provisioning, template_id: str, name: str) -> None:
    """Waits until the engine answers 404 for a template that was removed."""
    if await run.insist(lambda: run.engine.templates.get(template_id)) is not None:
        run.note(f"waiting until template {name} is gone")
        await run.wait(
            run.engine.watcher.template(
                template_id, lambda state: state is None, name=name, correlation_id=run.correlation_id
            )
        )


def _is_ok(run: Provisioning, kind: str, name: str, found: Disk | Template | None) -> bool:
    if found is None or found.status == "illegal":
        raise run.failure(
            f"{kind} {name}", f"the {kind} has vanished" if found is None else f"the {kind} is illegal"
        )
    run.note(f"{kind} {name} is {found.status}")
    return found.status == "ok"


async def disk_ok(run: Provisioning, disk_id: str, name: str) -> None:
    """Waits until a disk that is being made is ok. One that fails vanishes or becomes illegal."""

    def satisfied(disk: Disk | None) -> bool:
        return _is_ok(run, "disk", name, disk)

    if not satisfied(await run.insist(lambda: run.engine.disks.get(disk_id))):
        await run.wait(run.engine.watcher.disk(disk_id, satisfied, correlation_id=run.correlation_id))


async def snapshot_ok(run: Provisioning, source: Object, snapshot_id: str) -> None:
    """Waits until a snapshot that is being made is ok."""

    def satisfied(snapshot: Snapshot | None) -> bool:
        if snapshot is None:
            raise run.failure(f"the snapshot of VM {source.name}", "the snapshot has vanished")
        run.note(f"the snapshot of VM {source.name} is {snapshot.status}")
        return snapshot.status == "ok"

    await run.wait(
        run.engine.watcher.snapshot(
            source.known_id, snapshot_id, satisfied, correlation_id=run.correlation_id
        )
    )


async def snapshot_gone(run: Provisioning, source: Object, snapshot_id: str) -> None:
    """Waits until the engine has merged a snapshot that was removed. One that it cannot merge comes back."""
    merging = False

    def satisfied(snapshot: Snapshot | None) -> bool:
        nonlocal merging
        if snapshot is not None and snapshot.status == "ok" and merging:
            raise run.failure(
                f"the removal of the snapshot of VM {source.name}", "the snapshot is still there"
            )
        merging = merging or (snapshot is not None and snapshot.status == "locked")
        run.note(f"waiting until the snapshot of VM {source.name} is merged")
        return snapshot is None

    await run.wait(
        run.engine.watcher.snapshot(
            source.known_id, snapshot_id, satisfied, correlation_id=run.correlation_id
        )
    )


async def vm_down(run: Provisioning, vm_id: str, *, within: tuple[str, float] | None = None) -> Vm | None:
    """Waits until a VM is down or gone; `within` as in `Run.wait`."""

    def satisfied(vm: Vm | None) -> bool:
        if vm is not None:
            run.note(f"VM {vm.name} is {vm.status}")
        return vm is None or vm.status == "down"

    return await run.wait(
        run.engine.watcher.vm(vm_id, satisfied, correlation_id=run.correlation_id), within=within
    )


async def template_ok(run: Provisioning, template_id: str, name: str) -> Template:
    """Waits until a template that is being made is ok. One that fails vanishes (behaviour.md 24)."""

    def satisfied(template: Template | None) -> bool:
        return _is_ok(run, "template", name, template)

    template = await run.wait(
        run.engine.watcher.template(template_id, satisfied, name=name, correlation_id=run.correlation_id)
    )
    assert template is not None
    run.engine.templates.forget()
    return template


async def logged(run: Provisioning, *codes: int) -> frozenset[int]:
    """Waits until the engine's log has an event of the operation with one of these codes; the codes of all
    its events."""

    def satisfied(seen: frozenset[int] | None) -> bool:
        return bool(seen and seen.intersection(codes))

    seen = await run.insist(lambda: run.engine.events.codes(run.correlation_id))
    if not satisfied(seen):
        found = await run.wait(run.engine.watcher.logged(run.correlation_id, satisfied))
        assert found is not None
        seen = found
    return seen


def _still_there(run: Provisioning, vm: Vm | None, doing: str) -> Vm:
    if vm is None:
        raise MachineFailed(name="", status="missing", doing=doing, correlation_id=run.correlation_id)
    if vm.status in _STUCK:
        raise MachineFailed(
            name=vm.name, status=_STUCK[vm.status], doing=doing, correlation_id=run.correlation_id
        )
    return vm
