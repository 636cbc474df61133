"""The image files that the daemon has: what callers upload, and what it fetches for them.

    FOLDER/OWNER/CHECKSUM         a whole image, 0600; OWNER is a digest of the caller's name
    FOLDER/OWNER/CHECKSUM.part    what has arrived so far
    FOLDER/OWNER/CHECKSUM.json    what it is
    FOLDER/scratch/OPERATION*     files of one operation, which end with it

No path comes from a caller. Callers do not share images: who knows a checksum need not have the file.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from ovirt_provision import paths
from ovirt_provision.clock import Clock
from ovirt_provision.config import Images
from ovirt_provision.images import qemu_img
from ovirt_provision.images.errors import ImageBusy, ImageCorrupt, ImageNotFound, NoRoomForImage, UploadOffset

log = structlog.get_logger("images")

_GIB = 1 << 30
_PART, _FACTS = ".part", ".json"
_SCRATCH = "scratch"
# What is left free for everything else on the file system, the ledger first of all; bytes.
_RESERVE = 256 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Image:
    """A whole image; `format` is qcow2, raw or iso, sizes are in bytes, `created_at` in seconds since the
    epoch."""

    checksum: str
    format: str
    size: int
    virtual_size: int
    created_at: float

    @property
    def qemu_format(self) -> str:
        """As qemu-img names it."""
        return qemu_img.Info(self.format, self.virtual_size).qemu_format


class ImageStore:
    """The images of one daemon. `used` tells which are in use: owner and checksum, and by which operation."""

    def __init__(
        self,
        folder: Path,
        limits: Images,
        clock: Clock,
        *,
        used: Callable[[], Mapping[tuple[str, str], str]] = dict,
    ) -> None:
        """`folder` is where they are unless `limits` says else."""
        self.limits = limits
        self._folder = limits.folder or folder
        self._clock = clock
        self._used = used
        self._locks: dict[Path, asyncio.Lock] = {}

    # Whole images.

    def path(self, owner: str, checksum: str) -> Path:
        """Where the image is, once it is whole."""
        return self._of(owner) / checksum.replace(":", "-")

    def find(self, owner: str, checksum: str) -> Image | None:
        """The image, if it is whole."""
        file = self.path(owner, checksum)
        try:
            facts = json.loads(file.with_name(file.name + _FACTS).read_text())
            if file.stat().st_size == facts["size"]:
                return Image(**facts)
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return None

    def need(self, owner: str, checksum: str) -> Image:
        """As `find`. Raises ImageNotFound."""
        image = self.find(owner, checksum)
        if image is None:
            received = self.received(owner, checksum)
            partly = f", only its first {received} bytes" if received else ""
            raise ImageNotFound(checksum=checksum, partly=partly)
        with contextlib.suppress(OSError):
            os.utime(self.path(owner, checksum))  # what was used last is removed last
        return image

    def list(self, owner: str) -> list[Image]:
        """An owner's images, the newest first."""
        found = [self.find(owner, file.name.replace("-", ":", 1)) for file in _whole(self._of(owner))]
        return sorted((one for one in found if one), key=lambda one: one.created_at, reverse=True)

    def received(self, owner: str, checksum: str) -> int:
        """How many bytes of an image there are, from its beginning."""
        file = self.path(owner, checksum)
        for one in (file, file.with_name(file.name + _PART)):
            with contextlib.suppress(OSError):
                return one.stat().st_size
        return 0

    def remove(self, owner: str, checksum: str) -> None:
        """Removes an image or what there is of it. Raises ImageBusy and ImageNotFound."""
        operation = self._used().get((owner, checksum))
        if operation:
            raise ImageBusy(checksum=checksum, operation=operation)
        if not self.received(owner, checksum):
            raise ImageNotFound(checksum=checksum, partly="")
        _drop(self.path(owner, checksum))

    # How they come in.

    async def receive(
        self, owner: str, checksum: str, size: int, offset: int, chunks: AsyncIterator[bytes]
    ) -> Image:
        """Takes a file whose bytes from `offset` on come in `chunks`, unless it is there already.

        What has come stays when they break off. Raises UploadOffset, ImageCorrupt, NoRoomForImage and what
        `qemu_img.probe` raises.
        """
        async with self.taking(owner, checksum) as part:
            if part is None:
                return self.need(owner, checksum)
            received = part.received
            if offset > received:
                raise UploadOffset(offset=offset, received=received, checksum=checksum)
            await part.begin(offset, size)
            async for chunk in chunks:
                await part.write(chunk)
            return await part.finish()

    @contextlib.asynccontextmanager
    async def taking(self, owner: str, checksum: str) -> AsyncIterator["Part | None"]:
        """The image as one that is to arrive; None if it is there. One at a time takes it, others wait."""
        file = self.path(owner, checksum)
        lock = self._locks.setdefault(file, asyncio.Lock())
        async with lock:
            if self.find(owner, checksum) is not None:
                yield None
                return
            paths.private_folder(self._folder)
            paths.private_folder(file.parent)
            part = Part(self, checksum, file)
            try:
                yield part
            finally:
                part.close()

    def make_room(self, wanted: int) -> None:
        """Removes what was not used for longest until so many bytes more fit. Raises NoRoomForImage."""
        most = int(self.limits.max_total_gib * _GIB)
        paths.private_folder(self._folder)
        victims = sorted(self._removable(), key=lambda one: one[1])
        while True:
            used = sum(file.stat().st_blocks * 512 for file in _files(self._folder))
            disk = os.statvfs(self._folder)
            free = disk.f_bavail * disk.f_frsize - _RESERVE
            if used + wanted <= most and wanted <= free:
                return
            if not victims:
                why, remedy = (
                    (f"its file system has {max(free, 0)} to spare", "Make room there.")
                    if wanted > free
                    else (
                        f"{used} of at most {most} are taken",
                        "Remove images, or raise `images.max_total_gib` in the daemon's configuration.",
                    )
                )
                raise NoRoomForImage(wanted=wanted, folder=self._folder, why=why, remedy=remedy)
            _drop(victims.pop(0)[0])

    def purge(self) -> None:
        """Removes what was not used for `keep_days`."""
        before = self._clock.time() - self.limits.keep_days * 24 * 3600.0
        for file, used_at in self._removable():
            if used_at < before:
                _drop(file)

    def _removable(self) -> Iterator[tuple[Path, float]]:
        """What nobody uses, by the path of the whole image, and when it was used last."""
        used = {self.path(owner, checksum) for owner, checksum in self._used()}
        for owner in _folders(self._folder):
            if owner.name == _SCRATCH:
                continue
            names = {file.name.removesuffix(_PART).removesuffix(_FACTS) for file in _files(owner)}
            for name in names:
                file = owner / name
                lock = self._locks.get(file)
                if (lock is not None and lock.locked()) or file in used:
                    continue
                with contextlib.suppress(OSError):
                    part = file.with_name(name + _PART)
                    yield file, (file if file.exists() else part).stat().st_mtime

    async def adopt(self, owner: str, file: Path) -> Image:
        """Takes over a file of an operation as an image of its owner; the file is gone then.

        Raises what `qemu_img.probe` raises.
        """
        with file.open("rb") as opened:
            digest = await asyncio.to_thread(hashlib.file_digest, opened, "sha256")
        async with self.taking(owner, f"sha256:{digest.hexdigest()}") as part:
            if part is None:
                file.unlink()  # noqa: ASYNC240
                return self.need(owner, f"sha256:{digest.hexdigest()}")
            return await part.be(file)

    # Files of one operation.

    def scratch(self, operation_id: str, suffix: str = "") -> Path:
        """A path for a file of an operation's own; it need not exist yet."""
        paths.private_folder(self._folder)
        return paths.private_folder(self._folder / _SCRATCH) / f"{operation_id}{suffix}"

    def drop_scratch(self, operation_id: str) -> None:
        """Removes all files of an operation."""
        for file in _files(self._folder / _SCRATCH):
            if file.name.startswith(operation_id):
                file.unlink(missing_ok=True)

    def scratched(self) -> set[str]:
        """The operations that have files."""
        return {file.name[:36] for file in _files(self._folder / _SCRATCH)}

    def _of(self, owner: str) -> Path:
        return self._folder / hashlib.sha256(owner.encode()).hexdigest()[:32]


class Part:
    """An image that is arriving."""

    def __init__(self, store: ImageStore, checksum: str, file: Path) -> None:
        self._store = store
        self._checksum = checksum
        self._file = file
        self._part = file.with_name(file.name + _PART)
        self._opened: Any = None
        self._size = 0
        self._done = 0
        self._algorithm = checksum.partition(":")[0]
        self._hash = hashlib.new(self._algorithm)

    @property
    def received(self) -> int:
        """How many bytes are there from the beginning."""
        return self._part.stat().st_size if self._part.exists() else 0

    async def begin(self, offset: int, size: int) -> None:
        """What comes next is the file from `offset` on, which is at most `received`; 0 is no known `size`.

        Raises NoRoomForImage.
        """
        await asyncio.to_thread(self.open, offset, size)

    def open(self, offset: int, size: int) -> None:
        """As `begin`, for a thread."""
        self._store.make_room(max(size - offset, 0))
        self._size, self._done = size, offset
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._opened = os.fdopen(descriptor, "r+b", buffering=0)
        self._opened.truncate(offset)
        self._hash = hashlib.new(self._algorithm)
        left = offset
        while left > 0 and (chunk := self._opened.read(min(_CHUNK, left))):
            self._hash.update(chunk)
            left -= len(chunk)

    async def write(self, chunk: bytes) -> None:
        """Raises ImageCorrupt for more than there is to be, and NoRoomForImage."""
        await asyncio.to_thread(self.put, chunk)

    def put(self, chunk: bytes) -> None:
        """As `write`, for a thread."""
        self._done += len(chunk)
        if self._size and self._done > self._size:
            raise self._corrupt("is longer than it was said to be", f"{self._size} bytes", "more")
        try:
            view = memoryview(chunk)
            while view:
                view = view[self._opened.write(view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise NoRoomForImage(
                wanted=len(chunk), folder=self._part.parent, why=error.strerror, remedy="Make room there."
            ) from None
        self._hash.update(chunk)

    async def finish(self) -> Image:
        """Holds what has come against the checksum, and looks what it is; what is wrong is thrown away, but
        not a beginning that is right."""
        if self._size and self._done < self._size:
            raise ImageCorrupt(
                problem="is cut off", expected=f"{self._size} bytes", actual=f"{self._done} bytes"
            )
        actual = f"{self._algorithm}:{self._hash.hexdigest()}"
        if actual != self._checksum:
            raise self._corrupt("has another checksum", self._checksum, actual)
        os.fsync(self._opened.fileno())
        return await self._become_whole()

    async def be(self, file: Path) -> Image:
        """As `finish`, of a file that is whole and right; it is taken over."""
        file.rename(self._part)  # noqa: ASYNC240
        self._done = self._part.stat().st_size
        return await self._become_whole()

    async def _become_whole(self) -> Image:
        try:
            found = await qemu_img.probe(
                self._part, self._checksum, largest=int(self._store.limits.max_disk_gib * _GIB)
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        image = Image(self._checksum, found.format, self._done, found.virtual_size, self._store._clock.time())
        facts = self._file.with_name(self._file.name + _FACTS)
        paths.write_private(facts, json.dumps(asdict(image)).encode())
        self._part.rename(self._file)
        paths.sync_folder(self._file.parent)
        log.info("an image is whole", checksum=self._checksum, format=image.format, size=image.size)
        return image

    def _corrupt(self, problem: str, expected: str, actual: str) -> ImageCorrupt:
        self._part.unlink(missing_ok=True)
        return ImageCorrupt(problem=problem, expected=expected, actual=actual)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [one for one in folder.iterdir() if one.is_dir()]
    return []


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [file for file in folder.rglob("*") if file.is_file()]
    return []


def _whole(folder: Path) -> list[Path]:
    return [file for file in _files(folder) if file.suffix not in (_PART, _FACTS)]


def _drop(file: Path) -> None:
    for suffix in ("", _PART, _FACTS):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
