"""The clock that daemon and simulator are given, so that tests can run them in virtual time."""

import asyncio
import contextlib
import heapq
import itertools
import selectors
import time
from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """Time as the daemon and the simulator see it. Transport deadlines do not use it: they stay real."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def time(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Waits for that many seconds of this clock."""

    def timer(self, seconds: float) -> "asyncio.Future[None]":
        """A future that is done after that many seconds of this clock: less memory than a task that sleeps.
        To be cancelled once nobody waits for it."""

    def hold(self) -> contextlib.AbstractContextManager[None]:
        """Keeps virtual time still while real work (a request to the engine) is under way."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timer(self, seconds: float) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        handle = loop.call_later(seconds, _end, future)
        future.add_done_callback(lambda _: handle.cancel())
        return future

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        yield


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class VirtualClock:
    """A clock that jumps to the next sleeper as soon as its event loop has nothing else to do.

    It never jumps while a `hold` is open, nor while a socket or another thread has work for the loop, so the
    order of things depends on virtual time alone. It needs a loop of `new_event_loop`, and everything that
    sleeps on it has to run in that loop; any thread may read it.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        """`start` is the epoch time, in seconds, at which the clock begins."""
        self._start = start
        self._now = 0.0
        self._holds = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """An event loop that drives this clock; give it to `asyncio.Runner(loop_factory=...)`."""
        return asyncio.SelectorEventLoop(_JumpingSelector(self))

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._start + self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self.timer(seconds)

    def timer(self, seconds: float) -> "asyncio.Future[None]":
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), future))
        return future

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def set_wall_clock(self, seconds: float) -> None:
        """Sets `time` forward by so many seconds, or back; nothing else changes."""
        self._start += seconds

    def stand_still(self, seconds: float) -> None:
        """Lets time pass while nobody gets to run, as in a process that is stopped and continued."""
        self._now += seconds

    def jump(self) -> bool:
        """Goes to the next sleeper and wakes all that are due; false when held or when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._holds or not self._sleepers:
            return False
        self._now = max(self._now, self._sleepers[0][0])
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _end(heapq.heappop(self._sleepers)[2])
        return True


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock.jump():
            return []
        return super().select(timeout)
