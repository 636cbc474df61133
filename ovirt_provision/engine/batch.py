"""Reading together what many ask for one by one."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from ovirt_provision.errors import ProvisionError

V = TypeVar("V")

MOST = 100
"""How many ids go into one search: a page of the engine, and 5 kB of the 8 that a request line may have."""


class Batch(Generic[V]):
    """Answers all who ask while a reading is under way with the next one.

    So nobody gets an answer that was read before he asked, and the more who ask, the less each costs.
    """

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]], most: int = MOST) -> None:
        """`read` reads up to `most` keys at once and returns a value for each of them."""
        self._read = read
        self._most = most
        self._asked: dict[str, asyncio.Future[V]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V:
        """The value of a key, read after this call. Raises what `read` raises."""
        if key not in self._asked:
            self._asked[key] = asyncio.get_running_loop().create_future()
        answer = self._asked[key]
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._run(), name="batch")
        try:
            # Shielded, because others may wait for the same answer.
            return await asyncio.shield(answer)
        except ProvisionError as error:
            # Whoever handles an error writes into it what it was to him.
            raise copy.copy(error) from None

    async def close(self) -> None:
        """Ends the reading; whoever waits is cancelled."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _run(self) -> None:
        while self._asked:
            # Those that go on at the same moment, as after a look of the watcher, ask in the same reading.
            await asyncio.sleep(0)
            keys = list(self._asked)[: self._most]
            answers = {key: self._asked.pop(key) for key in keys}
            try:
                values = await self._read(keys)
            except asyncio.CancelledError:
                for answer in answers.values():
                    answer.cancel()
                raise
            except Exception as error:
                for answer in answers.values():
                    answer.set_exception(error)
                    answer.exception()  # nobody may wait any more
            else:
                for key, answer in answers.items():
                    answer.set_result(values[key])
