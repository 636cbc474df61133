"""CleanUp: the janitor's own verb, for an object that an operation had to leave behind."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.empty_pb2 import Empty

from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import (
    remove_disk,
    remove_machine,
    remove_snapshot,
    remove_template,
)
from ovirt_provision.operations.transfers import remove_transfer
from ovirt_provision.operations.verb import Call, Intent, Verb

_REMOVE = {
    "vm": remove_machine,
    "template": remove_template,
    "snapshot": remove_snapshot,
    "disk": remove_disk,
    "transfer": remove_transfer,
}


async def clean(run: Provisioning) -> None:
    await _REMOVE[run.object.kind](run, run.object)


async def resolve(_call: Call) -> dict[str, Any]:
    return {}


def intend(_call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    return Intent(plan=plan)


def phases(_request: Empty) -> Sequence[Phase[Provisioning]]:
    return (Phase("cleaning-up", timeout="undo", done=100, act=clean),)


CLEAN_UP = Verb("CleanUp", Empty, resolve, intend, phases, cancellable=False, line=None)
