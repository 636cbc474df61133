"""The one interceptor that every call passes: it authenticates the caller, validates the request, maps errors
and logs a line per call."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
import protovalidate
import structlog
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_status import rpc_status

from buf.validate import validate_pb2
from ovirt_provision.clock import Clock
from ovirt_provision.errors import ErrorReport, InvalidRequest, ProvisionError, Violation
from ovirt_provision.ledger.secrets import split_secrets
from ovirt_provision.services.authentication import Authenticator
from ovirt_provision.services.calls import calling
from ovirt_provision.services.errors import DaemonNotServing, InternalFault, to_status

PACKAGE = "ovirt_provision."
# Says SERVING or NOT_SERVING to whoever asks, for probes that have no token.
_HEALTH = "/grpc.health."
_log = structlog.get_logger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates, validates, maps errors, logs and counts calls.

    `state` is `starting`, `serving` or `draining`; calls of our own services pass only while serving. Other
    services (health, reflection) pass always and without validation, health without authentication, too.
    """

    def __init__(self, clock: Clock, authenticator: Authenticator) -> None:
        self.authenticator = authenticator
        self.state = "starting"
        self.clock = clock
        self.under_way = 0
        self.last_call = clock.monotonic()
        self._drained = asyncio.Event()
        # Made once for each method: a call that lasts would keep what was made for it alone.
        self._handlers: dict[str, Any] = {}

    def last_activity(self) -> float:
        """When a call of our services was last under way, in seconds of the clock's `monotonic`."""
        return self.clock.monotonic() if self.under_way else self.last_call

    def end_watches(self) -> None:
        """Ends the watches of health, which never end by themselves; our own services end theirs."""
        self._drained.set()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = str(handler_call_details.method)
        if method not in self._handlers:
            self._handlers[method] = self._intercepted(method, handler)
        return self._handlers[method]

    def _intercepted(self, method: str, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        ours = method.startswith(f"/{PACKAGE}")

        def read(encoded: bytes) -> Any:
            if not ours:
                return handler.request_deserializer(encoded)
            if self.state != "serving":
                raise DaemonNotServing(state=self.state)
            try:
                request = handler.request_deserializer(encoded)
            except DecodeError:
                raise InvalidRequest(
                    [Violation("", "is not a message of this call's request type")]
                ) from None
            violations = violations_of(request)
            if violations:
                raise InvalidRequest(violations)
            return request

        async def requests(encoded: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for one in encoded:
                yield read(one)

        if handler.request_streaming and not handler.response_streaming:

            async def uploads(
                encoded: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]"
            ) -> Any:
                async with _Call(self, method, ours, context):
                    return await handler.stream_unary(requests(encoded), context)

            return grpc.stream_unary_rpc_method_handler(
                uploads, request_deserializer=None, response_serializer=handler.response_serializer
            )
        if handler.request_streaming:

            async def streams(
                encoded: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]"
            ) -> None:
                async with _Call(self, method, ours, context):
                    responses = handler.stream_stream(requests(encoded), context)
                    async with contextlib.aclosing(responses):
                        async for response in responses:
                            await context.write(response)

            return grpc.stream_stream_rpc_method_handler(
                streams, request_deserializer=None, response_serializer=handler.response_serializer
            )

        async def unary(encoded: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            async with _Call(self, method, ours, context):
                return await handler.unary_unary(read(encoded), context)

        async def stream(encoded: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            async with _Call(self, method, ours, context):
                responses = handler.unary_stream(read(encoded), context)
                if not hasattr(responses, "__aiter__"):
                    await self._watch(responses)
                    return
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        await context.write(response)
                        # The next one may be long in coming, and streams are many.
                        del response

        # The request is decoded in `read`, so that a malformed one is refused like any other bad input.
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                stream, request_deserializer=None, response_serializer=handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            unary, request_deserializer=None, response_serializer=handler.response_serializer
        )

    async def _watch(self, writing: Coroutine[Any, Any, None]) -> None:
        tasks = {asyncio.create_task(writing), asyncio.create_task(self._drained.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Call:
    """A call under way, as a context: authenticates the caller, maps what is raised, logs and counts.

    No generator: that takes three times the memory, and open streams are many.
    """

    __slots__ = ("_context", "_interceptor", "_method", "_ours", "_start", "_told")

    def __init__(
        self,
        interceptor: CallInterceptor,
        method: str,
        ours: bool,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        self._interceptor = interceptor
        self._method = method
        self._ours = ours
        self._context = context
        self._start = time.monotonic()
        self._told: dict[str, Any] = {"method": method}

    async def __aenter__(self) -> None:
        self._interceptor.under_way += self._ours
        try:
            if not self._method.startswith(_HEALTH):
                self._told["peer"] = self._context.peer()
                caller = self._interceptor.authenticator.caller(self._context)
                self._told["owner"] = caller.owner
                calling.set(caller)
        except Exception as error:
            await self._end(error)

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        await self._end(error)

    async def _end(self, error: BaseException | None) -> None:
        outcome = {"code": "OK" if error is None else "CANCELLED"}
        try:
            if isinstance(error, grpc.aio.AbortError):
                code: Any = self._context.code()
                outcome = {"code": getattr(code, "name", str(code))}
            elif isinstance(error, Exception):
                report = _report(error, _log.bind(**self._told))
                outcome = {
                    "code": _CODES[report.code].name,
                    "reason": report.reason,
                    "message": report.message,
                }
                await self._context.abort_with_status(rpc_status.to_status(to_status(report)))
        finally:
            self._interceptor.under_way -= self._ours
            if self._ours:
                self._interceptor.last_call = self._interceptor.clock.monotonic()
            level = "info" if self._ours else "debug"
            seconds = round(time.monotonic() - self._start, 3)
            getattr(_log, level)("call", **self._told, seconds=seconds, **outcome)


def violations_of(request: Message) -> list[Violation]:
    """All that is wrong with a request by its schema: unknown fields, and the rules in the proto files."""
    found = list(_unknown_fields(request, ""))
    found += [_describe(request, violation) for violation in protovalidate.collect_violations(request)]
    return found


def _report(error: Exception, log: Any) -> ErrorReport:
    if isinstance(error, ProvisionError):
        with contextlib.suppress(LookupError, ValueError):
            return error.report()
    incident = secrets.token_hex(4)
    log.error("unexpected error", incident=incident, exc_info=error)
    return InternalFault(incident=incident).report()


def _unknown_fields(message: Message, path: str) -> Iterator[Violation]:
    descriptor = message.DESCRIPTOR
    unknown: Any = UnknownFieldSet(message)  # iterable, but not by its type stub
    for number in sorted({field.field_number for field in unknown}):
        known = ", ".join(f"{field.name} ({field.number})" for field in descriptor.fields) or "no fields"
        yield Violation(
            _join(path, str(number)),
            f"field number {number} is not known to this daemon, whose {descriptor.name} has {known}; "
            "the client's schema may be newer",
        )
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        here = _join(path, field.name)
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from _unknown_fields(value[key], f"{here}[{json.dumps(key)}]")
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from _unknown_fields(item, f"{here}[{index}]")
        else:
            yield from _unknown_fields(value, here)


def _describe(request: Message, violation: protovalidate.Violation) -> Violation:
    path = ""
    descriptor: Any = request.DESCRIPTOR
    field: Any = None
    secret = False
    required = violation.proto.message or f"breaks the rule {violation.proto.rule_id}"
    given = f"; given {_show(violation.field_value)}"
    for element in violation.proto.field.elements if violation.proto.field else ():
        path = _join(path, element.field_name)
        if element.subscript is not None:
            path += f"[{json.dumps(element.subscript.value)}]"
        if (
            element.field_name in descriptor.oneofs_by_name
            and element.field_name not in descriptor.fields_by_name
        ):
            choices = ", ".join(
                choice.name for choice in descriptor.oneofs_by_name[element.field_name].fields
            )
            return Violation(path, f"give one of {choices}; none was given")
        field = descriptor.fields_by_name[element.field_name]
        secret = secret or field.GetOptions().debug_redact
        descriptor = field.message_type
    if field is not None and field.enum_type is not None and isinstance(violation.field_value, int):
        rules = field.GetOptions().Extensions[validate_pb2.field]
        refused = (rules.repeated.items if field.is_repeated else rules).enum.not_in
        names = [value.name for value in field.enum_type.values if value.number not in refused]
        required = f"must be one of {', '.join(names)}"
        value = field.enum_type.values_by_number.get(violation.field_value)
        given = f"; given {value.name if value else violation.field_value}"
    if violation.proto.rule_id == "required":
        required, given = "is required", ""
    if secret:
        given = "; what was given is not shown, it is a secret"
    return Violation(path, f"{required}{given}")


def _show(value: Any) -> str:
    if isinstance(value, str):
        shown = json.dumps(value[:80], ensure_ascii=False)
        return shown if len(value) <= 80 else f"{shown}… ({len(value)} characters)"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, Message):
        text = (
            text_format.MessageToString(split_secrets(value)[0], as_one_line=True, as_utf8=True)
            or "an empty one"
        )
        return text if len(text) <= 200 else f"{text[:200]}…"
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return f"{len(value)} items" if hasattr(value, "__len__") else "nothing"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
