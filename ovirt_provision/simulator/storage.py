"""What the host does with disks, and how the engine sees it: locks, the 10 s grid, failures."""

from collections.abc import Callable, Sequence

from ovirt_provision.simulator.entities import (
    Attachment,
    Disk,
    Job,
    Snapshot,
    StorageDomain,
    Template,
    Vm,
    new_id,
)
from ovirt_provision.simulator.faults import engine_fault
from ovirt_provision.simulator.guests import Work
from ovirt_provision.simulator.world import AllWork, DoneWork, FailedWork, World

_EMPTY = 1_048_576  # bytes that a sparse disk takes at least


def _task(
    world: World,
    job: Job,
    description: str,
    seconds: float,
    work: Work,
    then: Callable[[str | None], None],
    *,
    on_host: bool = True,
    finalizes: bool = True,
) -> None:
    """A task of the host: takes at least `seconds` and until `work` is done; then the command's end.

    `on_host` and `finalizes` are how its step is shown: as one of VDSM, with a step of its own for the end.
    """
    job.in_background = True
    step = world.add_step(job, description, on_host=on_host)

    def noticed(error: str | None) -> None:
        world.end_step(job, step, ok=error is None, finalizes=finalizes)
        then(error)

    world.after(seconds, noticed, work=work, grid=world.timing.storage_grid)


def _until_end(world: World, job: Job) -> float:
    """Seconds from noticing the end of a task of storage to the end of its command."""
    return max(world.timing.storage_end, world.until_callback(job))


def _at_end(world: World, job: Job, then: Callable[[str | None], None]) -> Callable[[str | None], None]:
    """Has what comes after a task of storage wait for the end of its command; both are told what went
    wrong, if so."""
    return lambda error: world.after(_until_end(world, job), lambda _none: then(error))


def _end_job(world: World, job: Job, seconds: float, *, ok: bool) -> None:
    """Ends a job after the disks, which leave their locks in `seconds`; at once when it has failed."""
    if ok:
        world.after(seconds + world.timing.job_lag, lambda _none: world.end_job(job))
    else:
        world.end_job(job, ok=False)


def _lock(disks: Sequence[Disk]) -> None:
    for disk in disks:
        disk.status = "locked"


def _begin(world: World, disks: Sequence[Disk]) -> None:
    _lock(disks)
    for disk in disks:
        disk.made = False
        world.disks[disk.id] = disk


def _ending(world: World) -> str:
    """The status in which the disks of this request end up."""
    if world.injections.fires("disk-stays-locked") is not None:
        return "locked"
    return "illegal" if world.injections.fires("disk-illegal") is not None else "ok"


def _unlock(world: World, disks: Sequence[Disk], seconds: float, ending: str = "ok") -> None:
    def end(_error: str | None) -> None:
        for disk in disks:
            if disk.status == "locked" and ending != "locked":
                disk.status = ending
                disk.made = True

    world.after(seconds, end)


def _drop(world: World, disks: Sequence[Disk]) -> None:
    for disk in disks:
        world.disks.pop(disk.id, None)
        world.forget_permissions(("disks", disk.id))
        world.images.drop(disk)
        if disk.id not in world.base_disk_ids:
            world.guests.remove_disk(disk.id)


def _working(world: World, fault: str, work: Callable[[], Work]) -> Work:
    if world.injections.fires(fault) is not None:
        return FailedWork("injected")
    return work()


def create(world: World, disk: Disk, job: Job, vm: Vm | None) -> None:
    """Makes an empty disk."""
    _begin(world, [disk])
    ending = _ending(world)
    disk.actual_size = 0
    if vm is None:
        world.log(2020, disk=disk, domain=disk.domain, job=job)
    else:
        world.log(78, disk=disk, domain=disk.domain, vm=vm, job=job)

    def end(error: str | None) -> None:
        if error is not None:
            world.log(2022, disk=disk, domain=disk.domain, vm=vm, job=job)
            for holder in world.holders(disk):
                holder.attachments = [a for a in holder.attachments if a.disk is not disk]
            _drop(world, [disk])
        else:
            disk.actual_size = 1_048_576
            _unlock(world, [disk], 0.0, ending)
            world.log(2021 if vm is None else 97, disk=disk, domain=disk.domain, vm=vm, job=job)
        _end_job(world, job, 0.0, ok=error is None)

    _task(
        world,
        job,
        "Creating Volume",
        world.timing.create_disk,
        _working(world, "disk-fails", lambda: world.guests.create_disk(disk.id, disk.size)),
        _at_end(world, job, end),
    )


def _copies(world: World, disks: Sequence[Disk], sources: Sequence[Disk], *, thin: bool) -> Work:
    return AllWork(
        [
            world.guests.clone_disk(disk.volume, source.volume, thin=thin)
            for disk, source in zip(disks, sources, strict=True)
        ]
    )


def build_vm(
    world: World,
    vm: Vm,
    sources: Sequence[Disk],
    job: Job,
    *,
    thin: bool,
    creation_id: str | None,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Makes the disks of a new VM from those of its template or of a snapshot; `then` is called in every
    outcome."""
    disks = [attachment.disk for attachment in vm.attachments]
    _begin(world, disks)
    ending = _ending(world)
    vm.status = "image_locked"
    timing = world.timing

    def complete(_error: str | None) -> None:
        if creation_id is not None:
            vm.creation[creation_id] = "complete"

    def end(error: str | None) -> None:
        template = vm.original_template
        world.locks.discard(("vm name", vm.name))
        if error is not None:
            world.log(60, vm=vm, template=template, job=job)
            world.vms.pop(vm.id, None)
            world.forget_permissions(("vms", vm.id))
            _drop(world, disks)
        else:
            vm.status = "down"
            vm.stopped = world.now
            world.log(53, vm=vm, template=template, job=job)
            _unlock(world, disks, timing.disk_lag, ending)
        then()
        _end_job(world, job, world.timing.disk_lag, ok=error is None)

    def noticed(error: str | None) -> None:
        seconds = max(timing.complete_lead, _until_end(world, job))
        world.after(seconds - timing.complete_lead, complete)
        world.after(seconds, lambda _none: end(error))

    def copy(_error: str | None) -> None:
        _task(
            world, job, "Copying Volume", max(0.0, timing.clone_full - volume), work, noticed, on_host=False
        )

    work = _working(world, "vm-fails", lambda: _copies(world, disks, sources, thin=thin))
    if thin:
        _task(world, job, "Creating Volume", timing.clone_thin, work, noticed, finalizes=False)
    else:
        volume = min(timing.create_disk, timing.clone_full)
        _task(world, job, "Creating Volume", volume, DoneWork(), copy)


def _frozen_and_live(vm: Vm, snapshot: Snapshot) -> tuple[dict[str, Disk], list[Disk]]:
    """The disks of a snapshot, by the ids of those of `vm` that they are of, and these."""
    frozen = {one.disk.id: one.disk for one in snapshot.attachments}
    return frozen, [one.disk for one in vm.attachments if one.disk.id in frozen]


def take_snapshot(
    world: World, vm: Vm, snapshot: Snapshot, job: Job, then: Callable[[str | None], None]
) -> None:
    """Makes the volumes of a snapshot of `vm`, which may run; `then` is told what went wrong, if so."""
    frozen, live = _frozen_and_live(vm, snapshot)
    vm.snapshots.append(snapshot)
    if not live:
        snapshot.status = "ok"
    _lock(live)
    for disk in live:
        disk.image_id = new_id()

    def end(error: str | None) -> None:
        if error is not None:
            forget_snapshot(world, vm, snapshot)
        snapshot.status = "ok"
        _unlock(world, live, 0.0)
        then(error)

    work = _working(
        world, "snapshot-fails", lambda: _copies(world, [frozen[disk.id] for disk in live], live, thin=False)
    )
    _task(
        world,
        job,
        "Creating Volume",
        world.timing.create_disk,
        work,
        _at_end(world, job, end),
        finalizes=False,
    )


def remove_snapshot(world: World, vm: Vm, snapshot: Snapshot, then: Callable[[], None]) -> None:
    """Merges a snapshot's volumes into the disks of `vm`, which may run."""
    mine = {one.disk.id for one in snapshot.attachments}
    live = [one.disk for one in vm.attachments if one.disk.id in mine]
    snapshot.status = "locked"
    _lock(live)

    def gone(_error: str | None) -> None:
        forget_snapshot(world, vm, snapshot)
        _unlock(world, live, 0.0)
        then()

    world.after(world.timing.remove_disk, gone)


def forget_snapshot(world: World, vm: Vm, snapshot: Snapshot) -> None:
    """Drops a snapshot and its volumes at once."""
    if snapshot in vm.snapshots:
        vm.snapshots.remove(snapshot)
        _remove_volumes(world, snapshot.attachments)


def _remove_volumes(world: World, attachments: Sequence[Attachment]) -> None:
    for attachment in attachments:
        world.guests.remove_disk(attachment.disk.volume)


def clone_vm(world: World, vm: Vm, clone: Vm, snapshot: Snapshot, job: Job) -> None:
    """Makes a VM as a clone of another one, which may run, through a snapshot that is removed afterwards.

    The clone is seen when its disks begin to be made, then at once `down`, but without its display.
    """
    disks = [attachment.disk for attachment in clone.attachments]
    ending = _ending(world)
    fails = world.injections.fires("vm-fails") is not None
    vm.lock = "vm cloned"
    vm.cloning.append(clone.name)
    display = clone.config.find("display")
    if display is not None:
        clone.config.remove(display)

    def end(error: str | None) -> None:
        vm.lock = None
        vm.cloning.remove(clone.name)
        world.locks.discard(("vm name", clone.name))
        if error is not None:
            world.log(60, vm=clone, job=job)
            world.vms.pop(clone.id, None)
            _drop(world, disks)
        else:
            if display is not None:
                clone.config.append(display)
            world.log(53, vm=clone, job=job)
            _unlock(world, disks, world.timing.disk_lag, ending)
        _end_job(world, job, world.timing.disk_lag, ok=error is None)

    def copied(error: str | None) -> None:
        remove_snapshot(world, vm, snapshot, lambda: None)
        end(error)

    def copy(error: str | None) -> None:
        if error is not None:
            end(error)
            return
        clone.created = world.now
        clone.stopped = world.now
        world.vms[clone.id] = clone
        _begin(world, disks)
        frozen = [attachment.disk for attachment in snapshot.attachments]
        _lock([one.disk for one in vm.attachments if one.disk.id in {disk.id for disk in frozen}])
        work = FailedWork("injected") if fails else _copies(world, disks, frozen, thin=False)
        _task(
            world,
            job,
            "Creating Volume",
            world.timing.clone_full,
            work,
            _at_end(world, job, copied),
        )

    # The engine turns to the copies only when it next looks at its commands.
    take_snapshot(
        world,
        vm,
        snapshot,
        job,
        lambda error: world.after(world.timing.storage_end, lambda _none: copy(error)),
    )


def restore(world: World, vm: Vm, snapshot: Snapshot, job: Job, then: Callable[[], None]) -> None:
    """Gives the disks of `vm`, which is down, the content that they had at the snapshot.

    Meanwhile the snapshot is in preview, by `TryBackToAllSnapshotsOfVmCommand` of the engine.
    """
    frozen, live = _frozen_and_live(vm, snapshot)
    vm.status = "image_locked"
    snapshot.status = "in_preview"
    _lock(live)
    for disk in live:
        world.guests.remove_disk(disk.volume)

    def end(error: str | None) -> None:
        vm.status = "down"
        snapshot.status = "ok"
        _unlock(world, live, world.timing.disk_lag)
        then()
        _end_job(world, job, world.timing.disk_lag, ok=error is None)

    work = _copies(world, live, [frozen[disk.id] for disk in live], thin=False)
    _task(
        world,
        job,
        "Creating Volume",
        world.timing.create_disk,
        work,
        _at_end(world, job, end),
    )


def build_template(
    world: World, template: Template, vm: Vm, sources: Sequence[Disk], job: Job, *, seal: bool
) -> None:
    """Copies a VM's disks into a new template, and seals them."""
    disks = [attachment.disk for attachment in template.attachments]
    _begin(world, disks)
    _lock(sources)
    ending = _ending(world)
    seal_fails = seal and world.injections.fires("seal-fails") is not None
    vm.status = "image_locked"
    vm.lock = "vm templated"

    def end(error: str | None, code: int) -> None:
        vm.status = "down"
        vm.lock = None
        _unlock(world, sources, 0.0)
        if error is not None:
            world.log(code, vm=vm, template=template, job=job)
            world.templates.pop(template.id, None)
            world.forget_permissions(("templates", template.id))
            _drop(world, disks)
        else:
            template.status = "ok"
            world.log(51, vm=vm, template=template, job=job)
            _unlock(world, disks, world.timing.disk_lag, ending)
        _end_job(world, job, world.timing.disk_lag, ok=error is None)

    def finish(error: str | None, code: int) -> None:
        world.after(_until_end(world, job), lambda _none: end(error, code))

    def copied(error: str | None) -> None:
        if error is not None or not seal:
            finish(error, 1322)
            return
        work: Work = FailedWork("injected")
        if not seal_fails:
            work = AllWork([world.guests.seal_disk(disk.id) for disk in disks])
        _task(world, job, "Sealing Disks", world.timing.seal_disk, work, lambda error: finish(error, 1324))

    work = _working(world, "template-fails", lambda: _copies(world, disks, sources, thin=False))
    _task(world, job, "Copying Image", world.timing.copy_disk, work, copied)


def edit(
    world: World,
    disk: Disk,
    seconds: float,
    then: Callable[[], None] = lambda: None,
    job: Job | None = None,
) -> None:
    """Locks a disk for a while, as every PUT does; what it changes holds from the end on. `job` ends when the
    disk is free again.
    """
    if job is not None:
        job.in_background = True
    _lock([disk])

    def end(_error: str | None) -> None:
        then()
        _unlock(world, [disk], 0.0)
        if job is not None:
            world.end_job(job)

    world.after(seconds, end)


def copy_disk(world: World, source: Disk, copy: Disk, job: Job) -> None:
    """Makes another disk of the content of `source`, which is locked meanwhile."""
    _begin(world, [copy])
    work = _working(world, "disk-fails", lambda: _copies(world, [copy], [source], thin=False))

    def end(error: str | None) -> None:
        if error is not None:
            _drop(world, [copy])
        else:
            copy.actual_size = source.actual_size
            _unlock(world, [copy], 0.0)

    _engage(world, source, copy.name, job, work, end)


def copy_template_disk(world: World, disk: Disk, domain: StorageDomain, job: Job) -> None:
    """Puts a copy of a template's disk on another domain: it is the same disk on both."""

    def end(error: str | None) -> None:
        if error is None:
            disk.copies.append(domain)

    _engage(world, disk, disk.name, job, _working(world, "disk-fails", DoneWork), end)


def remove_template_copy(world: World, disk: Disk, domain: StorageDomain, job: Job) -> None:
    """Removes one of several copies of a template's disk."""
    _lock([disk])
    job.in_background = True
    step = world.add_step(job, "Deleting Image")

    def gone(_error: str | None) -> None:
        disk.domain, *disk.copies = [one for one in disk.domains if one is not domain]
        _unlock(world, [disk], 0.0)
        world.end_step(job, step)
        world.after(world.timing.remove_end, lambda _none: world.end_job(job))

    world.after(world.timing.remove_disk, gone)


def export(
    world: World,
    copies: Sequence[Disk],
    sources: Sequence[Disk],
    job: Job,
    then: Callable[[str | None], None],
) -> None:
    """Copies the disks of a VM or template to an export domain; they are locked meanwhile."""
    _lock(sources)

    def end(error: str | None) -> None:
        if error is not None:
            for disk in copies:
                world.guests.remove_disk(disk.volume)
        _unlock(world, sources, 0.0)
        then(error)

    _carry(world, copies, sources, job, end, fault="export-fails")


def export_running(
    world: World,
    vm: Vm,
    snapshot: Snapshot,
    copies: Sequence[Disk],
    job: Job,
    then: Callable[[str | None], None],
) -> None:
    """Copies the disks of a VM, which may run, through a snapshot that is removed afterwards."""

    def end(error: str | None) -> None:
        if error is not None:
            for disk in copies:
                world.guests.remove_disk(disk.volume)
        then(error)
        world.end_job(job, ok=error is None)

    def copy(error: str | None) -> None:
        if error is not None:
            end(error)
            return
        _task(
            world,
            job,
            "Creating a Virtual Appliance",
            world.timing.copy_disk,
            _working(
                world,
                "export-fails",
                lambda: _copies(world, copies, [one.disk for one in snapshot.attachments], thin=False),
            ),
            lambda error: remove_snapshot(world, vm, snapshot, lambda: end(error)),
            finalizes=False,
        )

    take_snapshot(
        world,
        vm,
        snapshot,
        job,
        lambda error: world.after(world.timing.storage_end, lambda _none: copy(error)),
    )


def bring_in(
    world: World,
    copies: Sequence[Disk],
    sources: Sequence[Disk],
    job: Job,
    then: Callable[[str | None], None],
) -> None:
    """Makes the disks of a VM or template that is imported."""
    _begin(world, copies)

    def end(error: str | None) -> None:
        if error is not None:
            _drop(world, copies)
        then(error)
        _unlock(world, copies, world.timing.disk_lag)

    _carry(world, copies, sources, job, end)


def _carry(
    world: World,
    copies: Sequence[Disk],
    sources: Sequence[Disk],
    job: Job,
    then: Callable[[str | None], None],
    *,
    fault: str = "disk-fails",
) -> None:
    """Copies disks from one domain to another; ends `job` after `then`."""

    def end(error: str | None) -> None:
        then(error)
        world.end_job(job, ok=error is None)

    _task(
        world,
        job,
        "Copying Image",
        world.timing.copy_disk,
        _working(world, fault, lambda: _copies(world, copies, sources, thin=False)),
        lambda error: world.after(world.timing.storage_end, lambda _none: end(error)),
    )


def move_disk(world: World, disk: Disk, domain: StorageDomain, job: Job) -> None:
    """Moves a disk to another storage domain."""

    def end(error: str | None) -> None:
        if error is None:
            disk.domain = domain
            disk.profile_id = None

    _engage(world, disk, disk.name, job, DoneWork(), end)


def convert_disk(world: World, disk: Disk, disk_format: str, sparse: bool, job: Job) -> None:
    """Rewrites a disk in another format."""

    def end(error: str | None) -> None:
        if error is None:
            disk.format = disk_format
            disk.sparse = sparse

    _engage(world, disk, disk.name, job, DoneWork(), end)


def sparsify(world: World, disk: Disk, job: Job) -> None:
    """Gives back what a disk takes and does not use, which is what its content takes."""
    job.in_background = True
    _lock([disk])
    world.log(1325, disk=disk, job=job)
    failing = _working(world, "sparsify-fails", DoneWork)

    def end(error: str | None) -> None:
        if error is None:
            disk.actual_size = min(disk.actual_size, max(world.guests.used(disk.volume), _EMPTY))
        world.log(1326 if error is None else 1327, disk=disk, job=job)
        _unlock(world, [disk], 0.0)
        world.end_job(job, ok=error is None)

    _task(world, job, "Sparsifying", world.timing.extend_disk, failing, end)


def _engage(
    world: World, disk: Disk, name: str, job: Job, work: Work, then: Callable[[str | None], None]
) -> None:
    """Locks a disk while all of it is copied; `name` is what is being made of it."""
    _lock([disk])
    disk.copying = name

    def end(error: str | None) -> None:
        disk.copying = None
        then(error)
        _unlock(world, [disk], 0.0)
        world.end_job(job, ok=error is None)

    _task(
        world,
        job,
        "Copying Image",
        world.timing.clone_full,
        work,
        lambda error: world.after(world.timing.storage_end, lambda _none: end(error)),
    )


def remove(
    world: World, disks: Sequence[Disk], job: Job | None, then: Callable[[], None] = lambda: None
) -> None:
    """Removes disks in the background; `job` ends a while after they are gone."""
    _lock(disks)
    if job is not None:
        job.in_background = True
    steps = [world.add_step(job, "Deleting Image") for _ in disks] if job is not None else []

    def gone(_error: str | None) -> None:
        _drop(world, disks)
        for vm in world.vms.values():
            vm.attachments = [a for a in vm.attachments if a.disk not in disks]
            for snapshot in vm.snapshots:
                lost = [one for one in snapshot.attachments if one.disk.id not in world.disks]
                snapshot.attachments = [one for one in snapshot.attachments if one not in lost]
                _remove_volumes(world, lost)
        then()
        if job is not None:
            for step in steps:
                world.end_step(job, step)
            world.after(world.timing.remove_end, lambda _none: world.end_job(job))

    world.after(world.timing.remove_disk if disks else 0.0, gone)


def check_room(world: World, domain: StorageDomain, action: str, bytes_needed: int = 0) -> None:
    """Raises the fault when the disks do not fit; `bytes_needed` are those of preallocated ones."""
    if world.injections.fires("quota-exceeded") is not None:
        raise engine_fault("quota exceeded", action=action)
    if bytes_needed > domain.available or world.injections.fires("storage-full") is not None:
        raise engine_fault("low space", action=action, domain=domain.name)
