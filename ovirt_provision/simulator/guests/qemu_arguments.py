"""QEMU's command line, for what a GuestSpec says."""

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovirt_provision.simulator.guests import GuestSpec
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.network import Link

# Emulated processors guess nothing that could leak. And Linux distrusts the TSCs of several of them, though
# QEMU keeps these in step: to know the time it would ask the HPET, which takes a hundred times as long.
EMULATED_KERNEL_ARGUMENTS = "mitigations=off tsc=reliable"


def machine_arguments(
    spec: GuestSpec, accelerator: str, disks: Sequence[Path], image: GuestImage | None, kernel_arguments: str
) -> list[str]:
    """QEMU's arguments for processor, memory, disks and kernel; without `image` the firmware boots."""
    arguments = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    arguments += [
        "-name",
        escape(spec.name),
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
        kernel_arguments = f"{kernel_arguments} {EMULATED_KERNEL_ARGUMENTS}"
    if image is not None:
        arguments += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel_arguments]
    else:
        # Firmware and boot loaders write to a screen alone.
        arguments += ["-device", "VGA"]
    first = _boot_index(spec, "hd")
    for number, disk in enumerate(disks):
        arguments += [
            # Unsafe only should this machine, not just QEMU, go down unasked.
            "-drive",
            f"if=none,id=disk{number},format=qcow2,cache=unsafe,discard=unmap,file={escape(str(disk))}",
            "-device", f"virtio-blk-pci,drive=disk{number},bootindex={first + number}",
        ]  # fmt: skip
    return [*arguments, "-device", "virtio-rng-pci"]


def _boot_index(spec: GuestSpec, device: str) -> int:
    """The place of the first device of a kind in the order in which the firmware tries them."""
    order = spec.boot_devices
    return 1 + 100 * (order.index(device) if device in order else len(order))


def disc_arguments(disc: Path, spec: GuestSpec) -> list[str]:
    """QEMU's arguments for the CD-ROM drive with the disc, a disk of ours, in it."""
    return [
        "-drive",
        f"if=none,id=disc,media=cdrom,format=qcow2,read-only=on,file={escape(str(disc))}",
        "-device",
        f"ide-cd,drive=disc,bootindex={_boot_index(spec, 'cdrom')}",
    ]


def floppy_arguments(folder: Path) -> list[str]:
    """QEMU's arguments for a floppy with the files of a folder."""
    return [
        "-blockdev",
        f"driver=vvfat,node-name=floppy,dir={escape(str(folder))},floppy=on,read-only=on,fat-type=12",
        "-device",
        "isa-fdc,id=fdc",
        "-device",
        "floppy,bus=fdc.0,drive=floppy",
    ]


VNC_ARGUMENTS = ["-vnc", "none,password=on"]
"""QEMU's arguments for a VNC server that waits for connections by its monitor."""


def tls_arguments(credentials: Path) -> list[str]:
    """The same, over TLS alone, with the certificates of a folder."""
    return [
        "-object",
        f"tls-creds-x509,id=tls,endpoint=server,verify-peer=off,dir={escape(str(credentials))}",
        "-vnc",
        "none,password=on,tls-creds=tls",
    ]


def network_arguments(
    spec: GuestSpec, link: Link, ports: Mapping[int, int], host_ports: Sequence[int] = ()
) -> list[str]:
    """QEMU's arguments for the NICs: each in a network of its own; `link` is the first one's."""
    arguments = []
    for number, nic in enumerate(spec.nics):
        network = link.netdev(ports, host_ports) if number == 0 else f"net=10.0.{2 + number}.0/24"
        arguments += [
            "-netdev",
            f"user,id=net{number},restrict=on,ipv6=off,{network}",
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


def escape(value: str) -> str:
    """A value of an option whose parts are separated by commas."""
    return value.replace(",", ",,")
