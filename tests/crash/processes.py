"""A run of real processes: a simulator, clients over gRPC, and daemons that end by SIGKILL."""

import asyncio
import contextlib
import signal
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import grpc
import requests
import yaml
from lxml import etree
from stage import ROOT, Stage

from ovirt_provision import paths
from ovirt_provision.clock import SystemClock
from ovirt_provision.ledger.store import Ledger
from ovirt_provision.services.errors import from_rpc_error
from ovirt_provision.v1 import (
    disks_pb2_grpc,
    machines_pb2,
    machines_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    resources_pb2,
    templates_pb2_grpc,
)
from tests.crash.clients import Clients, End, Refused
from tests.crash.judgement import Verdict, judge, look
from tests.crash.schedule import Schedule, Step, draw
from tests.crash.strangers import Strangers

T = TypeVar("T")

# A second of the schedule, in real seconds.
_PACE = 0.05
_REQUEST = 2.0
_LATE_CREATE_GRACE = 4.0
_TIMEOUTS = {
    "engine_request": _REQUEST,
    "late_create_grace": _LATE_CREATE_GRACE,
    "cleanup_interval": 0.5,
    "watch_interval": 0.2,
    "renew_interval": 1,
    "lease_grace": 6,
    "idle": 3600,
}
_REAPED = 6 + 1
_SWEPT = _REQUEST + _LATE_CREATE_GRACE + 1.5
_PATIENCE = 600.0
_LOOK = 0.1
_TRIES = 5


def campaign(
    seeds: Sequence[int],
    without: frozenset[str],
    *,
    jobs: int,
    show: bool = False,
    seconds: float = float("inf"),
) -> Iterator[tuple[int, Verdict]]:
    """Each seed with the verdict on its run, as they end; none begins after so many `seconds`."""
    until = time.monotonic() + seconds

    def run_in_time(seed: int) -> Verdict | None:
        if time.monotonic() > until:
            return None
        return run(draw(seed, pace=_PACE), without=without, show=show)

    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(run_in_time, seed): seed for seed in seeds}
        for ended in as_completed(running):
            verdict = ended.result()
            if verdict is not None:
                yield running[ended], verdict


def run(schedule: Schedule, *, without: frozenset[str] = frozenset(), show: bool = False) -> Verdict:
    """The verdict on a run. `show` has the daemons log to the terminal."""
    with (
        tempfile.TemporaryDirectory(prefix="crash-") as folder,
        Stage(Path(folder), guests="none") as stage,
    ):
        return asyncio.run(_Run(schedule, stage, without, show).play())


class _Run:
    def __init__(self, schedule: Schedule, stage: Stage, without: frozenset[str], show: bool) -> None:
        self._schedule = schedule
        self._stage = stage
        self._without = without
        self._show = show
        self._clock = SystemClock()
        self._base = stage.environment["OVIRT_URL"]
        self._faults = f"{self._base.rpartition('/ovirt-engine/')[0]}/simulator/faults"
        self._web = requests.Session()
        self._web.trust_env = False  # else a REQUESTS_CA_BUNDLE counts for more than `verify`
        self._web.auth = (stage.environment["OVIRT_USERNAME"], stage.environment["OVIRT_PASSWORD"])
        self._web.verify = stage.environment["OVIRT_CAFILE"]
        self._state = stage.folder / "state" / paths.FOLDER
        self._wrong: list[str] = []

    async def play(self) -> Verdict:
        installation = self._prepare()
        strangers = Strangers(self._ask)
        strangers.settle_in(installation)
        await self._until(self._nothing_is_locked)
        before = look(self._ask)
        templates = {thing.name: thing.id for thing in before.values() if thing.kind == "template"}
        self._arm_faults()
        door = _Door(
            Path(self._stage.environment["XDG_RUNTIME_DIR"]) / paths.FOLDER / "daemon.sock", strangers
        )
        clients = Clients(self._schedule, door, self._clock, templates)
        keeping = asyncio.create_task(self._keep_a_daemon())
        try:
            async with asyncio.timeout(_PATIENCE):
                await clients.run()
                for seconds in (0, _REAPED, _SWEPT):
                    await asyncio.sleep(seconds)
                    await self._until(door.idle)
        except TimeoutError:
            self._wrong.append(f"it did not come to its end within {_PATIENCE:g} s")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        self._web.delete(self._faults).raise_for_status()
        ledger = Ledger.open(self._state / "ledger.sqlite", self._clock)
        try:
            verdict = judge(
                before,
                look(self._ask),
                ledger,
                installation,
                asked=[step.request_id for steps in self._schedule.clients for step in steps],
            )
        finally:
            ledger.close()
        verdict.wrong += clients.wrong + self._wrong
        return verdict

    def _prepare(self) -> str:
        configuration = self._stage.folder / "config" / paths.FOLDER / "config.yaml"
        configuration.parent.mkdir(parents=True, mode=0o700)
        configuration.write_text(yaml.safe_dump({"timeouts": _TIMEOUTS}))
        self._state.mkdir(parents=True, mode=0o700)
        installation = str(uuid.uuid4())
        paths.write_private(self._state / "installation", f"{installation}\n".encode())
        return installation

    def _arm_faults(self) -> None:
        faults = list(self._schedule.faults)
        for number in self._schedule.delays:
            late = {"method": "POST|PUT|DELETE", "nth": number, "seconds": _REQUEST + 0.5}
            faults.append({"fault": "delay", **late})
        for fault in faults:
            self._web.post(self._faults, json=fault).raise_for_status()

    async def _keep_a_daemon(self) -> None:
        """Starts one daemon after the other, each with the place of its death, the last to live."""
        for kill in [*self._schedule.kills, None]:
            if not await self._one_daemon(kill):
                return

    async def _one_daemon(self, kill: tuple[str, int] | None) -> bool:
        """True when it has killed itself."""
        extra = {
            "CRASH_AT": f"{kill[0]} {kill[1]}" if kill else "",
            "CRASH_WITHOUT": " ".join(self._without),
            "CRASH_PACE": str(_PACE),
            "PYTHONPATH": str(ROOT),
        }
        with (self._stage.folder / "daemon.log").open("a") as log:
            streams = {} if self._show else {"stdout": log, "stderr": log}
            daemon = self._stage.start(
                *self._stage.cli()[:1], "-m", "tests.crash.daemon", extra=extra, **streams
            )
        try:
            code = await asyncio.to_thread(daemon.wait)
        except asyncio.CancelledError:
            daemon.terminate()
            await asyncio.to_thread(daemon.wait)
            raise
        if code != -signal.SIGKILL:
            told = (self._stage.folder / "daemon.log").read_text().splitlines()[-3:]
            self._wrong.append(f"the daemon ended with exit code {code}: {' / '.join(told)}")
        return code == -signal.SIGKILL

    def _ask(self, method: str, path: str, body: str = "") -> etree._Element | None:
        headers = {"Accept": "application/xml", "Content-Type": "application/xml"}
        # The faults of the run strike whoever asks; a reading is repeated.
        for _ in range(_TRIES if method == "GET" else 1):
            with contextlib.suppress(requests.ConnectionError):
                reply = self._web.request(
                    method, self._base + path, data=body.encode() or None, headers=headers, timeout=30
                )
                if reply.ok:
                    return etree.fromstring(reply.content)
        return None

    async def _until(self, satisfied: Callable[[], Awaitable[bool]]) -> None:
        while not await satisfied():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(_LOOK)

    async def _nothing_is_locked(self) -> bool:
        return not any("status=locked" in thing.looks for thing in look(self._ask).values())


class _Door:
    """gRPC to whichever daemon serves at the moment."""

    def __init__(self, socket: Path, strangers: Strangers) -> None:
        self._socket = socket
        self._strangers = strangers

    async def call(self, step: Step, template_id: str) -> str:
        request: Any = step.request(**({"id": template_id} if template_id else {}))

        async def send(channel: grpc.aio.Channel) -> str:
            service: Any = machines_pb2_grpc.MachineServiceStub
            if step.verb.endswith("Template"):
                service = templates_pb2_grpc.TemplateServiceStub
            elif step.verb.endswith("Disk"):
                service = disks_pb2_grpc.DiskServiceStub
            reply = await getattr(service(channel), step.verb)(request)
            return str(reply.operation.id)

        return await self._insist(send)

    async def ended(self, operation: str) -> End:
        async def watch(channel: grpc.aio.Channel) -> resources_pb2.Operation:
            stub: Any = operations_pb2_grpc.OperationServiceStub(channel)
            last = resources_pb2.Operation()
            async for news in stub.WatchOperation(operations_pb2.WatchOperationRequest(id=operation)):
                last = news.operation
            if last.state in _UNENDED:
                raise _Gone
            return last

        ended = await self._insist(watch)
        succeeded = ended.state == resources_pb2.Operation.STATE_SUCCEEDED
        return End(succeeded, ended.template.id if succeeded else "")

    async def cancel(self, operation: str) -> None:
        request = operations_pb2.CancelOperationRequest(id=operation)
        await self._insist(
            lambda channel: operations_pb2_grpc.OperationServiceStub(channel).CancelOperation(request)
        )

    async def confirm(self, key: str) -> None:
        request = machines_pb2.ConfirmMachineRequest(key=key)
        await self._insist(
            lambda channel: machines_pb2_grpc.MachineServiceStub(channel).ConfirmMachine(request)
        )

    async def idle(self) -> bool:
        """Whether no operation runs."""
        request = operations_pb2.ListOperationsRequest(running_only=True)
        reply: Any = await self._insist(
            lambda channel: operations_pb2_grpc.OperationServiceStub(channel).ListOperations(request)
        )
        return not reply.operations

    async def attach(self, key: str) -> None:
        await asyncio.to_thread(self._strangers.attach, key)

    async def _insist(self, send: Callable[[Any], Awaitable[T]]) -> T:
        """Sends until a daemon answers. Raises Refused."""
        while True:
            with contextlib.suppress(_Gone):
                # One channel per attempt: a shared one would wait in its back-off.
                options = [("grpc.use_local_subchannel_pool", 1)]
                async with grpc.aio.insecure_channel(f"unix:{self._socket}", options=options) as channel:
                    try:
                        return await send(channel)
                    except grpc.RpcError as error:
                        if not _is_of_a_dead_daemon(error):
                            raise Refused(str(from_rpc_error(error).message)) from None
            await asyncio.sleep(_LOOK)


class _Gone(Exception):
    """The daemon went away before it had told the end."""


_UNENDED = (
    resources_pb2.Operation.STATE_UNSPECIFIED,
    resources_pb2.Operation.STATE_RUNNING,
    resources_pb2.Operation.STATE_UNDOING,
)


def _is_of_a_dead_daemon(error: grpc.RpcError) -> bool:
    status: Any = error
    told = {name for name, _ in status.trailing_metadata() or ()}
    return (
        status.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        and "grpc-status-details-bin" not in told
    )
