"""The one waiting thing of an engine.

All operations wait here and nowhere else. The watcher reads the objects in transition in batches, so what it
costs the engine does not grow with the number of waiters: it tails the event log and looks at an object when
an event names it or when it has not been looked at for a while. Only guest addresses, which come without an
event, are read each time; and so is all else while one request shows it, which then needs no events.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import MOST
from ovirt_provision.engine.disks import Disks
from ovirt_provision.engine.events import Event, Events
from ovirt_provision.engine.machines import Machines
from ovirt_provision.engine.model import Disk, Snapshot, Template, Transfer, Vm
from ovirt_provision.engine.readings import WITH_ADDRESSES
from ovirt_provision.engine.snapshots import Snapshots
from ovirt_provision.engine.templates import Templates
from ovirt_provision.engine.transfers import Transfers
from ovirt_provision.errors import ProvisionError

S = TypeVar("S")

log = structlog.get_logger("watcher")

_WITH_DISKS = "disk_attachments.disk"


@dataclass
class _Waiter(Generic[S]):
    object_id: str
    correlation_id: str
    follow: str
    satisfied: Callable[[S | None], bool]
    every_tick: bool
    due: float
    gap: float
    name: str = ""
    outcome: "asyncio.Future[S | None]" = field(default_factory=asyncio.Future)

    def show(self, state: S | None) -> None:
        """Hands a reading to the waiter; None says that the engine does not have the object."""
        if self.outcome.done():
            return
        try:
            if self.satisfied(state):
                self.outcome.set_result(state)
        except Exception as error:
            self.outcome.set_exception(error)


class Watcher:
    """Waits for engine objects. `interval` is the seconds between two readings while anybody waits."""

    def __init__(
        self,
        machines: Machines,
        templates: Templates,
        disks: Disks,
        snapshots: Snapshots,
        transfers: Transfers,
        events: Events,
        clock: Clock,
        interval: float,
    ) -> None:
        self._machines = machines
        self._templates = templates
        self._disks = disks
        self._snapshots = snapshots
        self._transfers = transfers
        self._events = events
        self._clock = clock
        self._interval = interval
        self._longest_gap = 5 * interval
        self._at_once = False
        self._vms: list[_Waiter[Vm]] = []
        self._template_waiters: list[_Waiter[Template]] = []
        self._disk_waiters: list[_Waiter[Disk]] = []
        self._snapshot_waiters: list[_Waiter[Snapshot]] = []
        self._transfer_waiters: list[_Waiter[Transfer]] = []
        self._jobs: list[_Waiter[Sequence[str]]] = []
        self._logs: list[_Waiter[frozenset[int]]] = []
        self._loop: asyncio.Task[None] | None = None
        self._read_at = 0.0

    @property
    def waits(self) -> int:
        """How many waits there are now."""
        return len(self._all())

    @property
    def lag(self) -> float:
        """Seconds since all that was due was last read from the engine; 0 while nobody waits."""
        return self._clock.monotonic() - self._read_at if self._all() else 0.0

    async def vm(
        self,
        vm_id: str,
        satisfied: Callable[[Vm | None], bool],
        *,
        correlation_id: str = "",
        with_disks: bool = False,
        with_addresses: bool = False,
    ) -> Vm | None:
        """Waits until `satisfied` is true of a reading of the VM and returns that reading.

        `satisfied` gets None only when a GET by id said 404: a row missing from a search proves nothing. What
        it raises ends the wait. A failed reading is repeated at the next tick; deadlines are the caller's.
        """
        follow = _WITH_DISKS if with_disks else WITH_ADDRESSES if with_addresses else ""
        return await self._wait(
            self._vms, vm_id, satisfied, correlation_id, follow, every_tick=with_addresses
        )

    async def template(
        self,
        template_id: str,
        satisfied: Callable[[Template | None], bool],
        *,
        name: str = "",
        correlation_id: str = "",
    ) -> Template | None:
        """As `vm`, for a template version; where its name is given, it is read together with others."""
        return await self._wait(self._template_waiters, template_id, satisfied, correlation_id, name=name)

    async def disk(
        self, disk_id: str, satisfied: Callable[[Disk | None], bool], *, correlation_id: str = ""
    ) -> Disk | None:
        """As `vm`, for a disk."""
        # The end of a removal is announced by no event (behaviour.md 41).
        return await self._wait(self._disk_waiters, disk_id, satisfied, correlation_id, every_tick=True)

    async def snapshot(
        self,
        vm_id: str,
        snapshot_id: str,
        satisfied: Callable[[Snapshot | None], bool],
        *,
        correlation_id: str = "",
    ) -> Snapshot | None:
        """As `vm`, for a snapshot of a VM."""
        return await self._wait(self._snapshot_waiters, f"{vm_id}/{snapshot_id}", satisfied, correlation_id)

    async def transfer(
        self, transfer_id: str, satisfied: Callable[[Transfer | None], bool], *, correlation_id: str = ""
    ) -> Transfer | None:
        """As `vm`, for an image transfer."""
        return await self._wait(
            self._transfer_waiters, transfer_id, satisfied, correlation_id, every_tick=True
        )

    async def jobs(self, correlation_id: str, ended: Callable[[Sequence[str] | None], bool]) -> None:
        """Waits until `ended` is true of the descriptions of the unfinished jobs under a correlation id."""
        await self._wait(self._jobs, correlation_id, ended, correlation_id, every_tick=True)

    async def logged(
        self, correlation_id: str, satisfied: Callable[[frozenset[int] | None], bool]
    ) -> frozenset[int] | None:
        """Waits until `satisfied` is true of the codes of the events under a correlation id."""
        return await self._wait(self._logs, correlation_id, satisfied, correlation_id)

    async def close(self) -> None:
        """Ends the watcher; whoever still waits is cancelled."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        for waiter in self._all():
            waiter.outcome.cancel()

    def _all(self) -> list[_Waiter[Any]]:
        return [
            *self._vms,
            *self._template_waiters,
            *self._disk_waiters,
            *self._snapshot_waiters,
            *self._transfer_waiters,
            *self._jobs,
            *self._logs,
        ]

    async def _wait(
        self,
        waiters: list[_Waiter[S]],
        object_id: str,
        satisfied: Callable[[S | None], bool],
        correlation_id: str,
        follow: str = "",
        *,
        every_tick: bool = False,
        name: str = "",
    ) -> S | None:
        waiter: _Waiter[S] = _Waiter(
            object_id=object_id,
            correlation_id=correlation_id,
            follow=follow,
            satisfied=satisfied,
            every_tick=every_tick,
            due=self._clock.monotonic() + self._interval,
            gap=self._interval,
            name=name,
        )
        waiters.append(waiter)
        if self._loop is None or self._loop.done():
            self._read_at = self._clock.monotonic()
            self._loop = asyncio.create_task(self._run(), name="watcher")
        try:
            return await waiter.outcome
        finally:
            waiters.remove(waiter)

    async def _run(self) -> None:
        while self._all():
            await self._clock.sleep(self._interval)
            self._at_once = self._requests_for_all() <= 1
            failed = False
            for read in (
                self._read_events,
                self._read_vms,
                self._read_disks,
                self._read_jobs,
                self._read_templates,
                self._read_snapshots,
                self._read_transfers,
                self._read_logs,
            ):
                try:
                    await read()
                except ProvisionError as error:
                    # A failed reading says nothing about the objects, and keeps no other from being read;
                    # whoever waits has a deadline.
                    failed = True
                    log.warning("reading the engine failed", error=str(error))
                except Exception:
                    failed = True
                    log.exception("the watcher failed unexpectedly")
            if not failed:
                self._read_at = self._clock.monotonic()

    def _requests_for_all(self) -> int:
        """How many requests show all that is waited for."""
        return (
            sum(
                math.ceil(sum(w.follow == follow for w in self._vms) / MOST)
                for follow in {w.follow for w in self._vms}
            )
            + math.ceil(len(self._disk_waiters) / MOST)
            + len(self._jobs)
            + len({w.name or w.object_id for w in self._template_waiters})
            + len({w.object_id for w in self._snapshot_waiters})
            + math.ceil(len(self._logs) / MOST)
        )

    async def _read_events(self) -> None:
        if not self._at_once and any(not waiter.every_tick for waiter in self._all()):
            for event in await self._events.tail():
                self._hurry(event)

    async def _read_vms(self) -> None:
        for follow in sorted({w.follow for w in self._vms}):
            for batch in self._batches([w for w in self._vms if w.follow == follow]):
                ids = sorted({w.object_id for w in batch})
                self._show(batch, await self._machines.find_all(ids, follow=follow))

    async def _read_disks(self) -> None:
        for batch in self._batches(self._disk_waiters):
            self._show(batch, await self._disks.find(sorted({w.object_id for w in batch})))

    async def _read_jobs(self) -> None:
        waiters = list(self._jobs)
        unfinished = await asyncio.gather(*(self._events.unfinished_jobs(w.object_id) for w in waiters))
        for waiter, descriptions in zip(waiters, unfinished, strict=True):
            waiter.show(descriptions)

    async def _read_templates(self) -> None:
        # The engine has no search by id for templates, but one by name.
        for batch in self._batches(self._template_waiters):
            found: dict[str, Template | None] = {}
            names = sorted({w.name for w in batch if w.name})
            if len(batch) > 1:
                versions = await asyncio.gather(*(self._templates.versions_of(name) for name in names))
                found |= {template.id: template for each in versions for template in each}
            for template_id in {w.object_id for w in batch} - found.keys():
                found[template_id] = await self._templates.get(template_id)
            self._show(batch, found)

    async def _read_snapshots(self) -> None:
        # Snapshots are found only through their VM.
        for batch in self._batches(self._snapshot_waiters):
            paths = {w.object_id: w.object_id.split("/") for w in batch}
            found: dict[str, Snapshot | None] = {}
            if len(paths) > 1:
                vms = await self._machines.find_all(
                    sorted({vm for vm, _ in paths.values()}), follow="snapshots"
                )
                found |= {
                    f"{vm.id}/{snapshot.id}": snapshot
                    for vm in vms.values()
                    if vm
                    for snapshot in vm.snapshots
                }
            for path in paths.keys() - found.keys():
                found[path] = await self._snapshots.get(*paths[path])
            self._show(batch, found)

    async def _read_transfers(self) -> None:
        # The engine has no search for them; they are waited for only until they begin, and until they end.
        for batch in self._batches(self._transfer_waiters):
            ids = sorted({w.object_id for w in batch})
            found = await asyncio.gather(*(self._transfers.get(transfer_id) for transfer_id in ids))
            self._show(batch, dict(zip(ids, found, strict=True)))

    async def _read_logs(self) -> None:
        for batch in self._batches(self._logs):
            ids = sorted({w.object_id for w in batch})
            found = await asyncio.gather(*(self._events.codes(one) for one in ids))
            self._show(batch, dict(zip(ids, found, strict=True)))

    def _hurry(self, event: Event) -> None:
        for waiter in self._all():
            if waiter.object_id in (event.vm_id, event.template_id) or (
                event.correlation_id and event.correlation_id == waiter.correlation_id
            ):
                waiter.due = self._clock.monotonic()
                waiter.gap = self._interval

    def _batches(self, waiters: Sequence[_Waiter[S]]) -> Iterator[list[_Waiter[S]]]:
        """Those to be looked at now. A request that is sent anyway takes along whoever is next, so that those
        who came one by one are soon looked at together."""
        now = self._clock.monotonic()
        in_turn = sorted(waiters, key=lambda waiter: now if waiter.every_tick else waiter.due)
        for start in range(0, len(in_turn), MOST):
            batch = in_turn[start : start + MOST]
            if not (self._at_once or batch[0].every_tick or batch[0].due <= now):
                return
            for waiter in batch:
                if waiter.due <= now:
                    waiter.gap = min(2 * waiter.gap, self._longest_gap)
                waiter.due = now + waiter.gap
            yield batch

    @staticmethod
    def _show(waiters: Sequence[_Waiter[S]], found: Mapping[str, S | None]) -> None:
        for waiter in waiters:
            waiter.show(found.get(waiter.object_id))
