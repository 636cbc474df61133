"""`ovirt-provision serve`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

APP_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": "markdown",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration. Default: ~/.config/ovirt-provision/config.yaml."),
    ] = None,
    auto_started: Annotated[
        bool,
        typer.Option(
            "--auto-started",
            help="As clients start it: OVIRT_* variables come on stdin, and it ends when nothing is to do.",
        ),
    ] = False,
) -> None:
    """Run the daemon in the foreground, until Ctrl-C or SIGTERM.

    Clients start it by themselves when they need it; run it yourself under a service manager. Its engines
    come from the configuration file and from OVIRT_URL, OVIRT_USERNAME, OVIRT_PASSWORD and OVIRT_CAFILE. It
    listens on a unix socket for this user alone; OVIRT_PROVISION_ADDRESS=unix:/path chooses another.

    Exit codes: 0 after an orderly end, 75 when another daemon is running, 78 when the configuration or the
    ledger cannot be used.
    """
    if auto_started:
        # Packer's plugins, for one, pass on what they inherit: whoever reads from such a pipe would wait for
        # the daemon's end.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _spare_rich()
    # Imported here: clients do not need the daemon.
    from ovirt_provision import daemon

    options = daemon.ServeOptions(config_file=config, auto_started=auto_started)
    raise typer.Exit(asyncio.run(daemon.serve(options)))


def run() -> None:
    """Runs `serve` with the arguments behind it, in a process that loads no other command."""
    app = typer.Typer(**APP_SETTINGS)
    app.command()(serve)
    try:
        app(sys.argv[2:], prog_name="ovirt-provision serve")
    except KeyboardInterrupt:
        from ovirt_provision.cli.exit_codes import ExitCode

        sys.exit(ExitCode.INTERRUPTED)


def _spare_rich() -> None:
    """Has structlog load without rich, which it wants for coloured tracebacks that the log does not have: 4
    MB of a daemon."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's word for "not there"
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules["rich"]
