"""What the ledger forgets, and what it must not."""

import contextlib
import os

import pytest
import sqlalchemy as sa

from ovirt_provision.ledger import retention
from ovirt_provision.ledger.retention import forget
from ovirt_provision.ledger.schema import leases, objects, operations
from ovirt_provision.ledger.store import CLEANUP_PENDING, SUCCEEDED, Ledger
from tests.crashes import Crashes
from tests.harness import OWNER, Site, spec
from tests.operations.test_every_crash import SCENARIOS, play

# Retention, and until the janitor has looked through the ledger; in seconds.
KEPT = 60.0
LOOKED = 3700.0


def rows(site: Site) -> tuple[int, int, int]:
    """How many operations, objects and leases the ledger holds."""
    with site.bridge.ledger._database.connect() as connection:
        counts = [
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (operations, objects, leases)
        ]
    return tuple(int(count or 0) for count in counts)


def forget_all(site: Site) -> None:
    while forget(site.bridge.ledger, site.clock.time() + 1):
        pass


def keep(site: Site, key: str) -> None:
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, key))


def test_the_janitor_forgets_what_is_long_over_and_leaves_what_stands(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="stays", spec=spec())
            keep(s, "stays")
            before = rows(s)
            for number in range(3):
                await s.run("CreateMachine", key=f"goes-{number}", spec=spec())
                await s.run("DestroyMachine", key=f"goes-{number}")
            assert rows(s)[0] == before[0] + 6

            await s.clock.sleep(LOOKED)
            assert rows(s)[0] == before[0] + 6, "30 days are not over"
            s.bridge.janitor._retention = KEPT
            await s.clock.sleep(LOOKED)

            # Of each key its last Machine remains, without a lease and without its disks.
            assert rows(s) == (before[0], before[1] + 3, before[2])
            assert (s.vms(), {finding for finding, _, _ in await s.census()}) == (["stays"], {"ours"})

    run_virtually(scenario())


def test_a_living_key_still_means_the_operation_that_made_its_machine(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            created = await s.run("CreateMachine", key="web", spec=spec())
            started = await s.run("StartMachine", key="web")
            forget_all(s)

            assert s.bridge.ledger.operation(started.id) is None
            assert (await s.call("CreateMachine", key="web", spec=spec())).id == created.id
            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED

    run_virtually(scenario())


async def ids_of_a_key_used_twice(site: Site) -> list[str]:
    ids = []
    for _ in range(2):
        created = await site.run("CreateMachine", key="web", spec=spec())
        ids.append(site.bridge.ledger.object(created.object_id or 0).known_id)
        await site.run("DestroyMachine", key="web")
        forget_all(site)
    return ids


def test_a_key_never_gets_an_id_again_that_it_has_had(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            first, second = await ids_of_a_key_used_twice(s)
            assert first != second
            assert rows(s)[:2] == (0, 1)

    run_virtually(scenario())


def test_without_the_last_machine_of_a_key_its_id_would_come_again(site, run_virtually, monkeypatch):
    monkeypatch.setattr(retention, "_is_newest", lambda: sa.false())

    async def scenario() -> None:
        async with site() as s:
            first, second = await ids_of_a_key_used_twice(s)
            assert first == second

    run_virtually(scenario())


def test_what_may_still_turn_up_is_not_forgotten(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            created = await s.run("CreateMachine", key="web", spec=spec())
            await s.run("DestroyMachine", key="web")
            s.bridge.ledger.bury(created.object_id or 0, s.clock.time() + 600)
            forget_all(s)

            assert s.bridge.ledger.operation(created.id) is not None
            assert [tombstone.object_id for tombstone in s.bridge.ledger.tombstones()] == [created.object_id]

    run_virtually(scenario())


def test_what_waits_to_be_cleaned_is_not_forgotten(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            created = await s.run("CreateMachine", key="web", spec=spec())
            await s.run("DestroyMachine", key="web")
            s.bridge.ledger.update_operation(created.id, cleanup=CLEANUP_PENDING)
            forget_all(s)

            assert s.bridge.ledger.operation(created.id) is not None

    run_virtually(scenario())


def forget_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on everything is forgotten after each commit that ended a moment ago."""
    transaction = Ledger.transaction
    busy = []

    @contextlib.contextmanager
    def forgetful(ledger: Ledger):
        with transaction(ledger) as connection:
            yield connection
        if not busy:
            busy.append(True)
            try:
                forget(ledger, ledger._clock.time() - KEPT)
            finally:
                busy.pop()

    monkeypatch.setattr(Ledger, "transaction", forgetful)


def scenarios() -> list[str]:
    """One that makes and destroys; all of them with OVIRT_PROVISION_CRASHES=all."""
    return list(SCENARIOS) if os.environ.get("OVIRT_PROVISION_CRASHES") == "all" else ["destroy"]


@pytest.mark.parametrize("name", scenarios())
def test_forgetting_at_every_moment_disturbs_nothing(site, run_virtually, monkeypatch, name):
    async def scenario() -> None:
        async with site(late_create_grace=30) as s:
            forget_always(monkeypatch)
            await play(s, Crashes(s, monkeypatch), SCENARIOS[name])

    run_virtually(scenario())
