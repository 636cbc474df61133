"""What stands behind the simulator's VMs and disks: nothing (`none`) or real guests under QEMU (`qemu`).

The simulator never waits for a guest: it starts a piece of work and looks at it whenever a client asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

QEMU_FORMATS: Mapping[str, str] = {"raw": "raw", "cow": "qcow2"}
"""What QEMU calls the engine's formats of disks."""


class Work(Protocol):
    """Something under way on the host, such as the copy of a disk."""

    @property
    def done(self) -> bool:
        """True once it has ended, well or not."""

    @property
    def error(self) -> str | None:
        """What went wrong, for people; None while it runs and when it went well."""


class GuestState(Enum):
    BOOTING = "booting"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class GuestNic:
    """A NIC of the VM; `mac` is lower case with colons."""

    name: str
    mac: str


@dataclass(frozen=True)
class GuestInterface:
    """An interface that the guest reports; `addresses` are IPv4 or IPv6 without prefix length."""

    name: str
    mac: str
    addresses: Sequence[str]


@dataclass(frozen=True)
class GuestSpec:
    """A VM as it is started. `memory` is in bytes, `disks` are disk ids with the boot disk first.

    `config_drive` holds the files of the cloud-init drive by path, such as `openstack/latest/user_data`;
    empty means that the VM has no such drive at this start. `floppy` holds the files of a floppy, `payload`
    those of a CD-ROM with the volume id `payload_label`, by name. `disc` is the id of the ISO disk in the
    drive, or the name of a file, which no guest here is given. `boot_devices` are hd, cdrom and network. With
    `certificates`, a folder with ca.pem and server.pem, the console is reached over TLS alone.
    """

    vm_id: str
    name: str
    memory: int
    cpus: int
    nics: Sequence[GuestNic]
    disks: Sequence[str]
    config_drive: Mapping[str, bytes] = field(default_factory=dict)
    floppy: Mapping[str, bytes] = field(default_factory=dict)
    payload: Mapping[str, bytes] = field(default_factory=dict)
    payload_label: str = ""
    disc: str = ""
    boot_devices: Sequence[str] = ("hd",)
    certificates: Path | None = None


class Screen(Protocol):
    """The graphics console of a running VM, a VNC server at 127.0.0.1."""

    @property
    def port(self) -> int:
        """Where it listens, from the first question on."""

    @property
    def is_open(self) -> bool:
        """Whether somebody has asked for the port."""

    def let_in(self, ticket: str, seconds: float) -> None:
        """From now on this ticket, and no other, opens the console, for so long."""


class Guest(Protocol):
    """One run of a VM, from start to power-off."""

    @property
    def screen(self) -> Screen: ...

    @property
    def state(self) -> GuestState: ...

    @property
    def interfaces(self) -> Sequence[GuestInterface]:
        """What the guest reports about its network; empty until it does."""

    def shutdown(self) -> None:
        """Presses the power button; the guest may take its time or ignore it."""

    def power_off(self) -> None:
        """Pulls the plug; the state is DOWN as soon as the host has noticed."""


class Guests(Protocol):
    """The host of the simulator. Ids are engine ids; no method blocks."""

    def create_disk(self, disk_id: str, size: int) -> Work:
        """Makes an empty disk of `size` bytes."""

    def clone_disk(self, disk_id: str, source_id: str, *, thin: bool) -> Work:
        """Makes a disk from another one: an overlay that needs it for ever when `thin`, else a full copy.

        A disk under a running VM is copied as it is at one moment.
        """

    def write_disk(self, disk_id: str, file: Path, file_format: str) -> Work:
        """Makes the content of a disk that of a file, which is `raw` or `cow` (qcow2) and may be missing."""

    def read_disk(self, disk_id: str, file: Path, file_format: str) -> Work:
        """Writes the content of a disk that no VM uses to a file of this format."""

    def used(self, disk_id: str) -> int:
        """The bytes that the content of a disk takes on the host, which are none for what is all zero."""

    def seal_disk(self, disk_id: str) -> Work:
        """Removes from a disk that no VM uses what clones must not share; see `seal` in the oVirt API."""

    def remove_disk(self, disk_id: str) -> None:
        """Removes a disk; one that is not there is fine."""

    def start(self, spec: GuestSpec) -> Guest:
        """Starts a VM and returns at once. One run per VM at a time."""

    async def close(self) -> None:
        """Ends every guest and every piece of work, and leaves no process behind."""
