"""`ovirt-provision network`."""

from typing import Annotated

import typer

from ovirt_provision.cli import output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.options import EngineOption, OutputOption, RegexOption
from ovirt_provision.cli.output import Format
from ovirt_provision.v1 import networks_pb2

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="List and find networks.")

DataCenterOption = Annotated[
    str, typer.Option(metavar="NAME", help="Only networks of this data center. Default: of all.")
]


@app.command("list")
def list_networks(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only networks of this name.")] = "",
    regex: RegexOption = "",
    data_center: DataCenterOption = "",
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List the networks for VMs, with the vNIC profiles that NICs can have."""
    daemon = Daemon(engine)
    request = networks_pb2.ListNetworksRequest(
        engine=daemon.engine, name=name, name_regex=regex, data_center=data_center
    )
    listed = daemon.list_all(daemon.networks.ListNetworks, request)
    output.emit(listed, output_format, output.print_networks)


@app.command()
def find(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Its name.")] = "",
    regex: RegexOption = "",
    data_center: DataCenterOption = "",
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Show the one network that is described; none, or several, is an error."""
    if name and regex:
        raise typer.BadParameter("not with NAME", param_hint="--regex")
    daemon = Daemon(engine)
    request = networks_pb2.FindNetworkRequest(
        engine=daemon.engine, name=name, name_regex=regex, data_center=data_center
    )
    found = daemon.call(daemon.networks.FindNetwork, request).network
    output.emit(found, output_format, output.print_network)
