"""When the server serves, and when not."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Config
from ovirt_provision.services.server import Server
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc

STATUS = health_pb2.HealthCheckResponse


class Engines(engines_pb2_grpc.EngineServiceServicer):
    def __init__(self):
        self.called = asyncio.Event()
        self.go_on = asyncio.Event()

    async def ListEngines(self, request, context):
        self.called.set()
        await self.go_on.wait()
        return engines_pb2.ListEnginesResponse()


@pytest.fixture
async def engines():
    return Engines()


@pytest.fixture
def registration(engines):
    return engines_pb2_grpc.add_EngineServiceServicer_to_server, engines


async def test_calls_are_refused_until_the_server_is_open(tmp_path, registration, engines):
    server = Server([registration], SystemClock(), Config())
    await server.start(tmp_path / "s")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        stub = engines_pb2_grpc.EngineServiceStub(channel)
        for service in ("", "ovirt_provision.v1.EngineService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == STATUS.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError, match="the daemon is starting"):
            await stub.ListEngines(engines_pb2.ListEnginesRequest())
        await server.open()
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == STATUS.SERVING
        engines.go_on.set()
        await stub.ListEngines(engines_pb2.ListEnginesRequest())
    await server.stop(0)


async def test_a_call_under_way_ends_while_new_ones_are_refused(serve, registration, engines):
    server, channel = await serve(registration)
    stub = engines_pb2_grpc.EngineServiceStub(channel)
    under_way = asyncio.ensure_future(stub.ListEngines(engines_pb2.ListEnginesRequest()))
    await engines.called.wait()
    await server.refuse()
    with pytest.raises(grpc.aio.AioRpcError, match="the daemon is draining"):
        await stub.ListEngines(engines_pb2.ListEnginesRequest())
    stopped = asyncio.create_task(server.stop(60))
    engines.go_on.set()
    await under_way
    await stopped


async def test_somebody_who_watches_health_does_not_hold_up_the_end(serve):
    server, channel = await serve()
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == STATUS.SERVING
    await server.refuse()
    async with asyncio.timeout(30):
        await server.stop(600)


async def test_activity_is_a_call_of_ours_and_not_a_look_at_health(serve, registration, engines):
    server, channel = await serve(registration)
    before = server.calls.last_activity()
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert server.calls.last_activity() == before
    call = asyncio.ensure_future(
        engines_pb2_grpc.EngineServiceStub(channel).ListEngines(engines_pb2.ListEnginesRequest())
    )
    await engines.called.wait()
    under_way = server.calls.last_activity()
    assert under_way > before
    assert server.calls.last_activity() > under_way
    engines.go_on.set()
    await call
    after = server.calls.last_activity()
    assert server.calls.last_activity() == after
