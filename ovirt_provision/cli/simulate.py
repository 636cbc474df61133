"""`ovirt-provision simulate`."""

import asyncio
import contextlib
import gc
import shutil
import sys
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ovirt_provision.cli import output
from ovirt_provision.errors import Code, ProvisionError

if TYPE_CHECKING:
    from ovirt_provision.simulator.surface import Operation

if TYPE_CHECKING:
    from ovirt_provision.simulator.injection import FaultRule


class Guests(StrEnum):
    NONE = "none"
    STUB = "stub"
    QEMU = "qemu"


class SimulatorNotStarted(ProvisionError):
    """The simulator cannot listen, has no QEMU or no guest image."""

    code = Code.FAILED_PRECONDITION
    reason = "SIMULATOR_NOT_STARTED"
    message = "the simulator cannot start: {detail}"


def simulate(
    guests: Annotated[
        Guests,
        typer.Option(
            help="Real guests under QEMU, stubs with SSH and Docker's port, or state machines only."
        ),
    ] = Guests.NONE,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="How long things take: `fast` for demos, `engine` as the engine, `recorded` as in "
            "recordings, or a YAML file.",
        ),
    ] = "fast",
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What there is in the engine, as YAML.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE", help="Arm a fault, such as 'drop-reply method=POST path=/vms nth=2'. Repeatable."
        ),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Arm the faults of a YAML file, a list of rules.")
    ] = None,
    listen: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8443,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write OVIRT_URL and the rest there once it serves, instead of printing them.",
        ),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For certificates and disks. Default: a temporary one.")
    ] = None,
    guest_image: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Guest image. Default: the cached one, which is built if it is missing."
        ),
    ] = None,
    docker_image: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Guest image of the template debian-12-docker. Default: the cached one, if any.",
        ),
    ] = None,
    host_port: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=65535,
            help="A port of this host that guests reach, at the third address of their network (it is "
            "logged); otherwise they reach nothing. Repeatable.",
        ),
    ] = None,
    imageio: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The ovirt-imageio that serves the bytes of image transfers. "
            "`none`: the simulator itself. Default: the one on PATH, if any.",
        ),
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="List the operations of the API, simulated or not, and end.")
    ] = False,
) -> None:
    """Run a simulated oVirt engine in the foreground, until Ctrl-C or SIGTERM.

    It is there for demos and tests of any oVirt client. With `--guests qemu` real guests stand behind its
    VMs: small Debian systems that answer SSH on port 2222 of an address of their own. They need
    qemu-system-x86 and qemu-utils, and the first time mmdebstrap for their image; they run without root.
    `python -m ovirt_provision.simulator.guests.image --recipe docker` builds one more, with a Docker engine.

    In another terminal: `set -a; . FILE; set +a; ovirt-provision template list`
    """
    # What is made until it serves stays: to look for garbage would be a quarter of the start. `main.run`
    # enables it again.
    gc.disable()
    # Imported here: clients do not need the simulator.
    from ovirt_provision.simulator import main, router
    from ovirt_provision.simulator.guests import image
    from ovirt_provision.simulator.imageio import PROGRAM

    if coverage:
        _print_coverage(router.coverage())
        raise typer.Exit
    with contextlib.ExitStack() as stack:
        try:
            if guests is Guests.QEMU:
                guest_image = guest_image or image.build(image.cache_folder(), output.note).folder
                docker_image = docker_image or image.find_cached(image.DOCKER)
            if guests is not Guests.NONE:
                state_dir = state_dir or Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="ovirt-simulator-"))
                )
            options = main.SimulateOptions(
                listen=listen,
                port=port,
                state_dir=state_dir,
                guests=guests.value,
                guest_image=guest_image,
                docker_image=docker_image if guests is Guests.QEMU else None,
                host_ports=host_port or (),
                profile=profile,
                data=data,
                faults=_rules(fault or [], faults),
                imageio=None if imageio == "none" else imageio or shutil.which(PROGRAM),
                ready_file=ready_file,
            )
            code = asyncio.run(main.run(options))
        except (OSError, ValueError, image.ImageError) as error:
            raise SimulatorNotStarted(detail=error) from error
    raise typer.Exit(code)


def _print_coverage(operations: "Sequence[tuple[Operation, bool]]") -> None:
    table = Table("service", "operation", "", "", "simulated", box=None)
    for operation, simulated in operations:
        place = (operation.method, operation.path)
        table.add_row(operation.service, operation.name, *place, "yes" if simulated else "no")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    count = sum(simulated for _, simulated in operations)
    print(f"{count} of {len(operations)} operations are simulated")


def _rules(texts: Sequence[str], file: Path | None) -> "list[FaultRule]":
    from ovirt_provision.simulator.documents import read_yaml
    from ovirt_provision.simulator.injection import FaultRule

    rules = [FaultRule.parse(text) for text in texts]
    return rules + (read_yaml(file, list[FaultRule]) if file is not None else [])
