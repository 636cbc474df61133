"""What the daemon runs: the bridge and the gRPC services over it."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovirt_provision import paths
from ovirt_provision.clock import Clock
from ovirt_provision.config import Config
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.gauges import read_gauges
from ovirt_provision.services.backup_service import BackupServicer
from ovirt_provision.services.console_service import ConsoleServicer
from ovirt_provision.services.disk_service import DiskServicer
from ovirt_provision.services.engine_service import EngineServicer
from ovirt_provision.services.image_service import ImageServicer
from ovirt_provision.services.machine_service import MachineServicer
from ovirt_provision.services.network_service import NetworkServicer
from ovirt_provision.services.operation_service import OperationServicer
from ovirt_provision.services.server import Registration
from ovirt_provision.services.template_service import TemplateServicer
from ovirt_provision.v1 import (
    backups_pb2_grpc,
    consoles_pb2_grpc,
    disks_pb2_grpc,
    engines_pb2_grpc,
    images_pb2_grpc,
    machines_pb2_grpc,
    networks_pb2_grpc,
    operations_pb2_grpc,
    templates_pb2_grpc,
)

if TYPE_CHECKING:
    from ovirt_provision.services.metrics import MetricsEndpoint


class Runtime:
    """The daemon's `Runtime` (see daemon.py)."""

    def __init__(self, config: Config, state: Path, clock: Clock, installation: uuid.UUID) -> None:
        self._arguments = (config, state, clock, installation)
        self._clock = clock
        self._config = config
        self._bridge: Bridge | None = None
        self._metrics: MetricsEndpoint | None = None
        self._last_busy = clock.monotonic()
        self._operations = OperationServicer(self._started)

    def _started(self) -> Bridge:
        if self._bridge is None:
            raise RuntimeError("a call came in before the runtime was started")
        return self._bridge

    def servicers(self) -> Sequence[Registration]:
        return (
            (machines_pb2_grpc.add_MachineServiceServicer_to_server, MachineServicer(self._started)),
            (templates_pb2_grpc.add_TemplateServiceServicer_to_server, TemplateServicer(self._started)),
            (consoles_pb2_grpc.add_ConsoleServiceServicer_to_server, ConsoleServicer(self._started)),
            (disks_pb2_grpc.add_DiskServiceServicer_to_server, DiskServicer(self._started)),
            (images_pb2_grpc.add_ImageServiceServicer_to_server, ImageServicer(self._started)),
            (backups_pb2_grpc.add_BackupServiceServicer_to_server, BackupServicer(self._started)),
            (networks_pb2_grpc.add_NetworkServiceServicer_to_server, NetworkServicer(self._started)),
            (operations_pb2_grpc.add_OperationServiceServicer_to_server, self._operations),
            (engines_pb2_grpc.add_EngineServiceServicer_to_server, EngineServicer(self._started)),
        )

    async def start(self) -> None:
        bridge = self._bridge = Bridge(*self._arguments)
        if self._config.metrics is not None:
            # Its HTTP server is a tenth of the daemon's memory, and most daemons need none.
            from ovirt_provision.services.metrics import MetricsEndpoint

            address = paths.parse_address(self._config.metrics.listen, "metrics.listen")
            self._metrics = MetricsEndpoint(address, lambda: read_gauges(bridge))
            await self._metrics.start()
        bridge.start()

    def busy(self) -> bool:
        return self._started().busy

    def last_activity(self) -> float:
        if self._started().busy:
            self._last_busy = self._clock.monotonic()
        return self._last_busy

    async def drain(self) -> None:
        self._operations.drain()
        if self._bridge is not None:
            self._bridge.dispatcher.runner.wake()

    async def close(self) -> None:
        if self._metrics is not None:
            await self._metrics.close()
        if self._bridge is not None:
            await self._bridge.close()
