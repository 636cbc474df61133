"""`ovirt-provision engine` and `ovirt-provision census`."""

from typing import Annotated

import typer

from ovirt_provision.cli import output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.exit_codes import ExitCode
from ovirt_provision.cli.options import EngineOption, OutputOption
from ovirt_provision.cli.output import Format
from ovirt_provision.v1 import engines_pb2
from ovirt_provision.v1.engines_pb2 import CensusEntry

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Look at the engines that the daemon knows."
)


@app.command("list")
def list_engines(output_format: OutputOption = Format.TABLE) -> None:
    """List the daemon's engine profiles. Asks no engine."""
    daemon = Daemon()
    listed = daemon.call(daemon.engines.ListEngines, engines_pb2.ListEnginesRequest())
    output.emit(listed, output_format, output.print_engines)


@app.command()
def get(
    profile: Annotated[
        str, typer.Argument(metavar="[PROFILE]", help="Default: as --engine of other commands.")
    ] = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Log in to an engine and show its version: a check of URL, CA, user and password."""
    daemon = Daemon(profile)
    found = daemon.call(daemon.engines.GetEngine, engines_pb2.GetEngineRequest(engine=daemon.engine)).engine
    output.emit(found, output_format, output.print_engine)


def census(engine: EngineOption = "", output_format: OutputOption = Format.TABLE) -> None:
    """Hold the engine's objects with our mark against the ledger. Changes nothing.

    Findings: **ours**, **foreign** (a copied mark; never touched), **awaiting-engine** (to be removed as soon
    as the engine lets go), **leaked** (our mark, nobody knows it), **missing** (we know it, the engine does
    not). Exit code 3 when anything is leaked or missing.
    """
    daemon = Daemon(engine)
    request = engines_pb2.TakeCensusRequest(engine=daemon.engine)
    taken = daemon.call(daemon.engines.TakeCensus, request)
    output.emit(taken, output_format, output.print_census)
    bad = [e for e in taken.entries if e.finding in (CensusEntry.FINDING_LEAKED, CensusEntry.FINDING_MISSING)]
    output.note(f"{len(taken.entries)} objects, {len(bad)} of them leaked or missing")
    if bad:
        raise typer.Exit(ExitCode.CENSUS)
