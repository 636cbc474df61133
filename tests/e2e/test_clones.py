"""Copies of Machines with real guests."""

import subprocess
from pathlib import Path

import pytest
from demo import ssh
from stage import Stage


@pytest.mark.guests
@pytest.mark.timeout(300)
def test_a_copy_of_a_running_machine_has_its_disk_and_lives_alone(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        before = stage.world()

        def run(key_of_machine: str, command: str) -> str:
            (address,) = stage.provision("machine", "get", key_of_machine)["addresses"]
            ended = ssh(stage, address["ip"], "tester", key, command)
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        guest = ["--user=tester", f"--ssh-key={key}.pub", "--hostname=web", "--dhcp=eth0"]
        stage.provision("machine", "create", "web", "--template=debian-12", "--start", *guest)
        run("web", "echo before | sudo tee /etc/copied; sync")
        stage.provision("machine", "clone", "web", "copy", "--start")
        run("web", "echo after | sudo tee /etc/copied")
        assert run("copy", "cat /etc/copied; hostname") == "before\nweb\n"
        stage.provision("machine", "destroy", "web")
        assert run("copy", "cat /etc/copied") == "before\n"
        stage.provision("machine", "destroy", "copy")
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []
