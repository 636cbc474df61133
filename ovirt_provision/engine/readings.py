"""States of VMs for those who only look: one search of the engine serves everybody for a while."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import MOST
from ovirt_provision.engine.machines import Machines
from ovirt_provision.engine.model import Vm
from ovirt_provision.errors import ProvisionError

WITH_ADDRESSES = "nics,reported_devices"
"""What the engine has to follow so that a VM comes with what its guest reports."""


OLDEST = 300.0
"""Seconds; nobody asks for a reading as old as that."""


@dataclass(frozen=True)
class _Reading:
    monotonic: float
    time: float
    vm: Vm | None


class Readings:
    """The last readings of VMs, kept for those who do not mind how old they are.

    A reading is of when it was asked for, on both clocks: its age goes by the monotonic one, and what it may
    have missed by the wall clock, as the ledger has it.
    """

    def __init__(self, machines: Machines, clock: Clock) -> None:
        self._machines = machines
        self._clock = clock
        self._last: dict[str, _Reading] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(
        self, vm_id: str, *, max_age: float, since: float, others: Callable[[], Sequence[str]]
    ) -> Vm | None:
        """The VM with its NICs and addresses, None where a GET by id has said 404, as of at most `max_age`
        seconds ago and later than `since`, in seconds since the epoch.

        What has to be read is read in one search, together with as many of the VMs of `others` as go into it
        and are as old. Raises what `Machines.search` raises, to everybody who waits for that search.
        """
        asked = self._clock.monotonic()
        while True:
            known = self._known(vm_id, asked - max_age, since)
            if known is not None:
                return known.vm
            if since >= self._clock.time():
                # An operation is at work on it: what is read now is for this call alone.
                return await self._machines.find(vm_id, follow=WITH_ADDRESSES)
            if self._reading is None or self._reading.done():
                stale = [vm for vm in others() if self._known(vm, asked - max_age, 0) is None]
                self._reading = asyncio.create_task(self._read(_page(vm_id, stale)), name="readings")
            try:
                # Shielded, because others may wait for the same search.
                await asyncio.shield(self._reading)
            except ProvisionError as error:
                # Whoever handles an error writes into it what it was to him.
                raise copy.copy(error) from None

    def _known(self, vm_id: str, oldest: float, since: float) -> "_Reading | None":
        last = self._last.get(vm_id)
        return last if last is not None and last.monotonic >= oldest and last.time > since else None

    async def _read(self, ids: Sequence[str]) -> None:
        asked, asked_at = self._clock.monotonic(), self._clock.time()
        found: dict[str, Vm | None] = {}
        if len(ids) > 1:
            query = " or ".join(f"id={vm_id}" for vm_id in ids)
            found |= {
                vm.id: vm
                for vm in await self._machines.search(query, follow=WITH_ADDRESSES, max_rows=len(ids))
            }
        # A row missing from a search proves nothing; the others that it misses are read when asked for.
        if ids[0] not in found:
            found[ids[0]] = await self._machines.get(ids[0], follow=WITH_ADDRESSES)
        kept = {vm_id: last for vm_id, last in self._last.items() if asked - last.monotonic <= OLDEST}
        self._last = kept | {vm_id: _Reading(asked, asked_at, vm) for vm_id, vm in found.items()}

    async def close(self) -> None:
        """Ends the search under way; whoever waits is cancelled."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _page(vm_id: str, others: Sequence[str]) -> Sequence[str]:
    """`vm_id` and, in turn behind it, as many others as go into one search."""
    place = others.index(vm_id) if vm_id in others else 0
    behind = [other for other in (*others[place:], *others[:place]) if other != vm_id]
    return [vm_id, *behind[: MOST - 1]]
