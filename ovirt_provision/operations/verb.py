"""What a verb is: how its references are looked up, what it writes before its first effect, and its
phases."""

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message

from ovirt_provision.config import Owner, Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.images.store import ImageStore
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Ledger, Operation
from ovirt_provision.operations.provisioning import Provisioning


@dataclass(frozen=True)
class Call:
    """A verb as it was called."""

    request: Any
    owner: str
    engine: Engine
    installation: str
    ledger: Ledger
    timeouts: Timeouts
    limits: Owner
    images: ImageStore


@dataclass(frozen=True)
class Intent:
    """What a verb writes in the transaction that accepts it. `operation` is one that does already what was
    asked for."""

    object_id: int | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    operation: Operation | None = None


class Line(enum.Enum):
    """What waits behind each other at an engine."""

    WORK = "what makes or starts something"
    REMOVAL = "what removes something"


@dataclass(frozen=True)
class Verb:
    """A verb of the bridge.

    `resolve` looks up all that the request refers to and raises for all that is wrong at once; it changes
    nothing. `intend` runs in the accepting transaction: it checks the request against the ledger and writes
    the intent, and does not await.
    """

    name: str
    request_type: type[Message]
    resolve: Callable[[Call], Awaitable[dict[str, Any]]]
    intend: Callable[[Call, dict[str, Any], sa.Connection], Intent]
    phases: Callable[[Any], Sequence[Phase[Provisioning]]]
    # Destroying rolls forward: it cannot be cancelled.
    cancellable: bool = True
    # Where it waits for its turn; None for what never waits.
    line: Line | None = Line.WORK
