"""`PYTHONPATH=tools python -m tests.crash`: campaigns of random schedules, each drawn from its seed."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.crash import processes, virtual
from tests.crash.defences import DEFENCES
from tests.crash.judgement import Verdict
from tests.crash.schedule import draw, draw_images

# More would be of no use to anybody.
_TOLD = 20
# Real processes wait most of the time.
_AT_ONCE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a campaign; 1 when a promise was broken."""
    options = _options(arguments)
    without = frozenset(options.without or (DEFENCES if options.defence == "off" else ()))
    seeds = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    of = draw_images if options.images else draw
    if options.seed is not None:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        logging.getLogger("ovirt_provision.simulator").setLevel(logging.WARNING)
        print(of(options.seed), flush=True)
    total = Verdict()
    played = bad = 0
    begun = time.monotonic()
    for done, (seed, verdict) in enumerate(_campaign(seeds, options, without), start=1):
        total.add(verdict)
        played = done
        if verdict.broken:
            bad += 1
            if bad <= _TOLD:
                print(f"seed {seed}: {verdict}; replay: {_replay(seed, options)}", flush=True)
                for wrong in verdict.wrong:
                    print(f"    {wrong}", flush=True)
        elapsed = time.monotonic() - begun
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {len(seeds)} seeds, {bad} broken, {elapsed:.0f} s ")
            sys.stderr.flush()
        elif done % max(1, len(seeds) // 10) == 0:
            print(f"{done} of {len(seeds)} seeds, {bad} broken, {elapsed:.0f} s", flush=True)
    if bad:
        print(f"{bad} seeds broken")
    print(f"seeds: {played}, {total}")
    return 1 if bad or not played else 0


def _replay(seed: int, options: argparse.Namespace) -> str:
    target = "crash-virtual" if options.virtual else "crash"
    replay = f"make {target} SEED={seed}" + (" DEFENCE=off" if options.defence == "off" else "")
    return replay + (" IMAGES=1" if options.images else "")


def _campaign(
    seeds: Sequence[int], options: argparse.Namespace, without: frozenset[str]
) -> Iterator[tuple[int, Verdict]]:
    of = draw_images if options.images else draw
    if not options.virtual:
        jobs = options.jobs or _AT_ONCE * (os.cpu_count() or 1)
        show = options.seed is not None
        yield from processes.campaign(seeds, without, jobs=jobs, show=show, seconds=options.seconds)
    elif len(seeds) == 1:
        yield virtual.run_seed(seeds[0], without=without, of=of)
    else:
        with ProcessPoolExecutor(
            options.jobs or os.cpu_count(), get_context("spawn"), virtual.be_quiet
        ) as pool:
            running = [pool.submit(virtual.run_seed, seed, without=without, of=of) for seed in seeds]
            for ended in as_completed(running):
                yield ended.result()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, and tell what happens")
    parser.add_argument("--defence", choices=("on", "off"), default="on")
    parser.add_argument(
        "--without", action="append", choices=sorted(DEFENCES), help="switch only this defence off"
    )
    parser.add_argument("--virtual", action="store_true", help="in this process, in virtual time")
    parser.add_argument(
        "--images", action="store_true", help="imports, exports and backups instead; only with --virtual"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="begin no seed later than that, but --virtual ones",
    )
    parser.add_argument("--jobs", type=int, help="how many at the same time")
    options = parser.parse_args(arguments)
    if options.images and not options.virtual:
        parser.error("--images goes with --virtual")
    return options


if __name__ == "__main__":
    sys.exit(main())
