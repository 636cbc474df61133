"""What a new Machine gets beyond copies of its template's disks: the phases of CreateMachine that equip it.

They work by the plan that `hardware.py` has made.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ovirt_provision.engine.disks import DiskRequest
from ovirt_provision.engine.model import Disk, Vm
from ovirt_provision.engine.vm_requests import AttachmentRequest, DiskChange, NicRequest
from ovirt_provision.errors import EngineRefused, NotOurs
from ovirt_provision.ledger.identity import Mark, disk_id
from ovirt_provision.ledger.store import PRESENT, Object
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.provisioning import PASSING, WITHOUT_EFFECT, Provisioning
from ovirt_provision.operations.waits import disk_ok, vm_ready

_WITH_DISKS = "disk_attachments.disk"


async def create_disks(run: Provisioning) -> None:
    """Sends the creates of the new disks until each stands under our id, while the VM is made.

    The engine takes ids of ours only for disks that are made by themselves and attached afterwards
    (behaviour.md 36, 37).
    """
    for row, wanted in _new_disks(run):
        # One that stands need not be looked for again.
        if row.state != PRESENT or row.unanswered:
            await create_disk(run, row, wanted["disk"])


async def create_disk(run: Provisioning, row: Object, wanted: Mapping[str, Any]) -> None:
    """Sends the create until the disk stands under our id; `wanted` are fields of DiskRequest."""
    request = DiskRequest(id=row.known_id, name=row.name, description=described(run, row), **wanted)

    async def find() -> str | None:
        disk = await run.insist(lambda: run.engine.disks.get(row.known_id))
        if disk is None:
            return None
        if Mark.parse(disk.description) != run.mark("disk", row):
            raise NotOurs(
                kind="disk",
                name=disk.name,
                id=disk.id,
                detail="it has our id without our mark",
                correlation_id=run.correlation_id,
            )
        return disk.id

    async def send() -> str:
        return (await run.engine.disks.create(request, correlation_id=run.correlation_id)).id

    await create_once(run, row, doing=f"create disk {row.name}", find=find, send=send)


def described(run: Provisioning, row: Object) -> str:
    """The description of a disk: what its row says, and the mark."""
    mark = str(run.mark("disk", row))
    return f"{row.details['description']}\n{mark}" if row.details.get("description") else mark


def _new_disks(run: Provisioning) -> list[tuple[Object, dict[str, Any]]]:
    """The rows of the disks that are to be made, and what is planned for them."""
    rows = {row.engine_id: row for row in run.ledger.children(run.object.id)}
    planned = enumerate(run.plan["hardware"]["new_disks"], start=1)
    return [(rows[disk_id(run.machine_id, number)], one) for number, one in planned]


async def change_disks(run: Provisioning) -> None:
    """Makes the copies of the template's disks what is wanted, each by one request unless it is so already.

    The engine refuses a second bootable disk, so those that are not to be bootable any more come first.
    """
    for frees_boot in (True, False):
        vm = await _our_vm(run, _WITH_DISKS)
        sent = False
        for disk, change in _changes(run, vm):
            if (change.bootable is False) == frees_boot:
                run.note(f"changing disk {disk.name}")
                await run.insist(
                    partial(
                        run.engine.machines.change_disk,
                        run.machine_id,
                        disk,
                        change,
                        correlation_id=run.correlation_id,
                    ),
                    on_vm=run.machine_id,
                )
                sent = True
        if sent and frees_boot:
            await wait_until_changed(run)


async def wait_until_changed(run: Provisioning) -> None:
    await vm_ready(run, run.machine_id, f"the changes of the disks of VM {run.object.name}")


def _changes(run: Provisioning, vm: Vm) -> list[tuple[Disk, DiskChange]]:
    """What is still to be changed of which disk."""
    owned = run.ledger.disk_ids(run.object.id)
    mine = [disk for disk in vm.disks if disk.id in owned]
    found = []
    for planned in run.plan["hardware"]["changed_disks"]:
        named = [disk for disk in mine if disk.name == planned["name"]]
        if len(named) > 1 and planned["boot"]:
            named = [disk for disk in named if disk.bootable]
        if len(named) != 1:
            raise run.failure(f"VM {vm.name}", f"it has {len(named)} disks named '{planned['name']}'")
        disk = named[0]
        left = {name: value for name, value in planned["changes"].items() if getattr(disk, name) != value}
        if left.get("size", disk.size) < disk.size:
            del left["size"]
        if left:
            found.append((disk, DiskChange(**left)))
    return found


async def attach_disks(run: Provisioning) -> None:
    """Attaches the new disks, once they are whole, and those of others, unless the VM has them."""
    new = _new_disks(run)
    for row, _ in new:
        await disk_ok(run, row.known_id, row.name)
    attached = {disk.id for disk in (await _our_vm(run, _WITH_DISKS)).disks}
    for row, wanted in new:
        if row.known_id not in attached:
            await run.insist(
                partial(_attach, run, row.known_id, row.name, wanted["attachment"]),
                on_vm=run.machine_id,
            )
    lent = run.plan["hardware"]["attached_disks"]
    if lent:
        await _borrow(run, [one for one in lent if one["id"] not in attached])


async def _borrow(run: Provisioning, disks: list[dict[str, Any]]) -> None:
    """Attaches disks that are not ours.

    The ledger says until when the engine may still carry out a request that was not answered: until then the
    VM must not be removed, because such a disk would go with it (`removal.py`).
    """
    lost = run.reentered and "attaching_until" in run.object.details

    async def ask(one: Mapping[str, Any]) -> None:
        nonlocal lost
        until = run.clock.time() + run.timeouts.engine_request + run.timeouts.late_create_grace
        _note_attaching(run, until)
        try:
            await _attach(run, one["id"], one["name"], one["attachment"])
        except PASSING as error:
            lost = lost or not isinstance(error, WITHOUT_EFFECT)
            raise

    for one in disks:
        await run.insist(partial(ask, one), on_vm=run.machine_id)
    if not lost:
        _note_attaching(run, None)


async def _attach(run: Provisioning, disk_id: str, name: str, wanted: Mapping[str, Any]) -> None:
    run.note(f"attaching disk {name}")
    try:
        await run.engine.machines.attach_disk(
            run.machine_id, disk_id, name, AttachmentRequest(**wanted), correlation_id=run.correlation_id
        )
    except EngineRefused:
        # One that was sent before and not answered has had its effect.
        if all(disk.id != disk_id for disk in await run.engine.disks.of_vm(run.machine_id)):
            raise


def _note_attaching(run: Provisioning, until: float | None) -> None:
    details = {**run.object.details, "attaching_until": until}
    if until is None:
        del details["attaching_until"]
    if details != run.object.details:
        run.ledger.update_object(run.object.id, details=details)


async def connect_nics(run: Provisioning) -> None:
    """Makes the VM's NICs those of the request, matched by name; without any in the request the template's
    stay."""
    wanted = {one["name"]: NicRequest(**one) for one in run.plan["hardware"]["nics"]}
    if not wanted:
        return
    vm_id, cid, machines = run.machine_id, run.correlation_id, run.engine.machines
    present = {nic.name: nic for nic in (await _our_vm(run, "nics")).nics}
    for name in present.keys() - wanted.keys():
        await run.insist(
            partial(machines.remove_nic, vm_id, present[name], correlation_id=cid),
            on_vm=vm_id,
        )
    for name, request in wanted.items():
        run.note(f"connecting NIC {name}")
        if name not in present:
            await run.insist(
                partial(machines.add_nic, vm_id, request, correlation_id=cid),
                on_vm=vm_id,
            )
        elif not request.fits(present[name]):
            await run.insist(
                partial(machines.change_nic, vm_id, present[name], request, correlation_id=cid),
                on_vm=vm_id,
            )


async def assign(run: Provisioning) -> None:
    """Gives the VM its tags and affinity labels, and puts it into its affinity groups. They go with it."""
    plan, vm_id, cid, machines = run.plan["hardware"], run.machine_id, run.correlation_id, run.engine.machines
    await _our_vm(run, "")
    tags: set[str] = set()
    labels: set[str] = set()
    if run.reentered:
        tags = await run.insist(lambda: machines.tag_ids(vm_id))
        labels = await run.insist(lambda: machines.label_ids(vm_id))
    for tag in plan["tags"]:
        if tag not in tags:
            await run.insist(
                partial(machines.add_tag, vm_id, tag, correlation_id=cid),
                on_vm=vm_id,
            )
    for label in plan["affinity_labels"]:
        if label not in labels:
            await run.insist(
                partial(machines.add_label, vm_id, label, correlation_id=cid),
                on_vm=vm_id,
            )
    for group in plan["affinity_groups"]:
        await run.insist(partial(_join, run, group), on_vm=vm_id)


async def _join(run: Provisioning, group: str) -> None:
    machines, cluster = run.engine.machines, run.plan["cluster_id"]
    try:
        await machines.join_group(cluster, group, run.machine_id, correlation_id=run.correlation_id)
    except EngineRefused:
        # Refused also where the VM is in the group by now.
        if run.machine_id not in await machines.group_members(cluster, group):
            raise


async def _our_vm(run: Provisioning, follow: str) -> Vm:
    """The VM, read with what is followed. Raises NotOurs, and EngineOperationFailed where it is gone."""
    vm_id = run.machine_id
    vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow=follow))
    if vm is None:
        raise run.failure(f"VM {run.object.name}", "the VM has vanished")
    run.insist_on_ours(vm)
    return vm
