"""A daemon that only plays back what a test tells it, and a way to run the command line against it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from ovirt_provision import __version__
from ovirt_provision.v1 import (
    backups_pb2,
    backups_pb2_grpc,
    disks_pb2,
    disks_pb2_grpc,
    engines_pb2,
    engines_pb2_grpc,
    images_pb2,
    images_pb2_grpc,
    machines_pb2,
    machines_pb2_grpc,
    networks_pb2,
    networks_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    templates_pb2,
    templates_pb2_grpc,
)
from ovirt_provision.v1.resources_pb2 import (
    DiskInfo,
    Engine,
    Error,
    Image,
    Lease,
    Machine,
    Network,
    Operation,
    Template,
)

DEADLINE = 30


def operation(revision: int = 1, **fields: Any) -> Operation:
    fields = {"verb": "CreateMachine", "key": "web", "state": Operation.STATE_RUNNING, **fields}
    return Operation(id="00000000-0000-4000-8000-000000000001", revision=revision, **fields)


def machine() -> Machine:
    made = Machine(
        key="web", owner="me", id=str(uuid.uuid4()), name="web", status=Machine.STATUS_UP, generation=1
    )
    made.addresses.add(ip="127.0.0.5", mac="56:6f:00:00:00:01", nic="nic1", interface="eth0")
    made.lease.kind = Lease.KIND_SESSION
    made.lease.expire_time.seconds = 1_800_000_000
    return made


class FakeDaemon(
    machines_pb2_grpc.MachineServiceServicer,
    templates_pb2_grpc.TemplateServiceServicer,
    disks_pb2_grpc.DiskServiceServicer,
    images_pb2_grpc.ImageServiceServicer,
    backups_pb2_grpc.BackupServiceServicer,
    networks_pb2_grpc.NetworkServiceServicer,
    operations_pb2_grpc.OperationServiceServicer,
    engines_pb2_grpc.EngineServiceServicer,
):
    """`script` is what happens to the operation; a `grpc.StatusCode` in it breaks the stream there."""

    def __init__(self) -> None:
        self.script: list[Operation | grpc.StatusCode] = []
        self.refusal: Error | None = None
        self.requests: list[Any] = []
        self.census: list[engines_pb2.CensusEntry] = []
        self.templates: list[Template] = []
        self.findings: list[engines_pb2.Finding] = []
        self.version = __version__
        # An image that is uploaded, and after how many bytes each upload breaks off.
        self.image = b""
        self.breaks: list[int] = []
        self.reused = False
        # Requests that find the daemon gone, each once.
        self.missed: list[type[Any]] = []
        # Verbs answer only once this is set, which tests of interrupts use.
        self.answers = threading.Event()
        self.answers.set()
        self.examines = threading.Event()
        self.examines.set()
        self.asked = threading.Event()
        self.cancelled = threading.Event()
        self.renewed = threading.Semaphore(0)

    def last(self, kind: type[Any]) -> Any:
        return [request for request in self.requests if isinstance(request, kind)][-1]

    def _heard(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if type(request) in self.missed:
            self.missed.remove(type(request))
            context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon drains")
        if self.refusal is not None:
            status = status_pb2.Status(code=self.refusal.code, message=self.refusal.message)
            status.details.add().Pack(self.refusal)
            context.abort_with_status(rpc_status.to_status(status))

    def CreateMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        self.asked.set()
        self.answers.wait(DEADLINE)
        return machines_pb2.CreateMachineResponse(operation=operation())

    def CloneMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return machines_pb2.CloneMachineResponse(operation=operation(verb="CloneMachine"))

    def DestroyMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return machines_pb2.DestroyMachineResponse(operation=operation(verb="DestroyMachine"))

    def ListMachines(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        if not request.page_token:
            return machines_pb2.ListMachinesResponse(machines=[machine()], next_page_token="2")
        second = machine()
        second.key = "db"
        return machines_pb2.ListMachinesResponse(machines=[second])

    def ConfirmMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        kept = machine()
        kept.lease.Clear()
        kept.lease.kind = Lease.KIND_KEPT
        return machines_pb2.ConfirmMachineResponse(machine=kept)

    def AdoptMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return machines_pb2.AdoptMachineResponse(machine=machine())

    def StopMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return machines_pb2.StopMachineResponse(operation=operation(verb="StopMachine"))

    def RestartMachine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return machines_pb2.RestartMachineResponse(operation=operation(verb="RestartMachine"))

    def RenewLease(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        self.renewed.release()
        reply = machines_pb2.RenewLeaseResponse(lease=machine().lease)
        reply.renew_interval.FromMilliseconds(20)
        return reply

    def CreateTemplate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return templates_pb2.CreateTemplateResponse(operation=operation(verb="CreateTemplate"))

    def FindTemplate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return templates_pb2.FindTemplateResponse(template=self.templates[-1])

    def DetachDisk(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return disks_pb2.DetachDiskResponse(operation=operation(verb="DetachDisk"))

    def SparsifyDisk(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return disks_pb2.SparsifyDiskResponse(operation=operation(verb="SparsifyDisk"))

    def GetImage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return images_pb2.GetImageResponse(received_bytes=len(self.image))

    def UploadImage(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        header = next(requests).header
        self._heard(header, context)
        self.image = self.image[: header.offset]
        for request in requests:
            self.image += request.chunk
            if self.breaks and len(self.image) >= self.breaks[0]:
                del self.breaks[0]
                context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon drains")
        return images_pb2.UploadImageResponse()

    def ExportImage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return images_pb2.ExportImageResponse(operation=operation(verb="ExportImage"))

    def DownloadImage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        yield images_pb2.DownloadImageResponse(image=Image(size_bytes=len(self.image)))
        for start in range(request.offset, len(self.image), 1 << 20):
            if self.breaks and start >= self.breaks[0]:
                del self.breaks[0]
                context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon drains")
            yield images_pb2.DownloadImageResponse(chunk=self.image[start : start + (1 << 20)])

    def RemoveImage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return images_pb2.RemoveImageResponse()

    def ImportImage(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        if request.validate_only:
            return images_pb2.ImportImageResponse(reused=self.reused)
        return images_pb2.ImportImageResponse(operation=operation(verb="ImportImage"), reused=self.reused)

    def ListDisks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        number = int(request.page_token or "1")
        disks = [DiskInfo(name=f"disk-{number}", size_bytes=10 << 30, storage_domains=["data"])]
        return disks_pb2.ListDisksResponse(disks=disks, next_page_token="2" if number == 1 else "")

    def MarkBackupDomain(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return backups_pb2.MarkBackupDomainResponse(operation=operation(verb="MarkBackupDomain"))

    def CreateBackup(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return backups_pb2.CreateBackupResponse(operation=operation(verb="CreateBackup"))

    def RestoreBackup(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return backups_pb2.RestoreBackupResponse(operation=operation(verb="RestoreBackup"))

    def ListBackups(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        saved = Template(name="web.backup-1f6f0a3c", version=1, ours=True)
        listed = backups_pb2.Backup(template=saved, storage_domains=["vault"], size_bytes=3 << 30)
        return backups_pb2.ListBackupsResponse(backups=[listed])

    def FindNetwork(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        found = Network(name="ovirtmgmt", data_center="Default", vnic_profiles=["ovirtmgmt"])
        return networks_pb2.FindNetworkResponse(network=found)

    def ExportTemplate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return templates_pb2.ExportTemplateResponse(operation=operation(verb="ExportTemplate"))

    def DestroyTemplate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return templates_pb2.DestroyTemplateResponse(operation=operation(verb="DestroyTemplate"))

    def ListTemplates(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        named = [t for t in self.templates if request.name in ("", t.name)]
        return templates_pb2.ListTemplatesResponse(templates=named)

    def WatchOperation(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._heard(request, context)
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, grpc.StatusCode):
                context.abort(step, "the daemon drains")
            yield operations_pb2.WatchOperationResponse(operation=step)
            if step.state not in (Operation.STATE_RUNNING, Operation.STATE_UNDOING):
                return
        if not self.cancelled.wait(DEADLINE):
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the test's script ended too early")
        ended = operation(90, state=Operation.STATE_CANCELLED, cleanup=Operation.CLEANUP_DONE)
        ended.error.CopyFrom(
            Error(code=code_pb2.CANCELLED, message="CreateMachine was cancelled by its client")
        )
        yield operations_pb2.WatchOperationResponse(operation=ended)

    def CancelOperation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        self.cancelled.set()
        return operations_pb2.CancelOperationResponse(operation=operation(80, state=Operation.STATE_UNDOING))

    def ListEngines(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return engines_pb2.ListEnginesResponse(
            engines=[Engine(profile="lab", url="https://e/api", username="me", is_default=True)],
            daemon=engines_pb2.Daemon(version=self.version, state_folder="/state"),
        )

    def TakeCensus(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        return engines_pb2.TakeCensusResponse(entries=self.census)

    def ExamineEngine(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._heard(request, context)
        self.examines.wait(DEADLINE)
        return engines_pb2.ExamineEngineResponse(findings=self.findings)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs `ovirt-provision` as a process of its own."""

    address: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "OVIRT_PROVISION_ADDRESS": self.address,
            **self.environment,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "ovirt_provision", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Result:
        return self.result(self.start(*arguments))

    def interrupt(self, process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> Result:
        process.send_signal(number)
        return self.result(process)

    @staticmethod
    def result(process: "subprocess.Popen[str]") -> Result:
        out, err = process.communicate(timeout=DEADLINE)
        assert "Traceback" not in err
        return Result(process.returncode, out, err)


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def cli(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Cli]:
    # Shorter than what pytest's own folder leaves for the path of a unix socket.
    with tempfile.TemporaryDirectory(prefix="cli-") as folder:
        address = f"unix:{folder}/daemon.sock"
        server = grpc.server(futures.ThreadPoolExecutor(8))
        add: Callable[..., None]
        for add in (
            machines_pb2_grpc.add_MachineServiceServicer_to_server,
            templates_pb2_grpc.add_TemplateServiceServicer_to_server,
            disks_pb2_grpc.add_DiskServiceServicer_to_server,
            images_pb2_grpc.add_ImageServiceServicer_to_server,
            backups_pb2_grpc.add_BackupServiceServicer_to_server,
            networks_pb2_grpc.add_NetworkServiceServicer_to_server,
            operations_pb2_grpc.add_OperationServiceServicer_to_server,
            engines_pb2_grpc.add_EngineServiceServicer_to_server,
        ):
            add(daemon, server)
        server.add_insecure_port(address)
        server.start()
        try:
            yield Cli(address, tmp_path)
        finally:
            daemon.cancelled.set()
            daemon.answers.set()
            server.stop(None)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The OVIRT_* variables of a simulated engine that runs as a process of its own."""
    folder = tmp_path_factory.mktemp("engine")
    ready = folder / "engine.env"
    arguments = ["simulate", "--port", "0", "--ready-file", str(ready), "--state-dir", str(folder / "state")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ovirt_provision", *arguments], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + DEADLINE
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield dict(word.split("=", 1) for word in shlex.split(ready.read_text()))
    process.terminate()
    process.wait(DEADLINE)
