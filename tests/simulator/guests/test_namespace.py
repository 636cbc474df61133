"""Guests at honest addresses: a real one, in a namespace that the test enters as people do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovirt_provision.simulator.guests import image

pytestmark = [pytest.mark.guests, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, subprocess, sys
from pathlib import Path
from ovirt_provision.simulator.config_drive import Initialization, NicConfiguration, config_drive
from ovirt_provision.simulator.guests import GuestNic, GuestSpec
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.qemu import QemuGuests

folder, image, nic = Path(sys.argv[1]), GuestImage.open(Path(sys.argv[2])), sys.argv[3:]

async def ssh(address, command):
    process = await asyncio.create_subprocess_exec(
        "ssh", "-F", "none", "-i", str(folder / "key"), "-oStrictHostKeyChecking=no", "-oLogLevel=ERROR",
        "-oUserKnownHostsFile=/dev/null", "-oBatchMode=yes", f"tester@{address}", command,
    )
    return await process.wait()

async def main():
    guests = QemuGuests(folder / "disks", {"base": image})
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        await guests.clone_disk("disk", "base", thin=True).task
        public = (folder / "key.pub").read_text()
        nics = [NicConfiguration("eth0", True, *nic)]
        drive = config_drive(Initialization("web", "tester", authorized_ssh_keys=public, nics=nics))
        nics = [GuestNic("nic1", "56:6f:00:00:00:01")]
        guest = guests.start(GuestSpec("vm", "web", 256 << 20, 1, nics, ["disk"], drive))
        while not guest.interfaces:
            assert guest.error is None, guest.error
            await asyncio.sleep(0.1)
        (address,) = [each.addresses[0] for each in guest.interfaces if each.name == "eth0"]
        print("reported:", address, flush=True)
        await ssh(address, "echo inside: $(ip -4 -o address show eth0 | awk '{ print $4 }')")
        gateway = guest.link.gateway
        for host in (gateway, "127.0.0.1", address):
            code = await ssh(address, f"timeout 3 bash -c '</dev/tcp/{host}/{port}' 2>&-")
            print("host reached:", code == 0)
    finally:
        await guests.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("nic", "inside"),
    [
        (("dhcp",), "/16"),
        (("static", "10.11.3.4", "255.255.255.0", "10.11.3.1"), "/24"),
    ],
    ids=["dhcp", "static"],
)
def test_a_guest_is_reached_at_its_own_address_and_cannot_reach_the_host(
    tmp_path: Path, nic: tuple[str, ...], inside: str
) -> None:
    small = image.build(image.cache_folder())
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    ended = subprocess.run(
        [ROOT / "tools/in-namespace", sys.executable, "-c", PROGRAM, tmp_path, small.folder, *nic],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if "no namespaces" in ended.stderr:
        pytest.skip("this kernel allows no namespaces")
    assert ended.returncode == 0, ended.stderr
    told = dict(line.split(": ", 1) for line in ended.stdout.splitlines()[:2])
    address = told["reported"]
    assert address.startswith("10.11.")
    assert "static" not in nic or address in nic
    assert told["inside"] == address + inside
    assert ended.stdout.splitlines()[2:] == ["host reached: False"] * 3
