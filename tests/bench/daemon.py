"""The daemon as a process of its own, on the real clock: what a Machine costs it in CPU and memory."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from bench_simulator import cpu, memory
from stage import Stage

from ovirt_provision.v1 import (
    machines_pb2,
    machines_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    resources_pb2,
)
from tests.harness import spec, started

_TIMEOUT = 600.0


@dataclass
class Process:
    """`memory` is the most bytes that the daemon had in memory; `cpu` and `wall` are seconds for all
    Machines."""

    machines: int
    memory: int
    cpu: float
    wall: float


def measure(folder: Path, machines: int) -> Process:
    """Makes and destroys Machines through a daemon, all asked for at once and each watched by a stream of its
    own. The engine is a simulator in a third process, with the timing of demos."""
    with Stage(folder, guests="none") as stage:
        stage.provision("engine", "list")  # starts the daemon
        pid = stage.daemon_pid()
        assert pid is not None
        before, began = cpu(pid), time.monotonic()
        asyncio.run(_live(stage.environment["XDG_RUNTIME_DIR"], machines))
        return Process(machines, memory(pid), cpu(pid) - before, time.monotonic() - began)


async def _live(runtime: str, machines: int) -> None:
    async with grpc.aio.insecure_channel(f"unix:{runtime}/ovirt-provision/daemon.sock") as channel:
        verbs: Any = machines_pb2_grpc.MachineServiceStub(channel)  # type: ignore[no-untyped-call]
        watching: Any = operations_pb2_grpc.OperationServiceStub(channel)  # type: ignore[no-untyped-call]

        async def run(call: Any, request: Any) -> None:
            operation = (await call(request, timeout=_TIMEOUT)).operation
            watch = operations_pb2.WatchOperationRequest(id=operation.id)
            async for news in watching.WatchOperation(watch, timeout=_TIMEOUT):
                operation = news.operation
            if operation.state != resources_pb2.Operation.STATE_SUCCEEDED:
                raise RuntimeError(f"{operation.verb} failed: {operation.error}")

        keys = [f"web-{number:04}" for number in range(machines)]
        create, destroy = machines_pb2.CreateMachineRequest, machines_pb2.DestroyMachineRequest
        await asyncio.gather(
            *(
                run(
                    verbs.CreateMachine,
                    create(request_id=str(uuid.uuid4()), key=key, spec=spec(), start_with=started()),
                )
                for key in keys
            )
        )
        await asyncio.gather(
            *(run(verbs.DestroyMachine, destroy(request_id=str(uuid.uuid4()), key=key)) for key in keys)
        )
