#!/usr/bin/env python3
"""The demo, on a simulated oVirt with real guests: packer builds a template, rancher-machine makes a Docker
host from it, and Test Kitchen tests on it.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from docker_hosts import DockerHosts, docker_info, refused_without_certificate
from kitchen_project import KitchenProject, what_is_missing
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from stage import PACKER, ROOT, SSH_PORT, Stage, StageError

TEMPLATE = "debian-12-demo"
HOST = "demo-host"
POLLS = ("GET /events", "GET /vms", "GET /vms/{id}", "GET /templates/{id}")
CAPTION = "requests: to the engine; polls: looks at its events and at what is waited for"
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

    def skip(self, name: str, reason: str) -> None:
        console.print(f"[bold yellow]{name} is SKIPPED:[/] {escape(reason)}")
        self.rows.append((f"{name}: skipped", 0.0, Counter()))


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
        polls = sum(requests[poll] for poll in POLLS)
        shown.add_row(name, f"{seconds:.1f}", str(requests.total()), str(polls))
    return shown


def interrupt(_number: int, _frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    console.print("\nInterrupted: cleaning up…")
    raise KeyboardInterrupt


def play(stage: Stage, steps: Steps) -> None:
    """The whole story; raises StageError where it does not go as it should."""
    packers_key = stage.folder / "packers-key"
    with steps.step("packer build"):
        build_template(stage, packers_key)

    hosts = DockerHosts(stage, lambda line: console.print(escape(line.rstrip())))
    with contextlib.ExitStack() as undo:
        with steps.step("rancher-machine create"):
            undo.callback(hosts.run, "rm", "-y", HOST)
            hosts.create(HOST, f"--ovirt-template={TEMPLATE}")
        with steps.step("ls, env, ssh: look inside"):
            hosts.ls()
            variables = hosts.env(HOST)
            look_inside(hosts)
        with steps.step("try Packer's temporary key"):
            try_key(stage, hosts, packers_key)
        with steps.step("docker info, and without certificate"):
            ask_docker(variables)
        with steps.step("stop and start"):
            before = identity(hosts)
            hosts.stop(HOST)
            hosts.start(HOST)
            if (after := identity(hosts)) != before:
                raise StageError(f"the host was {before}, and after stop and start is {after}")
            console.print("The same after stop and start: " + ", ".join(before))
        with steps.step("docker info again"):
            ask_docker(hosts.env(HOST))
        with steps.step("rancher-machine rm"):
            hosts.rm(HOST)
            undo.pop_all()

    if missing := what_is_missing():
        steps.skip("kitchen test", missing)
    else:
        with steps.step("kitchen test"):
            test_with_kitchen(stage)

    with steps.step("census"):
        count(stage)


def test_with_kitchen(stage: Stage) -> None:
    project = KitchenProject(stage, template=TEMPLATE)
    with contextlib.ExitStack() as undo:
        undo.callback(stage.run, *project.command("destroy"))
        if stage.run(*project.command("test", "--concurrency", "2")).returncode:
            raise StageError("kitchen test failed")
        undo.pop_all()
    if left := project.left():
        raise StageError(f"kitchen test left {left}")


def build_template(stage: Stage, key_copy: Path) -> None:
    stage.install_plugin()
    variables = {"template_name": TEMPLATE, "ssh_port": str(SSH_PORT), "key_copy": str(key_copy)}
    options = [f"-var={name}={value}" for name, value in variables.items()]
    if stage.run(str(PACKER), "build", *options, str(ROOT / "tools/demo.pkr.hcl")).returncode:
        raise StageError("packer build failed")


def look_inside(hosts: DockerHosts) -> None:
    """Compares the host's identity with that of the build's VM, which the provisioner left in a file."""
    own = "hostname; cat /etc/machine-id; cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub"
    told = hosts.ssh(HOST, f"cat /etc/packer-build /etc/packer-build-identity; {own}")
    try:
        file, *identities = told.splitlines()
        pairs = list(zip(("hostname", "machine-id", "host key"), identities[:3], identities[3:], strict=True))
    except ValueError:
        raise StageError(f"the host told something unexpected: {told}") from None
    for name, builds, hosts_own in pairs:
        console.print(f"{name}: {hosts_own} (of the build: {builds})")
        if not hosts_own or hosts_own == builds:
            raise StageError(f"the {name} of the host is not its own")
    if "Packer was here" not in file:
        raise StageError(f"/etc/packer-build holds something else: {file}")
    if pairs[0][2] != HOST:
        raise StageError(f"the host is called {pairs[0][2]}, not {HOST}")


def try_key(stage: Stage, hosts: DockerHosts, key: Path) -> None:
    """Raises StageError unless the key is refused, as a key is, for every account that could have it."""
    address = hosts.ip(HOST)
    for user in ("packer", "machine", "root"):
        denied = ssh(stage, address, user, key, "true")
        if denied.returncode == 0 or "Permission denied" not in denied.stderr:
            raise StageError(
                f"Packer's temporary key was not refused for {user}: {denied.stderr or 'it works'}"
            )
        console.print(denied.stderr.strip())


def ask_docker(variables: Mapping[str, str]) -> None:
    info = docker_info(variables)
    console.print(f"Docker {info['ServerVersion']} on {info['Name']} answers at {variables['DOCKER_HOST']}")
    console.print(f"Without a certificate: {refused_without_certificate(variables)}")


def identity(hosts: DockerHosts) -> tuple[str, ...]:
    """The host's address, host key, machine-id and accounts: what no start may change."""
    told = hosts.ssh(
        HOST,
        "cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub; cat /etc/machine-id; "
        "getent passwd | cut -d : -f 1 | sort | sha256sum | cut -c 1-16",
    )
    return (hosts.ip(HOST), *told.split())


def count(stage: Stage) -> None:
    """Raises StageError unless the engine holds nothing of ours but the template."""
    left = [
        (entry["kind"], entry["name"], entry["finding"]) for entry in stage.provision("census")["entries"]
    ]
    if [entry for entry in left if entry[0] != "disk"] != [("template", TEMPLATE, "FINDING_OURS")]:
        raise StageError(f"the engine should hold the template alone, but there is {left}")
    if vms := stage.virtual_machines():
        raise StageError(f"there should be no virtual machine, but there is {vms}")
    console.print(f"Ours in the engine: {left}. Nothing is left but the template.")


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


if __name__ == "__main__":
    sys.exit(main())
