"""`ovirt-provision operation`."""

from typing import Annotated

import typer

from ovirt_provision.cli import output
from ovirt_provision.cli.client import CallFailed, Daemon
from ovirt_provision.cli.options import OutputOption, OwnerOption
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.progress import Progress
from ovirt_provision.v1 import operations_pb2
from ovirt_provision.v1.resources_pb2 import Operation

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Look at, wait for and cancel operations: the durable runs of long verbs.",
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the operation.", show_default=False)]


@app.command("list")
def list_operations(
    running: Annotated[bool, typer.Option("--running", help="Only operations that have not ended.")] = False,
    machine: Annotated[str, typer.Option(metavar="KEY", help="Only operations on this Machine.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, newest first.")] = 100,
    owner: OwnerOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List operations, newest first."""
    daemon = Daemon()
    request = operations_pb2.ListOperationsRequest(
        running_only=running, key=machine, page_size=limit, owner=owner
    )
    listed = daemon.call(daemon.operations.ListOperations, request)
    output.emit(listed, output_format, output.print_operations)


@app.command()
def get(operation_id: IdArgument, output_format: OutputOption = Format.TABLE) -> None:
    """Show an operation."""
    daemon = Daemon()
    request = operations_pb2.GetOperationRequest(id=operation_id)
    _print(output_format, daemon.call(daemon.operations.GetOperation, request).operation)


@app.command()
def watch(operation_id: IdArgument, output_format: OutputOption = Format.TABLE) -> None:
    """Follow an operation until it has ended. Ctrl-C ends the watching, not the operation."""
    daemon = Daemon()
    request = operations_pb2.GetOperationRequest(id=operation_id)
    begun = daemon.call(daemon.operations.GetOperation, request).operation
    with Progress() as progress:
        operation = daemon.watch(begun, progress.show)
    _print(output_format, operation)
    if operation.state != Operation.STATE_SUCCEEDED:
        raise CallFailed(operation.error)


@app.command()
def cancel(operation_id: IdArgument, output_format: OutputOption = Format.TABLE) -> None:
    """Cancel an operation and wait for its undo. Cancelling one that has ended changes nothing."""
    daemon = Daemon()
    request = operations_pb2.CancelOperationRequest(id=operation_id)
    cancelled = daemon.call(daemon.operations.CancelOperation, request).operation
    with Progress() as progress:
        operation = daemon.watch(cancelled, progress.show)
    _print(output_format, operation)


def _print(output_format: Format, operation: Operation) -> None:
    output.emit(operation, output_format, output.print_operation)
