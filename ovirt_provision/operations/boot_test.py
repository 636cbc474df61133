"""The boot test of a new template: a Machine that is made from it, has to boot, and is thrown away.

It is removed whatever comes of the test.
"""

from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from ovirt_provision.errors import MachineFailed
from ovirt_provision.guest.addresses import addresses_of
from ovirt_provision.guest.ssh import NoSshServer
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations import throwaway
from ovirt_provision.operations.allowance import insist_on_room
from ovirt_provision.operations.new_machine import wait_until_ready
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import forget_intents
from ovirt_provision.operations.start_machine import settle_of, start_vm
from ovirt_provision.operations.verb import Call
from ovirt_provision.operations.waits import vm_reports, vm_up
from ovirt_provision.v1 import templates_pb2

log = structlog.get_logger("operations")

SSH_PORT = 22
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 10.0


def key_of(request: templates_pb2.CreateTemplateRequest) -> str:
    """The key of the Machine of a test, and the name of its VM."""
    return f"boot-test-{request.request_id}"


def intend_test(call: Call, connection: sa.Connection, *, disks: int) -> int:
    """Writes the Machine of the test, which is to have so many disks, and returns its row id.

    Raises TooManyMachines.
    """
    insist_on_room(call, connection)
    return throwaway.intend(call, connection, key=key_of(call.request), disks=disks)


def _machine(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["test_object_id"])


async def create(run: Provisioning) -> None:
    await throwaway.create(
        run,
        _machine(run),
        template_id=run.object.known_id,
        cluster_id=run.plan["cluster_id"],
        description=f"Boot test of template {run.request.name}; it is removed afterwards",
    )


async def wait_until_made(run: Provisioning) -> None:
    await wait_until_ready(run, _machine(run))


async def boot(run: Provisioning) -> None:
    test = run.request.boot_test
    await start_vm(
        run,
        _machine(run),
        lambda: run.secret_request().boot_test.initialization if test.HasField("initialization") else None,
    )


async def wait_until_up(run: Provisioning) -> None:
    await vm_up(run, _machine(run).known_id)


async def wait_for_address(run: Provisioning) -> None:
    selection = run.request.boot_test.address_selection
    await vm_reports(run, _machine(run).known_id, selection, settle_of(run, selection))


async def reach_ssh(run: Provisioning) -> None:
    """Tries the addresses that the guest reports until an SSH server answers at one of them."""
    row, port = _machine(run), run.request.boot_test.ssh_port or SSH_PORT
    pause = _FIRST_PAUSE
    while True:
        vm = await run.insist(lambda: run.engine.machines.find(row.known_id, follow="nics,reported_devices"))
        if vm is None or vm.status == "down":
            raise MachineFailed(
                name=row.name,
                status="down" if vm else "missing",
                doing="answering by SSH",
                correlation_id=run.correlation_id,
            )
        for address in addresses_of(vm, run.request.boot_test.address_selection):
            try:
                told = await run.wait(run.greeting(address.ip, port))
            except NoSshServer as failure:
                run.note(f"{address.ip} port {port}: {failure}")
            else:
                log.info("boot test", template=run.object.name, address=address.ip, port=port, ssh=told)
                return
        await run.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def remove(run: Provisioning) -> None:
    await throwaway.remove(run, _machine(run))


async def undo(run: Provisioning) -> None:
    await throwaway.undo(run, _machine(run))


def forget_test(run: Provisioning) -> None:
    """Has nothing looked for of a test that was never begun."""
    if "test_object_id" in run.plan:
        forget_intents(run.ledger, [_machine(run)])


def phases(test: templates_pb2.BootTest) -> Sequence[Phase[Provisioning]]:
    """Between the template that is whole and the one that counts."""
    reaching = Phase[Provisioning]("reaching-ssh", timeout="ssh", done=80, act=reach_ssh)
    return (
        Phase(
            "creating-test-machine",
            timeout="machine_ready",
            done=60,
            act=create,
            observe=wait_until_made,
            undo=undo,
        ),
        Phase("booting-test-machine", timeout="start", done=70, act=boot, observe=wait_until_up),
        Phase("waiting-for-test-address", timeout="address", done=75, observe=wait_for_address),
        *(() if test.address_only else (reaching,)),
        Phase("removing-test-machine", timeout="destroy", done=85, act=remove),
    )
