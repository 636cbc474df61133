"""How every long verb runs at the terminal."""

from collections.abc import Callable

import typer
from google.protobuf.message import Message

from ovirt_provision.cli import output
from ovirt_provision.cli.client import Daemon, Interrupted, Verb
from ovirt_provision.cli.exit_codes import ExitCode
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.progress import Progress
from ovirt_provision.v1.resources_pb2 import Operation

SIGTERM_EXIT = 143


def run_verb(
    output_format: Format,
    daemon: Daemon,
    verb: Verb,
    request: Message,
    *,
    wait: bool,
    on_success: Callable[[Operation], None] = lambda _: None,
    show_result: Callable[[Operation], None] = output.print_result,
) -> Operation:
    """Runs a verb to its end and prints what came of it; without `wait` it prints the operation as it began.

    `on_success` is called before anything is printed, and may change what is. Ctrl-C and SIGTERM cancel the
    operation, wait for the undo and end the process with 130 or 143.
    """
    if not wait:
        operation = daemon.begin(verb, request)
        output.emit(operation, output_format, output.print_operation)
        return operation
    seen: list[Operation] = []
    try:
        with Progress() as progress:

            def show(operation: Operation) -> None:
                seen[:] = [operation]
                progress.show(operation)

            operation = daemon.run(verb, request, show, _say_interrupted)
    except KeyboardInterrupt as interrupt:
        if seen and seen[0].cleanup == Operation.CLEANUP_PENDING:
            output.note(seen[0].error.advice)
        code = SIGTERM_EXIT if isinstance(interrupt, Interrupted) else ExitCode.INTERRUPTED
        raise typer.Exit(code) from None
    on_success(operation)
    output.emit(operation, output_format, show_result)
    return operation


def _say_interrupted() -> None:
    output.note("Interrupted: cancelling, and waiting for the undo. Once more leaves the rest to the daemon.")
