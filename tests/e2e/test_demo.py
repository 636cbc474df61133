"""The demo itself: the real packer, real guests."""

from pathlib import Path

import pytest
from demo import Steps, play
from stage import Stage

# What one build may cost the engine, log-in and waiting included.
REQUESTS = 60


@pytest.mark.guests
@pytest.mark.timeout(600)
def test_the_demo(tmp_path: Path) -> None:
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        steps = Steps(stage)
        play(stage, steps)
    requests = {name: requests for name, _, requests in steps.rows}
    assert requests["packer build"] <= REQUESTS
