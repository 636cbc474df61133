"""DestroyTemplate: gone, if it is ours."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.errors import NotOurs
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, PRESENT
from ovirt_provision.operations.allowance import insist_on_callers, is_callers
from ovirt_provision.operations.destroy_machine import WAITING_FOR_OTHERS
from ovirt_provision.operations.machines import operations_on
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.removal import insist_on_own_versions, remove_template
from ovirt_provision.operations.verb import Call, Intent, Line, Verb
from ovirt_provision.v1 import templates_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Looks whose the template is; one that is gone is fine. Raises NotOurs, NotYours and ForeignVersion."""
    template = await call.engine.templates.get(call.request.id.lower())
    if template is None:
        return {"gone": True}
    row = our_template(call.ledger, call.installation, call.engine.name, template)
    if row is None:
        raise NotOurs(
            kind="template", name=template.name, id=template.id, detail="the ledger does not know it"
        )
    insist_on_callers(call, row, "template", template.id)
    await insist_on_own_versions(call.engine, call.ledger, call.installation, template)
    return {"gone": False, "row": row.id, "template_id": template.id}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    """Takes the template's row, if it is ours; an operation that still makes it is cancelled by the
    dispatcher."""
    object_id = plan.get("row")
    if plan["gone"]:
        row = call.ledger.object_in_engine(call.engine.name, "template", call.request.id.lower())
        object_id = row.id if row is not None and is_callers(call, row) else None
    others = operations_on(call.ledger, object_id) if object_id is not None else []
    return Intent(object_id=object_id, plan={**plan, "others": [other.id for other in others]})


async def remove(run: Provisioning) -> None:
    if run.operation.object_id is None or run.object.state == GONE:
        return
    if run.plan.get("template_id") and run.object.engine_id is None:
        run.ledger.update_object(run.object.id, state=PRESENT, engine_id=run.plan["template_id"])
    await remove_template(run, run.object)


def phases(_request: templates_pb2.DestroyTemplateRequest) -> Sequence[Phase[Provisioning]]:
    return (WAITING_FOR_OTHERS, Phase("destroying", timeout="destroy", done=100, act=remove))


DESTROY_TEMPLATE = Verb(
    "DestroyTemplate",
    templates_pb2.DestroyTemplateRequest,
    resolve,
    intend,
    phases,
    cancellable=False,
    line=Line.REMOVAL,
)
