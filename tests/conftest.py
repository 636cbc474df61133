"""Fixtures for all tests."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from ovirt_provision.clock import VirtualClock

T = TypeVar("T")


def functions() -> dict[tuple[str, str], tuple[Any, Any]]:
    """Every function of ours that is loaded, by the name of its module or class and its own, with its owner
    and itself."""
    found = {}
    for module in [module for name, module in sys.modules.items() if name.startswith("ovirt_provision")]:
        classes = [one for one in vars(module).values() if inspect.isclass(one)]
        for owner in (module, *(one for one in classes if one.__module__ == module.__name__)):
            for name, value in vars(owner).items():
                if inspect.isfunction(value):
                    found[f"{module.__name__}.{getattr(owner, '__qualname__', '')}", name] = (owner, value)
    return found


@pytest.fixture(autouse=True, scope="session")
def all_ledgers_share_their_statements() -> Iterator[None]:
    """SQLAlchemy compiles a statement once for each dialect, and has a dialect for each database: a daemon
    opens one, but the tests open thousands."""
    create_engine = sa.create_engine
    shared = create_engine("sqlite://")
    shared.connect().close()

    def create(*args: Any, **options: Any) -> sa.Engine:
        engine = create_engine(*args, **options)
        engine.dialect, engine._compiled_cache = shared.dialect, shared._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sa, "create_engine", create)
        yield


@pytest.fixture(autouse=True, scope="module")
def no_patch_outlives_its_test() -> Iterator[None]:
    """Or tests of other files would fail in that process, and nowhere else."""
    before = functions()
    yield
    left = [".".join(key) for key, (owner, value) in before.items() if vars(owner).get(key[1]) is not value]
    assert not left, f"patches that a test has left behind: {left}"


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
