"""A stage for the demo and the end-to-end tests: a simulator, a daemon and packer in a folder of their own.

Clients find the simulator through OVIRT_* and start the daemon themselves. All that runs on the stage ends
with it.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import ovirtsdk4
import requests

from ovirt_provision.simulator.guests import network

ROOT = Path(__file__).resolve().parent.parent
PACKER = ROOT / "build/bin/packer"
PLUGIN = ROOT / "build/bin/packer-plugin-ovirt"
PLUGIN_SOURCE = "github.com/ovirt-provision/ovirt"
# Where each guest answers SSH, on its own address: 22 under tools/in-namespace, else 2222.
REACH = network.find_reach()
SSH_PORT = REACH.ssh_port
# Where guests reach this host, at the ports that a stage opens.
HOST = str(REACH.host)
# Where the simulator tells what it was asked.
REQUESTS_PATH = "/simulator/requests"
# Seconds.
START_TIMEOUT = 60
STOP_TIMEOUT = 60
UNDO_TIMEOUT = 180


class StageError(Exception):
    """The stage could not be set or cleared, or what ran on it failed."""


class Stage:
    """A running simulator, and the environment in which clients find it and a daemon of their own."""

    def __init__(
        self, folder: Path, *, guests: str, timing: str = "fast", host_ports: Sequence[int] = ()
    ) -> None:
        """`folder` is made for state and logs, `guests` is qemu or none, `timing` the simulator's profile.

        `host_ports` are the ports of this host that guests reach, at HOST.
        """
        self.folder = folder
        self.environment: dict[str, str] = {}
        self._simulator = ["--guests", guests, "--profile", timing]
        self._simulator += [f"--host-port={port}" for port in host_ports]
        self._clearing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as clearing:
            self._set(clearing)
            self._clearing = clearing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._clearing.close()

    def run(
        self, *command: str, output: bool = False, extra: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end; `output` keeps its stdout instead of showing it.

        The command is in a session of its own: an interrupt reaches only us, and from us the command gets
        SIGTERM, on which it undoes its work. `extra` adds to its environment.
        """
        process = self.start(*command, extra=extra, stdout=subprocess.PIPE if output else None)
        try:
            told, _ = process.communicate()
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(UNDO_TIMEOUT)
            process.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, told)

    def start(
        self, *command: str, extra: Mapping[str, str] | None = None, **streams: Any
    ) -> "subprocess.Popen[str]":
        """Starts a command in a session of its own, in the stage's folder."""
        return subprocess.Popen(
            command,
            env={**self.environment, **(extra or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            **streams,
        )

    def provision(self, *arguments: str) -> Any:
        """Runs `ovirt-provision` and returns its JSON. Raises StageError when it fails."""
        ended = self.run(*self.cli(*arguments, "--output", "json"), output=True)
        if ended.returncode:
            raise StageError(f"ovirt-provision {' '.join(arguments)}: exit code {ended.returncode}")
        return json.loads(ended.stdout)

    def requests(self) -> Counter[str]:
        """How often the engine was asked for what so far, such as `POST /vms/{id}/start`."""
        reply = requests.get(
            urllib.parse.urljoin(self.environment["OVIRT_URL"], REQUESTS_PATH),
            auth=(self.environment["OVIRT_USERNAME"], self.environment["OVIRT_PASSWORD"]),
            verify=self.environment["OVIRT_CAFILE"],
            timeout=30,
        )
        reply.raise_for_status()
        return Counter(reply.json()["operations"])

    def world(self) -> list[tuple[str, str, str]]:
        """Kind, name and id of every VM, template and disk in the engine, by the engine's own SDK."""
        with contextlib.closing(
            ovirtsdk4.Connection(
                url=self.environment["OVIRT_URL"],
                username=self.environment["OVIRT_USERNAME"],
                password=self.environment["OVIRT_PASSWORD"],
                ca_file=self.environment["OVIRT_CAFILE"],
            )
        ) as engine:
            root = engine.system_service()
            return sorted(
                (kind, thing.name, thing.id)
                for kind, things in (
                    ("vm", root.vms_service().list()),
                    ("template", root.templates_service().list()),
                    ("disk", root.disks_service().list()),
                )
                for thing in things
            )

    def virtual_machines(self) -> list[str]:
        """The names of the VMs in the engine."""
        return [name for kind, name, _ in self.world() if kind == "vm"]

    @staticmethod
    def cli(*arguments: str) -> list[str]:
        """The command line of `ovirt-provision`."""
        return [sys.executable, "-m", "ovirt_provision", *arguments]

    def install_plugin(self) -> None:
        """Installs our plugin for the stage's packer."""
        ended = self.run(str(PACKER), "plugins", "install", "--path", str(PLUGIN), PLUGIN_SOURCE, output=True)
        if ended.returncode:
            raise StageError(f"the plugin cannot be installed: {ended.stdout}")

    def daemon_pid(self) -> int | None:
        """The process id of the stage's daemon; None when none runs."""
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int((self.folder / "state/ovirt-provision/daemon.lock").read_text().split()[0])
            if self._is_ours(pid):
                return pid
        return None

    def _set(self, clearing: contextlib.ExitStack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The path of a unix socket is short, so it cannot lie in just any folder.
        self._runtime = clearing.enter_context(tempfile.TemporaryDirectory(prefix="ovirt-"))
        kept = ("HOME", "LANG", "TERM", "XDG_CACHE_HOME", "TMPDIR")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": self._runtime,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PACKER_CONFIG_DIR": str(self.folder / "packer"),
            "PACKER_PLUGIN_PATH": str(self.folder / "packer/plugins"),
            "PACKER_CACHE_DIR": str(self.folder / "packer/cache"),
            "CHECKPOINT_DISABLE": "1",
            **({} if sys.stdout.isatty() else {"PACKER_NO_COLOR": "1"}),
        }
        clearing.callback(self._expect_no_process)
        self._simulate(clearing)
        clearing.callback(self.stop_daemon)

    def _simulate(self, clearing: contextlib.ExitStack) -> None:
        variables = self.folder / "engine.env"
        variables.unlink(missing_ok=True)
        log = clearing.enter_context((self.folder / "simulator.log").open("w"))
        files = ["--state-dir", str(self.folder / "simulator"), "--ready-file", str(variables)]
        simulator = self.start(
            *self.cli("simulate", "--port", "0", *files, *self._simulator),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        clearing.callback(_end, simulator)
        deadline = time.monotonic() + START_TIMEOUT
        while not variables.exists():
            if simulator.poll() is not None or time.monotonic() > deadline:
                raise StageError(f"the simulator did not start:\n{Path(log.name).read_text()}")
            time.sleep(0.05)
        for line in variables.read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value.strip("'\"")

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the stage's daemon, if one runs, and waits for its end."""
        pid = self.daemon_pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            ended = select.poll()
            descriptor = os.pidfd_open(pid)
            try:
                ended.register(descriptor, select.POLLIN)
                os.kill(pid, number)
                if not ended.poll(STOP_TIMEOUT * 1000):
                    raise StageError(f"the daemon (process {pid}) does not end")
            finally:
                os.close(descriptor)

    def processes(self) -> Iterator[int]:
        """Every process that belongs to the stage, by its environment or its command line."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid() and self._is_ours(int(entry.name)):
                yield int(entry.name)

    def _is_ours(self, pid: int) -> bool:
        marks = (f"XDG_RUNTIME_DIR={self._runtime}".encode(), f"{self.folder}/".encode())
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            return any(mark in told for mark in marks)
        return False

    def _expect_no_process(self) -> None:
        left = list(self.processes())
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if left:
            raise StageError(f"processes were left behind (and killed now): {left}")


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise StageError(f"process {process.pid} does not end: {process.args}") from None
