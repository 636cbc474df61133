"""The queue of one engine: how many operations may be at work on it at once, in the order they came."""

import math
from collections.abc import Callable

from ovirt_provision.clock import Clock


class Queue:
    """First in, first out. `cap` is how many may be at work at once, 0 for any number.

    One that has been at work for more than `patience` seconds no longer counts: the engine may hold it up for
    long. That is looked at whenever one joins or leaves, and in `advance`.

    Nothing of it is stored: the ledger knows the operations that have not ended in the order in which they
    were accepted, and which of them have begun.
    """

    def __init__(self, cap: int, clock: Clock, *, patience: float = math.inf) -> None:
        self._cap = cap
        self._clock = clock
        self._patience = patience
        # Since when, the longest first.
        self._at_work: dict[str, float] = {}
        self._waiting: dict[str, Callable[[], None]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __contains__(self, operation_id: str) -> bool:
        """Whether it waits."""
        return operation_id in self._waiting

    def join(self, operation_id: str, begin: Callable[[], None], *, begun: bool) -> None:
        """Takes a place at the end; `begin` is called when it is the operation's turn, perhaps at once. One
        that had begun before, in a daemon that died, is at work at once: the engine is busy with it, whatever
        the cap."""
        if begun:
            self._at_work[operation_id] = self._clock.monotonic()
            begin()
            return
        self._waiting[operation_id] = begin
        self.advance()

    def place(self, operation_id: str) -> tuple[int, int]:
        """The position of an operation that waits, from 1, and how many wait."""
        return list(self._waiting).index(operation_id) + 1, len(self._waiting)

    def leave(self, operation_id: str) -> None:
        """Gives up the place, in the queue or at work; doing it again changes nothing."""
        self._at_work.pop(operation_id, None)
        self._waiting.pop(operation_id, None)
        self.advance()

    def advance(self) -> None:
        """Lets those begin for whom there is room."""
        now = self._clock.monotonic()
        while self._at_work:
            longest = next(iter(self._at_work))
            if now - self._at_work[longest] <= self._patience:
                break
            del self._at_work[longest]
        while self._waiting and not (self._cap and len(self._at_work) >= self._cap):
            first = next(iter(self._waiting))
            self._at_work[first] = now
            self._waiting.pop(first)()
