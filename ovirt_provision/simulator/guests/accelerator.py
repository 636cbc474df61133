"""Whether QEMU can use KVM here. A device file proves nothing, so a kernel is booted once."""

import asyncio
import json
import os
from pathlib import Path

from ovirt_provision.simulator.guests.image import GuestImage

KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DEADLINE = 5.0
"""Seconds. With KVM the kernel needs less than one; waiting longer costs every machine without it."""

_REACHED = b"Run /init as init process"


async def find(image: GuestImage, cache: Path) -> str:
    """`kvm` or `tcg`. What a test boot said is kept in the file `cache` until this machine boots again."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    known = _recall(cache)
    if known is None:
        known = "kvm" if await _boots(image) else "tcg"
        _remember(cache, known)
    return known


def _recall(cache: Path) -> str | None:
    try:
        kept = json.loads(cache.read_text())
        return str(kept["accelerator"]) if kept["boot"] == BOOT_ID.read_text().strip() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(cache: Path, accelerator: str) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"boot": BOOT_ID.read_text().strip(), "accelerator": accelerator}) + "\n")


async def _boots(image: GuestImage) -> bool:
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-serial", "stdio",
        "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", "console=ttyS0",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            seen = b""
            while chunk := await process.stdout.read(4096):
                seen += chunk
                if _REACHED in seen:
                    return True
        return False
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
