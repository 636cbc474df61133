#!/usr/bin/env python3
"""The demo: packer builds a template on a simulated oVirt with real guests, and a machine is made from it.

Run it by `make demo`, which builds what it needs first. It ends with a table, leaves no process and no VM
behind, not on Ctrl-C either, and fails when anything is not as it should be.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from stage import PACKER, ROOT, SSH_PORT, Stage, StageError

KEY = "demo"
TEMPLATE = "debian-12-demo"
HOSTNAME = "demo-machine"
USER = "demo"
CAPTION = "requests: to the engine; polls: looks at its events"
console = Console(highlight=False, soft_wrap=True)


Row = tuple[str, float, Counter[str]]


@dataclass
class Steps:
    """The steps of the demo, with what each has cost."""

    stage: Stage
    rows: list[Row] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        console.rule(f"[bold]{name}", align="left")
        started, before = time.monotonic(), self.stage.requests()
        yield
        self.rows.append((name, time.monotonic() - started, self.stage.requests() - before))


def main() -> int:
    parser = argparse.ArgumentParser(description="Plays the demo; see `make demo`.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / "build/demo", help="made anew, for state and logs"
    )
    parser.add_argument(
        "--since", type=float, metavar="SECONDS", help="when the set-up began, since the epoch"
    )
    options = parser.parse_args()
    folder = options.folder.absolute()
    rows: list[Row] = []
    if options.since:
        rows.append(("set up (kept for the next time)", time.time() - options.since, Counter()))
    shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    started = time.monotonic()
    try:
        with Stage(folder, guests="qemu") as stage:
            rows.append(("start the simulated engine", time.monotonic() - started, stage.requests()))
            play(stage, Steps(stage, rows))
    except StageError as error:
        console.print(f"[bold red]The demo failed:[/] {escape(str(error))}\nLogs are in {folder}.")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything is cleaned up.")
        return 130
    console.print(table(rows))
    return 0


def table(rows: Sequence[Row]) -> Table:
    shown = Table("step", title="make demo", title_justify="left", caption=CAPTION, caption_justify="left")
    shown.add_column("seconds", justify="right")
    shown.add_column("requests", justify="right")
    shown.add_column("of them polls", justify="right")
    in_all = ("in all", sum(row[1] for row in rows), sum((row[2] for row in rows), Counter()))
    for name, seconds, requests in [*rows, in_all]:
        if name == in_all[0]:
            shown.add_section()
        shown.add_row(name, f"{seconds:.1f}", str(requests.total()), str(requests["GET /events"]))
    return shown


def interrupt(_number: int, _frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    console.print("\nInterrupted: cleaning up…")
    raise KeyboardInterrupt


def play(stage: Stage, steps: Steps) -> None:
    packers_key = stage.folder / "packers-key"
    with steps.step("packer build"):
        stage.install_plugin()
        variables = {"template_name": TEMPLATE, "ssh_port": str(SSH_PORT), "key_copy": str(packers_key)}
        options = [f"-var={name}={value}" for name, value in variables.items()]
        if stage.run(str(PACKER), "build", *options, str(ROOT / "tools/demo.pkr.hcl")).returncode:
            raise StageError("packer build failed")

    with contextlib.ExitStack() as undo:
        with steps.step("make a machine from the new template"):
            key = new_key(stage.folder / "demo-key")
            options = [f"--template={TEMPLATE}", "--start", f"--user={USER}", f"--ssh-key={key}.pub"]
            undo.callback(stage.run, *stage.cli("machine", "destroy", KEY))
            operation = stage.provision(
                "machine", "create", KEY, *options, f"--hostname={HOSTNAME}", "--dhcp=eth0"
            )
            address = operation["machine"]["addresses"][0]["ip"]
            console.print(f"Machine '{KEY}' is up at {address}")

        with steps.step("log in with a new key and look inside"):
            look_inside(stage, address, key)

        with steps.step("try Packer's temporary key"):
            for user in ("packer", USER, "root"):
                denied = ssh(stage, address, user, packers_key, "true")
                if denied.returncode == 0 or "Permission denied" not in denied.stderr:
                    raise StageError(
                        f"Packer's temporary key was not refused for {user}: {denied.stderr or 'it works'}"
                    )
                console.print(f"{user}: {denied.stderr.strip()}")

        with steps.step("destroy the machine"):
            undo.pop_all()
            stage.provision("machine", "destroy", KEY)

    with steps.step("census"):
        left = [
            (entry["kind"], entry["name"], entry["finding"]) for entry in stage.provision("census")["entries"]
        ]
        if [entry for entry in left if entry[0] != "disk"] != [("template", TEMPLATE, "FINDING_OURS")]:
            raise StageError(f"the engine should hold the template alone, but there is {left}")
        if vms := stage.virtual_machines():
            raise StageError(f"there should be no virtual machine, but there is {vms}")
        console.print(f"Ours in the engine: {left}. Nothing is left but the template.")


def new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", path], check=True)
    return path


def ssh(stage: Stage, address: str, user: str, key: Path, command: str) -> "subprocess.CompletedProcess[str]":
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(stage.folder / "known_hosts"),
        "ConnectTimeout": "20",
        "LogLevel": "ERROR",
    }
    return subprocess.run(
        [
            *("ssh", "-F", "none", "-i", key, "-p", str(SSH_PORT)),
            *(f"-o{name}={value}" for name, value in options.items()),
            *(f"{user}@{address}", command),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def look_inside(stage: Stage, address: str, key: Path) -> None:
    """Compares the machine's identity with that of the build's VM, which the provisioner left in a file."""
    own = "hostname; cat /etc/machine-id; cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub"
    told = ssh(stage, address, USER, key, f"cat /etc/packer-build /etc/packer-build-identity; {own}")
    if told.returncode:
        raise StageError(f"SSH to the machine failed: {told.stderr}")
    try:
        file, *identities = told.stdout.splitlines()
        pairs = list(zip(("hostname", "machine-id", "host key"), identities[:3], identities[3:], strict=True))
    except ValueError:
        raise StageError(f"the machine told something unexpected: {told.stdout}") from None
    console.print(f"/etc/packer-build: {file}")
    for name, builds, machines in pairs:
        console.print(f"{name}: {machines} (of the build: {builds})")
        if not machines or machines == builds:
            raise StageError(f"the {name} of the machine is not its own")
    if "Packer was here" not in file:
        raise StageError(f"/etc/packer-build holds something else: {file}")
    if pairs[0][2] != HOSTNAME:
        raise StageError(f"the machine is called {pairs[0][2]}, not {HOSTNAME}")


if __name__ == "__main__":
    sys.exit(main())
