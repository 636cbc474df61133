"""Drives operations through their phases, forwards and backwards, across restarts of the daemon.

A phase is re-entrant: after a crash it is entered again from its beginning, and finds in the ledger and in
the engine what it has done already. No output of a phase is ever replayed.
"""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from ovirt_provision.clock import Clock
from ovirt_provision.errors import Code, DeadlineExceeded, OperationCancelled, ProvisionError
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.ledger.queue import Queue
from ovirt_provision.ledger.store import (
    CANCELLED,
    CLEANUP_DONE,
    CLEANUP_PENDING,
    FAILED,
    RUNNING,
    SUCCEEDED,
    UNDOING,
    Ledger,
    Operation,
    OwnershipLost,
)

T = TypeVar("T")
R = TypeVar("R", bound="Run")

log = structlog.get_logger("operations")

# What an operation that waits for its turn shows instead of a phase: it has entered none.
QUEUED = "queued"

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0
# How soon an operation goes on once there is space on the ledger's disk again, at the latest; in seconds.
_LONGEST_STANDSTILL = 15.0
# How often those who wait tell their position, in seconds: all of them move with each that begins.
_TELL_POSITION = 5.0


class Unexpected(ProvisionError):
    """A defect of ours; the log holds the traceback under the incident."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    message = "an unexpected {kind} ended the operation (incident {incident})"
    advice = "Please report this with the daemon's log lines of that incident."


@dataclass(frozen=True)
class Transferred:
    """How far the bytes of an image are; `rate` is in bytes per second. What is not known is 0."""

    done: int
    total: int
    rate: int

    def __str__(self) -> str:
        told = f"{_in_words(self.done)} of {_in_words(self.total)}" if self.total else _in_words(self.done)
        return f"{told}, {_in_words(self.rate)}/s" if self.rate else told


def _in_words(amount: int) -> str:
    if amount < 1 << 20:
        return f"{amount} bytes"
    return f"{amount / (1 << 30):.2f} GiB" if amount >= 1 << 30 else f"{amount / (1 << 20):.1f} MiB"


class Run:
    """One drive of an operation: what its phases wait with."""

    def __init__(self, operation: Operation, ledger: Ledger, clock: Clock) -> None:
        self.operation = operation
        self.ledger = ledger
        self.clock = clock
        # True while the phase may have begun before: its requests may have gone out already.
        self.reentered = False
        self.progress = ""
        self.transferred: Transferred | None = None
        self.on_progress: Callable[[], None] = lambda: None
        # No event: each wait would take a task for it, and those who wait are many.
        self._cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cancellable = True
        self._phase = ""
        self._timeout = ""
        self._seconds = 0.0
        self._deadline = 0.0
        if operation.cancelled_by is not None:
            self.cancel()

    @property
    def correlation_id(self) -> str:
        """Sent with every request of this operation; exactly as long as the engine keeps it (behaviour.md
        5)."""
        return self.operation.id

    def cancel(self) -> None:
        """Makes the wait under way, or the next one, raise OperationCancelled."""
        if not self._cancelled.done():
            self._cancelled.set_result(None)

    def enter(self, phase: str, timeout: str, seconds: float, *, cancellable: bool) -> None:
        """Starts the deadline of a phase; `timeout` is its name in the configuration."""
        self._phase, self._timeout, self._seconds, self._cancellable = phase, timeout, seconds, cancellable
        self._deadline = self.clock.monotonic() + seconds

    def note(self, progress: str) -> None:
        """Says what the phase waits for now, for people."""
        if progress != self.progress:
            self.progress = progress
            self.on_progress()

    def show_bytes(self, done: int, total: int, rate: int) -> None:
        """Says how far the bytes are that the phase moves; `rate` is in bytes per second."""
        self.transferred = Transferred(done, total, rate)
        self.note(str(self.transferred))

    def add_to_plan(self, **facts: Any) -> None:
        """Writes down what the operation has learnt on its way, for its phases, its result and its undo."""
        if any(self.operation.plan.get(name) != fact for name, fact in facts.items()):
            plan = {**self.operation.plan, **facts}
            self.operation = self.ledger.update_operation(self.operation.id, plan=plan)

    def check(self) -> None:
        """Raises OperationCancelled or DeadlineExceeded when it is time to stop."""
        self.check_cancelled()
        if self.clock.monotonic() >= self._deadline:
            raise self._too_late()

    def check_cancelled(self, phase: str | None = None) -> None:
        """Raises OperationCancelled when it is asked for and not too late; in that phase, if it is given."""
        if self._cancelled.done() and self._cancellable:
            self._phase = self._phase if phase is None else phase
            raise self._cancellation()

    async def wait(self, awaitable: Awaitable[T], *, within: tuple[str, float] | None = None) -> T:
        """Awaits something, racing it against the cancellation and the deadline of the phase.

        `within` is the name and the seconds of a shorter time-out. Only give it what may be abandoned at any
        point, never a request that changes the engine. Raises OperationCancelled or DeadlineExceeded.
        """
        timeout, seconds = within or (self._timeout, self._seconds)
        remaining = min(seconds, self._deadline - self.clock.monotonic())
        task = asyncio.ensure_future(awaitable)
        timer = self.clock.timer(remaining)
        racers: set[asyncio.Future[Any]] = {task, timer}
        cancelled = {self._cancelled} if self._cancellable else set()
        try:
            # Not before: an awaitable that nobody awaits is a defect.
            self.check()
            await asyncio.wait(racers | cancelled, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if timer.done():
                raise self._too_late(timeout, seconds)
            raise self._cancellation()
        finally:
            for racer in racers:
                racer.cancel()
            await asyncio.gather(*racers, return_exceptions=True)

    async def in_time(self, request: Awaitable[T]) -> T:
        """Awaits the answer to a request, but not beyond the deadline of the phase; a cancellation waits.

        At the deadline the request is abandoned, and may yet have its effect, like one whose answer was lost.
        Raises DeadlineExceeded.
        """
        task = asyncio.ensure_future(request)
        timer = self.clock.timer(self._deadline - self.clock.monotonic())
        try:
            racers: set[asyncio.Future[Any]] = {task, timer}
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.note("the engine has not answered")
                raise self._too_late()
            return task.result()
        finally:
            task.cancel()
            timer.cancel()
            await asyncio.gather(task, timer, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Waits that long, unless the operation is cancelled or the deadline comes first."""
        await self.wait(self.clock.sleep(seconds))

    def _cancellation(self) -> OperationCancelled:
        current = self.ledger.operation_or_fail(self.operation.id)
        return OperationCancelled(
            verb=current.verb,
            by=current.cancelled_by or "by its client",
            phase=self._phase,
            correlation_id=self.correlation_id,
        )

    def _too_late(self, timeout: str = "", seconds: float = 0.0) -> DeadlineExceeded:
        return DeadlineExceeded(
            phase_name=self._phase,
            timeout=timeout or self._timeout,
            seconds=seconds or self._seconds,
            last_seen=self.progress or "nothing",
            phase=self._phase,
            correlation_id=self.correlation_id,
        )


@dataclass(frozen=True)
class Phase(Generic[R]):
    """A named part of a verb. `timeout` names its deadline in the configuration; `done` is the operation's
    percentage once the phase has ended.

    `act` sends what the intent in the ledger says and `observe` waits until the engine has done it; both may
    be entered again after a crash. `undo` takes it back, and succeeds when there is nothing to take back.
    What is not `cancellable` rolls forward: once it has begun, a cancellation comes too late.
    """

    name: str
    timeout: str
    done: int
    act: Callable[[R], Awaitable[None]] | None = None
    observe: Callable[[R], Awaitable[None]] | None = None
    undo: Callable[[R], Awaitable[None]] | None = None
    cancellable: bool = True


class Runner(Generic[R]):
    """Runs the operations of a ledger, each in a task of its own."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        make_run: Callable[[Operation], R],
        phases_of: Callable[[Operation], Sequence[Phase[R]]],
        seconds_of: Callable[[R, str], float],
        explain: Callable[[R, ProvisionError], Awaitable[ProvisionError]],
        is_clean: Callable[[Operation], bool],
        ended: Callable[[Operation], None],
        queue_of: Callable[[Operation], Queue | None] = lambda _: None,
        not_begun: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        """`seconds_of` is how long a run's time-out of a name is; `explain` may replace an error by a truer
        one; `is_clean` says whether an operation that has ended left nothing to be removed; `ended` is called
        once for each operation that ends. `queue_of` is where an operation waits for its turn, None for one
        that never waits; `not_begun` is called for one that ends without having entered any phase, instead of
        undoing them.
        """
        self._ledger = ledger
        self._clock = clock
        self._make_run = make_run
        self._phases_of = phases_of
        self._seconds_of = seconds_of
        self._explain = explain
        self._is_clean = is_clean
        self._on_end = ended
        self._queue_of = queue_of
        self._not_begun = not_begun
        # Of those that wait for their turn, which may be thousands, only this is in memory, and no task.
        self._waiting: dict[str, Queue] = {}
        self._runs: dict[str, R] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, set[asyncio.Future[None]]] = {}
        self._telling: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._waiting)

    def start(self, operation: Operation) -> None:
        """Drives an operation from where the ledger says it is, behind those that were started before it."""
        operation_id, queue = operation.id, self._queue_of(operation)
        begun = operation.phase != ""
        # One that was cancelled while it waited, in a daemon that died, has nothing to wait for.
        if queue is not None and operation.state == RUNNING and (begun or operation.cancelled_by is None):
            self._waiting[operation_id] = queue
            queue.join(operation_id, partial(self._begin, operation_id, queue), begun=begun)
            if self._waiting and (self._telling is None or self._telling.done()):
                self._telling = asyncio.create_task(self._tell_positions(), name="positions")
        else:
            self._begin(operation_id, queue)

    def _begin(self, operation_id: str, queue: Queue | None) -> None:
        if self._closed:
            return
        self._waiting.pop(operation_id, None)
        task = asyncio.create_task(self._drive(operation_id, queue), name=f"operation-{operation_id}")
        self._tasks[operation_id] = task
        task.add_done_callback(lambda _: self._forget(operation_id, queue))

    def recover(self) -> None:
        """Takes up every operation that has not ended, in the order in which they were accepted."""
        for operation in self._ledger.unended_operations():
            log.info("recovering", operation=operation.id, verb=operation.verb, phase=operation.phase)
            self.start(operation)

    def cancel(self, operation_id: str, by: str) -> Operation:
        """Records that the operation shall stop and undo its effects; nothing changes once it has ended."""
        operation = self._ledger.operation_or_fail(operation_id)
        if operation.state == RUNNING and operation.cancelled_by is None:
            operation = self._ledger.update_operation(operation_id, cancelled_by=by)
            self._notify(operation_id)
            if operation_id in self._waiting:
                queue = self._waiting[operation_id]
                queue.leave(operation_id)
                self._begin(operation_id, queue)
            if operation_id in self._runs:
                self._runs[operation_id].cancel()
        return operation

    def progress(self, operation_id: str) -> str:
        """What an operation waits for now, for people; empty when nothing is known."""
        queue = self._waiting.get(operation_id)
        if queue is not None:
            position, length = queue.place(operation_id)
            return f"position {position} of {length}"
        run = self._runs.get(operation_id)
        return run.progress if run is not None else ""

    def transferred(self, operation_id: str) -> Transferred | None:
        """How far the bytes are that an operation moves now."""
        run = self._runs.get(operation_id)
        return run.transferred if run is not None else None

    def queued(self, operation: Operation) -> bool:
        """True while an operation waits for its turn."""
        return operation.id in self._waiting

    async def ended(self, operation_id: str) -> Operation:
        """Waits until an operation has ended."""
        async for operation in self.watch(operation_id):
            last = operation
        return last

    async def watch(
        self, operation_id: str, after_revision: int = 0, *, until: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[Operation, None]:
        """The operation now and after each change, until it has ended, or `until` is true after a `wake`."""
        watchers = self._watchers.setdefault(operation_id, set())
        changed = asyncio.get_running_loop().create_future()
        seen = (after_revision, "")
        try:
            while True:
                if changed.done():
                    watchers.remove(changed)
                    # No event: that takes four times the memory, and those who wait are many.
                    changed = asyncio.get_running_loop().create_future()
                watchers.add(changed)
                operation = self._ledger.operation_or_fail(operation_id)
                now = (operation.revision, self.progress(operation_id))
                if now != seen or operation.ended:
                    seen = now
                    yield operation
                if operation.ended or until():
                    return
                # What it holds is large, and those who wait are many.
                del operation
                await changed
        finally:
            watchers.discard(changed)
            if not watchers:
                del self._watchers[operation_id]

    def wake(self) -> None:
        """Has everybody who watches look again."""
        for operation_id in self._watchers:
            self._notify(operation_id)

    async def close(self) -> None:
        """Stops driving; the operations stay as the ledger has them and are taken up by the next daemon."""
        self._closed = True
        self._waiting.clear()
        tasks = [*self._tasks.values(), *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, operation_id: str, queue: Queue | None) -> None:
        if queue is not None:
            queue.leave(operation_id)
        self._runs.pop(operation_id, None)
        self._tasks.pop(operation_id, None)
        self._notify(operation_id)

    def _notify(self, operation_id: str) -> None:
        for changed in self._watchers.get(operation_id, ()):
            if not changed.done():
                changed.set_result(None)

    async def _tell_positions(self) -> None:
        while self._waiting:
            await self._clock.sleep(_TELL_POSITION)
            for queue in set(self._waiting.values()):
                queue.advance()
            for operation_id in self._waiting:
                self._notify(operation_id)

    async def _drive(self, operation_id: str, queue: Queue | None) -> None:
        """Drives an operation until the ledger says that it has ended."""
        pause = _FIRST_PAUSE
        while True:
            try:
                # Before any request to the engine: what it brings about could not be written down.
                self._ledger.insist_on_writable()
                run = self._make_run(self._ledger.operation_or_fail(operation_id))
                if run.operation.ended:
                    return
                self._runs[operation_id] = run
                run.on_progress = lambda: self._notify(operation_id)
                return await self._to_its_end(run, queue)
            except OwnershipLost:
                return
            except LedgerError as error:
                # What the ledger holds is taken up again, as after a crash.
                pause = min(pause, _LONGEST_STANDSTILL)
                log.error("an operation stands still", operation=operation_id, error=str(error))
                if operation_id in self._runs:
                    self._runs[operation_id].note(f"standing still: {error}")
            except Exception:
                # What the ledger holds is not understood; perhaps it is later.
                log.exception("an operation stands still", operation=operation_id, seconds=pause)
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _to_its_end(self, run: R, queue: Queue | None) -> None:
        if run.operation.state == RUNNING:
            error = await self._forwards(run, queue)
            # Undoing waits for nobody, and keeps nobody waiting.
            if queue is not None:
                queue.leave(run.operation.id)
            operation = run.operation
            if error is None:
                self._end(operation, SUCCEEDED, percent=100)
                return
            log.info("undoing", operation=operation.id, verb=operation.verb, error=str(error))
            report = dataclasses.asdict(error.report())
            operation = self._ledger.update_operation(operation.id, state=UNDOING, error=report)
            self._notify(operation.id)
        else:
            operation = run.operation
        await self._backwards(run, operation)
        cancelled = operation.error is not None and operation.error["code"] == Code.CANCELLED
        self._end(operation, CANCELLED if cancelled else FAILED)

    async def _forwards(self, run: R, queue: Queue | None) -> ProvisionError | None:
        """Runs the phases from the current one on; the error that stopped them, if any."""
        try:
            phases = self._phases_of(run.operation)
            run.reentered = run.operation.phase != ""
            if queue is not None and not run.reentered:
                run.check_cancelled(QUEUED)
            # A phase that this version does not know ends the operation: what it made is then undone.
            first = [phase.name for phase in phases].index(run.operation.phase) if run.reentered else 0
            for phase in phases[first:]:
                if not run.reentered:
                    if not phase.cancellable:
                        run.check_cancelled()
                    self._enter_phase(run, phase)
                run.enter(
                    phase.name,
                    phase.timeout,
                    self._seconds_of(run, phase.timeout),
                    cancellable=phase.cancellable,
                )
                run.check()
                if phase.act:
                    await phase.act(run)
                if phase.observe:
                    await phase.observe(run)
                self._leave_phase(run, phase)
                run.reentered = False
        except (OwnershipLost, LedgerError, asyncio.CancelledError):
            raise
        except ProvisionError as error:
            error.phase = error.phase or run.operation.phase
            error.correlation_id = error.correlation_id or run.correlation_id
            return await self._explain(run, error)
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            log.exception("operation failed unexpectedly", operation=run.operation.id, incident=incident)
            return Unexpected(kind=type(error).__name__, incident=incident, phase=run.operation.phase)
        return None

    async def _backwards(self, run: R, operation: Operation) -> None:
        """Undoes the phases that were entered, last first; what cannot be undone is left to the janitor."""
        if not operation.phases:
            self._not_begun(operation)
        entered = {phase["name"] for phase in operation.phases}
        for phase in reversed(self._phases_of(operation)):
            if phase.undo is None or phase.name not in entered:
                continue
            run.enter(phase.name, "undo", self._seconds_of(run, "undo"), cancellable=False)
            try:
                await phase.undo(run)
            except (OwnershipLost, LedgerError):
                raise
            except ProvisionError as error:
                log.warning(
                    "undo is not complete", operation=operation.id, phase=phase.name, error=str(error)
                )
            except Exception:
                log.exception("undo failed unexpectedly", operation=operation.id, phase=phase.name)

    def _enter_phase(self, run: R, phase: Phase[R]) -> None:
        phases = [*run.operation.phases, {"name": phase.name, "start": self._clock.time(), "end": None}]
        run.progress, run.transferred = "", None
        run.operation = self._ledger.update_operation(run.operation.id, phase=phase.name, phases=phases)
        log.info("phase", operation=run.operation.id, verb=run.operation.verb, phase=phase.name)
        self._notify(run.operation.id)

    def _leave_phase(self, run: R, phase: Phase[R]) -> None:
        phases = [*run.operation.phases[:-1], {**run.operation.phases[-1], "end": self._clock.time()}]
        run.operation = self._ledger.update_operation(run.operation.id, phases=phases, percent=phase.done)

    def _end(self, operation: Operation, state: str, **values: object) -> None:
        cleanup = CLEANUP_DONE if self._is_clean(operation) else CLEANUP_PENDING
        operation = self._ledger.update_operation(
            operation.id, state=state, cleanup=cleanup, ended_at=self._clock.time(), **values
        )
        error = operation.error["message"] if operation.error else ""
        log.info(
            "ended", operation=operation.id, verb=operation.verb, state=state, cleanup=cleanup, error=error
        )
        self._on_end(operation)
        self._notify(operation.id)
