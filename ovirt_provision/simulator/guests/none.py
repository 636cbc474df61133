"""Guests that are not there: work ends at once, a VM is up as soon as it runs, and reports an address per
NIC.
"""

import ipaddress
import itertools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ovirt_provision.simulator.guests import QEMU_FORMATS, Guest, GuestInterface, GuestSpec, GuestState, Work
from ovirt_provision.simulator.guests.screen import RecordingScreen

NETWORK = ipaddress.IPv4Network("10.11.0.0/16")
"""Where the reported addresses are from."""


class _Done:
    done = True
    error: str | None = None


class _NoGuest:
    def __init__(self, interfaces: Sequence[GuestInterface], screen: RecordingScreen) -> None:
        self._interfaces = interfaces
        self.screen = screen
        self.state = GuestState.UP

    @property
    def interfaces(self) -> Sequence[GuestInterface]:
        return self._interfaces if self.state is GuestState.UP else ()

    def shutdown(self) -> None:
        self.power_off()

    def power_off(self) -> None:
        self.state = GuestState.DOWN
        self.screen.close()


class NoGuests:
    """State machines only, for tests that need no guest. `specs` are the VMs as they were started, newest
    last; `screens` are the consoles of their last runs, by the VMs' ids.
    """

    def __init__(self) -> None:
        self.specs: list[GuestSpec] = []
        self._contents: dict[str, tuple[Path, str]] = {}  # of disks that were uploaded: files and formats
        self.screens: dict[str, RecordingScreen] = {}
        self._addresses: dict[str, str] = {}
        self._free = itertools.cycle(NETWORK.hosts())

    def create_disk(self, disk_id: str, size: int) -> Work:  # noqa: ARG002
        return _Done()

    def clone_disk(self, disk_id: str, source_id: str, *, thin: bool) -> Work:  # noqa: ARG002
        if source_id in self._contents:
            kept, file_format = self._contents[source_id]
            copy = kept.with_name(f"{disk_id}.kept")
            # Nobody writes to what is kept: a disk that is written anew gets another file.
            copy.hardlink_to(kept)
            self._contents[disk_id] = (copy, file_format)
        return _Done()

    def write_disk(self, disk_id: str, file: Path, file_format: str) -> Work:
        """Keeps the bytes beside the file, as they are."""
        if file.exists():
            self._contents[disk_id] = (file.replace(file.with_name(f"{disk_id}.kept")), file_format)
        return _Done()

    def read_disk(self, disk_id: str, file: Path, file_format: str) -> Work:
        if disk_id not in self._contents:
            file.touch()
            return _Done()
        kept, kept_format = self._contents[disk_id]
        if kept_format == file_format:
            shutil.copyfile(kept, file)
        else:
            names = [QEMU_FORMATS[one] for one in (kept_format, file_format)]
            subprocess.run(
                ["qemu-img", "convert", "-f", names[0], "-O", names[1], kept, file],
                check=True,
            )
        return _Done()

    def used(self, disk_id: str) -> int:  # noqa: ARG002
        return 0

    def seal_disk(self, disk_id: str) -> Work:  # noqa: ARG002
        return _Done()

    def remove_disk(self, disk_id: str) -> None:
        if disk_id in self._contents:
            self._contents.pop(disk_id)[0].unlink(missing_ok=True)

    def start(self, spec: GuestSpec) -> Guest:
        self.specs.append(spec)
        interfaces = [
            GuestInterface(f"eth{number}", nic.mac, [self._address(nic.mac)])
            for number, nic in enumerate(spec.nics)
        ]
        return _NoGuest(interfaces, self.new_screen(spec))

    def new_screen(self, spec: GuestSpec) -> RecordingScreen:
        """The console of a VM that starts."""
        self.screens[spec.vm_id] = screen = RecordingScreen(spec.certificates)
        return screen

    def _address(self, mac: str) -> str:
        if mac not in self._addresses:
            self._addresses[mac] = str(next(self._free))
        return self._addresses[mac]

    async def close(self) -> None:
        for screen in self.screens.values():
            screen.close()
