"""ExportTemplate: the engine writes a template to an OVA file on a host, or copies it to an export domain.

What comes of it is no object of ours, so nothing is taken back. Neither does a template tell that it is being
exported: to a file it is with a lock that the API does not show. Whether the engine has begun, and how it has
ended, is what its log has under our correlation id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import Template
from ovirt_provision.engine.templates import needs_of_export, needs_of_ova
from ovirt_provision.errors import (
    InvalidRequest,
    ReferencesNotFound,
    Violation,
    did_you_mean,
)
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.machines import insist_on_idle
from ovirt_provision.operations.problems import all_at_once
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.references import find_template
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import logged
from ovirt_provision.v1 import templates_pb2


@dataclass(frozen=True)
class _Codes:
    """Codes of the engine's events of an export. Source: the engine's `AuditLogType`."""

    begun: int
    done: int
    failed: int


_OF_OVA = _Codes(begun=1226, done=1227, failed=1228)
_OF_DOMAIN = _Codes(begun=1164, done=1156, failed=1157)


async def resolve(call: Call) -> dict[str, Any]:
    """Raises ReferencesNotFound, InvalidRequest, NotAllowed and EnginePermissionDenied."""
    to_host = call.request.HasField("ova")
    found = await all_at_once(_template(call), _host(call) if to_host else _domain(call))
    template: Template = found["template"]
    center = await call.engine.inventory.data_center_of(template.cluster_id)
    target = await (_insist_on_host if to_host else _insist_on_domain)(call, template, center, found)
    needs = needs_of_ova(template) if to_host else needs_of_export(target["domain_id"])
    await call.engine.account.insist(f"export template {template.name}", needs)
    row = our_template(call.ledger, call.installation, call.engine.name, template)
    return {
        "template_id": template.id,
        "template_name": template.name,
        "source_object_id": row.id if row is not None else None,
        **target,
    }


async def _template(call: Call) -> dict[str, Any]:
    return {"template": await find_template(call, call.request.template, "template")}


async def _host(call: Call) -> dict[str, Any]:
    name = call.request.ova.host
    hosts = {host.name: host for host in await call.engine.inventory.hosts()}
    if name not in hosts:
        wrong = f"no host '{name}'{did_you_mean(name, hosts)}"
        raise ReferencesNotFound([Violation("ova.host", wrong)])
    if hosts[name].status != "up":
        raise InvalidRequest([Violation("ova.host", f"host '{name}' is {hosts[name].status}, not up")])
    return {"host": hosts[name]}


async def _domain(call: Call) -> dict[str, Any]:
    name = call.request.export_domain.storage_domain
    names = (await call.engine.inventory.storage_domain_names()).values()
    if name not in names:
        wrong = f"no storage domain '{name}'{did_you_mean(name, names)}"
        raise ReferencesNotFound([Violation("export_domain.storage_domain", wrong)])
    return {}


async def _insist_on_host(
    call: Call, template: Template, center: str, found: dict[str, Any]
) -> dict[str, Any]:
    host, wanted = found["host"], call.request.ova
    if await call.engine.inventory.data_center_of(host.cluster_id) != center:
        wrong = f"host '{host.name}' is in another data center than template '{template.name}'"
        raise InvalidRequest([Violation("ova.host", wrong)])
    file_name = wanted.file_name or f"{template.name}.ova"
    return {
        "host_id": host.id,
        "directory": wanted.directory,
        "file_name": file_name,
        "place": f"{wanted.directory.rstrip('/')}/{file_name} on host {host.name}",
    }


async def _insist_on_domain(
    call: Call, template: Template, center: str, _found: dict[str, Any]
) -> dict[str, Any]:
    name, field = call.request.export_domain.storage_domain, "export_domain.storage_domain"
    known = await call.engine.inventory.storage_domains_of(center)
    domain = next((one for one in known if one.name == name), None)
    near = did_you_mean(name, [one.name for one in known if one.type == "export"])
    wrong = ""
    if domain is None:
        wrong = f"'{name}' is not in the data center of template '{template.name}'{near}"
    elif domain.type != "export":
        wrong = f"'{name}' is one of type {domain.type}, not export{near}"
    elif domain.inactive:
        wrong = f"'{name}' {domain.inactive}"
    if domain is None or wrong:
        raise InvalidRequest([Violation(field, f"storage domain {wrong}")])
    replace = call.request.export_domain.replace
    if not replace and await call.engine.storage_domains.has_template(domain.id, template.id):
        wrong = f"storage domain '{name}' has a copy of template '{template.name}' already"
        raise InvalidRequest([Violation("export_domain.replace", f"{wrong}; this would replace it")])
    return {"domain_id": domain.id, "place": f"export domain {domain.name}"}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    """Takes the template, if it is ours: nothing else happens to it meanwhile. Raises MachineBusy."""
    if plan["source_object_id"] is not None:
        insist_on_idle(call.ledger, call.ledger.object(plan["source_object_id"]))
    return Intent(plan=plan)


def _codes(run: Provisioning) -> _Codes:
    return _OF_OVA if run.request.HasField("ova") else _OF_DOMAIN


async def _has_begun(run: Provisioning) -> bool:
    """Whether the engine has a request of ours. It has a job for it before it looks whether it may be, and
    logs what it has begun."""
    seen = await run.engine.events.codes(run.correlation_id)
    codes = _codes(run)
    return not seen.isdisjoint((codes.begun, codes.done, codes.failed)) or bool(
        await run.engine.events.unfinished_jobs(run.correlation_id)
    )


async def export(run: Provisioning) -> None:
    asked = run.reentered

    async def send() -> None:
        nonlocal asked
        if asked and await _has_begun(run):
            return
        asked = True
        await _ask(run)

    run.note(f"exporting template {run.plan['template_name']} to {run.plan['place']}")
    await run.insist(send)
    codes = _codes(run)
    if codes.done not in await logged(run, codes.done, codes.failed):
        raise run.failure(
            f"the export of template {run.plan['template_name']} to {run.plan['place']}",
            await run.insist(lambda: run.engine.events.failure_of(run.correlation_id)),
        )


async def _ask(run: Provisioning) -> None:
    template = await run.engine.templates.get(run.plan["template_id"])
    if template is None:
        raise run.failure(f"the export of template {run.plan['template_name']}", "the template has vanished")
    if "host_id" in run.plan:
        await run.engine.templates.export_to_host(
            template,
            run.plan["host_id"],
            run.plan["directory"],
            run.plan["file_name"],
            correlation_id=run.correlation_id,
        )
    else:
        await run.engine.templates.export_to_domain(
            template,
            run.plan["domain_id"],
            replace=run.request.export_domain.replace,
            correlation_id=run.correlation_id,
        )


async def await_engine(run: Provisioning) -> None:
    """The engine does not stop an export, so its end is all that an undo can wait for."""
    if await run.insist(lambda: _has_begun(run)):
        run.note("waiting until the engine has ended the export")
        codes = _codes(run)
        await logged(run, codes.done, codes.failed)


def phases(_request: templates_pb2.ExportTemplateRequest) -> Sequence[Phase[Provisioning]]:
    return (Phase("exporting", timeout="export_template", done=100, act=export, undo=await_engine),)


EXPORT_TEMPLATE = Verb("ExportTemplate", templates_pb2.ExportTemplateRequest, resolve, intend, phases)
