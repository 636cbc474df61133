"""Test Kitchen with the driver, or its stand-in where it is not installed, and real guests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from stage import ROOT, SSH_PORT, Stage

KITCHEN = ROOT / "tools/kitchen/kitchen"
PROJECT = ROOT / "tools/kitchen/project"
NEEDED = 'require "grpc"; require "net/ssh"; require "ovirt_provision/v1/resources_pb"'


def _ruby_is_ready() -> bool:
    ruby = shutil.which("ruby")
    if ruby is None:
        return False
    command = [ruby, f"-I{ROOT / 'plugins/kitchen/lib'}", "-e", NEEDED]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.guests
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not _ruby_is_ready(),
    reason="Ruby is not ready for the Kitchen driver (Debian's packages: ruby ruby-grpc ruby-net-ssh maven "
    "protobuf-compiler-grpc), then `make generate`",
)
def test_two_instances_are_tested_and_leave_nothing(tmp_path: Path) -> None:
    project = shutil.copytree(PROJECT, tmp_path / "project")
    extra = {"GUEST_SSH_PORT": str(SSH_PORT), **{k: v for k, v in os.environ.items() if k == "RUBYLIB"}}
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        before = stage.world()
        kitchen = subprocess.run(
            [KITCHEN, "test", "-c", "2"],
            cwd=project,
            env={**stage.environment, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        said = kitchen.stdout + kitchen.stderr
        assert kitchen.returncode == 0, said
        for instance in ("web-debian-12", "db-debian-12"):
            assert f"provisioned as root on {instance}" in said
            assert f"says {instance}\n" in said
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []
    assert not list(project.glob(".kitchen/*.yml"))
    assert not list(project.glob(".kitchen/*.pem"))
