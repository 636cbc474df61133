"""The gRPC server of the daemon: our services, health and reflection, on a unix socket and by TLS."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ovirt_provision.clock import Clock
from ovirt_provision.config import Config, Tls
from ovirt_provision.errors import Code, ProvisionError
from ovirt_provision.services.authentication import Authenticator
from ovirt_provision.services.interceptors import CallInterceptor
from ovirt_provision.v1 import (
    backups_pb2,
    consoles_pb2,
    disks_pb2,
    engines_pb2,
    images_pb2,
    machines_pb2,
    networks_pb2,
    operations_pb2,
    templates_pb2,
)

# A generated `add_…Servicer_to_server` with the servicer that it adds.
Registration = tuple[Callable[[Any, grpc.aio.Server], None], Any]

SERVICES = [
    service.full_name
    for file in (
        engines_pb2,
        machines_pb2,
        consoles_pb2,
        templates_pb2,
        disks_pb2,
        images_pb2,
        backups_pb2,
        networks_pb2,
        operations_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
]
_log = structlog.get_logger(__name__)
_OPTIONS = [
    # Clients may ping an idle connection this often (milliseconds) without being sent away.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Seconds. Otherwise a call that waits to be taken is cancelled after 30, and of a thousand at once on a
    # busy machine some do wait that long; their own deadlines decide.
    ("grpc.server_max_unrequested_time_in_server", 600),
    # Or two daemons would share a TCP port, each getting some of the calls.
    ("grpc.so_reuseport", 0),
]
# Where nobody but the daemon's own user can call: what looks at lengths takes 1.8 kB for each open stream.
_ANY_LENGTH = ("grpc.max_receive_message_length", -1)


class PortUnusable(ProvisionError):
    """The address of `tls.listen` cannot be listened on."""

    code = Code.FAILED_PRECONDITION
    reason = "PORT_UNUSABLE"
    message = "the daemon cannot listen on {address} (`tls.listen`)"
    advice = "See what else listens there, and that the host is one of this machine's own addresses."


class Server:
    """A grpc.aio server on a unix socket that only its user can open and, with `tls` in the configuration, on
    TCP for owners that have a certificate or a token.

    Health says NOT_SERVING, and our services answer UNAVAILABLE, until `open`, and again from `close` on.
    """

    def __init__(self, registrations: Sequence[Registration], clock: Clock, config: Config) -> None:
        self._tls = config.tls
        self.calls = CallInterceptor(clock, Authenticator(config.tls, config.owners, config.limits))
        options = _OPTIONS if config.tls is not None else [*_OPTIONS, _ANY_LENGTH]
        self._server = grpc.aio.server(interceptors=[self.calls], options=options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        for add, servicer in registrations:
            add(servicer, self._server)

    async def start(self, socket: Path) -> None:
        """Binds the socket, 0600, and the port, and starts answering.

        A socket file that exists already is replaced. Raises PortUnusable.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        finally:
            os.umask(before)
        if self._tls is not None:
            try:
                self._server.add_secure_port(self._tls.listen, _Certificates(self._tls).credentials())
            except RuntimeError:
                raise PortUnusable(address=self._tls.listen) from None
            proof = "certificates" if self._tls.client_ca_file else "tokens"
            _log.info("listening by TLS", address=self._tls.listen, callers_prove_themselves_by=proof)
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


class _Certificates:
    """The files of `tls`, read anew at the first handshake after one has changed."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = [tls.cert_file, tls.key_file, *([tls.client_ca_file] if tls.client_ca_file else [])]
        self._seen = self._look()
        # gRPC asks in threads of its own.
        self._lock = threading.Lock()

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            self._read(),
            self._changed,  # type: ignore[arg-type]  # grpc takes None for "no change", its stubs do not
            require_client_authentication=self._tls.client_ca_file is not None,
        )

    def _look(self) -> list[tuple[int, int]]:
        return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in self._files)]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        client_ca = self._tls.client_ca_file
        return grpc.ssl_server_certificate_configuration(
            [(self._tls.key_file.read_bytes(), self._tls.cert_file.read_bytes())],
            root_certificates=client_ca.read_bytes() if client_ca else None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificates, None for those that are in use already, also while files cannot be read."""
        with self._lock:
            try:
                seen = self._look()
                if seen == self._seen:
                    return None
                read = self._read()
            except OSError as error:
                _log.error("certificates cannot be read again, the old ones stay", problem=str(error))
                return None
            self._seen = seen
            return read
