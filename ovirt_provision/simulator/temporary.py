"""Folders that are gone after their simulator, even one that was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_LOCK = ".in-use"


class TemporaryFolder:
    """A folder `path` for the owner alone, until `cleanup` or the end of the process.

    What is killed cannot clean up, so the next of the same `prefix` does: a folder is in use while somebody
    holds the lock in it, and the system takes that from a process that ends. Raises `OSError`.
    """

    def __init__(self, prefix: str) -> None:
        _remove_unused(prefix)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            lock = _lock(self.path)
            if lock is not None:
                self._lock = lock
                return

    def cleanup(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def _remove_unused(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if (folder / _LOCK).is_file() and folder.stat().st_uid == os.getuid():
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The descriptor that holds a folder's lock; None when another has it, or has removed the folder."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / _LOCK).is_file():
            return lock
    os.close(lock)
    return None
