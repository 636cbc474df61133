"""`make live` itself, with the simulator as the engine."""

import subprocess
import sys
from pathlib import Path

import pytest
from stage import ROOT, Stage

pytestmark = pytest.mark.e2e


def run(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "live", "tests/live"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.timeout(300)
def test_it_needs_to_be_told_what_to_use_and_cleans_up(tmp_path: Path):
    with Stage(tmp_path, guests="none") as stage:
        before = stage.world()
        asked = stage.requests()
        without_engine = run({"PATH": stage.environment["PATH"], "HOME": str(tmp_path)})
        without_choice = run(stage.environment)
        refused = stage.requests()
        choice = {"OVIRT_LIVE_TEMPLATE": "debian-12", "OVIRT_LIVE_CLUSTER": "Default"}
        lived = run(stage.environment | choice)

        assert "live: SKIPPED, no engine was touched" in without_engine.stdout
        assert without_choice.returncode == 2
        assert "OVIRT_LIVE_TEMPLATE" in without_choice.stdout
        assert refused == asked
        assert lived.returncode == 0, lived.stdout
        assert "the census at the end found nothing" in lived.stdout
        assert stage.requests()["POST /vms"] >= 4
        assert stage.world() == before
