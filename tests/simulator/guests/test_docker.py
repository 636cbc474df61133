"""The guest image with a Docker engine, as docker-machine and its users see it: over SSH."""

import asyncio
import dataclasses
import subprocess
import uuid
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ovirt_provision.simulator.config_drive import Initialization, NicConfiguration, config_drive
from ovirt_provision.simulator.guests import GuestNic, GuestSpec, GuestState, image
from ovirt_provision.simulator.guests.network import DOCKER_PORT
from ovirt_provision.simulator.guests.qemu import QemuGuest, QemuGuests

pytestmark = [pytest.mark.by_hand, pytest.mark.timeout(900)]

BASE, SMALL = "docker-base", "minimal-base"
ADDRESS = "10.11.3.4"
BOOT_DEADLINE = 300.0  # seconds; forty on two idle cores
# As docker-machine asks a Debian guest, without its certificates.
PROVISION = """
set -e
. /etc/os-release; test "$ID" = debian
sudo apt-get update
sudo -E apt-get install -y curl
type docker
sudo docker version
ip link show docker0
echo certificate | sudo tee /etc/docker/ca.pem
sudo systemctl -f stop docker
sudo mkdir -p /etc/systemd/system/docker.service.d
printf '%s\\n' '[Service]' ExecStart= 'ExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2376 -H fd://' |
    sudo tee /etc/systemd/system/docker.service.d/10-machine.conf
sudo systemctl daemon-reload
sudo systemctl -f start docker
sudo systemctl -f enable docker
"""
CONTAINER = """
set -e
tar -C / --dereference -c usr/bin/true lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2 |
    sudo docker import - true
sudo docker run --rm true /usr/bin/true
"""
IDENTITY = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ip -4 -br address show eth0"


@pytest.fixture
async def guests(tmp_path: Path) -> AsyncIterator[QemuGuests]:
    """On both images, each of which has a kernel of its own."""
    images = {
        SMALL: image.build(image.cache_folder()),
        BASE: image.build(image.cache_folder(image.DOCKER), recipe=image.DOCKER),
    }
    guests = QemuGuests(tmp_path / "disks", images)
    yield guests
    await guests.close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


async def up(guest: QemuGuest) -> str:
    """Waits, as clients of the engine do, for an address on the first NIC, and returns it."""
    async with asyncio.timeout(BOOT_DEADLINE):
        while not any(each.name == "eth0" and each.addresses for each in guest.interfaces):
            assert guest.state is not GuestState.DOWN, guest.error
            await asyncio.sleep(0.1)
    return next(each.addresses[0] for each in guest.interfaces if each.name == "eth0")


async def ssh(guests: QemuGuests, address: str, key: Path, command: str) -> str:
    """Runs a command, once sshd is there, and returns what it says. Fails when the command does."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    options += ["IdentitiesOnly=yes", "ConnectTimeout=30"]
    async with asyncio.timeout(BOOT_DEADLINE):
        while True:
            process = await asyncio.create_subprocess_exec(
                "ssh", *(part for option in options for part in ("-o", option)), "-F", "none",
                "-i", str(key), "-p", str(guests.reach.ssh_port), f"tester@{address}", command,
                stdin=subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said = (await process.communicate())[0].decode()
            if process.returncode != 255:
                break
            await asyncio.sleep(0.5)
    assert process.returncode == 0, f"{command}:\n{said}"
    return said


async def down(guest: QemuGuest) -> None:
    guest.shutdown()
    await asyncio.wait([guest.task], timeout=120)
    assert (guest.state, guest.error) == (GuestState.DOWN, None)


async def test_a_docker_host_is_what_its_config_drive_says_and_stays_so(
    guests: QemuGuests, key: Path
) -> None:
    drive = config_drive(
        Initialization(
            host_name="dockerhost",
            user_name="tester",
            authorized_ssh_keys=key.with_suffix(".pub").read_text(),
            dns_servers="10.11.3.2",
            dns_search="lab.test",
            nics=[NicConfiguration("eth0", True, "static", ADDRESS, "255.255.255.0", "10.11.3.1")],
            custom_script="write_files:\n- path: /etc/app\n  content: written\n",
        )
    )
    await guests.clone_disk("disk", BASE, thin=True).task
    nics = [GuestNic("nic1", "56:6f:00:00:00:01")]
    spec = GuestSpec(str(uuid.uuid4()), "dockerhost", 768 << 20, 2, nics, ["disk"], drive)
    guest = guests.start(spec)
    address = await up(guest)
    assert IPv4Address(address) in guests.reach.addresses
    if guests.reach.honest:
        assert address == ADDRESS

    status = await ssh(guests, address, key, "cloud-init status --wait --long")
    assert "status: done" in status
    assert "DataSourceConfigDrive" in status
    assert await ssh(guests, address, key, "systemctl is-system-running --wait") == "running\n"
    assert await ssh(guests, address, key, "hostname; cat /etc/app") == "dockerhost\nwritten"
    identity = await ssh(guests, address, key, IDENTITY)
    assert f"{ADDRESS}/24" in identity
    resolver = await ssh(guests, address, key, "resolvectl dns eth0; resolvectl domain eth0")
    assert [line.split()[-1] for line in resolver.splitlines()] == ["10.11.3.2", "lab.test"]

    await ssh(guests, address, key, CONTAINER)
    await ssh(guests, address, key, PROVISION)
    assert (await ssh(guests, address, key, "sudo docker info -f '{{.Driver}} {{.CgroupDriver}}'")) == (
        "overlay2 systemd\n"
    )
    reader, writer = await asyncio.open_connection(address, guests.reach.ports[DOCKER_PORT])
    writer.write(b"GET /_ping HTTP/1.0\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 30)
    writer.close()

    await down(guest)
    guest = guests.start(dataclasses.replace(spec, config_drive={}))
    assert await up(guest) == address
    assert await ssh(guests, address, key, IDENTITY) == identity
    await down(guest)


async def test_a_docker_host_can_be_sealed(guests: QemuGuests) -> None:
    await guests.clone_disk("template", BASE, thin=False).task
    work = guests.seal_disk("template")
    await asyncio.wait([work.task])
    assert work.error is None
