"""The real packer with images: from files into the simulated engine, without guests, and out of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packer_builds import run, write
from stage import Stage

IMAGE = """
  image_path    = "{path}"
  cluster       = "Default"
  template_name = "golden"
"""
ISO = """
  iso_url        = "{path}"
  cluster        = "Default"
  storage_domain = "data"
  template_name  = "installed"
  disk {{
    size = 1
  }}
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A QCOW2 image with something in it."""
    path = tmp_path / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 1M 3M", path], check=True, stdout=subprocess.DEVNULL
    )
    return path


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """The smallest ISO image that is one."""
    path = tmp_path / "installer.iso"
    descriptor = b"\1CD001\1".ljust(2048, b"\0")
    path.write_bytes(bytes(32768) + descriptor + b"\xffCD001\1".ljust(2048, b"\0"))
    return path


def _destroy_all(stage: Stage) -> None:
    """Destroys what builds have left on purpose."""
    for entry in stage.provision("census")["entries"]:
        if entry["kind"] == "template":
            stage.provision("template", "destroy", entry["id"])
    for entry in stage.provision("census")["entries"]:
        if entry["kind"] == "disk":
            stage.provision("disk", "destroy", entry["id"])


def test_the_second_build_of_an_image_uploads_nothing(
    stage: Stage, tmp_path: Path, image: Path, is_untouched: Callable[[], bool]
) -> None:
    file = write(tmp_path, IMAGE.format(path=image), builder="ovirt-image")
    code, told = run(stage, file)
    assert code == 0, told
    assert f"Uploading {image}" in told
    code, told = run(stage, file, "-force")
    assert code == 0, told
    assert "Uploading" not in told
    assert "has been imported before" in told
    assert {template["name"] for template in stage.provision("template", "list")["templates"]} >= {
        "golden",
        "small.qcow2",
    }
    _destroy_all(stage)
    assert is_untouched()
