"""OperationService: calls in, messages out."""

import asyncio
from collections.abc import AsyncIterator, Callable

from ovirt_provision.errors import OperationNotFound
from ovirt_provision.ledger import store
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.services.calls import Context, caller_of, owner_meant, owner_of
from ovirt_provision.services.errors import DaemonNotServing
from ovirt_provision.services.messages import operation_message
from ovirt_provision.services.pages import next_page, offset_of
from ovirt_provision.v1 import operations_pb2, operations_pb2_grpc

_DEFAULT_PAGE = 100


class OperationServicer(operations_pb2_grpc.OperationServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Ends all watch streams with UNAVAILABLE, so that clients watch again at the next daemon."""
        self._draining.set()

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
        start, size = offset_of(request.page_token), request.page_size or _DEFAULT_PAGE
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
        operation = self._find(request.id, context)
        is_client = owner_of(context) == operation.owner
        changes = bridge.dispatcher.runner.watch(operation.id, request.after_revision)
        draining = asyncio.ensure_future(self._draining.wait())
        upcoming = asyncio.ensure_future(anext(changes, None))
        renewal = asyncio.ensure_future(bridge.clock.sleep(0))
        try:
            while True:
                await asyncio.wait({draining, upcoming, renewal}, return_when=asyncio.FIRST_COMPLETED)
                if renewal.done():
                    # An open stream is a living client, an admin's is not.
                    if is_client:
                        self._renew_lease(operation)
                    renewal = asyncio.ensure_future(bridge.clock.sleep(bridge.config.timeouts.renew_interval))
                if upcoming.done():
                    changed = upcoming.result()
                    if changed is None:
                        return
                    yield operations_pb2.WatchOperationResponse(operation=operation_message(bridge, changed))
                    upcoming = asyncio.ensure_future(anext(changes, None))
                elif draining.done():
                    raise DaemonNotServing(state="going down")
        finally:
            for task in (draining, upcoming, renewal):
                task.cancel()
            await asyncio.gather(draining, upcoming, renewal, return_exceptions=True)
            await changes.aclose()  # type: ignore[attr-defined]

    def _renew_lease(self, operation: store.Operation) -> None:
        ledger = self._bridge().ledger
        for object_id in (operation.object_id, operation.plan.get("source_object_id")):
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
