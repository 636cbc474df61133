"""What a request refers to: templates, tags, permissions and storage, looked up before the first effect."""

from collections.abc import Sequence
from typing import Any

from ovirt_provision.engine import Engine
from ovirt_provision.engine.catalog import Wanted
from ovirt_provision.engine.inventory import DataDomain
from ovirt_provision.engine.model import BLANK, Template, Vm
from ovirt_provision.engine.permissions import Principal, same_user
from ovirt_provision.errors import (
    InvalidRequest,
    ReferencesNotFound,
    Violation,
    did_you_mean,
    there_is,
)
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.enumerations import DISK_FORMATS
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.verb import Call
from ovirt_provision.v1 import resources_pb2


async def find_template(call: Call, reference: resources_pb2.TemplateRef, field: str) -> Template:
    """The template version that is meant, ready and with its disks; `field` is the path of the reference.

    Raises ReferencesNotFound, NotAllowed and, for the template Blank, InvalidRequest.
    """
    # Before the look-up, so that no near miss tells what else there is.
    if reference.name:
        insist_on_allowed(call, "templates", reference.name, f"{field}.name")
    placement = await call.engine.catalog.resolve(
        Wanted(
            template_id=reference.id,
            template_name=reference.name,
            template_version=reference.version,
            tells_template=lambda name: call.limits.may_use("templates", name),
        )
    )
    template = placement.template
    if template is not None:
        insist_on_allowed(call, "templates", template.name, f"{field}.id", given=reference.id)
    if template is not None and template.id == BLANK:
        raise InvalidRequest([Violation(field, f"template '{template.name}' has no disk")])
    if template is None or placement.violations:
        raise ReferencesNotFound(
            [
                Violation(one.field.replace("spec.template", field), one.description)
                for one in placement.violations
            ]
        )
    return template


async def find_tags(engine: Engine, names: Sequence[str]) -> dict[str, Any]:
    """`tag_ids` in the order of the names. Raises ReferencesNotFound."""
    if not names:
        return {}
    known = await engine.inventory.tags()
    wrong = [
        Violation(f"tags[{index}]", f"no tag '{name}'{did_you_mean(name, known)}")
        for index, name in enumerate(names)
        if name not in known
    ]
    if wrong:
        raise ReferencesNotFound(wrong)
    return {"tag_ids": [known[name] for name in names]}


async def find_permissions(engine: Engine, wanted: Sequence[resources_pb2.Permission]) -> dict[str, Any]:
    """`grants`: the role's id with kind, id and name of whom it is for. Raises ReferencesNotFound."""
    if not wanted:
        return {}
    roles = await engine.permissions.roles()
    kinds = {permission.WhichOneof("to") for permission in wanted}
    known = {
        "user": await engine.permissions.users() if "user" in kinds else (),
        "group": await engine.permissions.groups() if "group" in kinds else (),
    }
    wrong: list[Violation] = []
    grants = []
    for index, permission in enumerate(wanted):
        kind = str(permission.WhichOneof("to"))
        name = getattr(permission, kind)
        to = _principal(name, known[kind])
        if permission.role not in roles:
            near = did_you_mean(permission.role, roles)
            wrong.append(Violation(f"permissions[{index}].role", f"no role '{permission.role}'{near}"))
        if to is None:
            near = did_you_mean(name, [one.name for one in known[kind]])
            wrong.append(
                Violation(f"permissions[{index}].{kind}", f"the engine knows no {kind} '{name}'{near}")
            )
        if permission.role in roles and to is not None:
            grants.append([roles[permission.role], to.kind, to.id, to.name])
    if wrong:
        raise ReferencesNotFound(wrong)
    return {"grants": grants}


def _principal(name: str, known: Sequence[Principal]) -> Principal | None:
    return next(
        (one for one in known if one.name == name or (one.kind == "user" and same_user(name, one.name))), None
    )


def find_domain(
    name: str, field: str, known: Sequence[DataDomain], *, where: str = "", backup: bool = False
) -> DataDomain:
    """The data domain of that name, if disks of VMs that run can be there, or with `backup` if it is for
    backups. `where` says for people where the known ones are.

    Raises ReferencesNotFound, and InvalidRequest for one that is unfit.
    """
    found = next((one for one in known if one.name == name), None)
    if found is None:
        has = there_is(name, [one.name for one in known if one.backup == backup])
        raise ReferencesNotFound([Violation(field, f"no storage domain '{name}'{where}{has}")])
    if unfit := found.unfit_for_backups if backup else found.unfit:
        raise InvalidRequest([Violation(field, f"storage domain '{name}' {unfit}")])
    return found


async def find_storage(engine: Engine, domain_name: str, disk_format: int, vm: Vm | None) -> dict[str, Any]:
    """`disk_changes`: what is to differ in the copies of the VM's disks, as fields of `DiskCopy`.

    Raises ReferencesNotFound and InvalidRequest. Without a VM it only looks whether there is such a storage
    domain.
    """
    if not domain_name and not disk_format:
        return {}
    domains = await engine.inventory.data_domains()
    by_id = {domain.id: domain for domain in domains}
    target = None
    if domain_name:
        center = await engine.inventory.data_center_of(vm.cluster_id) if vm is not None else ""
        known = [one for one in domains if not center or one.data_center_id == center]
        where = " in the data center of the Machine" if center else ""
        target = find_domain(domain_name, "storage_domain", known, where=where)
    changes = []
    for disk in vm.disks if vm is not None else ():
        place = target or next((by_id[one] for one in disk.domain_ids if one in by_id), None)
        changes.append(
            {
                "id": disk.id,
                "domain_id": target.id if target is not None else "",
                "format": DISK_FORMATS.get(disk_format, ""),
                # Of raw disks block storage has preallocated ones alone (behaviour.md 51).
                "sparse": not (
                    disk_format == resources_pb2.DISK_FORMAT_RAW and place is not None and place.block
                ),
            }
        )
    return {"disk_changes": changes}


async def grant(run: Provisioning, kind: str, object_id: str) -> None:
    """Gives the roles that `find_permissions` has put into the plan on a `template` or `disk`."""
    for role_id, *to in run.plan["grants"]:
        principal = Principal(*to)
        run.note(f"giving {principal.name} a role on {kind} {object_id}")
        await run.insist(
            lambda role_id=role_id, principal=principal: run.engine.permissions.grant(  # type: ignore[misc]
                kind, object_id, role_id, principal, correlation_id=run.correlation_id
            )
        )
