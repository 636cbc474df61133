"""Replacing a template so that nothing is lost: the old one goes once the new one is whole, and not before.

Before the engine is asked to remove the old one, the ledger has it that from now on the new one stays,
whatever comes. Then an undo keeps what stands, and says what that is.
"""

from ovirt_provision.engine.model import Template
from ovirt_provision.errors import EngineRefused, NameInUse, TemplateBusy, TemplateExists, TemplateInUse
from ovirt_provision.ledger.store import GONE, PRESENT, Ledger, Object
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.removal import bury_if_unanswered, users_of
from ovirt_provision.operations.waits import template_gone

_LONGEST_NAME = 255


def temporary_name(name: str, request_id: str) -> str:
    """What a new template is called until it counts."""
    suffix = f".new-{request_id[:8]}"
    return name[: _LONGEST_NAME - len(suffix)] + suffix


def insist_on_no_other(ledger: Ledger, old_object_id: int) -> None:
    """Raises TemplateBusy while another operation is about to replace a template."""
    for other in ledger.unended_operations():
        if other.plan.get("old_object_id") == old_object_id:
            old = ledger.object(old_object_id)
            raise TemplateBusy(name=old.name, id=old.engine_id, operation=other.id)


def stays(row: Object) -> bool:
    """Whether a new template must not be removed any more, because the old one may be gone."""
    return bool(row.details.get("replacing"))


async def remove_old(run: Provisioning) -> None:
    """Removes the template that has the name.

    Raises TemplateInUse when a VM has come to use it, and NameInUse, before anything has changed, when the
    name is that of another template by now.
    """
    row, old = run.object, _old(run)
    if old is None:
        return
    old_id = run.plan["old_id"]
    if old.engine_id is None:
        old = run.ledger.update_object(old.id, engine_id=old_id)
    if not stays(row):
        await _insist_on_the_same(run, old_id)
        run.ledger.add_details(row.id, {"replacing": True})

    async def send() -> None:
        template = await run.engine.templates.get(old_id)
        if template is None or template.status == "locked":
            return  # gone, or on its way
        await _insist_on_no_use(run, template)
        await run.engine.templates.remove(old_id, old.name, correlation_id=run.correlation_id)

    run.note(f"removing the old template {old.name}")
    try:
        await run.insist(send)
    except EngineRefused as error:
        raise _in_use(run, old.name, old_id, "what the account does not see", error.engine_text) from None
    await template_gone(run, old_id, old.name)
    run.ledger.update_object(old.id, state=GONE)


async def rename(run: Provisioning) -> None:
    """Gives the new template its name. Raises NameInUse when somebody else's has taken it meanwhile.

    The temporary name was what kept a create that was not answered from having an effect. Once it is free
    again, such a create may still make a second template: the janitor looks for it under that name.
    """
    row, name = run.object, run.request.name
    template_id = row.known_id
    row = run.ledger.update_object(row.id, details={"made_as": row.name, **row.details})
    bury_if_unanswered(run, row)
    run.note(f"renaming {row.name} to {name}")
    try:
        await run.insist(
            lambda: run.engine.templates.rename(template_id, name, correlation_id=run.correlation_id)
        )
    except EngineRefused:
        holders = await run.insist(lambda: run.engine.templates.versions_of(name))
        for holder in holders:
            if holder.id != template_id:
                raise _taken(run, holder) from None
        raise
    run.ledger.update_object(row.id, name=name)


def keep(run: Provisioning) -> None:
    """Lets the new template stand although the operation has failed, and says so in its error."""
    row = run.ledger.update_object(run.object.id, state=PRESENT)
    old = _old(run)
    error = run.ledger.operation_or_fail(run.operation.id).error
    told = f"The new template stands as {row.name} ({row.known_id})"
    if old is not None and old.state == PRESENT:
        told += f", and the old one as {old.name} ({old.known_id}), unless the engine still removes it"
    if error is not None and told not in error["advice"]:
        run.ledger.update_operation(
            run.operation.id, error={**error, "advice": f"{error['advice']} {told}.".strip()}
        )


def _old(run: Provisioning) -> Object | None:
    object_id = run.plan.get("old_object_id")
    return run.ledger.object(object_id) if object_id is not None else None


async def _insist_on_the_same(run: Provisioning, old_id: str) -> None:
    """Raises NameInUse unless nobody but the old template has the name."""
    for holder in await run.insist(lambda: run.engine.templates.versions_of(run.request.name)):
        if holder.id != old_id:
            raise _taken(run, holder)


def _taken(run: Provisioning, holder: Template) -> NameInUse:
    ours = our_template(run.ledger, run.installation, run.operation.engine, holder)
    failure = NameInUse if ours is None else TemplateExists
    return failure(
        name=run.request.name, kind="template", holder=holder.id, correlation_id=run.correlation_id
    )


async def _insist_on_no_use(run: Provisioning, old: Template) -> None:
    users = await users_of(run.engine, old)
    if users:
        raise _in_use(run, old.name, old.id, ", ".join(users))


def _in_use(run: Provisioning, name: str, old_id: str, users: str, engine_text: str = "") -> TemplateInUse:
    row = run.object
    return TemplateInUse(
        name=name,
        id=old_id,
        users=users,
        new=f"; the new one stands as {row.name} ({row.known_id})",
        engine_text=engine_text,
        correlation_id=run.correlation_id,
    )
