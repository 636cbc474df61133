"""A simulated engine, and clients for it."""

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import ovirtsdk4
import pytest
import yarl
from ovirtsdk4 import types

from ovirt_provision.clock import VirtualClock
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.sessions import Session


@dataclass(frozen=True)
class Raw:
    """An HTTP reply. Names of headers are not case-sensitive."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


class Lab:
    """A simulator on a virtual clock with an SDK connection and a raw HTTP session. Calls run in threads,
    while which the clock stands still."""

    def __init__(self, simulator: Simulator, clock: VirtualClock) -> None:
        self.simulator = simulator
        self.world = simulator.world
        self.clock = clock
        self.connection = ovirtsdk4.Connection(
            url=simulator.url,
            username=simulator.username,
            password=simulator.password,
            ca_file=simulator.ca_file,
        )
        self.authorization = aiohttp.encode_basic_auth(simulator.username, simulator.password)
        self.system = self.connection.system_service()
        self.vms = self.system.vms_service()

    def log_in(self) -> Session:
        return self.simulator.sessions.log_in(self.simulator.username, self.simulator.password)

    async def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with self.clock.hold():
            return await asyncio.to_thread(function, *arguments, **options)

    async def request(self, method: str, path: str, body: str | bytes = "", **headers: str | None) -> Raw:
        """A raw request below the API's base, or to another path of the host if it begins with `//`. `None`
        leaves a header out."""
        content = body.encode() if isinstance(body, str) else body
        given: dict[str, str | None] = {"Accept": "application/xml", "Authorization": self.authorization}
        if method in ("POST", "PUT"):
            given["Content-Type"] = "application/xml"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in given.items() if value is not None}
        host, base, _ = self.simulator.url.rpartition("/ovirt-engine/api")
        url = host + path[1:] if path.startswith("//") else host + base + path
        trust = ssl.create_default_context(cafile=self.simulator.ca_file)
        left_out = [name for name in ("Accept", "Content-Type") if given.get(name) is None]
        with self.clock.hold():
            async with (
                aiohttp.ClientSession(skip_auto_headers=left_out) as session,
                session.request(
                    method, yarl.URL(url, encoded=True), data=content or None, headers=sent, ssl=trust
                ) as reply,
            ):
                return Raw(reply.status, reply.headers, await reply.read())

    async def put(self, url: str, content: bytes, headers: Mapping[str, str]) -> int:
        """Sends bytes to the data plane; the status."""
        trust = ssl.create_default_context(cafile=self.simulator.ca_file)
        with self.clock.hold():
            async with (
                aiohttp.ClientSession() as session,
                session.put(url, data=content, headers=headers, ssl=trust) as reply,
            ):
                return reply.status

    async def wait(self, read: Callable[[], Any], wanted: Any, seconds: float = 600) -> float:
        """Polls every 0.1 s of virtual time until `read()` is `wanted`; returns how long that took."""
        begin = self.clock.monotonic()
        while True:
            self.world.settle()
            if read() == wanted:
                return self.clock.monotonic() - begin
            assert self.clock.monotonic() - begin < seconds, f"still {read()}, not {wanted}"
            await self.clock.sleep(0.1)

    async def create(self, name: str, **fields: Any) -> str:
        """A VM from the template debian-12, made and down with its disks; its id."""
        fields.setdefault("template", types.Template(name="debian-12"))
        fields.setdefault("cluster", types.Cluster(name="Default"))
        vm = types.Vm(id=str(uuid.uuid4()), name=name, **fields)
        await self.call(self.vms.add, vm)
        await self.ready(vm.id)
        return str(vm.id)

    async def ready(self, vm_id: str) -> None:
        vm = self.world.vms[vm_id]
        await self.wait(
            lambda: (vm.status, {one.disk.status for one in vm.attachments} - {"ok"}), ("down", set())
        )

    async def ready_disks(self, vm_id: str) -> None:
        vm = self.world.vms[vm_id]
        await self.wait(lambda: {one.disk.status for one in vm.attachments} - {"ok"}, set())

    async def up(self, vm_id: str, **action: Any) -> None:
        await self.call(self.vms.vm_service(vm_id).start, **action)
        await self.wait(lambda: self.world.vms[vm_id].status, "up")


@pytest.fixture
def lab(
    virtual_clock: VirtualClock, run_virtually: Callable[[Coroutine[Any, Any, Any]], Any]
) -> Callable[..., contextlib.AbstractAsyncContextManager[Lab]]:
    """`async with lab() as it:` gives a Lab; keyword arguments are those of Simulator."""

    @contextlib.asynccontextmanager
    async def make(profile: str = "engine", **options: Any) -> AsyncIterator[Lab]:
        async with Simulator(clock=virtual_clock, profile=profile, **options) as simulator:
            made = Lab(simulator, virtual_clock)
            yield made
            await made.call(made.connection.close)

    return make


@pytest.fixture
def play(
    lab: Callable[..., contextlib.AbstractAsyncContextManager[Lab]],
    run_virtually: Callable[[Coroutine[Any, Any, Any]], Any],
) -> Callable[..., None]:
    """Runs a scenario that takes a Lab."""

    def run(scenario: Callable[[Lab], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def whole() -> None:
            async with lab(**options) as made:
                await scenario(made)

        run_virtually(whole())

    return run
