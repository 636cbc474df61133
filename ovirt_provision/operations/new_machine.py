"""What the verbs that make a Machine have in common: its key, its row in the ledger, and its VM."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.errors import (
    Code,
    KeyInUse,
    MachineBusy,
    MachineIncomplete,
    NameInUse,
    ProvisionError,
    Violation,
)
from ovirt_provision.ledger.identity import Mark, disk_id, vm_id
from ovirt_provision.ledger.secrets import split_secrets
from ovirt_provision.ledger.store import (
    FAILED,
    GONE,
    HANDED_OVER,
    INTENDED,
    PRESENT,
    REMOVING,
    SESSION,
    UNDOING,
    Ledger,
    Object,
    Operation,
)
from ovirt_provision.operations import static_ranges
from ovirt_provision.operations.allowance import insist_on_room
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.machines import kept_selection
from ovirt_provision.operations.provisioning import Provisioning, is_going, is_ours
from ovirt_provision.operations.removal import (
    adopt_disks,
    bring_down,
    bury_if_unanswered,
    find_vm,
    remove_machine,
    with_its_id,
)
from ovirt_provision.operations.verb import Call
from ovirt_provision.operations.waits import vm_ready
from ovirt_provision.v1 import resources_pb2

# What the engine takes as the name of a VM; everything else in a key becomes `-`.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 255
# Seconds between two looks whether a name has become free.
_LOOK_AGAIN = 5.0
_KEPT = "The Machine was kept"


def made_already(call: Call) -> Operation | None:
    """The operation that makes, or has made, the living Machine of the call's key; None if there is none.

    Raises KeyInUse when it was made with other arguments, MachineBusy when it is about to be gone and
    MachineIncomplete when its making failed and it was kept.
    """
    living = call.ledger.living_machine(call.owner, call.request.key)
    if living is None:
        return None
    _insist_on_a_future(call.ledger, living)
    _insist_on_same(living, _arguments(call.request), call.engine.name)
    made = call.ledger.operation_of_request(call.owner, living.request_id)
    if made is not None and made.state == FAILED:
        raise MachineIncomplete(key=living.key, operation=made.id)
    return made


def intend_machine(
    call: Call,
    connection: sa.Connection,
    *,
    name: str,
    details: dict[str, Any],
    new_disks: Sequence[str] = (),
) -> int:
    """Writes the Machine that a call is to make, with a session lease, and returns its row id.

    `name` is that of the VM, by default the key. `details` has `disks`, how many the VM is to get by its
    create. `new_disks` are names of those that are made besides, under the ids of `identity.disk_id`. Raises
    TooManyMachines and AddressRangeExhausted.
    """
    insist_on_room(call, connection)
    request, ledger = call.request, call.ledger
    if request.HasField("address_selection"):
        details = {**details, **kept_selection(request.address_selection)}
    details = {**details, **static_ranges.reserve(ledger, request.start_with, "start_with")}
    last = ledger.last_machine(call.owner, request.key)
    generation = last.generation + 1 if last else 1
    engine_id = vm_id(call.installation, call.owner, request.key, generation)
    common: dict[str, Any] = {
        "engine": call.engine.name,
        "owner": call.owner,
        "key": request.key,
        "generation": generation,
        "request_id": request.request_id,
        "state": INTENDED,
    }
    object_id = ledger.add_object(
        connection,
        kind="vm",
        engine_id=engine_id,
        name=name_of_vm(name, request.key),
        arguments=_arguments(request),
        details=details,
        **common,
    )
    for number, disk in enumerate(new_disks, start=1):
        ledger.add_object(
            connection,
            kind="disk",
            engine_id=disk_id(engine_id, number),
            name=disk,
            parent_id=object_id,
            **common,
        )
    ledger.set_lease(connection, object_id, SESSION)
    return object_id


def name_of_vm(name: str, key: str) -> str:
    """The name of a Machine's VM: as given, else the key in the engine's letters."""
    return name or _NOT_IN_NAMES.sub("-", key)[:_LONGEST_NAME]


async def create_vm(run: Provisioning, row: Object, wanted: VmRequest) -> None:
    """Sends the create until the VM of a row stands with our mark (law 1): under our id or, where the engine
    does not honour that for a copy of a snapshot, under its own."""

    async def send() -> str:
        return (await run.engine.machines.create(wanted, correlation_id=run.correlation_id)).id

    await create_once(run, row, doing=f"create VM {row.name}", find=lambda: find_made(run, row), send=send)


async def find_made(run: Provisioning, row: Object) -> str | None:
    """The id of the Machine's VM if it stands with exactly its mark.

    Raises NotOurs for another mark, and NameInUse where a VM has the name that is not about to go.
    """
    mark = run.mark("vm", row)
    vm = await run.insist(lambda: find_vm(run.engine, run.ledger.object(row.id), mark))
    if vm is None:
        await _name_free(run, row)
        return None
    if Mark.parse(vm.comment) != mark:
        run.insist_on_ours(vm)
        raise NameInUse(name=row.key, kind="our own VM of another request", holder=vm.id)
    return vm.id


async def _name_free(run: Provisioning, row: Object) -> None:
    """Waits until a VM of ours that was destroyed has given the name back. Raises NameInUse for any other."""
    while True:
        holder = await run.insist(lambda: run.engine.machines.find_by_name(row.name))
        if holder is None or holder.id == row.engine_id:
            return
        if not is_going(run.ledger, run.installation, run.operation.engine, holder):
            raise NameInUse(name=row.name, kind="VM", holder=holder.id, correlation_id=run.correlation_id)
        run.note(f"waiting until the VM that had the name {row.name} before is gone")
        await run.sleep(_LOOK_AGAIN)


async def wait_until_ready(run: Provisioning, row: Object | None = None) -> None:
    """Waits until a Machine's VM is down with all its disks, and writes down which these are; by default that
    of the operation.

    That is done at the first look that shows all, while the engine still copies: what somebody attaches
    later is not taken for one of them.
    """
    row = row or run.object
    known = row.details.get("disks_known", False)

    def learn(vm: Vm) -> None:
        nonlocal known
        if not known and len(vm.disks) >= row.details["disks"]:
            adopt_disks(run, row, vm)
            known = True

    await vm_ready(
        run,
        row.known_id,
        f"VM {row.name}",
        disks=row.details["disks"],
        look_first=run.reentered,
        seen=learn,
    )


async def undo_create(run: Provisioning) -> None:
    """Removes the Machine, as far as it was made, unless its create failed and was to keep it then."""
    if not await _kept(run):
        await remove_machine(run, run.object)


async def _kept(run: Provisioning) -> bool:
    """Hands over what stands of a Machine whose create failed, if the request says so; else false.

    Everything else goes the way of an undo: what was cancelled, what has lost its lease meanwhile, and what
    is not there or not ours.
    """
    error = run.ledger.operation_or_fail(run.operation.id).error
    lease = run.ledger.lease(run.object.id)
    if (
        run.request.on_failure not in (resources_pb2.ON_FAILURE_STOP, resources_pb2.ON_FAILURE_KEEP)
        or (error is not None and error["code"] == Code.CANCELLED)
        or (lease is not None and lease.expired_at is not None)
    ):
        return False
    row = await with_its_id(run, run.object)
    vm = await run.insist(lambda: run.engine.machines.find(row.known_id))
    if vm is None or not is_ours(run.ledger, run.installation, row.engine, vm):
        return False
    state = "as it is"
    if run.request.on_failure == resources_pb2.ON_FAILURE_STOP and vm.status not in ("down", "image_locked"):
        try:
            await bring_down(run, vm, gently=True)
            state = "powered off"
        except ProvisionError as failure:
            state = f"as it is, since it could not be powered off ({failure})"
    with run.ledger.transaction() as connection:
        run.ledger.set_lease(connection, row.id, HANDED_OVER)
    for child in run.ledger.children(row.id):
        # Of the disks that it was to get besides, those that stand are kept with it.
        if child.state == INTENDED:
            stands = await run.insist(lambda child=child: run.engine.disks.get(child.known_id))  # type: ignore[misc]
            run.ledger.update_object(child.id, state=PRESENT if stands is not None else GONE)
            if stands is None:
                bury_if_unanswered(run, child)
    run.ledger.update_object(row.id, state=PRESENT)
    if error is not None and _KEPT not in error["advice"]:
        advice = (
            f"{error['advice']} {_KEPT}: VM {row.name} ({row.known_id}), {state}, until you destroy it by "
            f"its key, as with `ovirt-provision machine destroy {shlex.quote(row.key)}`."
        )
        run.ledger.update_operation(run.operation.id, error={**error, "advice": advice.strip()})
    return True


def _insist_on_a_future(ledger: Ledger, living: Object) -> None:
    """Raises MachineBusy when the Machine of a key is being destroyed or its making undone."""
    removing = living.state == REMOVING
    for other in ledger.unended_operations(living.id):
        ending = other.verb == DESTROY_MACHINE.name or other.cancelled_by or other.state == UNDOING
        if removing or ending:
            raise MachineBusy(key=living.key, operation=other.id, verb=other.verb)
    made = ledger.operation_of_request(living.owner, living.request_id)
    if removing and made is not None:
        raise MachineBusy(key=living.key, operation=made.id, verb=f"{made.verb}, whose cleanup is pending")


def _arguments(request: Message) -> dict[str, Any]:
    """What makes two requests for a key the same, by field path; without secrets and without what names the
    call."""
    public, _ = split_secrets(request)
    for name in ("engine", "request_id", "key", "on_failure", "timeouts", "address_selection"):
        if name in public.DESCRIPTOR.fields_by_name:
            public.ClearField(name)
    return _flat("", MessageToDict(public, preserving_proto_field_name=True))


def _flat(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v
            for name, inner in value.items()
            for k, v in _flat(f"{path}.{name}".lstrip("."), inner).items()
        }
    return {path: value}


def _insist_on_same(living: Object, arguments: dict[str, Any], engine: str) -> None:
    differing = [
        f"{path} ({living.arguments.get(path, 'not given')} then, {arguments.get(path, 'not given')} now)"
        for path in sorted(living.arguments.keys() | arguments.keys())
        if living.arguments.get(path) != arguments.get(path)
    ]
    if living.engine != engine:
        differing.insert(0, f"engine ({living.engine} then, {engine} now)")
    if differing:
        raise KeyInUse(
            key=living.key,
            differing=", ".join(differing),
            violations=[
                Violation(text.split(" ", 1)[0], text.split(" ", 1)[1].strip("()")) for text in differing
            ],
        )
