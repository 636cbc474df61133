"""`ovirt-provision simulate`: the simulator as a program."""

import asyncio
import contextlib
import gc
import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ovirt_provision.simulator.entities import new_id
from ovirt_provision.simulator.guests import Guests
from ovirt_provision.simulator.guests.none import NoGuests
from ovirt_provision.simulator.injection import FaultRule
from ovirt_provision.simulator.simulator import Simulator
from ovirt_provision.simulator.world import BaseTemplate, debian_template

log = logging.getLogger("ovirt_provision.simulator")


@dataclass(frozen=True)
class SimulateOptions:
    """What the command line says.

    `state_dir` holds certificates and the disks of guests; without it a temporary folder is used.
    `guest_image` is the folder of the guest image, for guests `qemu`; with `docker_image` there is a second
    template, `debian-12-docker`, on that image. `host_ports` are the ports of this host that guests reach.
    `imageio` is the path of an ovirt-imageio that is to
    serve image transfers. `ready_file` is written, for its owner alone, when the engine answers:
    `NAME='value'` lines with OVIRT_URL, OVIRT_USERNAME, OVIRT_PASSWORD and OVIRT_CAFILE. Port 0 takes a free
    port.
    """

    listen: str = "127.0.0.1"
    port: int = 8443
    state_dir: Path | None = None
    guests: Literal["none", "stub", "qemu"] = "none"
    guest_image: Path | None = None
    docker_image: Path | None = None
    host_ports: Sequence[int] = ()
    profile: str = "fast"
    data: Path | None = None
    faults: Sequence[FaultRule] = ()
    imageio: str | None = None
    ready_file: Path | None = None


async def run(options: SimulateOptions) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code.

    Raises `OSError` when it cannot listen or has no QEMU, `ValueError` for options that do not fit.
    """
    _log_to_stderr()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    templates = _templates(options)
    async with Simulator(
        profile=options.profile,
        guests=_guests(options, templates),
        listen=options.listen,
        port=options.port,
        state_dir=options.state_dir,
        templates=templates,
        data=options.data,
        faults=options.faults,
        imageio=options.imageio,
    ) as simulator:
        # Looking through ten thousand VMs for garbage takes longer than an answer.
        gc.freeze()
        gc.enable()
        if options.ready_file is not None:
            _write_ready(options.ready_file, simulator)
        else:
            sys.stdout.write(_variables(simulator))
            sys.stdout.flush()
        log.info("engine at %s, guests: %s, profile: %s", simulator.url, options.guests, options.profile)
        await stop.wait()
        log.info("ending")
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    return 0


def _templates(options: SimulateOptions) -> Sequence[BaseTemplate]:
    templates = [debian_template()]
    if options.docker_image is not None or options.guests == "stub":
        description = "Debian 12 with cloud-init and a Docker engine"
        templates.append(BaseTemplate("debian-12-docker", description, new_id(), memory=768 << 20, cpus=2))
    return templates


def _guests(options: SimulateOptions, templates: Sequence[BaseTemplate]) -> Guests:
    if options.guests == "none":
        return NoGuests()
    if options.state_dir is None:
        raise ValueError(f"guests '{options.guests}' need --state-dir")
    if options.guests == "stub":
        from ovirt_provision.simulator.guests.stub.guests import StubGuests

        stubs = StubGuests(options.state_dir / "stubs")
        log.info("stubs at addresses in %s", stubs.reach)
        return stubs
    if options.guest_image is None:
        raise ValueError("guests 'qemu' need --guest-image")
    from ovirt_provision.simulator.guests.image import GuestImage
    from ovirt_provision.simulator.guests.qemu import QemuGuests

    folders = [folder for folder in (options.guest_image, options.docker_image) if folder is not None]
    images = {
        template.disk_id: GuestImage.open(folder) for template, folder in zip(templates, folders, strict=True)
    }
    guests = QemuGuests(options.state_dir / "disks", images, host_ports=options.host_ports)
    log.info("guests at addresses in %s", guests.reach)
    if guests.host_ports:
        log.info("they reach this host at %s, ports %s", guests.reach.host, guests.host_ports)
    return guests


def _variables(simulator: Simulator) -> str:
    values = {
        "OVIRT_URL": simulator.url,
        "OVIRT_USERNAME": simulator.username,
        "OVIRT_PASSWORD": simulator.password,
        "OVIRT_CAFILE": simulator.ca_file,
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _write_ready(path: Path, simulator: Simulator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    with contextlib.closing(
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    ) as file:
        file.write(_variables(simulator))
    partial.replace(path)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("ovirt_provision.simulator")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
