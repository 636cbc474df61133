"""A bridge on the simulated engine, both on one virtual clock in one event loop."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import Config
from ovirt_provision.guest.ssh import NoSshServer
from ovirt_provision.images.transfer import Job, MoveFailed, Progress
from ovirt_provision.ledger.store import Operation
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.census import take_census
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.entities import StorageDomain
from ovirt_provision.v1 import resources_pb2

OWNER = "uid:1000"
ENGINE = "sim"
TEMPLATE = "debian-12"
INSTALLATION = uuid.UUID(int=42)


class Ssh:
    """The SSH servers of the guests, as the bridge sees them: each answers from the moment that it has an
    address, except with `silent`. `asked` are the addresses and ports that were tried."""

    def __init__(self) -> None:
        self.silent = ""
        self.asked: list[tuple[str, int]] = []

    async def greeting(self, address: str, port: int) -> str:
        self.asked.append((address, port))
        if self.silent:
            raise NoSshServer(self.silent)
        return "SSH-2.0-OpenSSH_9.2p1"


class ImageHosts:
    """The hosts that move the bytes of disks, as the bridge sees them: without processes and sockets.

    A transfer takes `steps` steps of `seconds` each; it goes on only while the engine has it in the phase
    `transferring`. `moved` are the bytes of each step, and `failures` what the next tries end with.
    """

    def __init__(self, simulator: Simulator, clock: VirtualClock) -> None:
        self._world = simulator.world
        self._clock = clock
        self.steps = 4
        self.seconds = 1.0
        self.moved: list[int] = []
        self.failures: list[MoveFailed] = []
        self.jobs: list[Job] = []

    async def move(self, job: Job, progress: Progress) -> None:
        self.jobs.append(job)
        if self.failures:
            raise self.failures.pop(0)
        ticket = job.url.rpartition("/")[2]
        done, step = job.offset, -(-job.size // self.steps)
        while done < job.size:
            await self._clock.sleep(self.seconds)
            transfer = next((one for one in self._world.transfers.values() if one.ticket == ticket), None)
            if transfer is None or transfer.phase != "transferring":
                raise MoveFailed("ticket", "HTTP 403 No such ticket")
            transfer.touched = self._world.monotonic
            length = min(step, job.size - done)
            image = self._world.images.path(transfer.disk)
            image.touch()
            source, target = (job.file, image) if job.direction == "upload" else (image, job.file)
            target.touch(0o600)
            with source.open("rb") as read, target.open("r+b") as written:
                read.seek(done)
                written.seek(done)
                written.write(read.read(length))
            done += length
            transfer.transferred += length
            self.moved.append(length)
            progress(done, done)


class Site:
    """An engine with a bridge in front of it, which can be killed and started again on the same state
    folder."""

    def __init__(
        self,
        simulator: Simulator,
        state: Path,
        clock: VirtualClock,
        *,
        installation: uuid.UUID = INSTALLATION,
        profile: dict[str, Any] | None = None,
        operations: int | None = None,
        owners: dict[str, Any] | None = None,
        images: dict[str, Any] | None = None,
        **timeouts: float,
    ) -> None:
        """`profile` is how the bridge reaches the engine, by default over HTTPS; `operations` is how many may
        be at work at once, by default any number."""
        self.simulator = simulator
        self.clock = clock
        self._state = state
        self._installation = installation
        engine = {
            "username": simulator.username,
            "password": simulator.password,
            "operations": operations,
            **(profile or {"url": simulator.url, "ca_file": str(simulator.ca_file)}),
        }
        self._settings: dict[str, Any] = {
            "engines": {ENGINE: engine},
            "timeouts": timeouts,
            "owners": owners or {},
            "images": images or {},
        }
        self.ssh = Ssh()
        self.hosts = ImageHosts(simulator, clock)
        self.bridge = self.new_bridge()

    def new_bridge(self) -> Bridge:
        config = Config.model_validate(self._settings)
        return Bridge(
            config,
            self._state,
            self.clock,
            self._installation,
            greeting=self.ssh.greeting,
            mover=self.hosts.move,
        )

    async def become(self, username: str, password: str) -> None:
        """Starts the bridge again with another account of the engine."""
        self._settings["engines"][ENGINE] |= {"username": username, "password": password}
        await self.restart()

    async def restart(self, *, recover: bool = True) -> None:
        """What remains after a crash: the ledger and the engine. Nothing is undone on the way."""
        await self.bridge.close()
        self.bridge = self.new_bridge()
        if recover:
            self.bridge.start()

    async def call(self, verb: str, **fields: Any) -> Operation:
        fields.setdefault("request_id", str(uuid.uuid4()))
        request = VERBS[verb].request_type(**fields)
        return await self.bridge.dispatcher.call(VERBS[verb], OWNER, ENGINE, request)

    async def validate(self, verb: str, **fields: Any) -> None:
        """Has the references of a call looked up."""
        request = VERBS[verb].request_type(request_id=str(uuid.uuid4()), **fields)
        await self.bridge.dispatcher.validate(VERBS[verb], OWNER, ENGINE, request)

    async def run(self, verb: str, **fields: Any) -> Operation:
        """Calls a verb and waits for its end."""
        operation = await self.call(verb, **fields)
        return await self.ended(operation)

    async def ended(self, operation: Operation) -> Operation:
        return await self.bridge.dispatcher.runner.ended(operation.id)

    async def census(self) -> list[tuple[str, str, str]]:
        """(finding, kind, name) of everything that carries a mark."""
        engine = self.bridge.engine(ENGINE)
        entries = await take_census(engine, self.bridge.ledger, self.bridge.installation)
        return sorted((entry.finding, entry.kind, entry.name) for entry in entries)

    async def upload(self, content: bytes) -> str:
        """Gives the bridge an image; its checksum."""
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        with self.clock.hold():
            await self.bridge.images.receive(OWNER, checksum, len(content), 0, chunks())
        return checksum

    def vms(self) -> list[str]:
        """Names of the VMs in the engine, whoever made them."""
        return sorted(vm.name for vm in self.simulator.world.vms.values())

    def templates(self) -> list[str]:
        """Names of the templates in the engine, Blank and the base template aside."""
        names = (template.name for template in self.simulator.world.templates.values())
        return sorted(name for name in names if name not in ("Blank", TEMPLATE))

    def snapshots(self) -> list[str]:
        """Names of the VMs in the engine, once for each snapshot that they have."""
        return sorted(vm.name for vm in self.simulator.world.vms.values() for _ in vm.snapshots)

    def disks(self) -> int:
        """How many disks there are in the engine."""
        return len(self.simulator.world.disks)


def spec(**fields: Any) -> resources_pb2.MachineSpec:
    fields.setdefault("template", resources_pb2.TemplateRef(name=TEMPLATE))
    return resources_pb2.MachineSpec(**fields)


def started(**fields: Any) -> resources_pb2.Initialization:
    fields.setdefault("user_name", "builder")
    return resources_pb2.Initialization(**fields)


def add_vault(simulator: Simulator, *, backup: bool = True) -> StorageDomain:
    """A second storage domain, which is for backups."""
    domain = _add_domain(simulator, "vault", "data")
    domain.backup = backup
    return domain


def add_export_domain(simulator: Simulator) -> StorageDomain:
    """A storage domain `shelf` of the type export."""
    return _add_domain(simulator, "shelf", "export")


def _add_domain(simulator: Simulator, name: str, kind: str) -> StorageDomain:
    host = next(iter(simulator.world.hosts.values()))
    made = simulator.call(
        "POST",
        "/storagedomains",
        f'<storage_domain><name>{name}</name><type>{kind}</type><host id="{host.id}"/><storage>'
        f"<type>nfs</type><address>192.0.2.7</address><path>/{name}</path></storage></storage_domain>",
    ).element
    assert made is not None
    domain = simulator.world.domains[made.get("id") or ""]
    center = next(iter(simulator.world.data_centers))
    simulator.call("POST", f"/datacenters/{center}/storagedomains", f'<storage_domain id="{domain.id}"/>')
    return domain
