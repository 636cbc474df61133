"""The real packer with the plugin, against a simulated engine without guests."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from packer_builds import cancel_at, moments, run, start, validate, write
from stage import PACKER, Stage

FORWARDED = """
  template_name          = "cancelled"
  user_data              = "runcmd: []"
  http_content           = { "/a" = "b" }
  http_ip                = "192.0.2.1"
  boot_test              = true
  boot_test_address_only = true
"""
"""A build that goes through every step that a build without SSH has."""
PROVISIONER = 'provisioner "shell-local" { inline = ["sleep 1"] }'

# Where a build is cancelled: three places here, every one with OVIRT_PROVISION_CANCELS=all.
SOME = ("CreateMachine cloning", "Running local shell", "CreateTemplate sealing")
EVERYWHERE = os.environ.get("OVIRT_PROVISION_CANCELS") == "all"


@pytest.fixture
def templates(stage: Stage) -> Callable[[str], list[int]]:
    """The versions of a template in the engine."""

    def of(name: str) -> list[int]:
        found = stage.provision("template", "list", name).get("templates", [])
        return sorted(template["version"] for template in found)

    return of


@pytest.fixture
def golden(stage: Stage, tmp_path: Path) -> Any:
    """Builds a template `golden`, which is destroyed after the test with all its versions."""
    code, told = run(stage, write(tmp_path / "golden", 'template_name = "golden"'))
    assert code == 0, told
    yield None
    for template in stage.provision("template", "list", "golden").get("templates", []):
        stage.provision("template", "destroy", template["id"])
    assert stage.provision("census")["entries"] == []


def test_all_that_does_not_exist_is_told_at_once(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    options = """
      template_name  = "made"
      cluster        = "Defualt"
      template_tags  = ["gold"]
      network_interface {
        name         = "nic1"
        vnic_profile = "ovirtmgt"
      }
      template_permission {
        role = "UserRoel"
        user = "admin@internal"
      }
    """
    code, told = run(stage, write(tmp_path, options, source="debain-12"))
    assert code == 1
    for option, given, near in (
        ("source_template_name", "debain-12", "debian-12"),
        ("cluster", "Defualt", "Default"),
        ("network_interface[0].vnic_profile", "ovirtmgt", "ovirtmgmt"),
        ("template_permission[0].role", "UserRoel", "UserRole"),
    ):
        assert option in told
        assert f"'{given}'" in told
        assert f"did you mean '{near}'?" in told
    assert "template_tags[0]" in told
    assert is_untouched()


def test_a_disk_that_would_shrink_is_refused_before_anything_is_made(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    options = 'template_name = "made"\nboot_disk { size = 1 }\ndisk {\nsize = 1\nstorage_domain = "dtaa"\n}'
    code, told = run(stage, write(tmp_path, options))
    assert code == 1
    assert "boot_disk.size" in told
    assert "disk[0].storage_domain: " in told
    assert "did you mean 'data'?" in told
    assert is_untouched()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('template_name = "a"\ndsik { size = 1 }', 'Blocks of type "dsik" are not expected'),
        ('template_name = "a"\nmemory = "much"', "a number is required"),
        ('template_name = "a"\ntemplate_nmae = "b"', 'named "template_nmae" is not expected'),
        ("", "template_name: is required"),
        (
            'template_name = "a"\ndisk {\nsize = 1\nbootable = true\n}\ndisk {\nsize = 1\nbootable = true\n}',
            "a machine boots from one disk, but boot_disk, disk[0], disk[1] are bootable",
        ),
        (
            'template_name = "a"\nhost_name = "b"\n'
            'nic_configuration {\nname = "eth0"\nstatic_address = "10.1.0.5"\n}',
            "nic_configuration[0].static_address: '10.1.0.5': must be an IPv4 address with its prefix length",
        ),
        ('template_name = "a b"\ncpu_cores = -1\nbios_type = "bios"', "bios_type: 'bios' is none of"),
    ],
    ids=["block", "type", "option", "missing", "two bootable disks", "no prefix", "several"],
)
def test_what_can_be_known_is_refused_by_validate(
    stage: Stage, tmp_path: Path, options: str, told: str
) -> None:
    code, said = validate(stage, write(tmp_path, options))
    assert code == 1
    assert told in said


def test_a_build_leaves_the_template_alone_and_replaces_it_by_force_only(
    stage: Stage, tmp_path: Path, golden: None
) -> None:
    left = stage.provision("census")["entries"]
    assert {(entry["kind"], entry["finding"]) for entry in left if entry["kind"] != "disk"} == {
        ("template", "FINDING_OURS")
    }
    (before,) = stage.provision("template", "list", "golden")["templates"]

    file = write(tmp_path, 'template_name = "golden"')
    code, told = run(stage, file)
    assert code == 1
    assert "golden" in told
    assert "already" in told or "in use" in told
    assert stage.virtual_machines() == []
    assert stage.provision("census")["entries"] == left

    code, told = run(stage, file, "-force")
    assert code == 0, told
    (after,) = stage.provision("template", "list", "golden")["templates"]
    assert after["id"] != before["id"]
    assert stage.virtual_machines() == []


def test_force_refuses_what_is_not_ours_before_anything_is_made(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    code, told = run(stage, write(tmp_path, 'template_name = "debian-12"'), "-force")
    assert code == 1
    assert "debian-12" in told
    assert is_untouched()


def test_a_chain_of_versions_of_which_two_are_kept(
    stage: Stage, tmp_path: Path, golden: None, templates: Callable[[str], list[int]]
) -> None:
    options = 'template_name = "golden"\nnew_version = true\nkeep_versions = 2\nversion_name = "spring"'
    for versions in ([1, 2], [2, 3]):
        code, told = run(stage, write(tmp_path, options, source="golden"))
        assert code == 0, told
        assert templates("golden") == versions
        assert f"version {versions[-1]}" in told
    assert stage.virtual_machines() == []


def test_two_builds_at_once_make_a_template_each_and_one_name_is_taken_once(
    stage: Stage, tmp_path: Path
) -> None:
    names = ("first", "second", "second")
    processes = [
        start(stage, write(tmp_path / str(number), f'template_name = "{name}"'))
        for number, name in enumerate(names)
    ]
    told = [process.communicate()[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes[0] == 0, told[0]
    assert sorted(codes[1:]) == [0, 1], told
    left = stage.provision("census")["entries"]
    assert sorted(entry["name"] for entry in left if entry["kind"] == "template") == ["first", "second"]
    assert stage.virtual_machines() == []
    for name in ("first", "second"):
        stage.provision("template", "destroy", name)


def test_a_disk_is_left_in_place_of_a_template(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    options = 'full_clone = true\ndetached_disk { name = "golden-disk" }'
    code, told = run(stage, write(tmp_path, options))
    assert code == 0, told
    (disk,) = [id for kind, name, id in stage.world() if (kind, name) == ("disk", "golden-disk")]
    assert disk in told
    assert stage.virtual_machines() == []
    stage.provision("disk", "destroy", disk)
    assert is_untouched()


def test_a_build_that_is_to_leave_nothing_leaves_nothing(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    code, told = run(stage, write(tmp_path, "skip_create_artifact = true"))
    assert code == 0, told
    assert is_untouched()


def test_a_template_that_nobody_reaches_does_not_pass_the_boot_test(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    code, told = run(
        stage, write(tmp_path, 'template_name = "made"\nboot_test = true\nboot_test_ssh_port = 1')
    )
    assert code == 1
    assert "while reaching-ssh" in told, told
    assert is_untouched()


def test_a_failed_build_that_is_to_be_kept_says_how_to_destroy_it(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    file = write(
        tmp_path,
        'template_name = "made"\nuser_data = "runcmd: []"',
        provisioners='provisioner "shell-local" { inline = ["exit 3"] }',
    )
    code, told = run(stage, file, "-on-error=abort")
    assert code == 1
    (machine,) = stage.provision("machine", "list")["machines"]
    assert (machine["status"], machine["lease"]["kind"]) == ("STATUS_UP", "KIND_KEPT")
    command = f"ovirt-provision machine destroy '{machine['key']}'"
    assert command in told
    assert stage.run("sh", "-c", command, output=True).returncode == 0
    assert is_untouched()


def test_an_interrupted_build_leaves_nothing(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    """SIGTERM to packer alone. The SIGINT of Ctrl-C goes to the group."""
    process = start(stage, write(tmp_path, 'template_name = "made"', communicator="ssh"))
    assert process.stdout is not None
    for line in process.stdout:
        if "Waiting for SSH" in line:
            break
    assert len(stage.provision("machine", "list")["machines"]) == 1
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate()
    assert process.returncode == 1, told
    assert is_untouched()


def test_a_build_that_is_cancelled_at_any_step_leaves_nothing(
    stage: Stage, tmp_path: Path, is_untouched: Callable[[], bool]
) -> None:
    file = write(tmp_path, FORWARDED, provisioners=PROVISIONER)
    places = SOME
    if EVERYWHERE:
        code, told = run(stage, file)
        assert code == 0, told
        stage.provision("template", "destroy", "cancelled")
        places = tuple(moments(told))
    for place in places:
        code, told = cancel_at(stage, file, place)
        print(f"cancelled at '{place}': exit code {code}")
        assert code == 1, told
        assert is_untouched()


def test_a_replacement_that_is_cancelled_at_any_step_loses_nothing(
    stage: Stage, tmp_path: Path, golden: None
) -> None:
    """The old template stands, or the new one in its place."""
    file = write(tmp_path, 'template_name = "golden"\nboot_test = true\nboot_test_address_only = true')
    places = ("CreateTemplate removing-old",)
    if EVERYWHERE:
        code, told = run(stage, file, "-force")
        assert code == 0, told
        places = tuple(moments(told))
    for place in places:
        (before,) = stage.provision("template", "list", "golden")["templates"]
        code, told = cancel_at(stage, file, place, "-force")
        (after,) = stage.provision("template", "list", "golden")["templates"]
        print(f"cancelled at '{place}': exit code {code}")
        assert code == 1, "packer calls a build that was interrupted a failure, whatever it has made"
        assert (after["id"] == before["id"]) == ("too late to cancel" not in told), told
        left = stage.provision("census")["entries"]
        assert [entry["name"] for entry in left if entry["kind"] == "template"] == ["golden"]
        assert stage.virtual_machines() == []


def test_a_build_through_a_daemon_on_another_machine(
    stage: Stage, tmp_path: Path, from_elsewhere: Mapping[str, str]
) -> None:
    """As on Windows, where no daemon can be started: over TLS, with a token and no password of the engine."""
    file = write(tmp_path, 'template_name = "from-elsewhere"')
    code, told = run(stage, file, extra=from_elsewhere)
    assert code == 0, told
    left = stage.provision("census")["entries"]
    assert {entry["owner"] for entry in left} == {"spiffe://example.com/builds"}

    code, told = run(stage, file, extra={**from_elsewhere, "OVIRT_PROVISION_TOKEN_FILE": ""})
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
