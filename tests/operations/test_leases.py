"""Session leases: a dead client's Machines go, a living one's stay."""

import pytest

from ovirt_provision.errors import LeaseExpired, MachineUnfinished
from ovirt_provision.ledger.store import CANCELLED
from tests.harness import OWNER, spec, started

GRACE = 300


def test_a_machine_without_a_client_is_destroyed_after_the_grace(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")
            s.bridge.leases.heard(row)

            await s.clock.sleep(GRACE - 15)
            assert s.vms() == ["web"], "it lives through the grace"
            await s.clock.sleep(75)

            assert (s.vms(), s.disks()) == ([], 1)
            with pytest.raises(LeaseExpired, match="lease expired at"):
                s.bridge.leases.heard(row)

    run_virtually(scenario())


def test_a_machine_of_a_daemon_that_has_long_run_has_its_whole_grace(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.clock.sleep(10 * GRACE)
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

            await s.clock.sleep(GRACE - 120)

            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_a_renewed_machine_lives(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")
            for _ in range(40):
                s.bridge.leases.heard(row)
                await s.clock.sleep(30)
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_the_grace_counts_from_the_moment_the_daemon_serves_again(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            await s.bridge.close()
            await s.clock.sleep(10 * GRACE)
            s.bridge = s.new_bridge()
            s.bridge.start()

            await s.clock.sleep(GRACE - 15)
            assert s.vms() == ["web"]
            await s.clock.sleep(75)
            assert s.vms() == []

    run_virtually(scenario())


def test_a_daemon_that_dies_right_after_a_lease_expired_leaves_the_machine_to_the_next(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")
            s.bridge.ledger.expire_lease(row.id)
            await s.restart()

            await s.clock.sleep(120)

            assert s.vms() == []

    run_virtually(scenario())


def test_a_create_whose_client_died_is_undone(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            s.simulator.world.injections.arm("disk-stays-locked")
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(GRACE + 60)

            assert s.bridge.ledger.operation(creating.id).cancelled_by
            s.simulator.world.injections.disarm()

    run_virtually(scenario())


def test_a_template_outlives_the_machine_whose_lease_expired(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            await s.run("CreateTemplate", machine_key="build", name="golden")
            await s.clock.sleep(3 * GRACE)

            assert s.templates() == ["golden"]
            assert s.vms() == []

    run_virtually(scenario())


def test_a_template_in_the_making_is_undone_with_its_client(site, run_virtually):
    async def scenario() -> None:
        async with site(renew_interval=10, lease_grace=45) as s:
            await s.run("CreateMachine", key="build", spec=spec())
            s.bridge.leases.heard(s.bridge.ledger.living_machine(OWNER, "build"))
            making = await s.call("CreateTemplate", machine_key="build", name="golden", seal=True)
            await s.clock.sleep(1)

            ended = await s.ended(making)
            await s.clock.sleep(120)

            assert ended.state == CANCELLED
            assert (s.templates(), s.vms()) == ([], [])

    run_virtually(scenario())


def test_without_the_reaper_the_machine_stays_for_ever(site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""

    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())

            async def asleep(_row: object, _lease: object) -> None:
                return

            monkeypatch.setattr(s.bridge.leases, "_reap", asleep)
            await s.clock.sleep(10 * GRACE)
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_a_confirmed_machine_lives_without_any_client(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")

            s.bridge.leases.confirm(row)
            s.bridge.leases.confirm(row)
            await s.clock.sleep(10 * GRACE)

            assert s.vms() == ["web"]
            assert s.bridge.leases.expires_at(row) is None

    run_virtually(scenario())


def test_a_machine_cannot_be_confirmed_before_it_stands_nor_after_its_lease(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")
            with pytest.raises(MachineUnfinished, match=creating.id):
                s.bridge.leases.confirm(row)
            await s.ended(creating)
            await s.clock.sleep(GRACE + 60)
            with pytest.raises(LeaseExpired):
                s.bridge.leases.confirm(row)

    run_virtually(scenario())
