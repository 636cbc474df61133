"""The daemon as a process of its own, around a runtime that does nothing."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ovirt_provision import daemon
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc, operations_pb2, operations_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
PASSWORD = "canary-7b1f-password"
REPOSITORY = Path(__file__).parents[1]


class StubEngines(engines_pb2_grpc.EngineServiceServicer):
    def __init__(self, configured):
        self.configured = configured

    async def ListEngines(self, request, context):
        names = self.configured.engines
        return engines_pb2.ListEnginesResponse(engines=[{"profile": name} for name in names])


class StubOperations(operations_pb2_grpc.OperationServiceServicer):
    def __init__(self):
        self.drained = asyncio.Event()

    async def WatchOperation(self, request, context):
        yield operations_pb2.WatchOperationResponse(operation={"id": request.id})
        await self.drained.wait()


class StubRuntime:
    """Runs nothing; the file `busy` in the state folder makes it busy."""

    def __init__(self, configured, state, clock, installation):
        self.state = state
        self.clock = clock
        self.operations = StubOperations()
        self.engines = StubEngines(configured)

    def servicers(self):
        return [
            (engines_pb2_grpc.add_EngineServiceServicer_to_server, self.engines),
            (operations_pb2_grpc.add_OperationServiceServicer_to_server, self.operations),
        ]

    async def start(self):
        (self.state / "ledger.sqlite").touch()

    def busy(self):
        return (self.state / "busy").exists()

    def last_activity(self):
        return 0.0

    async def drain(self):
        self.operations.drained.set()

    async def close(self):
        (self.state / "closed").touch()


class Home:
    """A user's folders, and daemons started in them."""

    def __init__(self, root: Path) -> None:
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
        }
        (root / "run").mkdir(mode=0o700)
        self.state = root / "state/ovirt-provision"
        self.socket = root / "run/ovirt-provision/daemon.sock"
        self.config = root / "config/ovirt-provision/config.yaml"
        self.ca = root / "ca.pem"
        self.ca.write_text("-----BEGIN CERTIFICATE-----\n")
        self.engine = {
            "OVIRT_URL": "https://engine.example.com/ovirt-engine/api",
            "OVIRT_USERNAME": "admin@internal",
            "OVIRT_PASSWORD": PASSWORD,
            "OVIRT_CAFILE": str(self.ca),
        }
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, stdin: str = "", **variables: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=self.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self.processes.append(process)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def serve(self) -> "subprocess.Popen[str]":
        """Starts a daemon with the engine of OVIRT_*, and waits until it serves."""
        process = self.start(**self.engine)
        self.await_serving(process)
        return process

    def await_serving(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if "event=serving" in line:
                return
        pytest.fail(f"the daemon ended with {process.wait()}: {seen}")

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> tuple[int, str]:
        """Exit code and all output of a daemon that is expected to end by itself."""
        process = self.start(*arguments, stdin=stdin, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{self.socket}")


@pytest.fixture
def home(tmp_path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_serves_on_a_socket_that_only_its_user_can_open(home):
    home.serve()

    assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.state.stat().st_mode) == 0o700
    with home.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING
        engines = engines_pb2_grpc.EngineServiceStub(channel).ListEngines(engines_pb2.ListEnginesRequest())
        assert [engine.profile for engine in engines.engines] == ["env"]
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        names = {service.name for service in next(answers).list_services_response.service}
        assert "ovirt_provision.v1.MachineService" in names


def test_sigterm_ends_watches_and_the_process(home):
    process = home.serve()
    with home.channel() as channel:
        watch = operations_pb2_grpc.OperationServiceStub(channel).WatchOperation(
            operations_pb2.WatchOperationRequest(id=str(uuid.uuid4()))
        )
        next(watch)
        process.send_signal(signal.SIGTERM)
        assert list(watch) == []
    assert process.wait(30) == 0
    assert (home.state / "closed").exists()
    assert not home.socket.exists()


def test_a_second_daemon_is_refused_and_told_which_one_runs(home):
    first = home.serve()
    code, said = home.run(**home.engine)

    assert code == 75
    assert f"process {first.pid}" in said
    assert str(home.socket) in said
    with home.channel() as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING


def test_a_daemon_killed_hard_leaves_nothing_in_the_way(home):
    first = home.serve()
    installation = (home.state / "installation").read_text()
    first.kill()
    first.wait()
    assert home.socket.exists()
    home.serve()
    assert (home.state / "installation").read_text() == installation


if __name__ == "__main__":
    daemon.IDLE_LOOK = 0.05
    options = daemon.ServeOptions(auto_started="--auto-started" in sys.argv)
    sys.exit(asyncio.run(daemon.serve(options, StubRuntime)))
