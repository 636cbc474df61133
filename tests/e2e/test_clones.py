"""Copies of Machines with real guests, and what the guests make of their first boots."""

import subprocess
from pathlib import Path

import pytest
from demo import ssh
from stage import Stage

CLOUD_CONFIG = """#cloud-config
write_files: [{path: /etc/app, content: written}]
runcmd: ["echo ran > /etc/ran"]
users: [{name: ops}]
"""
SCRIPT = """#!/usr/bin/python3
import os
open("/etc/ran", "w").write(f"run by {os.getuid()}\\n")
"""
# What runcmd and scripts do, they do when people can log in already.
FINISHED = "while [ ! -e /run/ovirt-guest/finished ]; do sleep 0.1; done; "


@pytest.mark.guests
@pytest.mark.timeout(300)
def test_a_copy_of_a_running_machine_has_its_disk_and_lives_alone(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        before = stage.world()

        def run(key_of_machine: str, command: str) -> str:
            address = stage.provision("machine", "get", key_of_machine)["addresses"][0]
            ended = ssh(stage, address["ip"], "tester", key, FINISHED + command)
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        def user_data(name: str, text: str) -> str:
            (tmp_path / name).write_text(text)
            return f"--user-data={tmp_path / name}"

        guest = ["--user=tester", f"--ssh-key={key}.pub"]
        stage.provision(
            *("machine", "create", "web", "--template=debian-12", "--start", *guest, "--hostname=web"),
            *("--time-zone=Asia/Tokyo", user_data("cloud-config", CLOUD_CONFIG)),
            *("--address=eth0=10.11.7.8/24,10.11.7.1", "--address=eth0=2001:db8::8/64,2001:db8::1"),
        )
        assert run("web", "hostname; date +%Z; cat /etc/app /etc/ran; id -un ops") == (
            "web\nJST\nwrittenran\nops\n"
        )
        configured = run("web", "ip -brief address show eth0; ip -6 route show default")
        assert {"10.11.7.8/24", "2001:db8::8/64", "2001:db8::1"} <= set(configured.split())
        assert "passwordauthentication no" in run("web", "sudo sshd -T")
        (_, ipv6) = stage.provision("machine", "get", "web")["addresses"]
        assert ipv6["ip"] == "2001:db8::8"

        run("web", "echo before | sudo tee /etc/copied; sync")
        script = user_data("script", SCRIPT)
        stage.provision(
            *("machine", "clone", "web", "copy", "--start", *guest, "--hostname=copy", "--dhcp=eth0", script)
        )
        run("web", "echo after | sudo tee /etc/copied")
        assert run("copy", "cat /etc/copied; hostname; cat /etc/ran") == "before\ncopy\nrun by 0\n"
        stage.provision("machine", "destroy", "web")
        assert run("copy", "cat /etc/copied") == "before\n"
        stage.provision("machine", "destroy", "copy")
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []
