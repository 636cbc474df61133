"""Machines made from a template, started until they report an address, and destroyed: through the bridge, by
a naive client, and by one that knows all. Each on a simulated engine of its own with the timing of a real
one, in virtual time, which does not pass while a request is under way.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from ovirt_provision.clock import VirtualClock
from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.api import Refusal
from ovirt_provision.simulator.power import reported
from ovirt_provision.simulator.world import World
from ovirt_provision.v1 import resources_pb2
from tests.harness import OWNER, TEMPLATE, Site, spec, started

POLL = 2.0
"""How often the naive client looks at what it waits for, in seconds."""
ARRIVALS = 5.0
"""Within how many seconds all Machines are asked for."""
MUTATING = ("POST /vms", "POST /vms/{id}/start", "POST /vms/{id}/stop", "DELETE /vms/{id}")
"""The fewest requests by which the API lets a Machine be made, started, stopped and removed."""

# That a guest's addresses have to stay as they are for a while is no latency.
_AT_ONCE = resources_pb2.AddressSelection(settle_time=Duration())
# How closely it is observed when the engine knows something, in seconds.
_GRAIN = 0.1
_VM = (
    '<vm><name>{}</name><cluster><name>Default</name></cluster><template id="{}"/>'
    "<os><boot><devices><device>hd</device></devices></boot></os></vm>"
)


@dataclass
class Figures:
    """What the lifecycles of `machines` Machines have cost.

    `asked` counts the engine's requests, such as `GET /vms/{id}`. `seconds` is virtual, from the first call
    until the last Machine has an address; `latencies` are the seconds from when the engine knew what was
    waited for until the client knew.
    """

    machines: int
    asked: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def mutating(self) -> float:
        """Requests for each Machine that change the engine."""
        return sum(n for what, n in self.asked.items() if not what.startswith("GET")) / self.machines

    @property
    def reading(self) -> float:
        """Requests for each Machine that only read."""
        return sum(n for what, n in self.asked.items() if what.startswith("GET")) / self.machines

    def latency(self, percent: int) -> float:
        """The percentile of the latencies, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def arrivals(machines: int, seed: int) -> list[float]:
    """When each Machine is asked for, in seconds: the only thing here that is left to chance."""
    chance = random.Random(seed)
    return sorted(chance.uniform(0, ARRIVALS) for _ in range(machines))


async def through_the_bridge(
    clock: VirtualClock, folder: Path, machines: int, cap: int, seed: int
) -> Figures:
    """What the bridge needs, with `cap` operations at work at once."""
    figures = Figures(machines)
    async with Simulator(clock=clock, profile="engine", state_dir=folder / "simulator") as simulator:
        simulator.world.timing = simulator.world.timing.model_copy(update={"command": 0.0})
        (folder / "state").mkdir(mode=0o700)
        # Nobody renews the leases here, and the last of many wait for long.
        site = Site(simulator, folder / "state", clock, operations=cap, lease_grace=7 * 24 * 3600.0)
        site.bridge.start()
        observer = _Observer(clock, simulator.world)

        async def create(number: int, arrival: float) -> str:
            await clock.sleep(arrival)
            operation = await site.call(
                "CreateMachine",
                key=f"web-{number:04}",
                spec=spec(),
                start_with=started(),
                address_selection=_AT_ONCE,
            )
            row = site.bridge.ledger.living_machine(OWNER, f"web-{number:04}")
            assert row is not None
            vm_id = row.known_id
            known = asyncio.ensure_future(
                observer.knows_in_turn(
                    cloning=lambda: _ready(simulator.world, vm_id),
                    booting=lambda: _status(simulator.world, vm_id) == "up",
                    waiting_for_address=lambda: _reports(simulator.world, vm_id),
                )
            )
            ended = await site.ended(operation)
            assert ended.state == SUCCEEDED, ended.error
            seen = {phase["name"]: phase["end"] - clock.time() + clock.monotonic() for phase in ended.phases}
            for name, at in (await known).items():
                figures.latencies.append(max(0.0, seen[name.replace("_", "-")] - at))
            return vm_id

        async def destroy(number: int, vm_id: str) -> None:
            (attachment,) = simulator.world.vms[vm_id].attachments
            disk_id = attachment.disk.id
            known = asyncio.ensure_future(observer.knows(lambda: disk_id not in simulator.world.disks))
            ended = await site.run("DestroyMachine", key=f"web-{number:04}")
            assert ended.state == SUCCEEDED, ended.error
            at = await known
            figures.latencies.append(max(0.0, clock.monotonic() - at))

        begun = clock.monotonic()
        ids = await asyncio.gather(*(create(*each) for each in enumerate(arrivals(machines, seed))))
        figures.seconds = clock.monotonic() - begun
        await asyncio.gather(*(destroy(number, vm_id) for number, vm_id in enumerate(ids)))
        assert not simulator.world.vms
        figures.asked = Counter(
            _operation(request.method, request.path) for request in simulator.requests if request.in_api
        )
        observer.close()
        await site.bridge.close()
    return figures


async def naively(clock: VirtualClock, machines: int, cap: int, seed: int) -> Figures:
    """What a client needs that follows the SDK's examples: for each Machine a loop of `get` and `sleep`."""
    figures, engine = Figures(machines), _Calls(clock)
    observer = _Observer(clock, engine.world)
    slots = asyncio.Semaphore(cap or machines)

    async def poll(satisfied: Callable[[], bool], known: Awaitable[float]) -> None:
        knowing = asyncio.ensure_future(known)
        while not satisfied():
            await clock.sleep(POLL)
        figures.latencies.append(max(0.0, clock.monotonic() - await knowing))

    async def live(number: int, arrival: float) -> str:
        await clock.sleep(arrival)
        async with slots:
            template = engine.find("/templates", search=f"name={TEMPLATE}")
            vm_id = engine.create(f"web-{number:04}", template)
            path, world = f"/vms/{vm_id}", engine.world
            while engine.status(path) != "down":
                await clock.sleep(POLL)
            await poll(
                lambda: engine.status(f"/disks/{_disk(world, vm_id)}") == "ok",
                observer.knows(lambda: _ready(world, vm_id, jobs=False)),
            )
            engine.act(f"{path}/start")
            await poll(
                lambda: engine.status(path) == "up",
                observer.knows(lambda: _status(world, vm_id) == "up"),
            )
            await poll(
                lambda: engine.has_rows(f"{path}/reporteddevices"),
                observer.knows(lambda: _reports(world, vm_id)),
            )
        return vm_id

    async def die(vm_id: str) -> None:
        path, world, disk_id = f"/vms/{vm_id}", engine.world, _disk(engine.world, vm_id)
        engine.act(f"{path}/stop")
        await poll(
            lambda: engine.status(path) == "down",
            observer.knows(lambda: _status(world, vm_id) == "down"),
        )
        engine.remove(path)
        while engine.status(path):
            await clock.sleep(POLL)
        await poll(
            lambda: engine.status(f"/disks/{disk_id}") == "",
            observer.knows(lambda: vm_id not in world.vms and disk_id not in world.disks),
        )

    begun = clock.monotonic()
    ids = await asyncio.gather(*(live(*each) for each in enumerate(arrivals(machines, seed))))
    figures.seconds = clock.monotonic() - begun
    await asyncio.gather(*(die(vm_id) for vm_id in ids))
    assert not engine.world.vms
    figures.asked = engine.asked
    observer.close()
    return figures


async def ideally(clock: VirtualClock, machines: int, cap: int, seed: int) -> float:
    """Seconds until the last Machine has an address, for a client that acts the moment the engine knows."""
    engine = _Calls(clock)
    observer = _Observer(clock, engine.world)
    slots = asyncio.Semaphore(cap or machines)

    async def live(number: int, arrival: float) -> None:
        await clock.sleep(arrival)
        async with slots:
            world = engine.world
            vm_id = engine.create(f"web-{number:04}", engine.find("/templates", search=f"name={TEMPLATE}"))
            await observer.knows(lambda: _ready(world, vm_id))
            engine.act(f"/vms/{vm_id}/start")
            await observer.knows(lambda: _reports(world, vm_id))

    begun = clock.monotonic()
    await asyncio.gather(*(live(*each) for each in enumerate(arrivals(machines, seed))))
    seconds = clock.monotonic() - begun
    observer.close()
    return seconds


class _Calls:
    """Calls of the API without HTTP, counted."""

    def __init__(self, clock: VirtualClock) -> None:
        self._simulator = Simulator(clock=clock, profile="engine")
        self.world = self._simulator.world
        self.asked: Counter[str] = Counter()

    def _call(self, method: str, path: str, body: str = "", **query: str) -> "tuple[int, object]":
        self.asked[_operation(method, path)] += 1
        reply = self._simulator.call(method, path, body, **query)
        return reply.status, reply.element

    def find(self, path: str, **query: str) -> str:
        _, rows = self._call("GET", path, **query)
        (row,) = list(rows)  # type: ignore[call-overload]
        return str(row.get("id"))

    def create(self, name: str, template_id: str) -> str:
        status, vm = self._call("POST", "/vms", _VM.format(name, template_id))
        assert status in (201, 202), status
        return str(vm.get("id"))  # type: ignore[attr-defined]

    def act(self, path: str) -> None:
        status, _ = self._call("POST", path, "<action/>")
        assert status == 200, (path, status)

    def remove(self, path: str) -> None:
        status, _ = self._call("DELETE", path)
        assert status == 200, (path, status)

    def status(self, path: str) -> str:
        """The status of a VM or disk; empty for one that is gone."""
        try:
            _, found = self._call("GET", path)
        except Refusal:
            return ""
        return found.findtext("status") or ""  # type: ignore[attr-defined]

    def has_rows(self, path: str) -> bool:
        return len(self._call("GET", path)[1]) > 0  # type: ignore[arg-type]


class _Observer:
    """Sees what the engine knows, without asking it."""

    def __init__(self, clock: VirtualClock, world: World) -> None:
        self._clock, self._world = clock, world
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[float]]] = []
        self._task: asyncio.Task[None] | None = None

    async def knows(self, condition: Callable[[], bool]) -> float:
        """Waits until a condition is true and returns the moment, on the clock."""
        known: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, known))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._observe())
        return await known

    async def knows_in_turn(self, **conditions: Callable[[], bool]) -> dict[str, float]:
        """The same for conditions that come true one after the other."""
        return {name: await self.knows(condition) for name, condition in conditions.items()}

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _observe(self) -> None:
        while self._waiting:
            await self._clock.sleep(_GRAIN)
            self._world.settle()
            now, later = self._clock.monotonic(), []
            for condition, known in self._waiting:
                if condition():
                    known.set_result(now)
                else:
                    later.append((condition, known))
            self._waiting = later


def _ready(world: World, vm_id: str, *, jobs: bool = True) -> bool:
    """Law 3: down, all disks ok and, where they are counted, no unfinished job of it; or started already."""
    vm = world.vms.get(vm_id)
    if vm is None or vm.status == "image_locked":
        return False
    if vm.status != "down":
        return True
    # The jobs last: there are thousands.
    return all(attachment.disk.status == "ok" for attachment in vm.attachments) and not (
        jobs and any(job.status == "started" and vm.name in job.description for job in world.jobs.values())
    )


def _status(world: World, vm_id: str) -> str:
    return world.vms[vm_id].status if vm_id in world.vms else ""


def _reports(world: World, vm_id: str) -> bool:
    vm = world.vms.get(vm_id)
    return vm is not None and any(one.addresses for one in reported(world, vm))


def _disk(world: World, vm_id: str) -> str:
    return world.vms[vm_id].attachments[0].disk.id


def _operation(method: str, path: str) -> str:
    """`GET /vms/{id}` of a request."""
    parts = path.partition("?")[0].partition(";")[0].split("/")
    return f"{method} " + "/".join("{id}" if len(part) == 36 else part for part in parts)
