"""ImportImage: a disk, or a template, of an image that the daemon has or can fetch. All or nothing.

The bytes go first, into a disk of its own under an id of ours. For a template a VM is then made round it, as
CreateMachine makes one, and the template of that, as CreateTemplate does; the VM is removed with its disk.
"""

import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.inventory import DataDomain
from ovirt_provision.engine.templates import needs_of_template
from ovirt_provision.errors import (
    InvalidRequest,
    ProvisionError,
    ReferencesNotFound,
    Violation,
)
from ovirt_provision.images import qemu_img
from ovirt_provision.images.errors import ImageRefused
from ovirt_provision.images.store import Image
from ovirt_provision.ledger.identity import disk_id, imported_disk_id, vm_id
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import (
    GONE,
    HANDED_OVER,
    INTENDED,
    PRESENT,
    RUNNING,
    SUCCEEDED,
    Ledger,
    Object,
    Operation,
)
from ovirt_provision.operations import create_machine, create_template, throwaway
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.borrowed import borrowed, seen_as
from ovirt_provision.operations.enumerations import DISK_FORMATS, DISK_INTERFACES
from ovirt_provision.operations.equip_machine import attach_disks, create_disk
from ovirt_provision.operations.new_machine import intend_machine
from ovirt_provision.operations.problems import all_at_once
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.references import find_domain, find_permissions, find_tags, grant
from ovirt_provision.operations.removal import forget_intents, remove_disk
from ovirt_provision.operations.replacement import insist_on_no_other
from ovirt_provision.operations.timeouts import violations_of_timeouts
from ovirt_provision.operations.transfers import (
    Meter,
    close_transfer,
    intend_transfer,
    move,
    open_transfer,
    remove_transfer,
)
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import disk_ok
from ovirt_provision.v1 import images_pb2, machines_pb2, resources_pb2, templates_pb2

T = TypeVar("T")

NAME = "ImportImage"


def images_in_use(ledger: Ledger) -> Mapping[tuple[str, str], str]:
    """Owner and checksum of each image that an operation needs, and which that is."""
    return {
        (one.owner, one.request["checksum"]): one.id
        for one in ledger.unended_operations()
        if one.verb == NAME
    }


# Before the first effect.


async def resolve(call: Call) -> dict[str, Any]:
    """Raises what is wrong with the request, ImageNotFound and UrlRefused."""
    request = call.request
    fingerprint = _fingerprint(request)
    standing = await _standing(call, fingerprint) if request.reuse else None
    if standing is not None:
        return {"import": fingerprint, "reused": standing.id}
    if request.url:
        # Imported late: `requests` is large, and few daemons fetch anything.
        from ovirt_provision.images.fetch import insist_on_fetchable

        insist_on_fetchable(request.url)
    plan = await all_at_once(
        _resolve_template(call) if request.HasField("template") else _resolve_disk(call),
        violations=violations_of_timeouts(request),
    )
    image = call.images.find(call.owner, request.checksum)
    if image is not None:
        _insist_on_kind(request, image)
    elif not (request.url or request.validate_only):
        call.images.need(call.owner, request.checksum)
    return plan | {"import": fingerprint}


def _fingerprint(request: images_pb2.ImportImageRequest) -> str:
    """What two imports have in common of which one can stand in for the other."""
    target = request.template if request.HasField("template") else request.disk
    body = f"{request.checksum}\0{target.DESCRIPTOR.name}\0".encode()
    return hashlib.sha256(body + target.SerializeToString(deterministic=True)).hexdigest()


async def _standing(call: Call, fingerprint: str) -> Operation | None:
    """The operation that has made the same already, and it stands, or is making it."""
    for row in call.ledger.imported_objects(call.owner, call.engine.name, fingerprint):
        made = _made(call.ledger, row)
        if made is None:
            continue
        if not made.ended:
            return made
        read = call.engine.templates.get if row.kind == "template" else call.engine.disks.get
        found: Any = await read(row.known_id)
        # Looked at anew: somebody may have begun to destroy it meanwhile.
        if found is not None and found.status == "ok" and _made(call.ledger, row) is not None:
            return made
    return None


def _made(ledger: Ledger, row: Object) -> Operation | None:
    """The operation that has imported something or is at it; None where it does not stay."""
    made = ledger.operation_of_request(row.owner, row.request_id)
    if made is None or made.cancelled_by or made.state not in (RUNNING, SUCCEEDED):
        return None
    if ledger.object(row.id).state not in (INTENDED, PRESENT):
        return None
    others = [one for one in ledger.unended_operations(row.id) if one.id != made.id]
    return made if not others else None


def _insist_on_kind(request: images_pb2.ImportImageRequest, image: Image) -> None:
    """Raises ImageRefused for an ISO where a disk is wanted that a guest writes to."""
    if image.format != qemu_img.ISO:
        return
    disk_format = request.template.disk_format or request.disk.format
    if request.HasField("template") or disk_format == resources_pb2.DISK_FORMAT_COW:
        raise ImageRefused(
            checksum=image.checksum,
            problem="it is an ISO 9660 image, of which only a RAW disk for a CD-ROM drive can be made",
            remedy="Import it as a disk without a format, or take another image.",
        )


async def _resolve_disk(call: Call) -> dict[str, Any]:
    wanted = call.request.disk
    domains = await call.engine.inventory.data_domains()
    domain = _domain(wanted.storage_domain, "disk.storage_domain", domains)
    _check_sparse("disk", wanted.format, wanted.sparse if wanted.HasField("sparse") else None, domain)
    needs = [Need("create_disk", "storage domain", domain.id, domain.name)]
    await call.engine.account.insist(f"create disk {wanted.name}", needs)
    granted = await _under("disk.", find_permissions(call.engine, wanted.permissions))
    return {"domain_id": domain.id, "block": domain.block, "disk_name": wanted.name, **granted}


def _domain(name: str, field: str, domains: Sequence[DataDomain]) -> DataDomain:
    """The data domain that is named, or the only one. Raises ReferencesNotFound and InvalidRequest."""
    if name:
        return find_domain(name, field, domains)
    usable = [one for one in domains if not one.unfit]
    if len(usable) == 1:
        return usable[0]
    names = ", ".join(sorted(one.name for one in usable)) or "none"
    why = f"is needed: there is no single storage domain to choose, but {names}"
    raise ReferencesNotFound([Violation(field, why)])


def _check_sparse(path: str, disk_format: int, sparse: bool | None, domain: DataDomain) -> None:
    """Source: the engine's matrix of formats and storage (behaviour.md 51)."""
    prefix = "disk_" if path == "template" else ""
    if sparse is False and disk_format == resources_pb2.DISK_FORMAT_COW:
        why = "a COW disk is always sparse; preallocated ones are RAW"
    elif sparse and disk_format == resources_pb2.DISK_FORMAT_RAW and domain.block:
        why = f"'{domain.name}' is block storage, where a RAW disk is preallocated"
    else:
        return
    raise InvalidRequest([Violation(f"{path}.{prefix}sparse", why)])


async def _resolve_template(call: Call) -> dict[str, Any]:
    wanted = call.request.template
    insist_on_allowed(call, "templates", wanted.name, "template.name")
    of_template = replace(call, request=_template_request(call.request))
    plan = await all_at_once(
        _under("template.", create_template.find_name(of_template)),
        _under("template.", find_tags(call.engine, wanted.tags)),
        _under("template.", find_permissions(call.engine, wanted.permissions)),
        _resolve_machine(call),
    )
    return plan | {"admin": call.limits.is_admin, "initialization": []}


async def _resolve_machine(call: Call) -> dict[str, Any]:
    """The VM round the disk, and where that is."""
    wanted, limits = call.request.template, call.limits
    if limits.templates is not None:
        # Blank holds nothing that an allow-list could keep, and the VM never runs.
        limits = limits.model_copy(update={"templates": (*limits.templates, "Blank")})
    of_machine = replace(call, request=_machine_request(call.request), limits=limits)
    plan = await _under("template.machine.", create_machine.resolve(of_machine), old="spec.")
    if plan["disks"]:
        raise InvalidRequest(
            [Violation("template.machine.template", f"has {plan['disks']} disks; take Blank, which has none")]
        )
    center = await call.engine.inventory.data_center_of(plan["cluster_id"])
    domains = [one for one in await call.engine.inventory.data_domains() if one.data_center_id == center]
    domain = _domain(wanted.storage_domain, "template.storage_domain", domains)
    sparse = wanted.disk_sparse if wanted.HasField("disk_sparse") else None
    _check_sparse("template", wanted.disk_format, sparse, domain)
    await call.engine.account.insist(
        f"make template {wanted.name} of an image",
        [
            Need("create_disk", "storage domain", domain.id, domain.name),
            Need("create_vm", "cluster", plan["cluster_id"]),
            *needs_of_template(plan["cluster_id"]),
        ],
    )
    interface = DISK_INTERFACES.get(wanted.disk_interface, "virtio_scsi")
    name = f"{wanted.name}_Disk1"
    attachment = {"interface": interface, "bootable": True}
    hardware = {**plan["hardware"], "new_disks": [{"name": name, "attachment": attachment}]}
    return {
        **plan,
        "hardware": hardware,
        "domain_id": domain.id,
        "block": domain.block,
        "disk_name": name,
    }


async def _under(new: str, look_up: Awaitable[T], *, old: str = "") -> T:
    """A look-up whose violations name the fields as this request has them: under `new` and not `old`."""
    try:
        return await look_up
    except ProvisionError as error:
        renamed = [
            Violation(f"{new}{one.field.removeprefix(old)}", one.description)
            if one.field.startswith(old)
            else one
            for one in error.violations
        ]
        if isinstance(error, InvalidRequest):
            raise type(error)(renamed) from None
        error.violations = tuple(renamed)
        raise


def _machine_request(request: images_pb2.ImportImageRequest) -> machines_pb2.CreateMachineRequest:
    """The VM round the disk, as CreateMachine would be asked for it."""
    key = f"import-{request.request_id}"
    made = machines_pb2.CreateMachineRequest(
        request_id=request.request_id, key=key, spec=request.template.machine
    )
    made.spec.name = key
    return made


def _template_request(request: images_pb2.ImportImageRequest) -> templates_pb2.CreateTemplateRequest:
    """The template, as CreateTemplate would be asked for it."""
    wanted = request.template
    return templates_pb2.CreateTemplateRequest(
        request_id=request.request_id,
        name=wanted.name,
        description=wanted.description,
        new_version=wanted.new_version,
        version_name=wanted.version_name,
        tags=wanted.tags,
        permissions=wanted.permissions,
        replace=wanted.replace,
        keep_versions=wanted.keep_versions,
    )


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Writes the disk, or the template and the VM that it is made of, and the transfer of the bytes; nothing
    where there is what was asked for. Raises TemplateBusy and TooManyMachines."""
    if "reused" in plan:
        return Intent(operation=call.ledger.operation_or_fail(plan["reused"]))
    request = call.request
    imported = {"import": plan["import"]}
    if not request.HasField("template"):
        engine_id = imported_disk_id(call.installation, call.owner, request.request_id)
        disk = call.ledger.add_object(
            connection,
            engine=call.engine.name,
            kind="disk",
            engine_id=engine_id,
            name=request.disk.name,
            owner=call.owner,
            key="",
            generation=1,
            request_id=request.request_id,
            state=INTENDED,
            arguments=imported,
            details={"description": request.disk.description},
        )
        call.ledger.set_lease(connection, disk, HANDED_OVER)
        plan = plan | _intend_transfer(call, connection, engine_id, request.disk.name)
        return Intent(object_id=disk, plan=plan)
    if "old_object_id" in plan:
        insist_on_no_other(call.ledger, plan["old_object_id"])
    of_template, of_machine = _template_request(request), _machine_request(request)
    template = create_template.intend_template(
        call,
        connection,
        name=create_template.first_name(of_template),
        key=of_machine.key,
        arguments=imported,
    )
    vm = intend_machine(
        replace(call, request=of_machine),
        connection,
        name=of_machine.spec.name,
        details={key: plan[key] for key in ("template_id", "disks", "cluster")},
        new_disks=[plan["disk_name"]],
    )
    # It has no client that could be gone: the operation that makes it ends it.
    call.ledger.set_lease(connection, vm, HANDED_OVER)
    # The key is of this request alone, so it has had no Machine before.
    made = vm_id(call.installation, call.owner, of_machine.key, 1)
    plan = {**plan, "source_object_id": vm, "vm_id": made}
    return Intent(
        object_id=template,
        plan=plan | _intend_transfer(call, connection, disk_id(made, 1), plan["disk_name"]),
    )


def _intend_transfer(call: Call, connection: sa.Connection, disk: str, name: str) -> dict[str, Any]:
    row = intend_transfer(call, connection, disk_id=disk, disk_name=name, direction="upload", others=False)
    return {"transfer_object_id": row}


# The image, and the disk that it becomes.


def _disk(run: Provisioning) -> Object:
    made = run.ledger.objects_of_request(run.operation.owner, run.operation.request_id)
    return next(row for row in made if row.kind == "disk")


def _transfer(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["transfer_object_id"])


async def fetch(run: Provisioning) -> None:
    """Fetches the image, unless the daemon has it; what there is of it is gone on with."""
    owner, checksum = run.operation.owner, run.request.checksum
    if run.images.find(owner, checksum) is None and (url := run.secret_request().url):
        meter = Meter(run)
        from ovirt_provision.images.fetch import fetch as fetch_url

        fetching = fetch_url(run.images, owner, checksum, url, clock=run.clock, show=meter.show)
        await run.wait(fetching)


async def forget(run: Provisioning) -> None:
    forget_intents(run.ledger, run.ledger.objects_of_request(run.operation.owner, run.operation.request_id))


async def prepare(run: Provisioning) -> None:
    """Looks what the image is, and converts it where another format is wanted."""
    image = run.images.need(run.operation.owner, run.request.checksum)
    _insist_on_kind(run.request, image)
    target = run.request.template if run.request.HasField("template") else run.request.disk
    given = target.disk_format if run.request.HasField("template") else target.format
    own = "cow" if image.format == qemu_img.QCOW2 else "raw"
    wanted = DISK_FORMATS.get(given, own)
    file = await _file(run, image, wanted)
    sparse_field = "disk_sparse" if run.request.HasField("template") else "sparse"
    sparse = getattr(target, sparse_field)
    if not target.HasField(sparse_field):
        sparse = wanted == "cow" or not run.plan["block"]
    row = _disk(run)
    disk = {
        "size": image.virtual_size,
        "domain_id": run.plan["domain_id"],
        "format": wanted,
        "sparse": sparse or wanted == "cow",
        "content_type": "iso" if image.format == qemu_img.ISO else "data",
        "initial_size": file.stat().st_size if wanted == "cow" else 0,
    }
    # What is told of it later besides.
    known = {"size": image.virtual_size, "format": wanted, "domain_ids": [run.plan["domain_id"]]}
    run.ledger.add_details(row.id, {**known, "content_type": disk["content_type"], "wanted": disk})


async def _file(run: Provisioning, image: Image, wanted: str) -> Path:
    """The file to upload; converted, unless it has the format that is wanted already."""
    file = run.images.path(run.operation.owner, image.checksum)
    qemu_format = "qcow2" if wanted == "cow" else "raw"
    if image.qemu_format == qemu_format:
        return file
    converted = run.images.scratch(run.operation.id, f".{qemu_format}")
    if not converted.exists():
        run.images.make_room(image.virtual_size if wanted == "raw" else image.size)
        half = run.images.scratch(run.operation.id, ".part")
        run.note(f"converting the image to {qemu_format}")

        def told(percent: float) -> None:
            run.note(f"converting the image to {qemu_format}: {percent:.0f} %")

        with run.clock.hold():
            await run.wait(qemu_img.convert(file, image.qemu_format, half, qemu_format, on_progress=told))
        half.rename(converted)
        # Of another run of the converter the bytes need not be at the same places.
        row = _transfer(run)
        if "transferred" in row.details:
            run.ledger.add_details(row.id, {"transferred": 0})
    return converted


async def make_disk(run: Provisioning) -> None:
    row = _disk(run)
    await create_disk(run, row, row.details["wanted"])


async def wait_for_disk(run: Provisioning) -> None:
    row = _disk(run)
    await disk_ok(run, row.known_id, row.name)


async def open_upload(run: Provisioning) -> None:
    await open_transfer(run, _transfer(run), _disk(run).details["wanted"]["format"])


async def upload(run: Provisioning) -> None:
    image = run.images.need(run.operation.owner, run.request.checksum)
    file = await _file(run, image, _disk(run).details["wanted"]["format"])
    await move(run, _transfer(run), file, file.stat().st_size)


async def close_upload(run: Provisioning) -> None:
    await close_transfer(run, _transfer(run))
    await wait_for_disk(run)
    run.images.drop_scratch(run.operation.id)


async def undo_upload(run: Provisioning) -> None:
    """Ends the transfer, and lets nobody look for one that was never opened."""
    if _transfer(run).state != GONE:
        await remove_transfer(run, _transfer(run))


async def undo_disk(run: Provisioning) -> None:
    """Removes the disk, or the VM with it."""
    row = _disk(run)
    if row.parent_id is None:
        if row.state != GONE:
            await remove_disk(run, row)
    else:
        await throwaway.undo(run, run.ledger.object(row.parent_id))


async def grant_roles(run: Provisioning) -> None:
    await grant(run, "disk", _disk(run).known_id)


# The VM round it, and the template of that.


def _as_machine(run: Provisioning) -> Provisioning:
    return seen_as(run, _machine_request(run.request), run.plan["source_object_id"])


def _as_template(run: Provisioning) -> Provisioning:
    return seen_as(run, _template_request(run.request), run.object.id)


async def remove_vm(run: Provisioning) -> None:
    """Removes the VM with its disk. What the engine does not let go of is left to the janitor."""
    await throwaway.remove(run, run.ledger.object(run.plan["source_object_id"]))


def _template_phases(request: images_pb2.ImportImageRequest) -> Sequence[Phase[Provisioning]]:
    of_machine = create_machine.phases(_machine_request(request))
    of_template = create_template.phases(_template_request(request))
    names = {"creating": "creating-machine", "cloning": "waiting-for-machine"}
    # The disk's own phase undoes the VM as well: it is one object with it.
    machine = [
        borrowed(phase, _as_machine, done=75, name=names.get(phase.name, ""), undo=False)
        for phase in of_machine
    ]
    template = [borrowed(phase, _as_template, done=90) for phase in of_template]
    attaching = borrowed(
        Phase("attaching-disk", timeout="disk_ready", done=78, act=attach_disks), _as_machine, done=78
    )
    removing = Phase[Provisioning]("removing-machine", timeout="destroy", done=95, act=remove_vm)
    # Before anything that is not taken back, and once the template needs the VM no more.
    whole = next(n for n, phase in enumerate(of_template) if phase.name == "copying-disks") + 1
    return (*machine, attaching, *template[:whole], removing, *template[whole:])


def phases(request: images_pb2.ImportImageRequest) -> Sequence[Phase[Provisioning]]:
    template = request.HasField("template")
    whole = 70 if template else 100
    granting = Phase[Provisioning]("granting", timeout="create_machine", done=100, act=grant_roles)
    return (
        Phase("fetching", timeout="fetch_image", done=20, act=fetch, undo=forget),
        Phase("preparing", timeout="convert_image", done=25, act=prepare),
        Phase(
            "creating-disk",
            timeout="disk_ready",
            done=30,
            act=make_disk,
            observe=wait_for_disk,
            undo=undo_disk,
        ),
        Phase("opening-transfer", timeout="transfer_ready", done=32, act=open_upload, undo=undo_upload),
        Phase("transferring", timeout="transfer_image", done=whole - 5, observe=upload),
        Phase("finalizing", timeout="transfer_ready", done=whole, observe=close_upload),
        *(_template_phases(request) if template else ()),
        *((granting,) if not template and request.disk.permissions else ()),
    )


IMPORT_IMAGE = Verb(NAME, images_pb2.ImportImageRequest, resolve, intend, phases)
