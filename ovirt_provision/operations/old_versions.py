"""Removing old versions of a template once a new one stands (`keep_versions`).

Nothing here fails the operation: what cannot be removed is told. Only versions that the bridge made and that
the caller may destroy count or go, and the new one never goes.
"""

from collections.abc import Sequence

from ovirt_provision.engine.model import Template
from ovirt_provision.errors import ProvisionError
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.ledger.store import GONE, PRESENT, REMOVING, Object
from ovirt_provision.operations.machines import operations_on
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.removal import insist_on_own_versions, users_of
from ovirt_provision.operations.waits import template_gone


async def remove_versions(run: Provisioning) -> None:
    """Removes all but the newest `keep_versions`."""
    try:
        await _settle(run)
        surplus = await _surplus(run)
    except LedgerError:
        raise
    except ProvisionError as error:
        _warn(run, f"older versions of template {run.object.name} were not looked at: {error}")
        return
    for row, template in surplus:
        try:
            await _remove(run, row, template)
        except LedgerError:
            raise
        except ProvisionError as error:
            said = error.engine_text if error.engine_text not in str(error) else ""
            _warn(run, f"{_told(template)} could not be removed: {error}" + (f" ({said})" if said else ""))


async def _settle(run: Provisioning) -> None:
    """Writes down what is gone of that which a daemon before this one has asked the engine to remove."""
    for object_id in run.object.details.get("removing", ()):
        row = run.ledger.object(object_id)
        if (
            row.state == PRESENT
            and await run.insist(
                lambda row=row: run.engine.templates.get(row.known_id)  # type: ignore[misc]
            )
            is None
        ):
            run.ledger.update_object(object_id, state=GONE)


async def _surplus(run: Provisioning) -> Sequence[tuple[Object, Template]]:
    """What is to go, oldest first."""
    new = run.object
    ours = []
    for template in await run.insist(lambda: run.engine.templates.versions_of(new.name)):
        row = our_template(run.ledger, run.installation, run.operation.engine, template)
        if row is not None and (row.owner == run.operation.owner or run.plan["admin"]):
            ours.append((row, template))
    return [
        (row, template)
        for row, template in reversed(ours[run.request.keep_versions :])
        # One that is still being made, or is being removed, is the business of another operation.
        if row.id != new.id and row.state == PRESENT and not operations_on(run.ledger, row.id)
    ]


async def _remove(run: Provisioning, row: Object, template: Template) -> None:
    users = await run.insist(lambda: users_of(run.engine, template))
    if users:
        _warn(run, f"{_told(template)} was not removed: it is in use by {', '.join(users)}")
        return
    await run.insist(
        lambda: insist_on_own_versions(
            run.engine, run.ledger, run.installation, template, correlation_id=run.correlation_id
        )
    )
    run.note(f"removing {_told(template)}")
    new = run.object
    removing = [*new.details.get("removing", ()), row.id]
    run.ledger.update_object(row.id, engine_id=template.id)
    run.ledger.add_details(new.id, {"removing": removing})

    async def send() -> None:
        now = await run.engine.templates.get(template.id)
        if now is not None and now.status != "locked":
            await run.engine.templates.remove(template.id, template.name, correlation_id=run.correlation_id)

    await run.insist(send)
    try:
        await template_gone(run, template.id, template.name)
    except ProvisionError:
        # The engine has agreed: the janitor sees to it that it is gone.
        run.ledger.update_object(row.id, state=REMOVING)
        raise
    run.ledger.update_object(row.id, state=GONE)


def _told(template: Template) -> str:
    return f"version {template.version} ({template.id}) of template {template.name}"


def _warn(run: Provisioning, text: str) -> None:
    row = run.object
    warnings = row.details.get("warnings", [])
    if text not in warnings:
        run.ledger.add_details(row.id, {"warnings": [*warnings, text]})
