"""The clients of a run, whatever the daemon and its clock are."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ovirt_provision.clock import Clock
from tests.crash.schedule import Schedule, Step

log = logging.getLogger("crash")


class Refused(Exception):
    """The daemon has not accepted a call, and said why."""


@dataclass(frozen=True)
class End:
    """How an operation has ended; `template_id` is that of the template that it has made, if any."""

    succeeded: bool
    template_id: str = ""


class Door(Protocol):
    """The way in to the daemon, and past it to the engine. It outlives daemons: calls are repeated."""

    async def call(self, step: Step, template_id: str) -> str:
        """The id of the accepted operation. Raises Refused. `template_id` is for a DestroyTemplate."""

    async def ended(self, operation: str) -> End:
        """Waits until an operation has ended."""

    async def cancel(self, operation: str) -> None: ...

    async def confirm(self, key: str) -> None:
        """Raises Refused."""

    async def attach(self, key: str) -> None:
        """Somebody puts a disk of his own on the VM of a Machine, if the engine lets him."""


class Clients:
    """Carries out the steps of a schedule. What they noticed is in `wrong`."""

    def __init__(self, schedule: Schedule, door: Door, clock: Clock, templates: dict[str, str]) -> None:
        """`templates` are the ids of those that are there, by name."""
        self._schedule = schedule
        self._door = door
        self._clock = clock
        self._templates = dict(templates)
        self._made: set[str] = set()
        self._background: list[asyncio.Task[None]] = []
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Returns when every client has come to its end, and what they did not wait for, too."""
        await self._together([self._play(steps) for steps in self._schedule.clients])
        await asyncio.gather(*self._background)

    @staticmethod
    async def _together(playing: Sequence[object]) -> None:
        async with asyncio.TaskGroup() as group:
            for one in playing:
                group.create_task(one)  # type: ignore[arg-type]

    async def _play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self._clock.sleep(step.pause)
            log.info("%s", step)
            key = step.fields.get("key", "")
            if step.verb == "attach":
                # Of a VM in the making nobody could say whose disks it has; then none is removed with it.
                if key in self._made:
                    await self._door.attach(key)
                continue
            if step.verb.endswith("Machine"):
                self._made.discard(key)
            elif step.verb == "DetachDisk":
                self._made.discard(step.fields["machine_key"])
            template_id = self._templates.get(step.fields.get("id", ""), "")
            if step.verb == "DestroyTemplate" and not template_id:
                continue
            try:
                operation = await self._door.call(step, template_id)
            except Refused as error:
                log.info("refused: %s", error)
                continue
            if step.repeat:
                await self._repeat(step, operation, template_id)
            following = self._follow(step, operation)
            if step.wait:
                await following
            else:
                self._background.append(asyncio.create_task(following))

    async def _repeat(self, step: Step, operation: str, template_id: str) -> None:
        try:
            again = await self._door.call(step, template_id)
        except Refused as error:
            self.wrong.append(f"{step.verb} was accepted once and refused when repeated: {error}")
            return
        if again != operation:
            self.wrong.append(f"{step.verb} has become two operations")

    async def _follow(self, step: Step, operation: str) -> None:
        cancelling = None
        if step.cancel_after is not None:
            cancelling = asyncio.create_task(self._cancel(operation, step.cancel_after))
        ended = await self._door.ended(operation)
        if cancelling is not None:
            cancelling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await cancelling
        if ended.succeeded and step.verb in ("CreateMachine", "CloneMachine"):
            self._made.add(step.fields["key"])
        if ended.template_id:
            self._templates[step.fields["name"]] = ended.template_id
        if step.confirm:
            try:
                await self._door.confirm(step.fields["key"])
            except Refused as error:
                log.info("not confirmed: %s", error)

    async def _cancel(self, operation: str, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._door.cancel(operation)
