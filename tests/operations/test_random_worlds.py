"""Random worlds full of what looks like ours: no verb, reaper or janitor changes anything of others.

`OVIRT_PROVISION_WORLDS=10000` plays so many, `OVIRT_PROVISION_WORLD=17` the one of that seed.
"""

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from ovirt_provision.clock import VirtualClock
from ovirt_provision.engine.disks import Disks
from ovirt_provision.engine.model import Vm
from ovirt_provision.errors import ProvisionError
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import Ledger
from ovirt_provision.operations import (
    destroy_template,
    new_machine,
    provisioning,
    removal,
)
from ovirt_provision.simulator import Simulator
from ovirt_provision.v1 import templates_pb2
from tests.harness import OWNER, Site, spec, started
from tests.strangers import KEYS, TEMPLATES, Strangers
from tests.wire import URL, Wire

WORLDS = int(os.environ.get("OVIRT_PROVISION_WORLDS", "12"))
ONLY = int(os.environ["OVIRT_PROVISION_WORLD"]) if "OVIRT_PROVISION_WORLD" in os.environ else None
# Without a defence, the harm is to be seen within so many worlds.
_ENOUGH = 200
# In seconds. What is refused or waited for in vain costs the fewest looks at the engine.
_TIMEOUTS = {
    "create_machine": 20,
    "machine_ready": 30,
    "create_template": 30,
    "create_version": 30,
    "create_snapshot": 30,
    "remove_snapshot": 30,
    "start": 30,
    "address": 30,
    "shutdown": 10,
    "power_off": 20,
    "destroy": 40,
    "undo": 60,
    "engine_lock": 5,
    "engine_request": 5,
    "late_create_grace": 10,
    "watch_interval": 3,
    "renew_interval": 20,
    "lease_grace": 60,
}


class World:
    """One engine with strangers on it and a bridge in front of it, made from a seed."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._rng = random.Random(seed)
        self._disks_rng = random.Random(f"disks {seed}")
        self._images = random.Random(f"images {seed}")
        self._monkeypatch = monkeypatch
        self._folder = folder
        self.clock = VirtualClock()
        self.violations: list[str] = []
        self.deeds: list[str] = []
        self.changes = 0

    async def play(self) -> None:
        simulator = Simulator(clock=self.clock, profile="fast", state_dir=self._folder / "simulator")
        wire = Wire(simulator, self._monkeypatch)
        state = self._folder / "state"
        state.mkdir(mode=0o700)
        self._site = Site(simulator, state, self.clock, profile={"url": URL, "insecure": True}, **_TIMEOUTS)
        self._strangers = Strangers(self._site, self._rng)
        wire.observe = self._strangers.judge
        self._site.bridge.start()
        try:
            await self._live()
        finally:
            await self._site.bridge.close()
        self._strangers.look()
        self.violations = self._strangers.violations
        self.deeds = self._strangers.deeds
        self.changes = len(wire.changes)

    async def _live(self) -> None:
        for key in self._rng.sample(KEYS, self._rng.randint(1, 2)):
            await self._call("CreateMachine", key=key, spec=spec())
            row = self._site.bridge.ledger.living_machine(OWNER, key)
            if row is not None and self._rng.random() < 0.5:
                self._site.bridge.leases.confirm(row)
        if self._rng.random() < 0.4:
            await self._random_verb("CreateTemplate")
        for _ in range(self._rng.randint(2, 5)):
            self._strangers.act()
        for _ in range(self._rng.randint(2, 4)):
            verb = asyncio.ensure_future(self._random_verb())
            if self._rng.random() < 0.5:
                await self.clock.sleep(self._rng.uniform(0, 4))
                self._strangers.act()
            await verb
        if self._rng.random() < 0.2:
            await self._site.restart()
        await self._site.census()
        for template in list(self._site.simulator.world.templates):
            await self._call("DestroyTemplate", id=template)
        for disk in list(self._site.simulator.world.disks):
            if self._images.random() < 0.2:
                await self._call("DestroyDisk", id=disk)
        for key in (*KEYS, *(f"{key}-copy" for key in KEYS)):
            if self._rng.random() < 0.7:  # the others go with their leases, or stay
                await self._call("DestroyMachine", key=key)
        await self.clock.sleep(200)  # the janitor goes on with what was left

    async def _random_verb(self, verb: str = "") -> None:
        key = self._rng.choice(KEYS)
        start = {"start_with": started()} if self._rng.random() < 0.2 else {}
        wanted = spec(clone=self._rng.random() < 0.3)
        # By a generator of its own, so that the seeds from before there were disks stay what they are.
        for _ in range(self._disks_rng.choice((0, 0, 1, 2))):
            wanted.new_disks.add(size_bytes=1 << 30)
        calls: dict[str, dict[str, object]] = {
            "CreateMachine": {"key": key, "spec": wanted, **start},
            "CloneMachine": {"source_key": key, "key": f"{key}-copy", **start},
            "StartMachine": {"key": key},
            "StopMachine": {"key": key, "force": self._rng.random() < 0.5},
            "RestartMachine": {"key": key, "force": self._rng.random() < 0.5},
            "CreateTemplate": {
                "machine_key": key,
                "name": self._rng.choice(TEMPLATES),
                **({"new_version": True} if self._rng.random() < 0.3 else {}),
            },
            "DestroyMachine": {"key": key},
        }
        verb = verb or self._rng.choice(list(calls))
        if verb == "DestroyMachine" and self._images.random() < 0.3:
            await self._call("DetachDisk", machine_key=key, name="kept")
        else:
            await self._call(verb, **self._more(verb, calls[verb]))

    def _more(self, verb: str, fields: dict[str, object]) -> dict[str, object]:
        """The fields, and what else is asked of a template. That is drawn by itself, so that old seeds go on
        meaning what they did."""
        if verb != "CreateTemplate":
            return fields
        more = dict(fields)
        if self._images.random() < 0.5:
            more |= {"keep_versions": 1} if "new_version" in fields else {"replace": True}
        if self._images.random() < 0.2:
            more["boot_test"] = templates_pb2.BootTest(address_only=True)
        return more

    async def _call(self, verb: str, **fields: object) -> None:
        """Runs a verb, which the world may well make fail."""
        fields["request_id"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        with contextlib.suppress(ProvisionError):
            operation = await self._site.call(verb, **fields)
            if self._rng.random() < 0.15:
                await self.clock.sleep(self._rng.uniform(0, 5))
                self._site.bridge.dispatcher.cancel(operation, "by its client")
            await self._site.ended(operation)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], World]]:
    """Plays the world of a seed."""
    # In memory, where the file system has such a place: a commit to disk takes longer than all the rest.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="worlds-", dir=memory))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))

    def run(seed: int) -> World:
        with monkeypatch.context() as patch, tempfile.TemporaryDirectory(dir=folder) as own:
            world = World(seed, patch, Path(own))
            with asyncio.Runner(loop_factory=world.clock.new_event_loop) as runner:
                runner.run(world.play())
        return world

    try:
        yield run
    finally:
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Ten thousand worlds log a gigabyte."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("half", [0, 1])
def test_nothing_of_others_is_ever_changed(play: Callable[[int], World], half: int) -> None:
    deeds = changes = 0
    seeds = [ONLY] if ONLY is not None else range(half, WORLDS, 2)
    for seed in seeds:
        world = play(seed)
        told = f"OVIRT_PROVISION_WORLD={seed} ({', '.join(world.deeds)}): {world.violations[:1]}"
        assert not world.violations, told
        deeds += len(world.deeds)
        changes += world.changes
    print(
        f"worlds: {len(seeds)}, deeds of strangers: {deeds}, changes by the bridge: {changes}, of others': 0"
    )
    assert changes > len(seeds) or ONLY is not None


def by_installation(mark: Mark, _object_id: str, installation: str) -> bool:
    return mark.kind == "vm" and mark.installation == installation


def by_name(ledger: Ledger, _installation: str, engine: str, vm: Vm) -> bool:
    row = ledger.object_in_engine(engine, "vm", vm.id)
    return row is not None and row.name == vm.name


async def never(*_: object, **__: object) -> bool:
    return False


DEFENCES = {
    "the mark is not held against the id": [(Mark, "is_of_vm", by_installation)],
    "the name is looked at instead of the mark": [
        (module, "is_ours", by_name) for module in (provisioning, new_machine)
    ],
    "every disk of our VM is taken for ours": [(removal, "_foreign_disks", lambda _vm, _owned: [])],
    "a template is removed from under a version of others": [
        (module, "insist_on_own_versions", never) for module in (destroy_template, removal)
    ],
    "a disk is removed from whatever VM has it": [(Disks, "is_attached", never)],
}


# Where the search for harm begins, so that it is short.
HARMED = {
    "the mark is not held against the id": 58,
    "a template is removed from under a version of others": 98,
    "a disk is removed from whatever VM has it": 17,
}


@pytest.mark.parametrize("defence", DEFENCES)
def test_without_a_defence_the_harm_is_seen(
    play: Callable[[int], World], monkeypatch: pytest.MonkeyPatch, defence: str
) -> None:
    """The defences switched off, one by one: the test above can fail."""
    for owner, name, weaker in DEFENCES[defence]:
        monkeypatch.setattr(owner, name, weaker)
    first = HARMED.get(defence, 0)
    for seed in range(first, first + _ENOUGH):
        world = play(seed)
        if world.violations:
            print(f"{defence}: OVIRT_PROVISION_WORLD={seed}: {world.violations[0][:150]}")
            return
    raise AssertionError(f"{_ENOUGH} worlds, and no harm is seen")
