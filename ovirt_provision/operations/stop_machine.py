"""StopMachine: down, by the guest when asked, by the power button, or by the guest of its own accord."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.account import Need
from ovirt_provision.errors import DeadlineExceeded, InvalidRequest
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.machines import intend_on_machine, machine_of
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.timeouts import violations_of_timeouts
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import vm_down, vm_ready
from ovirt_provision.v1 import machines_pb2


async def shut_down(run: Provisioning, *, then: Sequence[str] = ()) -> None:
    """Asks the guest; one that does not obey within the time-out `shutdown` is left to the next phase, or,
    where the request says so, as it is: raises DeadlineExceeded.

    `then` is the permits that are needed to go on, once it is down.
    """
    row = run.object
    vm_id = row.known_id
    vm = await run.insist(lambda: run.engine.machines.find(vm_id))
    if vm is not None:
        run.insist_on_power(vm)
    if vm is None or vm.status == "down":
        return
    needs = [Need(permit, "VM", vm_id, row.name) for permit in then]
    if needs:
        await run.in_time(run.engine.account.insist(f"start VM {row.name}", needs))
    if run.request.force:
        return
    await run.insist(
        lambda: run.engine.machines.shut_down(vm_id, row.name, correlation_id=run.correlation_id),
        on_vm=vm_id,
    )
    try:
        await vm_down(run, vm_id, within=("shutdown", run.timeouts.shutdown))
    except DeadlineExceeded:
        if _keeps_running(run.request):
            raise
        run.note(f"VM {row.name} does not shut down")


def _keeps_running(request: machines_pb2.StopMachineRequest | machines_pb2.RestartMachineRequest) -> bool:
    return isinstance(request, machines_pb2.StopMachineRequest) and request.keep_running


async def power_off(run: Provisioning) -> None:
    row = run.object
    vm_id = row.known_id
    vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow="disk_attachments.disk"))
    if vm is not None:
        run.insist_on_power(vm)
    if vm is not None and vm.status != "down":
        await run.insist(
            lambda: run.engine.machines.power_off(vm_id, row.name, correlation_id=run.correlation_id),
            on_vm=vm_id,
        )
    # The engine may keep the disks for a moment after the VM is down.
    if vm is None or not vm.ready:
        await vm_ready(run, vm_id, f"the stop of VM {row.name}", look_first=False)
    run.ledger.add_details(row.id, {"addresses": []})


async def wait_for_guest(run: Provisioning) -> None:
    """Changes nothing: the guest was told from inside to go down."""
    row = run.object
    vm = await run.insist(lambda: run.engine.machines.find(row.known_id))
    if vm is not None:
        run.insist_on_power(vm)
    if vm is not None and vm.status != "down":
        await vm_down(run, row.known_id)
    # The engine may keep the disks for a moment after the VM is down.
    await vm_ready(run, row.known_id, f"the stop of VM {row.name}")
    run.ledger.add_details(row.id, {"addresses": []})


async def resolve(call: Call) -> dict[str, Any]:
    """Raises MachineNotFound and InvalidRequest."""
    machine_of(call)
    if wrong := violations_of_timeouts(call.request):
        raise InvalidRequest(wrong)
    return {}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    return intend_on_machine(call, plan)


# Its deadline leaves room for the shutdown's own time-out to pass first.
SHUTTING_DOWN: Phase[Provisioning] = Phase("shutting-down", timeout="destroy", done=80, act=shut_down)
POWERING_OFF: Phase[Provisioning] = Phase("powering-off", timeout="power_off", done=100, act=power_off)


WAITING_FOR_GUEST: Phase[Provisioning] = Phase(
    "waiting-for-guest", timeout="guest_goes_down", done=100, act=wait_for_guest
)


def phases(request: machines_pb2.StopMachineRequest) -> Sequence[Phase[Provisioning]]:
    if request.wait_only:
        return (WAITING_FOR_GUEST,)
    if request.keep_running:
        return (SHUTTING_DOWN, replace(WAITING_FOR_GUEST, timeout="power_off"))
    return (SHUTTING_DOWN, POWERING_OFF)


STOP_MACHINE = Verb("StopMachine", machines_pb2.StopMachineRequest, resolve, intend, phases, line=None)
