"""The real packer with the plugin and real guests."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import ovirtsdk4
import pytest
from packer_builds import STOP, run, write
from stage import HOST, SSH_PORT, Stage

from ovirt_provision.simulator.guests.image import MINIMAL, find_cached
from tests.boot_disc import make_boot_disc

HTTP_PORT = 8613
# Every byte there is; HCL has no way to write most of them.
BYTES = bytes(range(256))

FIRST = f"""
  ssh_port      = {SSH_PORT}
  template_name = "golden"
  host_name     = "builder"
  user_data     = <<-EOF
    #!/usr/bin/python3
    from urllib.request import urlretrieve
    urlretrieve("http://{{{{ .HTTPIP }}}}:{{{{ .HTTPPort }}}}/served", "/etc/served")
  EOF
  http_content  = {{ "/served" = "by packer" }}
  http_ip       = "{HOST}"
  http_port_min = {HTTP_PORT}
  http_port_max = {HTTP_PORT}
  cd_files      = ["bytes.bin"]
  cd_content    = {{ "nested/text" = "on the CD" }}
"""
PROVISIONERS = """
  provisioner "shell" {
    inline = [
      "for second in $(seq 60); do [ -e /etc/served ] && break; sleep 1; done",
      "cat /etc/served /run/media/packer/nested/text | sudo tee /etc/seen",
      "sha256sum </run/media/packer/bytes.bin | sudo tee -a /etc/seen",
      "echo ${build.PackerHTTPAddr} | sudo tee -a /etc/seen",
    ]
  }
"""
# What the first build has sealed stays so: the next ones start no guest.
NEXT = f"""
  ssh_port      = {SSH_PORT}
  template_name = "golden"
  new_version   = true
  keep_versions = 2
  template_seal = false
"""


@contextlib.contextmanager
def engine(stage: Stage) -> Iterator[ovirtsdk4.Connection]:
    connection = ovirtsdk4.Connection(
        url=stage.environment["OVIRT_URL"],
        username=stage.environment["OVIRT_USERNAME"],
        password=stage.environment["OVIRT_PASSWORD"],
        ca_file=stage.environment["OVIRT_CAFILE"],
    )
    with contextlib.closing(connection):
        yield connection


@pytest.mark.guests
@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_versions_of_which_two_remain_and_the_last_boots(tmp_path: Path) -> None:
    """The guest of the first build sees what Packer gives it; the last version is tested by a clone."""
    with Stage(tmp_path / "stage", guests="qemu", host_ports=[HTTP_PORT]) as stage:
        stage.install_plugin()
        before = stage.world()
        (stage.folder / "bytes.bin").write_bytes(BYTES)
        first = write(tmp_path / "first", FIRST, communicator="ssh", provisioners=PROVISIONERS)
        code, told = run(stage, first)
        assert code == 0, told
        for seen in (
            "by packeron the CD",
            hashlib.sha256(BYTES).hexdigest(),
            f"{HOST}:{HTTP_PORT}",
        ):
            assert seen in told

        code, told = run(stage, write(tmp_path / "second", NEXT, source="golden"))
        assert code == 0, told
        code, told = run(stage, write(tmp_path / "third", NEXT + "\nboot_test = true", source="golden"))
        assert code == 0, told
        assert "reaching-ssh" in told

        made = stage.provision("template", "list", "golden")["templates"]
        assert sorted(template["version"] for template in made) == [2, 3]
        assert stage.virtual_machines() == []
        with engine(stage) as connection:
            for template in made:
                found = connection.system_service().templates_service().template_service(template["id"]).get()
                assert found.initialization is None or found.initialization.user_name is None
                assert found.initialization is None or not found.initialization.authorized_ssh_keys
        for template in made:
            stage.provision("template", "destroy", template["id"])
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []


IMAGE = """
  image_path    = "{path}"
  cluster       = "Default"
  memory        = 512
  ssh_port      = {port}
  template_name = "from-image"
  network_interface {{
    name         = "nic1"
    vnic_profile = "ovirtmgmt"
  }}
"""


@pytest.mark.guests
@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_image_file_is_booted_provisioned_and_sealed(tmp_path: Path) -> None:
    """The file is that of the simulator's own template, which the engine does not know to be the same."""
    folder = find_cached(MINIMAL)
    assert folder is not None
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        stage.install_plugin()
        before = stage.world()
        file = write(
            tmp_path / "image",
            IMAGE.format(path=folder / "disk.qcow2", port=SSH_PORT),
            builder="ovirt-image",
            communicator="ssh",
            provisioners='provisioner "shell" { inline = ["sudo touch /etc/built", "ls /etc/built"] }',
        )
        code, told = run(stage, file)
        assert code == 0, told
        assert "/etc/built" in told
        assert "sealing" in told
        for template in ("from-image", "disk.qcow2"):
            stage.provision("template", "destroy", template)
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []


ISO = """
  iso_url        = "{path}"
  cluster        = "Default"
  storage_domain = "{domain}"
  memory         = 128
  disk {{
    size = 1
  }}
  boot_wait            = "15s"
  boot_command         = ["<enter><wait5>typed by {{{{ .Name }}}}<enter>"]
  vm_name              = "Packer"
  skip_create_artifact = true
"""
# The disc reboots into what it has installed, which never shuts down: the engine is asked to, in its place.
INSTALLED = """
  provisioner "shell-local" {{
    inline = [
      "for second in $(seq 60); do grep -q '^installed: ' {console} && break; sleep 1; done",
      "cat {console}",
      "{stop}",
    ]
  }}
"""


@pytest.mark.guests
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_disc_installs_what_the_boot_command_says(tmp_path: Path) -> None:
    disc = tmp_path / "installer.iso"
    disc.write_bytes(make_boot_disc(tmp_path))
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        stage.install_plugin()
        with engine(stage) as connection:
            (domain,) = connection.system_service().storage_domains_service().list()
        file = write(
            tmp_path / "iso",
            ISO.format(path=disc, domain=domain.name),
            builder="ovirt-iso",
            provisioners=INSTALLED.format(
                console=f"{stage.folder}/simulator/disks/${{build.VMID}}.console", stop=STOP
            ),
        )
        code, told = run(stage, file)
        assert code == 0, told
        assert "installed: typed by Packer" in told
        stage.provision("disk", "destroy", stage.provision("census")["entries"][0]["id"])
        assert stage.provision("census")["entries"] == []
