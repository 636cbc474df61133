"""A state machine of a ledger with its leases, against a model: random lives of Machines, outages, jumps of
the wall clock.

More of it: `OVIRT_PROVISION_EXAMPLES=1000 pytest tests/ledger/test_leases_machine.py`. A failure prints the
steps that lead to it, and the `@reproduce_failure` line that replays them.
"""

import asyncio
import contextlib
import os
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import Owner, Timeouts
from ovirt_provision.errors import LeaseExpired
from ovirt_provision.ledger.store import (
    GONE,
    KEPT,
    PRESENT,
    SESSION,
    SUCCEEDED,
    Ledger,
    Object,
    OwnershipLost,
)
from ovirt_provision.operations.leases import Leases
from ovirt_provision.operations.new_machine import intend_machine, made_already
from ovirt_provision.operations.verb import Call
from ovirt_provision.v1 import machines_pb2

KEYS = st.sampled_from(("web", "db"))
OWNER = "uid:1000"
INSTALLATION = str(uuid.UUID(int=42))
TIMEOUTS = Timeouts()
# How much later than its grace a Machine of a dead client may be gone, while a daemon runs; in seconds.
SLACK = 60
SETTINGS = settings(
    max_examples=int(os.environ.get("OVIRT_PROVISION_EXAMPLES", "5")),
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class WallClock(VirtualClock):
    """A virtual clock whose wall can be set."""

    def set_wall(self, seconds: float) -> None:
        """Puts the wall clock forward, or back if negative."""
        self._start += seconds


class Destroyer:
    """In the dispatcher's place: destroys at once, without an engine."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def call(self, _verb: object, owner: str, _engine: str, request: Any) -> Any:
        living = self._ledger.living_machine(owner, request.key)
        if living is not None:
            self._ledger.update_object(living.id, state=GONE)
        return SimpleNamespace(ended=False)


@dataclass
class Life:
    """What the model knows of a Machine; `heard` is on the monotonic clock."""

    row: int
    kind: str
    heard: float


class LeasesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._clock = WallClock()
        self._runner = asyncio.Runner(loop_factory=self._clock.new_event_loop)
        self._lives: dict[str, Life] = {}
        self._generations: dict[str, int] = {}
        self._ids: set[str] = set()
        self._start()

    def teardown(self) -> None:
        self._stop()
        self._runner.close()
        self._folder.cleanup()

    def _start(self) -> None:
        """A daemon begins to serve: all whose Machines stand count as heard of now."""
        self._ledger = Ledger.open(Path(self._folder.name) / "ledger.sqlite", self._clock)
        self._leases = Leases(self._ledger, self._clock, TIMEOUTS, Destroyer(self._ledger))  # type: ignore[arg-type]
        self._reaping = self._runner.get_loop().create_task(self._leases.run())
        for life in self._lives.values():
            if self._stands(life):  # what was reaped before stays so
                life.heard = self._clock.monotonic()
        self._pass(0)

    def _stop(self) -> None:
        self._reaping.cancel()

        async def end() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaping

        self._runner.run(end())
        self._ledger.close()

    def _pass(self, seconds: float) -> None:
        self._runner.run(self._clock.sleep(seconds))

    def _living(self, key: str) -> Object | None:
        return self._ledger.living_machine(OWNER, key)

    def _stands(self, life: Life) -> bool:
        return self._ledger.object(life.row).state == PRESENT

    def _grace(self, key: str) -> float:
        """How many seconds the grace of a key's client has left; negative when it is over."""
        return self._lives[key].heard + TIMEOUTS.lease_grace - self._clock.monotonic()

    @rule(key=KEYS)
    def create(self, key: str) -> None:
        request = machines_pb2.CreateMachineRequest(request_id=str(uuid.uuid4()), key=key)
        call = Call(
            request,
            OWNER,
            SimpleNamespace(name="sim"),
            INSTALLATION,
            self._ledger,
            TIMEOUTS,
            Owner(),  # type: ignore[arg-type]
            SimpleNamespace(),
        )
        known = made_already(call)
        assert (known is not None) == (self._living(key) is not None), "a living key is never made again"
        if known is not None:
            return
        with self._ledger.transaction() as connection:
            row = intend_machine(call, connection, name="", details={})
            self._ledger.add_operation(
                connection,
                id=request.request_id,
                verb="CreateMachine",
                engine="sim",
                owner=OWNER,
                request_id=request.request_id,
                request_hash="",
                request={},
                plan={},
                key=key,
                object_id=row,
            )
        self._ledger.update_object(row, state=PRESENT)
        self._ledger.update_operation(request.request_id, state=SUCCEEDED)
        made = self._ledger.object(row)
        self._generations[key] = self._generations.get(key, 0) + 1
        assert made.generation == self._generations[key]
        assert made.known_id not in self._ids, "every generation is a VM of its own"
        self._ids.add(made.known_id)
        self._leases.heard(made)
        self._lives[key] = Life(row, SESSION, self._clock.monotonic())

    @rule(key=KEYS)
    def renew(self, key: str) -> None:
        life = self._lives.get(key)
        if life is None:
            return
        try:
            self._leases.heard(self._ledger.object(life.row))
        except LeaseExpired:
            assert life.kind == SESSION
            assert self._grace(key) <= 0, "a client that is heard of in time keeps its Machine"
        else:
            life.heard = self._clock.monotonic()

    @rule(key=KEYS)
    def confirm(self, key: str) -> None:
        if key in self._lives and self._living(key) is not None:
            with contextlib.suppress(LeaseExpired):
                self._leases.confirm(self._ledger.object(self._lives[key].row))
                self._lives[key].kind = KEPT

    @rule(key=KEYS)
    def destroy(self, key: str) -> None:
        living = self._living(key)
        if living is not None:
            self._ledger.update_object(living.id, state=GONE)
        self._lives.pop(key, None)

    @rule(seconds=st.integers(1, 500))
    def wait(self, seconds: int) -> None:
        self._pass(seconds)

    @rule(seconds=st.integers(0, 900))
    def outage(self, seconds: int) -> None:
        """The daemon dies, and the next one serves only later; the dead one cannot write any more."""
        old = self._ledger
        self._stop()
        self._pass(seconds)
        self._start()
        with pytest.raises(OwnershipLost), old.transaction():
            pass
        old.close()

    @rule(days=st.sampled_from((-30, -1, 1, 30)))
    def set_wall(self, days: int) -> None:
        self._clock.set_wall(days * 86400)

    @invariant()
    def machines_live_as_long_as_their_leases(self) -> None:
        for key, life in list(self._lives.items()):
            alive = self._stands(life)
            if life.kind == KEPT:
                assert alive, f"{key} was kept"
            elif self._grace(key) > 0:
                assert alive, f"the client of {key} lives"
            elif self._grace(key) < -SLACK:
                assert not alive, f"the client of {key} is dead"

    @invariant()
    def one_machine_lives_under_a_key(self) -> None:
        machines = self._ledger.list_machines(OWNER, "sim")
        assert len({machine.key for machine in machines}) == len(machines)
        for machine in machines:
            assert machine.generation == self._generations[machine.key]


def test_ledger_and_leases_do_what_the_model_does():
    run_state_machine_as_test(LeasesMachine, settings=SETTINGS)


def test_leases_that_hear_nobody_end_those_of_living_clients(monkeypatch):
    """The defence switched off: the test above can fail."""
    monkeypatch.setattr(Leases, "heard", lambda *_: None)
    machine = LeasesMachine()
    machine.create(key="web")
    for _ in range(2):
        machine.machines_live_as_long_as_their_leases()
        machine.wait(seconds=200)
        machine.renew(key="web")

    with pytest.raises(AssertionError, match="lives"):
        machine.machines_live_as_long_as_their_leases()
    machine.teardown()
