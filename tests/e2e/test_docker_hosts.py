"""Docker hosts from create to rm, by the real rancher-machine: one alone, then several at once.

The guests are stubs, so that many fit: `OVIRT_PROVISION_HOSTS=20` makes as many at once, and `-rP` shows what
a host costs in seconds and in requests to the engine. A docker-machine on PATH plays the life of one, too.
"""

import concurrent.futures
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from docker_hosts import TEMPLATE, UP, DockerHosts, docker_info, missing, refused_without_certificate
from stage import SSH_PORT, Stage

from ovirt_provision.simulator.guests.stub.system import missing_tool

AT_ONCE = int(os.environ.get("OVIRT_PROVISION_HOSTS", "2"))
DOCKER_MACHINE = shutil.which("docker-machine")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing(guests=False) is not None, reason=missing(guests=False) or ""),
    pytest.mark.skipif(missing_tool() is not None, reason=f"stubs need namespaces: {missing_tool()}"),
]


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose VMs are stubs, with a daemon that is up: its start is no cost of a host."""
    with Stage(tmp_path_factory.mktemp("stubs"), guests="stub") as stage:
        stage.provision("engine", "list")
        yield stage


@pytest.fixture
def is_untouched(stubs: Stage) -> Callable[[], bool]:
    """Whether the engine holds what it held before, and nothing of ours."""
    before = stubs.world()

    def check() -> bool:
        assert stubs.provision("census")["entries"] == []
        assert stubs.world() == before
        return True

    return check


def say(hosts: DockerHosts, *arguments: str) -> str:
    """What a command that succeeds says, on both its outputs."""
    code, told = hosts.run(*arguments)
    assert code == 0, told
    return told


def look(hosts: DockerHosts, name: str, stage: Stage) -> None:
    """What users and scripts ask of a host that runs; the answers are all that is said."""
    machine = next(one for one in stage.provision("machine", "list")["machines"] if one["name"] == name)
    address = machine["addresses"][0]["ip"]
    assert say(hosts, "status", name) == "Running\n"
    assert say(hosts, "ip", name) == f"{address}\n"
    assert say(hosts, "url", name) == f"tcp://{address}:2376\n"
    assert say(hosts, "ssh", name, "hostname; exit 0") == f"{name}\n"
    driver = json.loads(say(hosts, "inspect", name))["Driver"]
    assert (driver["MachineID"], driver["Key"]) == (machine["id"], machine["key"])
    variables = hosts.env(name)
    assert variables["DOCKER_HOST"] == f"tcp://{address}:2376"
    info = docker_info(variables)
    assert (info["Name"], info["ID"]) == (name, machine["id"])
    assert "CERTIFICATE" in refused_without_certificate(variables)


def change(hosts: DockerHosts, name: str, _stage: Stage) -> None:
    """Every change of a host that stands."""
    for command, then in (
        ("stop", "Stopped\n"),
        ("start", "Running\n"),
        ("restart", "Running\n"),
    ):
        say(hosts, command, name)
        assert say(hosts, "status", name) == then
    assert docker_info(hosts.env(name))["Name"] == name
    say(hosts, "kill", name)
    assert say(hosts, "status", name) == "Stopped\n"


def remove(hosts: DockerHosts, name: str, _stage: Stage) -> None:
    say(hosts, "rm", "-y", name)


def each(
    stage: Stage, names: Sequence[str], step: Callable[[DockerHosts, str, Stage], None], hosts: DockerHosts
) -> str:
    """Plays a step for all hosts at once; returns what it cost."""
    before = stage.requests()

    def timed(name: str) -> float:
        started = time.monotonic()
        step(hosts, name, stage)
        return time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        seconds = sorted(pool.map(timed, names))
    requests = sum((stage.requests() - before).values()) - 1  # without the question how many
    return (
        f"{step.__name__} x {len(names)}: {seconds[len(seconds) // 2]:.1f} s the median, "
        f"{seconds[-1]:.1f} s the slowest, {requests / len(names):.1f} requests a host"
    )


def create(hosts: DockerHosts, name: str, _stage: Stage) -> None:
    assert UP in hosts.create(name)


def test_hosts_one_alone_and_several_at_once(stubs: Stage, is_untouched: Callable[[], bool]) -> None:
    hosts = DockerHosts(stubs)
    names = [f"host-{number}" for number in range(AT_ONCE)]
    # The first one makes the store's CA, too, which hosts that begin at once would make once each.
    print(each(stubs, ["first"], create, hosts))
    print(each(stubs, names, create, hosts))
    everyone = ["first", *names]
    before = stubs.requests()
    listed = {line.split()[0]: line.split() for line in hosts.ls().splitlines()[1:]}
    print(f"ls of {len(everyone)}: {sum((stubs.requests() - before).values()) - 1} requests")
    assert set(listed) == set(everyone)
    assert all({"ovirt", "Running"} <= set(columns) for columns in listed.values())
    assert len({columns[4] for columns in listed.values()}) == len(everyone), "each has an address of its own"
    for step in (look, change, remove):
        print(each(stubs, names, step, hosts))
    remove(hosts, "first", stubs)
    assert hosts.ls().splitlines()[1:] == []
    assert is_untouched()


@pytest.mark.skipif(DOCKER_MACHINE is None, reason="NOT tested with docker-machine: none is on PATH")
def test_the_life_of_a_host_of_docker_machine(
    stubs: Stage, is_untouched: Callable[[], bool], tmp_path: Path
) -> None:
    hosts = DockerHosts(stubs, store=tmp_path / "store", program=Path(str(DOCKER_MACHINE)))
    for step in (create, look, change, remove):
        step(hosts, "web", stubs)
    assert hosts.ls().splitlines()[1:] == []
    assert is_untouched()


CUSTOM_INSTALL = """#!/bin/sh
echo "installed as $(id -un) on $(hostname)" > /etc/installed
"""


def test_a_custom_install_script_comes_by_user_data_alone(
    stubs: Stage, is_untouched: Callable[[], bool], tmp_path: Path
) -> None:
    """As Rancher makes nodes: rancher-machine rewrites the file of --ovirt-user-data, and never uses SSH."""
    script = tmp_path / "install.sh"
    script.write_text(CUSTOM_INSTALL)
    user_data = tmp_path / "user-data"
    user_data.write_text("#cloud-config\nwrite_files:\n- {path: /etc/given, content: by the user}\n")
    hosts = DockerHosts(stubs, store=tmp_path / "store")
    flags = (
        "--ovirt-template",
        TEMPLATE,
        "--ovirt-ssh-port",
        str(SSH_PORT),
        "--ovirt-user-data",
        str(user_data),
    )
    told = say(hosts, "create", "--driver", "ovirt", "--custom-install-script", str(script), *flags, "node")
    assert "Detecting the provisioner" not in told
    (tree,) = (stubs.folder / "simulator/stubs").glob("*/etc/installed")
    assert tree.read_text() == "installed as root on node\n"
    assert (tree.parent / "given").read_text() == "by the user"
    assert user_data.read_text().endswith("by the user}\n"), "the user's own file stays as it was"
    remove(hosts, "node", stubs)
    assert is_untouched()
