"""What is taken for an image, and what is refused before qemu-img sees it."""

import struct

import pytest

from ovirt_provision.images import qemu_img
from ovirt_provision.images.errors import ImageRefused, QemuImgFailed, QemuImgMissing
from tests.image_files import ISO, RAW, qcow2

LARGEST = 1 << 40


def with_field(image, at, layout, value):
    changed = bytearray(image)
    struct.pack_into(layout, changed, at, value)
    return bytes(changed)


GOOD = qcow2(size=1 << 20)
REFUSED = {
    "backing-file": (with_field(GOOD, 8, ">Q", 512), "has a backing file"),
    "data-file": (with_field(GOOD, 72, ">Q", 1 << 2), "has an external data file"),
    "encrypted": (with_field(GOOD, 32, ">I", 1), "is encrypted"),
    "version": (with_field(GOOD, 4, ">I", 9), "qcow of version 9"),
    "huge": (with_field(GOOD, 24, ">Q", 1 << 60), "allowed are 1 to"),
    "empty-disk": (with_field(GOOD, 24, ">Q", 0), "allowed are 1 to"),
    "cut-header": (GOOD[:40], "header is cut off"),
    "empty-file": (b"", "allowed are 1 to"),
    "vmdk": (b"KDMV" + RAW, "a VMDK"),
    "vhdx": (b"vhdxfile" + RAW, "a VHDX"),
    "luks": (b"LUKS\xba\xbe" + RAW, "encrypted (LUKS)"),
    "gzip": (b"\x1f\x8b" + RAW, "compressed (gzip)"),
    "xz": (b"\xfd7zXZ\0" + RAW, "compressed (xz)"),
}


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / "image").write_bytes(content)
        return tmp_path / "image"

    return write


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (GOOD, ("qcow2", 1 << 20)),
        (RAW, ("raw", len(RAW))),
        (b"x", ("raw", 512)),
        (ISO, ("iso", -(-len(ISO) // 512) * 512)),
    ],
    ids=["qcow2", "raw", "odd", "iso"],
)
async def test_images_are_known_by_their_content(file, content, found):
    info = await qemu_img.probe(file(content), "sha256:0", largest=LARGEST)
    assert (info.format, info.virtual_size) == found


@pytest.mark.parametrize(("content", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_disk_by_itself_is_refused(file, content, why):
    with pytest.raises(ImageRefused, match=why.replace("(", r"\(").replace(")", r"\)")) as refused:
        qemu_img.look(file(content), "sha256:0", largest=LARGEST)
    assert refused.value.what_to_do


async def test_a_real_backing_file_is_never_opened(file, tmp_path):
    """The header is read first: qemu-img itself would follow it."""
    secret = tmp_path / "secret"
    secret.write_bytes(RAW)
    image = qcow2("-b", str(secret), "-F", "raw", size=len(RAW))
    with pytest.raises(ImageRefused, match="backing file"):
        await qemu_img.probe(file(image), "sha256:0", largest=LARGEST)


async def test_without_the_look_at_the_header_qemu_img_reads_the_file_that_is_named(
    file, tmp_path, monkeypatch
):
    (tmp_path / "secret").write_bytes(RAW)
    image = file(qcow2("-b", str(tmp_path / "secret"), "-F", "raw", size=len(RAW)))
    monkeypatch.setattr(qemu_img, "look", lambda *_args, **_options: qemu_img.Info(qemu_img.RAW, len(RAW)))
    assert (await qemu_img.probe(image, "sha256:0", largest=LARGEST)).format == "raw", "no defence is left"
    await qemu_img.convert(image, "qcow2", tmp_path / "stolen", "raw")
    assert (tmp_path / "stolen").read_bytes() == RAW


async def test_a_qcow2_that_is_cut_off_is_refused_although_its_header_is_right(file, tmp_path):
    (tmp_path / "raw").write_bytes(RAW)
    await qemu_img.convert(tmp_path / "raw", "raw", tmp_path / "whole", "qcow2")
    whole = (tmp_path / "whole").read_bytes()
    with pytest.raises(ImageRefused, match="damaged"):
        await qemu_img.probe(file(whole[: len(whole) * 2 // 3]), "sha256:0", largest=LARGEST)


async def test_conversion_there_and_back_keeps_every_byte(file, tmp_path):
    told = []
    await qemu_img.convert(file(RAW), "raw", tmp_path / "a", "qcow2", on_progress=told.append)
    await qemu_img.convert(tmp_path / "a", "qcow2", tmp_path / "b", "raw")
    assert (tmp_path / "b").read_bytes() == RAW
    assert told[-1] == 100.0


async def test_a_conversion_that_fails_says_why_and_leaves_nothing(file, tmp_path):
    with pytest.raises(QemuImgFailed, match="Image is not in qcow2 format"):
        await qemu_img.convert(file(RAW), "qcow2", tmp_path / "a", "raw")
    assert not (tmp_path / "a").exists()


async def test_qemu_img_cannot_take_all_memory(file, tmp_path, monkeypatch):
    monkeypatch.setattr(qemu_img, "_MEMORY", 1 << 20)
    with pytest.raises(QemuImgFailed):
        await qemu_img.convert(file(RAW), "raw", tmp_path / "a", "qcow2")


async def test_where_there_is_no_qemu_img_it_says_how_to_get_it(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QemuImgMissing) as missing:
        await qemu_img.probe(file(GOOD), "sha256:0", largest=LARGEST)
    assert "qemu-utils" in missing.value.what_to_do
