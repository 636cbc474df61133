"""The client of the daemon: where it is, how it is asked, and how an operation is waited for."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from ovirt_provision import paths
from ovirt_provision.cli import autostart
from ovirt_provision.cli.channel import open_channel
from ovirt_provision.errors import Code, ErrorReport, ProvisionError, Violation
from ovirt_provision.services.errors import from_message
from ovirt_provision.v1 import operations_pb2, resources_pb2
from ovirt_provision.v1.backups_pb2_grpc import BackupServiceStub
from ovirt_provision.v1.consoles_pb2_grpc import ConsoleServiceStub
from ovirt_provision.v1.disks_pb2_grpc import DiskServiceStub
from ovirt_provision.v1.engines_pb2_grpc import EngineServiceStub
from ovirt_provision.v1.images_pb2_grpc import ImageServiceStub
from ovirt_provision.v1.machines_pb2_grpc import MachineServiceStub
from ovirt_provision.v1.networks_pb2_grpc import NetworkServiceStub
from ovirt_provision.v1.operations_pb2_grpc import OperationServiceStub
from ovirt_provision.v1.templates_pb2_grpc import TemplateServiceStub

# Seconds for the reply to a call. Long verbs answer at once, so only an engine that hangs comes near it.
CALL_TIMEOUT = 120.0
# Seconds without news from the daemon after which waiting for an operation ends. The operation goes on.
SILENCE_TIMEOUT = 120.0

_ENDED = (
    resources_pb2.Operation.STATE_SUCCEEDED,
    resources_pb2.Operation.STATE_FAILED,
    resources_pb2.Operation.STATE_CANCELLED,
)

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


class Verb(Protocol):
    """A stub's method that answers with an Operation."""

    def future(self, request: Any, timeout: float | None = None) -> Any: ...


class CallFailed(ProvisionError):
    """A call that the daemon refused, or an operation that failed: the daemon's own error, whole."""

    def __init__(self, error: resources_pb2.Error) -> None:
        super().__init__(
            phase=error.phase,
            engine_text=error.engine_text,
            correlation_id=error.correlation_id,
            violations=[Violation(v.field, v.description) for v in error.violations],
        )
        self.error = error

    def __str__(self) -> str:
        return self.error.message

    def report(self) -> ErrorReport:
        return from_message(self.error)


class DaemonUnreachable(ProvisionError):
    """Nothing answers at the daemon's address."""

    code = Code.UNAVAILABLE
    reason = "DAEMON_UNREACHABLE"
    message = "no daemon answers at {address} ({source}): {detail}"
    advice = "Start one with `ovirt-provision serve`, or correct OVIRT_PROVISION_ADDRESS."


class TlsFailed(DaemonUnreachable):
    """Nothing answers at the daemon's address with TLS, or one side does not take the other's certificate."""

    reason = "DAEMON_UNREACHABLE_BY_TLS"
    advice = (
        "See that the daemon runs with this `tls.listen`, that OVIRT_PROVISION_CA_FILE is the CA of its "
        "certificate, and that it takes yours: one that is missing, expired or of another CA ends the "
        "connection without a word."
    )


class WatchLost(ProvisionError):
    """The daemon went silent while an operation was waited for."""

    code = Code.UNAVAILABLE
    reason = "WATCH_LOST"
    message = "no news of operation {id} for {seconds:g} s: {detail}"
    advice = "The operation is kept by the daemon; go on with: ovirt-provision operation watch {id}"


class CaFileUnreadable(ProvisionError):
    """The file that OVIRT_CAFILE names cannot be read."""

    code = Code.INVALID_ARGUMENT
    reason = "CA_FILE_UNREADABLE"
    message = "OVIRT_CAFILE: {path} cannot be read: {problem}"


class Interrupted(KeyboardInterrupt):
    """SIGTERM, as an exception like the one of Ctrl-C."""


class Daemon:
    """A connection to the daemon, which is started when it is needed and nobody chose another."""

    def __init__(self, profile: str = "") -> None:
        """`profile` is the engine profile to name in calls; without one environment and daemon choose."""
        self._profile = profile
        self.address = paths.daemon_address()
        self.connect()

    def connect(self) -> None:
        """Opens the channel, or opens it anew; a daemon that is gone is started unless somebody chose it.

        Raises DaemonNotStarted, PathUnsafe, PlainTcpRefused and CredentialUnreadable.
        """
        autostart.ensure_daemon(self.address)
        channel = open_channel(self.address)
        self.machines = MachineServiceStub(channel)
        self.templates = TemplateServiceStub(channel)
        self.disks = DiskServiceStub(channel)
        self.consoles = ConsoleServiceStub(channel)
        self.images = ImageServiceStub(channel)
        self.backups = BackupServiceStub(channel)
        self.networks = NetworkServiceStub(channel)
        self.operations = OperationServiceStub(channel)
        self.engines = EngineServiceStub(channel)

    @property
    def engine(self) -> resources_pb2.EngineRef:
        """The engine that calls mean: the named profile, else our own OVIRT_*, else the daemon's default."""
        if self._profile:
            return resources_pb2.EngineRef(profile=self._profile)
        if os.environ.get("OVIRT_URL"):
            return resources_pb2.EngineRef(fingerprint=_fingerprint())
        return resources_pb2.EngineRef()

    def call(self, method: Callable[..., Reply], request: Message) -> Reply:
        """Calls a method that answers at once. Raises ProvisionError."""
        with self._errors():
            return method(request, timeout=CALL_TIMEOUT)

    def upload(self, method: Callable[..., Reply], requests: Iterator[Message]) -> Reply:
        """Calls a method with a stream of requests, for as long as it takes. Raises ProvisionError."""
        with self._errors():
            return method(requests)

    @contextlib.contextmanager
    def stream(self, method: Callable[..., Any], requests: Iterator[Message] | Message) -> Iterator[Any]:
        """The replies to one request or to a stream; the call ends with the block. Raises ProvisionError."""
        with self._errors():
            call = method(requests)
            try:
                yield call
            finally:
                call.cancel()

    def list_all(self, method: Callable[..., Reply], request: Any) -> Reply:
        """All pages of a listing, as one reply; `request` is that for the first page."""
        listed = page = self.call(method, request)
        while token := page.next_page_token:  # type: ignore[attr-defined]
            request.page_token = token
            page = self.call(method, request)
            listed.MergeFrom(page)
        listed.ClearField("next_page_token")
        return listed

    def begin(self, verb: Verb, request: Message) -> resources_pb2.Operation:
        """Begins a verb and returns its operation at once. Raises ProvisionError."""
        with self._errors():
            return _operation(verb.future(request, timeout=CALL_TIMEOUT).result())

    def run(
        self,
        verb: Verb,
        request: Message,
        show: Callable[[resources_pb2.Operation], None],
        on_interrupt: Callable[[], None],
    ) -> resources_pb2.Operation:
        """Begins a verb and waits until its operation has ended, showing each change.

        On Ctrl-C or SIGTERM it calls `on_interrupt`, cancels the operation, waits for its undo and raises the
        interrupt again. Raises ProvisionError when the call or the operation fails.
        """
        with Interrupts() as interrupts, self._errors():
            begun = verb.future(request, timeout=CALL_TIMEOUT)
            try:
                interrupts.arm()
                return _succeeded(self._follow(_operation(begun.result()), show))
            except KeyboardInterrupt:
                on_interrupt()
                operation = _operation(begun.result())
                self.operations.CancelOperation(
                    operations_pb2.CancelOperationRequest(id=operation.id), timeout=CALL_TIMEOUT
                )
                self._follow(operation, show)
                raise

    def watch(
        self, operation: resources_pb2.Operation, show: Callable[[resources_pb2.Operation], None]
    ) -> resources_pb2.Operation:
        """Waits until an operation has ended, however it ends. Raises ProvisionError."""
        with self._errors():
            return self._follow(operation, show)

    def _follow(
        self, operation: resources_pb2.Operation, show: Callable[[resources_pb2.Operation], None]
    ) -> resources_pb2.Operation:
        show(operation)
        heard = time.monotonic()
        pause = 0.1
        detail = "the daemon ended the stream"
        while operation.state not in _ENDED:
            request = operations_pb2.WatchOperationRequest(id=operation.id, after_revision=operation.revision)
            try:
                for reply in self.operations.WatchOperation(request):
                    operation = reply.operation
                    heard, pause = time.monotonic(), 0.1
                    show(operation)
                    if operation.state in _ENDED:
                        return operation
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                detail = error.details() or detail
            if time.monotonic() - heard > SILENCE_TIMEOUT:
                raise WatchLost(id=operation.id, seconds=SILENCE_TIMEOUT, detail=detail)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
            self.connect()
        return operation

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def _failure(self, error: grpc.RpcError) -> ProvisionError:
        status = rpc_status.from_call(error)
        told = resources_pb2.Error()
        for detail in status.details if status else ():
            if detail.Unpack(told):
                return CallFailed(told)
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return (DaemonUnreachable if self.address.socket is not None else TlsFailed)(
                address=self.address, source=self.address.source, detail=error.details() or "no answer"
            )
        number, name = error.code().value
        return CallFailed(
            resources_pb2.Error(code=number, reason=name.upper(), message=error.details() or name)
        )


def _operation(reply: Any) -> resources_pb2.Operation:
    operation: resources_pb2.Operation = reply.operation
    return operation


def _succeeded(operation: resources_pb2.Operation) -> resources_pb2.Operation:
    if operation.state != resources_pb2.Operation.STATE_SUCCEEDED:
        raise CallFailed(operation.error)
    return operation


def _fingerprint() -> str:
    # Imported where it is needed: pydantic would double the time that `--help` takes.
    from ovirt_provision.config import fingerprint

    ca_file = os.environ.get("OVIRT_CAFILE")
    try:
        ca = Path(ca_file).expanduser().read_bytes() if ca_file else b""
    except OSError as error:
        raise CaFileUnreadable(path=ca_file, problem=error.strerror) from None
    return fingerprint(os.environ["OVIRT_URL"], os.environ.get("OVIRT_USERNAME", ""), ca)


class Interrupts:
    """SIGINT and SIGTERM as KeyboardInterrupt and Interrupted, also where SIGINT is ignored, as in what a
    shell runs in the background; one that comes before `arm` is raised by that.

    The daemon may be at work from the moment at which a call goes out, so no interrupt may come between the
    call and the `try` that cancels it.
    """

    def __init__(self) -> None:
        self._armed = False
        self._arrived: type[KeyboardInterrupt] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._arrive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        self._armed = True
        if self._arrived:
            raise self._arrived

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        self._arrived = Interrupted if number == signal.SIGTERM else KeyboardInterrupt
        if self._armed:
            raise self._arrived
