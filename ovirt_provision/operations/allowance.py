"""What an owner may use and how much of it, held against a call before its first effect."""

from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa

from ovirt_provision.errors import NotAllowed, NotYours, TooManyMachines, Violation, did_you_mean
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.verb import Call


def insist_on_allowed(
    call: Call, kind: Literal["clusters", "templates"], name: str, field: str, given: str = ""
) -> None:
    """Raises NotAllowed unless the owner's allow-list has the name.

    `field` is the path of the request's field. `given` is what that field holds where it is not the name: the
    error then tells no name that the caller does not know.
    """
    if call.limits.may_use(kind, name):
        return
    allowed: Sequence[str] = getattr(call.limits, kind) or ()
    shown = f"{kind.removesuffix('s')} '{given or name}'"
    told = ", ".join(allowed) or "none"
    raise NotAllowed(
        violations=[Violation(field, f"{shown} is not allowed; allowed {kind} are {told}")],
        owner=call.owner,
        what=kind,
        given=shown,
        allowed=told,
        near="" if given else did_you_mean(name, allowed),
    )


def is_callers(call: Call, row: Object) -> bool:
    """Whether what the bridge made is the caller's to use and to remove: an admin's is all of it."""
    return row.owner == call.owner or call.limits.is_admin


def insist_on_callers(call: Call, row: Object, kind: Literal["disk", "template"], engine_id: str) -> None:
    """Raises NotYours, which names what is meant by its kind and id, unless it is the caller's."""
    if not is_callers(call, row):
        raise NotYours(kind=kind, id=engine_id, owner=call.owner)


def insist_on_room(call: Call, connection: sa.Connection) -> None:
    """Raises TooManyMachines unless the owner may have one more Machine.

    Called in the transaction that writes the new one, so that of several calls at once each counts those
    before it. One that is being removed counts until it is gone.
    """
    allowed = call.limits.max_machines
    if allowed is None:
        return
    held = call.ledger.count_machines(connection, call.owner)
    if held >= allowed:
        raise TooManyMachines(owner=call.owner, what="max_machines", held=held, allowed=allowed)
