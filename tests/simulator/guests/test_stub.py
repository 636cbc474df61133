"""Stubs as their clients see them: by SSH with a key, and at the port of the Docker engine by TLS."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import ClientError, ClientSession
from cryptography import x509

from ovirt_provision.simulator.guests import GuestNic, GuestSpec, GuestState
from ovirt_provision.simulator.guests.network import DOCKER_PORT, LOOPBACK
from ovirt_provision.simulator.guests.stub.guests import StubGuest, StubGuests
from ovirt_provision.simulator.guests.stub.system import missing_tool
from tests.certificates import Authority

pytestmark = pytest.mark.skipif(missing_tool() is not None, reason=f"stubs need namespaces: {missing_tool()}")

DROP_IN = "/etc/systemd/system/docker.service.d/10-machine.conf"
# As docker-machine provisions: what the guest says is its own, and what it is told stays in it.
PROVISION = f"""
set -e
. /etc/os-release; echo "$ID"
type sudo >/dev/null
sudo hostname other && echo other | sudo tee /etc/hostname
sudo apt-get update
sudo -E DEBIAN_FRONTEND=noninteractive apt-get install -y curl
sudo mkdir -p {Path(DROP_IN).parent}
printf %s "ExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2376 -H unix:///d.sock" | sudo tee {DROP_IN} >&2
sudo systemctl -f restart docker
sudo systemctl -f enable docker
netstat -tln
"""


@pytest.fixture
async def guests(tmp_path: Path) -> AsyncIterator[StubGuests]:
    guests = StubGuests(tmp_path / "stubs", LOOPBACK)
    yield guests
    await guests.close()


@pytest.fixture
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def config_drive(key: asyncssh.SSHKey, script: str = "") -> Mapping[str, bytes]:
    public = key.export_public_key().decode().strip()
    user_data = f"#cloud-config\nuser: me\nssh_authorized_keys:\n- {public}\n{script}"
    return {
        "openstack/latest/meta_data.json": json.dumps({"uuid": "1", "hostname": "web"}).encode(),
        "openstack/latest/user_data": user_data.encode(),
    }


def spec(drive: Mapping[str, bytes], vm_id: str = "vm", disk_id: str = "disk") -> GuestSpec:
    # Where a guest is reached follows from its id, and other processes may test as well.
    own_id = f"{vm_id}-{os.getpid()}"
    return GuestSpec(own_id, "web", 1 << 28, 1, [GuestNic("nic1", "56:6f:00:00:00:01")], [disk_id], drive)


async def run(guests: StubGuests, guest: StubGuest, key: asyncssh.SSHKey, command: str) -> str:
    async with asyncssh.connect(
        str(guest.link.host), guests.reach.ssh_port, username="me", client_keys=[key], known_hosts=None
    ) as connection:
        ended = await connection.run(command, check=True)
        return str(ended.stdout)


async def up(guest: StubGuest) -> StubGuest:
    await guest.booted.wait()
    assert guest.state is GuestState.UP
    return guest


async def down(guest: StubGuest) -> None:
    guest.shutdown()
    await guest.task
    assert guest.state is GuestState.DOWN


async def get_info(guest: StubGuest, context: ssl.SSLContext) -> Any:
    """As docker's client: over one connection, first a HEAD that has no body."""
    url = f"https://{guest.link.host}:{DOCKER_PORT}"
    async with ClientSession() as session:
        async with session.head(f"{url}/_ping", ssl=context) as reply:
            assert reply.headers["Api-Version"]
        async with session.get(f"{url}/v1.24/info", ssl=context) as reply:
            return await reply.json()


async def test_the_life_of_a_docker_host(guests: StubGuests, key: asyncssh.SSHKey, tmp_path: Path) -> None:
    guest = await up(guests.start(spec(config_drive(key, "runcmd: ['echo \"$USER\" > /etc/ran']\n"))))
    assert guest.interfaces[0].addresses == [str(guest.link.host)]
    assert await run(guests, guest, key, "hostname; cat /etc/ran; echo $HOME") == "web\nroot\n/home/me\n"

    authority = Authority(tmp_path / "authority")
    server = authority.sign("server", x509.IPAddress(guest.link.host))
    upload = {"ca.pem": authority.ca_file, "server.pem": server.cert_file, "server-key.pem": server.key_file}
    for name, file in upload.items():
        await run(guests, guest, key, f"printf %s '{file.read_text()}' | sudo tee /etc/docker/{name}")
    told = await run(guests, guest, key, PROVISION)
    assert told.splitlines() == ["debian", "other", "LISTEN 0 4096 *:2376 *:*"]

    stranger = ssl.create_default_context(cafile=authority.ca_file)
    with pytest.raises(ClientError, match="CERTIFICATE_REQUIRED"):
        await get_info(guest, stranger)
    known = ssl.create_default_context(cafile=authority.ca_file)
    client = authority.client("spiffe://test/client")
    known.load_cert_chain(client.cert_file, client.key_file)
    assert (await get_info(guest, known))["Name"] == "other"

    await down(guest)
    with pytest.raises(ClientError):
        await get_info(guest, known)
    # Without a config drive, which the engine gives to the first start alone.
    guest = await up(guests.start(spec({})))
    assert (await get_info(guest, known))["Name"] == "other"
    guests.remove_disk("disk")
    assert not (tmp_path / "stubs/disk").exists()


async def test_only_keys_of_the_user_let_in(guests: StubGuests, key: asyncssh.SSHKey) -> None:
    guest = await up(guests.start(spec(config_drive(key))))
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for user, given, password in (("me", stranger, None), ("nobody", key, None), ("me", stranger, "me")):
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                str(guest.link.host),
                guests.reach.ssh_port,
                username=user,
                client_keys=[given],
                password=password,
                known_hosts=None,
            )


async def test_what_a_command_writes_is_the_guests_own(guests: StubGuests, key: asyncssh.SSHKey) -> None:
    theirs = [await up(guests.start(spec(config_drive(key), vm, f"disk-{vm}"))) for vm in ("one", "two")]
    probe = "/etc/a-stub-was-here"
    assert (
        await run(guests, theirs[0], key, f"sudo touch {probe}; sudo hostname mine; ls {probe}")
        == f"{probe}\n"
    )
    assert await run(guests, theirs[1], key, f"ls {probe} 2>/dev/null; hostname") == "web\n"
    assert not Path(probe).exists()  # noqa: ASYNC240
    told = await run(guests, theirs[0], key, "sudo touch /usr/bin/a-stub-was-here 2>&1 || true")
    assert "Read-only file system" in told


async def test_the_exit_code_and_input_of_a_command(guests: StubGuests, key: asyncssh.SSHKey) -> None:
    guest = await up(guests.start(spec(config_drive(key))))
    async with asyncssh.connect(
        str(guest.link.host), guests.reach.ssh_port, username="me", client_keys=[key], known_hosts=None
    ) as connection:
        ended = await connection.run("cat; echo wrong >&2; exit 7", input="given")
    assert (ended.stdout, ended.stderr, ended.exit_status) == ("given", "wrong\n", 7)


async def test_nothing_runs_on_when_the_vm_is_off(guests: StubGuests, key: asyncssh.SSHKey) -> None:
    guest = await up(guests.start(spec(config_drive(key))))
    async with asyncssh.connect(
        str(guest.link.host), guests.reach.ssh_port, username="me", client_keys=[key], known_hosts=None
    ) as connection:
        command = await connection.create_process("sleep 86400 & echo $!; wait")
        process = os.pidfd_open(int(await command.stdout.readline()))
        try:
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(process, ended.set)
            guest.power_off()
            await guest.task
            await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(process)
            os.close(process)


async def test_a_sealed_copy_is_another_machine(guests: StubGuests, key: asyncssh.SSHKey) -> None:
    first = await up(guests.start(spec(config_drive(key))))
    await run(guests, first, key, "echo installed > /etc/software")
    own_key = (await asyncssh.get_server_host_key(str(first.link.host), guests.reach.ssh_port)) or key
    await down(first)
    guests.seal_disk("disk")
    guests.clone_disk("copy", "disk", thin=True)
    copy = await up(guests.start(spec(config_drive(key), "other", "copy")))
    assert await run(guests, copy, key, "cat /etc/software") == "installed\n"
    theirs = await asyncssh.get_server_host_key(str(copy.link.host), guests.reach.ssh_port)
    assert theirs is not None
    assert theirs.public_data != own_key.public_data
