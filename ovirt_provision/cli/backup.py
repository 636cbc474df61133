"""`ovirt-provision backup`."""

from typing import Annotated

import typer

from ovirt_provision.cli import options, output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.machine import make
from ovirt_provision.cli.options import (
    DescriptionOption,
    DryRunOption,
    EngineOption,
    NoWaitOption,
    OutputOption,
    RequestIdOption,
)
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.verbs import run_verb
from ovirt_provision.v1 import backups_pb2, machines_pb2, resources_pb2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Copy templates and Machines to storage domains for backups, list and restore them.",
)

DomainIdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the storage domain.", show_default=False)
]


@app.command()
def mark(
    domain: DomainIdArgument,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Mark a storage domain as one for backups: no VM runs from there any more. For admins alone."""
    _mark(domain, engine, request_id, no_wait, output_format, backup=True)


@app.command()
def unmark(
    domain: DomainIdArgument,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Take the mark away. For admins alone."""
    _mark(domain, engine, request_id, no_wait, output_format, backup=False)


def _mark(
    domain: str, engine: str, request_id: str, no_wait: bool, output_format: Format, *, backup: bool
) -> None:
    daemon = Daemon(engine)
    request = backups_pb2.MarkBackupDomainRequest(
        engine=daemon.engine, request_id=request_id, id=domain, backup=backup
    )
    run_verb(
        output_format,
        daemon,
        daemon.backups.MarkBackupDomain,
        request,
        wait=not no_wait,
        show_result=lambda _: output.note(
            f"Storage domain {domain} is {'for backups now' if backup else 'not for backups any more'}."
        ),
    )


@app.command(
    epilog="""Examples, the second one after `machine stop web`:

    ovirt-provision backup create golden-web --to vault

    ovirt-provision backup create --machine web --to vault --name web-2026-11"""
)
def create(
    to: Annotated[str, typer.Option(metavar="NAME", help="Name of the backup domain.")],
    template: Annotated[
        str, typer.Argument(metavar="[TEMPLATE]", help="NAME, NAME:VERSION or the id of a version.")
    ] = "",
    machine: Annotated[str, typer.Option(metavar="KEY", help="A Machine, which must be down.")] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the backup. Default: that of the source, and more.")
    ] = "",
    description: DescriptionOption = "",
    dry_run: DryRunOption = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Copy a template or a Machine to a backup domain. `template destroy` removes a backup."""
    if bool(template) == bool(machine):
        raise typer.BadParameter("give either a TEMPLATE or --machine", param_hint="TEMPLATE")
    daemon = Daemon(engine)
    request = backups_pb2.CreateBackupRequest(
        engine=daemon.engine,
        request_id=request_id,
        storage_domain=to,
        name=name,
        description=description,
        validate_only=dry_run,
    )
    if machine:
        request.machine_key = machine
    else:
        request.template.CopyFrom(options.template_reference(template))
    if dry_run:
        daemon.call(daemon.backups.CreateBackup, request)
        output.note(f"{'Machine' if machine else 'Template'} {machine or template} can be copied to {to}.")
        return
    run_verb(output_format, daemon, daemon.backups.CreateBackup, request, wait=not no_wait)


@app.command("list")
def list_backups(
    domain: Annotated[str, typer.Argument(metavar="[NAME]", help="Only what is on this backup domain.")] = "",
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List what is on backup domains: ours and others."""
    daemon = Daemon(engine)
    request = backups_pb2.ListBackupsRequest(engine=daemon.engine, storage_domain=domain)
    listed = daemon.list_all(daemon.backups.ListBackups, request)
    output.emit(listed, output_format, output.print_backups)


@app.command(
    epilog="""Examples:

    ovirt-provision backup restore golden-web.backup-1f6f0a3c --name golden-web --to data

    ovirt-provision backup restore web-2026-11 --machine web --to data"""
)
def restore(
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="NAME or id of the backup, which stays.")],
    to: Annotated[str, typer.Option(metavar="NAME", help="Storage domain for the disks.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the template that it becomes.")] = "",
    machine: Annotated[
        str, typer.Option(metavar="KEY", help="Make a Machine with this key instead; it is kept, and down.")
    ] = "",
    description: DescriptionOption = "",
    dry_run: DryRunOption = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make a template, or a Machine, of a backup."""
    if bool(name) == bool(machine):
        raise typer.BadParameter("give either --name or --machine", param_hint="--name")
    daemon = Daemon(engine)
    reference = options.template_reference(backup)
    if machine:
        spec = resources_pb2.MachineSpec(
            template=reference, clone=True, storage_domain=to, description=description
        )
        wanted = machines_pb2.CreateMachineRequest(
            engine=daemon.engine, request_id=request_id, key=machine, spec=spec, validate_only=dry_run
        )
        if dry_run:
            daemon.call(daemon.machines.CreateMachine, wanted)
            output.note(f"Machine {machine} can be made of backup {backup}.")
            return
        make(daemon, daemon.machines.CreateMachine, wanted, no_wait=no_wait, output_format=output_format)
        return
    request = backups_pb2.RestoreBackupRequest(
        engine=daemon.engine,
        request_id=request_id,
        backup=reference,
        name=name,
        storage_domain=to,
        description=description,
        validate_only=dry_run,
    )
    if dry_run:
        daemon.call(daemon.backups.RestoreBackup, request)
        output.note(f"Backup {backup} can be restored as {name}.")
        return
    run_verb(output_format, daemon, daemon.backups.RestoreBackup, request, wait=not no_wait)
