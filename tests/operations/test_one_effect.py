"""The same call from many clients at once, over gRPC: one effect.

All 200 rounds of 32 clients: `OVIRT_PROVISION_ROUNDS=200 pytest tests/operations/test_one_effect.py`.
"""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.services.machine_service import MachineServicer
from ovirt_provision.services.server import Server
from ovirt_provision.v1 import machines_pb2, machines_pb2_grpc
from tests.harness import Site, spec

ROUNDS = int(os.environ.get("OVIRT_PROVISION_ROUNDS", "2"))
CLIENTS = 32


class Crowd:
    """Clients with a channel each, to a server in front of a site's bridge."""

    def __init__(self, site: Site, channels: Sequence[grpc.aio.Channel]) -> None:
        self._site = site
        self._stubs: list[Any] = [machines_pb2_grpc.MachineServiceStub(channel) for channel in channels]

    async def call(self, requests: Sequence[Any]) -> list[Any]:
        """The operation or the error that each client gets for its request, all sent at once."""
        verb = type(requests[0]).__name__.removesuffix("Request")
        # Nobody's lease ends while messages are on their way.
        with self._site.clock.hold():
            replies = await asyncio.gather(
                *(getattr(stub, verb)(request) for stub, request in zip(self._stubs, requests, strict=False)),
                return_exceptions=True,
            )
        return [reply if isinstance(reply, BaseException) else reply.operation for reply in replies]

    async def agree(self, requests: Sequence[Any]) -> str:
        """The id of the one operation that all get, which then ends well."""
        answers = await self.call(requests)
        errors = [str(answer) for answer in answers if isinstance(answer, BaseException)]
        assert not errors, errors[0]
        (operation,) = {answer.id for answer in answers}
        ended = await self._site.bridge.dispatcher.runner.ended(operation)
        assert ended.state == SUCCEEDED, ended.error
        return operation


@contextlib.asynccontextmanager
async def crowd(site: Site, tmp_path: Any) -> AsyncIterator[Crowd]:
    servicer = MachineServicer(lambda: site.bridge)
    registration = (machines_pb2_grpc.add_MachineServiceServicer_to_server, servicer)
    server = Server([registration], site.clock, site.bridge.config)
    await server.start(tmp_path / "socket")
    await server.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(f"unix:{tmp_path}/socket", options=options)
            )
            for _ in range(CLIENTS)
        ]
        yield Crowd(site, channels)


def create(request_id: str = "") -> machines_pb2.CreateMachineRequest:
    return machines_pb2.CreateMachineRequest(
        request_id=request_id or str(uuid.uuid4()), key="web", spec=spec()
    )


def creates(site: Site) -> int:
    return sum((request.method, request.path) == ("POST", "/vms") for request in site.simulator.requests)


def test_many_clients_with_one_request_or_one_key_make_one_machine_in_each_round(
    site, run_virtually, tmp_path
):
    async def scenario() -> None:
        async with site() as s, crowd(s, tmp_path) as clients:
            made: list[str] = []
            for number in range(1, ROUNDS + 1):
                operation = await clients.agree([create(str(uuid.uuid4()))] * CLIENTS)
                assert creates(s) == number, f"round {number}: one request_id, one effect"
                (vm,) = s.simulator.world.vms
                assert await clients.agree([create() for _ in range(CLIENTS)]) == operation
                assert list(s.simulator.world.vms) == [vm], "the same living key is the same Machine"
                assert creates(s) == number
                row = s.bridge.ledger.object_in_engine("sim", "vm", vm)
                assert row.generation == number
                made.append(vm)
                destroy = machines_pb2.DestroyMachineRequest(request_id=str(uuid.uuid4()), key="web")
                await clients.agree([destroy] * CLIENTS)
                assert (s.vms(), s.disks()) == ([], 1)
            assert len(set(made)) == ROUNDS, "a key that is used again is a new generation"

    run_virtually(scenario())


def test_a_dispatcher_that_forgets_what_it_was_asked_tells_the_clients_different_things(
    site,
    run_virtually,
    tmp_path,
    monkeypatch,
):
    """The defence switched off: the test above can fail."""
    monkeypatch.setattr(Dispatcher, "_known", lambda *_: None)

    async def scenario() -> None:
        async with site() as s, crowd(s, tmp_path) as clients:
            destroy = machines_pb2.DestroyMachineRequest(request_id=str(uuid.uuid4()), key="web")
            with pytest.raises(AssertionError):
                await clients.agree([destroy] * 2)

    run_virtually(scenario())
