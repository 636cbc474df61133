"""DiskService: calls in, messages out."""

from collections.abc import Callable, Mapping

from ovirt_provision.engine.model import Disk
from ovirt_provision.ledger.store import PRESENT, REMOVING, Object
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.destroy_disk import DESTROY_DISK
from ovirt_provision.operations.detach_disk import DETACH_DISK
from ovirt_provision.operations.lookups import Named, find_disk, list_disks
from ovirt_provision.operations.sparsify_disk import SPARSIFY_DISK
from ovirt_provision.services.calls import Context, caller_of, engine_of, run_verb
from ovirt_provision.services.messages import Details, details_of, disk_message
from ovirt_provision.services.pages import page_of
from ovirt_provision.v1 import disks_pb2, disks_pb2_grpc, resources_pb2


class DiskServicer(disks_pb2_grpc.DiskServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    def _known(self, engine: str) -> dict[str, Object]:
        """The ledger rows of disks by their ids in the engine."""
        rows = self._bridge().ledger.list_objects(PRESENT, REMOVING, engine=engine)
        return {row.known_id: row for row in rows if row.kind == "disk"}

    def _message(
        self, engine: str, disk: Disk, known: dict[str, Object], context: Context, details: Details
    ) -> resources_pb2.DiskInfo:
        row = known.get(disk.id) if _is_ours(disk, known) else None
        show_owner = row is not None and caller_of(context).may_see(row.owner)
        return disk_message(engine, disk, row, details, show_owner=show_owner)

    async def DetachDisk(
        self, request: disks_pb2.DetachDiskRequest, context: Context
    ) -> disks_pb2.DetachDiskResponse:
        return disks_pb2.DetachDiskResponse(
            operation=await run_verb(self._bridge(), DETACH_DISK, request, context)
        )

    async def DestroyDisk(
        self, request: disks_pb2.DestroyDiskRequest, context: Context
    ) -> disks_pb2.DestroyDiskResponse:
        return disks_pb2.DestroyDiskResponse(
            operation=await run_verb(self._bridge(), DESTROY_DISK, request, context)
        )

    async def SparsifyDisk(
        self, request: disks_pb2.SparsifyDiskRequest, context: Context
    ) -> disks_pb2.SparsifyDiskResponse:
        return disks_pb2.SparsifyDiskResponse(
            operation=await run_verb(self._bridge(), SPARSIFY_DISK, request, context)
        )

    async def ListDisks(
        self, request: disks_pb2.ListDisksRequest, context: Context
    ) -> disks_pb2.ListDisksResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        known = self._known(engine.name)
        found = await list_disks(
            engine,
            Named(request.name, request.name_regex),
            content_type=request.content_type,
            counts=_those_that_count(known, context, ours=request.ours),
        )
        page, token = page_of(found, request)
        details = await details_of(engine) if page else Details()
        return disks_pb2.ListDisksResponse(
            disks=[self._message(engine.name, disk, known, context, details) for disk in page],
            next_page_token=token,
        )

    async def FindDisk(
        self, request: disks_pb2.FindDiskRequest, context: Context
    ) -> disks_pb2.FindDiskResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        known = self._known(engine.name)
        found = await find_disk(
            engine,
            Named(request.name, request.name_regex),
            content_type=request.content_type,
            counts=_those_that_count(known, context, ours=request.ours),
            made_at=(lambda disk: known[disk.id].created_at) if request.latest else None,
        )
        details = await details_of(engine)
        return disks_pb2.FindDiskResponse(disk=self._message(engine.name, found, known, context, details))


def _is_ours(disk: Disk, known: Mapping[str, Object]) -> bool:
    """Whether we have handed a disk over."""
    return disk.id in known and known[disk.id].parent_id is None


def _those_that_count(known: Mapping[str, Object], context: Context, *, ours: bool) -> Callable[[Disk], bool]:
    """Which disks a caller is told of: not those of other owners, and with `ours` only what was handed
    over."""
    caller = caller_of(context)

    def counts(disk: Disk) -> bool:
        row = known.get(disk.id)
        if row is not None and not caller.may_see(row.owner):
            return False
        return _is_ours(disk, known) or not ours

    return counts
