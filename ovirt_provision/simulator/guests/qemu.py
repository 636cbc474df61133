"""Real guests: every simulated VM is a QEMU process of this user, every disk a qcow2 file. No root is needed.

A guest has a user-mode network that lets nothing out; SSH comes in by an address of its own, see `network`.
Kernel and initramfs come from the guest image to which the boot disk goes back: no boot loader is as quick.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ovirt_provision.simulator.guests import QEMU_FORMATS, GuestInterface, GuestSpec, GuestState, accelerator
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.iso import make_iso
from ovirt_provision.simulator.guests.monitor import Monitor, MonitorError
from ovirt_provision.simulator.guests.network import Addresses, Link, Reach, find_reach
from ovirt_provision.simulator.guests.qemu_arguments import (
    VNC_ARGUMENTS,
    config_drive_arguments,
    connection_arguments,
    disc_arguments,
    escape,
    floppy_arguments,
    machine_arguments,
    network_arguments,
    tls_arguments,
)
from ovirt_provision.simulator.guests.screen import ListeningScreen

SEAL_TIMEOUT = 180.0  # seconds
POWER_OFF_TIMEOUT = 5.0  # seconds from SIGTERM, at which QEMU closes its disks, to SIGKILL
SILENT_GUEST = 60.0  # seconds after which a guest without an agent counts as up, as it does for VDSM
BACKUP_INTERVAL = 0.2  # seconds between two looks at the copy of a running guest's disk
AGENT_INTERVAL = 10.0  # seconds between two questions to the guest agent

KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0"
_LOG = logging.getLogger(__name__)
_BLOCK = 512  # bytes, of `st_blocks`
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


class QemuError(OSError):
    """The host failed: QEMU or qemu-img, whose own words these are, or something that they need."""


class QemuGuests:
    """The `Guests` of QEMU. Disks live in `folder`; it belongs to one simulator and is made when missing.

    `images` are the guest images, by the ids under which their own disks can be cloned. Those are read-only:
    no VM can start from one. `reach` is where guests are reached; by default the best that works here.
    `host_ports` are the ports of this host that guests reach, see `Link.netdev`; by default none. Call
    every method inside the running event loop. Raises QemuError where QEMU is not installed.
    """

    def __init__(
        self,
        folder: Path,
        images: Mapping[str, GuestImage],
        reach: Reach | None = None,
        host_ports: Sequence[int] = (),
    ) -> None:
        for tool in ("qemu-system-x86_64", "qemu-img", "setpriv"):
            if shutil.which(tool) is None:
                raise QemuError(
                    f"{tool} is missing; apt-get install qemu-system-x86 qemu-utils, or use --guests none"
                )
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the disks hold host keys
        self._folder = folder.resolve()
        self._images = dict(images)
        self.reach = reach or find_reach()
        self.host_ports = tuple(host_ports)
        self._works: dict[str, _Work] = {}
        self._guests: dict[str, QemuGuest] = {}
        self._addresses = Addresses(self.reach)
        self._accelerator: asyncio.Task[str] | None = None

    def create_disk(self, disk_id: str, size: int) -> "_Work":
        return self._work(disk_id, self._create(disk_id, size))

    def clone_disk(self, disk_id: str, source_id: str, *, thin: bool) -> "_Work":
        return self._work(disk_id, self._clone(disk_id, source_id, thin))

    def write_disk(self, disk_id: str, file: Path, file_format: str) -> "_Work":
        return self._work(disk_id, self._write(disk_id, file, QEMU_FORMATS[file_format]))

    def read_disk(self, disk_id: str, file: Path, file_format: str) -> "_Work":
        return self._work(disk_id, self._read(disk_id, file, QEMU_FORMATS[file_format]))

    def used(self, disk_id: str) -> int:
        path = self._path(disk_id)
        return path.stat().st_blocks * _BLOCK if path.exists() else 0

    def seal_disk(self, disk_id: str) -> "_Work":
        return self._work(disk_id, self._seal(disk_id))

    def remove_disk(self, disk_id: str) -> None:
        work = self._works.pop(disk_id, None)
        if disk_id in self._images:
            raise ValueError(f"disk {disk_id} is the guest image's own and cannot be removed")
        path = self._path(disk_id)
        path.unlink(missing_ok=True)
        if work is not None and not work.done:
            work.task.add_done_callback(lambda _: path.unlink(missing_ok=True))
            work.task.cancel()

    def start(self, spec: GuestSpec) -> "QemuGuest":
        running = self._guests.get(spec.vm_id)
        if running is not None and running.state is not GuestState.DOWN:
            raise ValueError(f"VM {spec.vm_id} is running")
        guest = QemuGuest(self, spec, self._link(spec))
        self._guests[spec.vm_id] = guest
        return guest

    async def close(self) -> None:
        works = [work.task for work in self._works.values()]
        if self._accelerator is not None:
            works.append(self._accelerator)  # type: ignore[arg-type]
        for task in works:
            task.cancel()
        for guest in self._guests.values():
            guest.power_off()
        await asyncio.gather(*works, *(guest.task for guest in self._guests.values()), return_exceptions=True)

    def console(self, vm_id: str) -> Path:
        """The file that gets what a VM writes to its serial console; each start begins it anew."""
        return self._path(vm_id).with_suffix(".console")

    @contextlib.contextmanager
    def floppy(self, spec: GuestSpec) -> Iterator[Path]:
        """A folder with the files of a floppy, for as long as the VM runs: QEMU reads them from there."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            for name, content in spec.floppy.items():
                (Path(folder) / name).write_bytes(content)
            yield Path(folder)

    def credentials(self, certificates: Path) -> Path:
        """The certificates of GuestSpec by the names that QEMU has for them."""
        folder = self._folder / "tls"
        folder.mkdir(exist_ok=True)
        for name, target in (("ca-cert", "ca"), ("server-cert", "server"), ("server-key", "server")):
            link = folder / f"{name}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(certificates.resolve() / f"{target}.pem")
        return folder

    async def accelerator(self) -> str:
        """`kvm` or `tcg`; the first question may take seconds."""
        if self._accelerator is None:
            image = next(iter(self._images.values()))
            cache = image.folder.parent / "accelerator.json"
            self._accelerator = asyncio.create_task(accelerator.find(image, cache))
        return await asyncio.shield(self._accelerator)

    async def machine_arguments(self, spec: GuestSpec, *, kernel_arguments: str) -> list[str]:
        """QEMU's arguments for processor, memory, kernel, disks and what lies in the CD-ROM drive."""
        disks = [self._path(disk_id) for disk_id in spec.disks]
        for disk_id in self._images.keys() & set(spec.disks):
            raise QemuError(f"disk {disk_id} is the guest image's own; clone it first")
        image = await self._image_of(disks[0]) if disks and spec.boot_devices[:1] == ("hd",) else None
        arguments = machine_arguments(spec, await self.accelerator(), disks, image, kernel_arguments)
        # Files of ISO domains are names without content.
        if _ID.fullmatch(spec.disc):
            arguments += disc_arguments(self._path(spec.disc), spec)
        return arguments

    def _work(self, disk_id: str, coroutine: Coroutine[Any, Any, None]) -> "_Work":
        running = self._works.get(disk_id)
        if running is not None and not running.done:
            coroutine.close()
            raise ValueError(f"disk {disk_id} is being worked on")
        self._works[disk_id] = work = _Work(asyncio.create_task(coroutine))
        return work

    def _path(self, disk_id: str) -> Path:
        if disk_id in self._images:
            return self._images[disk_id].disk
        if not _ID.fullmatch(disk_id):
            raise ValueError(f"'{disk_id}' is no disk id; letters, digits and '-' are allowed")
        return self._folder / f"{disk_id}.qcow2"

    async def _create(self, disk_id: str, size: int) -> None:
        await self._replace(disk_id, "create", "-q", "-f", "qcow2", "{}", str(size))

    async def _clone(self, disk_id: str, source_id: str, thin: bool) -> None:
        source = str(self._path(source_id))
        for guest in self._guests.values():
            if not thin and guest.state is not GuestState.DOWN and guest.uses(source_id):
                await self._back_up(guest, disk_id, source_id)
                return
        if thin:
            await self._replace(disk_id, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", source, "{}")
        else:
            await self._replace(disk_id, "convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", source, "{}")

    async def _back_up(self, guest: "QemuGuest", disk_id: str, source_id: str) -> None:
        """Copies a disk under a running guest as it is at this moment; only its QEMU can."""
        path = self._path(disk_id)
        part = path.with_suffix(".part")
        try:
            await _run(
                "qemu-img", "create", "-q", "-f", "qcow2", str(part), str(await guest.disk_size(source_id))
            )
            await guest.back_up(source_id, part)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)

    async def _write(self, disk_id: str, file: Path, file_format: str) -> None:
        if file.exists():  # noqa: ASYNC240
            await self._replace(disk_id, "convert", "-q", "-f", file_format, "-O", "qcow2", str(file), "{}")

    async def _read(self, disk_id: str, file: Path, file_format: str) -> None:
        source = str(self._path(disk_id))
        await _run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", file_format, source, str(file))

    async def _replace(self, disk_id: str, *command: str) -> None:
        """Runs qemu-img with `{}` as a new file that becomes the disk when it is whole."""
        path = self._path(disk_id)
        part = path.with_suffix(".part")
        try:
            await _run("qemu-img", *(str(part) if argument == "{}" else argument for argument in command))
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)

    async def _seal(self, disk_id: str) -> None:
        if await self._image_of(self._path(disk_id)) is None:
            raise QemuError(f"disk {disk_id} holds no system that the seal knows")
        spec = GuestSpec(
            vm_id="", name=f"seal-{disk_id}", memory=256 << 20, cpus=1, nics=(), disks=(disk_id,)
        )
        arguments = await self.machine_arguments(
            spec, kernel_arguments=f"{KERNEL_ARGUMENTS} panic=-1 init=/usr/lib/ovirt-guest/seal"
        )
        try:
            async with asyncio.timeout(SEAL_TIMEOUT):
                said = await _run(*arguments, "-no-reboot", "-serial", "stdio")
        except TimeoutError:
            raise QemuError(f"the seal did not end within {SEAL_TIMEOUT:g} s") from None
        if "ovirt-guest: sealed" not in said.splitlines():
            raise QemuError(f"the seal failed; the guest's last words: {_tail(said)}")

    async def _image_of(self, disk: Path) -> GuestImage | None:
        """The image whose root file system the disk holds, however copied; its kernel fits."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            block = Path(folder) / "superblock"
            await _run(
                "qemu-img",
                "dd",
                "-U",
                "-f",
                "qcow2",
                "-O",
                "raw",
                "bs=1024",
                "count=2",
                f"if={disk}",
                f"of={block}",
            )
            filesystem = block.read_bytes()[0x468:0x478]
        return next((image for image in self._images.values() if image.filesystem.bytes == filesystem), None)

    def _link(self, spec: GuestSpec) -> Link:
        used = {guest.link.host for guest in self._guests.values() if guest.state is not GuestState.DOWN}
        return self._addresses.link(spec, used)


class QemuGuest:
    """One run of a VM. `link` says where it is reached, `error` why it went down unasked."""

    def __init__(self, guests: QemuGuests, spec: GuestSpec, link: Link) -> None:
        self.link = link
        self.error: str | None = None
        self._guests = guests
        self._spec = spec
        self._state = GuestState.BOOTING
        self._interfaces: Sequence[GuestInterface] = ()
        self._process: asyncio.subprocess.Process | None = None
        self._monitor = Monitor()
        self._monitored = asyncio.Event()
        self.screen = QemuScreen(self._ask_monitor)
        self._agent = Monitor()
        self._powerdown = asyncio.Event()
        self._pressed = False
        self._plug = asyncio.Event()
        self.task = asyncio.create_task(self._live())

    @property
    def state(self) -> GuestState:
        return self._state

    @property
    def interfaces(self) -> Sequence[GuestInterface]:
        return self._interfaces

    def uses(self, disk_id: str) -> bool:
        """Whether it is one of the guest's disks."""
        return disk_id in self._spec.disks

    async def disk_size(self, disk_id: str) -> int:
        """Bytes that the guest sees of a disk. Raises QemuError when it is no longer running."""
        drive = f"disk{self._spec.disks.index(disk_id)}"
        for block in await self._ask_monitor("query-block"):
            if block["device"] == drive:
                return int(block["inserted"]["image"]["virtual-size"])
        raise QemuError(f"QEMU has no drive {drive}")

    async def back_up(self, disk_id: str, target: Path) -> None:
        """Writes a disk as it is now to a qcow2 file of its size. Raises QemuError when that fails."""
        job = f"backup-{target.stem}"
        await self._ask_monitor(
            "drive-backup",
            **{
                "job-id": job,
                "device": f"disk{self._spec.disks.index(disk_id)}",
                "target": str(target),
                "format": "qcow2",
                "mode": "existing",
                "sync": "full",
                "auto-dismiss": False,
            },
        )
        while True:
            state = next((one for one in await self._ask_monitor("query-jobs") if one["id"] == job), None)
            if state is None or state["status"] == "concluded":
                break
            await asyncio.sleep(BACKUP_INTERVAL)
        if state is not None:
            await self._ask_monitor("job-dismiss", id=job)
            if "error" in state:
                raise QemuError(f"the copy of disk {disk_id} failed: {state['error']}")

    async def _ask_monitor(self, command: str, **arguments: Any) -> Any:
        await self._monitored.wait()
        try:
            return await self._monitor.execute(command, **arguments)
        except (MonitorError, ConnectionError) as error:
            raise QemuError(str(error)) from None

    def shutdown(self) -> None:
        self._pressed = True
        self._powerdown.set()

    def power_off(self) -> None:
        self._plug.set()

    async def _live(self) -> None:
        try:
            await self._run()
        except Exception as error:  # whatever it was, the VM is down and someone may want to know why
            self.error = str(error)
            _LOG.warning("VM %s (%s) went down: %s", self._spec.name, self._spec.vm_id, error)
        finally:
            self._state = GuestState.DOWN
            self._interfaces = ()
            self._monitored.set()  # who waits is told that QEMU is gone
            self.screen.close()
            self._monitor.close()
            self._agent.close()

    async def _run(self) -> None:
        with self._guests.floppy(self._spec) as floppy:
            await self._run_with(floppy)

    async def _run_with(self, floppy: Path) -> None:
        arguments = await self._guests.machine_arguments(self._spec, kernel_arguments=KERNEL_ARGUMENTS)
        arguments += network_arguments(
            self._spec, self.link, self._guests.reach.ports, self._guests.host_ports
        )
        monitor, agent = self._monitor.theirs.fileno(), self._agent.theirs.fileno()
        arguments += connection_arguments(monitor, agent)
        descriptors = [monitor, agent]
        with contextlib.ExitStack() as files:
            if self._spec.config_drive:
                drive = files.enter_context(_in_memory(make_iso(self._spec.config_drive)))
                descriptors.append(drive)
                arguments += config_drive_arguments(drive)
            elif self._spec.payload:
                image = make_iso(self._spec.payload, self._spec.payload_label)
                drive = files.enter_context(_in_memory(image))
                descriptors.append(drive)
                arguments += config_drive_arguments(drive)
            if self._spec.floppy:
                arguments += floppy_arguments(floppy)
            if self._spec.certificates is not None:
                arguments += tls_arguments(self._guests.credentials(self._spec.certificates))
            else:
                arguments += VNC_ARGUMENTS
            if self._plug.is_set():
                return
            console = self._guests.console(self._spec.vm_id)
            process = await _start(
                *arguments, "-serial", f"file:{escape(str(console))}", pass_fds=descriptors
            )
        ended = asyncio.create_task(_communicate(process))
        helpers = [
            asyncio.create_task(work) for work in (self._press(), self._ask(), self._watch_plug(process))
        ]
        try:
            said = await asyncio.shield(ended)
            if process.returncode != 0 and not self._plug.is_set():
                raise QemuError(f"QEMU ended with status {process.returncode}: {_tail(said)}")
        finally:
            for helper in helpers:
                helper.cancel()
            await _kill(process)
            await asyncio.gather(ended, *helpers, return_exceptions=True)

    async def _watch_plug(self, process: asyncio.subprocess.Process) -> None:
        await self._plug.wait()
        if process.returncode is None:
            process.terminate()
            await asyncio.sleep(POWER_OFF_TIMEOUT)
        if process.returncode is None:
            process.kill()

    async def _press(self) -> None:
        await self._monitor.open()
        await self._monitor.execute("qmp_capabilities")
        self._monitored.set()
        while True:
            await self._powerdown.wait()
            self._powerdown.clear()
            await self._monitor.execute("system_powerdown")

    async def _ask(self) -> None:
        """Asks the guest agent, for ever; it may come late, go away in a reboot and come back."""
        await self._agent.open()
        first = asyncio.create_task(self._agent.synchronize())
        try:
            await asyncio.wait([first], timeout=SILENT_GUEST)
            self._state = GuestState.UP
            await first
            if self._pressed:
                # While it booted nothing in it listened to the button. VDSM, too, presses more than once.
                self._powerdown.set()
        finally:
            first.cancel()
        while True:
            with contextlib.suppress(TimeoutError, MonitorError):
                async with asyncio.timeout(AGENT_INTERVAL):
                    await self._agent.synchronize()
                    found = await self._agent.execute("guest-network-get-interfaces")
                self._interfaces = interfaces_of(found, self._spec, self.link)
            await asyncio.sleep(AGENT_INTERVAL if self._interfaces else 1.0)


class QemuScreen(ListeningScreen):
    """The console of a guest: QEMU's VNC server, which is handed each connection by its monitor."""

    def __init__(self, ask: Callable[..., Awaitable[Any]]) -> None:
        """`ask` is the guest's way to its monitor."""
        super().__init__()
        self._ask = ask
        self._tickets: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)

    def let_in(self, ticket: str, seconds: float) -> None:
        """From now on this ticket opens the console, for so long."""
        self._tickets = asyncio.create_task(self._set(ticket, seconds, self._tickets))

    async def _set(self, ticket: str, seconds: float, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        with contextlib.suppress(QemuError):
            # VNC knows 8 characters of a password; QEMU refuses more.
            await self._ask("set_password", protocol="vnc", password=ticket[:8])
            await self._ask("expire_password", protocol="vnc", time=f"+{seconds:.0f}")

    async def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(QemuError):
            if self._tickets is not None:
                await asyncio.wait([self._tickets])
            name = f"console{next(self._numbers)}"
            await self._ask("getfd", passing=connection, fdname=name)
            await self._ask("add_client", protocol="vnc", fdname=name)


class _Work:
    """A task as the `Work` of the protocol."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task

    @property
    def done(self) -> bool:
        return self.task.done()

    @property
    def error(self) -> str | None:
        if not self.task.done():
            return None
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        return None if error is None else str(error) or repr(error)


def interfaces_of(found: Sequence[Mapping[str, Any]], spec: GuestSpec, link: Link) -> list[GuestInterface]:
    """What the guest agent answered, with the first NIC's address replaced by the one it is reached at."""
    first = spec.nics[0].mac.lower() if spec.nics else None
    interfaces = []
    for entry in found:
        mac = str(entry.get("hardware-address", "")).lower()
        addresses = [str(item["ip-address"]) for item in entry.get("ip-addresses", ())]
        if mac == first:
            addresses = [str(link.host) if item == str(link.guest.ip) else item for item in addresses]
        interfaces.append(GuestInterface(name=str(entry["name"]), mac=mac, addresses=tuple(addresses)))
    return interfaces


@contextlib.contextmanager
def _in_memory(content: bytes) -> Any:
    """A read-only descriptor of a file that is on no disk, because the drive holds keys and passwords."""
    writable = os.memfd_create("config-drive")
    try:
        with os.fdopen(os.dup(writable), "wb") as file:
            file.write(content)
        readable = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
    try:
        yield readable
    finally:
        os.close(readable)


async def _start(*command: str, pass_fds: Sequence[int] = ()) -> asyncio.subprocess.Process:
    """A process that dies with this one, however this one dies, but not by a Ctrl-C meant for this one."""
    return await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--", *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
    )  # fmt: skip


async def _communicate(process: asyncio.subprocess.Process) -> str:
    said, _ = await process.communicate()
    return said.decode(errors="replace")


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


async def _run(*command: str) -> str:
    """Gives what a command said. Raises QemuError when it failed; kills it when cancelled."""
    process = await _start(*command)
    try:
        said = await _communicate(process)
    finally:
        await _kill(process)
    if process.returncode != 0:
        raise QemuError(f"{command[0]} ended with status {process.returncode}: {_tail(said)}")
    return said


def _tail(said: str) -> str:
    return " / ".join(line.strip() for line in said.strip().splitlines()[-5:]) or "nothing was said"
