"""The engine of OVIRT_*, and a bridge of its own that keeps to what it made itself.

The bridge's state stays in ~/.local/state/ovirt-provision-live, so that what an interrupted run has left is
known to the next one, which removes it first.
"""

import contextlib
import fcntl
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ENGINE = ("OVIRT_URL", "OVIRT_USERNAME", "OVIRT_PASSWORD")
CHOICES = {
    "OVIRT_LIVE_TEMPLATE": "NAME[:VERSION] of a template to make VMs from",
    "OVIRT_LIVE_CLUSTER": "the cluster to make them in",
}
START = "OVIRT_LIVE_START"
# Seconds; copies of disks take long.
DEADLINE = 3600


@dataclass
class Live:
    """A command line on the engine, and names that no other run has."""

    environment: dict[str, str]
    template: str
    cluster: str
    prefix: str
    starts: bool

    def name(self, of: str) -> str:
        return f"{self.prefix}-{of}"

    def provision(self, *arguments: str, code: int = 0) -> Any:
        """The JSON that `ovirt-provision` prints; `code` is the exit code that is expected."""
        process = self.start(*arguments, "--output", "json")
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, f"ovirt-provision {' '.join(arguments)}\n{out}\n{err}"
        return json.loads(out) if out else None

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ovirt_provision", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def create(self, of: str, *arguments: str) -> Any:
        key = self.name(of)
        where = ("--template", self.template, "--cluster", self.cluster)
        return self.provision("machine", "create", key, *where, *arguments)

    def ours(self) -> list[tuple[str, str, str]]:
        """Kind, key and id of what the engine has of this installation; never what is somebody else's."""
        census = self.provision("census").get("entries", [])
        lost = [entry for entry in census if entry["finding"] in ("FINDING_LEAKED", "FINDING_MISSING")]
        assert not lost
        found = ("FINDING_OURS", "FINDING_AWAITING_ENGINE")
        return [
            (entry["kind"], entry.get("key", ""), entry["id"])
            for entry in census
            if entry["finding"] in found
        ]

    def clean(self) -> None:
        """Removes what the ledger knows to be of this installation, and nothing else."""
        for kind, key, engine_id in self.ours():
            if kind == "vm":
                self.provision("machine", "destroy", key)
            elif kind == "template":
                self.provision("template", "destroy", engine_id)

    def daemon(self) -> int | None:
        """The process id of the daemon, if one runs."""
        lock = Path(self.environment["XDG_STATE_HOME"]) / "ovirt-provision/daemon.lock"
        with contextlib.suppress(FileNotFoundError, IndexError, ProcessLookupError):
            pid = int(lock.read_text().split()[0])
            if b"ovirt_provision" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def end_daemon(self, number: signal.Signals) -> None:
        """Signals the daemon and waits for its end."""
        pid = self.daemon()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            ended, descriptor = select.poll(), os.pidfd_open(pid)
            ended.register(descriptor, select.POLLIN)
            signal.pidfd_send_signal(descriptor, number)
            assert ended.poll(120_000), f"the daemon (process {pid}) does not end"
            os.close(descriptor)


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints past pytest's capture."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"live: {text}", flush=True)

    return say


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest, say: Callable[[str], None]) -> Iterator[Live]:
    if request.config.option.markexpr != "live":
        pytest.skip("tests on a real engine run by `make live` only")
    missing = [name for name in ENGINE if not os.environ.get(name)]
    if missing:
        say(f"SKIPPED, no engine was touched and nothing was tested: {', '.join(missing)} not set")
        pytest.skip(f"{', '.join(missing)} not set")
    missing = [f"{name} ({what})" for name, what in CHOICES.items() if not os.environ.get(name)]
    if missing:
        pytest.exit(f"live: refused, nothing is chosen for you: set {' and '.join(missing)}", 2)

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ovirt-provision-live"
    state.mkdir(parents=True, exist_ok=True)
    with (state / "run.lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="live-") as runtime:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(f"live: refused, another run is under way on {state}", 2)
        kept = ("PATH", "HOME", "LANG", "OVIRT_CAFILE", *ENGINE)
        live = Live(
            environment={
                **{name: os.environ[name] for name in kept if name in os.environ},
                "XDG_STATE_HOME": str(state),
                "XDG_RUNTIME_DIR": runtime,
                "XDG_CONFIG_HOME": runtime,
            },
            template=os.environ["OVIRT_LIVE_TEMPLATE"],
            cluster=os.environ["OVIRT_LIVE_CLUSTER"],
            prefix=f"live-{secrets.token_hex(3)}",
            starts=bool(os.environ.get(START)),
        )
        say(f"on {os.environ['OVIRT_URL']} as {os.environ['OVIRT_USERNAME']}, state in {state}")
        say(f"will make, in cluster {live.cluster} from template {live.template}, and remove again:")
        say(f"  at most two VMs at a time, with their disks, and one template, all named {live.prefix}-…")
        say(f"  VMs are {'started' if live.starts else f'not started ({START}=1 starts them)'}")
        try:
            # That of an interrupted run, which listens elsewhere.
            live.end_daemon(signal.SIGTERM)
            before = live.ours()
            if before:
                say(f"removing what an interrupted run has left: {before}")
                live.clean()
            yield live
            live.clean()
            left = live.ours()
            assert left == [], f"left in the engine: {left}; the next `make live` goes on with it"
            say("the census at the end found nothing of this installation")
        finally:
            live.end_daemon(signal.SIGTERM)
