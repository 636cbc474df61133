"""MarkBackupDomain: a storage domain becomes one for backups, from which no VM runs, or ceases to be one.

The one thing that is not ours and that is changed all the same: its id is given by who has the role admin.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.errors import (
    AdminsOnly,
    InvalidRequest,
    ReferencesNotFound,
    StorageDomainInUse,
    Violation,
    did_you_mean,
)
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.v1 import backups_pb2

_MOST_NAMES = 10


async def resolve(call: Call) -> dict[str, Any]:
    """Raises AdminsOnly, ReferencesNotFound, InvalidRequest and StorageDomainInUse."""
    if not call.limits.is_admin:
        raise AdminsOnly(caller=call.owner, doing="mark storage domains as backup")
    domain = await call.engine.storage_domains.get(call.request.id)
    if domain is None:
        known = await call.engine.inventory.storage_domain_names()
        near = did_you_mean(call.request.id, known)
        wrong = f"the engine has no storage domain with the id {call.request.id}{near}"
        raise ReferencesNotFound([Violation("id", wrong)])
    if domain.type != "data":
        wrong = f"storage domain '{domain.name}' is one of type {domain.type}; only those of type data can be"
        raise InvalidRequest([Violation("id", wrong)])
    if call.request.backup:
        running = await call.engine.machines.search(
            f'storage.name="{domain.name}" and status!=down', max_rows=_MOST_NAMES
        )
        if names := sorted(vm.name for vm in running if vm.status != "down"):
            raise StorageDomainInUse(name=domain.name, id=domain.id, vms=", ".join(names))
    return {}


def intend(_call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    return Intent(plan=plan)


async def mark(run: Provisioning) -> None:
    domain_id, backup = run.request.id, run.request.backup

    async def send() -> None:
        domain = await run.engine.storage_domains.get(domain_id)
        if domain is None:
            raise ReferencesNotFound([Violation("id", "the storage domain has vanished")])
        if domain.backup != backup:
            await run.engine.storage_domains.mark(domain, backup=backup, correlation_id=run.correlation_id)

    await run.insist(send)


def phases(_request: backups_pb2.MarkBackupDomainRequest) -> Sequence[Phase[Provisioning]]:
    return (Phase("marking", timeout="create_machine", done=100, act=mark),)


MARK_BACKUP_DOMAIN = Verb(
    "MarkBackupDomain",
    backups_pb2.MarkBackupDomainRequest,
    resolve,
    intend,
    phases,
    cancellable=False,
    line=None,
)
