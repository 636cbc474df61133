"""Starts the daemon for a client when nothing listens, as every shim does."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ovirt_provision import paths
from ovirt_provision.errors import Code, ProvisionError

# Seconds for which a client waits until a daemon that it started serves.
START_TIMEOUT = 30.0
_LOG_TAIL_LINES = 8


class DaemonNotStarted(ProvisionError):
    """The daemon that this client started did not come up."""

    code = Code.UNAVAILABLE
    reason = "DAEMON_NOT_STARTED"
    message = "the daemon was started but {outcome}{log_tail}"
    advice = "Read {log}, or run `ovirt-provision serve` in another terminal to see what it says."


def is_listening(path: Path) -> bool:
    """True when something accepts connections on the unix socket `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def ensure_daemon(address: paths.Address, environ: Mapping[str, str] | None = None) -> None:
    """Starts a daemon unless somebody chose the address or one listens there, and returns once it serves.

    Several clients may call this at once: a lock beside the socket lets one of them start it.
    Raises DaemonNotStarted, PathUnsafe.
    """
    if address.chosen or address.socket is None or is_listening(address.socket):
        return
    variables = os.environ if environ is None else environ
    # First, because the socket's folder may be in it, and would make it with the modes of the umask.
    paths.private_folder(paths.state_folder(variables))
    folder = paths.private_folder(address.socket.parent)
    with (folder / f"{address.socket.name}.start").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_listening(address.socket):
            _start(address, variables)


def _start(address: paths.Address, environ: Mapping[str, str]) -> None:
    log = paths.state_folder(environ) / "daemon.log"
    kept = {
        name: value
        for name, value in environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith("XDG_")
    }
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
        start_of_log = output.tell()
        # The module, not the script beside the interpreter: it is there however this client was started.
        daemon = subprocess.Popen(
            [sys.executable, "-m", "ovirt_provision", "serve", "--auto-started"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            env=kept,
            start_new_session=True,
        )
    assert daemon.stdin is not None
    with contextlib.suppress(BrokenPipeError), daemon.stdin:
        daemon.stdin.write("".join(_handed_over(environ)).encode())

    deadline = time.monotonic() + START_TIMEOUT
    with grpc.insecure_channel(address.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < deadline:
            # 0: another daemon was quicker and is about to serve.
            if daemon.poll() not in (None, 0):
                outcome = f"ended with exit code {daemon.returncode}"
                break
            with contextlib.suppress(grpc.RpcError):
                reply = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            time.sleep(0.05)
        else:
            outcome = f"did not serve within {START_TIMEOUT:g} s"
    said = log.read_bytes()[start_of_log:].decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    raise DaemonNotStarted(outcome=outcome, log_tail="".join(f"\n    {line}" for line in said), log=log)


def _handed_over(environ: Mapping[str, str]) -> list[str]:
    from ovirt_provision.config import ENVIRONMENT_VARIABLES

    lines = []
    for name in ENVIRONMENT_VARIABLES:
        value = environ.get(name)
        if value:
            if name == "OVIRT_CAFILE":
                # The daemon's working directory is another one.
                value = str(Path(value).expanduser().absolute())
            lines.append(f"{name}={value}\n")
    return lines
