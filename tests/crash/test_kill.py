"""kill -9 of a real daemon in the middle of its work; the next one has to end it exactly once.

Where it is killed is counted in news of the operation, not in time: after the n-th message of its watch
stream. More kills: `OVIRT_PROVISION_KILLS=20 pytest tests/crash`; `make test` plays seeds with many more.
"""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from stage import Stage

from ovirt_provision.v1 import (
    machines_pb2,
    machines_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    resources_pb2,
    templates_pb2,
    templates_pb2_grpc,
)

KILLS = range(int(os.environ["OVIRT_PROVISION_KILLS"])) if "OVIRT_PROVISION_KILLS" in os.environ else (2,)
DEADLINE = 60.0


class Client:
    """A client of whichever daemon runs on the stage now."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._socket = Path(stage.environment["XDG_RUNTIME_DIR"]) / "ovirt-provision/daemon.sock"

    def _channel(self) -> grpc.Channel:
        if self._stage.daemon_pid() is None:
            self._stage.provision("engine", "list")  # starts one
        # One channel per daemon: a shared one would wait in its back-off.
        return grpc.insecure_channel(f"unix:{self._socket}", options=[("grpc.use_local_subchannel_pool", 1)])

    def call(self, request: Any) -> resources_pb2.Operation:
        """Calls the verb that the request belongs to."""
        verb = type(request).__name__.removesuffix("Request")
        with self._channel() as channel:
            stub: Any = (
                templates_pb2_grpc.TemplateServiceStub(channel)
                if verb.endswith("Template")
                else machines_pb2_grpc.MachineServiceStub(channel)
            )
            operation: resources_pb2.Operation = getattr(stub, verb)(request, timeout=DEADLINE).operation
            return operation

    def watch(self, operation_id: str, messages: int | None = None) -> resources_pb2.Operation:
        """The last of so many messages of a watch stream, or of all until the operation has ended."""
        request = operations_pb2.WatchOperationRequest(id=operation_id)
        with self._channel() as channel:
            stream = operations_pb2_grpc.OperationServiceStub(channel).WatchOperation(
                request, timeout=DEADLINE
            )
            for number, news in enumerate(stream, start=1):
                last = news.operation
                if number == messages:
                    break
        return last

    def run(self, request: Any) -> resources_pb2.Operation:
        """Calls a verb and waits for its end."""
        operation = self.watch(self.call(request).id)
        assert operation.state == resources_pb2.Operation.STATE_SUCCEEDED, operation
        return operation

    def run_through_a_kill(self, request: Any, after: int) -> resources_pb2.Operation:
        """The same, with a kill -9 of the daemon after so many messages, and the call repeated afterwards."""
        operation = self.call(request)
        if after:
            self.watch(operation.id, after)
        self._stage.stop_daemon(signal.SIGKILL)
        again = self.call(request)
        assert again.id == operation.id
        ended = self.watch(operation.id)
        assert ended.state == resources_pb2.Operation.STATE_SUCCEEDED, ended
        return ended


def create(key: str) -> machines_pb2.CreateMachineRequest:
    return machines_pb2.CreateMachineRequest(
        request_id=str(uuid.uuid4()),
        key=key,
        spec=resources_pb2.MachineSpec(template=resources_pb2.TemplateRef(name="debian-12")),
        start_with=resources_pb2.Initialization(user_data="runcmd: [canary-5d1c]"),
    )


def destroy(key: str) -> machines_pb2.DestroyMachineRequest:
    return machines_pb2.DestroyMachineRequest(request_id=str(uuid.uuid4()), key=key)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage"), guests="none") as stage:
        yield stage


@pytest.fixture
def client(stage: Stage) -> Client:
    return Client(stage)


@pytest.mark.parametrize("after", KILLS)
def test_a_create_ends_with_one_machine_and_a_destroy_with_none(stage: Stage, client: Client, after: int):
    before = stage.world()

    client.run_through_a_kill(create("web"), after)
    assert stage.virtual_machines() == ["web"]

    client.run_through_a_kill(destroy("web"), after)
    assert stage.world() == before
    assert stage.provision("census")["entries"] == []


@pytest.mark.parametrize("after", KILLS)
def test_a_template_ends_as_one_template(stage: Stage, client: Client, after: int):
    before = stage.world()
    client.run(create("build"))
    client.run(machines_pb2.StopMachineRequest(request_id=str(uuid.uuid4()), key="build"))

    made = client.run_through_a_kill(
        templates_pb2.CreateTemplateRequest(
            request_id=str(uuid.uuid4()), machine_key="build", name="golden", seal=True
        ),
        after,
    )

    assert [name for kind, name, _ in stage.world() if kind == "template" and name == "golden"] == ["golden"]
    client.run(destroy("build"))
    client.run(templates_pb2.DestroyTemplateRequest(request_id=str(uuid.uuid4()), id=made.template.id))
    assert stage.world() == before


def holders(stage: Stage) -> list[str]:
    """Where a secret is to be read: in the state folder, the list of processes, the daemon's environment."""
    secrets = (b"canary-5d1c", stage.environment["OVIRT_PASSWORD"].encode())
    files = [file for file in (stage.folder / "state").rglob("*") if file.is_file()]
    files += Path("/proc").glob("[0-9]*/cmdline")
    pid = stage.daemon_pid()
    assert pid is not None
    files.append(Path(f"/proc/{pid}/environ"))
    found = []
    for file in files:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            content = file.read_bytes()
            found += [str(file) for secret in secrets if secret in content]
    return found


def test_no_secret_lies_in_the_state_folder_or_in_the_list_of_processes(stage: Stage, client: Client):
    creating = client.call(create("web"))
    client.watch(creating.id, 2)
    assert holders(stage) == []
    stage.stop_daemon(signal.SIGKILL)
    client.watch(creating.id)
    assert holders(stage) == []
    client.run(destroy("web"))

    assert holders(stage) == []
    assert (stage.folder / "state/ovirt-provision/ledger.sqlite").exists()
    assert (stage.folder / "state/ovirt-provision/daemon.log").read_text()


def test_a_secret_in_an_argument_would_be_seen(stage: Stage):
    stage.provision("engine", "list")
    waits = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
    with stage.start(*waits, "canary-5d1c", stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # the list of processes shows arguments only after the start
            assert holders(stage) == [f"/proc/{process.pid}/cmdline"]
        finally:
            process.kill()
