"""The `Guests` of stubs, and the servers of each."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from ovirt_provision.simulator.guests import GuestInterface, GuestSpec, GuestState, Work
from ovirt_provision.simulator.guests.network import FIRST_NIC, Addresses, Link, Reach, find_reach
from ovirt_provision.simulator.guests.none import NoGuests
from ovirt_provision.simulator.guests.screen import RecordingScreen
from ovirt_provision.simulator.guests.stub.docker_port import DockerPort
from ovirt_provision.simulator.guests.stub.system import System, missing_tool

_LOG = logging.getLogger(__name__)
# How long a guest that goes down waits for the ends of its commands.
_HANG_UP_SECONDS = 2.0
_CHUNK = 65536  # bytes


class StubGuests(NoGuests):
    """Guests whose file trees lie in `folder`, each in a folder named by its boot disk; it belongs to one
    simulator and is made when missing. `reach` is as for QemuGuests.

    Call every method inside the running event loop. Raises OSError where namespaces cannot be made.
    """

    def __init__(self, folder: Path, reach: Reach | None = None) -> None:
        super().__init__()
        if missing := missing_tool():
            raise OSError(f"stubs run commands in user namespaces, and {missing}; use --guests none")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # config drives and host keys
        self._folder = folder.resolve()
        self.reach = reach or find_reach()
        self._addresses_of_vms = Addresses(self.reach)
        self._guests: dict[str, StubGuest] = {}

    def clone_disk(self, disk_id: str, source_id: str, *, thin: bool) -> Work:
        if self._tree(source_id).exists():
            shutil.copytree(self._tree(source_id), self._tree(disk_id), symlinks=True)
        return super().clone_disk(disk_id, source_id, thin=thin)

    def seal_disk(self, disk_id: str) -> Work:
        if self._tree(disk_id).exists():
            System(self._tree(disk_id)).seal()
        return super().seal_disk(disk_id)

    def remove_disk(self, disk_id: str) -> None:
        shutil.rmtree(self._tree(disk_id), ignore_errors=True)
        super().remove_disk(disk_id)

    def start(self, spec: GuestSpec) -> "StubGuest":
        if not spec.disks or not spec.nics:
            raise OSError(f"VM {spec.name} has no disk or no NIC, and a stub needs both")
        used = {guest.link.host for guest in self._guests.values() if guest.state is not GuestState.DOWN}
        link = self._addresses_of_vms.link(spec, used)
        system = System(self._tree(spec.disks[0]))
        guest = StubGuest(spec, system, link, self.reach, self.new_screen(spec))
        self._guests[spec.vm_id] = guest
        return guest

    async def close(self) -> None:
        for guest in self._guests.values():
            guest.power_off()
        await asyncio.gather(*(guest.task for guest in self._guests.values()), return_exceptions=True)

    def _tree(self, disk_id: str) -> Path:
        return self._folder / disk_id


class StubGuest:
    """One run of a VM. `link` says where it is reached; `booted` is set once it is no longer booting."""

    def __init__(
        self, spec: GuestSpec, system: System, link: Link, reach: Reach, screen: RecordingScreen
    ) -> None:
        self.link = link
        self.screen = screen
        self.booted = asyncio.Event()
        self._spec = spec
        self._system = system
        self._reach = reach
        self._state = GuestState.BOOTING
        self._off = asyncio.Event()
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._commands: set[asyncio.subprocess.Process] = set()
        self._docker = _Docker(spec, system)
        self.task = asyncio.create_task(self._live())

    @property
    def state(self) -> GuestState:
        return self._state

    @property
    def interfaces(self) -> Sequence[GuestInterface]:
        if self._state is not GuestState.UP:
            return ()
        first, *others = self._spec.nics
        return [
            GuestInterface(FIRST_NIC, first.mac, [str(self.link.host)]),
            *(GuestInterface(f"eth{number}", nic.mac, []) for number, nic in enumerate(others, start=1)),
        ]

    def shutdown(self) -> None:
        self._off.set()

    def power_off(self) -> None:
        self._off.set()

    async def _live(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                await asyncio.to_thread(self._system.boot, self._spec.config_drive)
                stack.push_async_callback(self._docker.stop)
                await self._follow_docker()
                stack.push_async_callback(self._hang_up)
                await stack.enter_async_context(await self._listen())
                self._state = GuestState.UP
                self.booted.set()
                await self._off.wait()
        except Exception as error:  # whatever it was, the VM is down and someone may want to know why
            _LOG.warning("VM %s (%s) went down: %s", self._spec.name, self._spec.vm_id, error)
        finally:
            self._state = GuestState.DOWN
            self.screen.close()
            self.booted.set()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        key = self._system.host_key
        if not key.exists():
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
        return await asyncssh.listen(
            str(self.link.host),
            self._reach.ssh_port,
            reuse_address=True,
            server_host_keys=[str(key)],
            server_factory=lambda: _Accounts(self._system, self._connections),
            process_factory=self._run,
            encoding=None,
        )

    async def _run(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        user = str(process.get_extra_info("username"))
        child = await self._system.start(process.command or "exec sh", user)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
        self._commands.add(child)
        if self._off.is_set():
            _kill(child)
        try:
            await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
            code = await child.wait()
        finally:
            feeding.cancel()
            self._commands.discard(child)
            _kill(child)
        if not self._off.is_set():
            await self._follow_docker()
            process.exit(code)

    async def _follow_docker(self) -> None:
        await self._docker.follow(str(self.link.host), self._reach)

    async def _hang_up(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        for child in self._commands:
            _kill(child)
        if self._commands:
            # What has left the command's process group may hold its streams open.
            ends = [asyncio.create_task(child.wait()) for child in self._commands]
            await asyncio.wait(ends, timeout=_HANG_UP_SECONDS)


def _kill(child: asyncio.subprocess.Process) -> None:
    """Kills a command that runs, and what it has started."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


async def _pump(source: asyncio.StreamReader, target: "asyncssh.SSHWriter[bytes]") -> None:
    while content := await source.read(_CHUNK):
        target.write(content)
        await target.drain()


async def _feed(source: "asyncssh.SSHReader[bytes]", target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await source.read(_CHUNK):
            target.write(content)
            await target.drain()
        target.close()


class _Accounts(asyncssh.SSHServer):
    """Lets in whoever has a key in the authorized_keys of the system's user, and nobody by password."""

    def __init__(self, system: System, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._system = system
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        assert self._connection is not None
        lines = self._system.authorized_keys(username)
        # Options and types that only a real server knows are not in the keys of this project.
        self._connection.set_authorized_keys(asyncssh.import_authorized_keys(lines))
        return True

    def password_auth_supported(self) -> bool:
        return False


class _Docker:
    """What answers at the port of the Docker engine."""

    def __init__(self, spec: GuestSpec, system: System) -> None:
        self._spec = spec
        self._system = system
        self._lock = asyncio.Lock()
        self._started: tuple[int, int] | None = None
        self._server: DockerPort | None = None

    async def follow(self, address: str, reach: Reach) -> None:
        """Listens as the system says by now."""
        async with self._lock:
            wanted = self._system.docker
            if wanted == self._started:
                return
            await self._end()
            self._started = wanted
            if wanted is not None:
                info = {"ID": self._spec.vm_id, "Name": self._system.hostname}
                port = reach.ports.get(wanted[0], wanted[0])
                self._server = DockerPort((address, port), self._system.path("/etc/docker"), info)

    async def stop(self) -> None:
        async with self._lock:
            await self._end()

    async def _end(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.close)
            self._server = None
