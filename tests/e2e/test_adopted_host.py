"""A VM that somebody else has made as a Docker host, by the real rancher-machine: run, and never changed."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ovirtsdk4
import pytest
from docker_hosts import TEMPLATE, UP, DockerHosts, missing
from ovirtsdk4 import types
from stage import SSH_PORT, Stage

from ovirt_provision.simulator.guests.stub.system import missing_tool

STANDS = 60  # seconds

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(missing(guests=False) is not None, reason=missing(guests=False) or ""),
    pytest.mark.skipif(missing_tool() is not None, reason=f"stubs need namespaces: {missing_tool()}"),
]


class Person:
    """Somebody who uses the engine past the bridge."""

    def __init__(self, connection: ovirtsdk4.Connection) -> None:
        self._vms = connection.system_service().vms_service()

    def make(self, name: str, public_key: str) -> str:
        """A VM that runs, and lets who has the key log in as `them`; returns its id."""
        told = types.Initialization(user_name="them", authorized_ssh_keys=public_key, host_name=name)
        vm = self._vms.add(
            types.Vm(
                name=name,
                comment="mind the gap",
                cluster=types.Cluster(name="Default"),
                template=types.Template(name=TEMPLATE),
                initialization=told,
            )
        )
        self._wait(vm.id, "down")
        self._vms.vm_service(vm.id).start(use_cloud_init=True, vm=types.Vm(initialization=told))
        self._wait(vm.id, "up")
        return str(vm.id)

    def look(self, vm_id: str) -> Any:
        """What only somebody who changes the VM would change, and its status."""
        vm = self._vms.vm_service(vm_id).get(follow="disk_attachments,nics,snapshots,tags")
        parts = [
            sorted(one.id for one in part) for part in (vm.disk_attachments, vm.nics, vm.snapshots, vm.tags)
        ]
        return (vm.name, vm.comment, vm.memory, parts), vm.status.value

    def _wait(self, vm_id: str, status: str) -> None:
        deadline = time.monotonic() + STANDS
        while True:
            vm = self._vms.vm_service(vm_id).get(follow="disk_attachments.disk")
            locked = [one for one in vm.disk_attachments if one.disk.status != types.DiskStatus.OK]
            if vm.status.value == status and not locked:
                return
            assert time.monotonic() < deadline, f"the VM is not {status}"
            time.sleep(0.2)


@contextlib.contextmanager
def somebody(stage: Stage) -> Iterator[Person]:
    variables = stage.environment
    connection = ovirtsdk4.Connection(
        url=variables["OVIRT_URL"],
        username=variables["OVIRT_USERNAME"],
        password=variables["OVIRT_PASSWORD"],
        ca_file=variables["OVIRT_CAFILE"],
    )
    try:
        yield Person(connection)
    finally:
        connection.close()


def test_a_vm_of_somebody_else_is_a_host_until_rm(tmp_path: Path) -> None:
    key = tmp_path / "id_theirs"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with Stage(tmp_path / "stage", guests="stub") as stage, somebody(stage) as person:
        theirs = person.make("theirs", key.with_suffix(".pub").read_text().strip())
        as_it_was, _ = person.look(theirs)
        hosts = DockerHosts(stage)
        adopted = ("--ovirt-adopt", theirs, "--ovirt-ssh-key", str(key), "--ovirt-ssh-user", "them")
        code, told = hosts.run(
            "create",
            "--driver",
            "ovirt",
            "--engine-install-url",
            "none",
            "--ovirt-ssh-port",
            str(SSH_PORT),
            *adopted,
            "web",
        )
        assert code == 0, told
        assert UP in told
        assert hosts.ssh("web", "hostname").strip() == "web"

        assert hosts.run("kill", "web")[0] == 0
        assert person.look(theirs) == (as_it_was, "down")
        assert hosts.run("start", "web")[0] == 0
        assert hosts.run("status", "web") == (0, "Running\n")
        hosts.rm("web")

        assert person.look(theirs) == (as_it_was, "up")
        assert stage.provision("census")["entries"] == []
        assert stage.provision("machine", "list").get("machines", []) == []
