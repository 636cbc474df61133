"""The life of a Docker host: the real rancher-machine, a real guest with a real Docker engine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docker_hosts import DockerHosts, docker_info, missing, refused_without_certificate
from stage import Stage, StageError

from ovirt_provision.simulator.guests import network

ADDRESS = "10.11.3.4"
USER_DATA = """#cloud-config
write_files:
- path: /etc/app
  content: written
timezone: Asia/Tokyo
runcmd:
- [sh, -c, "date +%Z > /etc/ran"]
"""
CONTAINER = """
set -e
tar -C / --dereference -c usr/bin/true lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2 |
    sudo docker import - true
sudo docker run --rm true /usr/bin/true
"""
# With what the host is known by and entered: name, machine-id, host keys, address, accounts and their keys.
IDENTITY = """
hostname; cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub; ip -4 -br address show eth0; getent passwd
cat ~/.ssh/authorized_keys; resolvectl dns eth0; resolvectl domain eth0
"""

pytestmark = [
    pytest.mark.guests,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(missing(guests=True) is not None, reason=missing(guests=True) or ""),
]


def test_the_life_of_a_docker_host(tmp_path: Path) -> None:
    user_data = tmp_path / "user-data"
    user_data.write_text(USER_DATA)
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        before = stage.world()
        hosts = DockerHosts(stage)
        options = {
            "network": f":{ADDRESS}/24:10.11.3.1",
            "dns-server": "10.11.3.2",
            "dns-search-domain": "lab.test",
            "user-data": str(user_data),
        }
        hosts.create("web", *(f"--ovirt-{option}={value}" for option, value in options.items()))

        (machine,) = stage.provision("machine", "list")["machines"]
        url = f"tcp://{machine['addresses'][0]['ip']}:{network.find_reach().ports[network.DOCKER_PORT]}"
        if network.find_reach().honest:
            assert url == f"tcp://{ADDRESS}:2376"
        listed = hosts.ls().splitlines()[1].split()
        assert listed[0] == "web"
        assert {"ovirt", "Running", url} <= set(listed)
        variables = hosts.env("web")
        assert (variables["DOCKER_HOST"], variables["DOCKER_TLS_VERIFY"]) == (url, "1")

        status = hosts.ssh("web", "cloud-init status --long")
        assert "status: done" in status
        assert "DataSourceConfigDrive" in status
        assert hosts.ssh("web", "systemctl is-system-running --wait") == "running\n"
        assert hosts.ssh("web", "cat /etc/app /etc/ran") == "writtenJST\n"
        assert "passwordauthentication no" in hosts.ssh("web", "sudo sshd -T")
        identity = hosts.ssh("web", IDENTITY)
        assert identity.startswith("web\n")
        assert f"{ADDRESS}/24" in identity
        assert [line.split()[-1] for line in identity.splitlines()[-2:]] == ["10.11.3.2", "lab.test"]

        info = docker_info(variables)
        assert (info["Name"], info["Driver"], info["CgroupDriver"]) == ("web", "overlay2", "systemd")
        assert "CERTIFICATE" in refused_without_certificate(variables)
        hosts.ssh("web", CONTAINER)

        hosts.stop("web")
        assert "Stopped" in hosts.ls()
        with pytest.raises(StageError):
            docker_info(variables)
        # Without a config drive, which the engine gives to the first start alone.
        hosts.start("web")
        assert hosts.env("web") == variables
        assert hosts.ssh("web", IDENTITY) == identity
        again = docker_info(variables)
        assert (again["ID"], again["Images"]) == (info["ID"], 1)
        assert "CERTIFICATE" in refused_without_certificate(variables)

        hosts.rm("web")
        assert hosts.ls().splitlines()[1:] == []
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []


def test_two_docker_hosts_at_once(tmp_path: Path) -> None:
    """Each is a machine of its own, with an engine of its own."""
    names = ("one", "two")
    with Stage(tmp_path / "stage", guests="qemu") as stage:
        before = stage.world()
        hosts = DockerHosts(stage)
        with ThreadPoolExecutor(len(names)) as pool:
            # Two guests boot in more than twice the time of one where processors are emulated.
            list(pool.map(lambda name: hosts.create(name, "--ovirt-ssh-timeout=900"), names))
            variables = {name: hosts.env(name) for name in names}
            infos = {name: docker_info(variables[name]) for name in names}
            assert {name: info["Name"] for name, info in infos.items()} == {name: name for name in names}
            for what in (
                [info["ID"] for info in infos.values()],
                [v["DOCKER_HOST"] for v in variables.values()],
            ):
                assert len(set(what)) == len(names)
            for name in names:
                hosts.ssh(name, CONTAINER)
            list(pool.map(hosts.rm, names))
        assert hosts.ls().splitlines()[1:] == []
        assert stage.world() == before
        assert stage.provision("census")["entries"] == []
