"""Leases: a Machine whose client is not heard of any more is destroyed after the grace, one with a ttl when
that is over.

When a client was last heard of lives in memory on the monotonic clock, counted from the moment this daemon
serves: neither an outage of the daemon nor a jump of the wall clock ends a lease. A ttl goes by the wall
clock while no daemon runs and by the monotonic clock while one does.
"""

import datetime
import uuid

import structlog

from ovirt_provision.clock import Clock
from ovirt_provision.config import Timeouts
from ovirt_provision.errors import LeaseExpired, MachineUnfinished, ProvisionError
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.ledger.store import KEPT, SESSION, Lease, Ledger, Object
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.v1 import machines_pb2

log = structlog.get_logger("leases")

_NAMESPACE = uuid.UUID("6f0a1c52-58e0-4f7c-9e6b-2d1f6f1f8a11")


def timestamp(seconds: float) -> str:
    """An ISO 8601 time in UTC for people."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


class Leases:
    """The leases of one daemon that can end."""

    def __init__(self, ledger: Ledger, clock: Clock, timeouts: Timeouts, dispatcher: Dispatcher) -> None:
        self._ledger = ledger
        self._clock = clock
        self._timeouts = timeouts
        self._dispatcher = dispatcher
        self._interval = timeouts.renew_interval / 3
        # By Machine, in seconds of the monotonic clock: when its client was last heard of, and when its ttl
        # is over.
        self._heard: dict[int, float] = {}
        self._ends: dict[int, float] = {}

    def heard(self, row: Object) -> None:
        """The client of a Machine is alive. Raises LeaseExpired if it comes too late."""
        lease = self._ledger.lease(row.id)
        if lease is not None and lease.expired_at is not None:
            why = "was not renewed in time" if lease.kind == SESSION else "has reached the end of its ttl"
            raise LeaseExpired(key=row.key, expired_at=timestamp(lease.expired_at), why=why)
        self._heard[row.id] = self._clock.monotonic()

    def confirm(self, row: Object, *, ttl: float | None = None) -> None:
        """Lets a Machine live without any client from now on, for ever or for `ttl` seconds.

        Raises LeaseExpired if it comes too late and MachineUnfinished while the Machine is being made.
        """
        self.heard(row)
        for operation in self._ledger.unended_operations(row.id):
            if operation.request_id == row.request_id:
                raise MachineUnfinished(key=row.key, operation=operation.id)
        with self._ledger.transaction() as connection:
            self._ledger.set_lease(connection, row.id, KEPT, ttl=ttl)
        self._ends.pop(row.id, None)

    def expires_at(self, row: Object) -> float | None:
        """When the Machine will be destroyed, in seconds since the epoch, unless its client is heard of
        before; None where it lives until somebody destroys it."""
        lease = self._ledger.lease(row.id)
        if lease is None:
            return None
        if lease.expired_at is not None:
            return lease.expired_at
        remaining = self._remaining(row, lease)
        return None if remaining is None else self._clock.time() + remaining

    @property
    def pending(self) -> bool:
        """True while a Machine lives that this daemon may have to destroy."""
        return bool(self._ledger.mortal_machines())

    async def run(self) -> None:
        """Reaps for ever."""
        looked_at = self._clock.monotonic()
        while True:
            late = self._clock.monotonic() - looked_at - self._interval
            if late > self._interval:
                # A daemon that was stopped, as its whole machine may be, has heard nobody meanwhile.
                log.warning("the daemon has stood still; no lease has ended meanwhile", seconds=late)
                self._heard = dict.fromkeys(self._heard, self._clock.monotonic())
            looked_at = self._clock.monotonic()
            try:
                for row in self._ledger.mortal_machines():
                    await self._look_at(row)
            except LedgerError as error:
                log.error("reaping stands still", error=str(error))
            except Exception:
                # Whatever it is, the other leases have to be watched on.
                log.exception("reaping failed unexpectedly")
            await self._clock.sleep(self._interval)

    async def _look_at(self, row: Object) -> None:
        lease = self._ledger.lease(row.id)
        if lease is None:
            return
        remaining = self._remaining(row, lease)
        if lease.expired_at is not None or (remaining is not None and remaining <= 0):
            await self._reap(row, lease)

    def _remaining(self, row: Object, lease: Lease) -> float | None:
        """How many seconds a lease still has; None for one without end."""
        now = self._clock.monotonic()
        if lease.kind == SESSION:
            # A Machine that this daemon has not heard of counts as heard of now: it is new, or the daemon is.
            return self._heard.setdefault(row.id, now) + self._timeouts.lease_grace - now
        if lease.ttl is None or lease.confirmed_at is None:
            return None
        # A wall clock that was set back while no daemon ran does not make it longer than it was.
        left = min(lease.ttl, lease.confirmed_at + lease.ttl - self._clock.time())
        return self._ends.setdefault(row.id, now + left) - now

    async def _reap(self, row: Object, lease: Lease) -> None:
        """Destroys a Machine; the request_id is always the same, so doing it again after a crash is safe."""
        if lease.expired_at is None:
            self._ledger.expire_lease(row.id)
            log.warning("lease expired", key=row.key, owner=row.owner, vm=row.engine_id, lease=lease.kind)
        request = machines_pb2.DestroyMachineRequest(
            # A VM that is adopted again has its id again, and another row.
            request_id=str(uuid.uuid5(_NAMESPACE, f"lease {row.engine_id} {row.id}")),
            key=row.key,
        )
        try:
            destroying = await self._dispatcher.call(DESTROY_MACHINE, row.owner, row.engine, request)
            if destroying.ended and not self._ledger.unended_operations(row.id):
                self._dispatcher.clean_up(row)  # it came to nothing, and its request_id is used up
        except ProvisionError as error:
            log.error("cannot destroy a Machine without a lease", key=row.key, error=str(error))
