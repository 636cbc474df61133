"""Operations while the ledger cannot be written: they stand still, ask for nothing, and end as they would
have."""

import os
import uuid

import pytest

from ovirt_provision.errors import Code
from ovirt_provision.ledger.database import LedgerFull
from ovirt_provision.ledger.store import SUCCEEDED, Ledger
from tests.disk import Disk
from tests.harness import Site, spec, started

# In seconds: until every operation has noticed, for how long it stays so, and until all go on.
NOTICED = 5.0
FULL = 200.0
GOES_ON = 16.0


@pytest.fixture
def disk():
    with Disk().in_place() as disk:
        yield disk


async def fill_after(site: Site, disk: Disk, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills the disk behind so many commits from now."""
    transaction = Ledger.transaction
    left = iter(range(commits))

    def counted(ledger: Ledger):
        if next(left, None) is None:
            disk.full = True
        return transaction(ledger)

    monkeypatch.setattr(Ledger, "transaction", counted)


async def requests_while_full(site: Site, disk: Disk, monkeypatch: pytest.MonkeyPatch, commits: int) -> int:
    """How many requests the engine gets while the disk is full: from the `commits`-th write of a create on.
    Afterwards there is space again, and the create has to end well."""
    await fill_after(site, disk, commits, monkeypatch)
    creating = await site.call(
        "CreateMachine", key="web", spec=spec(), start_with=started(user_data="runcmd: [id]")
    )
    while not disk.full:
        await site.clock.sleep(1)
    await site.clock.sleep(NOTICED)
    before = len(site.simulator.requests)
    await site.clock.sleep(FULL)
    asked = len(site.simulator.requests) - before
    assert "standing still: the ledger" in site.bridge.dispatcher.runner.progress(creating.id)
    monkeypatch.undo()
    disk.full = False
    await site.clock.sleep(GOES_ON)
    assert len(site.simulator.requests) > before + asked

    ended = await site.ended(creating)

    assert (ended.state, ended.cleanup) == (SUCCEEDED, "done"), ended.error
    assert (site.vms(), site.disks()) == (["web"], 2)
    assert {finding for finding, _, _ in await site.census()} == {"ours"}
    return asked


# Behind the accepting one, the create, the clone and the start; with OVIRT_PROVISION_CRASHES=all every one.
COMMITS = range(1, 13) if os.environ.get("OVIRT_PROVISION_CRASHES") == "all" else (1, 3, 6, 10)


@pytest.mark.parametrize("commits", COMMITS)
def test_an_operation_stands_still_while_the_disk_is_full(site, disk, run_virtually, monkeypatch, commits):
    async def scenario() -> int:
        async with site() as s:
            return await requests_while_full(s, disk, monkeypatch, commits)

    assert run_virtually(scenario()) == 0


def test_without_looking_at_the_ledger_first_an_operation_asks_the_engine_all_the_same(
    site, disk, run_virtually, monkeypatch
):
    monkeypatch.setattr(Ledger, "insist_on_writable", lambda self: None)

    async def scenario() -> int:
        async with site() as s:
            with pytest.MonkeyPatch.context() as patch:
                return await requests_while_full(s, disk, patch, 3)

    assert run_virtually(scenario()) > 0


def test_a_call_on_a_full_disk_is_refused_and_has_no_effect(site, disk, run_virtually):
    request_id = str(uuid.uuid4())

    async def create(s: Site):
        return await s.call("CreateMachine", request_id=request_id, key="web", spec=spec())

    async def scenario() -> None:
        async with site() as s:
            disk.full = True
            for _ in range(2):
                before = len(s.simulator.requests)
                with pytest.raises(LedgerFull, match="its disk is full") as refused:
                    await create(s)
            assert len(s.simulator.requests) == before, "the second one does not even look things up"
            report = refused.value.report()
            assert report.code == Code.RESOURCE_EXHAUSTED
            assert "Make room on the file system" in report.advice
            assert s.vms() == []
            disk.full = False
            assert (await s.ended(await create(s))).state == SUCCEEDED
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_secrets_that_find_no_space_are_not_accepted(site, disk, run_virtually, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        async with site() as s:
            with monkeypatch.context() as patch:
                patch.setattr("ovirt_provision.paths.write_whole", refuse)
                with pytest.raises(LedgerFull):
                    await s.call(
                        "CreateMachine", key="web", spec=spec(), start_with=started(user_data="x: 1")
                    )
            assert s.bridge.ledger.unended_operations() == []

    run_virtually(scenario())
