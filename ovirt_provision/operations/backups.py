"""CreateBackup and RestoreBackup: a template, copied in full from one storage domain to another.

A backup is a template of its own whose disks are on a storage domain for backups. The engine makes templates
of VMs alone, so what is a template already becomes a VM that stands on it, which costs no copy, and is thrown
away afterwards. From then on everything is as when a template is made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine import Engine
from ovirt_provision.engine.inventory import DataDomain
from ovirt_provision.engine.model import Disk, Template
from ovirt_provision.engine.templates import needs_of_template
from ovirt_provision.errors import InvalidRequest, ReferencesNotFound, Violation, did_you_mean
from ovirt_provision.ledger.identity import vm_id
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations import create_template, throwaway
from ovirt_provision.operations.allowance import insist_on_allowed, insist_on_room
from ovirt_provision.operations.borrowed import borrowed, seen_as
from ovirt_provision.operations.lookups import Named, list_templates
from ovirt_provision.operations.machines import find_machine, insist_on_idle
from ovirt_provision.operations.new_machine import wait_until_ready
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.references import find_domain, find_template
from ovirt_provision.operations.removal import forget_intents
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.v1 import backups_pb2, templates_pb2


def is_backup(template: Template, domains: Sequence[DataDomain]) -> bool:
    """Whether all disks of a template, which has some, are on storage domains for backups alone."""
    backup = {domain.id for domain in domains if domain.backup}
    return bool(template.disks) and all(set(disk.domain_ids) <= backup for disk in template.disks)


async def list_backups(engine: Engine, domain_name: str, *, may_see: Callable[[str], bool]) -> list[Template]:
    """The backups on a backup domain, or on all, by name and version; `may_see` says of which names the
    caller may know. Raises ReferencesNotFound."""
    domains = await engine.inventory.data_domains()
    wanted = [one for one in domains if one.backup and domain_name in ("", one.name)]
    if domain_name and not wanted:
        near = did_you_mean(domain_name, [one.name for one in domains if one.backup])
        wrong = f"no storage domain '{domain_name}' is marked as backup{near}"
        raise ReferencesNotFound([Violation("storage_domain", wrong)])
    ids = {domain.id for domain in wanted}
    found = await list_templates(
        engine, Named(), tags=(), latest=False, may_see=may_see, follow="disk_attachments.disk"
    )
    return [
        template
        for template in found
        if is_backup(template, domains) and any(ids & set(disk.domain_ids) for disk in template.disks)
    ]


async def resolve_backup(call: Call) -> dict[str, Any]:
    """Looks at what is to be copied. Raises NotAllowed, ReferencesNotFound, InvalidRequest, NameInUse,
    TemplateExists, EnginePermissionDenied, and what `create_template.source_of` raises."""
    request = call.request
    if request.HasField("template"):
        template = await find_template(call, request.template, "template")
        return await _plan(call, template, backup=True)
    vm = await create_template.source_of(call, request.machine_key)
    domain = await _domain(call, await call.engine.inventory.data_center_of(vm.cluster_id), backup=True)
    name = request.name or _default_name(vm.name, request.request_id)
    await _insist_on_making(call, name, vm.cluster_id)
    return {
        "name": name,
        "vm_id": vm.id,
        "cluster_id": vm.cluster_id,
        "initialization": list(vm.initialization),
        "disc": vm.disc,
        "disk_changes": _moved(vm.disks, {}, domain.id, block=domain.block),
    }


async def resolve_restore(call: Call) -> dict[str, Any]:
    """Looks at the backup. Raises NotAllowed, ReferencesNotFound, InvalidRequest, NameInUse, TemplateExists
    and EnginePermissionDenied."""
    template = await find_template(call, call.request.backup, "backup")
    domains = await call.engine.inventory.data_domains()
    if not is_backup(template, domains):
        names = {domain.id: domain.name for domain in domains}
        where = sorted({names.get(one, one) for disk in template.disks for one in disk.domain_ids})
        wrong = f"template '{template.name}' is no backup: its disks are on {', '.join(where) or 'nothing'}"
        raise InvalidRequest([Violation("backup", wrong)])
    return await _plan(call, template, backup=False)


async def _plan(call: Call, template: Template, *, backup: bool) -> dict[str, Any]:
    request = call.request
    domain = await _domain(
        call, await call.engine.inventory.data_center_of(template.cluster_id), backup=backup
    )
    name = request.name or _default_name(template.name, request.request_id)
    await _insist_on_making(call, name, template.cluster_id)
    whole = await call.engine.templates.get(template.id, all_content=True)
    return {
        "name": name,
        "template_id": template.id,
        "cluster_id": template.cluster_id,
        "initialization": list(whole.initialization) if whole is not None else [],
        "disks": [
            {"name": disk.name, "format": disk.format, "sparse": disk.sparse} for disk in template.disks
        ],
        "domain": {"id": domain.id, "block": domain.block},
    }


def _default_name(of: str, request_id: str) -> str:
    return f"{of[:230]}.backup-{request_id[:8]}"


async def _insist_on_making(call: Call, name: str, cluster_id: str) -> None:
    """Raises NotAllowed, NameInUse, TemplateExists and EnginePermissionDenied."""
    insist_on_allowed(call, "templates", name, "name")
    await create_template.find_name(replace(call, request=_as_create(call.request, name)))
    await call.engine.account.insist(f"create template {name}", needs_of_template(cluster_id))


async def _domain(call: Call, data_center_id: str, *, backup: bool) -> DataDomain:
    """The storage domain that the copy goes to. Raises ReferencesNotFound and InvalidRequest."""
    domains = await call.engine.inventory.data_domains()
    known = [one for one in domains if one.data_center_id == data_center_id]
    return find_domain(
        call.request.storage_domain, "storage_domain", known, where=" in the data center", backup=backup
    )


def _moved(
    disks: Sequence[Disk], kinds: Mapping[str, Mapping[str, Any]], domain_id: str, *, block: bool
) -> list[dict[str, Any]]:
    """The copies of a VM's disks there, as fields of `DiskCopy`: each of the kind that is given for its
    name, or that it has."""
    changes = []
    for disk in disks:
        kind = kinds.get(disk.name, {"format": disk.format, "sparse": disk.sparse})
        # Of raw disks block storage has preallocated ones alone (behaviour.md 51).
        sparse = kind["sparse"] and not (block and kind["format"] == "raw")
        changes.append({"id": disk.id, "domain_id": domain_id, "format": kind["format"], "sparse": sparse})
    return changes


def _as_create(request: Any, name: str) -> templates_pb2.CreateTemplateRequest:
    """The template, as CreateTemplate would be asked for it."""
    return templates_pb2.CreateTemplateRequest(
        request_id=request.request_id,
        name=name,
        description=request.description,
    )


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Writes the template, and the VM that it is made of or takes the Machine. Raises TooManyMachines,
    MachineNotFound and MachineBusy."""
    request = call.request
    if "template_id" in plan:
        insist_on_room(call, connection)
        key = f"copy-{request.request_id}"
        source_id = throwaway.intend(call, connection, key=key, disks=len(plan["disks"]))
        source = None
    else:
        source = find_machine(call.ledger, call.owner, call.engine.name, request.machine_key)
        insist_on_idle(call.ledger, source)
        key, source_id = source.key, source.id
    generation = source.generation if source is not None else 1
    object_id = create_template.intend_template(
        call, connection, name=plan["name"], key=key, generation=generation
    )
    if source is None:
        # The key is of this request alone, so it has had no Machine before.
        plan = {**plan, "vm_id": vm_id(call.installation, call.owner, key, 1)}
    return Intent(object_id=object_id, plan={**plan, "source_object_id": source_id})


def _source(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["source_object_id"])


async def make_vm(run: Provisioning) -> None:
    await throwaway.create(
        run,
        _source(run),
        template_id=run.plan["template_id"],
        cluster_id=run.plan["cluster_id"],
        description=f"Stands on what is copied as {run.plan['name']}; it is removed afterwards",
    )


async def wait_for_vm(run: Provisioning) -> None:
    """Waits for the VM, and writes down what is to become of its disks, whose ids it tells only now."""
    await wait_until_ready(run, _source(run))
    disks = await run.insist(lambda: run.engine.disks.of_vm(run.plan["vm_id"]))
    domain = run.plan["domain"]
    kinds = {disk["name"]: disk for disk in run.plan["disks"]}
    changes = _moved(disks, kinds, domain["id"], block=domain["block"])
    run.add_to_plan(disk_changes=changes)


async def undo_vm(run: Provisioning) -> None:
    forget_intents(run.ledger, [run.object])
    await throwaway.undo(run, _source(run))


async def remove_vm(run: Provisioning) -> None:
    await throwaway.remove(run, _source(run))


def _as_template(run: Provisioning) -> Provisioning:
    return seen_as(run, _as_create(run.request, run.plan["name"]), run.object.id)


def phases(request: Any) -> Sequence[Phase[Provisioning]]:
    of_template = [
        borrowed(phase, _as_template, done=done)
        for phase, done in zip(
            create_template.phases(templates_pb2.CreateTemplateRequest()), (30, 90), strict=True
        )
    ]
    if isinstance(request, backups_pb2.CreateBackupRequest) and not request.HasField("template"):
        return of_template
    return (
        Phase(
            "creating-vm", timeout="machine_ready", done=20, act=make_vm, observe=wait_for_vm, undo=undo_vm
        ),
        *of_template,
        Phase("removing-vm", timeout="destroy", done=100, act=remove_vm),
    )


CREATE_BACKUP = Verb("CreateBackup", backups_pb2.CreateBackupRequest, resolve_backup, intend, phases)
RESTORE_BACKUP = Verb("RestoreBackup", backups_pb2.RestoreBackupRequest, resolve_restore, intend, phases)
