"""The simulator as one thing to start and stop."""

import asyncio
import logging
import secrets
import ssl
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from ovirt_provision.clock import Clock, SystemClock
from ovirt_provision.simulator import timing, world_file
from ovirt_provision.simulator.api import BASE, Reply, Request
from ovirt_provision.simulator.certificates import make_certificates
from ovirt_provision.simulator.entities import User
from ovirt_provision.simulator.guests import Guests
from ovirt_provision.simulator.guests.none import NoGuests
from ovirt_provision.simulator.imageio import Imageio
from ovirt_provision.simulator.injection import FaultRule
from ovirt_provision.simulator.router import make_router
from ovirt_provision.simulator.server import Exchange, Server
from ovirt_provision.simulator.sessions import Sessions
from ovirt_provision.simulator.temporary import TemporaryFolder
from ovirt_provision.simulator.timing import Timing
from ovirt_provision.simulator.world import BaseTemplate, World, debian_template, start_world
from ovirt_provision.simulator.world_file import WorldFile

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that wait to be accepted: a whole farm of clients at once


class Simulator:
    """An oVirt engine in this process and event loop.

        async with Simulator(profile="fast") as simulator:
            ...  # simulator.url, .username, .password, .ca_file

    `clock` drives everything the engine does; only the times that `timing.py` calls real are not its.
    `profile` is a timing profile: its name, its file, or itself. `guests` is what stands behind VMs;
    `templates` are there from the start, by default `debian-12` alone. With port 0 a free one is taken.
    Without `state_dir` a temporary one is used. `imageio` is the path of an ovirt-imageio, whose process then
    serves the bytes of image transfers, at a free port, instead of the simulator. `data` is what else there
    is, and `faults` are armed from the start.

    Raises `OSError` when it or ovirt-imageio cannot listen, `ValueError` for a profile or a file that cannot
    be used.
    """

    username = "admin@internal"

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        profile: str | Timing = "fast",
        guests: Guests | None = None,
        listen: str = "127.0.0.1",
        port: int = 0,
        state_dir: Path | None = None,
        templates: Sequence[BaseTemplate] | None = None,
        data: Path | WorldFile | None = None,
        faults: Iterable[FaultRule] = (),
        imageio: str | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.password = secrets.token_urlsafe(18)
        self.world: World = start_world(
            self.clock,
            timing.find_profile(profile) if isinstance(profile, str) else profile,
            guests or NoGuests(),
            templates=templates or [debian_template()],
        )
        self.sessions = Sessions(self.clock, self.username, self.password)
        self._router = make_router()
        if data is not None:
            self._add(data)
        for rule in faults:
            self.world.injections.arm(rule)
        self._listen = listen
        self._imageio = imageio
        self._port = port
        self._folder = state_dir
        self._temporary: TemporaryFolder | None = None
        self._runner: web.AppRunner | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._ca_file: Path | None = None

    def _add(self, data: Path | WorldFile) -> None:
        file = world_file.read(data) if isinstance(data, Path) else data
        if file.password is not None:
            self.password = file.password
            self.sessions = Sessions(self.clock, self.username, self.password)
        for user in file.users:
            self.add_user(user.name, user.password)
        world_file.build(self.world, file, str(data) if isinstance(data, Path) else "world")

    def add_user(self, name: str, password: str) -> User:
        """Someone who may log in as `name@internal`, and do what `world.give` gives them a role for."""
        self.sessions.add_account(f"{name}@internal", password)
        return self.world.add_user(name)

    @property
    def url(self) -> str:
        """The URL of the API, as an SDK takes it."""
        host = f"[{self._listen}]" if ":" in self._listen else self._listen
        return f"https://{host}:{self._port}{BASE}"

    @property
    def ca_file(self) -> str:
        """The path of the CA's certificate."""
        assert self._ca_file is not None, "the simulator has not been started"
        return str(self._ca_file)

    @property
    def requests(self) -> Sequence[Exchange]:
        """What was asked so far, the oldest first."""
        assert self._server is not None, "the simulator has not been started"
        return self._server.requests

    def call(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        correlation_id: str = "",
        user: User | None = None,
        **query: str,
    ) -> Reply:
        """One call of the API without HTTP and without a session, in no time; faults are replies, too.

        `path` is below the API's base; without a `user` everything is permitted. It works before `start`.
        Raises `Refusal` for a reply without an element, such as the 404 of an unknown id.
        """
        self.world.settle()
        content = body.encode() if isinstance(body, str) else body
        request = Request(
            self.world,
            "localhost",
            method,
            path,
            query,
            content,
            False,
            correlation_id or str(uuid.uuid4()),
            user=user,
        )
        try:
            with self.world.injections.during(method, path):
                return self._router.answer(request)
        finally:
            self.world.locks.difference_update(request.held)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        if self._folder is None:
            self._temporary = TemporaryFolder("ovirt-simulator-state-")
            self._folder = self._temporary.path
        self._ca_file, server_file = make_certificates(self._folder, self._listen)
        self.world.ca_certificate = self._ca_file.read_text()
        self.world.certificates = self._folder
        self._server = Server(
            self.world, self.sessions, self._router, self._ca_file, restart=self._begin_restart
        )
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(server_file)
        self._runner = web.AppRunner(
            self._server.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await self._runner.setup()
        try:
            if self._imageio is not None:
                self.world.images.daemon = Imageio(self._imageio, self._listen, server_file)
                await self.world.images.daemon.start()
            await self._open()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def _open(self) -> None:
        assert self._runner is not None
        await web.TCPSite(
            self._runner, self._listen, self._port, ssl_context=self._tls, backlog=_BACKLOG
        ).start()

    async def restart(self, seconds: float = 20.0) -> None:
        """Takes the engine down and up again, as the fault `engine-restart` does: returns when it is back.

        For `seconds` of the simulator's clock nobody listens at its port. Raises `OSError` when another
        program has taken it meanwhile.
        """
        assert self._runner is not None, "the simulator has not been started"
        assert self._runner.server is not None
        self.world.restart(seconds)
        self.sessions.revoke_all()
        for site in list(self._runner.sites):
            await site.stop()
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self.clock.sleep(seconds)
        await self._open()

    def _begin_restart(self, seconds: float) -> None:
        self._restarting = asyncio.create_task(self.restart(seconds))

    async def stop(self) -> None:
        """Ends guests and connections, and removes what is temporary."""
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await asyncio.shield(self.world.guests.close())
        if self.world.images.daemon is not None:
            await asyncio.shield(self.world.images.daemon.stop())
            self.world.images.daemon = None
        self.world.images.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
