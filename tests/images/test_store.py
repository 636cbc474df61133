"""The images that the daemon keeps: whole, right, private, and not more than it may."""

import errno
import hashlib
import os
import stat

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import Images
from ovirt_provision.images import store
from ovirt_provision.images.errors import (
    ImageBusy,
    ImageCorrupt,
    ImageNotFound,
    ImageRefused,
    NoRoomForImage,
    UploadOffset,
)
from ovirt_provision.images.store import ImageStore
from tests.image_files import RAW, qcow2

SUM = f"sha256:{hashlib.sha256(RAW).hexdigest()}"


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def images(tmp_path, clock):
    def make(used=dict, **limits):
        return ImageStore(tmp_path / "images", Images.model_validate(limits), clock, used=used)

    return make


async def in_chunks(content, size=100_000, breaks=None):
    for start in range(0, len(content), size):
        if breaks is not None and start >= breaks:
            raise ConnectionError
        yield content[start : start + size]


async def give(images, content=RAW, checksum=SUM, owner="me", offset=0, **options):
    size = options.pop("said", len(content))
    return await images.receive(owner, checksum, size, offset, in_chunks(content[offset:], **options))


async def test_an_image_is_kept_and_only_its_owner_knows_it(images):
    kept = images()
    image = await give(kept)
    assert (image.format, image.size, kept.path("me", SUM).read_bytes()) == ("raw", len(RAW), RAW)
    assert kept.find("you", SUM) is None
    assert kept.received("you", SUM) == 0
    assert [one.checksum for one in kept.list("me")] == [SUM]
    assert kept.list("you") == []
    for file in kept._folder.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


async def test_an_upload_that_broke_off_goes_on_where_it_was(images):
    with pytest.raises(ConnectionError):
        await give(images(), breaks=300_000)
    kept = images()  # of the next daemon
    assert (kept.received("me", SUM), kept.find("me", SUM)) == (300_000, None)
    with pytest.raises(ImageNotFound, match="only its first 300000 bytes"):
        kept.need("me", SUM)
    with pytest.raises(UploadOffset, match="first 300000 bytes"):
        await give(kept, offset=300_001)
    await give(kept, offset=250_000)
    assert kept.path("me", SUM).read_bytes() == RAW


async def test_what_is_there_is_not_taken_again(images):
    kept = images()
    first = await give(kept)

    async def never():
        raise AssertionError("nothing is read on")
        yield b""

    assert await kept.receive("me", SUM, len(RAW), 0, never()) == first


@pytest.mark.parametrize(
    ("content", "said", "problem"),
    [
        (b"x" + RAW[1:], len(RAW), "another checksum"),
        (RAW[:-1], len(RAW), "cut off"),
        (RAW, len(RAW) - 1, "longer than it was said to be"),
    ],
    ids=["other-bytes", "cut-off", "too-long"],
)
async def test_what_is_not_the_file_of_the_checksum_is_refused(images, content, said, problem):
    kept = images()
    with pytest.raises(ImageCorrupt, match=problem):
        await give(kept, content, said=said)
    assert kept.find("me", SUM) is None
    # A beginning that is right stays; all else is thrown away.
    assert kept.received("me", SUM) == (len(RAW) - 1 if problem == "cut off" else 0)
    await give(kept)


async def test_without_the_checksum_another_file_would_pass_for_it(images, monkeypatch):
    class Blind:
        def __init__(self, *_):
            """Whatever comes is right."""

        def update(self, _chunk):
            """Not looked at."""

        def hexdigest(self):
            return SUM.partition(":")[2]

    monkeypatch.setattr(store.hashlib, "new", Blind)
    image = await give(images(), b"x" + RAW[1:])
    assert image.checksum == SUM, "no defence is left"


async def test_an_image_that_refers_to_other_files_does_not_stay(images):
    kept = images()
    content = qcow2("-b", "/etc/passwd", "-F", "raw", size=1 << 20)
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with pytest.raises(ImageRefused, match="backing file"):
        await give(kept, content, checksum)
    assert kept.received("me", checksum) == 0


async def test_a_full_disk_is_told_and_what_has_come_can_go_on(images, monkeypatch):
    kept = images()
    write = store.Part.put

    def full(part, chunk):
        if part._done >= 200_000:
            part._opened = _Full(part._opened)
        write(part, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(store.Part, "put", full)
        with pytest.raises(NoRoomForImage, match="No space left on device"):
            await give(kept)
    assert kept.received("me", SUM) == 200_000
    await give(kept, offset=200_000)
    assert kept.path("me", SUM).read_bytes() == RAW


class _Full:
    def __init__(self, file):
        self.close = file.close

    def write(self, _chunk):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_room_is_made_by_what_was_not_used_for_longest(images, clock):
    """Three fit; the one that is in use stays although it is the oldest."""
    contents = [bytes([n]) * 512 * 1024 for n in range(4)]
    sums = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents]
    using = {("me", sums[0]): "an operation"}
    kept = images(used=lambda: using, max_total_gib=1.7 / 1024)
    for n in range(3):
        await give(kept, contents[n], sums[n])
        os.utime(kept.path("me", sums[n]), (n, n))
    kept.need("me", sums[1])
    await give(kept, contents[3], sums[3])
    assert [kept.find("me", one) is not None for one in sums] == [True, True, False, True]
    using |= {("me", one): "another" for one in sums}
    with pytest.raises(NoRoomForImage, match="are taken") as refused:
        await give(kept)
    assert "max_total_gib" in refused.value.what_to_do


async def test_more_than_the_file_system_has_is_refused_at_once(images):
    with pytest.raises(NoRoomForImage, match="file system"):
        await give(images(max_total_gib=1e9), said=1 << 60)


async def test_what_nobody_used_for_long_goes(images, clock):
    kept = images(keep_days=1)
    await give(kept)
    os.utime(kept.path("me", SUM), (clock.time(), clock.time()))
    kept.purge()
    assert kept.find("me", SUM) is not None
    clock.stand_still(25 * 3600.0)
    kept.purge()
    assert (kept.find("me", SUM), list(kept._folder.rglob("*.json"))) == (None, [])


async def test_an_image_in_use_is_not_removed(images):
    using = {("me", SUM): "an operation"}
    kept = images(used=lambda: using)
    await give(kept)
    with pytest.raises(ImageBusy, match="an operation"):
        kept.remove("me", SUM)
    using.clear()
    kept.remove("me", SUM)
    with pytest.raises(ImageNotFound):
        kept.remove("me", SUM)


async def test_a_file_of_an_operation_becomes_an_image(images):
    kept = images()
    made = kept.scratch("0" * 36, ".raw")
    made.write_bytes(RAW)
    assert kept.scratched() == {"0" * 36}
    image = await kept.adopt("me", made)
    assert (image.checksum, kept.path("me", SUM).read_bytes()) == (SUM, RAW)
    assert not kept.scratched()
    made.write_bytes(RAW)
    assert await kept.adopt("me", made) == image


async def test_what_an_operation_has_left_is_dropped(images):
    kept = images()
    for suffix in (".raw", ".part"):
        kept.scratch("1" * 36, suffix).write_bytes(b"x")
    kept.scratch("2" * 36).write_bytes(b"x")
    kept.drop_scratch("1" * 36)
    assert kept.scratched() == {"2" * 36}
