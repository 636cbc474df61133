"""The typed error on the wire: the one place that turns a ProvisionError into a gRPC status, and back."""

from urllib.parse import quote

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ovirt_provision.errors import Code, ErrorReport, ProvisionError, Violation
from ovirt_provision.v1 import resources_pb2

DOMAIN = "ovirt-provision"
# Clients of gRPC's C core (Ruby, Python) begin to refuse trailing metadata at 8 KiB; some of it is not ours.
MAX_TRAILER_BYTES = 7000


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
    error.message = _cut(error.message, 800)
    error.engine_text = _cut(error.engine_text, 1000)
    error.advice = _cut(error.advice, 500)
    for violation in error.violations:
        violation.field = _cut(violation.field, 100)
        violation.description = _cut(violation.description, 300)
    whole = len(error.violations)
    # No more than this many fit, however short they are.
    del error.violations[MAX_TRAILER_BYTES // 50 :]
    status = _assemble(error, whole)
    while len(error.violations) > 1 and _trailer_bytes(status) > MAX_TRAILER_BYTES:
        del error.violations[-1]
        status = _assemble(error, whole)
    return status


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


def _assemble(error: resources_pb2.Error, violations: int) -> status_pb2.Status:
    """`violations` is how many there were before `error` was shortened."""
    whole = resources_pb2.Error()
    whole.CopyFrom(error)
    if len(error.violations) < violations:
        whole.violations.add(description=f"and {violations - len(error.violations)} more")
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for name in ("phase", "correlation_id"):
        if getattr(error, name):
            info.metadata[name] = getattr(error, name)
    status = status_pb2.Status(code=error.code, message=_cut(error.message, 400))
    status.details.add().Pack(whole)
    status.details.add().Pack(info)
    if whole.violations:
        request = error_details_pb2.BadRequest()
        for violation in whole.violations:
            request.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(request)
    return status


def _trailer_bytes(status: status_pb2.Status) -> int:
    # The details travel in base64, and the message once more, percent-encoded.
    return int(status.ByteSize()) * 4 // 3 + len(quote(status.message))


def _cut(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[: size - 3].decode(errors="ignore") + "…"
