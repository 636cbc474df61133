"""`ovirt-provision engine` and `ovirt-provision census`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovirt_provision import paths
from ovirt_provision.cli import output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.exit_codes import ExitCode
from ovirt_provision.cli.options import EngineOption, OutputOption
from ovirt_provision.cli.output import Format
from ovirt_provision.v1 import engines_pb2
from ovirt_provision.v1.engines_pb2 import CensusEntry

if TYPE_CHECKING:
    from ovirt_provision.cli.trust import Ca

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


@app.command(
    epilog="""Examples:

    ovirt-provision engine trust engine.example.com

    ovirt-provision engine trust engine.example.com --fingerprint 1F:A0:… --output-file engine-ca.pem"""
)
def trust(
    url: Annotated[
        str,
        typer.Argument(
            metavar="[URL]", help="The engine: its name, or its URL. Default: OVIRT_URL.", show_default=False
        ),
    ] = "",
    output_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to write the CA. Default: ~/.config/ovirt-provision/HOST-ca.pem."
        ),
    ] = None,
    fingerprint: Annotated[
        str,
        typer.Option(
            metavar="SHA256", help="The fingerprint that the CA must have. It is then written without asking."
        ),
    ] = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Fetch an engine's CA, show its fingerprint, and keep it if you say that it is the right one.

    The server's certificate must verify with it. Needs no log-in and no daemon. Compare the fingerprint with
    the engine's own: on its machine, `openssl x509 -noout -fingerprint -sha256 -in
    /etc/pki/ovirt-engine/ca.pem` prints it.
    """
    # Imported here: no other command needs `requests`.
    from ovirt_provision.cli import trust

    url = url or os.environ.get("OVIRT_URL", "")
    if not url:
        raise typer.BadParameter("is needed, since OVIRT_URL is not set", param_hint="URL")
    wanted = trust.read_fingerprint(fingerprint) if fingerprint else ""
    ca = trust.fetch(url)
    file = (output_file or paths.config_file().parent / f"{ca.host.replace(':', '-')}-ca.pem").absolute()
    before = trust.fingerprint_of_file(file)
    shown = _ca_fields(ca, file)
    if output_format is Format.TABLE:
        output.print_fields(shown.items())
    if wanted and wanted != ca.fingerprint:
        raise trust.FingerprintDiffers(
            url=ca.url, found=ca.fingerprint, wanted=wanted, check=trust.CHECK_COMMAND
        )
    if before == ca.fingerprint:
        output.note(f"{file} holds this CA already.")
    else:
        if not wanted:
            _ask(ca, file, before)
        trust.write(ca, file)
        output.note(f"Written to {file}.")
    if output_format is Format.JSON:
        output.print_json({name.replace(" ", "_"): value for name, value in shown.items()})
    output.note(f"Use it: export OVIRT_CAFILE={file}, or `ca_file: {file}` in the engine's profile.")


def _ca_fields(ca: "Ca", file: Path) -> dict[str, str]:
    return {
        "url": ca.url,
        "health": ca.health,
        "subject": ca.subject,
        "valid from": ca.not_before.isoformat(),
        "valid until": ca.not_after.isoformat(),
        "fingerprint": ca.fingerprint,
        "file": str(file),
    }


def _ask(ca: "Ca", file: Path, before: str | None) -> None:
    from ovirt_provision.cli import trust

    if before:
        output.note(f"{file} holds another CA, with the fingerprint {before}. It would be replaced.")
    if not sys.stdin.isatty():
        raise trust.NobodyToAsk(fingerprint=ca.fingerprint, url=ca.url, check=trust.CHECK_COMMAND)
    output.note(f"On the engine's machine, the fingerprint is shown by: {trust.CHECK_COMMAND}")
    if not typer.confirm("Is it the same?", err=True):
        output.note("Nothing was written.")
        raise typer.Exit(ExitCode.FAILED)


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
