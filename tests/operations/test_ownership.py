"""What is not ours is never touched, whatever its name or mark."""

import uuid

import pytest
from ovirtsdk4 import types

from ovirt_provision.ledger.identity import disk_id, imported_disk_id, vm_id
from ovirt_provision.ledger.store import FAILED, LATE, PRESENT, REMOVING, SUCCEEDED
from ovirt_provision.operations import detach_disk, removal, sparsify_disk
from ovirt_provision.simulator.entities import Attachment
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.harness import ENGINE, INSTALLATION, OWNER, Site, spec
from tests.image_files import RAW


async def as_a_person(site: Site, request):
    """Sends a request to the engine past the bridge."""
    return await site.bridge.engine(ENGINE).session.call("do as a person would", request)


async def foreign_vm(site: Site, name: str, comment: str = "") -> str:
    vm = await as_a_person(
        site,
        lambda system: system.vms_service().add(
            types.Vm(
                name=name,
                comment=comment,
                cluster=types.Cluster(name="Default"),
                template=types.Template(name="Blank"),
            )
        ),
    )
    return vm.id


async def foreign_disk_on(site: Site, vm_id: str) -> str:
    disk = await as_a_person(
        site,
        lambda system: system.disks_service().add(
            types.Disk(
                name="precious",
                format=types.DiskFormat.COW,
                provisioned_size=1 << 30,
                storage_domains=[types.StorageDomain(name="data")],
            )
        ),
    )
    await site.clock.sleep(60)
    await as_a_person(
        site,
        lambda system: (
            system.vms_service()
            .vm_service(vm_id)
            .disk_attachments_service()
            .add(
                types.DiskAttachment(
                    disk=types.Disk(id=disk.id),
                    interface=types.DiskInterface.VIRTIO,
                    bootable=False,
                    active=True,
                )
            )
        ),
    )
    await site.clock.sleep(60)
    return disk.id


def test_a_foreign_vm_of_the_same_name_is_named_and_left_alone(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            foreign = await foreign_vm(s, "web")

            made = await s.run("CreateMachine", key="web", spec=spec())

            assert made.state == FAILED
            assert made.error["reason"] == "NAME_IN_USE"
            assert foreign in made.error["message"]
            assert made.cleanup == "done"
            assert list(s.simulator.world.vms) == [foreign]

    run_virtually(scenario())


def test_a_copied_mark_is_reported_as_foreign_and_never_touched(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            mark = next(iter(s.simulator.world.vms.values())).comment
            foreign = await foreign_vm(s, "copy", comment=mark)

            assert ("foreign", "vm", "copy") in await s.census()
            await s.run("DestroyMachine", key="web")
            assert list(s.simulator.world.vms) == [foreign]

    run_virtually(scenario())


def test_a_machine_whose_mark_was_taken_away_is_not_ours_any_more(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            vm_id = s.bridge.ledger.living_machine(OWNER, "web").engine_id
            await as_a_person(
                s, lambda system: system.vms_service().vm_service(vm_id).update(types.Vm(comment="mine now"))
            )

            destroyed = await s.run("DestroyMachine", key="web")

            assert destroyed.error["reason"] == "NOT_OURS"
            assert s.vms() == ["web"]

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_foreign_disk_on_our_machine_is_detached_and_kept(site, run_virtually, monkeypatch, defence):
    """With the defence off, every disk of the VM counts as its own: then the foreign one is lost."""
    if defence == "off":
        monkeypatch.setattr(removal, "_foreign_disks", lambda vm, owned: [])

    async def scenario() -> bool:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            vm_id = s.bridge.ledger.living_machine(OWNER, "web").engine_id
            precious = await foreign_disk_on(s, vm_id)

            destroyed = await s.run("DestroyMachine", key="web")
            await s.clock.sleep(120)

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert s.vms() == []
            return precious in s.simulator.world.disks

    assert run_virtually(scenario()) is (defence == "on")


def test_a_foreign_disk_that_comes_while_the_engine_refuses_is_kept_too(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            world = s.simulator.world
            vm = next(iter(world.vms.values()))
            vm.attachments[0].disk.status = "locked"
            destroying = await s.call("DestroyMachine", key="web")
            await s.clock.sleep(10)
            precious = world.add_disk("precious")
            vm.attachments.append(Attachment(precious, bootable=False))
            vm.attachments[0].disk.status = "ok"

            ended = await s.ended(destroying)
            await s.clock.sleep(60)

            assert ended.state == SUCCEEDED, ended.error
            assert s.vms() == []
            assert precious.id in world.disks

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
@pytest.mark.parametrize("verb", ["CreateMachine", "ImportImage"])
def test_a_disk_of_others_that_has_the_id_of_one_to_come_is_not_removed_by_the_undo(
    direct_site, run_virtually, monkeypatch, verb, defence
):
    if defence == "off":
        monkeypatch.setattr(removal, "_is_of_others", lambda *_: False)

    async def scenario() -> bool:
        async with direct_site(engine_lock=5) as s:
            request_id = str(uuid.uuid4())
            if verb == "CreateMachine":
                taken = disk_id(vm_id(str(INSTALLATION), OWNER, "web", 1), 1)
                fields = {"key": "web", "spec": spec(new_disks=[resources_pb2.DiskSpec(size_bytes=1 << 30)])}
            else:
                taken = imported_disk_id(str(INSTALLATION), OWNER, request_id)
                disk = images_pb2.ImportedDisk(name="golden")
                fields = {"checksum": await s.upload(RAW), "disk": disk}
            precious = s.simulator.world.add_disk("precious", disk_id=taken)

            ended = await s.run(verb, request_id=request_id, **fields)
            await s.clock.sleep(120)

            assert (ended.state, ended.error["reason"]) == (FAILED, "NOT_OURS")
            assert (s.vms(), s.bridge.ledger.list_objects(PRESENT, REMOVING, LATE)) == ([], [])
            return precious.id in s.simulator.world.disks

    assert run_virtually(scenario()) is (defence == "on")


@pytest.mark.parametrize("defence", ["on", "off"])
@pytest.mark.parametrize("verb", ["DetachDisk", "SparsifyDisk"])
@pytest.mark.parametrize("taken", ["VM", "disk"])
def test_what_became_anothers_while_no_daemon_ran_is_left_alone(
    direct_site, run_virtually, monkeypatch, verb, taken, defence
):
    if defence == "off":

        async def nobody_looks(*_, **__):
            return

        for module in (detach_disk, sparsify_disk):
            monkeypatch.setattr(module, "insist_on_disk", nobody_looks)

    async def scenario() -> bool:
        async with direct_site() as s:
            raw = resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)
            await s.run("CreateMachine", key="web", spec=spec(clone=True, boot_disk=raw))
            vm = next(iter(s.simulator.world.vms.values()))
            disk = vm.attachments[0].disk
            disk.actual_size, before = 5 << 30, (disk.name, disk.description, 5 << 30)
            begun = await s.call(verb, machine_key="web", **{"name": "kept"} if verb == "DetachDisk" else {})
            await s.bridge.close()
            if taken == "VM":
                vm.comment = ""
            else:
                theirs = s.simulator.world.vms[await foreign_vm(s, "theirs")]
                theirs.attachments.append(vm.attachments.pop())
            await s.restart()

            ended = await s.ended(begun)

            if defence == "on":
                reason = "NOT_OURS" if taken == "VM" else "DISK_IN_USE"
                assert (ended.state, ended.error["reason"]) == (FAILED, reason)
            return (disk.name, disk.description, disk.actual_size) == before

    assert run_virtually(scenario()) is (defence == "on")
