"""Small images of each kind."""

import functools
import subprocess
import tempfile
from pathlib import Path

RAW = bytes(range(256)) * 2048
"""512 KiB."""

ISO = bytes(0x8001) + b"CD001" + bytes(0x20000)


@functools.cache
def qcow2(*options: str, size: int = 64 << 20) -> bytes:
    """A qcow2 of an empty disk; `options` as for qemu-img."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(file), str(size)]
        subprocess.run(command, check=True, cwd=folder)
        return file.read_bytes()
