"""AdoptMachine: a VM that somebody else made becomes a Machine, to be started and stopped (law 5).

The ledger gets a row, the engine nothing: the VM carries no mark, so whatever insists on ours refuses it.
"""

import uuid
from typing import Any

from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.readings import WITH_ADDRESSES
from ovirt_provision.errors import (
    AdoptionNotAllowed,
    KeyInUse,
    MachineBusy,
    ReferencesNotFound,
    Violation,
    VmNotAdoptable,
)
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import GONE, LATE, PRESENT, SESSION, Ledger, Object
from ovirt_provision.operations.allowance import insist_on_room
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.machines import kept_selection, operations_on
from ovirt_provision.operations.verb import Call


async def adopt_machine(call: Call) -> tuple[Object, Vm]:
    """Writes the Machine, unless it is there already. Raises what `check_adoption` raises, TooManyMachines,
    and MachineBusy while the Machine is being forgotten."""
    vm = await check_adoption(call)
    details = await _details(call, vm)
    ledger, request = call.ledger, call.request
    with ledger.transaction() as connection:
        living = _adopted_already(call)
        if living is not None:
            _insist_on_stay(ledger, living)
            return living, vm
        _insist_on_nobodys(call, vm)
        insist_on_room(call, connection)
        last = ledger.last_machine(call.owner, request.key)
        object_id = ledger.add_object(
            connection,
            engine=call.engine.name,
            kind="vm",
            engine_id=vm.id,
            name=vm.name,
            owner=call.owner,
            key=request.key,
            generation=last.generation + 1 if last else 1,
            # That of no operation: nothing is ever asked of the engine to adopt.
            request_id=str(uuid.uuid4()),
            state=PRESENT,
            arguments={"vm_id": vm.id},
            details=details,
        )
        ledger.set_lease(connection, object_id, SESSION)
    return ledger.object(object_id), vm


async def check_adoption(call: Call) -> Vm:
    """The VM, if it can be adopted under the key. Raises KeyInUse, AdoptionNotAllowed, ReferencesNotFound and
    VmNotAdoptable."""
    living, request, limits = _adopted_already(call), call.request, call.limits
    not_allowed = AdoptionNotAllowed(
        owner=call.owner, id=request.vm_id, allowed=", ".join(limits.adoptable) or "nothing"
    )
    # Before the look-up: who may adopt nothing learns of no VM whether it exists.
    if not limits.adoptable:
        raise not_allowed
    vm = await call.engine.machines.get(request.vm_id.lower(), follow=WITH_ADDRESSES)
    if vm is None:
        raise ReferencesNotFound([Violation("vm_id", f"the engine has no VM with the id {request.vm_id}")])
    if not limits.may_adopt(vm.name):
        raise not_allowed
    if living is None:
        _insist_on_nobodys(call, vm)
    return vm


def _adopted_already(call: Call) -> Object | None:
    """The living Machine of the key. Raises KeyInUse when that is another VM, or was made."""
    living, request = call.ledger.living_machine(call.owner, call.request.key), call.request
    if living is None:
        return None
    wanted = {"engine": call.engine.name, "vm_id": request.vm_id.lower(), "adopted": True}
    is_now = {"engine": living.engine, "vm_id": living.engine_id, "adopted": living.adopted}
    differing = [
        f"{name} ({is_now[name]} then, {wanted[name]} now)" for name in wanted if wanted[name] != is_now[name]
    ]
    if differing:
        raise KeyInUse(key=living.key, differing=", ".join(differing))
    return living


def _insist_on_stay(ledger: Ledger, row: Object) -> None:
    """Raises MachineBusy while the Machine is being forgotten."""
    for other in operations_on(ledger, row.id):
        if other.verb == DESTROY_MACHINE.name:
            raise MachineBusy(key=row.key, operation=other.id, verb=other.verb)


def _insist_on_nobodys(call: Call, vm: Vm) -> None:
    """Raises VmNotAdoptable for a Machine, of whomever it is. Tells nobody's name."""
    row = call.ledger.object_in_engine(call.engine.name, "vm", vm.id)
    mark = Mark.parse(vm.comment)
    if row is not None and row.state not in (GONE, LATE):
        why = "it is a Machine already"
        if row.owner == call.owner:
            why += f", under the key '{row.key}'"
    elif (row and not row.adopted) or (mark and mark.is_of_vm(vm.id, call.installation)):
        why = "it was made by this installation, as a Machine that is no more"
    elif mark is not None and mark.is_of_vm(vm.id, mark.installation):
        why = f"it is a Machine of another installation, {mark.installation}"
    else:
        return
    raise VmNotAdoptable(id=vm.id, why=why)


async def _details(call: Call, vm: Vm) -> dict[str, Any]:
    clusters = await call.engine.inventory.clusters()
    details = {
        "adopted": True,
        "template_id": vm.template_id,
        "cluster": clusters.get(vm.cluster_id, ""),
    }
    if call.request.HasField("address_selection"):
        details |= kept_selection(call.request.address_selection)
    return details
