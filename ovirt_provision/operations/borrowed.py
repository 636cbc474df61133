"""Phases that a verb has from another one: they see a request of that one's kind, and an object of theirs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.provisioning import Provisioning

Act = Callable[[Provisioning], Awaitable[None]]


class _Seen:
    """A run as the phases of another verb see it."""

    def __init__(self, run: Provisioning, request: Any, object_id: int) -> None:
        self._run = run
        self._object_id = object_id
        self.request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    @property
    def object(self) -> Object:
        return self._run.ledger.object(self._object_id)

    @property
    def machine_id(self) -> str:
        return self.object.known_id


def seen_as(run: Provisioning, request: Any, object_id: int) -> Provisioning:
    """The run with another request, about another object of the ledger."""
    return cast(Provisioning, _Seen(run, request, object_id))


def borrowed(
    phase: Phase[Provisioning],
    seen: Callable[[Provisioning], Provisioning],
    *,
    done: int,
    name: str = "",
    undo: bool = True,
) -> Phase[Provisioning]:
    """A phase of another verb as one of this; `seen` is how it sees the run. Without `undo` it is taken back
    by another phase."""

    def lent(act: Act | None) -> Act | None:
        if act is None:
            return None

        async def acting(run: Provisioning) -> None:
            await act(seen(run))

        return acting

    return replace(
        phase,
        name=name or phase.name,
        done=done,
        act=lent(phase.act),
        observe=lent(phase.observe),
        undo=lent(phase.undo) if undo else None,
    )
