"""From ledger rows and engine data to the messages of the schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Disk, Network, Template, Vm
from ovirt_provision.errors import ErrorReport, Violation
from ovirt_provision.guest.addresses import addresses_of
from ovirt_provision.images.store import Image
from ovirt_provision.ledger import store
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.runner import QUEUED, Transferred
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.enumerations import DISK_INTERFACES, NIC_INTERFACES
from ovirt_provision.operations.machines import selection_of
from ovirt_provision.services.errors import to_message
from ovirt_provision.v1 import resources_pb2

_OPERATION_STATES = {
    store.RUNNING: resources_pb2.Operation.STATE_RUNNING,
    store.UNDOING: resources_pb2.Operation.STATE_UNDOING,
    store.SUCCEEDED: resources_pb2.Operation.STATE_SUCCEEDED,
    store.FAILED: resources_pb2.Operation.STATE_FAILED,
    store.CANCELLED: resources_pb2.Operation.STATE_CANCELLED,
}
_VM_STATUSES = {
    "down": resources_pb2.Machine.STATUS_DOWN,
    "up": resources_pb2.Machine.STATUS_UP,
    # From host to host, without the guest noticing.
    "migrating": resources_pb2.Machine.STATUS_UP,
    "wait_for_launch": resources_pb2.Machine.STATUS_STARTING,
    "powering_up": resources_pb2.Machine.STATUS_STARTING,
    "reboot_in_progress": resources_pb2.Machine.STATUS_STARTING,
    "restoring_state": resources_pb2.Machine.STATUS_STARTING,
    "powering_down": resources_pb2.Machine.STATUS_STOPPING,
    "saving_state": resources_pb2.Machine.STATUS_STOPPING,
    "paused": resources_pb2.Machine.STATUS_PAUSED,
    "suspended": resources_pb2.Machine.STATUS_SUSPENDED,
    "image_locked": resources_pb2.Machine.STATUS_CREATING,
}
_DISK_INTERFACES = {name: value for value, name in DISK_INTERFACES.items()}
_NIC_INTERFACES = {name: value for value, name in NIC_INTERFACES.items()}
_TEMPLATE_STATUSES = {
    "ok": resources_pb2.Template.STATUS_OK,
    "locked": resources_pb2.Template.STATUS_LOCKED,
    "illegal": resources_pb2.Template.STATUS_ILLEGAL,
}
_IMAGE_FORMATS = {
    "qcow2": resources_pb2.Image.FORMAT_QCOW2,
    "raw": resources_pb2.Image.FORMAT_RAW,
    "iso": resources_pb2.Image.FORMAT_ISO,
}
_CLEANUP_PENDING = (
    "What it has made is not all gone yet, since the engine does not let go of it: the daemon goes on until "
    "it is, and the census shows it as awaiting-engine."
)
_LEASES = {
    store.SESSION: resources_pb2.Lease.KIND_SESSION,
    store.KEPT: resources_pb2.Lease.KIND_KEPT,
    store.HANDED_OVER: resources_pb2.Lease.KIND_HANDED_OVER,
}


@dataclass(frozen=True)
class Details:
    """Names of storage domains and clusters by id, where they were read."""

    domains: Mapping[str, str] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)


async def details_of(engine: Engine, templates: Sequence[Template] = ()) -> Details:
    """The names that the messages of templates and disks need: two requests at most."""
    domains = await engine.inventory.storage_domain_names()
    clusters = await engine.inventory.clusters() if any(one.cluster_id for one in templates) else {}
    return Details(domains, clusters)


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a Timestamp."""
    made = Timestamp()
    made.FromNanoseconds(int(seconds * 1_000_000) * 1000)
    return made


def lease_message(bridge: Bridge, row: store.Object) -> resources_pb2.Lease:
    lease = bridge.ledger.lease(row.id)
    expires_at = bridge.leases.expires_at(row)
    return resources_pb2.Lease(
        kind=_LEASES[lease.kind] if lease else resources_pb2.Lease.KIND_UNSPECIFIED,
        expire_time=timestamp(expires_at) if expires_at is not None else None,
    )


def machine_message(bridge: Bridge, row: store.Object, vm: Vm | None = None) -> resources_pb2.Machine:
    """A Machine as the ledger has it, with the state of its VM where that was read."""
    if row.state in (store.REMOVING, store.GONE):
        status = resources_pb2.Machine.STATUS_DESTROYING
    elif row.state == store.INTENDED:
        status = resources_pb2.Machine.STATUS_CREATING
    elif vm is None:
        status = resources_pb2.Machine.STATUS_UNSPECIFIED
    else:
        status = _VM_STATUSES.get(vm.status, resources_pb2.Machine.STATUS_UNKNOWN)
    known = row.details.get("addresses", [])
    if vm is not None:
        known = [vars(address) for address in addresses_of(vm, selection_of(row))]
    return resources_pb2.Machine(
        key=row.key,
        owner=row.owner,
        generation=row.generation,
        engine=row.engine,
        id=row.engine_id or "",
        name=row.name,
        status=status,
        addresses=[resources_pb2.Address(**address) for address in known],
        **(_equipment(bridge, row, vm) if vm is not None else {}),
        template_id=row.details.get("template_id", ""),
        cluster=row.details.get("cluster", ""),
        lease=lease_message(bridge, row),
        create_time=timestamp(row.created_at),
        adopted=row.adopted,
    )


def _equipment(bridge: Bridge, row: store.Object, vm: Vm) -> dict[str, Any]:
    """What a Machine consists of, as its VM was read."""
    owned = bridge.ledger.disk_ids(row.id)
    sockets, cores, threads = vm.cpu
    return {
        "disks": [
            resources_pb2.MachineDisk(
                id=disk.id,
                name=disk.name,
                size_bytes=disk.size,
                bootable=disk.bootable,
                ours=disk.id in owned,
                interface=_DISK_INTERFACES.get(disk.interface, resources_pb2.DISK_INTERFACE_UNSPECIFIED),
            )
            for disk in sorted(vm.disks, key=lambda disk: (not disk.bootable, disk.name))
        ],
        "nics": [
            resources_pb2.MachineNic(
                name=nic.name,
                mac=nic.mac,
                interface=_NIC_INTERFACES.get(nic.interface, resources_pb2.NIC_INTERFACE_UNSPECIFIED),
                linked=nic.linked,
            )
            for nic in vm.nics
        ],
        "cpu": resources_pb2.Cpu(sockets=sockets, cores=cores, threads=threads),
        "memory_bytes": vm.memory,
    }


def template_message(
    engine: str,
    template: Template,
    row: store.Object | None,
    *,
    show_owner: bool,
    details: Details | None = None,
) -> resources_pb2.Template:
    """A template of the engine; `row` is its ledger row where it is ours."""
    details = details or Details()
    return resources_pb2.Template(
        engine=engine,
        id=template.id,
        name=template.name,
        version=template.version,
        version_name=template.version_name,
        status=_TEMPLATE_STATUSES.get(template.status, resources_pb2.Template.STATUS_UNSPECIFIED),
        description=template.description,
        ours=row is not None,
        owner=row.owner if row and show_owner else "",
        create_time=timestamp(template.created_at),
        tags=template.tags,
        disks=[
            disk_message(engine, disk, None, details)
            for disk in sorted(template.disks, key=lambda disk: (not disk.bootable, disk.name))
        ],
        os=template.os_type,
        cluster=details.clusters.get(template.cluster_id, ""),
    )


def disk_message(
    engine: str, disk: Disk, row: store.Object | None, details: Details, *, show_owner: bool = False
) -> resources_pb2.DiskInfo:
    """A disk of the engine; `row` is its ledger row where it was handed over by us."""
    described = disk.description.rstrip().splitlines()
    if Mark.parse(disk.description) is not None:
        described = described[:-1]
    return resources_pb2.DiskInfo(
        engine=engine,
        id=disk.id,
        name=disk.name,
        description="\n".join(described),
        size_bytes=disk.size,
        status=disk.status,
        format=disk.format,
        content_type=disk.content_type,
        storage_domains=sorted(details.domains.get(domain, domain) for domain in disk.domain_ids),
        bootable=disk.bootable,
        ours=row is not None,
        owner=row.owner if row is not None and show_owner else "",
        create_time=timestamp(row.created_at) if row is not None else None,
    )


def network_message(engine: str, network: Network) -> resources_pb2.Network:
    return resources_pb2.Network(
        engine=engine,
        id=network.id,
        name=network.name,
        description=network.description,
        data_center=network.data_center,
        vlan_id=network.vlan,
        mtu=network.mtu,
        vnic_profiles=network.vnic_profiles,
    )


def operation_message(bridge: Bridge, operation: store.Operation) -> resources_pb2.Operation:
    message = resources_pb2.Operation(
        id=operation.id,
        verb=operation.verb,
        engine=operation.engine,
        owner=operation.owner,
        request_id=operation.request_id,
        key=operation.key,
        state=_OPERATION_STATES[operation.state],
        cleanup=(
            resources_pb2.Operation.CLEANUP_PENDING
            if operation.cleanup == store.CLEANUP_PENDING
            else resources_pb2.Operation.CLEANUP_DONE
        ),
        phase=QUEUED if bridge.dispatcher.runner.queued(operation) else operation.phase,
        percent=operation.percent,
        progress=bridge.dispatcher.runner.progress(operation.id),
        transferred=_transferred(bridge.dispatcher.runner.transferred(operation.id)),
        phases=[
            resources_pb2.Operation.Phase(
                name=phase["name"],
                start_time=timestamp(phase["start"]),
                end_time=timestamp(phase["end"]) if phase["end"] is not None else None,
            )
            for phase in operation.phases
        ],
        create_time=timestamp(operation.created_at),
        end_time=timestamp(operation.ended_at) if operation.ended_at is not None else None,
        correlation_id=operation.id,
        revision=operation.revision,
    )
    if operation.error is not None:
        violations = [Violation(**violation) for violation in operation.error["violations"]]
        message.error.CopyFrom(to_message(ErrorReport(**{**operation.error, "violations": violations})))
        if message.cleanup == resources_pb2.Operation.CLEANUP_PENDING and operation.ended:
            message.error.advice = f"{message.error.advice} {_CLEANUP_PENDING}".strip()
    message.sparsified.extend(
        resources_pb2.SparsifiedDisk(**disk) for disk in operation.plan.get("sparsified", ())
    )
    if exported := operation.plan.get("image"):
        message.image.CopyFrom(image_message(Image(**exported)))
    if operation.object_id is not None:
        _add_result(bridge, operation, message)
    return message


def _add_result(bridge: Bridge, operation: store.Operation, message: resources_pb2.Operation) -> None:
    row = bridge.ledger.object(operation.object_id or 0)
    if operation.verb == "DetachDisk":
        if operation.state == store.SUCCEEDED:
            message.disk.CopyFrom(
                _handed_over_disk(bridge.ledger.object(operation.plan["disk_object_id"]), operation.request)
            )
    elif row.kind == "vm":
        machine = machine_message(bridge, row)
        if operation.state == store.SUCCEEDED and row.state == store.PRESENT:
            up = operation.verb in ("StartMachine", "RestartMachine") or "start_with" in operation.request
            machine.status = resources_pb2.Machine.STATUS_UP if up else resources_pb2.Machine.STATUS_DOWN
        message.machine.CopyFrom(machine)
    elif operation.verb == "ImportImage" and row.kind == "disk":
        if operation.state == store.SUCCEEDED:
            message.disk.CopyFrom(_handed_over_disk(row, operation.request["disk"]))
    elif row.kind == "template" and not operation.verb.startswith("Destroy"):
        request = operation.request["template"] if operation.verb == "ImportImage" else operation.request
        message.warnings.extend(row.details.get("warnings", ()))
        message.template.CopyFrom(
            resources_pb2.Template(
                engine=row.engine,
                id=row.engine_id or "",
                name=row.name,
                version=row.details.get("version", 0 if "new_version" in request else 1),
                version_name=row.details.get("version_name", ""),
                status=(
                    resources_pb2.Template.STATUS_OK
                    if operation.state == store.SUCCEEDED
                    else resources_pb2.Template.STATUS_LOCKED
                ),
                description=request.get("description", ""),
                ours=True,
                owner=row.owner,
                create_time=timestamp(row.created_at),
            )
        )


def _transferred(known: Transferred | None) -> resources_pb2.Operation.Transferred | None:
    if known is None:
        return None
    return resources_pb2.Operation.Transferred(
        done_bytes=known.done, total_bytes=known.total, bytes_per_second=known.rate
    )


def image_message(image: Image) -> resources_pb2.Image:
    return resources_pb2.Image(
        checksum=image.checksum,
        format=_IMAGE_FORMATS[image.format],
        size_bytes=image.size,
        virtual_size_bytes=image.virtual_size,
        create_time=timestamp(image.created_at),
    )


def _handed_over_disk(row: store.Object, request: Mapping[str, Any]) -> resources_pb2.DiskInfo:
    """The disk that was handed over, as it was then."""
    return resources_pb2.DiskInfo(
        engine=row.engine,
        id=row.known_id,
        name=row.name,
        description=request.get("description", ""),
        size_bytes=row.details.get("size", 0),
        status="ok",
        format=row.details.get("format", ""),
        content_type=row.details.get("content_type", "data"),
        ours=True,
        owner=row.owner,
        create_time=timestamp(row.created_at),
    )
