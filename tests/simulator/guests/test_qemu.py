"""Real guests as their owners see them: over SSH, by their disks and by the processes on the host."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovirt_provision.simulator.guests import GuestNic, GuestSpec, GuestState, image
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.network import LOOPBACK
from ovirt_provision.simulator.guests.qemu import QemuGuest, QemuGuests, _Work

pytestmark = [pytest.mark.guests, pytest.mark.timeout(600)]

BASE = "00000000-0000-4000-8000-00000000ba5e"
BOOT_DEADLINE = 120.0  # seconds; five to ten on two idle cores


@dataclass(frozen=True)
class Key:
    private: Path

    @property
    def public(self) -> str:
        return self.private.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    return image.build(image.cache_folder())


@pytest.fixture
async def guests(guest_image: GuestImage, tmp_path: Path) -> AsyncIterator[QemuGuests]:
    guests = QemuGuests(tmp_path / "disks", {BASE: guest_image}, LOOPBACK)
    yield guests
    await guests.close()
    assert qemus(tmp_path) == []


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[[str], Key]:
    def make(name: str) -> Key:
        path = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return Key(path)

    return make


def config_drive(hostname: str, key: Key, custom_script: str = "") -> Mapping[str, bytes]:
    meta = {
        "hostname": hostname,
        "name": hostname,
        "public_keys": [key.public],
        "uuid": str(uuid.uuid4()),
        "meta": {"dsmode": "local"},
    }
    network = {
        "links": [{"id": "eth0", "name": "eth0", "type": "vif"}],
        "networks": [{"id": "eth0", "link": "eth0", "type": "ipv4_dhcp"}],
    }
    user_data = (
        "#cloud-config\nuser: packer\ndisable_root: false\nchpasswd:\n  expire: false\nssh_pwauth: true\n"
    )
    return {
        "openstack/latest/meta_data.json": json.dumps(meta).encode(),
        "openstack/latest/network_data.json": json.dumps(network).encode(),
        "openstack/latest/user_data": (user_data + custom_script).encode(),
    }


def spec(name: str, disk: str, drive: Mapping[str, bytes] | None = None, nics: int = 1) -> GuestSpec:
    vm_id = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    macs = [f"56:6f:00:00:{number:02x}:{sum(name.encode()) % 256:02x}" for number in range(nics)]
    return GuestSpec(
        vm_id=vm_id,
        name=name,
        memory=256 << 20,
        cpus=1,
        nics=[GuestNic(f"nic{number + 1}", mac) for number, mac in enumerate(macs)],
        disks=[disk],
        config_drive=drive or {},
    )


async def finished(work: _Work) -> str | None:
    await asyncio.wait([work.task], timeout=300)
    assert work.done
    return work.error


async def until(condition: Callable[[], object], seconds: float) -> None:
    """Waits for what another process brings about, which tells nobody."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def up(guest: QemuGuest) -> str:
    """Waits, as clients of the engine do, for an address on the first NIC, and returns it."""
    await until(lambda: guest.state is GuestState.DOWN or guest.interfaces, BOOT_DEADLINE)
    assert guest.state is GuestState.UP, guest.error
    (interface,) = [each for each in guest.interfaces if each.name == "eth0"]
    return interface.addresses[0]


async def down(guest: QemuGuest) -> None:
    await asyncio.wait([guest.task], timeout=60)
    assert guest.state is GuestState.DOWN


async def ssh(address: str, key: Key, command: str, user: str = "packer") -> tuple[int, str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    options += ["IdentitiesOnly=yes", "ConnectTimeout=30"]
    process = await asyncio.create_subprocess_exec(
        "ssh", *(part for option in options for part in ("-o", option)), "-F", "none",
        "-i", str(key.private), "-p", str(LOOPBACK.ssh_port), f"{user}@{address}", command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def identity(address: str, key: Key) -> dict[str, str]:
    command = (
        "hostname; cat /etc/machine-id; cd /etc/ssh; cat ssh_host_ed25519_key.pub ssh_host_ecdsa_key.pub"
    )
    code, said = await ssh(address, key, command)
    assert code == 0, said
    return dict(zip(("hostname", "machine-id", "ed25519", "ecdsa"), said.splitlines(), strict=True))


def qemus(folder: Path) -> list[int]:
    """The processes of QEMU that use a file in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program, _, arguments = (process / "cmdline").read_bytes().partition(b"\0")
            if program == b"qemu-system-x86_64" and f"{folder}/".encode() in arguments:
                found.append(int(process.name))
    return found


async def test_a_guest_is_what_its_config_drive_says(
    guests: QemuGuests, make_key: Callable[[str], Key], tmp_path: Path
) -> None:
    assert await finished(guests.clone_disk("disk", BASE, thin=True)) is None
    key = make_key("key")
    script = "write_files:\n- path: /etc/app\n  content: written\nruncmd:\n- echo ran > /var/ran\n"
    guest = guests.start(spec("web", "disk", config_drive("web", key, script), nics=2))
    assert guest.state is GuestState.BOOTING
    assert guest.interfaces == ()
    address = await up(guest)

    assert address.startswith("127.")
    assert address != "127.0.0.1"
    assert {each.name: each.mac for each in guest.interfaces} == {
        "lo": "00:00:00:00:00:00",
        "eth0": spec("web", "disk").nics[0].mac,
        "eth1": spec("web", "disk", nics=2).nics[1].mac,
    }
    wait = "while [ ! -e /run/ovirt-guest/finished ]; do sleep 0.1; done"
    code, said = await ssh(address, key, f"{wait}; id -un; hostname; sudo cat /etc/app; echo; cat /var/ran")
    assert (code, said.split()) == (0, ["packer", "web", "written", "ran"])
    assert (await ssh(address, key, "sudo passwd --status root"))[1].split()[1] == "L"

    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    code, _ = await ssh(address, key, f"timeout 3 bash -c '</dev/tcp/10.0.2.2/{port}'")
    assert code != 0, "the guest reaches services of the host"
    listener.close()

    before = await identity(address, key)
    guest.shutdown()
    await down(guest)
    assert guest.error is None

    again = guests.start(spec("web", "disk"))
    assert await up(again) == address
    assert await identity(address, key) == before, "a start without a drive changes nothing"
    assert (await ssh(address, key, "sudo shutdown -P now"))[0] in (0, 255)
    await down(again)
    assert again.error is None


async def test_clones_of_a_sealed_disk_share_what_was_written_and_nothing_else(
    guests: QemuGuests, make_key: Callable[[str], Key]
) -> None:
    old, new = make_key("old"), make_key("new")
    await finished(guests.clone_disk("source", BASE, thin=True))
    source = guests.start(spec("source", "source", config_drive("source", old)))
    address = await up(source)
    before = await identity(address, old)
    assert (await ssh(address, old, "echo provisioned | sudo tee /opt/mark; echo secret > ~/.bash_history"))[
        0
    ] == 0
    source.shutdown()
    await down(source)

    assert await finished(guests.clone_disk("template", "source", thin=False)) is None
    assert await finished(guests.seal_disk("template")) is None
    guests.remove_disk("source")
    for disk in ("one", "two"):
        assert await finished(guests.clone_disk(disk, "template", thin=True)) is None
    one = guests.start(spec("one", "one", config_drive("one", new)))
    two = guests.start(spec("two", "two", config_drive("two", new)))
    addresses = await asyncio.gather(up(one), up(two))
    assert addresses[0] != addresses[1]

    found = [before, *[await identity(each, new) for each in addresses]]
    assert [each["hostname"] for each in found] == ["source", "one", "two"]
    for name in ("machine-id", "ed25519", "ecdsa"):
        assert len({each[name].split()[-2 if name != "machine-id" else 0] for each in found}) == 3, name
    for each in addresses:
        assert await ssh(each, new, "cat /opt/mark; ls ~/.bash_history 2>/dev/null") == (2, "provisioned\n")
        for user in ("packer", "root"):
            code, said = await ssh(each, old, "true", user)
            assert code == 255, "the old key opens a clone"
            assert "Permission denied" in said


async def test_a_disk_under_a_running_guest_is_copied_as_it_is(
    guests: QemuGuests, make_key: Callable[[str], Key]
) -> None:
    key = make_key("key")
    await finished(guests.clone_disk("source", BASE, thin=True))
    source = guests.start(spec("source", "source", config_drive("source", key)))
    address = await up(source)
    assert (await ssh(address, key, "echo early | sudo tee /opt/mark; sync"))[0] == 0
    assert await finished(guests.clone_disk("copy", "source", thin=False)) is None
    assert (await ssh(address, key, "echo late | sudo tee /opt/mark; sync"))[0] == 0
    copy = guests.start(spec("copy", "copy", config_drive("copy", key)))
    assert await ssh(await up(copy), key, "cat /opt/mark") == (0, "early\n")


async def test_what_is_written_to_a_disk_is_read_from_it(guests: QemuGuests, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(256)) * 4096)
    await finished(guests.create_disk("disk", 1 << 20))
    assert await finished(guests.write_disk("disk", sent, "raw")) is None
    assert await finished(guests.read_disk("disk", got, "raw")) is None
    assert got.read_bytes() == sent.read_bytes()
    assert await finished(guests.read_disk("disk", got, "cow")) is None
    assert got.read_bytes()[:4] == b"QFI\xfb"


async def test_a_seal_that_fails_is_no_success(guests: QemuGuests, make_key: Callable[[str], Key]) -> None:
    key = make_key("key")
    await finished(guests.create_disk("empty", 1 << 20))
    error = await finished(guests.seal_disk("empty"))
    assert error is not None
    assert "no system" in error

    await finished(guests.clone_disk("disk", BASE, thin=True))
    guest = guests.start(spec("broken", "disk", config_drive("broken", key)))
    address = await up(guest)
    # A file that root cannot remove either.
    command = "sudo rm /etc/hostname && sudo mkdir /etc/hostname && sync"
    assert (await ssh(address, key, command))[0] == 0
    guest.power_off()
    await down(guest)
    assert guest.error is None
    error = await finished(guests.seal_disk("disk"))
    assert error is not None
    assert "seal failed with status" in error


async def test_the_base_disk_cannot_be_changed(guests: QemuGuests, guest_image: GuestImage) -> None:
    guest = guests.start(spec("vandal", BASE))
    await down(guest)
    assert guest.error is not None
    assert "clone it first" in guest.error
    with pytest.raises(ValueError, match="cannot be removed"):
        guests.remove_disk(BASE)
    assert guest_image.disk.exists()


async def test_a_vm_without_a_system_runs_until_its_plug_is_pulled(
    guests: QemuGuests, tmp_path: Path
) -> None:
    await finished(guests.create_disk("empty", 1 << 20))
    guest = guests.start(spec("empty", "empty"))
    await until(lambda: qemus(tmp_path), 30)
    assert guest.state is GuestState.BOOTING
    guest.power_off()
    await down(guest)
    assert guest.error is None


async def test_a_removed_disk_stays_away_though_it_was_being_copied(
    guests: QemuGuests, tmp_path: Path
) -> None:
    work = guests.clone_disk("copy", BASE, thin=False)
    await until(lambda: work.done or list((tmp_path / "disks").glob("copy.*")), 30)
    guests.remove_disk("copy")
    await asyncio.wait([work.task])
    assert list((tmp_path / "disks").glob("copy*")) == []
    guests.remove_disk("copy")


async def test_closing_ends_what_is_under_way(guest_image: GuestImage, tmp_path: Path) -> None:
    guests = QemuGuests(tmp_path / "disks", {BASE: guest_image}, LOOPBACK)
    await finished(guests.clone_disk("disk", BASE, thin=True))
    await finished(guests.clone_disk("other", BASE, thin=True))
    seal = guests.seal_disk("other")
    guest = guests.start(spec("web", "disk"))
    await until(lambda: len(qemus(tmp_path)) == 2, 60)
    await guests.close()
    assert qemus(tmp_path) == []
    assert guest.state is GuestState.DOWN
    assert seal.error == "cancelled"


async def test_no_guest_survives_a_simulator_that_is_killed(guest_image: GuestImage, tmp_path: Path) -> None:
    program = """
import asyncio
import sys
from pathlib import Path
from ovirt_provision.simulator.guests import GuestSpec
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.qemu import QemuGuests

async def main():
    disks, image, base = sys.argv[1:]
    guests = QemuGuests(Path(disks), {base: GuestImage.open(Path(image))})
    await guests.clone_disk("disk", base, thin=True).task
    guests.start(GuestSpec("vm", "vm", 256 << 20, 1, (), ("disk",)))
    await asyncio.Event().wait()

asyncio.run(main())
"""
    simulator = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "disks"), str(guest_image.folder), BASE
    )
    try:
        await until(lambda: qemus(tmp_path), 60)
    finally:
        os.kill(simulator.pid, signal.SIGKILL)
        await simulator.wait()
    await until(lambda: not qemus(tmp_path), 10)
