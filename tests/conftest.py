"""Fixtures for all tests."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from ovirt_provision.clock import VirtualClock

T = TypeVar("T")


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that jumps; use it with `run_virtually`."""
    return VirtualClock()


@pytest.fixture
def run_virtually(virtual_clock: VirtualClock) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine to its end in the event loop that drives `virtual_clock`."""

    def run(scenario: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=virtual_clock.new_event_loop) as runner:
            return runner.run(scenario)

    return run
