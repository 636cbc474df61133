"""Typing into the console of a Machine. It is no operation: what was typed cannot be undone or done again."""

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ovirt_provision import logs
from ovirt_provision.engine import Engine
from ovirt_provision.engine.consoles import Console
from ovirt_provision.engine.model import Vm
from ovirt_provision.errors import (
    ConsoleLost,
    ConsoleTicketRefused,
    ConsoleTlsRefused,
    ConsoleUnreachable,
    ConsoleUnsupported,
    EnginePermissionDenied,
    MachineNotRunning,
    NoVncConsole,
)
from ovirt_provision.guest.keyboard import SPECIAL, keys_of
from ovirt_provision.guest.vnc import (
    VncClient,
    VncLost,
    VncTicketRefused,
    VncTlsRefused,
    VncUnreachable,
    VncUnsupported,
)
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.machines import operations_on
from ovirt_provision.operations.provisioning import insist_on_ours
from ovirt_provision.v1 import consoles_pb2

T = TypeVar("T")

# In which a VM has a console that takes a ticket. Source: `SetVmTicketCommand` of the engine, and 47.
_TYPABLE = ("up", "powering_up", "reboot_in_progress")
# Seconds for which a ticket opens a console: it is used at once.
_TICKET = 60
# Seconds between two looks for the place of a console, which the engine knows a little later than that the VM
# runs.
_LOOK_AGAIN = 1.0
_REFUSALS = {
    VncUnreachable: ConsoleUnreachable,
    VncUnsupported: ConsoleUnsupported,
    VncTlsRefused: ConsoleTlsRefused,
    VncTicketRefused: ConsoleTicketRefused,
}


class Typist:
    """Somebody at the keyboard of a Machine. `description` is the way there, for people; `interval` is the
    seconds from one key event to the next."""

    def __init__(self, bridge: Bridge, key: str, client: VncClient, place: str, interval: float) -> None:
        self.description = f"{place} by TLS" if client.encrypted else place
        self.typed = 0
        self._clock = bridge.clock
        self._key = key
        self._client = client
        self._interval = interval
        self._down: list[int] = []

    async def type(self, events: Sequence[consoles_pb2.KeyEvent]) -> None:
        """Presses keys one after the other; returns when the last one was sent. Raises ConsoleLost."""
        for event in events:
            try:
                await self._press(event)
            except VncLost:
                raise ConsoleLost(key=self._key, typed=self.typed) from None
            self.typed += 1

    async def _press(self, event: consoles_pb2.KeyEvent) -> None:
        keys = [SPECIAL[event.special.lower()]] if event.special else keys_of(event.character)
        left = self._interval
        if event.action != consoles_pb2.KeyEvent.ACTION_UP:
            for key in keys:
                await self._client.send(key, down=True)
                self._down.append(key)
        if event.action == consoles_pb2.KeyEvent.ACTION_UNSPECIFIED:
            left /= 2
            await self._clock.sleep(left)
        if event.action != consoles_pb2.KeyEvent.ACTION_DOWN:
            for key in reversed(keys):
                await self._client.send(key, down=False)
                if key in self._down:
                    self._down.remove(key)
        await self._clock.sleep(left)

    async def leave(self) -> None:
        """Lets up what is down, and hangs up."""
        try:
            while self._down:
                await self._client.send(self._down.pop(), down=False)
        except VncLost:
            pass
        finally:
            await self._client.close()


async def sit_down(bridge: Bridge, engine: Engine, row: Object, interval: float | None) -> Typist:
    """Opens the console of a Machine as soon as its guest can be typed to; `interval` as in Typist.

    Raises MachineNotRunning, NoVncConsole, NotOurs, ConsoleUnreachable, ConsoleTicketRefused,
    ConsoleTlsRefused and ConsoleUnsupported.
    """
    timeouts = bridge.config.timeouts
    deadline = bridge.clock.monotonic() + timeouts.console
    vm = await _running(bridge, engine, row, deadline)
    console = await _placed(bridge, engine, row, vm, deadline)
    place = f"{console.address}:{console.port}"
    ticket = await _ticket(engine, vm, console)
    logs.register_secret(ticket)
    try:
        # Real time passes, for a machine in a network.
        with bridge.clock.hold():
            client = await VncClient.connect(
                console.address, console.port, ticket, engine.consoles.tls(), timeouts.console_connect
            )
    except tuple(_REFUSALS) as refusal:
        raise _REFUSALS[type(refusal)](key=row.key, place=place, detail=logs.redact(str(refusal))) from None
    finally:
        logs.forget_secret(ticket)
    return Typist(bridge, row.key, client, place, timeouts.key_interval if interval is None else interval)


async def _ticket(engine: Engine, vm: Vm, console: Console) -> str:
    try:
        return await engine.consoles.ticket(
            vm.id, vm.name, console.id, seconds=_TICKET, correlation_id=str(uuid.uuid4())
        )
    except EnginePermissionDenied as error:
        raise await engine.account.explain(error) from None


async def _running(bridge: Bridge, engine: Engine, row: Object, deadline: float) -> Vm:
    """The VM once it runs. It is waited for only while an operation may start it."""

    def settled(vm: Vm | None) -> bool:
        runs = vm is not None and vm.status in _TYPABLE
        return runs or not operations_on(bridge.ledger, row.id)

    vm = await engine.machines.find(row.known_id)
    if not settled(vm):
        vm = await _until(bridge, deadline, engine.watcher.vm(row.known_id, settled)) or vm
    if vm is None or vm.status not in _TYPABLE:
        waited = bool(operations_on(bridge.ledger, row.id))
        raise MachineNotRunning(
            key=row.key,
            status=vm.status if vm is not None else "not made yet",
            why=f"still after {bridge.config.timeouts.console:g} s (`console` in `timeouts`)"
            if waited
            else "and nothing is about to start it",
        )
    insist_on_ours(bridge.ledger, bridge.installation, engine.name, vm)
    return vm


async def _until(bridge: Bridge, deadline: float, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What a wait ends with, or None at the deadline."""
    wait = asyncio.create_task(waiting)
    late = asyncio.create_task(bridge.clock.sleep(deadline - bridge.clock.monotonic()))
    try:
        await asyncio.wait({wait, late}, return_when=asyncio.FIRST_COMPLETED)
        return wait.result() if wait.done() else None
    finally:
        wait.cancel()
        late.cancel()
        await asyncio.gather(wait, late, return_exceptions=True)


async def _placed(bridge: Bridge, engine: Engine, row: Object, vm: Vm, deadline: float) -> Console:
    """The VNC console, once the engine knows where it is."""
    while True:
        console = await engine.consoles.vnc(vm.id)
        if console is None:
            raise NoVncConsole(key=row.key)
        if console.address and console.port > 0:
            return console
        if bridge.clock.monotonic() >= deadline:
            raise ConsoleUnreachable(
                key=row.key, place="its host", detail="the engine does not know its address and port"
            )
        await bridge.clock.sleep(_LOOK_AGAIN)
