"""`ovirt-provision image`: what is sent, and how it is gone on with."""

import hashlib
import os
from pathlib import Path

import pytest

from ovirt_provision.v1 import images_pb2
from ovirt_provision.v1.resources_pb2 import (
    DISK_FORMAT_RAW,
    DISK_INTERFACE_VIRTIO,
    DiskInfo,
    Image,
    Operation,
)

from .conftest import Cli, FakeDaemon, operation

MADE = DiskInfo(name="golden", id="1", format="cow", status="ok")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "image.raw"
    file.write_bytes(os.urandom((2 << 20) + 1))
    return file


def succeed(daemon: FakeDaemon) -> None:
    moving = operation(2, verb="ImportImage", phase="transferring", percent=32, progress="1 MiB of 2 MiB")
    moving.transferred.done_bytes, moving.transferred.total_bytes = 1 << 20, 2 << 20
    ended = operation(9, verb="ImportImage", state=Operation.STATE_SUCCEEDED, percent=100, disk=MADE)
    daemon.script = [moving, ended]


def test_a_file_is_checked_uploaded_and_imported(cli: Cli, daemon: FakeDaemon, image: Path) -> None:
    succeed(daemon)
    result = cli.run("image", "import", str(image), "--disk", "golden", "--storage-domain", "fast")
    assert result.code == 0, result.err
    assert daemon.image == image.read_bytes()
    asked = [request for request in daemon.requests if isinstance(request, images_pb2.ImportImageRequest)]
    assert [request.validate_only for request in asked] == [True, False]
    sent = daemon.last(images_pb2.ImportImageRequest)
    assert sent.checksum == f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}"
    assert (sent.disk.name, sent.disk.storage_domain, sent.reuse) == ("golden", "fast", True)
    assert "Uploading image.raw: 100 %" in result.err
    assert "transferring: 1 MiB of 2 MiB" in result.err
    assert "golden" in result.out


def test_an_upload_that_breaks_off_is_gone_on_with(cli: Cli, daemon: FakeDaemon, image: Path) -> None:
    daemon.breaks = [1 << 20]
    daemon.missed = [images_pb2.GetImageRequest]
    succeed(daemon)
    result = cli.run("image", "import", str(image), "--disk", "golden")
    assert result.code == 0, result.err
    headers = [one for one in daemon.requests if isinstance(one, images_pb2.UploadImageRequest.Header)]
    assert [header.offset for header in headers] == [0, 1 << 20]
    assert daemon.image == image.read_bytes()


def test_what_was_imported_before_is_not_uploaded(cli: Cli, daemon: FakeDaemon, image: Path) -> None:
    daemon.reused = True
    succeed(daemon)
    assert cli.run("image", "import", str(image), "--disk", "golden").code == 0
    assert not daemon.image


def test_a_template_of_a_url(cli: Cli, daemon: FakeDaemon) -> None:
    succeed(daemon)
    result = cli.run(
        *("image", "import", "https://example.com/a.qcow2", "--checksum", f"sha256:{'a' * 64}"),
        *("--template", "golden", "--cluster", "Default", "--machine", "memory=2GiB,bios-type=q35-ovmf,tpm"),
        *("--nic", "nic1=ovirtmgmt", "--disk-interface", "virtio", "--disk-format", "raw", "--preallocated"),
    )
    assert result.code == 0, result.err
    sent = daemon.last(images_pb2.ImportImageRequest)
    machine = sent.template.machine
    assert (sent.url, machine.template.name, machine.cluster) == (
        "https://example.com/a.qcow2",
        "Blank",
        "Default",
    )
    assert (machine.memory_bytes, machine.tpm, machine.nics[0].vnic_profile) == (2 << 30, True, "ovirtmgmt")
    assert (sent.template.disk_interface, sent.template.disk_format) == (
        DISK_INTERFACE_VIRTIO,
        DISK_FORMAT_RAW,
    )
    assert sent.template.HasField("disk_sparse")
    assert not sent.template.disk_sparse


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("https://example.com/a", "--disk", "a"), "is required for a URL"),
        ((__file__, "--disk", "a", "--checksum", f"sha256:{'0' * 64}"), "has sha256:"),
    ],
)
def test_what_is_wrong_is_told_before_the_daemon_is_asked(
    cli: Cli, daemon: FakeDaemon, arguments: tuple[str, ...], says: str
) -> None:
    result = cli.run("image", "import", *arguments)
    assert result.code == 2
    assert says in " ".join(result.err.replace("│", " ").split())
    assert not daemon.requests


def export(daemon: FakeDaemon, image: Path) -> None:
    daemon.image = image.read_bytes()
    made = Image(checksum=f"sha256:{hashlib.sha256(daemon.image).hexdigest()}", size_bytes=len(daemon.image))
    daemon.script = [operation(9, verb="ExportImage", state=Operation.STATE_SUCCEEDED, image=made)]


def test_an_export_that_breaks_off_is_gone_on_with_and_checked(
    cli: Cli, daemon: FakeDaemon, image: Path, tmp_path: Path
) -> None:
    export(daemon, image)
    daemon.breaks = [1 << 20]
    target = tmp_path / "golden.qcow2"
    result = cli.run("image", "export", "golden:2", "--to", str(target), "--disk-name", "golden_Disk1")
    assert result.code == 0, result.err
    assert target.read_bytes() == daemon.image
    sent = daemon.last(images_pb2.ExportImageRequest)
    assert (sent.template.name, sent.template.version, sent.disk_name) == ("golden", 2, "golden_Disk1")
    offsets = [one.offset for one in daemon.requests if isinstance(one, images_pb2.DownloadImageRequest)]
    assert offsets == [0, 1 << 20]
    removal = daemon.last(images_pb2.RemoveImageRequest)
    assert removal.checksum == f"sha256:{hashlib.sha256(daemon.image).hexdigest()}"
    assert removal.export_id == operation(9).id
    assert sorted(file.name for file in tmp_path.glob("golden*")) == ["golden.qcow2"]

    again = cli.run("image", "export", "golden", "--to", str(target))
    assert (again.code, "exists" in again.err) == (2, True)
    for wrong in ((), ("golden", "--machine", "web")):
        assert cli.run("image", "export", *wrong, "--to", str(tmp_path / "new")).code == 2


def test_a_download_with_another_checksum_leaves_no_file(
    cli: Cli, daemon: FakeDaemon, image: Path, tmp_path: Path
) -> None:
    daemon.image = image.read_bytes()
    result = cli.run("image", "download", f"sha256:{'0' * 64}", "--to", str(tmp_path / "golden.img"))
    assert result.code != 0
    assert "DOWNLOAD_CORRUPT" in result.err or "and the image sha256:0000" in result.err
    assert list(tmp_path.glob("golden*")) == []
