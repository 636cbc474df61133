#!/usr/bin/env python3
"""Measures how fast the bytes of images are moved, against ovirt-imageio's own client and dd over loopback.

usage: tools/bench_images.py [MIB]   (512 by default; the median of three rounds; asserts nothing)

The host is a real ovirt-imageio behind the simulator. Its client is what `ovirt-img` moves bytes with; both
are given a transfer that is open, so what is compared is the moving alone. Needs `ovirt-img` on PATH.
"""

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovirtsdk4 import Connection, types
from rich.console import Console
from rich.table import Table

from ovirt_provision.clock import SystemClock
from ovirt_provision.images.transfer import Job, process_mover
from ovirt_provision.simulator import Simulator

ROUNDS = 3
GOAL = 0.8
_THEIRS = (
    "import sys; from ovirt_imageio import client; "
    "direction, file, url, ca = sys.argv[1:]; "
    "client.upload(file, url, ca) if direction == 'upload' else client.download(url, file, ca, fmt='raw')"
)


def main() -> int:
    program = shutil.which("ovirt-img")
    if program is None:
        sys.stdout.write("bench-images: SKIPPED, ovirt-img is not on PATH (pip install ovirt-imageio)\n")
        return 0
    asyncio.run(measure(Path(program).resolve().parent, int(sys.argv[1]) if len(sys.argv) > 1 else 512))
    return 0


async def measure(programs: Path, mib: int) -> None:
    size = mib << 20
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        image = folder / "image.raw"
        with image.open("wb") as opened:
            for _ in range(mib):
                opened.write(os.urandom(1 << 20))
        async with Simulator(imageio=str(programs / "ovirt-imageio")) as simulator:
            connection = Connection(
                url=simulator.url,
                username=simulator.username,
                password=simulator.password,
                ca_file=str(simulator.ca_file),
            )
            engine = connection.system_service()
            for _ in range(ROUNDS):
                disk = simulator.world.add_disk("bench")
                disk.size, disk.format = size, "raw"
                for direction in ("upload", "download"):
                    for who in ("ovirt-provision", "ovirt-img"):
                        file = image if direction == "upload" else folder / f"{who}.raw"
                        file.unlink(missing_ok=True) if direction == "download" else None
                        transfer = await asyncio.to_thread(begin, engine, disk.id, direction)
                        ca = str(simulator.ca_file)
                        started = time.monotonic()
                        if who == "ovirt-img":
                            await theirs(programs, direction, file, transfer.transfer_url, ca)
                        else:
                            job = Job(direction, file, size, transfer.transfer_url, ca_file=ca)
                            await process_mover(SystemClock())(job, lambda *_: None)
                        rates.setdefault((direction, who), []).append(mib / (time.monotonic() - started))
                        await asyncio.to_thread(end, engine, transfer.id)
                seconds = await asyncio.to_thread(dd, image, folder / "dd.raw")
                for direction in ("upload", "download"):
                    rates.setdefault((direction, "dd"), []).append(mib / seconds)
            await asyncio.to_thread(connection.close)
    show({key: statistics.median(found) for key, found in rates.items()}, mib)


def begin(engine: Any, disk_id: str, direction: str) -> types.ImageTransfer:
    """Opens a transfer and waits until bytes can be moved."""
    service = engine.image_transfers_service()
    made = service.add(
        types.ImageTransfer(
            disk=types.Disk(id=disk_id),
            direction=types.ImageTransferDirection(direction),
            format=types.DiskFormat.RAW,
        )
    )
    return wait(lambda: service.image_transfer_service(made.id).get(), "transferring")


def end(engine: Any, transfer_id: str) -> None:
    service = engine.image_transfers_service().image_transfer_service(transfer_id)
    service.finalize()
    wait(service.get, "finished_success")


def wait(read: Callable[[], types.ImageTransfer], phase: str) -> types.ImageTransfer:
    while (found := read()).phase.value != phase:
        if found.phase.value.startswith(("finished", "paused", "cancelled")):
            raise SystemExit(f"the transfer is {found.phase.value}, not {phase}")
        time.sleep(0.1)
    return found


async def theirs(programs: Path, direction: str, file: Path, url: str, ca_file: str) -> None:
    process = await asyncio.create_subprocess_exec(
        programs / "python", "-c", _THEIRS, direction, file, url, ca_file
    )
    if await process.wait():
        raise SystemExit(f"ovirt-imageio's client failed: {direction}")


def dd(source: Path, target: Path) -> float:
    """Seconds that dd takes to send the file over loopback to somebody who writes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            connection, _ = server.accept()
            with connection, target.open("wb") as file:
                while chunk := connection.recv(1 << 20):
                    file.write(chunk)

        receiving = threading.Thread(target=receive)
        receiving.start()
        started = time.monotonic()
        to = f"/dev/tcp/127.0.0.1/{server.getsockname()[1]}"
        subprocess.run(["bash", "-c", f"dd if=$1 bs=1M status=none >{to}", "dd", source], check=True)
        receiving.join()
        return time.monotonic() - started


def show(rates: dict[tuple[str, str], float], mib: int) -> None:
    table = Table(title=f"{mib} MiB of random bytes, {os.cpu_count()} cores, median of {ROUNDS}")
    for heading in ("", "MiB/s", "ovirt-img", "ratio", "dd over loopback", "ratio"):
        table.add_column(heading)
    for direction in ("upload", "download"):
        ours, other, raw = (rates[direction, who] for who in ("ovirt-provision", "ovirt-img", "dd"))
        verdict = "" if ours / other >= GOAL else f" (goal {GOAL:.0%})"
        table.add_row(
            direction,
            f"{ours:.0f}",
            f"{other:.0f}",
            f"{ours / other:.0%}{verdict}",
            f"{raw:.0f}",
            f"{ours / raw:.0%}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
