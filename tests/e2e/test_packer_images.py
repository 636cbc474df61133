"""The real packer with images: from files into the simulated engine, without guests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packer_builds import STOP, cancel_at, run, write
from stage import Stage

IMAGE = """
  image_path    = "{path}"
  cluster       = "Default"
  template_name = "golden"
"""
ISO = """
  iso_url          = "{path}"
  cluster          = "{cluster}"
  storage_domain   = "data"
  operating_system = "debian_9"
  template_name    = "installed"
  boot_wait        = "-1s"
  boot_command     = ["<esc><wait100ms>auto hostname={{{{ .Name }}}}<enter>"]
  cd_content       = {{ "user-data" = "#cloud-config" }}
  disk {{
    size = 1
  }}
"""
SHUT_DOWN = f'provisioner "shell-local" {{ inline = ["{STOP}"] }}'
"""In place of an installer that shuts the machine down at its end."""


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
    """The smallest file that is an ISO image: its primary volume descriptor, and the end of descriptors."""
    path = tmp_path / "installer.iso"
    path.write_bytes(bytes(32768) + b"\1CD001\1".ljust(2048, b"\0") + b"\xffCD001\1".ljust(2048, b"\0"))
    return path


def _destroy_all(stage: Stage) -> None:
    """Destroys what builds have left on purpose."""
    for kind in ("template", "disk"):
        for entry in stage.provision("census")["entries"]:
            if entry["kind"] == kind:
                stage.provision(kind, "destroy", entry["id"])


@pytest.mark.long
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
    _destroy_all(stage)
    assert is_untouched()


def test_an_installation_is_typed_to_and_leaves_a_template(
    stage: Stage, tmp_path: Path, iso: Path, is_untouched: Callable[[], bool]
) -> None:
    options = ISO.format(path=iso, cluster="Defualt")
    code, told = run(stage, write(tmp_path / "bad", options, builder="ovirt-iso"))
    assert code == 1
    assert "did you mean 'Default'?" in told
    assert "Uploading" not in told
    assert is_untouched()

    file = write(
        tmp_path, ISO.format(path=iso, cluster="Default"), builder="ovirt-iso", provisioners=SHUT_DOWN
    )
    code, told = cancel_at(stage, file, "Typing the boot command")
    assert code == 1, told
    assert is_untouched()

    code, told = run(stage, file)
    assert code == 0, told
    assert "The boot command is typed." in told
    assert "user-data" not in told
    left = {(entry["kind"], entry["name"]) for entry in stage.provision("census")["entries"]}
    assert left >= {("template", "installed"), ("disk", "installer.iso")}
    _destroy_all(stage)
    assert is_untouched()


def test_what_another_tool_has_made_is_imported_and_comes_out_again(
    stage: Stage, tmp_path: Path, image: Path, is_untouched: Callable[[], bool]
) -> None:
    file, exported = tmp_path / "import.pkr.hcl", tmp_path / "out/exported.qcow2"
    file.write_text(
        f"""
        packer {{
          required_plugins {{
            ovirt = {{
              version = ">= 0.1.0"
              source  = "github.com/ovirt-provision/ovirt"
            }}
          }}
        }}
        source "null" "test" {{
          communicator = "none"
        }}
        build {{
          sources = ["source.null.test"]
          post-processors {{
            post-processor "artifice" {{
              files = ["{image}"]
            }}
            post-processor "ovirt-import" {{
              template_name       = "imported"
              cluster             = "Default"
              keep_input_artifact = true
            }}
            post-processor "ovirt-export" {{
              output = "{exported}"
            }}
          }}
        }}
        """
    )
    code, told = cancel_at(stage, file, "ImportImage transferring")
    assert code == 1, told
    assert is_untouched()
    assert not exported.exists()

    code, told = run(stage, file)
    assert code == 0, told
    assert "oVirt template imported (version 1" in told
    subprocess.run(["qemu-img", "compare", image, exported], check=True)
    _destroy_all(stage)
    assert is_untouched()
