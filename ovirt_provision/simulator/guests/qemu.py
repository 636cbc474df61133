"""Real guests: every simulated VM is a QEMU process of this user, every disk a qcow2 file. No root is needed.

A guest has a user-mode network that lets nothing out; SSH comes in by port 2222 of an address of its own in
127.64.0.0/10. Kernel and initramfs come from the guest image, since no boot loader is as quick.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from ovirt_provision.simulator.guests import GuestInterface, GuestSpec, GuestState, accelerator
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.iso import make_iso
from ovirt_provision.simulator.guests.monitor import Monitor, MonitorError

SSH_PORT = 2222  # on the guest's 127.x address; forwarded to 22, which users may not bind
ADDRESSES = ipaddress.ip_network("127.64.0.0/10")
SEAL_TIMEOUT = 180.0  # seconds
POWER_OFF_TIMEOUT = 5.0  # seconds from SIGTERM, at which QEMU closes its disks, to SIGKILL
SILENT_GUEST = 60.0  # seconds after which a guest without an agent counts as up, as it does for VDSM
AGENT_INTERVAL = 10.0  # seconds between two questions to the guest agent

KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 quiet"
_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


class QemuError(OSError):
    """The host failed: QEMU or qemu-img, whose own words these are, or something that they need."""


class QemuGuests:
    """The `Guests` of QEMU. Disks live in `folder`; it belongs to one simulator and is made when missing.

    `base_disk` is the id under which the image's own disk can be cloned. It is read-only: no VM can start
    from it. Call every method inside the running event loop. Raises QemuError where QEMU is not installed.
    """

    def __init__(self, folder: Path, image: GuestImage, base_disk: str) -> None:
        for tool in ("qemu-system-x86_64", "qemu-img", "setpriv"):
            if shutil.which(tool) is None:
                raise QemuError(
                    f"{tool} is missing; apt-get install qemu-system-x86 qemu-utils, or use --guests none"
                )
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the disks hold host keys
        self._folder = folder.resolve()
        self._image = image
        self._base_disk = base_disk
        self._works: dict[str, _Work] = {}
        self._guests: dict[str, QemuGuest] = {}
        self._accelerator: asyncio.Task[str] | None = None

    def create_disk(self, disk_id: str, size: int) -> "_Work":
        return self._work(disk_id, self._create(disk_id, size))

    def clone_disk(self, disk_id: str, source_id: str, *, thin: bool) -> "_Work":
        return self._work(disk_id, self._clone(disk_id, source_id, thin))

    def seal_disk(self, disk_id: str) -> "_Work":
        return self._work(disk_id, self._seal(disk_id))

    def remove_disk(self, disk_id: str) -> None:
        work = self._works.pop(disk_id, None)
        if disk_id == self._base_disk:
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
        guest = QemuGuest(self, spec, self._free_address(spec.vm_id))
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

    async def accelerator(self) -> str:
        """`kvm` or `tcg`; the first question may take seconds."""
        if self._accelerator is None:
            cache = self._image.folder.parent / "accelerator.json"
            self._accelerator = asyncio.create_task(accelerator.find(self._image, cache))
        return await asyncio.shield(self._accelerator)

    async def machine_arguments(self, spec: GuestSpec, *, kernel_arguments: str) -> list[str]:
        """QEMU's arguments for processor, memory, kernel and disks."""
        disks = [self._path(disk_id) for disk_id in spec.disks]
        if self._base_disk in spec.disks:
            raise QemuError(f"disk {self._base_disk} is the guest image's own; clone it first")
        bootable = bool(disks) and await self._is_guest(disks[0])
        return machine_arguments(
            spec, await self.accelerator(), disks, (self._image if bootable else None), kernel_arguments
        )

    def _work(self, disk_id: str, coroutine: Coroutine[Any, Any, None]) -> "_Work":
        running = self._works.get(disk_id)
        if running is not None and not running.done:
            coroutine.close()
            raise ValueError(f"disk {disk_id} is being worked on")
        self._works[disk_id] = work = _Work(asyncio.create_task(coroutine))
        return work

    def _path(self, disk_id: str) -> Path:
        if disk_id == self._base_disk:
            return self._image.disk
        if not _ID.fullmatch(disk_id):
            raise ValueError(f"'{disk_id}' is no disk id; letters, digits and '-' are allowed")
        return self._folder / f"{disk_id}.qcow2"

    async def _create(self, disk_id: str, size: int) -> None:
        await self._replace(disk_id, "create", "-q", "-f", "qcow2", "{}", str(size))

    async def _clone(self, disk_id: str, source_id: str, thin: bool) -> None:
        source = str(self._path(source_id))
        if thin:
            await self._replace(disk_id, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", source, "{}")
        else:
            await self._replace(disk_id, "convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", source, "{}")

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
        if not await self._is_guest(self._path(disk_id)):
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

    async def _is_guest(self, disk: Path) -> bool:
        """Whether the disk holds the root file system of our image, whose kernel then fits it."""
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
            return block.read_bytes()[0x468:0x478] == self._image.filesystem.bytes

    def _free_address(self, vm_id: str) -> str:
        used = {guest.address for guest in self._guests.values() if guest.state is not GuestState.DOWN}
        for attempt in range(100):
            address = loopback_address(vm_id, attempt)
            if address not in used and _is_free(address):
                return address
        raise QemuError(f"no free address in {ADDRESSES} for VM {vm_id}")


class QemuGuest:
    """One run of a VM. `address` is its own 127.x address, `error` why it went down unasked."""

    def __init__(self, guests: QemuGuests, spec: GuestSpec, address: str) -> None:
        self.address = address
        self.error: str | None = None
        self._guests = guests
        self._spec = spec
        self._state = GuestState.BOOTING
        self._interfaces: Sequence[GuestInterface] = ()
        self._process: asyncio.subprocess.Process | None = None
        self._monitor = Monitor()
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
            self._monitor.close()
            self._agent.close()

    async def _run(self) -> None:
        arguments = await self._guests.machine_arguments(self._spec, kernel_arguments=KERNEL_ARGUMENTS)
        arguments += network_arguments(self._spec, self.address)
        monitor, agent = self._monitor.theirs.fileno(), self._agent.theirs.fileno()
        arguments += connection_arguments(monitor, agent)
        descriptors = [monitor, agent]
        with contextlib.ExitStack() as files:
            if self._spec.config_drive:
                drive = files.enter_context(_in_memory(make_iso(self._spec.config_drive)))
                descriptors.append(drive)
                arguments += config_drive_arguments(drive)
            if self._plug.is_set():
                return
            console = self._guests.console(self._spec.vm_id)
            process = await _start(
                *arguments, "-serial", f"file:{_escape(str(console))}", pass_fds=descriptors
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
                self._interfaces = interfaces_of(found, self._spec, self.address)
            await asyncio.sleep(AGENT_INTERVAL if self._interfaces else 1.0)


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


def machine_arguments(
    spec: GuestSpec, accelerator: str, disks: Sequence[Path], image: GuestImage | None, kernel_arguments: str
) -> list[str]:
    """QEMU's arguments for processor, memory, disks and kernel; without `image` the firmware boots."""
    arguments = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    arguments += [
        "-name",
        _escape(spec.name),
        "-machine",
        "q35",
        "-m",
        f"{max(1, spec.memory >> 20)}M",
        "-smp",
        str(spec.cpus),
    ]
    with contextlib.suppress(ValueError):
        arguments += ["-uuid", str(uuid.UUID(spec.vm_id))]
    if accelerator == "kvm":
        arguments += ["-accel", "kvm", "-cpu", "host"]
    else:
        # The default translation buffer is a quarter of the host's memory per guest.
        arguments += ["-accel", "tcg,tb-size=64", "-cpu", "max"]
    if image is not None:
        arguments += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel_arguments]
    for number, disk in enumerate(disks):
        arguments += [
            "-drive", f"if=none,id=disk{number},format=qcow2,discard=unmap,file={_escape(str(disk))}",
            "-device", f"virtio-blk-pci,drive=disk{number},bootindex={number + 1}",
        ]  # fmt: skip
    return [*arguments, "-device", "virtio-rng-pci"]


def network_arguments(spec: GuestSpec, address: str) -> list[str]:
    """QEMU's arguments for the NICs: each in a network of its own; SSH enters by the first."""
    arguments = []
    for number, nic in enumerate(spec.nics):
        network = f"user,id=net{number},net=10.0.{2 + number}.0/24,restrict=on,ipv6=off"
        if number == 0:
            network += f",hostfwd=tcp:{address}:{SSH_PORT}-:22"
        arguments += [
            "-netdev",
            network,
            "-device",
            f"virtio-net-pci,netdev=net{number},mac={nic.mac},romfile=",
        ]
    return arguments


def connection_arguments(monitor: int, agent: int) -> list[str]:
    """QEMU's arguments for the monitor and the guest agent, each on the inherited socket of that number."""
    return [
        "-chardev", f"socket,id=monitor,fd={monitor}",
        "-mon", "chardev=monitor,mode=control",
        "-chardev", f"socket,id=agent,fd={agent}",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    ]  # fmt: skip


def config_drive_arguments(descriptor: int) -> list[str]:
    """QEMU's arguments for the config drive, a CD-ROM, on the inherited read-only file of that number."""
    return [
        "-add-fd", f"fd={descriptor},set=1",
        "-drive", "if=none,id=config,media=cdrom,format=raw,read-only=on,file=/dev/fdset/1",
        "-device", "virtio-scsi-pci",
        "-device", "scsi-cd,drive=config",
    ]  # fmt: skip


def loopback_address(vm_id: str, attempt: int = 0) -> str:
    """The VM's own address in 127.64.0.0/10, the same at every start; `attempt` counts those found taken."""
    digest = hashlib.sha256(f"{vm_id} {attempt}".encode()).digest()
    offset = int.from_bytes(digest[:4], "big") % ADDRESSES.num_addresses
    # Not the ends of a /24: some tools take them for network and broadcast addresses.
    last = 1 + (offset & 0xFF) % 254
    return str(ADDRESSES.network_address + ((offset & ~0xFF) | last))


def interfaces_of(found: Sequence[Mapping[str, Any]], spec: GuestSpec, address: str) -> list[GuestInterface]:
    """What the guest agent answered, with the first NIC's address replaced by the one it is reached at."""
    first = spec.nics[0].mac.lower() if spec.nics else None
    interfaces = []
    for entry in found:
        mac = str(entry.get("hardware-address", "")).lower()
        addresses = [str(item["ip-address"]) for item in entry.get("ip-addresses", ())]
        if mac == first:
            addresses = [address if item == "10.0.2.15" else item for item in addresses]
        interfaces.append(GuestInterface(name=str(entry["name"]), mac=mac, addresses=tuple(addresses)))
    return interfaces


def _escape(value: str) -> str:
    return value.replace(",", ",,")


def _is_free(address: str) -> bool:
    with socket.socket() as probe:
        # As QEMU does, so that the connections of the last run that are fading away do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, SSH_PORT))
        except OSError:
            return False
    return True


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
