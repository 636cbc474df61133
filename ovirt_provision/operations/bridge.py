"""The bridge: everything below gRPC, put together. Services and tests start here."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

from ovirt_provision.clock import Clock
from ovirt_provision.config import Config
from ovirt_provision.engine import Engine
from ovirt_provision.guest import ssh
from ovirt_provision.guest.ssh import Greeting
from ovirt_provision.images.store import ImageStore
from ovirt_provision.images.transfer import Mover, process_mover
from ovirt_provision.ledger.secrets import SecretStore
from ovirt_provision.ledger.store import Ledger
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.operations.import_image import images_in_use
from ovirt_provision.operations.janitor import Janitor
from ovirt_provision.operations.leases import Leases
from ovirt_provision.operations.tombstone_files import FOLDER, TombstoneFiles


class Bridge:
    """The ledger, the verbs, the leases and the engines of one daemon.

    `state` is the state folder; `greeting` looks for an SSH server, and `mover` moves the bytes of images, by
    default by a process. Make and close it inside the event loop that it shall run in.
    """

    def __init__(
        self,
        config: Config,
        state: Path,
        clock: Clock,
        installation: uuid.UUID,
        *,
        greeting: Greeting = ssh.greeting,
        mover: Mover | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.state = state
        self.installation = str(installation)
        self.ledger = Ledger.open(state / "ledger.sqlite", clock)
        self._engines: dict[str, Engine] = {}
        self.images = ImageStore(
            state / "images", config.images, clock, used=lambda: images_in_use(self.ledger)
        )
        self.dispatcher = Dispatcher(
            self.ledger,
            clock,
            engines=self.engine,
            secrets=SecretStore(state / "secrets"),
            timeouts=config.timeouts,
            installation=self.installation,
            limits=config.limits,
            greeting=greeting,
            images=self.images,
            mover=mover or process_mover(clock),
            cap_of=config.operations_cap,
        )
        self.leases = Leases(self.ledger, clock, config.timeouts, self.dispatcher)
        self.janitor = Janitor(
            self.ledger,
            clock,
            config.timeouts,
            self.dispatcher,
            self.images,
            engines=self.engine,
            installation=self.installation,
            retention=config.retention_days * 24 * 3600.0,
        )
        self._tombstone_files = TombstoneFiles(
            config.tombstones or state / FOLDER, config, self.ledger, self.dispatcher, self.installation
        )
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Takes up what the last daemon left, and begins to reap and to clean."""
        self.dispatcher.recover()
        self._background = [
            asyncio.create_task(self.leases.run(), name="leases"),
            asyncio.create_task(self.janitor.run(), name="janitor"),
            asyncio.create_task(self._tombstone_files.send(), name="tombstone files"),
        ]

    @property
    def busy(self) -> bool:
        """True while an operation runs, a session lease is to be watched or something is to be cleaned."""
        return self.dispatcher.runner.busy or self.leases.pending or self.janitor.pending

    def engine(self, name: str) -> Engine:
        """The engine of a profile. Raises EngineProfileNotFound."""
        if name not in self._engines:
            name, profile = self.config.engine(name)
            self._engines[name] = Engine(name, profile, self.config.timeouts, self.clock)
        return self._engines[name]

    @property
    def engines_in_use(self) -> Sequence[Engine]:
        """The engines that were asked for since the start."""
        return list(self._engines.values())

    async def close(self) -> None:
        """Stops where it is: operations are taken up by the next daemon on this state folder."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.dispatcher.runner.close()
        for engine in self._engines.values():
            await engine.close()
        self.ledger.close()
