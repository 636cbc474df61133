"""All commands of `ovirt-provision`."""

import sys
from types import SimpleNamespace

import typer

from ovirt_provision import __version__
from ovirt_provision.cli import (
    backup,
    disk,
    doctor,
    engine,
    image,
    machine,
    network,
    operation,
    output,
    serve,
    simulate,
    template,
)
from ovirt_provision.cli.exit_codes import MEANINGS, ExitCode, exit_code
from ovirt_provision.errors import ProvisionError

_EPILOG = """Examples:

    ovirt-provision simulate

    ovirt-provision machine create web --template debian-12 --start --user me --ssh-key key.pub

    ovirt-provision machine list --output json

    ovirt-provision census

    ovirt-provision doctor

The engine comes from OVIRT_URL, OVIRT_USERNAME, OVIRT_PASSWORD and OVIRT_CAFILE, or from a profile in
~/.config/ovirt-provision/config.yaml. A daemon
is started when none listens; OVIRT_PROVISION_ADDRESS names another.

Exit codes: """ + ", ".join(f"{int(code)} {meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(name="ovirt-provision", no_args_is_help=True, epilog=_EPILOG, **serve.APP_SETTINGS)
app.command()(serve.serve)
app.command()(simulate.simulate)
app.add_typer(machine.app, name="machine")
app.add_typer(template.app, name="template")
app.add_typer(disk.app, name="disk")
app.add_typer(image.app, name="image")
app.add_typer(backup.app, name="backup")
app.add_typer(network.app, name="network")
app.add_typer(operation.app, name="operation")
app.command()(engine.census)
app.command()(doctor.doctor)
app.add_typer(engine.app, name="engine")


@app.callback()
def root() -> None:
    """Provision VMs and templates on oVirt: durable, all or nothing, and with nothing left behind."""


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"ovirt-provision {__version__}\n")


def run() -> None:
    """Runs the command that the arguments of this process name, and ends with its exit code."""
    settings = SimpleNamespace(output_format=output.Format.TABLE)
    try:
        app(obj=settings, prog_name="ovirt-provision")
    except ProvisionError as error:
        report = error.report()
        output.print_error(report, settings.output_format)
        sys.exit(exit_code(report.code))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
