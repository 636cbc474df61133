"""What a caller is told about a bad request, and what the log says about calls."""

import asyncio
import uuid

import grpc
import protovalidate
import pytest
from google.protobuf import descriptor_pb2, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from ovirt_provision.errors import MachineNotFound
from ovirt_provision.services import errors
from ovirt_provision.services.interceptors import violations_of
from ovirt_provision.v1 import (
    engines_pb2,
    machines_pb2,
    machines_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    resources_pb2,
    templates_pb2,
)

CANARY = "canary-93fe"


class Machines(machines_pb2_grpc.MachineServiceServicer):
    def __init__(self):
        self.seen = []

    async def CreateMachine(self, request, context):
        self.seen.append(request)
        return machines_pb2.CreateMachineResponse(operation={"key": request.key})

    async def GetMachine(self, request, context):
        raise MachineNotFound(key=request.key, owner="me", engine="env", near="")

    async def ListMachines(self, request, context):
        raise RuntimeError(f"a defect with {CANARY}")

    async def RenewLease(self, request, context):
        await context.abort(grpc.StatusCode.ABORTED, "by hand")

    async def DestroyMachine(self, request, context):
        raise MachineNotFound(key=request.key)  # a field of the message is missing


class Operations(operations_pb2_grpc.OperationServiceServicer):
    async def WatchOperation(self, request, context):
        yield operations_pb2.WatchOperationResponse(operation={"revision": 1})
        raise MachineNotFound(key="web", owner="me", engine="env", near="")


class LongOperations(operations_pb2_grpc.OperationServiceServicer):
    def __init__(self):
        self.ended = asyncio.Event()

    async def WatchOperation(self, request, context):
        try:
            yield operations_pb2.WatchOperationResponse(operation={"revision": 1})
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.fixture
def machines():
    return Machines()


@pytest.fixture
async def stub(serve, machines):
    _, channel = await serve((machines_pb2_grpc.add_MachineServiceServicer_to_server, machines))
    return machines_pb2_grpc.MachineServiceStub(channel)


def good() -> machines_pb2.CreateMachineRequest:
    return machines_pb2.CreateMachineRequest(
        request_id=str(uuid.uuid4()),
        key="web-1",
        spec={"template": {"name": "debian-12"}, "nics": [{"name": "nic1", "vnic_profile": "ovirtmgmt"}]},
    )


def complaints(request) -> dict[str, str]:
    return {violation.field: violation.description for violation in violations_of(request)}


async def refusal(call) -> errors.ErrorReport:
    """The error with which the call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return errors.from_rpc_error(caught.value)


async def test_a_good_request_passes_unchanged(stub, machines):
    request = good()
    assert (await stub.CreateMachine(request)).operation.key == "web-1"
    assert machines.seen == [request]


async def test_a_bad_request_never_reaches_the_service(stub, machines):
    request = good()
    request.request_id = "nonsense"
    request.spec.memory_bytes = -1
    request.spec.nics[0].name = ""

    report = await refusal(stub.CreateMachine(request))
    assert machines.seen == []
    assert (report.code, report.reason) == (3, "INVALID_REQUEST")
    assert {violation.field: violation.description for violation in report.violations} == {
        "request_id": 'must be a valid UUID; given "nonsense"',
        "spec.memory_bytes": "memory must be 0 (as the template) or at least 1048576 bytes "
        "and a multiple of 1048576 (1 MiB); given -1",
        "spec.nics[0].name": 'must be at least 1 characters; given ""',
    }
    for violation in report.violations:
        assert f"{violation.field}: {violation.description}" in report.message


def test_a_choice_that_was_not_made():
    request = good()
    request.spec.template.Clear()
    assert complaints(request) == {"spec.template.by": "give one of id, name; none was given"}
    request.spec.ClearField("template")
    assert complaints(request) == {"spec.template": "is required"}


def test_rules_over_several_fields_show_them():
    request = good()
    request.spec.template.id = str(uuid.uuid4())
    request.spec.template.version = 3
    found = complaints(request)
    assert found["spec.template"].startswith("version goes with name, not with id")
    assert "version: 3" in found["spec.template"]


@pytest.mark.parametrize("given", [0, 77])
def test_enums_name_what_is_allowed(given):
    request = good()
    request.start_with.nic_configurations.add(name="eth0", boot_protocol=given)
    shown = "BOOT_PROTOCOL_UNSPECIFIED" if given == 0 else "77"
    assert complaints(request) == {
        "start_with.nic_configurations[0].boot_protocol": "must be one of BOOT_PROTOCOL_DHCP, "
        f"BOOT_PROTOCOL_NONE, BOOT_PROTOCOL_STATIC; given {shown}"
    }


def test_a_list_of_enums_is_told_by_its_length_and_its_items_by_name():
    request = machines_pb2.StartMachineRequest(
        request_id=str(uuid.uuid4()), key="web", media={"boot_order": [0, 0]}
    )

    told = [(violation.field, violation.description) for violation in violations_of(request)]

    allowed = "must be one of BOOT_DEVICE_HD, BOOT_DEVICE_CDROM, BOOT_DEVICE_NETWORK"
    assert told == [
        ("media.boot_order", "repeated value must contain unique items; given 2 items"),
        ("media.boot_order[0]", f"{allowed}; given BOOT_DEVICE_UNSPECIFIED"),
        ("media.boot_order[1]", f"{allowed}; given BOOT_DEVICE_UNSPECIFIED"),
    ]


def test_long_values_are_shown_in_part():
    request = good()
    request.spec.description = "y" * 5000
    assert complaints(request)["spec.description"].endswith(f'given "{"y" * 80}"… (5000 characters)')


def test_a_secret_is_never_shown():
    request = good()
    request.start_with.user_data = CANARY * 10_000
    found = complaints(request)
    assert "65536 bytes" in found["start_with.user_data"]
    assert "secret" in found["start_with.user_data"]
    assert CANARY not in str(found)


def unknown(number: int) -> bytes:
    """A field of that number with the value 1, on the wire."""
    field = descriptor_pb2.UninterpretedOption(positive_int_value=1).SerializeToString()[1:]
    tag, encoded = number << 3, bytearray()
    while tag > 0x7F:
        encoded.append(tag & 0x7F | 0x80)
        tag >>= 7
    return bytes(encoded) + bytes([tag]) + field


async def test_unknown_fields_are_refused_at_any_depth(stub, machines):
    request = good()
    request.MergeFromString(unknown(99))
    request.spec.cpu.MergeFromString(unknown(1000))
    request.spec.nics.add(name="nic2", vnic_profile="x").MergeFromString(unknown(16) + unknown(17))

    report = await refusal(stub.CreateMachine(request))
    assert machines.seen == []
    assert report.code == 3
    assert [violation.field for violation in report.violations] == [
        "99",
        "spec.cpu.1000",
        "spec.nics[1].16",
        "spec.nics[1].17",
    ]
    assert "whose Nic has name (1), vnic_profile (2)" in report.violations[2].description


def test_unknown_fields_inside_maps_are_found():
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="a", number=1, type=5, label=1)
    outer = file.message_type.add(name="Outer")
    for number, (name, kind) in enumerate({"by_name": ".m.Inner", "plain": None}.items(), start=1):
        entry = outer.nested_type.add(name=f"{'ByName' if kind else 'Plain'}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=9, label=1)
        entry.field.add(name="value", number=2, type=11 if kind else 5, type_name=kind, label=1)
        outer.field.add(name=name, number=number, type=11, label=3, type_name=f".m.Outer.{entry.name}")
    message = message_factory.GetMessages([file])["m.Outer"]()
    message.plain["x"] = 1
    message.by_name["k"].MergeFromString(unknown(5))
    assert list(complaints(message)) == ['by_name["k"].5']


@pytest.mark.parametrize("encoded", [b"\xff", b"\x1a\x02\xff\xfe", b"\x22\x7f"])
async def test_bytes_that_are_no_message_are_refused_like_other_bad_input(serve, machines, encoded):
    _, channel = await serve((machines_pb2_grpc.add_MachineServiceServicer_to_server, machines))
    report = await refusal(channel.unary_unary("/ovirt_provision.v1.MachineService/CreateMachine")(encoded))
    assert (report.code, report.reason) == (3, "INVALID_REQUEST")


async def test_typed_errors_of_services_and_streams(serve, stub):
    report = await refusal(stub.GetMachine(machines_pb2.GetMachineRequest(key="web")))
    assert (report.reason, report.message) == (
        "MACHINE_NOT_FOUND",
        "there is no Machine 'web' of me on engine env",
    )


async def test_an_error_in_a_stream_comes_after_what_was_sent(serve):
    _, channel = await serve((operations_pb2_grpc.add_OperationServiceServicer_to_server, Operations()))
    stub = operations_pb2_grpc.OperationServiceStub(channel)
    seen = []

    async def watch():
        request = operations_pb2.WatchOperationRequest(id=str(uuid.uuid4()))
        async for response in stub.WatchOperation(request):
            seen.append(response.operation.revision)

    report = await refusal(watch())
    assert (seen, report.reason) == ([1], "MACHINE_NOT_FOUND")
    report = await refusal(anext(aiter(stub.WatchOperation(operations_pb2.WatchOperationRequest(id="x")))))
    assert [violation.field for violation in report.violations] == ["id"]


async def test_a_client_that_goes_away_ends_its_stream(serve):
    operations = LongOperations()
    _, channel = await serve((operations_pb2_grpc.add_OperationServiceServicer_to_server, operations))
    stub = operations_pb2_grpc.OperationServiceStub(channel)
    watch = stub.WatchOperation(operations_pb2.WatchOperationRequest(id=str(uuid.uuid4())))
    await watch.read()
    watch.cancel()
    await asyncio.wait_for(operations.ended.wait(), 30)


@pytest.mark.parametrize("method", ["ListMachines", "DestroyMachine"])
async def test_a_defect_becomes_an_incident_that_the_log_explains(stub, method):
    requests = {
        "ListMachines": machines_pb2.ListMachinesRequest(),
        "DestroyMachine": machines_pb2.DestroyMachineRequest(key="x", request_id=str(uuid.uuid4())),
    }
    with capture_logs() as logged:
        report = await refusal(getattr(stub, method)(requests[method]))
    assert (report.code, report.reason) == (13, "INTERNAL")
    assert CANARY not in str(report)
    incident = next(event for event in logged if event["event"] == "unexpected error")
    assert incident["incident"] in report.message
    assert incident["exc_info"].__traceback__ is not None


async def test_a_service_may_still_abort_by_itself(stub):
    report = await refusal(stub.RenewLease(machines_pb2.RenewLeaseRequest(key="x")))
    assert (report.code, report.message) == (10, "by hand")


async def test_one_log_line_per_call(serve, machines):
    server, channel = await serve((machines_pb2_grpc.add_MachineServiceServicer_to_server, machines))
    stub = machines_pb2_grpc.MachineServiceStub(channel)
    bad = good()
    bad.key = ""
    with capture_logs() as logged:
        await stub.CreateMachine(good())
        await refusal(stub.CreateMachine(bad))
        await refusal(stub.RenewLease(machines_pb2.RenewLeaseRequest(key="x")))
        await server.stop(60)  # a refusal reaches its client before its line is written
    calls = [
        (event["method"].rpartition("/")[2], event["code"]) for event in logged if event["event"] == "call"
    ]
    assert calls == [
        ("CreateMachine", "OK"),
        ("CreateMachine", "INVALID_ARGUMENT"),
        ("RenewLease", "ABORTED"),
    ]


async def test_health_is_served_by_the_rules_of_its_own_schema(serve):
    _, channel = await serve()
    request = health_pb2.HealthCheckRequest(service="ovirt_provision.v1.MachineService")
    request.MergeFromString(unknown(99))
    assert (await health_pb2_grpc.HealthStub(channel).Check(request)).status == 1
    report = await refusal(
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nobody"))
    )
    assert report.code == 5


def test_every_rule_of_the_schema_can_be_evaluated():
    for file in (engines_pb2, machines_pb2, operations_pb2, resources_pb2, templates_pb2):
        for descriptor in file.DESCRIPTOR.message_types_by_name.values():
            protovalidate.collect_violations(message_factory.GetMessageClass(descriptor)())
