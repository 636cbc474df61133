"""The real packer with the plugin, against a simulated engine without guests."""

import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from stage import PACKER, Stage

BUILD = """
packer {{
  required_plugins {{
    ovirt = {{
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }}
  }}
}}

source "ovirt-clone" "test" {{
  source_template_name = "{source}"
  cluster              = "{cluster}"
  template_name        = "{template}"
  communicator         = "{communicator}"
  ssh_username         = "packer"
  ssh_timeout          = "5m"
  network_interface {{
    name         = "nic1"
    vnic_profile = "{profile}"
  }}
}}

build {{
  sources = ["source.ovirt-clone.test"]
}}
"""


def start_build(
    stage: Stage, folder: Path, extra: Mapping[str, str] | None = None, **fields: str
) -> "subprocess.Popen[str]":
    values = {
        "source": "debian-12",
        "cluster": "Default",
        "template": "made",
        "profile": "ovirtmgmt",
        "communicator": "none",
        **fields,
    }
    file = folder / "build.pkr.hcl"
    file.write_text(BUILD.format(**values))
    return stage.start(
        str(PACKER),
        "build",
        "-color=false",
        str(file),
        extra=extra,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def build(
    stage: Stage, folder: Path, extra: Mapping[str, str] | None = None, **fields: str
) -> tuple[int, str]:
    process = start_build(stage, folder, extra, **fields)
    told, _ = process.communicate()
    return process.returncode, told


def wait_for_line(process: "subprocess.Popen[str]", part: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if part in line:
            return
    raise AssertionError(f"packer never said '{part}':\n{''.join(seen)}")


def test_all_that_does_not_exist_is_told_at_once(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    code, told = build(stage, tmp_path, source="debain-12", cluster="Defualt", profile="ovirtmgt")
    assert code == 1
    for given, near in (("debain-12", "debian-12"), ("Defualt", "Default"), ("ovirtmgt", "ovirtmgmt")):
        assert f"'{given}'" in told
        assert f"did you mean '{near}'?" in told
    assert is_untouched()


@pytest.mark.parametrize("to_group", [True, False], ids=["SIGINT to the group", "SIGTERM to packer"])
def test_an_interrupted_build_leaves_nothing(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool], to_group: bool
) -> None:
    process = start_build(stage, tmp_path, communicator="ssh")
    wait_for_line(process, "Waiting for SSH")
    assert len(stage.provision("machine", "list")["machines"]) == 1
    if to_group:
        # What Ctrl-C does. Packer alone, as the leader of its session, ignores it.
        subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
    else:
        process.send_signal(signal.SIGTERM)
    told, _ = process.communicate()
    assert process.returncode == 1, told
    assert is_untouched()


def test_a_build_leaves_the_template_alone_and_never_replaces_it(stage: Stage, tmp_path: Path) -> None:
    code, told = build(stage, tmp_path)
    assert code == 0, told
    left = stage.provision("census")["entries"]
    assert {(entry["kind"], entry["finding"]) for entry in left if entry["kind"] != "disk"} == {
        ("template", "FINDING_OURS")
    }
    assert stage.virtual_machines() == []

    code, told = build(stage, tmp_path)
    assert code == 1
    assert "made" in told
    assert "already" in told or "taken" in told
    assert stage.virtual_machines() == []
    assert stage.provision("census")["entries"] == left

    stage.provision("template", "destroy", "made")
    assert stage.provision("census")["entries"] == []


def test_a_build_through_a_daemon_on_another_machine(
    stage: Stage, tmp_path: Path, from_elsewhere: Mapping[str, str]
) -> None:
    """As on Windows, where no daemon can be started: over TLS, with a token and no password of the engine."""
    code, told = build(stage, tmp_path, extra=from_elsewhere, template="from-elsewhere")
    assert code == 0, told
    left = stage.provision("census")["entries"]
    assert {entry["owner"] for entry in left} == {"spiffe://example.com/builds"}

    code, told = build(
        stage, tmp_path, extra={**from_elsewhere, "OVIRT_PROVISION_TOKEN_FILE": ""}, template="another"
    )
    assert code == 1
    assert "OVIRT_PROVISION_TOKEN_FILE" in told

    ended = stage.run(*stage.cli("template", "destroy", "from-elsewhere"), extra=from_elsewhere)
    assert ended.returncode == 0
    assert stage.provision("census")["entries"] == []


LOOK_UPS = """
packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

data "ovirt-template" "exact" {
  name = "debian-12"
}

data "ovirt-template" "newest" {
  name_regex = "^deb.*12$"
  latest     = true
}

data "ovirt-disk" "boot" {
  name_regex = "^debian"
}

data "ovirt-network" "management" {
  name = "ovirtmgmt"
}

source "null" "none" {
  communicator = "none"
}

build {
  sources = ["source.null.none"]
  provisioner "shell-local" {
    inline = [
      "echo 'exact ${data.ovirt-template.exact.id} newest ${data.ovirt-template.newest.id}'",
      "echo 'disks ${join(" ", data.ovirt-template.exact.disk_ids)} boot ${data.ovirt-disk.boot.id}'",
      "echo 'network ${data.ovirt-network.management.name}'",
      "echo 'profiles ${join(" ", data.ovirt-network.management.vnic_profiles)}'",
    ]
  }
}
"""


def test_data_sources(stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]) -> None:
    file = tmp_path / "look-ups.pkr.hcl"
    file.write_text(LOOK_UPS)
    ended = stage.run(str(PACKER), "build", "-color=false", str(file), output=True)
    assert ended.returncode == 0, ended.stdout
    world = stage.world()
    (template,) = (identity for kind, name, identity in world if (kind, name) == ("template", "debian-12"))
    (disk,) = (identity for kind, name, identity in world if kind == "disk" and name.startswith("debian"))
    assert f"exact {template} newest {template}" in ended.stdout
    assert f"disks {disk} boot {disk}" in ended.stdout
    assert "network ovirtmgmt" in ended.stdout
    assert "profiles ovirtmgmt" in ended.stdout

    file.write_text(LOOK_UPS.replace('name = "ovirtmgmt"', 'name = "ovirtmgt"'))
    validated = stage.run(str(PACKER), "validate", str(file), output=True)
    assert validated.returncode == 0, validated.stdout
    failed = stage.run(str(PACKER), "validate", "-evaluate-datasources", str(file), output=True)
    assert failed.returncode == 1
    assert "did you mean 'ovirtmgmt'?" in failed.stdout
    assert is_untouched()
