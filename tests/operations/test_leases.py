"""Leases: a dead client's Machines go, a living one's stay.

`OVIRT_PROVISION_LEASES=500` has so many clients of the fleet die, and as many do something else;
`OVIRT_PROVISION_SEED=7` begins it with another seed.
"""

import asyncio
import os
import random
import uuid

import pytest

from ovirt_provision.errors import LeaseExpired, MachineUnfinished, ProvisionError
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED
from ovirt_provision.operations import new_machine
from tests.harness import OWNER, Site, spec, started

GRACE = 300
DAY = 86400
OUTAGE = 600
DYING = int(os.environ.get("OVIRT_PROVISION_LEASES", "4"))
SEED = int(os.environ.get("OVIRT_PROVISION_SEED", "1"))
SECOND = uuid.UUID(int=43)


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


def row_of(site: Site, key: str = "web"):
    return site.bridge.ledger.living_machine(OWNER, key)


async def stay_alive(site: Site, seconds: float, key: str = "web") -> None:
    """Does what a client does: renews every 30 s, for so long."""
    until = site.clock.monotonic() + seconds
    while site.clock.monotonic() < until:
        site.bridge.leases.heard(row_of(site, key))
        await site.clock.sleep(30)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_of_the_wall_clock_ends_no_lease_and_makes_none_longer(direct_site, run_virtually, jump):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            await stay_alive(s, 60)
            s.clock.set_wall_clock(jump)
            await stay_alive(s, 2 * GRACE)
            assert s.vms() == ["web"]

            await s.clock.sleep(GRACE + 60)
            assert s.vms() == []

    run_virtually(scenario())


def test_a_client_that_outlives_the_daemon_keeps_its_machine(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            await stay_alive(s, 60)
            await s.bridge.close()
            await s.clock.sleep(OUTAGE)
            s.bridge = s.new_bridge()
            s.bridge.start()
            await s.clock.sleep(GRACE - 30)  # the client only comes back now

            await stay_alive(s, 2 * GRACE)

            assert s.vms() == ["web"]

    run_virtually(scenario())


async def live_through_a_standstill(site: Site) -> None:
    await site.run("CreateMachine", key="web", spec=spec())
    await stay_alive(site, 60)
    site.clock.stand_still(OUTAGE)
    await site.clock.sleep(60)
    await stay_alive(site, 60)


def test_a_daemon_that_stood_still_reaps_no_living_client(direct_site, run_virtually):
    """As in a machine that was suspended, or a process that was stopped: nobody could be heard meanwhile."""

    async def scenario() -> None:
        async with direct_site() as s:
            await live_through_a_standstill(s)
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_without_looking_for_a_standstill_a_living_client_is_reaped(direct_site, run_virtually, monkeypatch):
    """The defence switched off: the test above can fail."""

    async def scenario() -> None:
        async with direct_site() as s:
            leases = s.bridge.leases
            monkeypatch.setattr(leases, "_interval", 1e9)
            await s.run("CreateMachine", key="web", spec=spec())
            leases.heard(row_of(s))
            s.clock.stand_still(OUTAGE)
            await leases._look_at(row_of(s))
            with pytest.raises(LeaseExpired):
                leases.heard(row_of(s))

    run_virtually(scenario())


def test_by_the_wall_clock_a_jump_reaps_a_living_client(direct_site, run_virtually, monkeypatch):
    """The defence switched off: what was heard is counted on the wall clock."""

    async def scenario() -> None:
        async with direct_site() as s:

            class WallClock:
                monotonic = staticmethod(s.clock.time)
                time = staticmethod(s.clock.time)
                sleep = staticmethod(s.clock.sleep)

            await s.run("CreateMachine", key="web", spec=spec())
            leases = s.bridge.leases
            leases._heard.clear()
            leases._clock = WallClock()
            leases.heard(row_of(s))
            s.clock.set_wall_clock(DAY)
            await leases._look_at(row_of(s))
            with pytest.raises(LeaseExpired):
                leases.heard(row_of(s))

    run_virtually(scenario())


def test_a_ttl_counts_from_confirm(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            await stay_alive(s, 600)
            row = row_of(s)
            s.bridge.leases.confirm(row, ttl=3600)

            await s.clock.sleep(3600 - 15)
            assert s.vms() == ["web"]
            assert s.bridge.leases.expires_at(row) == pytest.approx(s.clock.time() + 15, abs=1)
            await s.clock.sleep(75)
            assert (s.vms(), s.disks()) == ([], 1)
            with pytest.raises(LeaseExpired, match="reached the end of its ttl"):
                s.bridge.leases.heard(row)

    run_virtually(scenario())


@pytest.mark.parametrize(("ttl", "lives"), [(None, True), (7200, True), (60, False)])
def test_confirming_again_counts_the_ttl_anew_or_lifts_it(direct_site, run_virtually, ttl, lives):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            s.bridge.leases.confirm(row_of(s), ttl=3600)
            await s.clock.sleep(1800)
            s.bridge.leases.confirm(row_of(s), ttl=ttl)

            await s.clock.sleep(3600)

            assert s.vms() == (["web"] if lives else [])

    run_virtually(scenario())


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_ttl_goes_by_the_daemon_while_that_runs_and_by_the_wall_clock_else(
    direct_site, run_virtually, jump
):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            s.bridge.leases.confirm(row_of(s), ttl=3600)
            await s.clock.sleep(20)
            s.clock.set_wall_clock(jump)
            await s.clock.sleep(1780)
            assert s.vms() == ["web"], "a jump does not end it"
            s.clock.set_wall_clock(-jump)
            await s.bridge.close()
            await s.clock.sleep(1200)
            s.bridge = s.new_bridge()
            s.bridge.start()

            await s.clock.sleep(500)
            assert s.vms() == ["web"]
            await s.clock.sleep(160)
            assert s.vms() == [], "what passed without a daemon counts"

    run_virtually(scenario())


def test_a_daemon_has_work_as_long_as_a_lease_an_undo_or_a_late_arrival_is_pending(
    direct_site, run_virtually
):
    """It is what keeps an auto-started daemon from ending for lack of work (see test_daemon.py)."""

    async def scenario() -> None:
        async with direct_site() as s:
            assert not s.bridge.busy
            await s.run("CreateMachine", key="web", spec=spec())
            assert s.bridge.busy, "a session lease"
            s.bridge.leases.confirm(row_of(s), ttl=3600)
            assert s.bridge.busy, "a ttl"
            s.bridge.leases.confirm(row_of(s))
            await s.clock.sleep(1)
            assert not s.bridge.busy, "a Machine that is kept needs nobody"
            s.bridge.ledger.update_object(row_of(s).id, unanswered=True)
            destroying = await s.call("DestroyMachine", key="web")
            assert s.bridge.busy
            await s.ended(destroying)
            assert s.bridge.busy, "an unanswered create may still make it"
            await s.clock.sleep(1000)
            assert not s.bridge.busy

    run_virtually(scenario())


def test_a_second_installation_never_touches_the_machines_of_the_first(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as first, direct_site("second", installation=SECOND) as second:
            await first.run("CreateMachine", key="web", spec=spec())
            first.bridge.leases.confirm(row_of(first))

            refused = await second.run("CreateMachine", key="web", spec=spec())
            assert (refused.state, refused.error["reason"]) == (FAILED, "NAME_IN_USE")
            made = await second.run("CreateMachine", key="web", spec=spec(name="second"))
            assert made.state == SUCCEEDED
            await first.clock.sleep(GRACE + 60)

            assert first.vms() == ["web"], "the second one's is reaped, the first one's is not"
            assert [finding for finding, kind, _ in await second.census() if kind == "vm"] == ["foreign"]

    run_virtually(scenario())


def test_without_the_installation_in_id_and_mark_the_second_destroys_the_first_ones(
    direct_site, run_virtually, monkeypatch
):
    """The defence switched off: the test above can fail."""
    vm_id = new_machine.vm_id
    monkeypatch.setattr(new_machine, "vm_id", lambda _installation, *rest: vm_id(str(SECOND), *rest))
    monkeypatch.setattr(Mark, "is_of_vm", lambda mark, *_: mark.kind == "vm")

    async def scenario() -> None:
        async with direct_site() as first, direct_site("second", installation=SECOND) as second:
            await first.run("CreateMachine", key="web", spec=spec())
            first.bridge.leases.confirm(row_of(first))
            await second.run("CreateMachine", key="web", spec=spec())
            assert first.vms() == []

    run_virtually(scenario())


class Client:
    """One that makes a Machine, is heard of for a while, and then keeps it, leaves it for a time, or dies."""

    def __init__(self, site: Site, number: int, rng: random.Random, *, dies: bool) -> None:
        self._site = site
        self.key = f"m{number}"
        self._begins = rng.uniform(0, 3000)
        self._lives = rng.uniform(0, 2500)
        self._jitter = random.Random(number)
        self.end = "dies" if dies else rng.choice(["lives on", "keeps it", "ttl"])
        self.ttl = rng.uniform(60, 3000)
        # On the monotonic clock: when it was last heard of, or when its ttl is over.
        self.heard = float("inf")
        self.dead = False
        self.refused = ""
        self.vm_id = ""

    async def live(self) -> None:
        clock = self._site.clock
        await clock.sleep(self._begins)
        while not await self._tried(self._make):
            await clock.sleep(5)
        until = clock.monotonic() + self._lives
        while self.end == "lives on" or clock.monotonic() < until:
            await self._tried(self._renew)
            await clock.sleep(30 + self._jitter.uniform(-5, 5))
        if self.end == "dies":
            self.dead = True
        elif not await self._tried(self._confirm):
            self.dead = True  # the daemon was away: it gives up, as one that dies does

    async def _tried(self, call) -> bool:
        """False when the daemon was not there."""
        if self._site.away:
            return False
        try:
            await call()
        except ProvisionError as error:
            self.refused = str(error)
        return True

    async def _make(self) -> None:
        made = await self._site.run("CreateMachine", key=self.key, spec=spec())
        assert made.state == SUCCEEDED, made.error
        self.vm_id = row_of(self._site, self.key).engine_id
        self.heard = self._site.clock.monotonic()

    async def _renew(self) -> None:
        self._site.bridge.leases.heard(self._site.bridge.ledger.last_machine(OWNER, self.key))
        self.heard = self._site.clock.monotonic()

    async def _confirm(self) -> None:
        ttl = self.ttl if self.end == "ttl" else None
        self._site.bridge.leases.confirm(self._site.bridge.ledger.last_machine(OWNER, self.key), ttl=ttl)


async def fleet(site: Site, clients: list[Client]) -> tuple[int, list[str]]:
    """Lets clients live through outages, clock jumps and a standstill; how many Machines of dead ones went,
    and what went wrong."""
    clock = site.clock
    site.away = False
    wrong: list[str] = []
    gone: set[str] = set()
    served_since = clock.monotonic()
    living = [asyncio.ensure_future(client.live()) for client in clients]
    events = {1200: "outage", 3600: "forwards", 4200: "backwards", 4800: "standstill", 6000: "outage"}
    end = clock.monotonic() + 9000
    while clock.monotonic() < end:
        await clock.sleep(15)
        due = next((at for at in events if clock.monotonic() >= at), None)
        event = events.pop(due) if due is not None else ""
        if event == "outage":
            site.away = True
            await site.bridge.close()
            await clock.sleep(OUTAGE)
            site.bridge = site.new_bridge()
            site.bridge.start()
            site.away = False
        elif event == "standstill":
            clock.stand_still(OUTAGE)
        elif event:
            clock.set_wall_clock(DAY if event == "forwards" else -2 * DAY)
        if event in ("outage", "standstill"):
            served_since = clock.monotonic()
        for one in clients:
            if not one.vm_id or one.key in gone:
                continue
            there = one.vm_id in site.simulator.world.vms
            if not there and one.dead:
                gone.add(one.key)
            elif not there and one.end != "ttl":
                wrong.append(f"{one.key}, whose client {one.end}, is gone: {one.refused}")
                gone.add(one.key)
            elif there and one.dead and clock.monotonic() > max(one.heard, served_since) + GRACE + 60:
                wrong.append(f"{one.key}, whose client died, is still there")
                gone.add(one.key)
    for task in living:
        task.cancel()
    await asyncio.gather(*living, return_exceptions=True)
    return len(gone), wrong


def test_a_fleet_of_clients_that_live_and_die(direct_site, run_virtually):
    """With an outage of ten minutes, jumps of the wall clock and a standstill on the way."""

    async def scenario() -> None:
        rng = random.Random(SEED)
        async with direct_site() as s, direct_site("second", installation=SECOND) as other:
            await other.run("CreateMachine", key="theirs", spec=spec())
            other.bridge.leases.confirm(row_of(other, "theirs"))
            clients = [Client(s, number, rng, dies=number % 2 == 0) for number in range(2 * DYING)]
            gone, wrong = await fleet(s, clients)
            dead = sum(client.dead for client in clients)
            print(
                f"OVIRT_PROVISION_SEED={SEED} clients: {len(clients)}, died: {dead}, "
                f"their machines gone: {gone}"
            )
            assert not wrong, f"OVIRT_PROVISION_SEED={SEED}: {wrong[0]} (and {len(wrong) - 1} more)"
            assert gone == dead >= DYING
            assert "theirs" in s.vms()

    run_virtually(scenario())
