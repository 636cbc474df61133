"""A boot disk that outlives its Machine: handed over, named, and destroyed only when it is asked for."""

import uuid

import pytest

from ovirt_provision.errors import (
    DiskInUse,
    DiskNotDetachable,
    DiskNotSparsifiable,
    MachineNotDown,
    NotOurs,
    ReferencesNotFound,
)
from ovirt_provision.ledger.retention import forget
from ovirt_provision.ledger.store import FAILED, SUCCEEDED, Operation
from ovirt_provision.operations import detach_disk
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.services.messages import operation_message
from ovirt_provision.v1 import machines_pb2, resources_pb2
from tests.harness import ENGINE, OWNER, Site, spec, started

MARK = "ovirt-provision/1 disk "


async def build(site: Site, **fields: object) -> None:
    made = await site.run("CreateMachine", key="build", spec=spec(clone=True), **fields)
    assert made.state == SUCCEEDED, made.error


async def detach(site: Site, **fields: object) -> Operation:
    return await site.run("DetachDisk", machine_key="build", name="golden-disk", **fields)


def disk_of(site: Site, operation: Operation) -> str:
    return site.bridge.ledger.object(operation.plan["disk_object_id"]).known_id


def others(site: Site) -> set[str]:
    return {disk.name for disk in site.simulator.world.disks.values()}


def test_the_disk_stays_and_the_machine_goes(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            before = s.disks()
            await build(s)

            detached = await detach(
                s,
                description="Debian 12, hardened",
                permissions=[resources_pb2.Permission(role="DiskOperator", group="Everyone")],
            )

            assert detached.state == SUCCEEDED, detached.error
            told = operation_message(s.bridge, detached).disk
            disk = s.simulator.world.disks[told.id]
            assert (disk.name, disk.status, told.size_bytes) == ("golden-disk", "ok", disk.size)
            assert disk.description.splitlines()[0] == told.description == "Debian 12, hardened"
            assert disk.description.splitlines()[1].startswith(MARK)
            assert any(p.target == ("disks", told.id) for p in s.simulator.world.permissions.values())
            assert (s.vms(), s.disks()) == ([], before + 1)
            assert await s.census() == [("ours", "disk", "golden-disk")]
            await s.clock.sleep(3600)
            assert told.id in s.simulator.world.disks, "it is never reaped"
            assert s.bridge.ledger.living_machine(OWNER, "build") is None

            assert (await s.run("DestroyDisk", id=told.id)).state == SUCCEEDED
            assert s.disks() == before
            assert (await s.run("DestroyDisk", id=told.id)).state == SUCCEEDED, "what is gone"
            assert await s.census() == []

    run_virtually(scenario())


def test_what_is_not_an_own_whole_disk_is_refused_before_the_first_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            asked = len([r for r in s.simulator.requests if r.method != "GET"])
            with pytest.raises(DiskNotDetachable, match="stands on that of a template"):
                await detach(s)
            with pytest.raises(ReferencesNotFound, match="did you mean 'DiskOperator'"):
                await s.validate(
                    "DetachDisk",
                    name="golden-disk",
                    validate_only=True,
                    permissions=[resources_pb2.Permission(role="DiskOperater", group="Everyone")],
                )
            assert len([r for r in s.simulator.requests if r.method != "GET"]) == asked
            await s.run("DestroyMachine", key="build")
            await build(s, start_with=started())
            with pytest.raises(MachineNotDown):
                await detach(s)

    run_virtually(scenario())


def test_a_copy_of_a_machine_may_give_its_disk(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            made = await s.run("CloneMachine", source_key="web", key="build")
            assert made.state == SUCCEEDED, made.error
            assert (await detach(s)).state == SUCCEEDED
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_the_operation_can_still_be_told_when_disk_and_machine_are_long_gone(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            await s.clock.sleep(100)
            before = s.clock.time()
            detached = await detach(s)
            await s.run("DestroyDisk", id=disk_of(s, detached))
            while forget(s.bridge.ledger, before):
                pass
            assert s.bridge.ledger.operation(detached.id) is not None
            assert operation_message(s.bridge, detached).disk.name == "golden-disk"

    run_virtually(scenario())


def test_only_what_was_handed_over_is_destroyed(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            row = s.bridge.ledger.living_machine(OWNER, "build")
            (own,) = s.bridge.ledger.children(row.id)
            with pytest.raises(NotOurs, match="it belongs to Machine 'build'"):
                await s.call("DestroyDisk", id=own.known_id)
            base = next(d for d in s.simulator.world.disks if d != own.known_id)
            with pytest.raises(NotOurs):
                await s.call("DestroyDisk", id=base)
            assert {own.known_id, base} == set(s.simulator.world.disks)

    run_virtually(scenario())


async def attached(site: Site) -> str:
    """The id of a disk that was handed over and that somebody's VM has by now."""
    await build(site)
    disk = disk_of(site, await detach(site))
    vm = site.simulator.call(
        "POST",
        "/vms",
        "<vm><name>theirs</name><cluster><name>Default</name></cluster>"
        "<template><name>Blank</name></template></vm>",
    ).element.get("id")
    site.simulator.call(
        "POST",
        f"/vms/{vm}/diskattachments",
        f'<disk_attachment><interface>virtio</interface><disk id="{disk}"/></disk_attachment>',
    )
    return disk


def test_a_disk_that_a_vm_has_is_not_taken_from_it(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            disk = await attached(s)
            with pytest.raises(DiskInUse):
                await s.call("DestroyDisk", id=disk)
            assert disk in s.simulator.world.disks

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_disk_that_comes_into_use_while_it_is_destroyed_stays(site, run_virtually, monkeypatch, defence):
    """The look before the request is the second one; with that off as well, the engine takes it from the
    VM."""

    async def scenario() -> tuple[bool, str]:
        async with site() as s:
            disk = await attached(s)
            engine = s.bridge.engine("sim")
            looks = iter([False] if defence == "on" else [False] * 9)
            real = engine.disks.is_attached

            async def look(disk_id: str) -> bool:
                return next(looks, None) is None and await real(disk_id)

            monkeypatch.setattr(engine.disks, "is_attached", look)
            ended = await s.run("DestroyDisk", id=disk)
            if defence == "on":
                assert (ended.state, ended.error["reason"]) == (FAILED, "DISK_IN_USE")
                await s.clock.sleep(3600)
            return disk in s.simulator.world.disks

    assert run_virtually(scenario()) is (defence == "on")


@pytest.mark.parametrize("defence", ["on", "off"])
def test_the_disk_is_handed_over_before_its_machine_goes(site, run_virtually, monkeypatch, defence):
    """With the defence off it goes with its Machine, as every disk of a Machine does."""
    if defence == "off":
        monkeypatch.setattr(detach_disk, "_hand_over", lambda _run, _disk: None)

    async def scenario() -> str:
        async with site() as s:
            await build(s)
            return (await detach(s)).state

    assert run_virtually(scenario()) == (SUCCEEDED if defence == "on" else FAILED)


def test_an_id_in_capitals_is_the_same_id(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            before = s.disks()
            await build(s)
            made = await s.run("CreateTemplate", machine_key="build", name="golden")
            template = s.bridge.ledger.object(made.object_id).known_id.upper()
            disk = disk_of(s, await detach(s)).upper()

            await s.validate("ExportImage", disk_id=disk)
            with pytest.raises(DiskNotSparsifiable):
                await s.call("SparsifyDisk", id=disk)
            assert (await s.run("DestroyDisk", id=disk)).state == SUCCEEDED
            assert (await s.run("DestroyTemplate", id=template)).state == SUCCEEDED

            assert (s.disks(), s.templates()) == (before, [])

    run_virtually(scenario())


def test_a_disk_of_another_owner_cannot_be_attached(site, run_virtually):
    async def scenario() -> None:
        async with site(owners={"jane": {}, "admin": {"role": "admin"}}) as s:
            await build(s)
            disk = disk_of(s, await detach(s))
            lent = spec(attached_disks=[resources_pb2.AttachedDisk(id=disk)])

            async def check(owner: str) -> None:
                request = machines_pb2.CreateMachineRequest(
                    request_id=str(uuid.uuid4()), key="web", spec=lent
                )
                await s.bridge.dispatcher.validate(VERBS["CreateMachine"], owner, ENGINE, request)

            with pytest.raises(ReferencesNotFound, match="the engine has no disk with the id"):
                await check("jane")
            for owner in (OWNER, "admin"):
                await check(owner)

    run_virtually(scenario())
