"""The life of a Machine, on the simulated engine in virtual time."""

import uuid

import pytest
from google.protobuf.duration_pb2 import Duration

from ovirt_provision.errors import (
    Code,
    InvalidRequest,
    KeyInUse,
    MachineBusy,
    MachineNotFound,
    ReferencesNotFound,
    RequestIdReused,
)
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, OWNER, spec, started


def test_a_machine_is_made_started_and_destroyed_and_nothing_is_left(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            disks_before = s.disks()

            created = await s.run(
                "CreateMachine", key="web", spec=spec(), start_with=started(host_name="web")
            )

            assert created.state == SUCCEEDED, created.error
            machine = s.bridge.ledger.living_machine(OWNER, "web")
            assert machine.details["addresses"], "the operation ends when the guest has an address"
            assert s.simulator.world.vms[machine.engine_id].status == "up"
            assert [(finding, kind) for finding, kind, _ in await s.census()] == [
                ("ours", "disk"),
                ("ours", "vm"),
            ]

            destroyed = await s.run("DestroyMachine", key="web")

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert s.vms() == []
            assert s.disks() == disks_before
            assert await s.census() == []

    run_virtually(scenario())


@pytest.mark.parametrize("clone", [False, True])
def test_without_a_start_the_machine_stands_down_with_its_disks_ok(site, run_virtually, clone):
    async def scenario() -> None:
        async with site() as s:
            created = await s.run("CreateMachine", key="web", spec=spec(clone=clone))

            assert created.state == SUCCEEDED, created.error
            vm = next(iter(s.simulator.world.vms.values()))
            assert vm.status == "down"
            engine = s.bridge.engine(ENGINE)
            seen = await engine.machines.get(vm.id, follow="disk_attachments.disk")
            assert [disk.status for disk in seen.disks] == ["ok"]

    run_virtually(scenario())


def test_what_is_not_given_is_inherited_and_what_is_given_is_taken(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="plain", spec=spec())
            await s.run(
                "CreateMachine",
                key="big",
                spec=spec(
                    memory_bytes=3 << 30,
                    cpu=resources_pb2.Cpu(sockets=2, cores=3),
                    nics=[
                        resources_pb2.Nic(name="nic1", vnic_profile="ovirtmgmt"),
                        resources_pb2.Nic(name="nic2", vnic_profile="ovirtmgmt/ovirtmgmt"),
                    ],
                ),
            )
            session = s.bridge.engine(ENGINE).session
            vms = {
                vm.name: vm
                for vm in await session.call("read", lambda system: system.vms_service().list(follow="nics"))
            }
            template = (
                await session.call(
                    "read", lambda system: system.templates_service().list(search="name=debian-12")
                )
            )[0]

            assert vms["plain"].memory == template.memory
            assert vms["plain"].cpu.topology.cores == template.cpu.topology.cores
            assert [nic.name for nic in vms["plain"].nics] == ["nic1"]
            assert vms["big"].memory == 3 << 30
            assert (vms["big"].cpu.topology.sockets, vms["big"].cpu.topology.cores) == (2, 3)
            assert sorted(nic.name for nic in vms["big"].nics) == ["nic1", "nic2"]

    run_virtually(scenario())


def test_all_wrong_references_are_reported_at_once_with_near_misses_before_any_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(ReferencesNotFound) as refused:
                await s.run(
                    "CreateMachine",
                    key="web",
                    spec=spec(
                        template=resources_pb2.TemplateRef(name="debain-12"),
                        cluster="Defualt",
                        nics=[resources_pb2.Nic(name="nic1", vnic_profile="ovirtmgnt")],
                    ),
                )

            said = {v.field: v.description for v in refused.value.violations}
            assert "did you mean 'debian-12'" in said["spec.template.name"]
            assert "did you mean 'Default'" in said["spec.cluster"]
            assert "did you mean 'ovirtmgmt'" in said["spec.nics[0].vnic_profile"]
            assert {r.method for r in s.simulator.requests if "/api" in r.path} <= {"GET"}

    run_virtually(scenario())


def test_a_request_is_validated_without_any_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(ReferencesNotFound, match="Defualt"):
                await s.validate("CreateMachine", key="web", spec=spec(cluster="Defualt"))
            await s.validate("CreateMachine", key="web", spec=spec())
            assert s.vms() == []
            assert s.bridge.ledger.living_machine(OWNER, "web") is None
            assert s.bridge.ledger.unended_operations() == []

    run_virtually(scenario())


def test_a_version_that_a_template_lacks_is_named_with_those_it_has(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(ReferencesNotFound, match="no version 7; it has 1"):
                await s.run(
                    "CreateMachine",
                    key="web",
                    spec=spec(template=resources_pb2.TemplateRef(name="debian-12", version=7)),
                )

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#include\nhttps://example.com", "URLs"),
        ("a: [", "line 1, column 5"),
        ("- a", "mapping"),
        ("user: other", "`user:`"),
    ],
)
def test_user_data_that_the_engines_drive_cannot_carry_is_refused(site, run_virtually, script, said):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(InvalidRequest, match=said):
                await s.run("CreateMachine", key="web", spec=spec(), start_with=started(user_data=script))
            assert s.vms() == []

    run_virtually(scenario())


def test_repeating_a_request_id_returns_the_same_operation_and_makes_nothing(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            request_id = str(uuid.uuid4())
            first = await s.run("CreateMachine", request_id=request_id, key="web", spec=spec())

            again = await s.call("CreateMachine", request_id=request_id, key="web", spec=spec())

            assert again.id == first.id
            assert s.vms() == ["web"]
            with pytest.raises(RequestIdReused):
                await s.call("CreateMachine", request_id=request_id, key="db", spec=spec())

    run_virtually(scenario())


def test_a_living_key_gives_the_same_machine_or_names_what_differs(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            first = await s.run("CreateMachine", key="web", spec=spec(memory_bytes=1 << 30))

            same = await s.call("CreateMachine", key="web", spec=spec(memory_bytes=1 << 30))
            assert same.id == first.id

            with pytest.raises(KeyInUse) as refused:
                await s.call("CreateMachine", key="web", spec=spec(memory_bytes=2 << 30))
            assert [v.field for v in refused.value.violations] == ["spec.memory_bytes"]
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_a_key_used_again_after_destroy_is_a_new_generation(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            await s.run("DestroyMachine", key="web")
            again = await s.run("CreateMachine", key="web", spec=spec())

            assert again.state == SUCCEEDED
            assert s.bridge.ledger.living_machine(OWNER, "web").generation == 2

    run_virtually(scenario())


def test_destroying_what_is_gone_succeeds(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            assert (await s.run("DestroyMachine", key="never")).state == SUCCEEDED
            await s.run("CreateMachine", key="web", spec=spec())
            await s.run("DestroyMachine", key="web")
            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED

    run_virtually(scenario())


def test_destroying_a_machine_that_somebody_else_removed_succeeds(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            vm_id = s.bridge.ledger.living_machine(OWNER, "web").engine_id
            await s.bridge.engine(ENGINE).machines.remove(vm_id, "web", correlation_id="")

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert s.disks() == 1

    run_virtually(scenario())


def test_stop_and_start(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            vm = next(iter(s.simulator.world.vms.values()))

            assert (await s.run("StopMachine", key="web")).state == SUCCEEDED
            assert vm.status == "down"
            assert (await s.run("StopMachine", key="web")).state == SUCCEEDED, "stopping what is down"
            assert (await s.run("StartMachine", key="web")).state == SUCCEEDED
            assert vm.status == "up"
            assert (await s.run("StartMachine", key="web")).state == SUCCEEDED, "starting what is up"
            with pytest.raises(MachineNotFound, match="did you mean 'web'"):
                await s.call("StartMachine", key="wbe")

    run_virtually(scenario())


def test_a_guest_that_goes_down_by_itself_is_waited_for_and_asked_nothing(site, run_virtually, virtual_clock):
    async def scenario() -> None:
        async with site(guest_goes_down=30) as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            vm = next(iter(s.simulator.world.vms.values()))

            stopping = await s.call("StopMachine", key="web", wait_only=True)
            await virtual_clock.sleep(20)
            assert vm.status == "up", "nobody told it to go down"
            vm.guest.shutdown()
            ended = await s.ended(stopping)
            assert ended.state == SUCCEEDED, ended.error
            assert vm.status == "down"
            assert [phase["name"] for phase in ended.phases] == ["waiting-for-guest"]
            assert (await s.run("StopMachine", key="web", wait_only=True)).state == SUCCEEDED, "it is down"
            await s.run("StartMachine", key="web")
            late = await s.run("StopMachine", key="web", wait_only=True)
            assert (late.state, late.error["code"]) == (FAILED, Code.DEADLINE_EXCEEDED)
            assert vm.status == "up", "the guest decides"
            asked = [request.path for request in s.simulator.requests if request.method == "POST"]
            assert not [path for path in asked if path.endswith(("/stop", "/shutdown"))]

    run_virtually(scenario())


def test_a_guest_that_does_not_obey_is_powered_off_or_left_as_the_request_says(
    direct_site, run_virtually, virtual_clock
):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            vm = next(iter(s.simulator.world.vms.values()))
            s.simulator.world.timing = s.simulator.world.timing.model_copy(update={"shutdown": 400.0})
            patience = {"shutdown": Duration(seconds=7)}
            with pytest.raises(InvalidRequest, match="did you mean 'shutdown'"):
                await s.call("StopMachine", key="web", timeouts={"shutdwon": Duration(seconds=1)})

            begun = virtual_clock.monotonic()
            left = await s.run("StopMachine", key="web", timeouts=patience, keep_running=True)

            assert (left.state, left.error["code"]) == (FAILED, Code.DEADLINE_EXCEEDED), left.error
            assert "`shutdown`" in left.error["message"]
            assert 7 <= virtual_clock.monotonic() - begun < 10
            assert vm.status == "powering_down"
            stopped = await s.run("StopMachine", key="web", timeouts=patience)
            assert (stopped.state, vm.status) == (SUCCEEDED, "down"), stopped.error

    run_virtually(scenario())


def test_a_machine_does_one_thing_at_a_time_but_a_destroy_takes_over(site, run_virtually, virtual_clock):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await virtual_clock.sleep(5)
            with pytest.raises(MachineBusy, match="CreateMachine"):
                await s.call("StopMachine", key="web")

            destroyed = await s.run("DestroyMachine", key="web")

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert (await s.ended(creating)).state == CANCELLED
            assert s.vms() == []
            assert s.disks() == 1

    run_virtually(scenario())


@pytest.mark.parametrize("after", [0.5, 3, 12, 25, 40])
def test_cancelling_a_create_at_any_time_leaves_nothing(site, run_virtually, virtual_clock, after):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await virtual_clock.sleep(after)
            s.bridge.dispatcher.cancel(creating, "by its client")
            ended = await s.ended(creating)

            assert ended.state in (CANCELLED, SUCCEEDED)
            if ended.state == CANCELLED:
                assert (s.vms(), s.disks()) == ([], 1)
                assert await s.census() == []

    run_virtually(scenario())


def test_a_machine_that_fails_to_boot_is_undone_and_the_engines_reason_told(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            s.simulator.world.injections.arm("vm-crashes")

            created = await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

            assert created.state == FAILED
            assert created.error["phase"] == "booting"
            assert created.error["engine_text"], "the engine logged why, so the error has to say it"
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_a_paused_machine_is_an_error_not_a_timeout(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            s.simulator.world.injections.arm("vm-pauses")

            created = await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

            assert created.error["reason"] == "MACHINE_FAILED"
            assert "paused" in created.error["message"]
            assert s.vms() == []

    run_virtually(scenario())


def test_a_lock_that_the_engine_holds_too_long_ends_as_pending_cleanup_until_the_janitor_has_done(
    site, run_virtually
):
    async def scenario() -> None:
        async with site(machine_ready=120, destroy=60, undo=60) as s:
            s.simulator.world.injections.arm("disk-stays-locked")

            created = await s.run("CreateMachine", key="web", spec=spec())

            assert created.state == FAILED
            assert created.error["reason"] == "DEADLINE_EXCEEDED"
            assert "is not ok" in created.error["message"], "it says what it waited for"
            assert created.cleanup == "pending"
            assert "awaiting-engine" in {finding for finding, _, _ in await s.census()}

            for disk in s.simulator.world.disks.values():
                disk.status = "ok"
            await s.clock.sleep(600)

            assert s.bridge.ledger.operation(created.id).cleanup == "done"
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_a_restart_brings_it_down_and_up_with_its_address(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

            restarted = await s.run("RestartMachine", key="web")

            assert restarted.state == SUCCEEDED, restarted.error
            done = [phase["name"] for phase in restarted.phases]
            assert done == ["shutting-down", "powering-off", "booting", "waiting-for-address"]
            assert s.bridge.ledger.living_machine(OWNER, "web").details["addresses"]

    run_virtually(scenario())


def test_the_boot_disk_is_grown_and_never_shrunk(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(InvalidRequest, match="never shrinks"):
                await s.call(
                    "CreateMachine",
                    key="web",
                    spec=spec(boot_disk=resources_pb2.DiskSpec(size_bytes=1 << 30)),
                )

            created = await s.run(
                "CreateMachine",
                key="web",
                spec=spec(boot_disk=resources_pb2.DiskSpec(size_bytes=20 << 30)),
                start_with=started(),
            )

            assert created.state == SUCCEEDED, created.error
            vm_id = s.bridge.ledger.living_machine(OWNER, "web").engine_id
            disks = await s.bridge.engine(ENGINE).disks.of_vm(vm_id)
            assert [disk.size for disk in disks] == [20 << 30]

    run_virtually(scenario())


def test_a_job_that_hangs_does_not_hang_the_operation(site, run_virtually, virtual_clock):
    async def scenario() -> None:
        async with site(job=60) as s:
            s.simulator.world.injections.arm("job-hangs")

            created = await s.run("CreateMachine", key="web", spec=spec())

            assert created.state == SUCCEEDED, created.error
            assert 60 < virtual_clock.monotonic() < 180

    run_virtually(scenario())
