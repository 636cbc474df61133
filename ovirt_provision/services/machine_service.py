"""MachineService: calls in, messages out."""

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from ovirt_provision.engine.readings import WITH_ADDRESSES
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.adopt_machine import adopt_machine, check_adoption
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.clone_machine import CLONE_MACHINE
from ovirt_provision.operations.create_machine import CREATE_MACHINE
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.machines import find_machine
from ovirt_provision.operations.restart_machine import RESTART_MACHINE
from ovirt_provision.operations.start_machine import START_MACHINE
from ovirt_provision.operations.stop_machine import STOP_MACHINE
from ovirt_provision.services.calls import Context, engine_of, owner_meant, owner_of, run_verb
from ovirt_provision.services.messages import lease_message, machine_message
from ovirt_provision.services.pages import size_of
from ovirt_provision.v1 import machines_pb2, machines_pb2_grpc, resources_pb2


class MachineServicer(machines_pb2_grpc.MachineServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    def _heard(
        self, request: machines_pb2.ConfirmMachineRequest | machines_pb2.RenewLeaseRequest, context: Context
    ) -> Object:
        """The Machine whose client calls about its lease. Raises LeaseExpired and MachineNotFound."""
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        owner = owner_meant(request, context)
        # The newest, living or gone: who comes too late is told so, not that there is no such Machine.
        newest = bridge.ledger.last_machine(owner, request.key)
        if newest is not None and newest.engine == engine.name:
            bridge.leases.heard(newest)
        return find_machine(bridge.ledger, owner, engine.name, request.key, adopted=True)

    async def CreateMachine(
        self, request: machines_pb2.CreateMachineRequest, context: Context
    ) -> machines_pb2.CreateMachineResponse:
        if request.validate_only:
            bridge = self._bridge()
            engine = engine_of(bridge, request.engine, context)
            plan = await bridge.dispatcher.validate(CREATE_MACHINE, owner_of(context), engine.name, request)
            template = resources_pb2.Template(engine=engine.name, id=plan["template_id"], **plan["template"])
            return machines_pb2.CreateMachineResponse(template=template)
        return machines_pb2.CreateMachineResponse(
            operation=await run_verb(self._bridge(), CREATE_MACHINE, request, context)
        )

    async def CloneMachine(
        self, request: machines_pb2.CloneMachineRequest, context: Context
    ) -> machines_pb2.CloneMachineResponse:
        return machines_pb2.CloneMachineResponse(
            operation=await run_verb(self._bridge(), CLONE_MACHINE, request, context)
        )

    async def StartMachine(
        self, request: machines_pb2.StartMachineRequest, context: Context
    ) -> machines_pb2.StartMachineResponse:
        return machines_pb2.StartMachineResponse(
            operation=await run_verb(self._bridge(), START_MACHINE, request, context)
        )

    async def StopMachine(
        self, request: machines_pb2.StopMachineRequest, context: Context
    ) -> machines_pb2.StopMachineResponse:
        return machines_pb2.StopMachineResponse(
            operation=await run_verb(self._bridge(), STOP_MACHINE, request, context)
        )

    async def RestartMachine(
        self, request: machines_pb2.RestartMachineRequest, context: Context
    ) -> machines_pb2.RestartMachineResponse:
        return machines_pb2.RestartMachineResponse(
            operation=await run_verb(self._bridge(), RESTART_MACHINE, request, context)
        )

    async def AdoptMachine(
        self, request: machines_pb2.AdoptMachineRequest, context: Context
    ) -> machines_pb2.AdoptMachineResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        call = bridge.dispatcher.make_call(owner_of(context), engine.name, request)
        if request.validate_only:
            await check_adoption(call)
            return machines_pb2.AdoptMachineResponse()
        row, vm = await adopt_machine(call)
        return machines_pb2.AdoptMachineResponse(machine=machine_message(bridge, row, vm))

    async def ConfirmMachine(
        self, request: machines_pb2.ConfirmMachineRequest, context: Context
    ) -> machines_pb2.ConfirmMachineResponse:
        bridge = self._bridge()
        row = self._heard(request, context)
        ttl = request.ttl.ToNanoseconds() / 1e9 if request.HasField("ttl") else None
        bridge.leases.confirm(row, ttl=ttl)
        return machines_pb2.ConfirmMachineResponse(machine=machine_message(bridge, row))

    async def DestroyMachine(
        self, request: machines_pb2.DestroyMachineRequest, context: Context
    ) -> machines_pb2.DestroyMachineResponse:
        return machines_pb2.DestroyMachineResponse(
            operation=await run_verb(self._bridge(), DESTROY_MACHINE, request, context)
        )

    async def GetMachine(
        self, request: machines_pb2.GetMachineRequest, context: Context
    ) -> machines_pb2.GetMachineResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        owner = owner_meant(request, context)
        row = find_machine(bridge.ledger, owner, engine.name, request.key, adopted=True)
        if request.HasField("max_age"):
            vm = await engine.readings.get(
                row.known_id,
                max_age=request.max_age.ToNanoseconds() / 1e9,
                since=bridge.ledger.changed_at(row.id),
                others=lambda: _living(bridge, owner, engine.name),
            )
        else:
            vm = await engine.machines.get(row.known_id, follow=f"disk_attachments.disk,{WITH_ADDRESSES}")
        machine = machine_message(bridge, row, vm)
        if vm is None and machine.status == resources_pb2.Machine.STATUS_UNSPECIFIED:
            machine.status = resources_pb2.Machine.STATUS_ABSENT
        return machines_pb2.GetMachineResponse(machine=machine)

    async def ListMachines(
        self, request: machines_pb2.ListMachinesRequest, context: Context
    ) -> machines_pb2.ListMachinesResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        size = size_of(request)
        rows = bridge.ledger.list_machines(
            owner_meant(request, context), engine.name, after=request.page_token, limit=size + 1
        )
        page = rows[:size]
        vms = {}
        if page:
            query = " or ".join(f"id={row.engine_id}" for row in page)
            vms = {vm.id: vm for vm in await engine.machines.search(query, follow=WITH_ADDRESSES)}
        return machines_pb2.ListMachinesResponse(
            machines=[machine_message(bridge, row, vms.get(row.engine_id or "")) for row in page],
            next_page_token=page[-1].key if len(rows) > size else "",
        )

    async def RenewLease(
        self, request: machines_pb2.RenewLeaseRequest, context: Context
    ) -> machines_pb2.RenewLeaseResponse:
        bridge = self._bridge()
        row = self._heard(request, context)
        interval = Duration()
        interval.FromNanoseconds(int(bridge.config.timeouts.renew_interval * 1_000_000_000))
        return machines_pb2.RenewLeaseResponse(lease=lease_message(bridge, row), renew_interval=interval)


def _living(bridge: Bridge, owner: str, engine: str) -> list[str]:
    """Ids of the VMs of an owner's Machines on an engine."""
    return [row.known_id for row in bridge.ledger.list_machines(owner, engine)]
