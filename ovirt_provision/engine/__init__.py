"""The oVirt engine behind our own words: the only place that imports ovirtsdk4."""

from ovirt_provision.clock import Clock
from ovirt_provision.config import EngineProfile, Timeouts
from ovirt_provision.engine.catalog import Catalog
from ovirt_provision.engine.consoles import Consoles
from ovirt_provision.engine.disks import Disks
from ovirt_provision.engine.events import Events
from ovirt_provision.engine.inventory import Inventory
from ovirt_provision.engine.machines import Machines
from ovirt_provision.engine.networks import Networks
from ovirt_provision.engine.permissions import Permissions
from ovirt_provision.engine.readings import Readings
from ovirt_provision.engine.session import Session
from ovirt_provision.engine.snapshots import Snapshots
from ovirt_provision.engine.storage_domains import StorageDomains
from ovirt_provision.engine.templates import Templates
from ovirt_provision.engine.transfers import Transfers
from ovirt_provision.engine.watcher import Watcher


class Engine:
    """One oVirt engine: a session, what can be done with it, and the one watcher that waits for it."""

    def __init__(self, name: str, profile: EngineProfile, timeouts: Timeouts, clock: Clock) -> None:
        self.name = name
        self.url = profile.url
        self.username = profile.username
        self.session = Session(name, profile, timeouts, clock)
        self.account = self.session.account
        self.machines = Machines(self.session)
        self.readings = Readings(self.machines, clock)
        self.templates = Templates(self.session, clock, timeouts.watch_interval)
        self.consoles = Consoles(self.session, profile)
        self.disks = Disks(self.session)
        self.snapshots = Snapshots(self.session)
        self.transfers = Transfers(self.session)
        self.storage_domains = StorageDomains(self.session)
        self.networks = Networks(self.session)
        self.permissions = Permissions(self.session)
        self.catalog = Catalog(self.session, self.templates, clock)
        self.events = Events(self.session)
        self.inventory = Inventory(self.session, clock, timeouts.watch_interval)
        self.watcher = Watcher(
            self.machines,
            self.templates,
            self.disks,
            self.snapshots,
            self.transfers,
            self.events,
            clock,
            timeouts.watch_interval,
        )

    async def version(self) -> str:
        """The engine's version, such as 4.5.8; a login if there is none yet."""
        return (await self.inventory.about()).version

    async def close(self) -> None:
        """Ends the watcher and logs out."""
        await self.watcher.close()
        await self.readings.close()
        await self.session.close()
