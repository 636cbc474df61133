"""An error's way to a client and back."""

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ovirt_provision.errors import EngineOperationFailed, InvalidRequest, ReferencesNotFound, Violation
from ovirt_provision.services import errors
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc

ERROR = EngineOperationFailed(
    doing="AddVm",
    engine_says="Low disk space on domain 'data'",
    phase="creating",
    engine_text="[Low disk space on domain 'data'.]",
    correlation_id="op-1",
)


class Failing(engines_pb2_grpc.EngineServiceServicer):
    def __init__(self, error):
        self.error = error

    async def ListEngines(self, request, context):
        raise self.error


@pytest.fixture
def call(serve):
    """Makes a call that fails with the given error, and returns what its client gets."""

    async def failing(error):
        _, channel = await serve((engines_pb2_grpc.add_EngineServiceServicer_to_server, Failing(error)))
        with pytest.raises(grpc.RpcError) as caught:
            await engines_pb2_grpc.EngineServiceStub(channel).ListEngines(engines_pb2.ListEnginesRequest())
        return caught.value

    return failing


async def test_an_error_crosses_the_wire_whole(call):
    caught = await call(ERROR)

    assert caught.code() is grpc.StatusCode.ABORTED
    assert caught.details() == "the engine could not finish AddVm: Low disk space on domain 'data'"
    assert errors.from_rpc_error(caught) == ERROR.report()


async def test_a_program_can_tell_errors_apart_without_our_schema(call):
    info = detail(await call(ERROR), error_details_pb2.ErrorInfo())
    assert (info.domain, info.reason) == ("ovirt-provision", "ENGINE_OPERATION_FAILED")
    assert dict(info.metadata) == {"phase": "creating", "correlation_id": "op-1"}


@pytest.mark.parametrize("kind", [InvalidRequest, ReferencesNotFound])
async def test_violations_also_come_as_bad_request(call, kind):
    error = kind(
        [
            Violation("spec.cluster", "no cluster 'Defualt'; did you mean 'Default'?"),
            Violation("key", "is bad"),
        ]
    )
    caught = await call(error)
    request = detail(caught, error_details_pb2.BadRequest())
    assert [(v.field, v.description) for v in request.field_violations] == [
        ("spec.cluster", "no cluster 'Defualt'; did you mean 'Default'?"),
        ("key", "is bad"),
    ]
    assert errors.from_rpc_error(caught) == error.report()


@pytest.mark.parametrize("letter", ["x", "ü", "漢", "%"])
async def test_a_request_with_everything_wrong_still_fits_into_the_trailers(call, letter):
    description = f"no such profile {letter * 900}"
    violations = [Violation(f"nics[{i}].{letter * 90}", description) for i in range(300)]
    error = InvalidRequest(violations, phase="p", correlation_id="c" * 36, engine_text=letter * 100_000)
    caught = await call(error)

    # On the wire: base64 for the details, percent-encoding for the message.
    trailers = sum(len(key) + len(base64.b64encode(value)) for key, value in caught.trailing_metadata())
    assert trailers + len(quote(caught.details())) < 8192 - 1000
    report = errors.from_rpc_error(caught)
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert report.violations[0].field.startswith("nics[0].")
    assert report.violations[0].description.startswith("no such profile")
    shown = len(report.violations) - 1
    assert report.violations[-1] == Violation("", f"and {300 - shown} more")
    assert report.advice == error.what_to_do


def test_the_stored_error_is_not_shortened():
    error = InvalidRequest([Violation("f", "x" * 5000)] * 50)
    assert errors.from_message(errors.to_message(error.report())) == error.report()


def test_a_call_that_reached_no_daemon_is_an_error_of_the_same_shape(tmp_path):
    with (
        grpc.insecure_channel(f"unix:{tmp_path}/none.sock") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/a/B")(b"")
    report = errors.from_rpc_error(caught.value)
    assert (report.code, report.reason) == (14, "UNAVAILABLE")
    assert "none.sock" in report.message


def detail(error, message):
    """The status detail of that type."""
    assert any(part.Unpack(message) for part in rpc_status.from_call(error).details)
    return message
