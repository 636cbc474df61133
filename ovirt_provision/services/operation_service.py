"""OperationService: calls in, messages out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import structlog

from ovirt_provision.errors import OperationNotFound
from ovirt_provision.ledger import store
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.services.calls import Context, caller_of, owner_meant, owner_of
from ovirt_provision.services.errors import DaemonNotServing
from ovirt_provision.services.messages import operation_message
from ovirt_provision.services.pages import next_page, offset_of, size_of
from ovirt_provision.v1 import operations_pb2, operations_pb2_grpc

log = structlog.get_logger(__name__)


class OperationServicer(operations_pb2_grpc.OperationServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge
        self._draining = False
        self._watched: dict[object, Sequence[int | None]] = {}
        self._renewal: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Ends all watch streams with UNAVAILABLE at their next news, or once they are woken, so that clients
        watch again at the next daemon."""
        self._draining = True

    def _find(self, operation_id: str, context: Context) -> store.Operation:
        operation = self._bridge().ledger.operation(operation_id)
        if operation is None or not caller_of(context).may_see(operation.owner):
            raise OperationNotFound(id=operation_id)
        return operation

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.GetOperationResponse:
        operation = self._find(request.id, context)
        return operations_pb2.GetOperationResponse(operation=operation_message(self._bridge(), operation))

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        bridge = self._bridge()
        start, size = offset_of(request.page_token), size_of(request)
        found = bridge.ledger.list_operations(
            owner_meant(request, context),
            unended_only=request.running_only,
            key=request.key,
            limit=size + 1,
            offset=start,
        )
        return operations_pb2.ListOperationsResponse(
            operations=[operation_message(bridge, operation) for operation in found[:size]],
            next_page_token=next_page(start, min(size, len(found)), start + len(found)),
        )

    async def WatchOperation(
        self, request: operations_pb2.WatchOperationRequest, context: Context
    ) -> AsyncIterator[operations_pb2.WatchOperationResponse]:
        bridge = self._bridge()
        operation_id, after_revision = request.id, request.after_revision
        operation = self._find(operation_id, context)
        objects = (operation.object_id, operation.plan.get("source_object_id"))
        # An open stream is a living client, an admin's is not.
        is_client = owner_of(context) == operation.owner
        # What they hold is large, and streams are many.
        del operation, request
        changes = bridge.dispatcher.runner.watch(operation_id, after_revision, until=lambda: self._draining)
        async with contextlib.aclosing(changes):
            with self._renewing(objects) if is_client else contextlib.nullcontext():
                ended = False
                async for changed in changes:
                    ended = changed.ended
                    yield operations_pb2.WatchOperationResponse(operation=operation_message(bridge, changed))
                    del changed
        if not ended:
            raise DaemonNotServing(state="going down")

    @contextlib.contextmanager
    def _renewing(self, objects: Sequence[int | None]) -> Iterator[None]:
        """Renews the leases of these objects now and from time to time, together with those of all others."""
        watch = object()
        self._watched[watch] = objects
        self._renew(objects)
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._keep_renewing(), name="renewal")
        try:
            yield
        finally:
            del self._watched[watch]
            if not self._watched:
                self._renewal.cancel()
                self._renewal = None

    async def _keep_renewing(self) -> None:
        bridge = self._bridge()
        while True:
            await bridge.clock.sleep(bridge.config.timeouts.renew_interval)
            for objects in tuple(self._watched.values()):
                try:
                    self._renew(objects)
                except LedgerError as error:
                    # The next one comes long before the grace is over.
                    log.warning("leases are not renewed", error=str(error))

    def _renew(self, objects: Sequence[int | None]) -> None:
        ledger = self._bridge().ledger
        for object_id in objects:
            if object_id is None:
                continue
            row = ledger.object(object_id)
            lease = ledger.lease(row.id)
            if row.kind == "vm" and lease is not None and lease.expired_at is None:
                self._bridge().leases.heard(row)

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> operations_pb2.CancelOperationResponse:
        bridge = self._bridge()
        operation = self._find(request.id, context)
        owner = owner_of(context)
        by = "by its client" if owner == operation.owner else f"by the admin {owner}"
        cancelled = bridge.dispatcher.cancel(operation, by)
        return operations_pb2.CancelOperationResponse(operation=operation_message(bridge, cancelled))
