"""The daemon as a process of its own, around a runtime that does nothing."""

import asyncio
import errno
import os
import signal
import socket
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

from ovirt_provision import daemon, logs
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc, operations_pb2, operations_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
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
    """Runs nothing. In the state folder a file `busy` makes it busy, a pipe `start` holds up its start."""

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
        if "STUB_FAILURE" in os.environ:
            raise RuntimeError(os.environ["STUB_FAILURE"])
        if (self.state / "start").exists():
            await asyncio.to_thread((self.state / "start").read_text)

    def busy(self):
        print("asked whether busy", file=sys.stderr, flush=True)
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
        self.root = root
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
        self._await_line(process, "event=serving")

    def await_looks(self, process: "subprocess.Popen[str]", looks: int = 5) -> None:
        """Until the daemon has looked so often whether it is idle that `idle` has passed for certain."""
        for _ in range(looks):
            self._await_line(process, "asked whether busy")

    def _await_line(self, process: "subprocess.Popen[str]", text: str) -> None:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if text in line:
                return
        pytest.fail(f"the daemon ended with {process.wait()}: {seen}")

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> tuple[int, str]:
        """Exit code and all output of a daemon that is expected to end by itself."""
        process = self.start(*arguments, stdin=stdin, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err

    def handed_over(self) -> str:
        """The engine, as an auto-starting client hands it over on standard input."""
        return "".join(f"{name}={value}\n" for name, value in self.engine.items())

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


def test_an_auto_started_daemon_beside_the_one_that_its_client_wants_ends_quietly(home):
    home.serve()
    code, _ = home.run("--auto-started")
    assert code == 78  # nothing came over stdin, so it has no engine
    code, _ = home.run("--auto-started", stdin=home.handed_over())
    assert code == 0


def test_a_daemon_with_another_state_folder_does_not_take_the_socket_away(home, tmp_path):
    home.serve()
    code, said = home.run(**home.engine, XDG_STATE_HOME=str(tmp_path / "other"))

    assert code == 75
    assert f"{home.socket} is in use by a daemon with another state folder" in said
    with home.channel() as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING


def test_health_says_not_serving_until_the_runtime_has_started(home):
    (home.state).mkdir(parents=True, mode=0o700)
    os.mkfifo(home.state / "start")
    process = home.start(**home.engine)
    with home.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)
        assert next(answers).status == NOT_SERVING
        engines = engines_pb2_grpc.EngineServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            engines.ListEngines(engines_pb2.ListEnginesRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "starting" in refused.value.details()
        (home.state / "start").write_text("go")
        assert next(answers).status == SERVING
        process.send_signal(signal.SIGTERM)
        assert SERVING not in [answer.status for answer in answers]
    assert process.wait(30) == 0


def test_an_idle_auto_started_daemon_ends_unless_it_is_busy(home):
    home.state.mkdir(parents=True, mode=0o700)
    (home.state / "busy").touch()
    home.config.parent.mkdir(parents=True)
    home.config.write_text("timeouts: {idle: 0.2}")
    process = home.start("--auto-started", stdin=home.handed_over())
    home.await_serving(process)
    home.await_looks(process)
    (home.state / "busy").unlink()
    assert process.wait(30) == 0


def test_an_auto_started_daemon_keeps_its_log_small(home):
    home.state.mkdir(parents=True, mode=0o700)
    log = home.state / "daemon.log"
    log.touch()
    os.truncate(log, logs.LARGEST_LOG)
    process = home.start("--auto-started", stdin=home.handed_over())
    home.await_serving(process)
    home.await_looks(process, 1)
    assert log.stat().st_size == 0
    assert (home.state / "daemon.log.1").stat().st_size == logs.LARGEST_LOG


def test_an_open_watch_keeps_an_auto_started_daemon(home):
    home.config.parent.mkdir(parents=True)
    home.config.write_text("timeouts: {idle: 0.2}")
    process = home.start("--auto-started", stdin=home.handed_over())
    with home.channel() as channel:
        stub = operations_pb2_grpc.OperationServiceStub(channel)
        request = operations_pb2.WatchOperationRequest(id=str(uuid.uuid4()))
        home.await_serving(process)
        watch = stub.WatchOperation(request)
        next(watch)
        home.await_looks(process)
        watch.cancel()
        assert process.wait(30) == 0


def test_a_daemon_without_an_engine_names_every_way_to_get_one(home):
    code, said = home.run()
    assert code == 78
    for way in (str(home.config), "OVIRT_URL", "OVIRT_CAFILE", "ovirt-provision simulate"):
        assert way in said
    assert "Traceback" not in said


def test_no_output_and_no_file_holds_the_password(home):
    home.config.parent.mkdir(parents=True)
    home.config.write_text(f"engines: {{prod: {{url: https://e/api, username: a, pasword: {PASSWORD}}}}}")
    home.config.chmod(0o600)
    code, said = home.run()
    assert code == 78
    assert "engines.prod.pasword: is not a known key; did you mean 'password'?" in said
    code, more = home.run("--auto-started", stdin=home.handed_over().replace("_PASSWORD", "_PASWORD"))
    assert code == 78
    assert "OVIRT_PASWORD; allowed are" in more
    assert "did you mean 'OVIRT_PASSWORD'?" in more
    home.config.unlink()
    process = home.serve()
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert PASSWORD not in said + more + out + err
    for file in (file for file in home.root.rglob("*") if file.is_file()):
        assert PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_STATE_HOME"])
def test_a_folder_that_others_may_enter_is_refused(home, variable):
    folder = Path(home.environ[variable]) / "ovirt-provision"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    code, said = home.run(**home.engine)
    assert code == 78
    assert f"{folder} has mode 0755" in said
    assert f"chmod 700 {folder}" in said


def test_a_socket_path_that_is_too_long_is_explained(home):
    code, said = home.run(**home.engine, OVIRT_PROVISION_ADDRESS=f"unix:/{'x' * 110}")
    assert code == 78
    assert "OVIRT_PROVISION_ADDRESS" in said
    assert "111 bytes; a unix socket allows 107" in said


def test_a_network_address_is_refused(home):
    code, said = home.run(**home.engine, OVIRT_PROVISION_ADDRESS="0.0.0.0:4711")
    assert code == 78
    assert "'0.0.0.0:4711' is a network address" in said
    assert "`tls.listen`" in said


def test_a_file_in_the_way_of_the_socket_stays(home):
    home.socket.parent.mkdir(mode=0o700)
    home.socket.write_text("mine")
    code, said = home.run(**home.engine)
    assert code == 75
    assert "not a socket" in said
    assert home.socket.read_text() == "mine"


@pytest.mark.parametrize("content", [None, "not a uuid"])
def test_a_ledger_without_its_installation_id_is_never_taken_over(home, content):
    process = home.serve()
    process.terminate()
    process.wait(30)
    file = home.state / "installation"
    file.unlink()
    if content:
        file.write_text(content)
    code, said = home.run(**home.engine)
    assert code == 78
    assert "backup" in said
    assert (file.read_text() if content else file.exists()) == (content or False)


def test_a_client_tells_why_the_daemon_that_it_started_refuses_its_ledger(home):
    home.state.mkdir(parents=True, mode=0o700)
    (home.state / "installation").write_text(f"{uuid.uuid4()}\n")
    (home.state / "ledger.sqlite").write_text("no database " * 1000)
    client = subprocess.run(
        [sys.executable, "-m", "ovirt_provision", "machine", "list"],
        env=home.environ | home.engine,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert client.returncode == 9
    for said in (client.stderr, (home.state / "daemon.log").read_text()):
        assert f"the ledger {home.state}/ledger.sqlite is damaged: file is not a database" in said
        assert "Restore ledger.sqlite and installation from a backup" in said
    assert "exit code 78" in client.stderr


async def test_a_state_folder_on_a_full_disk_is_explained(home, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ovirt_provision.paths.write_private", refuse)
    code = await daemon.serve(daemon.ServeOptions(environ=home.environ | home.engine), StubRuntime)
    said = capsys.readouterr().err
    assert code == 78
    assert f"the state folder {home.state} cannot be written: No space left on device" in said
    assert "Make room" in said


def test_a_runtime_that_cannot_start_is_logged_without_secrets(home):
    code, said = home.run(**home.engine, STUB_FAILURE=f"{PASSWORD} is wrong")
    assert code == 70
    assert "[redacted] is wrong" in said
    assert PASSWORD not in said
    assert not home.socket.exists()


def test_systemd_is_told(home):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(home.root / "notify"))
        systemd.settimeout(30)
        process = home.start(**home.engine, NOTIFY_SOCKET=str(home.root / "notify"))
        assert systemd.recv(100) == b"READY=1"
        process.terminate()
        assert systemd.recv(100) == b"STOPPING=1"


if __name__ == "__main__":
    options = daemon.ServeOptions(auto_started="--auto-started" in sys.argv)
    sys.exit(asyncio.run(daemon.serve(options, StubRuntime)))
