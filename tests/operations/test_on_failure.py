"""`on_failure`: what becomes of a Machine whose create fails."""

import pytest

from ovirt_provision.errors import MachineIncomplete
from ovirt_provision.ledger.store import CANCELLED, FAILED, HANDED_OVER, SUCCEEDED
from ovirt_provision.operations import new_machine
from ovirt_provision.v1.resources_pb2 import ON_FAILURE_DESTROY, ON_FAILURE_KEEP, ON_FAILURE_STOP
from tests.harness import OWNER, Site, spec, started

GRACE = 300


async def create(site: Site, on_failure: int, fault: str = "agent-silent"):
    site.simulator.world.injections.arm(fault)
    made = await site.run(
        "CreateMachine", key="web", spec=spec(), start_with=started(), on_failure=on_failure
    )
    site.simulator.world.injections.disarm()
    return made


@pytest.mark.parametrize(("on_failure", "status"), [(ON_FAILURE_KEEP, "up"), (ON_FAILURE_STOP, "down")])
def test_a_machine_that_fails_is_kept_until_it_is_destroyed(direct_site, run_virtually, on_failure, status):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            failed = await create(s, on_failure)

            row = s.bridge.ledger.living_machine(OWNER, "web")
            assert (failed.state, failed.cleanup) == (FAILED, "done")
            assert failed.error["reason"] == "NO_ADDRESS", "it tells what went wrong all the same"
            assert "The Machine was kept" in failed.error["advice"]
            assert "machine destroy web" in failed.error["advice"]
            assert s.bridge.ledger.lease(row.id).kind == HANDED_OVER
            await s.clock.sleep(10 * GRACE)
            assert [vm.status for vm in s.simulator.world.vms.values()] == [status]
            assert {finding for finding, _, _ in await s.census()} == {"ours"}
            with pytest.raises(MachineIncomplete, match=failed.id):
                await s.call("CreateMachine", key="web", spec=spec(), start_with=started())

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


@pytest.mark.parametrize("on_failure", [0, ON_FAILURE_DESTROY])
def test_by_default_nothing_is_left(direct_site, run_virtually, on_failure):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            failed = await create(s, on_failure)

            assert failed.state == FAILED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


@pytest.mark.parametrize("on_failure", [ON_FAILURE_KEEP, ON_FAILURE_STOP])
def test_where_no_machine_stands_there_is_nothing_to_keep(direct_site, run_virtually, on_failure):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            failed = await create(s, on_failure, "vm-fails")

            assert failed.state == FAILED
            assert "kept" not in failed.error["advice"]
            assert s.bridge.ledger.living_machine(OWNER, "web") is None
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_what_is_cancelled_is_undone_whatever_on_failure_says(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            creating = await s.call(
                "CreateMachine", key="web", spec=spec(), start_with=started(), on_failure=ON_FAILURE_KEEP
            )
            async for seen in s.bridge.dispatcher.runner.watch(creating.id):
                if seen.phase == "booting":
                    s.bridge.dispatcher.cancel(seen, "by its client")

            assert seen.state == CANCELLED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_what_has_lost_its_client_is_undone_whatever_on_failure_says(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(address=3600) as s:
            s.simulator.world.injections.arm("agent-silent")
            creating = await s.call(
                "CreateMachine", key="web", spec=spec(), start_with=started(), on_failure=ON_FAILURE_KEEP
            )
            await s.clock.sleep(GRACE + 60)

            assert s.bridge.ledger.operation(creating.id).ended
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_a_copy_that_fails_is_kept_without_its_snapshot(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            await s.run("CreateMachine", key="web", spec=spec())
            s.bridge.leases.confirm(s.bridge.ledger.living_machine(OWNER, "web"))
            s.simulator.world.injections.arm("vm-crashes")

            copied = await s.run(
                "CloneMachine", source_key="web", key="copy", start_with=started(), on_failure=ON_FAILURE_KEEP
            )
            await s.clock.sleep(2 * GRACE)

            assert copied.state == FAILED
            assert "machine destroy copy" in copied.error["advice"]
            assert s.vms() == ["copy", "web"]
            assert s.snapshots() == []

    run_virtually(scenario())


@pytest.mark.parametrize("seconds", [0.1, 5, 60, 119, 125])
def test_a_daemon_that_dies_meanwhile_leaves_the_machine_kept(direct_site, run_virtually, seconds):
    async def scenario() -> None:
        async with direct_site(address=120) as s:
            s.simulator.world.injections.arm("agent-silent")
            creating = await s.call(
                "CreateMachine", key="web", spec=spec(), start_with=started(), on_failure=ON_FAILURE_STOP
            )
            async for seen in s.bridge.dispatcher.runner.watch(creating.id):
                if seen.state == "undoing":
                    break
            await s.clock.sleep(seconds)
            await s.restart()

            failed = await s.ended(creating)

            await s.clock.sleep(2 * GRACE)
            assert failed.error["advice"].count("The Machine was kept") == 1
            assert [vm.status for vm in s.simulator.world.vms.values()] == ["down"]

    run_virtually(scenario())


def test_without_keeping_it_is_gone(direct_site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""

    async def never(_run: object) -> bool:
        return False

    monkeypatch.setattr(new_machine, "_kept", never)

    async def scenario() -> None:
        async with direct_site(address=120) as s:
            await create(s, ON_FAILURE_KEEP)
            assert s.vms() == []

    run_virtually(scenario())
