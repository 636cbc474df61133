"""Kills a bridge at a chosen boundary, as abruptly as kill -9 does, and starts the next one.

What outlives a daemon changes only where the ledger commits and where the engine is asked to change
something; these are the boundaries, counted from the moment `arm` is called. Around readings only time
passes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from ovirt_provision.engine.session import Session
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


class Crashes:
    """The boundaries of a site, and the one at which its bridge is to die."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self._site = site
        self._counts: Counter[str] = Counter()
        self._fatal: tuple[str, int] | None = None
        self._armed = False
        self._every = False
        self._dead = asyncio.Event()
        self.deaths = 0
        crashes = self
        transaction, in_thread = Ledger.transaction, Session._in_thread

        @contextlib.contextmanager
        def watched_transaction(ledger: Ledger) -> Iterator[Any]:
            crashes._insist_on_life()
            with transaction(ledger) as connection:
                yield connection
                crashes._reach(BEFORE_COMMIT)
            crashes._reach(AFTER_COMMIT)

        async def watched_request(session: Session, function: Callable[..., T], *args: Any) -> T:
            crashes._insist_on_life()
            # A log-in changes nothing; `_send` gets the token first and then what it is doing.
            reading = function.__name__ != "_send" or args[1].startswith(("read ", "search "))
            crashes._reach(BEFORE_READING if reading else BEFORE_CHANGE)
            for late, seconds in SECONDS.items():
                if not reading and crashes._is_next(late):
                    site.simulator.world.injections.arm(
                        "late-effect", method="POST|PUT|DELETE", seconds=seconds
                    )
            try:
                return await in_thread(session, function, *args)
            finally:
                crashes._insist_on_life()
                if reading:
                    crashes._reach(AFTER_READING)
                else:
                    crashes._reach(LOST_REPLY)
                    for late in SECONDS:
                        crashes._reach(late)

        monkeypatch.setattr(Ledger, "transaction", watched_transaction)
        monkeypatch.setattr(Session, "_in_thread", watched_request)

    def arm(self, moment: str = "", number: int = 0, *, every: bool = False) -> None:
        """Counts from now on; the bridge dies at the boundary of that number, from 1, if there is one.

        With `every` the next bridge dies there, too, and so on.
        """
        self._fatal = (moment, number)
        self._armed = True
        self._every = every

    @property
    def counts(self) -> dict[str, int]:
        """How often each moment was reached before the bridge died."""
        return dict(self._counts)

    async def play(self, client: Callable[[], Awaitable[T]]) -> T:
        """Runs a client that begins anew, with the same request_ids, when the daemon has died under it."""
        while True:
            playing = asyncio.ensure_future(client())
            dead = asyncio.ensure_future(self._dead.wait())
            await asyncio.wait({playing, dead}, return_when=asyncio.FIRST_COMPLETED)
            dead.cancel()
            if not self._dead.is_set():
                self._armed = False
                return playing.result()
            playing.cancel()
            await asyncio.gather(playing, dead, return_exceptions=True)
            await self._next_bridge()

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
        self._armed = self._every
        if self._every:
            self._counts.clear()
        self._dead.clear()
        with pytest.raises(OwnershipLost), old.ledger.transaction():
            pass
        old.ledger.close()
        self._site.bridge.start()

    def _is_next(self, moment: str) -> bool:
        return self._armed and self._fatal == (moment, self._counts[moment] + 1)

    def _reach(self, moment: str) -> None:
        if not self._armed:
            return
        fatal = self._is_next(moment)
        self._counts[moment] += 1
        if fatal:
            self._dead.set()
            self.deaths += 1
            raise Killed

    def _insist_on_life(self) -> None:
        if self._dead.is_set():
            raise Killed
