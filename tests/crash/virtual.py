"""A run in this process, in virtual time: bridge and simulator on one clock, deaths at boundaries."""

import asyncio
import contextlib
import hashlib
import logging
import random
import re
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from lxml import etree

from ovirt_provision.clock import VirtualClock
from ovirt_provision.errors import ProvisionError
from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.faults import Refusal
from ovirt_provision.simulator.injection import FaultRule
from ovirt_provision.v1 import resources_pb2
from tests.crash import defences
from tests.crash.clients import Clients, End, Refused
from tests.crash.judgement import Verdict, judge, look
from tests.crash.schedule import Schedule, Step, draw
from tests.crash.strangers import Strangers
from tests.crashes import Crashes
from tests.harness import OWNER, TEMPLATE, Site, add_export_domain, add_vault
from tests.image_files import RAW

_LATE_CREATE_GRACE = 30.0
# Until Machines without a client are reaped, and until nothing can come late any more; in seconds.
_REAPED = 300 + 60
_SWEPT = 60 + _LATE_CREATE_GRACE + 2 * 60
# After so long nothing can be under way.
_PATIENCE = 4 * 3600
# Seconds of the machine's clock.
_REAL_PATIENCE = 300

_OF_IMAGES = ("ImportImage", "ExportImage", "ExportTemplate", "CreateBackup", "RestoreBackup", "SparsifyDisk")

_ID = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")


class StandsStill(Exception):
    """A run does not come to its end."""


def be_quiet() -> None:
    """Keeps the log of a whole campaign off the terminal."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    # The death of a daemon is an exception that nobody fetches.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)


def run_seed(
    seed: int, *, without: frozenset[str], of: Callable[[int], Schedule] = draw
) -> tuple[int, Verdict]:
    """The seed and the verdict on its run; `of` draws its schedule."""
    return seed, run(of(seed), without=without)[0]


def run(schedule: Schedule, *, without: frozenset[str] = frozenset()) -> tuple[Verdict, str]:
    """The verdict on a run, and a digest of all that the engine was asked, but for ids.

    `without` names the defences that are switched off.
    """
    clock = VirtualClock()
    with pytest.MonkeyPatch.context() as monkeypatch, tempfile.TemporaryDirectory() as folder:
        drawn = random.Random(schedule.seed)
        monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=drawn.getrandbits(128), version=4))
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        defences.switch_off(monkeypatch, without)
        with asyncio.Runner(loop_factory=clock.new_event_loop) as runner, _watched(runner.get_loop()):
            try:
                return runner.run(_run(schedule, Path(folder), clock, monkeypatch))
            except StandsStill as error:
                return Verdict(wrong=[str(error)]), ""


@contextlib.contextmanager
def _watched(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Raises StandsStill in this thread when it takes too long, as when everybody waits for ever."""

    def stop(*_: object) -> None:
        waiting = [str(task.get_stack(limit=1) or task) for task in asyncio.all_tasks(loop)]
        raise StandsStill("nothing moves any more; what waits: " + "; ".join(waiting))

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_REAL_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


async def _run(
    schedule: Schedule, folder: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> tuple[Verdict, str]:
    (folder / "state").mkdir(mode=0o700)
    async with Simulator(clock=clock, profile="engine", state_dir=folder / "simulator") as simulator:
        # The one duration that is real: how long a request holds its locks.
        simulator.world.timing = simulator.world.timing.model_copy(update={"command": 0.0})
        site = Site(simulator, folder / "state", clock, late_create_grace=_LATE_CREATE_GRACE)

        def ask(method: str, path: str, body: str = "") -> etree._Element | None:
            with contextlib.suppress(Refusal):
                reply = simulator.call(method, path, body)
                return reply.element if reply.status < 300 else None
            return None

        if any(step.verb in _OF_IMAGES for steps in schedule.clients for step in steps):
            await _prepare_images(site)
        strangers = Strangers(ask)
        strangers.settle_in(str(site.bridge.installation))
        await clock.sleep(60)
        before = look(ask)
        site.bridge.start()
        crashes = Crashes(site, monkeypatch)
        door = _Door(site, crashes, strangers)
        templates = {thing.name: thing.id for thing in before.values() if thing.kind == "template"}
        clients = Clients(schedule, door, clock, templates)
        for fault in schedule.faults:
            simulator.world.injections.arm(FaultRule(**fault))
        crashes.arm_all(schedule.kills, delays=schedule.delays)
        await clients.run()
        for seconds in (0, _REAPED, _SWEPT):
            await crashes.survive(lambda seconds=seconds: clock.sleep(seconds))  # type: ignore[misc]
            await _quiet(site, crashes, clock)
        await crashes.survive(lambda: clock.sleep(_SWEPT))
        verdict = judge(
            before,
            look(ask),
            site.bridge.ledger,
            site.bridge.installation,
            asked=[step.request_id for steps in schedule.clients for step in steps],
        )
        verdict.wrong += clients.wrong
        verdict.wrong += [
            f"the transfer of disk {one.disk.name} goes on"
            for one in simulator.world.transfers.values()
            if not one.ended
        ]
        asked = _ID.sub(
            "ID", "\n".join(f"{one.method} {one.path} {one.status}" for one in simulator.requests)
        )
        crashes.arm_all(())  # what the schedule still has in store is not for the end of the test
        await site.bridge.close()
        return verdict, hashlib.sha256(asked.encode()).hexdigest()[:12]


async def _prepare_images(site: Site) -> None:
    """Domains for backups and exports, a backup, and an image; disks of which few bytes are moved."""
    for disk in site.simulator.world.disks.values():
        disk.size = 1 << 20
    add_vault(site.simulator)
    add_export_domain(site.simulator)
    site.bridge.start()
    await site.upload(RAW)
    # Without its defences it need not succeed; then no RestoreBackup is accepted.
    await site.run(
        "CreateBackup",
        template=resources_pb2.TemplateRef(name=TEMPLATE),
        storage_domain="vault",
        name="saved",
    )
    await site.restart(recover=False)


async def _quiet(site: Site, crashes: Crashes, clock: VirtualClock) -> None:
    """Waits until no operation runs, as long as any could."""
    until = clock.monotonic() + _PATIENCE
    while site.bridge.ledger.unended_operations() and clock.monotonic() < until:
        await crashes.survive(lambda: clock.sleep(30))


class _Door:
    def __init__(self, site: Site, crashes: Crashes, strangers: Strangers) -> None:
        self._site = site
        self._crashes = crashes
        self._strangers = strangers

    async def call(self, step: Step, template_id: str) -> str:
        fields = {**step.fields, "id": template_id} if template_id else step.fields
        try:
            accepted = await self._crashes.survive(
                lambda: self._site.call(step.verb, request_id=step.request_id, **fields)
            )
        except ProvisionError as error:
            raise Refused(str(error)) from None
        return accepted.id

    async def ended(self, operation: str) -> End:
        async def wait() -> End:
            ended = await self._site.bridge.dispatcher.runner.ended(operation)
            if ended.state != SUCCEEDED or ended.verb != "CreateTemplate" or ended.object_id is None:
                return End(ended.state == SUCCEEDED)
            return End(True, self._site.bridge.ledger.object(ended.object_id).engine_id or "")

        return await self._crashes.survive(wait)

    async def cancel(self, operation: str) -> None:
        async def cancel() -> None:
            row = self._site.bridge.ledger.operation_or_fail(operation)
            self._site.bridge.dispatcher.cancel(row, "by its client")

        await self._crashes.survive(cancel)

    async def confirm(self, key: str) -> None:
        async def confirm() -> None:
            row = self._site.bridge.ledger.living_machine(OWNER, key)
            if row is not None:
                self._site.bridge.leases.confirm(row)

        try:
            await self._crashes.survive(confirm)
        except ProvisionError as error:
            raise Refused(str(error)) from None

    async def attach(self, key: str) -> None:
        self._strangers.attach(key)
