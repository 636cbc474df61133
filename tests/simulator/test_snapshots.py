"""Snapshots, VMs made from them, and clones."""

import uuid

import pytest
from ovirtsdk4 import types

STATUS = types.SnapshotStatus


async def taken(lab, vm_id, description="before"):
    """A snapshot that is ready; its id."""
    service = lab.vms.vm_service(vm_id).snapshots_service()
    made = await lab.call(service.add, types.Snapshot(description=description))
    assert made.snapshot_status == STATUS.LOCKED
    await lab.wait(lambda: [one.status for one in lab.world.vms[vm_id].snapshots], ["ok"])
    await lab.ready_disks(vm_id)
    return made.id


async def codes(lab, correlation_id):
    events = await lab.call(lab.system.events_service().list, search=f"correlation_id={correlation_id}")
    return [event.code for event in events]


@pytest.mark.parametrize("running", [False, True])
def test_a_snapshot_is_made_shown_and_removed(play, running):
    async def scenario(lab):
        vm_id = await lab.create("web", comment="mine")
        if running:
            await lab.up(vm_id)
        service = lab.vms.vm_service(vm_id).snapshots_service()
        made = await lab.call(
            service.add, types.Snapshot(description="before"), headers={"Correlation-Id": "take"}
        )
        assert (made.snapshot_status, made.persist_memorystate) == (STATUS.LOCKED, running)
        refused = await lab.request("DELETE", f"/vms/{vm_id}/snapshots/{made.id}")
        assert refused.status == 409
        assert "Snapshot is currently being created for VM web." in refused.text
        (disk,) = lab.world.vms[vm_id].attachments
        assert disk.disk.status == "locked"
        await lab.wait(lambda: lab.world.vms[vm_id].snapshots[0].status, "ok")
        assert await codes(lab, "take") == [68, 45]
        listed = await lab.call(service.list)
        assert [one.snapshot_type for one in listed] == [
            types.SnapshotType.ACTIVE,
            types.SnapshotType.REGULAR,
        ]
        assert (listed[1].description, listed[1].vm.name, listed[1].vm.comment) == ("before", "web", "mine")
        (frozen,) = await lab.call(service.snapshot_service(made.id).disks_service().list)
        assert frozen.id == disk.disk.id
        assert frozen.image_id != disk.disk.image_id
        await lab.call(service.snapshot_service(made.id).remove, headers={"Correlation-Id": "drop"})
        await lab.wait(lambda: lab.world.vms[vm_id].snapshots, [])
        assert (await lab.request("GET", f"/vms/{vm_id}/snapshots/{made.id}")).status == 404
        assert await codes(lab, "drop") == [356, 342]
        jobs = await lab.call(lab.system.jobs_service().list, search="correlation_id=drop")
        assert [job.status for job in jobs] == [types.JobStatus.FINISHED]

    play(scenario)


def test_a_vm_from_a_snapshot_has_the_clients_id_and_disks_of_its_own(play):
    async def scenario(lab):
        source = await lab.create("web", memory=2 << 30)
        await lab.up(source)
        snapshot = await taken(lab, source)
        vm_id = str(uuid.uuid4())
        body = types.Vm(
            id=vm_id,
            name="copy",
            comment="mark",
            cluster=types.Cluster(name="Default"),
            snapshots=[types.Snapshot(id=snapshot)],
        )
        made = await lab.call(lab.vms.add, body, headers={"Correlation-Id": "copy"})
        assert (made.id, made.status, made.comment) == (vm_id, types.VmStatus.IMAGE_LOCKED, "mark")
        assert (made.memory, made.template.id) == (2 << 30, "0" * 8 + "-0000-0000-0000-" + "0" * 12)
        assert await lab.call(lab.connection.follow_link, made.template)
        busy = await lab.request("DELETE", f"/vms/{source}/snapshots/{snapshot}")
        assert (busy.status, "performing an operation on a Snapshot" in busy.text) == (409, True)
        again = await lab.request("POST", "/vms", from_snapshot("copy", snapshot, vm_id))
        assert again.status == 409
        await lab.ready(vm_id)
        attachments = await lab.call(lab.vms.vm_service(vm_id).disk_attachments_service().list, follow="disk")
        assert [(one.bootable, one.disk.name) for one in attachments] == [(True, "debian-12_Disk1_copy")]
        nics = [await lab.call(lab.vms.vm_service(one).nics_service().list) for one in (source, vm_id)]
        assert [nic.name for nic in nics[0]] == [nic.name for nic in nics[1]] == ["nic1"]
        assert nics[0][0].mac.address != nics[1][0].mac.address
        assert await codes(lab, "copy") == [53, 37]
        service = lab.vms.vm_service(source).snapshots_service().snapshot_service(snapshot)
        await lab.call(service.remove)
        await lab.wait(lambda: lab.world.vms[source].snapshots, [])
        await lab.up(vm_id)

    play(scenario)


def from_snapshot(name, snapshot, vm_id=""):
    given = f' id="{vm_id}"' if vm_id else ""
    return (
        f"<vm{given}><name>{name}</name><cluster><name>Default</name></cluster>"
        f'<snapshots><snapshot id="{snapshot}"/></snapshots></vm>'
    )


def test_a_snapshot_that_is_not_there_is_said_so(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        unknown = await lab.request("POST", "/vms", from_snapshot("copy", uuid.uuid4()))
        assert (unknown.status, "Entity not found" in unknown.text) == (404, True)
        assert (await lab.request("DELETE", f"/vms/{vm_id}/snapshots/{uuid.uuid4()}")).status == 404
        nameless = await lab.request("POST", f"/vms/{vm_id}/snapshots", "<snapshot/>")
        assert "Parameter 'snapshot.description' is mandatory" in nameless.text
        active = lab.world.vms[vm_id].active_snapshot_id
        kept = await lab.request("DELETE", f"/vms/{vm_id}/snapshots/{active}")
        assert (kept.status, "only allowed for regular snapshots" in kept.text) == (409, True)

    play(scenario)


def test_a_snapshot_that_fails_vanishes(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        lab.world.injections.arm("snapshot-fails")
        reply = await lab.request(
            "POST",
            f"/vms/{vm_id}/snapshots",
            "<snapshot><description>s</description></snapshot>",
            Correlation_Id="fails",
        )
        assert reply.status == 201
        await lab.wait(lambda: lab.world.vms[vm_id].snapshots, [])
        assert await codes(lab, "fails") == [69, 45]
        await lab.up(vm_id)

    play(scenario)


@pytest.mark.parametrize("running", [False, True])
def test_a_clone_goes_through_a_snapshot_that_is_removed(play, running):
    async def scenario(lab):
        vm_id = await lab.create("web")
        if running:
            await lab.up(vm_id)
        service = lab.vms.vm_service(vm_id)
        await lab.call(service.clone, vm=types.Vm(name="copy"))
        again = await lab.request("POST", f"/vms/{vm_id}/clone", "<action><vm><name>c2</name></vm></action>")
        assert (again.status, "in use to create VM copy." in again.text) == (409, True)
        refused = await lab.request(
            "POST", f"/vms/{vm_id}/snapshots", "<snapshot><description>s</description></snapshot>"
        )
        assert "[Cannot create Snapshot. VM is being cloned.]" in refused.text
        await lab.wait(lambda: lab.world.vm_named("copy") is not None, True)
        copy = lab.world.vm_named("copy")
        assert (copy.status, copy.attachments[0].disk.status) == ("down", "locked")
        assert copy.attachments[0].disk.name == "debian-12_Disk1_copy"
        await lab.ready(copy.id)
        await lab.wait(lambda: (lab.world.vms[vm_id].lock, lab.world.vms[vm_id].snapshots), (None, []))
        await lab.up(copy.id)

    play(scenario)


def test_a_clone_needs_a_name(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        reply = await lab.request("POST", f"/vms/{vm_id}/clone", "<action/>")
        assert reply.status == 400
        assert reply.text.count("<action>") == 0
        assert "Parameter 'vm.name' is mandatory but was not provided." in reply.text

    play(scenario)


def test_a_vm_is_restored_to_what_it_was(play):
    async def scenario(lab):
        vm_id = await lab.create("web", memory=1 << 30)
        snapshot = await taken(lab, vm_id)
        service = lab.vms.vm_service(vm_id)
        await lab.call(service.update, types.Vm(memory=2 << 30))
        assert (await lab.call(service.get)).memory == 2 << 30
        one = service.snapshots_service().snapshot_service(snapshot)
        await lab.call(one.restore)
        assert (await lab.call(service.get)).status == types.VmStatus.IMAGE_LOCKED
        assert (await lab.call(one.get)).snapshot_status == types.SnapshotStatus.IN_PREVIEW
        await lab.ready(vm_id)
        assert (await lab.call(one.get)).snapshot_status == types.SnapshotStatus.OK
        assert (await lab.call(service.get)).memory == 1 << 30
        assert await codes(lab, "RestoreSnapshot") == [100, 1190]

    play(scenario)


def test_a_vm_takes_its_snapshots_with_it(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        snapshot = await taken(lab, vm_id)
        await lab.call(lab.vms.vm_service(vm_id).remove)
        gone = await lab.request("POST", "/vms", from_snapshot("copy", snapshot))
        assert gone.status == 404

    play(scenario)


def test_a_preview_is_undone_or_committed(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        vm = lab.vms.vm_service(vm_id)
        await lab.ready_disks(vm_id)
        await lab.call(vm.update, types.Vm(memory=1 << 30))
        snapshot = await taken(lab, vm_id)
        await lab.call(vm.update, types.Vm(memory=2 << 30))

        async def preview():
            await lab.call(vm.preview_snapshot, snapshot=types.Snapshot(id=snapshot))
            await lab.wait(lambda: lab.world.vms[vm_id].status, "image_locked")
            await lab.ready(vm_id)
            await lab.ready_disks(vm_id)

        async def listed():
            return {
                one.snapshot_type: one.snapshot_status for one in await lab.call(vm.snapshots_service().list)
            }

        none = await lab.request("POST", f"/vms/{vm_id}/undosnapshot", "<action/>")
        assert (none.status, "VM is not previewing a Snapshot." in none.text) == (409, True)
        await preview()
        assert (await lab.call(vm.get)).memory == 1 << 30
        assert await listed() == {
            types.SnapshotType.ACTIVE: STATUS.OK,
            types.SnapshotType.REGULAR: STATUS.IN_PREVIEW,
            types.SnapshotType.PREVIEW: STATUS.OK,
        }
        refused = await lab.request("DELETE", f"/vms/{vm_id}/snapshots/{snapshot}")
        assert (refused.status, "VM is previewing a Snapshot." in refused.text) == (409, True)
        await lab.call(vm.undo_snapshot)
        assert (await lab.call(vm.get)).status == types.VmStatus.IMAGE_LOCKED  # its disks are copied back
        await lab.ready(vm_id)
        await lab.ready_disks(vm_id)
        assert (await lab.call(vm.get)).memory == 2 << 30
        await preview()
        await lab.call(vm.commit_snapshot)
        assert (await lab.call(vm.get)).memory == 1 << 30
        assert await listed() == {types.SnapshotType.ACTIVE: STATUS.OK, types.SnapshotType.REGULAR: STATUS.OK}
        await lab.up(vm_id)

    play(scenario)
