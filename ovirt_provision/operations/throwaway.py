"""A Machine that an operation makes from a template for itself, and throws away before it ends.

It is a VM of ours like any other: intended in the ledger before it is made, with an id and a mark of its own,
and removed whatever becomes of the operation. It has no lease that could end: the operation ends it.
"""

import sqlalchemy as sa

from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.ledger.identity import vm_id
from ovirt_provision.ledger.store import GONE, HANDED_OVER, INTENDED, Object
from ovirt_provision.operations.new_machine import create_vm
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import left_to_the_janitor, remove_machine
from ovirt_provision.operations.verb import Call


def intend(call: Call, connection: sa.Connection, *, key: str, disks: int) -> int:
    """Writes the Machine, which is to have so many disks, and returns its row id. `key` is of the request
    alone, and the name of its VM."""
    object_id = call.ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="vm",
        engine_id=vm_id(call.installation, call.owner, key, 1),
        name=key,
        owner=call.owner,
        key=key,
        generation=1,
        request_id=call.request.request_id,
        state=INTENDED,
        details={"disks": disks},
    )
    call.ledger.set_lease(connection, object_id, HANDED_OVER)
    return object_id


async def create(
    run: Provisioning, row: Object, *, template_id: str, cluster_id: str, description: str
) -> None:
    """Has the VM made, which stands on its template."""
    wanted = VmRequest(
        id=row.known_id,
        name=row.name,
        comment=str(run.mark("vm", row)),
        template_id=template_id,
        cluster_id=cluster_id,
        description=description,
    )
    await create_vm(run, row, wanted)


async def remove(run: Provisioning, row: Object) -> None:
    """Removes the Machine. What the engine cannot remove is left to the janitor: it has served its end."""
    with left_to_the_janitor(run, row):
        await undo(run, row)


async def undo(run: Provisioning, row: Object) -> None:
    # What is gone is not looked for again: a daemon that dies soon each time has to get on, too.
    if row.state != GONE:
        await remove_machine(run, row)
