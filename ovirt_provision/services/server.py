"""The gRPC server of the daemon: our services, health and reflection on one unix socket."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ovirt_provision.clock import Clock
from ovirt_provision.services.interceptors import CallInterceptor
from ovirt_provision.v1 import engines_pb2, machines_pb2, operations_pb2, templates_pb2

# A generated `add_…Servicer_to_server` with the servicer that it adds.
Registration = tuple[Callable[[Any, grpc.aio.Server], None], Any]

SERVICES = [
    service.full_name
    for file in (engines_pb2, machines_pb2, operations_pb2, templates_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
_OPTIONS = [
    # Clients may ping an idle connection this often (milliseconds) without being sent away.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Server:
    """A grpc.aio server on a unix socket that only its user can open.

    Health says NOT_SERVING, and our services answer UNAVAILABLE, until `open`, and again from `close` on.
    """

    def __init__(self, registrations: Sequence[Registration], clock: Clock) -> None:
        self.calls = CallInterceptor(clock)
        self._server = grpc.aio.server(interceptors=[self.calls], options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        for add, servicer in registrations:
            add(servicer, self._server)

    async def start(self, socket: Path) -> None:
        """Binds the socket, 0600, and starts answering. A socket file that exists already is replaced."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        finally:
            os.umask(before)
        await self._server.start()

    async def open(self) -> None:
        """From now on health says SERVING and our services answer."""
        self.calls.state = "serving"
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def refuse(self) -> None:
        """From now on health says NOT_SERVING and new calls are refused; those under way go on."""
        self.calls.state = "draining"
        await self._health.enter_graceful_shutdown()
        self.calls.end_watches()

    async def stop(self, grace: float) -> None:
        """Closes the socket; calls under way have `grace` seconds left before they are cancelled."""
        await self._server.stop(grace)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *SERVICES):
            await self._health.set(service, status)
