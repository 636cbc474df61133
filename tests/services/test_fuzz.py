"""Every RPC, called with whatever fits on the wire: none ends in INTERNAL, and what is refused has no effect.

The requests are made from the schema's descriptors, so that a new RPC or field is called as well. More of
them: `OVIRT_PROVISION_EXAMPLES=2000 pytest -s tests/services/test_fuzz.py`; `--hypothesis-seed=N` replays.
"""

import asyncio
import contextlib
import os
import threading
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from buf.validate import validate_pb2
from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Config
from ovirt_provision.ledger.schema import objects, operations
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.runtime import Runtime
from ovirt_provision.services.errors import from_rpc_error
from ovirt_provision.services.server import Server
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.timing import find_profile
from ovirt_provision.v1 import (
    backups_pb2,
    consoles_pb2,
    disks_pb2,
    engines_pb2,
    images_pb2,
    machines_pb2,
    machines_pb2_grpc,
    networks_pb2,
    operations_pb2,
    operations_pb2_grpc,
    resources_pb2,
    templates_pb2,
)

EXAMPLES = int(os.environ.get("OVIRT_PROVISION_EXAMPLES", "4"))
# Seconds for one call, also for a watch of an operation: none of them takes long here.
DEADLINE = 30.0
METHODS: list[MethodDescriptor] = [
    method
    for file in (
        engines_pb2,
        machines_pb2,
        consoles_pb2,
        operations_pb2,
        templates_pb2,
        disks_pb2,
        images_pb2,
        backups_pb2,
        networks_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
# What stands for something that exists, replaced when the request is sent.
OPERATION, TEMPLATE = "{an operation}", "{a template}"
NAMES = (
    "web",
    "debian-12",
    "Default",
    "ovirtmgmt",
    "sim",
    "nic1",
    "eth0",
    "builder",
    "address",
    OPERATION,
    TEMPLATE,
)
STRANGE = (
    '"',
    "*",
    "a or name=b",
    "a b",
    "\x00",
    "\n",
    "%s",
    "../..",
    "é",
    "\U0001f4a5",
    "٣",
    "9" * 60,
    "-1",
    "{}",
)
# What fields of these names hold in a request that is to come far.
USUAL = {
    "profile": ("", "sim"),
    "fingerprint": ("",),
    "cluster": ("", "Default"),
    "vnic_profile": ("ovirtmgmt",),
    "network": ("",),
    "mac": ("", "02:00:00:00:00:01"),
    "instance_type": ("", "Large"),
    "quota": ("", "Default"),
    "affinity_groups": ("none",),
    "affinity_labels": ("none",),
    "hosts": ("host1",),
    "host": ("host1",),
    "directory": ("/tmp", "/none"),
    "file_name": ("", "a.ova"),
    "tags": ("root",),
    "page_token": ("", "1"),
    "checksum": (f"sha256:{'0' * 64}",),
    "url": ("",),
    "static_address": ("", "10.11.0.5/24"),
    "static_range": ("", "", "10.11.0.50-10.11.0.99/24"),
    "gateway": ("", "10.11.0.1"),
    "dns_servers": ("10.11.0.1",),
    "dns_search_domains": ("example.com",),
    "user_data": ("", "runcmd: [id]", "#!/bin/sh\nid\n", "user: builder"),
    "time_zone": ("", "Europe/Berlin"),
    "ipv6_static_address": ("", "2001:db8::5/64"),
    "ipv6_gateway": ("", "2001:db8::1"),
    "ignition": ("", '{"ignition": {"version": "3.3.0"}}'),
    "unattend_xml": ("", '<unattend xmlns="urn:schemas-microsoft-com:unattend"/>'),
    "cidrs": ("10.0.0.0/8", "2001:db8::/32"),
    "ignored_cidrs": ("172.16.0.0/12",),
    "permissions": ("", "0600"),
    "owner": ("",),
    "name_regex": ("", "^deb", "(", "(a+)+$"),
    "content_type": ("", "data", "iso"),
    "data_center": ("", "Default"),
    "storage_domain": ("", "data"),
    "role": ("UserTemplateBasedVm",),
    "user": ("admin@internal",),
    "group": ("Everyone",),
}
# What a call may end with.
CODES = {code.value[0] for code in grpc.StatusCode} - {
    grpc.StatusCode.INTERNAL.value[0],
    grpc.StatusCode.UNKNOWN.value[0],
    grpc.StatusCode.UNAVAILABLE.value[0],
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
    grpc.StatusCode.UNIMPLEMENTED.value[0],
}


@dataclass
class House:
    """A daemon in this process with a Machine `web`, on a simulated engine."""

    bridge: Bridge
    simulator: Simulator
    channel: grpc.Channel
    operation_id: str = ""
    template_id: str = ""

    def call(self, method: MethodDescriptor, encoded: bytes) -> int:
        """Calls an RPC and returns the code that it ends with."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            if method.client_streaming and not method.server_streaming:
                self.channel.stream_unary(path)(iter([encoded]), timeout=DEADLINE)
            elif method.client_streaming:
                for _ in self.channel.stream_stream(path)(iter([encoded]), timeout=DEADLINE):
                    pass
            elif method.server_streaming:
                for _ in self.channel.unary_stream(path)(encoded, timeout=DEADLINE):
                    pass
            else:
                self.channel.unary_unary(path)(encoded, timeout=DEADLINE)
        except grpc.RpcError as error:
            return from_rpc_error(error).code
        return 0

    def operations(self) -> int:
        """How many operations clients have begun so far."""
        with self.bridge.ledger._database.connect() as connection:
            return int(
                connection.scalar(sa.select(sa.func.count()).where(operations.c.verb != "CleanUp")) or 0
            )


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[House]:
    """The daemon and its engine, in an event loop in a thread of their own."""
    started: Future[House] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def run() -> None:
        timing = find_profile("fast").model_copy(update={"command": 0.0})
        async with Simulator(profile=timing, state_dir=folder / "simulator") as simulator:
            profile = {
                "url": simulator.url,
                "username": simulator.username,
                "password": simulator.password,
                "ca_file": simulator.ca_file,
            }
            config = Config.model_validate({"engines": {"sim": profile}})
            (folder / "state").mkdir(mode=0o700)
            runtime = Runtime(config, folder / "state", SystemClock(), uuid.uuid4())
            server = Server(runtime.servicers(), SystemClock(), config)
            await server.start(folder / "socket")
            await runtime.start()
            await server.open()
            channel = grpc.insecure_channel(f"unix:{folder}/socket")
            started.set_result(House(runtime._started(), simulator, channel))
            await over.wait()
            channel.close()
            await runtime.drain()
            await server.stop(0)
            await runtime.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        yield started.result(DEADLINE)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        with serve(folder) as house:
            request = machines_pb2.CreateMachineRequest(
                request_id=str(uuid.uuid4()),
                key="web",
                spec=resources_pb2.MachineSpec(template=resources_pb2.TemplateRef(name="debian-12")),
            )
            created = machines_pb2_grpc.MachineServiceStub(house.channel).CreateMachine(request)
            house.operation_id = created.operation.id
            watch = operations_pb2.WatchOperationRequest(id=created.operation.id)
            for news in operations_pb2_grpc.OperationServiceStub(house.channel).WatchOperation(watch):
                house.template_id = news.operation.machine.template_id
            yield house


def texts(field: FieldDescriptor, strange: bool) -> st.SearchStrategy[str]:
    rules = field.GetOptions().Extensions[validate_pb2.field].string
    if not strange:
        if field.name in USUAL:
            return st.sampled_from(USUAL[field.name])
        known = st.uuids(version=4).map(str) | st.sampled_from((OPERATION, TEMPLATE))
        return known if rules.uuid else st.sampled_from([name for name in NAMES if name[0] != "{"])
    plain = (
        st.sampled_from((*NAMES, *STRANGE)) | st.text(max_size=20) | st.integers(1, 100_000).map("x".__mul__)
    )
    return st.uuids(version=4).map(str) | plain if rules.uuid else plain


def values(field: FieldDescriptor, strange: bool, depth: int) -> st.SearchStrategy[Any]:
    kinds = FieldDescriptor
    if field.message_type is not None:
        return messages(field.message_type, strange, depth + 1)
    if field.type == kinds.TYPE_BYTES:
        return st.binary(max_size=100)
    if field.type == kinds.TYPE_STRING:
        return texts(field, strange)
    if field.type == kinds.TYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return st.floats()
    small = st.sampled_from((0, 1, 2, 3, 1 << 20, 1 << 30))
    bits = 64 if field.cpp_type in (kinds.CPPTYPE_INT64, kinds.CPPTYPE_UINT64) else 32
    if field.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64):
        return small | st.integers(0, 2**bits - 1) if strange else small
    return small | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if strange else small


def messages(descriptor: Descriptor, strange: bool, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of a message as keyword arguments of its class; what is required is there.

    Of a `strange` one each field may be anything, else most are as a client would send them.
    """
    likely, unlikely = {}, {}
    for field in descriptor.fields:
        if depth > 4 and field.message_type is not None:
            continue
        rules = field.GetOptions().Extensions[validate_pb2.field]
        value = values(field, strange, depth)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            value = st.dictionaries(
                values(entry["key"], strange, depth), values(entry["value"], strange, depth), max_size=3
            )
        elif field.is_repeated:
            value = st.lists(value, max_size=3)
        expected = rules.required or rules.string.uuid or rules.string.min_len
        if field.containing_oneof is not None:
            # The last one given counts.
            expected = not strange and field.name == "name"
        (likely if expected else unlikely)[field.name] = value
    return st.fixed_dictionaries(likely, optional=unlikely)


def real(value: Any, house: House) -> Any:
    """The same with the ids of what exists."""
    if isinstance(value, dict):
        return {name: real(item, house) for name, item in value.items()}
    if isinstance(value, list):
        return [real(item, house) for item in value]
    ids = {OPERATION: house.operation_id, TEMPLATE: house.template_id}
    return ids.get(value, value) if isinstance(value, str) else value


def mutations() -> st.SearchStrategy[tuple[str, Any]]:
    """What is done to the bytes of a request."""
    return st.one_of(
        st.just(("none", None)),
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=30)),
        st.tuples(st.just("cut"), st.floats(0, 1)),
        st.tuples(st.just("replace"), st.binary(max_size=200)),
    )


def mutate(encoded: bytes, how: tuple[str, Any]) -> bytes:
    kind, by = how
    if kind == "append":
        return encoded + bytes(by)
    if kind == "cut":
        return encoded[: int(by * len(encoded))]
    return bytes(by) if kind == "replace" else encoded


def fuzz(house: House, method: MethodDescriptor, examples: int, *, phases: Collection[Phase] = Phase) -> None:
    """Calls one RPC so often. Fails for a code that must not be, and for an effect of a refused call."""
    message_class = message_factory.GetMessageClass(method.input_type)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.tuples(messages(method.input_type, False), st.just(("none", None)))
        | st.tuples(messages(method.input_type, True), mutations())
    )
    def one(request: tuple[dict[str, Any], tuple[str, Any]]) -> None:
        fields, how = request
        encoded = mutate(message_class(**real(fields, house)).SerializeToString(), how)
        before = house.operations()
        code = house.call(method, encoded)
        seen[code] += 1
        assert code in CODES, f"{method.name} ends with the code {code}"
        assert not code or house.operations() == before, f"{method.name} was refused and began an operation"

    seen: Counter[int] = Counter()
    one()
    print(f"{method.name}: {dict(seen)}")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
def test_no_request_makes_a_call_fail_unexpectedly_or_half(house, method):
    fuzz(house, method, EXAMPLES)


def test_what_the_calls_have_begun_has_not_failed_unexpectedly(house):
    """Looks at the operations that the tests above have begun."""
    with house.bridge.ledger._database.connect() as connection:
        errors = [error for (error,) in connection.execute(sa.select(operations.c.error)) if error]
        assert connection.scalar(sa.select(sa.func.count()).select_from(objects))
    assert [error for error in errors if error["reason"] == "INTERNAL"] == []
    assert house.call(METHODS[0], b"") == 0


def test_a_page_that_no_reply_has_named_is_refused(house):
    for method in METHODS:
        if method.name in ("ListOperations", "ListTemplates", "ListDisks", "ListNetworks"):
            request = message_factory.GetMessageClass(method.input_type)(page_token="9" * 60)
            assert (
                house.call(method, request.SerializeToString()) == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            )


def test_without_the_rules_of_the_schema_a_call_fails_unexpectedly(house, monkeypatch):
    monkeypatch.setattr("ovirt_provision.services.interceptors.violations_of", lambda request: [])
    method = next(method for method in METHODS if method.name == "GetTemplate")
    with pytest.raises(AssertionError, match=r"GetTemplate ends with the code 1[34]"):
        fuzz(house, method, 50, phases=[Phase.generate])
