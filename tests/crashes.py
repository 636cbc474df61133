"""Kills a bridge at a chosen boundary, as abruptly as kill -9 does, and starts the next one.

What outlives a daemon changes only where the ledger commits and where the engine is asked to change
something; these are the boundaries, counted from the moment `arm` is called. Around readings only time
passes.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from ovirt_provision.clock import Clock
from ovirt_provision.engine.session import Session
from ovirt_provision.errors import EngineUnreachable
from ovirt_provision.ledger.store import Ledger, OwnershipLost
from tests.harness import Site

T = TypeVar("T")

BEFORE_COMMIT = "before-commit"
AFTER_COMMIT = "after-commit"
BEFORE_CHANGE = "before-change"
LOST_REPLY = "lost-reply"
LATE_CHANGE = "late-change"
LATER_CHANGE = "later-change"
BEFORE_READING = "before-reading"
AFTER_READING = "after-reading"
MOMENTS = (
    BEFORE_COMMIT,
    AFTER_COMMIT,
    BEFORE_CHANGE,
    LOST_REPLY,
    LATE_CHANGE,
    LATER_CHANGE,
    BEFORE_READING,
    AFTER_READING,
)

# After how many seconds the engine does what it was asked when the daemon died: the next one works by then,
# or has ended its work.
SECONDS = {LATE_CHANGE: 4.0, LATER_CHANGE: 90.0}


class Killed(BaseException):
    """What the code of a daemon sees of its own death: no handler of its may run on."""


class Boundaries:
    """Counts the boundaries that a daemon passes, and lets it die at those that it is told.

    What dying is, and how the engine is told to act late, is for those that inherit.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
        self._counts: Counter[str] = Counter()
        self._fatal: Iterator[tuple[str, int]] = iter(())
        self._next: tuple[str, int] | None = None
        self._armed = False
        self._changes = 0
        self._delays: frozenset[int] = frozenset()
        boundaries = self
        transaction, in_thread = Ledger.transaction, Session._in_thread

        @contextlib.contextmanager
        def watched_transaction(ledger: Ledger) -> Iterator[Any]:
            boundaries.insist_on_life()
            with transaction(ledger) as connection:
                yield connection
                boundaries._reach(BEFORE_COMMIT)
            boundaries._reach(AFTER_COMMIT)

        async def watched_request(session: Session, function: Callable[..., T], *args: Any) -> T:
            boundaries.insist_on_life()
            # A log-in changes nothing; `_send` gets the token first and then what it is doing.
            reading = function.__name__ != "_send" or args[1].startswith(("read ", "search "))
            boundaries._reach(BEFORE_READING if reading else BEFORE_CHANGE)
            boundaries._changes += not reading
            too_late = not reading and boundaries._changes in boundaries._delays
            for late, seconds in SECONDS.items():
                if not reading and boundaries._is_next(late):
                    boundaries.act_late(seconds)
            try:
                result = await in_thread(session, function, *args)
            finally:
                boundaries.insist_on_life()
                if reading:
                    boundaries._reach(AFTER_READING)
                else:
                    boundaries._reach(LOST_REPLY)
                    for late in SECONDS:
                        boundaries._reach(late)
            if too_late:
                await clock.sleep(session._timeouts.engine_request)
                boundaries.insist_on_life()
                raise EngineUnreachable(url=session.url, detail="Operation timed out")
            return result

        monkeypatch.setattr(Ledger, "transaction", watched_transaction)
        monkeypatch.setattr(Session, "_in_thread", watched_request)

    def arm(self, moment: str = "", number: int = 0, *, every: bool = False) -> None:
        """Counts from now on; the daemon dies at the boundary of that number, from 1, if there is one.

        With `every` the next daemon dies there, too, and so on.
        """
        fatal = (moment, number)
        self.arm_all(itertools.repeat(fatal) if every else [fatal])

    def arm_all(self, fatal: Iterable[tuple[str, int]], *, delays: frozenset[int] = frozenset()) -> None:
        """The same for one daemon after the other, each counting from its own start.

        Of the changing requests whose numbers are in `delays`, counted over all daemons, the reply comes
        only after our time-out: the engine has acted.
        """
        self._fatal = iter(fatal)
        self._delays = delays
        self._changes = 0
        self._arm_next()

    @property
    def counts(self) -> dict[str, int]:
        """How often each moment was reached before the last death, or so far."""
        return dict(self._counts)

    def insist_on_life(self) -> None:
        """Raises Killed in what still runs of a daemon that is dead."""

    def die(self) -> None:
        raise NotImplementedError

    def act_late(self, seconds: float) -> None:
        """Has the engine do the next change that it is asked for so much later."""
        raise NotImplementedError

    def _arm_next(self) -> None:
        self._next = next(self._fatal, None)
        self._armed = self._next is not None
        if self._armed:
            self._counts.clear()

    def _is_next(self, moment: str) -> bool:
        return self._armed and self._next == (moment, self._counts[moment] + 1)

    def _reach(self, moment: str) -> None:
        if not self._armed:
            return
        fatal = self._is_next(moment)
        self._counts[moment] += 1
        if fatal:
            self.die()


class Crashes(Boundaries):
    """The boundaries of a site, and those at which its bridges are to die."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, site.clock)
        self._site = site
        self._dead = asyncio.Event()
        self._reviving = asyncio.Lock()
        self.deaths = 0

    async def play(self, client: Callable[[], Awaitable[T]]) -> T:
        """Runs a client that begins anew, with the same request_ids, when the daemon has died under it."""
        played = await self.survive(client)
        self._armed = False
        return played

    async def survive(self, client: Callable[[], Awaitable[T]]) -> T:
        """The same for one of several clients; daemons go on dying afterwards."""
        while True:
            async with self._reviving:
                if self._dead.is_set():
                    await self._next_bridge()
            playing = asyncio.ensure_future(client())
            dead = asyncio.ensure_future(self._dead.wait())
            try:
                await asyncio.wait({playing, dead}, return_when=asyncio.FIRST_COMPLETED)
                if not dead.done() and not self._dead.is_set():
                    return playing.result()
            finally:
                playing.cancel()
                dead.cancel()
                await asyncio.gather(playing, dead, return_exceptions=True)

    def insist_on_life(self) -> None:
        if self._dead.is_set():
            raise Killed

    def die(self) -> None:
        self._dead.set()
        self.deaths += 1
        raise Killed

    def act_late(self, seconds: float) -> None:
        self._site.simulator.world.injections.arm("late-effect", method="POST|PUT|DELETE", seconds=seconds)

    async def _next_bridge(self) -> None:
        old = self._site.bridge
        sessions = [engine.session for engine in old._engines.values()]
        watching = [engine.watcher._loop for engine in old._engines.values() if engine.watcher._loop]
        with self._site.clock.hold():
            for session in sessions:
                session._token = None  # the dead do not log out
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            with contextlib.suppress(Killed):
                await old.close()
            for session in sessions:
                await asyncio.to_thread(session._threads.shutdown)
            old.ledger.close()
        self._site.bridge = self._site.new_bridge()
        self._arm_next()
        self._dead.clear()
        with pytest.raises(OwnershipLost), old.ledger.transaction():
            pass
        old.ledger.close()
        self._site.bridge.start()
