"""Every RPC, as somebody who has no business there: nothing is seen, nothing is changed.

The RPCs come from the schema's descriptors, so that a new one is called as well. The last two tests take the
defence away and see the harm, which shows that the others could fail.
"""

import contextlib
import hashlib
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString

from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Config
from ovirt_provision.ledger.schema import leases, objects, operations
from ovirt_provision.ledger.store import PRESENT
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.runtime import Runtime
from ovirt_provision.services.authentication import Authenticator
from ovirt_provision.services.calls import Caller
from ovirt_provision.services.errors import from_rpc_error
from ovirt_provision.services.interceptors import violations_of
from ovirt_provision.services.server import Server
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.timing import Timing, find_profile
from ovirt_provision.v1 import (
    backups_pb2,
    consoles_pb2,
    disks_pb2,
    engines_pb2,
    images_pb2,
    machines_pb2,
    networks_pb2,
    operations_pb2,
    resources_pb2,
    templates_pb2,
)
from tests.certificates import Authority, Certificate
from tests.harness import add_vault
from tests.image_files import RAW

VICTIM = "spiffe://example.com/victim"
NEIGHBOUR = "spiffe://example.com/neighbour"
ADMIN = "spiffe://example.com/admin"
ELSEWHERE = "spiffe://example.com/elsewhere"
KEY = "web"
NAMES = (
    "victims-vm-4711",
    "victims-template-4711",
    "victims-db-4711",
    "victims-disk-4711",
    "victims-backup-4711",
)
IMAGE = f"sha256:{hashlib.sha256(RAW).hexdigest()}"
TOKEN = "5c1f0f6e-victims-token"

METHODS: list[MethodDescriptor] = [
    method
    for file in (
        engines_pb2,
        networks_pb2,
        operations_pb2,
        templates_pb2,
        machines_pb2,
        consoles_pb2,
        disks_pb2,
        images_pb2,
        backups_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
# In this order the defenceless tests see each harm before another hides it.
METHODS.sort(key=lambda method: method.name.startswith(("Cancel", "Destroy", "Detach", "Remove")))
# What every owner may see who may use the engine.
OF_THE_ENGINE = {"ListEngines", "GetEngine", "ExamineEngine", "ListNetworks", "FindNetwork"}


def free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """A daemon with one port for certificates and one for tokens, and a victim who has a Machine, a template
    and an operation under way."""

    bridge: Bridge
    simulator: Simulator
    authority: Authority
    certificates: str
    tokens: str
    socket: str
    template_id: str = ""
    disk_id: str = ""
    operation_id: str = ""
    request_id: str = ""
    adoptable_id: str = ""
    backup_id: str = ""
    vault_id: str = ""

    def mtls(self, certificate: Certificate | None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self.authority.ca_file.read_bytes(),
            certificate.key_file.read_bytes() if certificate else None,
            certificate.cert_file.read_bytes() if certificate else None,
        )
        return grpc.aio.secure_channel(self.certificates, credentials)

    def bearer(self, token: str | None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority.ca_file.read_bytes())
        if token is not None:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token)
            )
        return grpc.aio.secure_channel(self.tokens, credentials)

    def _rows(self) -> list[dict[str, Any]]:
        with self.bridge.ledger._database.connect() as connection:
            found = [
                dict(row)
                for table in (operations, objects)
                for row in connection.execute(table.select().where(table.c.owner == VICTIM)).mappings()
            ]
            mine = sa.select(objects.c.id).where(objects.c.owner == VICTIM)
            found += [
                dict(row)
                for row in connection.execute(leases.select().where(leases.c.object_id.in_(mine))).mappings()
            ]
        return found

    def state(self) -> Any:
        """All that the victim has, as far as a stranger could change it."""
        rows = self._rows()
        ids = {row["engine_id"] for row in rows if row.get("engine_id")}
        world = self.simulator.world
        return (
            rows,
            {row["id"]: self.bridge.leases._heard.get(row["id"]) for row in rows if row.get("kind") == "vm"},
            [(vm.id, vm.name, vm.status, vm.comment) for vm in world.vms.values() if vm.id in ids],
            [(template.id, template.name) for template in world.templates.values() if template.id in ids],
            self.bridge.images.list(VICTIM),
        )

    def secrets(self) -> set[str]:
        """What only the victim should be told: ids and names of what it has."""
        rows = self._rows()
        told = {str(row[field]) for row in rows for field in ("id", "engine_id") if row.get(field)}
        # Row numbers, which nobody is told, are found in every text.
        told |= {IMAGE, f"virtual_size_bytes: {len(RAW)}"}
        return {text for text in told if len(text) > 6} | {VICTIM, *NAMES}


def request_for(
    house: House, method: MethodDescriptor, *, request_id: str | None = None, owner: str = ""
) -> Message:
    """A request that would do something to the victim."""
    ids = {"TemplateService": house.template_id, "DiskService": house.disk_id}
    known = {
        "request_id": request_id or str(uuid.uuid4()),
        "key": "a-copy" if method.name in ("CloneMachine", "AdoptMachine") else KEY,
        "source_key": KEY,
        "machine_key": KEY,
        "owner": owner,
        "open": {"key": KEY, "owner": owner},
        "id": ids.get(method.containing_service.name, house.operation_id),
        "vm_id": house.adoptable_id,
        "checksum": IMAGE,
        "header": {"checksum": IMAGE, "size_bytes": len(RAW)},
        "disk": {"name": "strangers-import", "storage_domain": "data"},
        "spec": {"template": {"name": "debian-12"}, "name": "strangers-vm"},
        "ova": {"host": "host1", "directory": "/tmp"},
    }
    names = {
        "CreateTemplate": "strangers-template",
        "DetachDisk": "strangers-disk",
        "CreateBackup": "strangers-backup",
        "RestoreBackup": "strangers-template",
        "FindTemplate": NAMES[1],
        "FindDisk": NAMES[3],
        "FindNetwork": "ovirtmgmt",
    }
    if method.name in names:
        known["name"] = names[method.name]
    if method.containing_service.name == "BackupService":
        known |= {"id": house.vault_id, "template": {"name": "debian-12"}, "backup": True}
        known["storage_domain"] = "vault"
    if method.name in ("ExportTemplate", "ExportImage"):
        known["template"] = {"id": house.template_id}
    if method.name == "RestoreBackup":
        known |= {"backup": {"id": house.backup_id}, "storage_domain": "data"}
    # Of several ways to name one thing the first.
    meant = {field.name for field in method.input_type.fields} - {
        field.name for one in method.input_type.oneofs for field in one.fields[1:]
    }
    fields = {name: known[name] for name in known if name in meant}
    request = ParseDict(fields, message_factory.GetMessageClass(method.input_type)())
    assert violations_of(request) == [], f"teach this test what {method.name} takes"
    return request


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, request: Message) -> tuple[str, Any]:
    """What the caller is told, whole, and the error's reason; None for a call that succeeds."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    reply_type = message_factory.GetMessageClass(method.output_type)
    sent: Any = request
    how: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    if method.client_streaming:
        how = channel.stream_stream if method.server_streaming else channel.stream_unary
        sent = iter([request])
    calling = how(path, type(request).SerializeToString, reply_type.FromString)(sent, timeout=20)
    try:
        if method.server_streaming:
            reply = await calling.read()
            calling.cancel()
        else:
            reply = await calling
    except grpc.aio.AioRpcError as error:
        if error.details() == "Internal error from Core":
            # This client's own: the call was refused while it still sent, and it forgets by what.
            return await call(channel, method, request)
        report = from_rpc_error(error)
        return f"{report} {error.debug_error_string()}", report.reason
    return MessageToString(reply), None


async def harm(
    house: House, channel: grpc.aio.Channel, method: MethodDescriptor, request: Message
) -> set[str]:
    """What somebody learns of the victim by a call, or `changed`."""
    secrets, before = house.secrets(), house.state()
    told, _ = await call(channel, method, request)
    given = MessageToString(request)
    found = {secret for secret in secrets if secret in told and secret not in given}
    return found | ({"changed"} if house.state() != before else set())


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    authority = Authority(tmp_path / "pki")
    own = authority.daemon()
    token_file = tmp_path / "tokens"
    token_file.write_text(f"{VICTIM} sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    token_file.chmod(0o600)
    quick = find_profile("fast").model_copy(update=dict.fromkeys(Timing.model_fields, 0.0))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(
            Simulator(clock=clock, profile=quick, state_dir=tmp_path / "simulator")
        )
        settings = {
            "engines": {
                "sim": {
                    "url": simulator.url,
                    "username": simulator.username,
                    "password": simulator.password,
                    "ca_file": str(simulator.ca_file),
                }
            },
            "owners": {
                VICTIM: {},
                NEIGHBOUR: {"templates": ["debian-12", "strangers-*"]},
                ELSEWHERE: {"engines": []},
                ADMIN: {"role": "admin"},
            },
            "timeouts": {"watch_interval": 0.05, "console": 1},
        }
        tls = {"cert_file": str(own.cert_file), "key_file": str(own.key_file)}
        ports = [f"localhost:{free_port()}" for _ in range(2)]
        by_certificate = Config.model_validate(
            settings | {"tls": tls | {"listen": ports[0], "client_ca_file": str(authority.ca_file)}}
        )
        by_token = Config.model_validate(
            settings | {"tls": tls | {"listen": ports[1], "token_file": str(token_file)}}
        )
        runtime = Runtime(by_certificate, state, clock, uuid.uuid4())
        for name, config in (("c", by_certificate), ("t", by_token)):
            server = Server(runtime.servicers(), clock, config)
            await server.start(tmp_path / name)
            stack.push_async_callback(server.stop, 0)
            await server.open()
        stack.push_async_callback(runtime.close)
        await runtime.start()
        made = House(runtime._started(), simulator, authority, *ports, socket=f"unix:{tmp_path}/c")
        await furnish(made, authority.client(VICTIM))
        yield made


async def furnish(house: House, victim: Certificate) -> None:
    """Everything by the victim's own calls, which shows that the door opens to who has the key."""

    async with house.mtls(victim) as channel:

        async def run(name: str, /, **fields: Any) -> resources_pb2.Operation:
            method = next(method for method in METHODS if method.name == name)
            request = message_factory.GetMessageClass(method.input_type)(
                request_id=str(uuid.uuid4()), **fields
            )
            path = f"/{method.containing_service.full_name}/{name}"
            reply_type = message_factory.GetMessageClass(method.output_type)
            stub = channel.unary_unary(path, type(request).SerializeToString, reply_type.FromString)
            operation = (await stub(request)).operation
            house.request_id = operation.request_id
            return operation

        async def ended(operation: resources_pb2.Operation) -> resources_pb2.Operation:
            watch = channel.unary_stream(
                "/ovirt_provision.v1.OperationService/WatchOperation",
                operations_pb2.WatchOperationRequest.SerializeToString,
                operations_pb2.WatchOperationResponse.FromString,
            )
            async for reply in watch(operations_pb2.WatchOperationRequest(id=operation.id), timeout=30):
                operation = reply.operation
            assert operation.state == resources_pb2.Operation.STATE_SUCCEEDED, operation
            return operation

        def spec(name: str) -> dict[str, Any]:
            return {"template": {"name": "debian-12"}, "name": name}

        async def chunks() -> AsyncIterator[bytes]:
            yield RAW

        await house.bridge.images.receive(VICTIM, IMAGE, len(RAW), 0, chunks())
        made = await ended(await run("CreateMachine", key=KEY, spec=spec(NAMES[0])))
        assert made.owner == VICTIM
        template = await ended(await run("CreateTemplate", machine_key=KEY, name=NAMES[1]))
        house.template_id = template.template.id
        house.vault_id = add_vault(house.simulator).id
        house.backup_id = (
            await ended(
                await run("CreateBackup", template={"name": NAMES[1]}, storage_domain="vault", name=NAMES[4])
            )
        ).template.id
        house.disk_id = _hand_over_a_disk(house)
        house.adoptable_id = _let_a_vm_stand(house)
        # The next copy takes long: an operation under way.
        house.simulator.world.timing = house.simulator.world.timing.model_copy(update={"clone_thin": 3600.0})
        house.operation_id = (await run("CreateMachine", key="db", spec=spec(NAMES[2]))).id
        watch = house.bridge.dispatcher.runner.watch(house.operation_id, 0)
        async for operation in watch:
            if operation.phase == "cloning":
                break
        await watch.aclose()  # type: ignore[attr-defined]
        # The VM's disk is learnt a little later, and is not to be taken for a stranger's doing.
        while not house.bridge.ledger.object(operation.object_id).details.get("disks_known"):
            await house.bridge.clock.sleep(0.01)


def _hand_over_a_disk(house: House) -> str:
    """Puts a disk into engine and ledger as DetachDisk leaves one."""
    domain = next(iter(house.simulator.world.domains))
    made = house.simulator.call(
        "POST",
        "/disks",
        f"<disk><name>{NAMES[3]}</name><provisioned_size>1073741824</provisioned_size><format>cow</format>"
        f'<storage_domains><storage_domain id="{domain}"/></storage_domains></disk>',
    ).element
    assert made is not None
    disk_id = str(made.get("id"))
    with house.bridge.ledger.transaction() as connection:
        house.bridge.ledger.add_object(
            connection,
            engine="sim",
            kind="disk",
            engine_id=disk_id,
            name=NAMES[3],
            owner=VICTIM,
            key="gone",
            generation=1,
            request_id=str(uuid.uuid4()),
            state=PRESENT,
        )
    return disk_id


def _let_a_vm_stand(house: House) -> str:
    """A VM of nobody that the daemon knows of."""
    made = house.simulator.call(
        "POST",
        "/vms",
        "<vm><name>nobodys</name><cluster><name>Default</name></cluster><template><name>Blank</name></template></vm>",
    ).element
    assert made is not None
    return str(made.get("id"))


STRANGERS: dict[str, Callable[[House], grpc.aio.Channel]] = {
    "a certificate of nobody known": lambda h: h.mtls(h.authority.client("spiffe://example.com/unknown")),
    "no certificate": lambda h: h.mtls(None),
    "a certificate of another CA": lambda h: h.mtls(
        Authority(h.authority.ca_file.parent / "other").client(VICTIM)
    ),
    "an expired certificate": lambda h: h.mtls(h.authority.client(VICTIM, days=-1)),
    "no TLS": lambda h: grpc.aio.insecure_channel(h.certificates),
    "no TLS, where tokens count": lambda h: grpc.aio.insecure_channel(h.tokens),
    "a wrong token": lambda h: h.bearer("5c1f0f6e-another-token"),
    "the token's hash as a token": lambda h: h.bearer(hashlib.sha256(TOKEN.encode()).hexdigest()),
    "no token": lambda h: h.bearer(None),
    "a certificate instead of a token": lambda h: grpc.aio.secure_channel(
        h.tokens,
        grpc.ssl_channel_credentials(
            h.authority.ca_file.read_bytes(),
            h.authority.client(VICTIM).key_file.read_bytes(),
            h.authority.client(VICTIM).cert_file.read_bytes(),
        ),
    ),
}
REFUSALS = {"NOT_AUTHENTICATED", "OWNER_UNKNOWN", "UNAVAILABLE"}


async def test_a_stranger_gets_nowhere(house):
    before = house.state()
    for name, channel_of in STRANGERS.items():
        async with channel_of(house) as channel:
            for method in METHODS:
                told, reason = await call(channel, method, request_for(house, method))
                assert reason in REFUSALS, (name, method.name, told)
                assert not [text for text in house.secrets() if text in told], (name, method.name, told)
    assert house.state() == before


async def test_another_owner_sees_and_changes_nothing_of_the_victims(house):
    async with house.mtls(house.authority.client(NEIGHBOUR)) as channel:
        for method in METHODS:
            for request in (
                request_for(house, method),
                request_for(house, method, request_id=house.request_id),
                request_for(house, method, owner=VICTIM),
            ):
                assert await harm(house, channel, method, request) == set(), method.name


async def test_an_owner_of_another_engine_is_told_nothing_of_this_one(house):
    async with house.mtls(house.authority.client(ELSEWHERE)) as channel:
        for method in METHODS:
            for profile in ("", "sim", "absent"):
                request = request_for(house, method)
                if "engine" in method.input_type.fields_by_name:
                    request.engine.profile = profile
                    told, reason = await call(channel, method, request)
                    assert reason == "NOT_ALLOWED", (method.name, told)
                else:
                    told, _ = await call(channel, method, request)
                assert house.simulator.url not in told, method.name


async def test_without_authentication_every_rpc_lets_the_stranger_in(house, monkeypatch):
    everybody = Caller(VICTIM, house.bridge.config.limits(VICTIM))
    monkeypatch.setattr(Authenticator, "caller", lambda *_: everybody)
    async with house.bearer("5c1f0f6e-another-token") as channel:
        reasons = {
            method.name: (await call(channel, method, request_for(house, method)))[1] for method in METHODS
        }
    assert [name for name, reason in reasons.items() if reason in REFUSALS] == []


async def test_without_owners_every_rpc_harms_the_victim(house, monkeypatch):
    everybody = Caller(VICTIM, house.bridge.config.limits(VICTIM))
    monkeypatch.setattr(Authenticator, "caller", lambda *_: everybody)
    async with house.mtls(house.authority.client(NEIGHBOUR)) as channel:
        harmless = {
            method.name
            for method in METHODS
            if not await harm(house, channel, method, request_for(house, method))
        }
    # The victim's Machine stands on its template, so its disk is not detached, and is down, so nobody types
    # to it, whoever asks: what was seen to change then is the doing of a call before.
    assert harmless - {"DetachDisk", "SendKeys"} == OF_THE_ENGINE


async def test_nobody_adopts_the_victims_machine(house):
    adopt = next(method for method in METHODS if method.name == "AdoptMachine")
    request = request_for(house, adopt)
    request.vm_id = next(
        row["engine_id"] for row in house._rows() if row.get("kind") == "vm" and row["key"] == KEY
    )
    for owner, reason in ((NEIGHBOUR, "ADOPTION_NOT_ALLOWED"), (ADMIN, "VM_NOT_ADOPTABLE")):
        async with house.mtls(house.authority.client(owner)) as channel:
            told, refused = await call(channel, adopt, request)
            assert refused == reason
            assert await harm(house, channel, adopt, request) == set(), told


async def test_nobody_sits_down_at_the_victims_keyboard(house):
    """One that is up would be typed to; who may not is told no more than that there is no such Machine."""
    send = next(method for method in METHODS if method.name == "SendKeys")
    for owner, named, reason in (
        (VICTIM, "", "MACHINE_NOT_RUNNING"),
        (ADMIN, VICTIM, "MACHINE_NOT_RUNNING"),
        (NEIGHBOUR, "", "MACHINE_NOT_FOUND"),
        (NEIGHBOUR, VICTIM, "NOT_AN_ADMIN"),
        (ELSEWHERE, "", "NOT_ALLOWED"),
    ):
        async with house.mtls(house.authority.client(owner)) as channel:
            _, refused = await call(channel, send, request_for(house, send, owner=named))
            assert refused == reason, owner


async def test_an_admin_sees_and_ends_what_belongs_to_others(house):
    vm = next(row for row in house._rows() if row.get("kind") == "vm" and row["key"] == KEY)
    heard = house.bridge.leases._heard[vm["id"]]
    seen = {}
    async with house.mtls(house.authority.client(ADMIN)) as channel:
        for method in METHODS:
            before = dict(house.bridge.leases._heard)
            told, reason = await call(channel, method, request_for(house, method, owner=VICTIM))
            if method.name in ("WatchOperation", "GetMachine"):
                # Somebody else's looks keep no dead client's Machine alive.
                assert house.bridge.leases._heard == before
            seen[method.name] = reason or VICTIM in told
    own = {name for name, told in seen.items() if told is not True} - OF_THE_ENGINE
    # These mean an admin's own Machines, as everybody's. RenewLease tells no name, the destroying of a
    # template or disk is an operation of the admin's own, and the Machine is not running.
    assert own == {
        *("CreateMachine", "CloneMachine", "StartMachine", "RestartMachine", "CreateTemplate"),
        *("RenewLease", "DestroyTemplate", "DetachDisk", "DestroyDisk", "SparsifyDisk", "AdoptMachine"),
        "SendKeys",
        *("CreateBackup", "RestoreBackup", "MarkBackupDomain"),
        *("UploadImage", "GetImage", "ListImages", "RemoveImage", "ImportImage"),
        *("ExportImage", "DownloadImage", "ExportTemplate"),
    }
    assert seen["SendKeys"] == "MACHINE_NOT_RUNNING"
    assert house.bridge.leases._heard[vm["id"]] > heard
    cancelled = house.bridge.ledger.operation_or_fail(house.operation_id)
    assert cancelled.cancelled_by == f"by the admin {ADMIN}"
    for owner, verb in (
        (VICTIM, "DestroyMachine"),
        (ADMIN, "DestroyTemplate"),
        (ADMIN, "DestroyDisk"),
    ):
        found = house.bridge.ledger.list_operations(owner, unended_only=False, key="", limit=9, offset=0)
        destroyed = next(operation for operation in found if operation.verb == verb)
        ended = await house.bridge.dispatcher.runner.ended(destroyed.id)
        assert (ended.verb, ended.state) == (verb, "succeeded")
    assert vm["engine_id"] not in house.simulator.world.vms
    assert house.template_id not in house.simulator.world.templates
    assert house.disk_id not in house.simulator.world.disks


async def test_the_unix_socket_is_the_daemons_user(house):
    """Who can open it can read the daemon's files, so it is an admin, and yet owns Machines of its own."""
    async with grpc.aio.insecure_channel(house.socket) as channel:
        get = next(method for method in METHODS if method.name == "GetMachine")
        told, reason = await call(channel, get, request_for(house, get))
        assert (reason, f"of uid:{os.getuid()} " in told) == ("MACHINE_NOT_FOUND", True)
        watch = next(method for method in METHODS if method.name == "WatchOperation")
        told, reason = await call(channel, watch, request_for(house, watch))
        assert (reason, VICTIM in told) == (None, True)
