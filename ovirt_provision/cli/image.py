"""`ovirt-provision image`."""

import hashlib
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ovirt_provision.cli import hardware, options, output
from ovirt_provision.cli.client import Daemon, DaemonUnreachable
from ovirt_provision.cli.options import (
    DescriptionOption,
    DryRunOption,
    EngineOption,
    GrantGroupOption,
    GrantOption,
    NoWaitOption,
    OutputOption,
    RequestIdOption,
)
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.progress import Bytes
from ovirt_provision.cli.template import FORMATS, DiskFormat
from ovirt_provision.cli.verbs import run_verb
from ovirt_provision.errors import Code, ProvisionError
from ovirt_provision.v1 import images_pb2, resources_pb2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Disk images: make disks and templates of them, and them of disks.",
)

_CHUNK = 1 << 20
# An upload that breaks off is gone on with so often without a byte more, after so many seconds.
_TRIES = 5
_PAUSE = 1.0

ChecksumArgument = Annotated[
    str, typer.Argument(metavar="CHECKSUM", help="sha256:… or sha512:…", show_default=False)
]


@app.command(
    "import",
    epilog="""Examples:

    ovirt-provision image import debian-12.qcow2 --template debian-12 --cluster Default

    ovirt-provision image import https://example.com/debian.iso --checksum sha256:… --disk debian.iso""",
)
def import_image(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL", help="A qcow2, raw or ISO file, or an https URL that the daemon fetches."
        ),
    ],
    checksum: Annotated[
        str,
        typer.Option(
            metavar="SHA256", help="sha256:… or sha512:… of the file. Required for a URL, else it is taken."
        ),
    ] = "",
    disk: Annotated[str, typer.Option(metavar="NAME", help="Make a disk of this name.")] = "",
    template: Annotated[str, typer.Option(metavar="NAME", help="Make a template of this name.")] = "",
    description: DescriptionOption = "",
    storage_domain: Annotated[
        str, typer.Option(metavar="NAME", help="Where the disk goes. Default: the only one there is.")
    ] = "",
    disk_format: Annotated[
        DiskFormat | None, typer.Option(help="Format of the disk. Default: that of the image.")
    ] = None,
    preallocated: Annotated[
        bool, typer.Option("--preallocated", help="Take all its room at once; only RAW disks can.")
    ] = False,
    cluster: Annotated[str, typer.Option(metavar="NAME", help="Of the template; it needs one.")] = "",
    machine: Annotated[
        str,
        typer.Option(
            metavar="KEY=VALUE,…",
            help="Hardware of the template, such as memory=2GiB,operating-system=debian_12x64,"
            "bios-type=q35-ovmf,tpm.",
        ),
    ] = "",
    nic: hardware.NicOption = [],  # noqa: B006
    disk_interface: Annotated[
        str, typer.Option(metavar="KIND", help="Of the template's disk: virtio-scsi, virtio, sata or ide.")
    ] = "virtio-scsi",
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Add a version to the template of that name.")
    ] = False,
    version_name: Annotated[
        str, typer.Option(metavar="TEXT", help="Name of the version, with --new-version.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the template of that name, once the new one is whole.")
    ] = False,
    tag: Annotated[list[str], typer.Option(metavar="TAG", help="Tag of the template. Repeatable.")] = [],  # noqa: B006
    grant: GrantOption = [],  # noqa: B006
    grant_group: GrantGroupOption = [],  # noqa: B006
    reuse: Annotated[
        bool,
        typer.Option(help="Take what an earlier import has made of the same image with the same options."),
    ] = True,
    dry_run: DryRunOption = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make a disk or a template of an image. A file is sent to the daemon, unless that has it already."""
    if bool(disk) == bool(template):
        raise typer.BadParameter("give either --disk or --template", param_hint="--disk")
    is_url = "://" in source
    if is_url and not checksum:
        raise typer.BadParameter("is required for a URL", param_hint="--checksum")
    file = Path(source).expanduser()
    if not is_url:
        checksum = _checksum_of(file, checksum)
    daemon = Daemon(engine)
    request = images_pb2.ImportImageRequest(
        engine=daemon.engine,
        request_id=request_id,
        checksum=checksum,
        url=source if is_url else "",
        reuse=reuse,
    )
    sparse = False if preallocated else None
    given_format = FORMATS[disk_format] if disk_format else resources_pb2.DISK_FORMAT_UNSPECIFIED
    if disk:
        request.disk.CopyFrom(
            images_pb2.ImportedDisk(
                name=disk,
                description=description,
                storage_domain=storage_domain,
                format=given_format,
                sparse=sparse,
                permissions=options.permissions(grant, grant_group),
            )
        )
    else:
        interface = hardware.enum_value(
            resources_pb2.DiskInterface.DESCRIPTOR, disk_interface, "--disk-interface"
        )
        wanted = images_pb2.ImportedTemplate(
            name=template,
            description=description,
            new_version=new_version,
            version_name=version_name,
            replace=replace,
            tags=tag,
            permissions=options.permissions(grant, grant_group),
            storage_domain=storage_domain,
            disk_format=given_format,
            disk_sparse=sparse,
            disk_interface=resources_pb2.DiskInterface.ValueType(interface),
        )
        wanted.machine.template.name = "Blank"
        wanted.machine.cluster = cluster
        hardware.fill(wanted.machine, machine.split(",") if machine else [], "--machine")
        hardware.set_nics(wanted.machine, nic)
        request.template.CopyFrom(wanted)
    request.validate_only = True
    checked = daemon.call(daemon.images.ImportImage, request)
    if dry_run:
        output.note("An earlier import has made it." if checked.reused else "It can be imported.")
        return
    if not (is_url or checked.reused):
        _upload(daemon, file, checksum)
    request.validate_only = False
    run_verb(output_format, daemon, daemon.images.ImportImage, request, wait=not no_wait)


def _checksum_of(file: Path, given: str) -> str:
    """The checksum of a file, which has to be the one that was given, if any."""
    algorithm = given.partition(":")[0] or "sha256"
    if algorithm not in ("sha256", "sha512"):
        raise typer.BadParameter(f"'{given}' is neither sha256:… nor sha512:…", param_hint="--checksum")
    try:
        with file.open("rb") as opened:
            found = f"{algorithm}:{hashlib.file_digest(opened, algorithm).hexdigest()}"
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    if given and found != given.lower():
        raise typer.BadParameter(f"{file} has {found}", param_hint="--checksum")
    return found


def _upload(daemon: Daemon, file: Path, checksum: str) -> None:
    """Sends a file, from where the daemon has it already; an upload that breaks off is gone on with."""
    size = file.stat().st_size
    with Bytes(f"Uploading {file.name}", size) as progress:
        tries, before = 0, -1
        while True:
            tries += 1
            try:
                known = daemon.call(daemon.images.GetImage, images_pb2.GetImageRequest(checksum=checksum))
                if known.HasField("image"):
                    return
                if known.received_bytes > before:
                    tries, before = 0, known.received_bytes
                requests = _requests(file, size, checksum, known.received_bytes, progress)
                daemon.upload(daemon.images.UploadImage, requests)
            except DaemonUnreachable:
                if tries >= _TRIES:
                    raise
                time.sleep(_PAUSE)
                daemon.connect()
            else:
                return


def _requests(
    file: Path, size: int, checksum: str, offset: int, progress: Bytes
) -> Iterator[images_pb2.UploadImageRequest]:
    header = images_pb2.UploadImageRequest.Header(checksum=checksum, size_bytes=size, offset=offset)
    yield images_pb2.UploadImageRequest(header=header)
    with file.open("rb") as opened:
        opened.seek(offset)
        while chunk := opened.read(_CHUNK):
            yield images_pb2.UploadImageRequest(chunk=chunk)
            offset += len(chunk)
            progress.show(offset)


class ImageFormat(StrEnum):
    QCOW2 = "qcow2"
    RAW = "raw"


_IMAGE_FORMATS = {
    ImageFormat.QCOW2: resources_pb2.Image.FORMAT_QCOW2,
    ImageFormat.RAW: resources_pb2.Image.FORMAT_RAW,
}

ToOption = Annotated[
    Path, typer.Option(metavar="FILE", help="Where the image goes; there must not be a file yet.")
]


class DownloadCorrupt(ProvisionError):
    """What came from the daemon is not the image."""

    code = Code.DATA_LOSS
    reason = "DOWNLOAD_CORRUPT"
    message = "{file} has {actual}, and the image {checksum}"
    advice = "Download it once more; what had come was removed."


@app.command(
    epilog="""Examples, the second one after `machine stop web`:

    ovirt-provision image export golden-web --to golden-web.qcow2

    ovirt-provision image export --machine web --format raw --to web.img"""
)
def export(
    to: ToOption,
    template: Annotated[
        str, typer.Argument(metavar="[TEMPLATE]", help="NAME, NAME:VERSION or the id of a version.")
    ] = "",
    machine: Annotated[str, typer.Option(metavar="KEY", help="A Machine, which must be down.")] = "",
    disk: Annotated[str, typer.Option(metavar="ID", help="A disk that was kept.")] = "",
    disk_name: Annotated[
        str, typer.Option(metavar="NAME", help="Which disk. Default: the one that a guest boots from.")
    ] = "",
    image_format: Annotated[ImageFormat, typer.Option("--format")] = ImageFormat.QCOW2,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the image with the daemon, too, as one that it had before.")
    ] = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make an image of a disk, and download it."""
    if [bool(one) for one in (template, machine, disk)].count(True) != 1:
        raise typer.BadParameter("give one of a TEMPLATE, --machine and --disk", param_hint="TEMPLATE")
    _insist_on_new(to)
    daemon = Daemon(engine)
    request = images_pb2.ExportImageRequest(
        engine=daemon.engine,
        request_id=request_id,
        disk_name=disk_name,
        format=_IMAGE_FORMATS[image_format],
    )
    if machine:
        request.machine_key = machine
    elif disk:
        request.disk_id = disk
    else:
        request.template.CopyFrom(options.template_reference(template))

    def fetch(operation: resources_pb2.Operation) -> None:
        _download(daemon, operation.image.checksum, to)
        if not keep:
            removal = images_pb2.RemoveImageRequest(checksum=operation.image.checksum, export_id=operation.id)
            daemon.call(daemon.images.RemoveImage, removal)

    run_verb(output_format, daemon, daemon.images.ExportImage, request, wait=True, on_success=fetch)


@app.command()
def download(checksum: ChecksumArgument, to: ToOption) -> None:
    """Download an image that the daemon has; what broke off goes on where it was."""
    _insist_on_new(to)
    _download(Daemon(), checksum, to)


def _insist_on_new(file: Path) -> None:
    if file.exists():
        raise typer.BadParameter(f"{file} exists", param_hint="--to")
    if not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"{file.absolute().parent} is no folder", param_hint="--to")


def _download(daemon: Daemon, checksum: str, file: Path) -> None:
    """Fetches an image into a file of that name, which is there only once it is whole and right."""
    algorithm, _, digest = checksum.partition(":")
    part = file.with_name(f"{file.name}.{digest[:12]}.part")
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        request = images_pb2.DownloadImageRequest(checksum=checksum, offset=before)
        try:
            _append(daemon, request, part)
            break
        except DaemonUnreachable:
            tries = tries + 1 if part.stat().st_size <= before else 0
            if tries >= _TRIES:
                raise
            time.sleep(_PAUSE)
            daemon.connect()
    with part.open("rb") as opened:
        actual = f"{algorithm}:{hashlib.file_digest(opened, algorithm).hexdigest()}"
    if actual != checksum:
        part.unlink()
        raise DownloadCorrupt(file=part, actual=actual, checksum=checksum)
    part.rename(file)


def _append(daemon: Daemon, request: images_pb2.DownloadImageRequest, part: Path) -> None:
    done = request.offset
    with part.open("ab") as opened, daemon.stream(daemon.images.DownloadImage, request) as replies:
        size = next(replies).image.size_bytes
        with Bytes(f"Downloading {part.name}", size) as progress:
            for reply in replies:
                opened.write(reply.chunk)
                done += len(reply.chunk)
                progress.show(done)


@app.command("list")
def list_images(output_format: OutputOption = Format.TABLE) -> None:
    """List the images that the daemon has of you."""
    daemon = Daemon()
    listed = daemon.call(daemon.images.ListImages, images_pb2.ListImagesRequest())
    output.emit(listed, output_format, output.print_images)


@app.command()
def remove(checksum: ChecksumArgument, output_format: OutputOption = Format.TABLE) -> None:
    """Remove an image from the daemon, or the part that it has of one. What was made of it stays."""
    daemon = Daemon()
    removed = daemon.call(daemon.images.RemoveImage, images_pb2.RemoveImageRequest(checksum=checksum))
    output.emit(removed, output_format, lambda _: output.note(f"Image {checksum} is removed."))
