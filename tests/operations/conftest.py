"""The site of every test of a verb."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.simulator import Simulator
from tests.harness import Site


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
