"""A real server on a unix socket, for what only shows on the wire."""

import contextlib

import grpc
import pytest

from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Config
from ovirt_provision.services.server import Server


@pytest.fixture
async def serve(tmp_path):
    """Starts a serving Server with the given registrations; returns it and a channel to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*registrations):
            server = Server(registrations, SystemClock(), Config())
            await server.start(tmp_path / "socket")
            stack.push_async_callback(server.stop, 0)
            await server.open()
            channel = grpc.aio.insecure_channel(f"unix:{tmp_path}/socket")
            return server, await stack.enter_async_context(channel)

        yield start
