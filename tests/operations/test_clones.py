"""Copies of Machines, on the simulated engine in virtual time: whole, once, and no snapshot left behind."""

import dataclasses

import pytest
from ovirtsdk4 import types

from ovirt_provision.engine.machines import Machines
from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.errors import (
    KeyInUse,
    MachineBusy,
    MachineNotClonable,
    MachineNotFound,
    NameInUse,
    NotOurs,
)
from ovirt_provision.ledger.store import CANCELLED, FAILED, REMOVING, SUCCEEDED, Operation
from ovirt_provision.operations import clone_machine, removal
from ovirt_provision.operations.janitor import Janitor
from ovirt_provision.simulator.entities import Vm
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, OWNER, Site, spec, started

VMS = "/vms"
SNAPSHOTS = r"/vms/[^/]+/snapshots"
SNAPSHOT = SNAPSHOTS + r"/[^/]+"
# How long the engine may still run a request that it has not answered, and the janitor's round after that.
OVER = 60 + 600 + 120


async def running(site: Site, key: str = "web") -> None:
    """A Machine that is up, and lives on its own."""
    await site.run("CreateMachine", key=key, spec=spec(), start_with=started())
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, key))


async def copy(site: Site, **fields: object) -> Operation:
    """A copy that lives on its own, if it comes to one."""
    made = await site.run("CloneMachine", source_key="web", key="copy", **fields)
    if made.state == SUCCEEDED:
        site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, "copy"))
    return made


def vm_of(site: Site, name: str) -> Vm:
    return next(vm for vm in site.simulator.world.vms.values() if vm.name == name)


def changes(site: Site) -> list[tuple[str, str]]:
    """Method and the last part of the path of every request that changes something, from now on."""
    return [
        (r.method, r.path.rsplit("/", 1 + (r.method == "DELETE"))[1])
        for r in site.simulator.requests
        if r.method != "GET" and "sso" not in r.path
    ]


def give_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the engine ignore our ids for copies of snapshots, as nobody has seen that it does not."""
    create = Machines.create

    async def without_id(self: Machines, wanted: VmRequest, *, correlation_id: str) -> object:
        if wanted.snapshot_id:
            wanted = dataclasses.replace(wanted, id="")
        return await create(self, wanted, correlation_id=correlation_id)

    monkeypatch.setattr(Machines, "create", without_id)


@pytest.mark.parametrize("status", ["up", "down"])
def test_a_copy_is_whole_and_its_own_and_the_snapshot_is_gone(site, run_virtually, status):
    async def scenario() -> None:
        async with site() as s:
            await running(s)
            if status == "down":
                await s.run("StopMachine", key="web")
            asked = len(changes(s))

            made = await copy(s, description="a copy")

            assert made.state == SUCCEEDED, made.error
            assert (made.cleanup, s.snapshots()) == ("done", [])
            assert changes(s)[asked:] == [("POST", "snapshots"), ("POST", "vms"), ("DELETE", "snapshots")]
            web, twin = vm_of(s, "web"), vm_of(s, "copy")
            assert (web.status, twin.status) == (status, "down")
            assert twin.id == s.bridge.ledger.living_machine(OWNER, "copy").engine_id
            assert twin.description == "a copy"
            assert {a.disk.id for a in web.attachments}.isdisjoint(a.disk.id for a in twin.attachments)
            assert {nic.mac for nic in web.nics}.isdisjoint(nic.mac for nic in twin.nics)
            assert len(twin.attachments) == len(web.attachments) == 1
            assert await s.census() == [
                ("ours", "disk", "debian-12_Disk1"),
                ("ours", "disk", "debian-12_Disk1_copy"),
                ("ours", "vm", "copy"),
                ("ours", "vm", "web"),
            ]

            assert (await s.run("DestroyMachine", key="copy")).state == SUCCEEDED
            assert (s.vms(), s.disks()) == (["web"], 2)

    run_virtually(scenario())


def test_a_copy_is_started_with_a_configuration_of_its_own(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)

            made = await copy(s, start_with=started(host_name="twin"))

            assert made.state == SUCCEEDED, made.error
            assert [phase["name"] for phase in made.phases] == [
                "taking-snapshot",
                "creating",
                "cloning",
                "removing-snapshot",
                "booting",
                "waiting-for-address",
            ]
            assert (vm_of(s, "web").status, vm_of(s, "copy").status) == ("up", "up")

    run_virtually(scenario())


def test_the_memory_of_a_running_machine_is_not_saved(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            while not s.snapshots():
                await s.clock.sleep(0.5)

            assert not vm_of(s, "web").snapshots[0].with_memory
            await s.ended(copying)

    run_virtually(scenario())


@pytest.mark.parametrize("fault", ["", "drop-reply", "late-effect"])
def test_an_engine_that_gives_the_copy_an_id_of_its_own_is_taken_at_its_word(
    direct_site, run_virtually, monkeypatch, fault
):
    give_ids_of_its_own(monkeypatch)

    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            chosen = []
            if fault:
                s.simulator.world.injections.arm(fault, method="POST", path=VMS)
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            chosen = s.bridge.ledger.living_machine(OWNER, "copy").engine_id

            made = await s.ended(copying)

            assert made.state == SUCCEEDED, made.error
            assert s.vms() == ["copy", "web"]
            row = s.bridge.ledger.living_machine(OWNER, "copy")
            assert row.engine_id == vm_of(s, "copy").id != chosen
            assert {finding for finding, _, _ in await s.census()} == {"ours"}
            for verb in ("StartMachine", "StopMachine", "DestroyMachine"):
                done = await s.run(verb, key="copy")
                assert done.state == SUCCEEDED, done.error
            assert (s.vms(), s.disks(), s.snapshots()) == (["web"], 2, [])

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
@pytest.mark.parametrize("honoured", [True, False])
def test_a_cancelled_copy_that_the_engine_makes_later_is_swept(
    direct_site, run_virtually, monkeypatch, defence, honoured
):
    """It is made although the snapshot has been removed: the engine had begun to copy it."""
    if not honoured:
        give_ids_of_its_own(monkeypatch)
    if defence == "off":
        monkeypatch.setattr(removal, "bury_if_unanswered", lambda run, row: None)
    # Otherwise the engine refuses what comes late.
    monkeypatch.setattr(clone_machine, "remove_snapshot", _nothing)

    async def scenario() -> list[str]:
        async with direct_site() as s:
            await running(s)
            s.simulator.world.injections.arm("late-effect", method="POST", path=VMS, seconds=100, times=9)
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            while s.bridge.ledger.operation(copying.id).phase != "creating":
                await s.clock.sleep(1)
            await s.clock.sleep(2)
            s.bridge.dispatcher.cancel(copying, "by its client")
            assert (await s.ended(copying)).state == CANCELLED
            assert s.vms() == ["web"]
            await s.clock.sleep(400)
            return s.vms()

    assert run_virtually(scenario()) == (["web"] if defence == "on" else ["copy", "web"])


async def _nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("path", [SNAPSHOTS, VMS, SNAPSHOT])
@pytest.mark.parametrize(
    "fault", ["drop-reply", "late-effect", "unavailable", "session-revoked", "engine-restart"]
)
def test_a_request_without_an_answer_changes_nothing_about_the_end(site, run_virtually, fault, path):
    async def scenario() -> None:
        async with site() as s:
            await running(s)
            s.simulator.world.injections.arm(fault, method="POST|DELETE", path=path)

            made = await copy(s)

            assert made.state == SUCCEEDED, made.error
            await s.clock.sleep(OVER)
            assert (s.vms(), s.disks(), s.snapshots()) == (["copy", "web"], 3, [])
            assert {finding for finding, _, _ in await s.census()} == {"ours"}
            assert not s.bridge.ledger.list_objects(REMOVING)
            assert not s.bridge.ledger.tombstones()

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_snapshot_that_arrives_when_all_is_over_is_swept(direct_site, run_virtually, monkeypatch, defence):
    if defence == "off":
        monkeypatch.setattr(removal, "bury_if_unanswered", lambda run, row: None)

    async def scenario() -> list[str]:
        async with direct_site() as s:
            await running(s)
            s.simulator.world.injections.arm("late-effect", method="POST", path=SNAPSHOTS, seconds=300)
            made = await copy(s)
            assert made.state == SUCCEEDED, made.error
            assert s.snapshots() == []
            await s.clock.sleep(301 - s.clock.monotonic())
            while not s.snapshots():
                await s.clock.sleep(1)
                s.simulator.world.settle()
            await s.clock.sleep(OVER)
            return s.snapshots()

    assert run_virtually(scenario()) == ([] if defence == "on" else ["web"])


@pytest.mark.parametrize("fault", ["snapshot-fails", "vm-fails"])
def test_a_failure_in_the_engine_is_told_in_its_own_words_and_leaves_nothing(
    direct_site, run_virtually, fault
):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            s.simulator.world.injections.arm(fault)

            made = await copy(s)

            assert (made.state, made.cleanup) == (FAILED, "done")
            assert made.error["engine_text"], made.error
            assert (s.vms(), s.disks(), s.snapshots()) == (["web"], 2, [])
            assert s.bridge.ledger.living_machine(OWNER, "copy") is None

            assert (await copy(s)).state == SUCCEEDED, "the key is free again"

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("phase", "after"),
    [
        ("taking-snapshot", 0),
        ("taking-snapshot", 5),
        ("creating", 0),
        ("cloning", 0),
        ("cloning", 10),
        ("removing-snapshot", 0),
        ("removing-snapshot", 3),
        ("booting", 0),
        ("waiting-for-address", 0),
    ],
)
def test_cancelling_leaves_the_source_alone(direct_site, run_virtually, phase, after):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            copying = await s.call("CloneMachine", source_key="web", key="copy", start_with=started())
            async for seen in s.bridge.dispatcher.runner.watch(copying.id):
                if seen.phase == phase:
                    break
            await s.clock.sleep(after)
            s.bridge.dispatcher.cancel(seen, "by its client")

            ended = await s.ended(copying)

            assert (ended.state, ended.cleanup) == (CANCELLED, "done")
            assert (s.vms(), s.disks(), s.snapshots()) == (["web"], 2, [])
            assert vm_of(s, "web").status == "up"
            assert await s.census() == [("ours", "disk", "debian-12_Disk1"), ("ours", "vm", "web")]

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_snapshot_that_the_engine_does_not_remove_in_time_is_left_to_the_janitor(
    direct_site, run_virtually, monkeypatch, defence
):
    if defence == "off":
        monkeypatch.setattr(Janitor, "_clean", _nothing)

    async def scenario() -> tuple[str, list[str]]:
        async with direct_site(remove_snapshot=60) as s:
            await running(s)
            s.simulator.world.injections.arm("unavailable", method="DELETE", path=SNAPSHOT, times=100)

            made = await copy(s)

            assert (made.state, made.cleanup) == (SUCCEEDED, "pending")
            assert s.snapshots() == ["web"]
            assert ("awaiting-engine", "snapshot", "of VM web") in await s.census()
            s.simulator.world.injections.disarm()
            await s.clock.sleep(1000)
            assert s.vms() == ["copy", "web"]
            return s.bridge.ledger.operation(made.id).cleanup, s.snapshots()

    assert run_virtually(scenario()) == (("done", []) if defence == "on" else ("pending", ["web"]))


def test_the_janitor_does_not_meddle_with_a_copy_that_removes_its_snapshot(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            s.simulator.world.injections.arm("unavailable", method="DELETE", path=SNAPSHOT, times=1000)
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            await s.clock.sleep(300)

            assert s.bridge.ledger.operation(copying.id).phase == "removing-snapshot"
            assert [one.verb for one in s.bridge.ledger.unended_operations()] == ["CloneMachine"]
            s.simulator.world.injections.disarm()
            assert (await s.ended(copying)).cleanup == "done"

    run_virtually(scenario())


def test_a_snapshot_goes_with_its_machine(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(remove_snapshot=60) as s:
            await running(s)
            s.simulator.world.injections.arm("unavailable", method="DELETE", path=SNAPSHOT, times=1000)
            made = await copy(s)
            assert made.cleanup == "pending"
            s.simulator.world.injections.disarm()
            assert s.snapshots() == ["web"]

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED

            await s.clock.sleep(100)
            assert s.bridge.ledger.operation(made.id).cleanup == "done"
            assert not s.bridge.ledger.list_objects(REMOVING)
            assert (s.vms(), s.disks()) == (["copy"], 2)

    run_virtually(scenario())


def test_destroying_the_source_ends_the_copy_first(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            await s.clock.sleep(20)

            destroyed = await s.run("DestroyMachine", key="web")

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert (await s.ended(copying)).state == CANCELLED
            assert (s.vms(), s.disks()) == ([], 1)
            assert await s.census() == []

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_disk_that_the_source_does_not_own_is_not_touched(direct_site, run_virtually, monkeypatch, defence):
    """With the defence off, every disk of the VM is snapshotted."""

    async def scenario() -> tuple[bool, int]:
        async with direct_site() as s:
            await running(s)
            await s.run("StopMachine", key="web")
            world = s.simulator.world
            precious = world.add_disk("precious")
            await _attach(s, vm_of(s, "web").id, precious.id)
            before = precious.image_id
            if defence == "off":
                rows = s.bridge.ledger.children
                owned = rows(s.bridge.ledger.living_machine(OWNER, "web").id)
                foreign = dataclasses.replace(owned[0], engine_id=precious.id)
                monkeypatch.setattr(
                    s.bridge.ledger,
                    "children",
                    lambda i, kind="disk": [*rows(i, kind), foreign] if kind == "disk" else rows(i, kind),
                )

            made = await copy(s)

            assert made.state == SUCCEEDED, made.error
            assert s.snapshots() == []
            return precious.image_id == before, len(vm_of(s, "copy").attachments)

    assert run_virtually(scenario()) == ((True, 1) if defence == "on" else (False, 2))


async def _attach(site: Site, vm_id: str, disk_id: str) -> None:
    attachment = types.DiskAttachment(
        disk=types.Disk(id=disk_id), interface=types.DiskInterface.VIRTIO, bootable=False, active=True
    )
    await site.bridge.engine(ENGINE).session.call(
        "do as a person would",
        lambda system: system.vms_service().vm_service(vm_id).disk_attachments_service().add(attachment),
    )
    await site.clock.sleep(60)


def test_what_cannot_be_copied_is_refused_before_any_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await running(s)
            await s.run("CreateMachine", key="taken", spec=spec())
            asked = len(changes(s))
            with pytest.raises(MachineNotFound, match="did you mean 'web'"):
                await s.call("CloneMachine", source_key="wbe", key="copy")
            with pytest.raises(NameInUse):
                await s.call("CloneMachine", source_key="web", key="copy", name="taken")
            with pytest.raises(KeyInUse, match="source_key"):
                await s.call("CloneMachine", source_key="web", key="taken")
            vm_of(s, "web").status = "paused"
            with pytest.raises(MachineNotClonable, match="is paused"):
                await s.call("CloneMachine", source_key="web", key="copy")
            vm_of(s, "web").status = "up"
            vm_of(s, "web").comment = "mine now"
            with pytest.raises(NotOurs):
                await s.call("CloneMachine", source_key="web", key="copy")
            assert len(changes(s)) == asked

    run_virtually(scenario())


def test_the_same_call_gives_the_same_copy_and_another_has_to_wait(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            first = await s.call("CloneMachine", source_key="web", key="copy")
            assert (await s.call("CloneMachine", source_key="web", key="copy")).id == first.id
            with pytest.raises(MachineBusy):
                await s.call("CloneMachine", source_key="web", key="another")
            with pytest.raises(MachineBusy):
                await s.call("StopMachine", key="web")

            await s.ended(first)

            assert (await s.call("CloneMachine", source_key="web", key="copy")).id == first.id
            with pytest.raises(KeyInUse, match="description"):
                await s.call("CloneMachine", source_key="web", key="copy", description="other")
            assert (await s.run("CloneMachine", source_key="copy", key="another")).state == SUCCEEDED

    run_virtually(scenario())


def test_a_copy_lives_as_long_as_its_lease(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            await s.run("CloneMachine", source_key="web", key="copy")
            await s.clock.sleep(600)
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_a_template_of_a_copy(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            await copy(s)
            made = await s.run("CreateTemplate", machine_key="copy", name="golden")
            assert made.state == SUCCEEDED, made.error
            golden = resources_pb2.TemplateRef(name="golden")
            assert (await s.run("CreateMachine", key="new", spec=spec(template=golden))).state == SUCCEEDED

    run_virtually(scenario())


def test_the_census_tells_our_snapshots_from_others(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await running(s)
            snapshots = s.bridge.engine(ENGINE).snapshots
            vm_id = vm_of(s, "web").id
            installation = s.bridge.installation
            for mark in (
                "by hand",
                f"ovirt-provision/1 snapshot {installation} {OWNER} web 1 unknown",
                f"ovirt-provision/1 snapshot {installation[:-1]}7 {OWNER} web 1 theirs",
            ):
                await snapshots.create(vm_id, "web", description=mark, disk_ids=(), correlation_id="")
                await s.clock.sleep(60)

            assert [entry for entry in await s.census() if entry[1] == "snapshot"] == [
                ("foreign", "snapshot", "of VM web"),
                ("leaked", "snapshot", "of VM web"),
            ]
            copying = await s.call("CloneMachine", source_key="web", key="copy")
            await s.clock.sleep(20)
            assert ("ours", "snapshot", "of VM web") in await s.census()
            await s.ended(copying)
            assert s.snapshots() == ["web"] * 3, "only its own was removed"

    run_virtually(scenario())
