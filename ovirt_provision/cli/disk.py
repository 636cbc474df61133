"""`ovirt-provision disk`."""

from typing import Annotated

import typer

from ovirt_provision.cli import options, output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.options import (
    DescriptionOption,
    EngineOption,
    GrantGroupOption,
    GrantOption,
    NoWaitOption,
    OutputOption,
    RegexOption,
    RequestIdOption,
)
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.verbs import run_verb
from ovirt_provision.v1 import disks_pb2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep a Machine's boot disk, sparsify, list, find and destroy disks.",
)

ContentTypeOption = Annotated[
    str, typer.Option(metavar="TYPE", help="Only disks with this content, such as data or iso.")
]
OursOption = Annotated[
    bool, typer.Option("--ours", help="Only those that `disk detach` of this installation has kept.")
]


@app.command(
    epilog="""Example, after `machine create web --clone …` and `machine stop web`:

    ovirt-provision disk detach web golden-disk --description 'Debian 12, hardened'"""
)
def detach(
    machine: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Key of the Machine; it must be down, and made with --clone."),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the disk.")],
    description: DescriptionOption = "",
    grant: GrantOption = [],  # noqa: B006
    grant_group: GrantGroupOption = [],  # noqa: B006
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Keep the boot disk of a Machine, and destroy the Machine. It cannot be cancelled."""
    daemon = Daemon(engine)
    request = disks_pb2.DetachDiskRequest(
        engine=daemon.engine,
        request_id=request_id,
        machine_key=machine,
        name=name,
        description=description,
        permissions=options.permissions(grant, grant_group),
    )
    run_verb(output_format, daemon, daemon.disks.DetachDisk, request, wait=not no_wait)


@app.command()
def destroy(
    disk: Annotated[str, typer.Argument(metavar="ID", help="Id of a disk that `disk detach` has kept.")],
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Remove a disk that was kept. Destroying an id that is gone succeeds; one that a VM has is refused."""
    daemon = Daemon(engine)
    request = disks_pb2.DestroyDiskRequest(engine=daemon.engine, request_id=request_id, id=disk)
    run_verb(
        output_format,
        daemon,
        daemon.disks.DestroyDisk,
        request,
        wait=not no_wait,
        show_result=lambda _: output.note(f"Disk {disk} is gone."),
    )


@app.command(
    epilog="""Examples, after `machine stop web`:

    ovirt-provision disk sparsify --machine web

    ovirt-provision disk sparsify 4f8b1f0e-6c1c-4a52-9d7e-2f1f6f0a3c11"""
)
def sparsify(
    disk: Annotated[
        str,
        typer.Argument(metavar="[ID]", help="Id of a disk of a Machine, or of one that was kept."),
    ] = "",
    machine: Annotated[
        str, typer.Option(metavar="KEY", help="The boot disk of this Machine, which must be down.")
    ] = "",
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Give back to the storage what a disk takes and does not use. Only for sparse RAW disks."""
    if bool(disk) == bool(machine):
        raise typer.BadParameter("give either an ID or --machine", param_hint="ID")
    daemon = Daemon(engine)
    request = disks_pb2.SparsifyDiskRequest(engine=daemon.engine, request_id=request_id)
    if machine:
        request.machine_key = machine
    else:
        request.id = disk
    run_verb(
        output_format,
        daemon,
        daemon.disks.SparsifyDisk,
        request,
        wait=not no_wait,
        show_result=output.print_sparsified,
    )


@app.command("list")
def list_disks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only disks of this name.")] = "",
    regex: RegexOption = "",
    content_type: ContentTypeOption = "",
    ours: OursOption = False,
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List the engine's disks: ours and others."""
    daemon = Daemon(engine)
    request = disks_pb2.ListDisksRequest(
        engine=daemon.engine, name=name, name_regex=regex, content_type=content_type, ours=ours
    )
    listed = daemon.list_all(daemon.disks.ListDisks, request)
    output.emit(listed, output_format, output.print_disks)


@app.command()
def find(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Its name.")] = "",
    regex: RegexOption = "",
    content_type: ContentTypeOption = "",
    ours: OursOption = False,
    latest: Annotated[
        bool, typer.Option("--latest", help="With --ours: of several the one that was kept last.")
    ] = False,
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Show the one disk that is described; none, or several, is an error."""
    if name and regex:
        raise typer.BadParameter("not with NAME", param_hint="--regex")
    if latest and not ours:
        raise typer.BadParameter("only with --ours", param_hint="--latest")
    daemon = Daemon(engine)
    request = disks_pb2.FindDiskRequest(
        engine=daemon.engine,
        name=name,
        name_regex=regex,
        content_type=content_type,
        ours=ours,
        latest=latest,
    )
    output.emit(daemon.call(daemon.disks.FindDisk, request).disk, output_format, output.print_disk)
