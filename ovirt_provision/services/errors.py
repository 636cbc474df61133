"""The typed error on the wire: the one place that turns a ProvisionError into a gRPC status, and back."""

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ovirt_provision.errors import Code, ErrorReport, ProvisionError, Violation
from ovirt_provision.v1 import resources_pb2

DOMAIN = "ovirt-provision"
# Clients of gRPC's C core (Ruby, Python) refuse trailing metadata of more than 8 KiB by default. The details
# travel in base64, and the message beside them percent-encoded.
MAX_DETAILS_BYTES = 4500
MAX_MESSAGE_CHARACTERS = 500


class InternalFault(ProvisionError):
    """Something that the daemon did not foresee; the log has the rest under the incident."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    message = "the daemon failed unexpectedly (incident {incident})"
    advice = "The daemon's log tells more under incident {incident}; please report it as a defect."


class DaemonNotServing(ProvisionError):
    """The daemon is starting up or going down."""

    code = Code.UNAVAILABLE
    reason = "DAEMON_NOT_SERVING"
    message = "the daemon is {state}"
    advice = "Call again in a moment; operations under way survive."


def to_message(report: ErrorReport) -> resources_pb2.Error:
    """The error as `ovirt_provision.v1.Error`, whole."""
    return resources_pb2.Error(
        code=report.code,
        reason=report.reason,
        message=report.message,
        phase=report.phase,
        engine_text=report.engine_text,
        correlation_id=report.correlation_id,
        advice=report.advice,
        violations=[
            resources_pb2.FieldViolation(field=violation.field, description=violation.description)
            for violation in report.violations
        ],
    )


def from_message(message: resources_pb2.Error) -> ErrorReport:
    """The opposite of `to_message`."""
    return ErrorReport(
        code=message.code,
        reason=message.reason,
        message=message.message,
        phase=message.phase,
        engine_text=message.engine_text,
        correlation_id=message.correlation_id,
        advice=message.advice,
        violations=tuple(
            Violation(violation.field, violation.description) for violation in message.violations
        ),
    )


def to_status(report: ErrorReport) -> status_pb2.Status:
    """The status with its details: our `Error`, `google.rpc.ErrorInfo`, and BadRequest for violations.

    Shortened where it would exceed a client's limit for metadata: `and N more` then ends the violations.
    """
    error = to_message(report)
    _shorten(error)
    details: list[any_pb2.Any] = []
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key in ("phase", "correlation_id"):
        if getattr(error, key):
            info.metadata[key] = getattr(error, key)
    parts = [error, info]
    if error.violations:
        parts.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in error.violations
                ]
            )
        )
    for part in parts:
        packed = any_pb2.Any()
        packed.Pack(part)
        details.append(packed)
    return status_pb2.Status(
        code=report.code, message=error.message[:MAX_MESSAGE_CHARACTERS], details=details
    )


def from_rpc_error(error: grpc.RpcError) -> ErrorReport:
    """What a failed call says, for clients; also of calls that never reached the daemon."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    for detail in status.details if status else ():
        message = resources_pb2.Error()
        if detail.Unpack(message):
            return from_message(message)
    code = error.code()
    return ErrorReport(code=code.value[0], reason=code.name, message=error.details() or code.value[1])


def _shorten(error: resources_pb2.Error) -> None:
    # Message, engine's text and violations may be any length. Violations travel twice, also in BadRequest.
    error.message = _cut(error.message, 700)
    error.engine_text = _cut(error.engine_text, 1000)
    for violation in error.violations:
        violation.field = _cut(violation.field, 120)
        violation.description = _cut(violation.description, 400)
    whole = len(error.violations)
    while len(error.violations) > 1 and _size(error) > MAX_DETAILS_BYTES:
        del error.violations[-1]
    if len(error.violations) < whole:
        error.violations.add(description=f"and {whole - len(error.violations)} more")


def _size(error: resources_pb2.Error) -> int:
    return error.ByteSize() + sum(violation.ByteSize() + 4 for violation in error.violations)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
