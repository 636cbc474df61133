"""DestroyMachine: gone, with the disks that it owns and nothing else; one that was adopted is forgotten."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE
from ovirt_provision.operations.machines import operations_on
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import remove_machine
from ovirt_provision.operations.verb import Call, Intent, Line, Verb
from ovirt_provision.v1 import machines_pb2


async def wait_for_others(run: Provisioning) -> None:
    """Waits until the operations on the object have ended: those that can be cancelled were, for this
    one."""
    for other in run.plan["others"]:
        run.note(f"waiting for operation {other} to end")
        await run.wait(run.wait_for_operation(other))


async def remove(run: Provisioning) -> None:
    if run.operation.object_id is not None and run.object.state != GONE:
        await remove_machine(run, run.object)


async def resolve(_call: Call) -> dict[str, Any]:
    return {}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    """Takes the Machine of the key, if one lives; the operations on it are cancelled by the dispatcher."""
    row = call.ledger.living_machine(call.owner, call.request.key)
    if row is None or row.engine != call.engine.name:
        return Intent(plan={"others": []})
    others = [other.id for other in operations_on(call.ledger, row.id)]
    return Intent(object_id=row.id, plan={**plan, "others": others})


WAITING_FOR_OTHERS: Phase[Provisioning] = Phase(
    "waiting-for-others", timeout="undo", done=10, act=wait_for_others
)


def phases(_request: machines_pb2.DestroyMachineRequest) -> Sequence[Phase[Provisioning]]:
    return (
        WAITING_FOR_OTHERS,
        Phase("destroying", timeout="destroy", done=100, act=remove),
    )


DESTROY_MACHINE = Verb(
    "DestroyMachine",
    machines_pb2.DestroyMachineRequest,
    resolve,
    intend,
    phases,
    cancellable=False,
    line=Line.REMOVAL,
)
