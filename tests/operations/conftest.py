"""The site of every test of a verb."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.simulator import Simulator
from tests.harness import Site
from tests.wire import URL, Wire


@pytest.fixture
def site(tmp_path: Path, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`async with site() as s:` gives a Site; keyword arguments are those of Site."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "state").mkdir(mode=0o700)

    @contextlib.asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[Site]:
        async with Simulator(
            clock=virtual_clock, profile="engine", state_dir=tmp_path / "simulator"
        ) as simulator:
            # The one duration that is real: how long a request holds its locks.
            simulator.world.timing = simulator.world.timing.model_copy(update={"command": 0.0})
            made = Site(simulator, tmp_path / "state", virtual_clock, **options)
            made.bridge.start()
            try:
                yield made
            finally:
                await made.bridge.close()

    return make


@pytest.fixture
def direct_site(
    tmp_path: Path, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """As `site`, without HTTP: for many Machines. Several may be open on the same engine."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    simulator = Simulator(clock=virtual_clock, profile="engine", state_dir=tmp_path / "simulator")
    Wire(simulator, monkeypatch)

    @contextlib.asynccontextmanager
    async def make(state: str = "state", **options: Any) -> AsyncIterator[Site]:
        (tmp_path / state).mkdir(mode=0o700)
        profile = {"url": URL, "insecure": True}
        made = Site(simulator, tmp_path / state, virtual_clock, profile=profile, **options)
        made.bridge.start()
        try:
            yield made
        finally:
            await made.bridge.close()

    return make
