"""A simulator for code that is not asynchronous."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from ovirt_provision.simulator.server import Exchange
from ovirt_provision.simulator.simulator import Simulator

_T = TypeVar("_T")


class SimulatorThread:
    """A simulator in a thread of its own; any thread may use it.

        with SimulatorThread(profile="fast") as simulator:
            ...  # simulator.url, .username, .password, .ca_file

    Takes what `Simulator` takes. Entering raises what its start raises.
    """

    def __init__(self, **options: Any) -> None:
        self._simulator = Simulator(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ovirt-simulator", daemon=True)
        self.username = self._simulator.username
        self.password = self._simulator.password

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._simulator.start(), self._loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._simulator.stop(), self._loop).result()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The URL of the API, as an SDK takes it."""
        return self._simulator.url

    @property
    def ca_file(self) -> str:
        """The path of the CA's certificate."""
        return self._simulator.ca_file

    @property
    def requests(self) -> Sequence[Exchange]:
        """What was asked so far, the oldest first."""
        return self.run(lambda simulator: list(simulator.requests))

    def arm(self, fault: str, **fields: Any) -> int:
        """Arms a fault by its name and the fields of a rule; raises `DocumentError` for what is no rule."""
        return self.run(lambda simulator: simulator.world.injections.arm(fault, **fields))

    def run(self, function: Callable[[Simulator], _T]) -> _T:
        """What `function` makes of the simulator, in the simulator's thread: the way to its world."""

        async def call() -> _T:
            self._simulator.world.settle()
            return function(self._simulator)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()
