"""The runner: forwards, backwards, across restarts, on a virtual clock and a real ledger."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from ovirt_provision.clock import VirtualClock
from ovirt_provision.errors import EngineRefused, ProvisionError
from ovirt_provision.ledger.runner import Phase, Run, Runner
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Ledger, Operation


@dataclass
class World:
    """What phases do, written down; it survives the daemon as the engine would."""

    log: list[str] = field(default_factory=list)
    built: set[str] = field(default_factory=set)


class Daemon:
    """A ledger with a runner, as after a start of the daemon."""

    def __init__(self, path, clock: VirtualClock, phases: list[Phase[Run]]) -> None:
        self.ledger = Ledger.open(path, clock)
        self.runner: Runner[Run] = Runner(
            self.ledger,
            clock,
            make_run=lambda operation: Run(operation, self.ledger, clock),
            phases_of=lambda _: phases,
            seconds_of=lambda _run, _name: 60.0,
            explain=_unchanged,
            is_clean=lambda _: True,
            ended=lambda _: None,
        )

    def submit(self) -> Operation:
        operation_id = str(uuid.uuid4())
        with self.ledger.transaction() as connection:
            self.ledger.add_operation(
                connection,
                id=operation_id,
                verb="Build",
                engine="e",
                owner="uid:1",
                request_id=str(uuid.uuid4()),
                request_hash="",
                request={},
                plan={},
                key="",
                object_id=None,
            )
        operation = self.ledger.operation_or_fail(operation_id)
        self.runner.start(operation)
        return operation


async def _unchanged(_run: Run, error: ProvisionError) -> ProvisionError:
    return error


def builds(world: World, name: str, *, seconds: float = 10, fails: bool = False) -> Phase[Run]:
    async def act(run: Run) -> None:
        world.log.append(f"{name}{' again' if run.reentered else ''}")
        world.built.add(name)
        if fails:
            raise EngineRefused(doing=name, status=409, engine_says="no")
        await run.sleep(seconds)

    async def undo(run: Run) -> None:
        world.log.append(f"undo {name}")
        await run.sleep(1)
        world.built.discard(name)

    return Phase(name, timeout=name, done=50, act=act, undo=undo)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def start(tmp_path, virtual_clock) -> Callable[[list[Phase[Run]]], Daemon]:
    return lambda phases: Daemon(tmp_path / "ledger.sqlite", virtual_clock, phases)


def test_phases_run_in_order_to_success(world, start, run_virtually):
    async def scenario() -> Operation:
        daemon = start([builds(world, "a"), builds(world, "b")])
        return await daemon.runner.ended(daemon.submit().id)

    operation = run_virtually(scenario())

    assert (operation.state, operation.percent, world.log) == (SUCCEEDED, 100, ["a", "b"])


def test_a_failure_undoes_what_was_entered_backwards(world, start, run_virtually):
    async def scenario() -> Operation:
        daemon = start([builds(world, "a"), builds(world, "b", fails=True), builds(world, "c")])
        return await daemon.runner.ended(daemon.submit().id)

    operation = run_virtually(scenario())

    assert operation.state == FAILED
    assert operation.error["phase"] == "b"
    assert world.log == ["a", "b", "undo b", "undo a"]
    assert world.built == set()


def test_cancelling_ends_the_wait_at_once_and_undoes(world, start, run_virtually, virtual_clock):
    async def scenario() -> Operation:
        daemon = start([builds(world, "a", seconds=50)])
        operation = daemon.submit()
        await virtual_clock.sleep(3)
        daemon.runner.cancel(operation.id, "by its client")
        return await daemon.runner.ended(operation.id)

    operation = run_virtually(scenario())

    assert operation.state == CANCELLED
    assert "by its client" in operation.error["message"]
    assert virtual_clock.monotonic() < 10
    assert world.built == set()


def test_a_phase_that_takes_too_long_fails_with_the_name_of_its_timeout(world, start, run_virtually):
    async def scenario() -> Operation:
        daemon = start([builds(world, "slow", seconds=10_000)])
        return await daemon.runner.ended(daemon.submit().id)

    operation = run_virtually(scenario())

    assert operation.state == FAILED
    assert "time-out `slow`" in operation.error["message"]
    assert world.built == set()


@pytest.mark.parametrize("died_after", [5, 15])
def test_a_new_daemon_goes_on_with_the_phase_that_was_under_way(
    world, start, run_virtually, virtual_clock, died_after
):
    phases = [builds(world, "a"), builds(world, "b")]

    async def scenario() -> Operation:
        first = start(phases)
        operation = first.submit()
        await virtual_clock.sleep(died_after)
        await first.runner.close()
        second = start(phases)
        second.runner.recover()
        return await second.runner.ended(operation.id)

    operation = run_virtually(scenario())

    assert operation.state == SUCCEEDED
    assert world.built == {"a", "b"}
    # Only the phase that was under way is entered again; what had ended is not repeated.
    assert sum(line.endswith("again") for line in world.log) == 1


def test_a_daemon_that_dies_during_the_undo_leaves_it_to_the_next(world, start, run_virtually, virtual_clock):
    phases = [builds(world, "a"), builds(world, "b", fails=True)]

    async def scenario() -> Operation:
        first = start(phases)
        operation = first.submit()
        await virtual_clock.sleep(10.5)
        await first.runner.close()
        second = start(phases)
        second.runner.recover()
        return await second.runner.ended(operation.id)

    operation = run_virtually(scenario())

    assert operation.state == FAILED
    assert operation.error["phase"] == "b"
    assert world.built == set()


def test_a_cancellation_that_was_recorded_is_honoured_by_the_next_daemon(
    world, start, run_virtually, virtual_clock
):
    phases = [builds(world, "a", seconds=50)]

    async def scenario() -> Operation:
        first = start(phases)
        operation = first.submit()
        await virtual_clock.sleep(1)
        await first.runner.close()
        second = start(phases)
        second.runner.cancel(operation.id, "by its client")
        second.runner.recover()
        return await second.runner.ended(operation.id)

    assert run_virtually(scenario()).state == CANCELLED
    assert world.built == set()


def test_a_watcher_sees_every_phase_and_the_end(world, start, run_virtually):
    async def scenario() -> list[tuple[str, str]]:
        daemon = start([builds(world, "a"), builds(world, "b")])
        operation = daemon.submit()
        return [(seen.phase, seen.state) async for seen in daemon.runner.watch(operation.id)]

    seen = run_virtually(scenario())

    assert [phase for phase, _ in seen if phase] == sorted(phase for phase, _ in seen if phase)
    assert {"a", "b"} <= {phase for phase, _ in seen}
    assert seen[-1][1] == SUCCEEDED


def test_a_defect_in_a_phase_is_a_failure_with_an_incident(world, start, run_virtually):
    async def broken(_run: Run) -> None:
        raise KeyError("secret")

    async def scenario() -> Operation:
        daemon = start([builds(world, "a"), Phase("b", timeout="b", done=100, act=broken)])
        return await daemon.runner.ended(daemon.submit().id)

    operation = run_virtually(scenario())

    assert operation.state == FAILED
    assert operation.error["reason"] == "INTERNAL"
    assert "secret" not in operation.error["message"]
    assert world.built == set()


def test_the_end_of_an_operation_is_reported_after_the_runner_has_let_go_of_it(start, world, run_virtually):
    async def scenario() -> bool:
        daemon = start([builds(world, "a")])
        await daemon.runner.ended(daemon.submit().id)
        await asyncio.sleep(0)
        return daemon.runner.busy

    assert run_virtually(scenario()) is False


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6])
def test_a_ledger_that_cannot_be_written_for_a_moment_leaves_no_operation_behind(
    world, start, run_virtually, monkeypatch, nth
):
    """A full disk, say: whatever write it hits, watchers see an end, and the effects belong to it."""
    writes = iter(range(1, 1000))
    update = Ledger.update_operation

    def fail_once(ledger: Ledger, operation_id: str, **values: object) -> Operation:
        if next(writes) == nth:
            raise sa.exc.OperationalError("update", {}, Exception("database or disk is full"))
        return update(ledger, operation_id, **values)

    async def scenario() -> Operation:
        monkeypatch.setattr(Ledger, "update_operation", fail_once)
        daemon = start([builds(world, "a"), builds(world, "b")])
        return await daemon.runner.ended(daemon.submit().id)

    operation = run_virtually(scenario())

    assert operation.state in (SUCCEEDED, FAILED)
    assert world.built == ({"a", "b"} if operation.state == SUCCEEDED else set())


def test_a_phase_that_a_newer_version_no_longer_has_ends_in_an_undo(
    world, start, run_virtually, virtual_clock
):
    async def scenario() -> Operation:
        first = start([builds(world, "a"), builds(world, "old")])
        operation = first.submit()
        await virtual_clock.sleep(15)
        await first.runner.close()
        second = start([builds(world, "a"), builds(world, "new")])
        second.runner.recover()
        return await second.runner.ended(operation.id)

    assert run_virtually(scenario()).state == FAILED
    assert "undo a" in world.log
