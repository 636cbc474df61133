"""StartMachine: up, and with an address."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from ovirt_provision.errors import EngineRefused, MachineAdopted
from ovirt_provision.guest.first_boot import first_boot, violations_of
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.machines import (
    intend_on_machine,
    kept_selection,
    machine_of,
    selection_of,
)
from ovirt_provision.operations.media import fit_payload, has_media, media_of, resolve_media
from ovirt_provision.operations.problems import Problems
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.static_ranges import with_reserved
from ovirt_provision.operations.timeouts import violations_of_timeouts
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
        run.insist_on_power(vm)
    if vm is not None and vm.status != "down":
        return
    boot = initialization()
    await fit_payload(run, row)
    run.note(f"starting VM {row.name}")

    async def send() -> None:
        try:
            await run.engine.machines.start(
                vm_id,
                row.name,
                first_boot(boot) if boot is not None else None,
                media_of(run),
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
    initialization = getattr(run.secret_request(), field)
    if has_media(run) and initialization.ByteSize() == 0:
        # An installer is told by its medium.
        return None
    return with_reserved(initialization, run.object)


async def wait_until_up(run: Provisioning) -> None:
    row = run.object
    # A guest that boots an installer says nothing, and is to be typed to.
    begins = has_media(run) and _selection(run).do_not_wait
    await vm_up(run, row.known_id, or_booting=begins)


async def wait_for_address(run: Provisioning) -> None:
    """Waits for an address, unless the Machine's selection says not to."""
    row, selection = run.object, _selection(run)
    if run.request.HasField("address_selection"):
        run.ledger.add_details(row.id, kept_selection(selection))
    if selection.do_not_wait:
        return
    found = await vm_reports(run, row.known_id, selection, settle_of(run, selection))
    addresses = [asdict(address) for address in found]
    run.ledger.add_details(row.id, {"addresses": addresses})


def _selection(run: Provisioning) -> resources_pb2.AddressSelection:
    """Which addresses count: by the request, else as the Machine was last told."""
    if run.request.HasField("address_selection"):
        selection: resources_pb2.AddressSelection = run.request.address_selection
        return selection
    return selection_of(run.object)


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
    """Looks up what lies in the drives, and checks what the guest is told. Raises MachineNotFound,
    InvalidRequest, ReferencesNotFound and, for an adopted VM that is to be given any of that,
    MachineAdopted."""
    row, request = machine_of(call), call.request
    told, loaded = request.HasField("initialization"), request.HasField("media")
    if row.adopted and (told or loaded):
        raise MachineAdopted(key=row.key)
    vm = await call.engine.machines.find(row.known_id) if told or loaded else None
    problems = Problems(missing=[], wrong=list(violations_of_timeouts(request)))
    if told:
        problems.wrong += violations_of(
            request.initialization,
            "initialization",
            vm_name=row.name,
            os_type=vm.os_type if vm is not None else "",
        )
    media = {}
    if loaded:
        cluster = await call.engine.catalog.cluster(vm.cluster_id) if vm is not None else None
        media = await resolve_media(call, request.media, "media", request.initialization, cluster, problems)
    problems.insist_on_none()
    return {"media": media}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    return intend_on_machine(call, plan)


def phases(_request: machines_pb2.StartMachineRequest) -> Sequence[Phase[Provisioning]]:
    return (BOOTING, WAITING_FOR_ADDRESS)


START_MACHINE = Verb("StartMachine", machines_pb2.StartMachineRequest, resolve, intend, phases)
