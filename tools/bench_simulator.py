#!/usr/bin/env python3
"""Measures the simulator with many VMs: CPU per request, start-up, memory, lifecycles. Asserts nothing.

usage: tools/bench_simulator.py [VMS]   (10,000 by default)
"""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from ovirt_provision.clock import VirtualClock
from ovirt_provision.simulator import Simulator

ROUNDS = 200
OWN_ROUNDS = 9  # with the first one as many as there are digits
LIFECYCLES = 1000
LIFECYCLES_OVER_HTTPS = 20
CREATE = (
    "<vm><name>{}</name><cluster><name>Default</name></cluster>"
    "<template><name>debian-12</name></template></vm>"
)
Row = tuple[str, str, str]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    table = Table(title=f"{count} VMs, {os.cpu_count()} cores", title_justify="left")
    for heading in ("what", "measured", "goal"):
        table.add_column(heading)
    for row in (*many_vms(count), *lifecycles(), lifecycles_over_https()):
        table.add_row(*row)
    Console(width=100).print(table)
    return 0


@contextlib.contextmanager
def simulator(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], str, requests.Session]]:
    """A simulator in a process of its own, its URL, and a session that is logged in."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "engine.env")
        command = [
            sys.executable,
            "-m",
            "ovirt_provision",
            "simulate",
            "--port",
            "0",
            "--ready-file",
            str(ready),
        ]
        with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as server:
            try:
                while not ready.exists():
                    if server.poll() is not None:
                        raise SystemExit("the simulator did not start")
                    time.sleep(0.005)
                lines = ready.read_text().replace("'", "").splitlines()
                settings = dict(line.split("=", 1) for line in lines)
                with requests.Session() as session:
                    session.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
                    session.verify = settings["OVIRT_CAFILE"]
                    session.headers["Accept"] = "application/xml"
                    session.headers["Content-Type"] = "application/xml"
                    session.headers["Authorization"] = f"Bearer {log_in(session, settings)}"
                    yield server, settings["OVIRT_URL"], session
            finally:
                server.terminate()


def log_in(session: requests.Session, settings: dict[str, str]) -> str:
    form = {
        "grant_type": "password",
        "scope": "ovirt-app-api",
        "username": settings["OVIRT_USERNAME"],
        "password": settings["OVIRT_PASSWORD"],
    }
    url = settings["OVIRT_URL"].removesuffix("/api") + "/sso/oauth/token"
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    return str(session.post(url, form, headers=headers).json()["access_token"])


def many_vms(count: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "world.yaml")
        up = count // 10
        # A configuration that no other VM has: elements of VMs that are alike are made once.
        own = "".join(
            f"- {{name: own-{number:03}, template: debian-12, memory: {1024 + number}MiB}}\n"
            for number in range(up)
        )
        data.write_text(
            f"vms:\n- {{name: vm, count: {count - 2 * up}, template: debian-12}}\n"
            f"- {{name: up, count: {up}, template: debian-12, status: up}}\n{own}"
        )
        begin = time.monotonic()
        with simulator("--data", str(data)) as (server, url, session):
            yield "start-up", f"{time.monotonic() - begin:.2f} s ({cpu(server.pid):.2f} s of CPU)", "1 s"
            found = session.get(f"{url}/vms", params={"search": "name=vm-77"})
            one = found.text.partition('<vm href="/ovirt-engine/api')[2].partition('"')[0]

            def get(path: str, **query: str | int) -> Callable[[], object]:
                return lambda: session.get(url + path, params=query).raise_for_status()

            rounds = itertools.count()

            def get_own() -> object:
                return get("/vms", search=f"name=own-{next(rounds)}*", max=100)()

            cold = cpu_per_call(server.pid, get_own, OWN_ROUNDS)
            yield "search of 100 by name, none shown before, server CPU", f"{1000 * cold:.2f} ms", "25 ms"
            for what, ask, goal in (
                ("GET of a VM", get(one), "2 ms"),
                ("search of 100 by name", get("/vms", search="name=vm-77*", max=100), "25 ms"),
                ("search of 100 by status", get("/vms", search="status=up", max=100), "25 ms"),
                ("search of 100 disks", get("/disks", search="name=vm-77*", max=100), "25 ms"),
            ):
                yield f"{what}, server CPU", f"{1000 * cpu_per_call(server.pid, ask, ROUNDS):.2f} ms", goal
            yield "memory", f"{memory(server.pid) >> 20} MB", "500 MB"


def cpu_per_call(pid: int, call: Callable[[], object], rounds: int) -> float:
    """Seconds of CPU that a process spends on one of so many calls, after a first one."""
    call()
    before = cpu(pid)
    for _ in range(rounds):
        call()
    return (cpu(pid) - before) / rounds


def cpu(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def memory(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def lifecycles() -> Iterator[Row]:
    """Create, start, stop, remove, of many VMs at once, through Python and in virtual time."""
    clock = VirtualClock()

    async def run() -> None:
        simulated = Simulator(clock=clock, profile="engine")

        async def cycle(name: str) -> None:
            made = simulated.call("POST", "/vms", CREATE.format(name)).element
            assert made is not None
            vm = simulated.world.vms[made.get("id", "")]
            path = f"/vms/{vm.id}"
            while simulated.call("POST", f"{path}/start", "<action/>").status != 200:
                await clock.sleep(10)
            while vm.status != "up":
                await clock.sleep(10)
                simulated.world.settle()
            simulated.call("POST", f"{path}/stop", "<action/>")
            while simulated.call("DELETE", path).status != 200:
                await clock.sleep(10)

        await asyncio.gather(*(cycle(f"vm-{number}") for number in range(LIFECYCLES)))

    begin = time.process_time()
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        runner.run(run())
    yield f"{LIFECYCLES} lifecycles in Python", f"{time.process_time() - begin:.1f} s", "10 s"


def lifecycles_over_https() -> Row:
    """The same over HTTPS, one after the other, in the time of the profile `fast`."""
    with simulator() as (server, url, session):
        before = cpu(server.pid)
        for number in range(LIFECYCLES_OVER_HTTPS):
            made = session.post(f"{url}/vms", CREATE.format(f"vm-{number}"))
            path = f"{url}/vms/{made.text.partition(' id=')[2][1:37]}"
            for verb, status in (("", "down"), ("start", "up"), ("stop", "down")):
                while verb and session.post(f"{path}/{verb}", "<action/>").status_code != 200:
                    time.sleep(0.05)
                while f"<status>{status}</status>" not in session.get(path).text:
                    time.sleep(0.05)
            while session.delete(path).status_code != 200:
                time.sleep(0.05)
        spent = cpu(server.pid) - before
    return (
        "a lifecycle over HTTPS, polled every 50 ms, server CPU",
        f"{1000 * spent / LIFECYCLES_OVER_HTTPS:.0f} ms",
        "",
    )


if __name__ == "__main__":
    sys.exit(main())
