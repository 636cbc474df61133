"""What an image is, and its conversion: by its header, and by qemu-img as a process with limits.

An image comes from somebody whom we need not trust, and a qcow2 may name other files, which qemu-img would
open with the daemon's rights, an external data file even for `info` (CVE-2024-4467). So its header is read
here first, and qemu-img is told the format, which it never guesses.
"""

import asyncio
import contextlib
import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovirt_provision.images.errors import ImageRefused, QemuImgFailed, QemuImgMissing

QCOW2, RAW, ISO = "qcow2", "raw", "iso"

# Of the engine's kinds of disks all have sectors of this size, in bytes.
SECTOR = 512
_GIB = 1 << 30
# What it takes for any image that is not made to exhaust it; bytes, and seconds of CPU.
_MEMORY = 2 * _GIB
_LOOK_SECONDS = 120
_CONVERT_SECONDS = 6 * 3600
_LONGEST_WORDS = 400

# docs/interop/qcow2.txt of QEMU: magic, version, backing file (offset, size), cluster bits, size, encryption.
_QCOW2_HEADER = struct.Struct(">4sIQIIQI")
_QCOW2_MAGIC = b"QFI\xfb"
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT = 72
_EXTERNAL_DATA = 1 << 2
_ISO_MAGIC, _ISO_MAGIC_AT = b"CD001", 0x8001
_OTHERS = {
    b"KDMV": "a VMDK",
    b"COWD": "a VMDK",
    b"# Disk DescriptorFile": "the descriptor of a VMDK",
    b"vhdxfile": "a VHDX",
    b"conectix": "a VHD",
    b"QED\0": "a QED",
    b"<<< ": "a VDI",
    b"LUKS\xba\xbe": "encrypted (LUKS)",
    b"\x1f\x8b": "compressed (gzip)",
    b"\xfd7zXZ\0": "compressed (xz)",
    b"BZh": "compressed (bzip2)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"PK\x03\x04": "a ZIP archive",
}
_CONVERT = (
    "Convert it by `qemu-img convert -O qcow2 …` (after unpacking it), and take the checksum of the result."
)
_FLATTEN = "Make it whole by `qemu-img convert -O qcow2 …`; the checksum is that of the result."


@dataclass(frozen=True)
class Info:
    """`format` is qcow2, raw or iso; sizes are in bytes, `virtual_size` that of the disk."""

    format: str
    virtual_size: int

    @property
    def qemu_format(self) -> str:
        """As qemu-img names it."""
        return QCOW2 if self.format == QCOW2 else RAW


def look(file: Path, checksum: str, *, largest: int) -> Info:
    """What the header says. `checksum` names the image in errors; `largest` is the size in bytes that a disk
    may have. Raises ImageRefused."""

    def refused(problem: str, remedy: str) -> ImageRefused:
        return ImageRefused(checksum=checksum, problem=problem, remedy=remedy)

    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(512)
        opened.seek(_ISO_MAGIC_AT)
        is_iso = opened.read(len(_ISO_MAGIC)) == _ISO_MAGIC
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise refused(f"it is {kind}, and the engine takes qcow2, raw and ISO images", _CONVERT)
    if not head.startswith(_QCOW2_MAGIC):
        virtual = -(-size // SECTOR) * SECTOR
        found = Info(ISO if is_iso else RAW, virtual)
    else:
        if len(head) < _INCOMPATIBLE_AT:
            raise refused("its qcow2 header is cut off", "See that the file is whole.")
        _, version, backing, _, _, virtual, encryption = _QCOW2_HEADER.unpack_from(head)
        features = 0
        if version == 3:
            (features,) = _INCOMPATIBLE.unpack_from(head.ljust(512, b"\0"), _INCOMPATIBLE_AT)
        if version not in (2, 3):
            raise refused(f"it is a qcow of version {version}; the engine takes 2 and 3", _CONVERT)
        if backing:
            raise refused("it has a backing file, and without that it is no disk", _FLATTEN)
        if features & _EXTERNAL_DATA:
            raise refused("it has an external data file, and without that it is no disk", _FLATTEN)
        if encryption:
            raise refused("it is encrypted", _FLATTEN)
        found = Info(QCOW2, virtual)
    if not 0 < found.virtual_size <= largest:
        raise refused(
            f"it is of a disk of {found.virtual_size} bytes; allowed are 1 to {largest}",
            "The limit is `images.max_disk_gib` in the daemon's configuration.",
        )
    return found


async def probe(file: Path, checksum: str, *, largest: int) -> Info:
    """As `look`; of a qcow2 also that qemu-img understands it and finds it whole.

    Raises ImageRefused, QemuImgMissing and QemuImgFailed.
    """
    found = await asyncio.to_thread(look, file, checksum, largest=largest)
    if found.format != QCOW2:
        return found
    told: Any = json.loads(await _run("look at the image", "info", "-f", QCOW2, "--output=json", str(file)))
    specific = told.get("format-specific", {}).get("data", {})
    others = [told.get("backing-filename"), specific.get("data-file"), told.get("encrypted")]
    if told["virtual-size"] != found.virtual_size or any(others):
        raise ImageRefused(checksum=checksum, problem="its header contradicts itself", remedy=_FLATTEN)
    try:
        await _run("check the image", "check", "-q", "-f", QCOW2, str(file), fine=(0, 3))
    except QemuImgFailed as error:
        raise ImageRefused(
            checksum=checksum,
            problem=f"qemu-img finds it damaged: {error.fields['said']}",
            remedy="Repair it by `qemu-img check -r all`, or make it anew.",
        ) from None
    return found


def missing() -> list[str]:
    """The programs that are needed here and not installed."""
    return [program for program in ("prlimit", "qemu-img") if shutil.which(program) is None]


async def convert(
    source: Path,
    source_format: str,
    target: Path,
    target_format: str,
    *,
    on_progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Writes the image in another format; formats are qcow2 and raw. `on_progress` is told per cent.

    Of what is whole already nothing is looked at: give it only images that `probe` has let pass, or that the
    engine sent. Raises QemuImgMissing and QemuImgFailed; then the target is gone.
    """
    try:
        await _run(
            "convert the image",
            "convert", "-p", "-f", source_format, "-O", target_format, str(source), str(target),
            seconds=_CONVERT_SECONDS,
            on_progress=on_progress,
        )  # fmt: skip
    except BaseException:
        target.unlink(missing_ok=True)  # noqa: ASYNC240
        raise


async def _run(
    doing: str,
    *arguments: str,
    fine: tuple[int, ...] = (0,),
    seconds: int = _LOOK_SECONDS,
    on_progress: Callable[[float], None] | None = None,
) -> bytes:
    """The output of a qemu-img that may use so many seconds of CPU, and nothing beyond its limits."""
    for program in missing():
        raise QemuImgMissing(program=program)
    process = await asyncio.create_subprocess_exec(
        "prlimit", f"--as={_MEMORY}", f"--cpu={seconds}", "--core=0", "--", "qemu-img", *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        output, errors = await asyncio.gather(_read(process.stdout, on_progress), _last(process.stderr))
        status = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if status not in fine:
        said = " ".join(errors.decode(errors="replace").split())
        killed = f"it was ended by signal {-status}" if status < 0 else f"exit code {status}"
        raise QemuImgFailed(doing=doing, said=said or killed)
    return output


async def _read(stream: asyncio.StreamReader, on_progress: Callable[[float], None] | None) -> bytes:
    output = b""
    while chunk := await stream.read(1 << 16):
        if on_progress is None:
            output += chunk
        elif found := re.findall(rb"\(([\d.]+)/100%\)", chunk):
            on_progress(float(found[-1]))
    return output


async def _last(stream: asyncio.StreamReader) -> bytes:
    """The end of what is said: of a damaged image that can be a line for each cluster."""
    said = b""
    while chunk := await stream.read(1 << 16):
        said = (said + chunk)[-_LONGEST_WORDS:]
    return said
