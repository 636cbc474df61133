"""Test Kitchen with the driver, or its stand-in where it is not installed."""

from pathlib import Path

import pytest
from kitchen_project import INSTANCES, STATIC_ADDRESS, KitchenProject, installed_version, what_is_missing
from stage import Stage

from ovirt_provision.simulator.guests import network

VERSION = installed_version()
# Names in the summary of the tests which of the two they saw.
either = pytest.mark.parametrize(
    "banner",
    [
        pytest.param(
            "Starting Test Kitchen",
            id=f"Test Kitchen {VERSION}",
            marks=pytest.mark.skipif(
                VERSION is None, reason="Test Kitchen is not installed, so its stand-in runs"
            ),
        ),
        pytest.param(
            "Test Kitchen is NOT installed",
            id="stand-in",
            marks=pytest.mark.skipif(VERSION is not None, reason=f"Test Kitchen {VERSION} is installed"),
        ),
    ],
)
pytestmark = [pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing())), either]


@pytest.mark.guests
@pytest.mark.timeout(600)
def test_instances_are_tested_and_leave_nothing(tmp_path: Path, banner: str) -> None:
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        project = KitchenProject(stage)
        before = stage.world()
        code, said = project.run("test", "-c", str(len(INSTANCES)))
        assert code == 0, said
        assert banner in said
        for instance in INSTANCES:
            assert f"provisioned as root on {instance}" in said
            assert f"says {instance}\n" in said
        assert f"which has {STATIC_ADDRESS}/16" in said
        if network.find_reach().honest:
            assert f"/etc/provisioned of {STATIC_ADDRESS} says" in said
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []
        assert project.left() == []
