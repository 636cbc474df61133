"""The demo itself: the real packer, rancher-machine and (where it is installed) Test Kitchen, real guests."""

from pathlib import Path

import pytest
from demo import POLLS, Steps, play
from stage import Stage

# What one build may cost the engine, beside the polls that waiting takes.
REQUESTS = 25


@pytest.mark.guests
@pytest.mark.timeout(1200)
def test_the_demo(tmp_path: Path) -> None:
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        steps = Steps(stage)
        play(stage, steps)
    requests = {name: requests for name, _, requests in steps.rows}["packer build"]
    changes = {
        name: count
        for name, count in requests.items()
        if not name.startswith(("GET ", "POST /ovirt-engine/"))
    }
    assert changes == dict.fromkeys(
        [
            "POST /vms",
            "POST /vms/{id}/start",
            "POST /vms/{id}/shutdown",
            "POST /templates",
            "DELETE /vms/{id}",
        ],
        1,
    )
    assert requests["POST /ovirt-engine/sso/oauth/token"] == 1
    assert requests.total() - sum(requests[poll] for poll in POLLS) <= REQUESTS
