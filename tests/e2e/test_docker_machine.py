"""The real rancher-machine with the driver, against a simulated engine without guests."""

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import ROOT, Stage

BINARIES = ROOT / "build/bin"
HOST = BINARIES / "rancher-machine"
DRIVER = BINARIES / "docker-machine-driver-ovirt"
TEMPLATE = ("--ovirt-template", "debian-12")
# Seconds.
UNDO_TIMEOUT = 60
REAP_TIMEOUT = 60
SHORT_LEASES = """
timeouts:
  renew_interval: 1
  lease_grace: 4
"""

pytestmark = pytest.mark.skipif(
    not (HOST.exists() and DRIVER.exists()),
    reason="rancher-machine or the driver is not built: run `make tools`",
)


class Hosts:
    """A store of docker-machine on a stage."""

    def __init__(self, stage: Stage, store: Path) -> None:
        self._stage = stage
        self.store = store
        self._extra = {"PATH": f"{BINARIES}:{stage.environment['PATH']}"}
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = self._stage.start(
            str(HOST),
            *("--storage-path", str(self.store), *arguments),
            extra={**self._extra, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._processes.append(process)
        return process

    def clear(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        told, _ = process.communicate()
        return process.returncode, told

    def create(self, name: str, *options: str) -> tuple[int, str]:
        return self.run("create", "--driver", "ovirt", *TEMPLATE, *options, name)

    def start_create(self, name: str, until: str) -> "subprocess.Popen[str]":
        """Starts a create and returns when it has told `until`."""
        process = self.start("create", "--driver", "ovirt", *TEMPLATE, name)
        wait_for_line(process, until)
        return process

    def state(self, name: str) -> dict[str, object]:
        """The driver's part of what the host has saved."""
        config = json.loads((self.store / "machines" / name / "config.json").read_text())
        return dict(config["Driver"])


@pytest.fixture
def hosts(stage: Stage, tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(stage, tmp_path / "store")
    yield hosts
    hosts.clear()


def wait_for_line(process: "subprocess.Popen[str]", part: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if part in line:
            return
    raise AssertionError(f"rancher-machine never said '{part}':\n{''.join(seen)}")


def plugins_of(host: "subprocess.Popen[str]") -> list[int]:
    """The host starts one plugin to ask for the flags, and another for the rest."""
    children = Path(f"/proc/{host.pid}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [pid for pid in pids if DRIVER.name in Path(f"/proc/{pid}/cmdline").read_text()]


@contextlib.contextmanager
def end_of_plugins(host: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Waits at its end for the end of the host's plugins, which outlive it."""
    pids = plugins_of(host)
    assert pids
    with contextlib.ExitStack() as closing:
        descriptors = [os.pidfd_open(pid) for pid in pids]
        for descriptor in descriptors:
            closing.callback(os.close, descriptor)
        yield pids
        for pid, descriptor in zip(pids, descriptors, strict=True):
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            assert ended.poll(UNDO_TIMEOUT * 1000), f"process {pid} does not end"


def test_all_that_is_wrong_is_told_at_once(hosts: Hosts, is_untouched: Callable[[], bool]) -> None:
    code, told = hosts.create(
        "web",
        *("--ovirt-template", "debain-12", "--ovirt-cluster", "Defualt", "--ovirt-network", "ovirtmgt"),
        *("--ovirt-memory", "-5", "--ovirt-network", "ovirtmgmt:10.11.0.5"),
    )
    assert code == 3
    for given, near in (("debain-12", "debian-12"), ("Defualt", "Default"), ("ovirtmgt", "ovirtmgmt")):
        assert f"'{given}'" in told
        assert f"did you mean '{near}'?" in told
    assert "--ovirt-memory: -5 " in told
    assert "--ovirt-network: 'ovirtmgmt:10.11.0.5': the address 10.11.0.5 lacks its prefix length" in told
    assert not (hosts.store / "machines/web").exists()
    assert is_untouched()


def test_a_vm_without_ssh_is_removed(hosts: Hosts, is_untouched: Callable[[], bool]) -> None:
    code, told = hosts.create("web", "--ovirt-ssh-timeout", "1")
    assert code == 1
    assert "did not answer within 1s (--ovirt-ssh-timeout)" in told
    assert is_untouched()
    code, told = hosts.run("ls")
    assert code == 0
    assert "the VM of host web is gone" in told
    assert hosts.run("rm", "-y", "web")[0] == 0


def test_a_vm_without_ssh_is_kept_for_who_wants_to_look_at_it(
    hosts: Hosts, is_untouched: Callable[[], bool], stage: Stage
) -> None:
    code, told = hosts.create("web", "--ovirt-ssh-timeout", "1", "--ovirt-keep-on-failure")
    assert code == 1
    assert "The VM is kept (--ovirt-keep-on-failure)" in told
    (machine,) = stage.provision("machine", "list")["machines"]
    assert (machine["status"], machine["lease"]["kind"]) == ("STATUS_UP", "KIND_KEPT")
    assert hosts.run("rm", "-y", "web")[0] == 0
    assert is_untouched()


@pytest.mark.parametrize("moment", ["Creating machine", "booting", "Waiting for SSH"])
@pytest.mark.parametrize("ending", ["SIGINT to the group", "SIGTERM to the host", "SIGKILL to the host"])
def test_an_interrupted_create_leaves_nothing(
    hosts: Hosts, is_untouched: Callable[[], bool], ending: str, moment: str
) -> None:
    process = hosts.start_create("web", moment)
    with end_of_plugins(process):
        number = signal.Signals[ending.split()[0]]
        if ending.endswith("group"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    assert is_untouched()
    assert hosts.run("rm", "-y", "web")[0] == 0
    assert not (hosts.store / "machines/web").exists()


def test_a_host_that_hangs_is_given_up(hosts: Hosts, is_untouched: Callable[[], bool]) -> None:
    process = hosts.start_create("web", "Waiting for SSH")
    with end_of_plugins(process):
        process.send_signal(signal.SIGSTOP)
    assert is_untouched()
    process.kill()
    process.communicate()


def test_a_killed_plugin_costs_its_host_an_rm(
    hosts: Hosts, is_untouched: Callable[[], bool], stage: Stage
) -> None:
    """The host lives, and learns that its plugin does not; nobody has to wait for the daemon's grace."""
    process = hosts.start_create("web", "Waiting for SSH")
    for pid in plugins_of(process):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    assert stage.virtual_machines() == ["web"]
    code, told = hosts.create("web")
    assert code != 0
    assert "already exists" in told
    assert hosts.run("rm", "-y", "web")[0] == 0
    assert is_untouched()


def test_rm_finds_a_create_under_way(hosts: Hosts, is_untouched: Callable[[], bool]) -> None:
    """The host died, and nobody waits for the undo before removing what it has saved."""
    process = hosts.start_create("web", "booting")
    with end_of_plugins(process):
        process.kill()
        process.communicate()
        assert "MachineID" not in hosts.state("web") or hosts.state("web")["MachineID"] == ""
        assert hosts.run("rm", "-y", "web")[0] == 0
        assert is_untouched()


@pytest.fixture
def kept(hosts: Hosts) -> Iterator[str]:
    """A host whose create was confirmed; the real end of a create needs a guest."""
    process = hosts.start("create", "--driver", "ovirt", *TEMPLATE, "--ovirt-ssh-timeout", "0", "web")
    wait_for_line(process, "Detecting operating system")
    with end_of_plugins(process):
        process.kill()
        process.communicate()
        yield "web"
        hosts.run("rm", "-y", "web")


def test_a_host_and_its_vm(hosts: Hosts, is_untouched: Callable[[], bool], kept: str, stage: Stage) -> None:
    (machine,) = stage.provision("machine", "list")["machines"]
    address = machine["addresses"][0]["ip"]
    assert machine["name"] == kept
    assert machine["lease"]["kind"] == "KIND_KEPT"
    state = hosts.state(kept)
    assert (state["Key"], state["MachineID"], state["IPAddress"]) == (machine["key"], machine["id"], address)
    assert hosts.run("status", kept) == (0, "Running\n")
    assert hosts.run("ip", kept) == (0, f"{address}\n")
    assert hosts.run("url", kept) == (0, f"tcp://{address}:2376\n")
    assert hosts.run("stop", kept)[0] == 0
    assert hosts.run("status", kept) == (0, "Stopped\n")
    told = hosts.run("ls")[1]
    assert "Stopped" in told
    assert "not running" not in told
    stage.provision("machine", "start", str(state["Key"]))
    assert hosts.run("kill", kept)[0] == 0
    assert hosts.run("status", kept) == (0, "Stopped\n")
    assert hosts.run("rm", "-y", kept)[0] == 0
    assert is_untouched()


def test_the_vm_may_be_gone(hosts: Hosts, kept: str, stage: Stage) -> None:
    stage.provision("machine", "destroy", str(hosts.state(kept)["Key"]))
    assert "is gone" in hosts.run("ls")[1]
    code, told = hosts.run("rm", "-y", kept)
    assert code == 0, told
    assert not (hosts.store / "machines" / kept).exists()


def test_no_daemon_loses_nothing(hosts: Hosts, kept: str, stage: Stage) -> None:
    nowhere = {"OVIRT_PROVISION_ADDRESS": "unix:/nowhere/daemon.sock"}
    code, told = hosts.run("rm", "-y", kept, **nowhere)
    assert code == 1
    assert "no daemon listens at unix:/nowhere/daemon.sock" in told
    assert hosts.state(kept)["Key"]
    # The next start of a plugin sends no tombstone of a host that is kept.
    assert hosts.run("status", kept) == (0, "Running\n")
    assert stage.virtual_machines() == [kept]


@pytest.mark.parametrize("sender", ["plugin", "daemon"])
def test_rm_f_without_a_daemon_leaves_a_tombstone(
    hosts: Hosts, is_untouched: Callable[[], bool], kept: str, stage: Stage, sender: str
) -> None:
    """That the VM leaks without it: tests/operations/test_tombstone_files.py."""
    key = str(hosts.state(kept)["Key"])
    code, told = hosts.run("rm", "-f", "-y", kept, OVIRT_PROVISION_ADDRESS="unix:/nowhere/daemon.sock")
    assert code == 0
    assert not (hosts.store / "machines" / kept).exists()
    tombstone = stage.folder / f"state/ovirt-provision/tombstones/{key}.json"
    assert f"told by the tombstone {tombstone}" in told
    assert stat.S_IMODE(tombstone.stat().st_mode) == 0o600
    assert stage.environment["OVIRT_PASSWORD"] not in tombstone.read_text()
    if sender == "plugin":
        hosts.run("create", "--driver", "ovirt", "--help")
    else:
        stage.stop_daemon()
    operations = stage.provision("operation", "list")["operations"]
    destroys = [one["id"] for one in operations if one["key"] == key and one["verb"] == "DestroyMachine"]
    assert not tombstone.exists()
    (destroy,) = destroys
    assert stage.run(*stage.cli("operation", "watch", destroy), output=True).returncode == 0
    assert is_untouched()


def test_what_the_host_has_forgotten_the_daemon_knows(
    hosts: Hosts, is_untouched: Callable[[], bool], kept: str, stage: Stage
) -> None:
    shutil.rmtree(hosts.store / "machines" / kept)
    (machine,) = stage.provision("machine", "list")["machines"]
    assert machine["name"] == kept
    stage.provision("machine", "destroy", machine["key"])
    assert is_untouched()


def test_another_engine_is_not_taken_for_this_one(hosts: Hosts, kept: str, stage: Stage) -> None:
    code, told = hosts.run("rm", "-y", kept, OVIRT_URL="https://other.example.com/ovirt-engine/api")
    assert code == 1
    assert stage.environment["OVIRT_URL"] in told
    assert stage.virtual_machines() == [kept]


def test_another_daemon_is_not_taken_for_this_one(
    hosts: Hosts, kept: str, stage: Stage, tmp_path: Path
) -> None:
    with Stage(tmp_path / "other", guests="none") as other:
        folders = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
        elsewhere = {name: other.environment[name] for name in folders}
        code, told = hosts.run("rm", "-y", kept, **elsewhere)
    assert code == 1
    assert str(hosts.state(kept)["Installation"]) in told
    assert str(other.folder / "state/ovirt-provision") in told
    assert stage.virtual_machines() == [kept]


def test_no_password_is_kept(hosts: Hosts, kept: str, stage: Stage) -> None:
    password = stage.environment["OVIRT_PASSWORD"].encode()
    files = [file for file in hosts.store.rglob("*") if file.is_file()]
    assert any(file.name == "config.json" for file in files)
    assert [file for file in files if password in file.read_bytes()] == []


def test_nodes_as_rancher_makes_them(
    hosts: Hosts,
    is_untouched: Callable[[], bool],
    stage: Stage,
    from_elsewhere: dict[str, str],
    tmp_path: Path,
) -> None:
    """In a pod: no HOME and no files, a daemon elsewhere, user data from the host, and SSH to nobody."""
    pod = {
        **from_elsewhere,
        **dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), ""),
        **{f"OVIRT_PROVISION_{name}_FILE": "" for name in ("CA", "TOKEN")},
        **{
            f"OVIRT_PROVISION_{name}": Path(from_elsewhere[f"OVIRT_PROVISION_{name}_FILE"]).read_text()
            for name in ("CA", "TOKEN")
        },
    }
    install = tmp_path / "install.sh"
    install.write_text("#!/bin/sh\ntrue\n")
    code, told = hosts.run(
        *("create", "--driver", "ovirt", "--custom-install-script", str(install)),
        *(*TEMPLATE, "--ovirt-ssh-timeout", "0", "node"),
        **pod,
    )
    assert code == 0, told
    assert stage.virtual_machines() == ["node"]
    config = (hosts.store / "machines/node/config.json").read_text()
    assert pod["OVIRT_PROVISION_TOKEN"] not in config
    code, told = hosts.run("rm", "-y", "--update-config", "node", **pod)
    assert code == 0, told
    assert is_untouched()


def test_a_plugin_tells_its_flags_as_another_user(hosts: Hosts) -> None:
    """As Rancher's server asks for them."""
    try:
        subprocess.run(["true"], user=65534, group=65534, extra_groups=[], check=True)
    except PermissionError:
        pytest.skip(
            "NOT tested: this user cannot start a process as another one; root can, outside of a namespace"
        )
    nobody = {"MACHINE_PLUGIN_UID": "65534", "MACHINE_PLUGIN_GID": "65534", "HOME": "", "XDG_RUNTIME_DIR": ""}
    code, told = hosts.run("create", "--driver", "ovirt", "--help", **nobody)
    assert code == 0, told
    assert "--ovirt-template" in told


def test_the_driver_needs_no_library_of_its_host() -> None:
    told = subprocess.run(["ldd", DRIVER], capture_output=True, text=True)
    assert "not a dynamic executable" in told.stdout + told.stderr


def test_the_daemon_reaps_what_nobody_is_left_to_undo(tmp_path: Path) -> None:
    """Host and plugin are killed at once, as by the end of their container."""
    with Stage(tmp_path / "stage", guests="none") as stage:
        configuration = stage.folder / "config/ovirt-provision/config.yaml"
        configuration.parent.mkdir(parents=True)
        configuration.touch(0o600)
        configuration.write_text(SHORT_LEASES)
        before = stage.world()
        process = Hosts(stage, tmp_path / "store").start_create("web", "Waiting for SSH")
        assert stage.virtual_machines() == ["web"]
        with end_of_plugins(process) as plugins:
            process.kill()
            for plugin in plugins:
                os.kill(plugin, signal.SIGKILL)
            process.communicate()
        deadline = time.monotonic() + REAP_TIMEOUT
        while stage.world() != before:
            assert time.monotonic() < deadline, "the Machine was not reaped"
            time.sleep(0.2)
        assert stage.provision("census")["entries"] == []
