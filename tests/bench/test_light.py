"""What the bridge costs the engine, counted in virtual time: the same on every machine."""

import asyncio
import random
from pathlib import Path

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.engine import batch, disks, watcher
from ovirt_provision.engine.events import Events
from ovirt_provision.engine.machines import Machines
from tests.bench.lifecycles import MUTATING, Figures, naively, through_the_bridge

MACHINES = 20
FEW = 5
SEED = random.SystemRandom().randrange(2**32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    return tmp_path


def bridge(folder: Path, machines: int) -> Figures:
    clock = VirtualClock()
    print(f"seed: {SEED}")
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(through_the_bridge(clock, folder, machines, 0, SEED))


def naive(machines: int) -> Figures:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(naively(clock, machines, 0, SEED))


def test_twenty_machines_cost_the_fewest_changes_and_few_readings(folder):
    figures, other = bridge(folder, MACHINES), naive(MACHINES)

    changes = {what: n for what, n in figures.asked.items() if not what.startswith("GET")}
    assert changes == dict.fromkeys(MUTATING, MACHINES), "the fewest that the API allows"
    assert other.mutating == figures.mutating
    assert figures.reading <= other.reading / 4
    # That a VM and its disk are gone is for a GET of each to say; all else is read together.
    assert figures.asked["GET /vms/{id}"] <= 1.5 * MACHINES
    assert figures.asked["GET /disks/{id}"] <= 1.5 * MACHINES
    assert figures.latency(95) <= 1.0


def test_one_machine_is_read_once_a_second_and_no_events_with_it(folder):
    figures = bridge(folder, 1)

    assert figures.asked["GET /events"] == 0
    # From its first request until it has an address; then it is destroyed, which is as long as that at most.
    assert figures.reading <= 2 * figures.seconds
    assert figures.latency(100) <= 1.0


def test_with_events_beside_them_the_readings_of_one_machine_are_more(folder, monkeypatch):
    """The defence switched off: the test above can fail."""
    monkeypatch.setattr(watcher.Watcher, "_requests_for_all", lambda _: 2)

    assert bridge(folder, 1).asked["GET /events"] > 0


def test_without_reading_together_it_reads_as_much_as_anybody(folder, monkeypatch):
    """The defence switched off: the test above can fail."""
    monkeypatch.setattr(watcher, "MOST", 1)
    monkeypatch.setattr(disks, "MOST", 1)
    monkeypatch.setattr(Machines, "find", Machines.get)
    monkeypatch.setattr(batch.Batch, "get", _alone)
    monkeypatch.setattr(Events, "tail", _nothing)

    figures = bridge(folder, FEW)

    assert figures.asked["GET /vms/{id}"] > 3 * FEW
    assert figures.reading > naive(FEW).reading / 4


async def _alone(self: "batch.Batch[object]", key: str) -> object:
    return (await self._read([key]))[key]


async def _nothing(_self: Events) -> list[object]:
    return []
