"""The systemd units: the daemon is run as they say, and finds its folders, credentials and systemd itself."""

import ctypes
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from ovirt_provision.config import Timeouts
from ovirt_provision.ledger.secrets import CREDENTIAL

UNITS = Path(__file__).parents[1] / "packaging/systemd"
SYSTEM = UNITS / "ovirt-provision.service"
USER = UNITS / "user/ovirt-provision.service"
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


class Unit:
    """The settings of a unit, with its specifiers resolved to folders below `root`."""

    def __init__(self, file: Path, root: Path) -> None:
        self.folders = {
            "%S": root / "var/lib",
            "%t": root / "run",
            "%E": root / "etc",
            "%h": root / "home",
        }
        self.settings: dict[str, list[str]] = defaultdict(list)
        for line in file.read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                self.settings[name].append(
                    re.sub("%[StEh]", lambda found: str(self.folders[found[0]]), value)
                )

    def __getitem__(self, name: str) -> str:
        (value,) = self.settings[name]
        return value

    def directory(self, kind: str) -> Path:
        """StateDirectory= or RuntimeDirectory=, made as systemd makes it."""
        made = self.folders["%S" if kind == "State" else "%t"] / self[f"{kind}Directory"]
        made.mkdir(parents=True, mode=int(self[f"{kind}DirectoryMode"], 8))
        return made

    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for line in self.settings["Environment"] for word in shlex.split(line))


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(SYSTEM, tmp_path)


@pytest.fixture
def systemd(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        yield notified


def deny_write_execute() -> None:
    # MemoryDenyWriteExecute=; an old kernel refuses the call, and then this is not tested.
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


def test_the_daemon_serves_as_the_unit_starts_it(unit: Unit, systemd: socket.socket, tmp_path: Path):
    state, runtime = unit.directory("State"), unit.directory("Runtime")
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    contents = {"engine-password": "canary-password\n", CREDENTIAL: secrets.token_hex(32)}
    for name, _, _ in (loaded.partition(":") for loaded in unit.settings["LoadCredential"]):
        (credentials / name).write_text(contents.pop(name))
    assert contents == {}
    _, *arguments = shlex.split(unit["ExecStart"])
    config = Path(arguments[arguments.index("--config") + 1])
    config.parent.mkdir(parents=True)
    config.write_text(
        "engines:\n  lab:\n    url: https://engine.example.com/ovirt-engine/api\n"
        "    username: admin@internal\n    password_credential: engine-password\n"
    )

    assert unit["Type"] == "notify"
    process = subprocess.Popen(
        [sys.executable, "-m", "ovirt_provision", *arguments],
        env={
            "PATH": "/usr/bin:/bin",
            "CREDENTIALS_DIRECTORY": str(credentials),
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            **unit.environment(),
        },
        cwd="/",
        umask=int(unit["UMask"], 8),
        preexec_fn=deny_write_execute if unit["MemoryDenyWriteExecute"] == "yes" else None,
        stderr=subprocess.PIPE,
    )
    try:
        assert systemd.recv(100) == b"READY=1"
        assert (state / "ledger.sqlite").is_file()
        assert (runtime / "daemon.sock").is_socket()
        # The credential is the key, so none was made that would go with the runtime directory.
        assert not (runtime / "secret-key").exists()
        process.send_signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"
        _, said = process.communicate(timeout=60)
        assert (process.returncode, b"Traceback" in said) == (0, False)
        outside = {path for path in tmp_path.rglob("*") if path.is_file() and state not in path.parents}
        assert outside == {config, *credentials.iterdir()}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("file", [SYSTEM, USER], ids=["system", "user"])
def test_a_daemon_that_is_told_to_stop_has_the_time_to(file: Path, tmp_path: Path):
    longest = sum(Timeouts().model_dump()[name] for name in ("drain", "engine_request", "login"))

    assert float(Unit(file, tmp_path)["TimeoutStopSec"]) > longest


@pytest.mark.parametrize("file", [SYSTEM, USER], ids=["system", "user"])
def test_what_a_restart_does_not_mend_is_not_restarted(file: Path, tmp_path: Path):
    unit = Unit(file, tmp_path)

    assert unit["Restart"] == "on-failure"
    assert {int(code) for code in unit["RestartPreventExitStatus"].split()} == {os.EX_TEMPFAIL, os.EX_CONFIG}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_the_unit_right_and_tight(tmp_path: Path):
    # `verify` looks for the program of ExecStart=.
    unit = tmp_path / SYSTEM.name
    unit.write_text(re.sub("(?m)^ExecStart=[^ ]*", f"ExecStart={sys.executable}", SYSTEM.read_text()))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    # At most 2.0 of 10, where systemd calls it OK; by default a service has 9.6, UNSAFE.
    tight = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True,
        text=True,
    )

    assert (verified.stderr, verified.returncode) == ("", 0)
    assert tight.returncode == 0, tight.stdout
