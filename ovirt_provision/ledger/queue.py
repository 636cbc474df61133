"""The queue of one engine: how many operations may be at work on it at once, in the order they came."""

import asyncio


class Queue:
    """First in, first out. `cap` is how many may be at work at once, 0 for any number.

    Nothing of it is stored: the ledger knows the operations that have not ended in the order in which they
    were accepted, and which of them have begun.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._at_work: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def join(self, operation_id: str, *, begun: bool) -> None:
        """Takes a place at the end. One that had begun before, in a daemon that died, is at work at once: the
        engine is busy with it, whatever the cap."""
        if begun:
            self._at_work.add(operation_id)
            return
        self._waiting[operation_id] = asyncio.get_running_loop().create_future()
        self._advance()

    def turn(self, operation_id: str) -> "asyncio.Future[None] | None":
        """What to await until it is the operation's turn; None once it is at work."""
        return self._waiting.get(operation_id)

    def place(self, operation_id: str) -> tuple[int, int]:
        """The position of an operation that waits, from 1, and how many wait."""
        return list(self._waiting).index(operation_id) + 1, len(self._waiting)

    def leave(self, operation_id: str) -> None:
        """Gives up the place, in the queue or at work; doing it again changes nothing."""
        self._at_work.discard(operation_id)
        turn = self._waiting.pop(operation_id, None)
        if turn is not None:
            turn.cancel()
        self._advance()

    def _advance(self) -> None:
        while self._waiting and not (self._cap and len(self._at_work) >= self._cap):
            first = next(iter(self._waiting))
            self._at_work.add(first)
            self._waiting.pop(first).set_result(None)
