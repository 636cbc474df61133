"""StartMachine: up, and with an address."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from ovirt_provision.errors import EngineRefused, InvalidRequest
from ovirt_provision.guest.first_boot import first_boot, violations_of
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.machines import (
    intend_on_machine,
    kept_selection,
    machine_of,
    selection_of,
)
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.static_ranges import with_reserved
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import vm_reports, vm_up
from ovirt_provision.v1 import machines_pb2, resources_pb2

# Where the verbs that start a Machine have its first-boot configuration; a restart has none.
_INITIALIZATION_FIELDS = {
    "CreateMachine": "start_with",
    "CloneMachine": "start_with",
    "StartMachine": "initialization",
}


async def start(run: Provisioning) -> None:
    """Starts the operation's VM unless it is on its way already."""
    await start_vm(run, run.object, lambda: _initialization(run))


async def start_vm(
    run: Provisioning, row: Object, initialization: Callable[[], resources_pb2.Initialization | None]
) -> None:
    """Starts a VM of ours unless it is on its way already. `initialization` reads what its guest is told, and
    is asked only when that is needed."""
    vm_id = row.known_id
    vm = await run.insist(lambda: run.engine.machines.find(vm_id))
    if vm is not None:
        run.insist_on_ours(vm)
    if vm is not None and vm.status != "down":
        return
    boot = initialization()
    run.note(f"starting VM {row.name}")

    async def send() -> None:
        try:
            await run.engine.machines.start(
                vm_id,
                row.name,
                first_boot(boot) if boot is not None else None,
                correlation_id=run.correlation_id,
            )
        except EngineRefused:
            # An earlier start whose answer was lost is refused as "in Up status": then all is well.
            now = await run.engine.machines.get(vm_id)
            if now is None or now.status in ("down", "image_locked"):
                raise

    await run.insist(send, on_vm=vm_id)


def _initialization(run: Provisioning) -> resources_pb2.Initialization | None:
    """The first-boot configuration of the request; reads its secrets only where it has any."""
    field = _INITIALIZATION_FIELDS.get(run.operation.verb)
    if field is None or not run.request.HasField(field):
        return None
    return with_reserved(getattr(run.secret_request(), field), run.object)


async def wait_until_up(run: Provisioning) -> None:
    row = run.object
    await vm_up(run, row.known_id)


async def wait_for_address(run: Provisioning) -> None:
    """Waits for an address, unless the Machine's selection says not to."""
    row = run.object
    selection = selection_of(row)
    if run.request.HasField("address_selection"):
        selection = run.request.address_selection
        run.ledger.update_object(row.id, details={**row.details, **kept_selection(selection)})
    if selection.do_not_wait:
        return
    found = await vm_reports(run, row.known_id, selection, settle_of(run, selection))
    addresses = [asdict(address) for address in found]
    run.ledger.update_object(row.id, details={**run.object.details, "addresses": addresses})


def settle_of(run: Provisioning, selection: resources_pb2.AddressSelection) -> float:
    """For how many seconds addresses must stay as they are."""
    if selection.HasField("settle_time"):
        return selection.settle_time.ToTimedelta().total_seconds()
    return run.timeouts.address_settle


BOOTING: Phase[Provisioning] = Phase("booting", timeout="start", done=80, act=start, observe=wait_until_up)
WAITING_FOR_ADDRESS: Phase[Provisioning] = Phase(
    "waiting-for-address", timeout="address", done=100, observe=wait_for_address
)


async def resolve(call: Call) -> dict[str, Any]:
    row = machine_of(call)
    if call.request.HasField("initialization"):
        vm = await call.engine.machines.find(row.known_id)
        wrong = violations_of(
            call.request.initialization,
            "initialization",
            vm_name=row.name,
            os_type=vm.os_type if vm is not None else "",
        )
        if wrong:
            raise InvalidRequest(wrong)
    return {}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    return intend_on_machine(call, plan)


def phases(_request: machines_pb2.StartMachineRequest) -> Sequence[Phase[Provisioning]]:
    return (BOOTING, WAITING_FOR_ADDRESS)


START_MACHINE = Verb("StartMachine", machines_pb2.StartMachineRequest, resolve, intend, phases)
