"""`python -m tests.bench [SIZE]...`: what the bridge costs the engine, beside a naive client, and what the
daemon costs its machine. Asserts nothing."""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from rich.console import Console
from rich.table import Table

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import EngineProfile
from tests.bench.daemon import Process, measure
from tests.bench.lifecycles import ARRIVALS, MUTATING, POLL, Figures, ideally, naively, through_the_bridge

T = TypeVar("T")
CAP = int(EngineProfile.model_fields["operations"].default)
MEGABYTE = 1 << 20
LEGEND = f"""\
A lifecycle: made from a template, started, waited for until it reports an address, destroyed.
arrivals: all Machines are asked for within {ARRIVALS:g} s, at random (in real time: at once).
mutating, reading: requests for each Machine; the API allows no fewer than {len(MUTATING)} that change it.
naive: a client that sends one GET in {POLL:g} s for each Machine.
p50/p95/max: seconds from when the engine knew until the client knew; addresses count at once here.
of ideal: the schedule of a client that acts the moment the engine knows, with as many at work."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures lifecycles of Machines; see `make bench`.")
    parser.add_argument("sizes", nargs="*", type=int, metavar="SIZE", help="Machines in one run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    # Of a thousand Machines there is much to tell, and to tell it takes time.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console, began = Console(width=130, highlight=False), time.monotonic()
    console.print(
        f"seed: {options.seed} (replays with SEED={options.seed}); {CAP} operations at work at once"
    )
    rows = []
    for machines in options.sizes or (1, 10, 100, 1000):
        with console.status(f"{machines} Machines"):
            rows.append(row_of(machines, options.seed))
    headings = ("Machines", "mutating", "reading", "naive", "ratio", "p50/p95/max", "naive", "per minute")
    virtual = Table(
        *headings, "of ideal", title="In virtual time, with the engine's timing", title_justify="left"
    )
    for figures, naive, ideal, _ in rows:
        virtual.add_row(*virtual_row(figures, naive, ideal))
    console.print(virtual)
    real = Table(
        "Machines", "CPU each", "memory", "memory each", "took", title="The daemon's process, in real time"
    )
    idle = rows[0][3].memory
    for *_, process in rows:
        each = (process.memory - idle) / process.machines
        real.add_row(
            str(process.machines),
            f"{1000 * process.cpu / process.machines:.0f} ms",
            f"{process.memory / MEGABYTE:.0f} MB",
            f"{each / 1024:.0f} kB" if process is not rows[0][3] else "",
            f"{process.wall:.1f} s",
        )
    console.print(real)
    console.print(LEGEND)
    for row in rows:
        for target, reached in targets(*row):
            console.print(f"{'pass' if reached else 'MISS'}: {target}, at {row[0].machines}")
    console.print(f"Took {time.monotonic() - began:.0f} s.")
    return 0


def targets(figures: Figures, naive: Figures, ideal: float, process: Process) -> Iterator[tuple[str, bool]]:
    """What is to be reached with that many Machines, and whether it is."""
    yield "no more requests that change the engine than needed", figures.mutating <= len(MUTATING)
    yield "known within 1 s (p95)", figures.latency(95) <= 1.0
    yield "95 % of the ideal schedule", ideal / figures.seconds >= 0.95
    if figures.machines == 100:
        yield "a tenth of the naive client's readings", figures.reading / naive.reading <= 0.1
    if figures.machines == 1000:
        yield "150 MB", process.memory <= 150 * MEGABYTE


def row_of(machines: int, seed: int) -> tuple[Figures, Figures, float, Process]:
    with folder() as state:
        figures = virtually(lambda clock: through_the_bridge(clock, state, machines, CAP, seed))
    naive = virtually(lambda clock: naively(clock, machines, CAP, seed))
    ideal = virtually(lambda clock: ideally(clock, machines, CAP, seed))
    with folder() as state:
        return figures, naive, ideal, measure(state, machines)


def virtual_row(figures: Figures, naive: Figures, ideal: float) -> Iterator[str]:
    yield str(figures.machines)
    yield f"{figures.mutating:.2f}"
    yield f"{figures.reading:.2f}"
    yield f"{naive.reading:.2f}"
    yield f"{figures.reading / naive.reading:.3f}"
    for one in (figures, naive):
        yield " / ".join(f"{one.latency(percent):.2f}" for percent in (50, 95, 100))
    yield f"{60 * figures.machines / figures.seconds:.1f}"
    yield f"{100 * ideal / figures.seconds:.1f} %"


def virtually(run: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(run(clock))


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of our own, in memory where there is one: how fast a disk is is not measured here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        os.environ["XDG_RUNTIME_DIR"] = name
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
