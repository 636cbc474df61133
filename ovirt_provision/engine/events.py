"""The engine's event log and jobs: what it did, and why it failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from ovirtsdk4 import types

from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.session import Session
from ovirt_provision.errors import EnginePermissionDenied, EngineRefused

_OVERLAP = 50
# Without a limit the engine answers with every event since; with one, with the newest (behaviour.md 67). What
# is left out after a long pause nobody was waiting for.
_MOST = 500
# Without a search the engine gives who is no administrator all events that it may see, whatever `from` and
# `max` say. Source: `BackendEventsResource`.
_ANY = "sortby time desc"
# What the engine answers to a query that is for administrators.
_INSUFFICIENT = "insufficient permissions"
_FAILURES = (types.LogSeverity.ERROR, types.LogSeverity.ALERT)


@dataclass(frozen=True)
class Event:
    """One line of the engine's event log."""

    id: int
    correlation_id: str
    vm_id: str
    template_id: str
    description: str
    failure: bool
    code: int = 0

    @classmethod
    def of(cls, event: types.Event) -> "Event":
        return cls(
            id=int(event.id),
            correlation_id=event.correlation_id or "",
            vm_id=event.vm.id if event.vm else "",
            template_id=event.template.id if event.template else "",
            description=event.description or "",
            failure=event.severity in _FAILURES,
            code=event.code or 0,
        )


class Events:
    """The events and jobs of one engine."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._newest = 0
        self._seen: set[int] = set()
        self._may_see_jobs = True
        self._query: str | None = None
        self._unfinished: Batch[list[str]] = Batch(self._unfinished_jobs)
        self._maybe_unfinished: Batch[list[str]] = Batch(self._maybe_unfinished_jobs)
        self._codes: Batch[frozenset[int]] = Batch(self._codes_of_all)

    async def tail(self) -> list[Event]:
        """The events since the last call, oldest first; none at the first call.

        The last 50 ids are read again each time, because ids become visible out of order (behaviour.md 66).
        """
        if self._newest == 0:
            newest = await self._session.call(
                "read the newest event", lambda system: system.events_service().list(max=1)
            )
            self._newest = max((int(event.id) for event in newest), default=0)
            if len(newest) > 1:
                self._query = _ANY
            self._seen = set(range(max(0, self._newest - _OVERLAP), self._newest + 1))
            return []
        since = max(0, self._newest - _OVERLAP)
        found = await self._session.call(
            "read new events",
            lambda system: system.events_service().list(search=self._query, from_=since, max=_MOST),
        )
        new = sorted(
            (Event.of(e) for e in found if int(e.id) > since and int(e.id) not in self._seen),
            key=lambda e: e.id,
        )
        self._newest = max([self._newest, *(event.id for event in new)])
        self._seen = {i for i in self._seen if i > self._newest - 2 * _OVERLAP} | {event.id for event in new}
        return new

    async def failure_of(self, correlation_id: str) -> str:
        """What the engine's log says went wrong under a correlation id; empty when it says nothing."""
        failures = [event for event in await self._of(correlation_id) if event.failure]
        return max(failures, key=lambda event: event.id).description if failures else ""

    async def count(self, correlation_id: str, code: int) -> int:
        """How many events with this code the engine's log has under a correlation id."""
        return len([event for event in await self._of(correlation_id) if event.code == code])

    async def codes(self, correlation_id: str) -> frozenset[int]:
        """The codes of the events that the engine's log has under a correlation id; read together with what
        others ask for at the same time."""
        return await self._codes.get(correlation_id)

    async def _codes_of_all(self, correlation_ids: Sequence[str]) -> dict[str, frozenset[int]]:
        query = " or ".join(f"correlation_id={one}" for one in correlation_ids)
        found = await self._session.call(
            "read the events of operations",
            lambda system: system.events_service().list(search=query, max=_MOST),
        )
        events = [Event.of(one) for one in found]
        return {
            one: frozenset(event.code for event in events if event.correlation_id == one)
            for one in correlation_ids
        }

    async def _of(self, correlation_id: str) -> list[Event]:
        found = await self._session.call(
            "read the events of an operation",
            lambda system: system.events_service().list(search=f"correlation_id={correlation_id}", max=100),
        )
        # Those of other work must not be told as its own.
        return [event for event in map(Event.of, found) if event.correlation_id == correlation_id]

    async def unfinished_jobs(self, correlation_id: str) -> list[str]:
        """Descriptions of the jobs under a correlation id that are still running; read together with what
        others ask for at the same time.

        None where the account may not see jobs: the engine then answers 400 (behaviour.md 17), and is not
        asked again.
        """
        return await self._unfinished.get(correlation_id)

    async def jobs_seem_finished(self, correlation_id: str) -> bool:
        """True when no job under a correlation id is running; false when one is, or probably is."""
        return not await self._maybe_unfinished.get(correlation_id)

    async def _maybe_unfinished_jobs(self, correlation_ids: Sequence[str]) -> dict[str, list[str]]:
        return await self._unfinished_jobs(correlation_ids, guess=True)

    async def _unfinished_jobs(
        self, correlation_ids: Sequence[str], *, guess: bool = False
    ) -> dict[str, list[str]]:
        """A job does not tell its correlation id, so the ids are halved until it is known whose it is; most
        often all are finished. To `guess`, they are all taken as unfinished when there are as many jobs.

        That the engine searches jobs with its whole language is read in its source.
        """
        if not self._may_see_jobs:
            return {one: [] for one in correlation_ids}
        query = " or ".join(f"correlation_id={one}" for one in correlation_ids)
        try:
            jobs = await self._session.call(
                "read the jobs of operations", lambda system: system.jobs_service().list(search=query)
            )
        except (EngineRefused, EnginePermissionDenied, EngineNotFound) as error:
            self._may_see_jobs = _INSUFFICIENT not in error.engine_text
            jobs = []
        unfinished = [job.description or "" for job in jobs if job.status == types.JobStatus.STARTED]
        all_of_them = guess and len(unfinished) >= len(correlation_ids)
        if not unfinished or all_of_them or len(correlation_ids) == 1:
            return dict.fromkeys(correlation_ids, unfinished)
        middle = len(correlation_ids) // 2
        return {
            **await self._unfinished_jobs(correlation_ids[:middle], guess=guess),
            **await self._unfinished_jobs(correlation_ids[middle:], guess=guess),
        }
