"""The engine adapter on the simulated engine."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import EngineProfile, Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.simulator import Simulator


@pytest.fixture
def simulated(tmp_path: Path, virtual_clock: VirtualClock) -> Callable[..., Any]:
    """`async with simulated() as (simulator, engine):`; keyword arguments change the engine's profile."""

    @contextlib.asynccontextmanager
    async def make(**changes: Any) -> AsyncIterator[tuple[Simulator, Engine]]:
        folder = tmp_path / "simulator"
        async with Simulator(clock=virtual_clock, profile="engine", state_dir=folder) as simulator:
            # The durations that are real.
            simulator.world.timing = simulator.world.timing.model_copy(
                update={"command": 0.0, "refused_login": 0.0}
            )
            fields = {
                "url": simulator.url,
                "username": simulator.username,
                "password": simulator.password,
                "ca_file": simulator.ca_file,
            }
            profile = EngineProfile.model_validate({**fields, **changes})
            engine = Engine("sim", profile, Timeouts(engine_connect=2, engine_request=5), virtual_clock)
            try:
                yield simulator, engine
            finally:
                await engine.close()

    return make
