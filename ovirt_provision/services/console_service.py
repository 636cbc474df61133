"""ConsoleService: keys in, answers out."""

from collections.abc import AsyncIterator, Callable

from ovirt_provision.errors import InvalidRequest, Violation
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.console import sit_down
from ovirt_provision.operations.machines import find_machine
from ovirt_provision.services.calls import Context, engine_of, owner_meant
from ovirt_provision.v1 import consoles_pb2, consoles_pb2_grpc


class ConsoleServicer(consoles_pb2_grpc.ConsoleServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    async def SendKeys(
        self, requests: AsyncIterator[consoles_pb2.SendKeysRequest], context: Context
    ) -> AsyncIterator[consoles_pb2.SendKeysResponse]:
        bridge = self._bridge()
        first = await anext(requests, None)
        if first is None or not first.HasField("open"):
            raise InvalidRequest([Violation("open", "is required: the first message says which console")])
        opening = first.open
        engine = engine_of(bridge, opening.engine, context)
        row = find_machine(bridge.ledger, owner_meant(opening, context), engine.name, opening.key)
        interval = None
        if opening.HasField("key_interval"):
            interval = opening.key_interval.ToTimedelta().total_seconds()
        typist = await sit_down(bridge, engine, row, interval)
        try:
            opened = consoles_pb2.ConsoleOpened(description=typist.description)
            yield consoles_pb2.SendKeysResponse(opened=opened)
            async for request in requests:
                if not request.HasField("keys"):
                    raise InvalidRequest([Violation("open", "is the first message and no other")])
                await typist.type(request.keys.events)
                yield consoles_pb2.SendKeysResponse(typed=consoles_pb2.KeysTyped(events=typist.typed))
        finally:
            await typist.leave()
