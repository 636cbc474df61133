"""The console of a guest under QEMU: who is let in, and what the guest finds in its drives."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ovirt_provision.guest.keyboard import SPECIAL
from ovirt_provision.guest.vnc import VncClient, VncTicketRefused
from ovirt_provision.simulator.guests import GuestSpec
from ovirt_provision.simulator.guests.qemu import QemuGuests
from tests.boot_disc import make_boot_disc

pytestmark = pytest.mark.guests

DEADLINE = 90


class Guests(QemuGuests):
    """Without images, and so without a guest to try KVM with."""

    async def accelerator(self) -> str:
        return "tcg"


async def until(condition: Callable[[], object]) -> None:
    """Waits for what another process brings about, which tells nobody."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.timeout(200)
async def test_a_ticket_opens_the_console_until_it_expires_or_another_is_given(tmp_path: Path) -> None:
    (tmp_path / "disc.iso").write_bytes(make_boot_disc(tmp_path))
    guests = Guests(tmp_path / "disks", {})
    await guests.write_disk("disc", tmp_path / "disc.iso", "raw").task
    files = {"ks.cfg": b"rootpw --lock\n"}
    guest = guests.start(
        GuestSpec("vm", "web", 128 << 20, 1, (), (), floppy=files, disc="disc", boot_devices=("hd", "cdrom"))
    )
    console = guests.console("vm")

    async def connect(ticket: str) -> VncClient:
        tls = ssl.create_default_context()
        return await VncClient.connect("127.0.0.1", guest.screen.port, ticket, tls, DEADLINE)

    async def refused(ticket: str) -> None:
        with pytest.raises(VncTicketRefused):
            await connect(ticket)

    try:
        await until(lambda: console.exists() and b"press enter" in console.read_bytes())
        await refused("ticket-1")
        guest.screen.let_in("ticket-1", 60)
        first = await connect("ticket-1")
        guest.screen.let_in("ticket-2", 60)
        await refused("ticket-1")
        guest.screen.let_in("ticket-3", -1)
        await refused("ticket-3")

        # Who is in stays in.
        while b"boot: " not in console.read_bytes():
            await first.send(SPECIAL["enter"], down=True)
            await asyncio.sleep(0.1)
            await first.send(SPECIAL["enter"], down=False)
        await first.close()
    finally:
        await guests.close()
    assert guest.error is None
