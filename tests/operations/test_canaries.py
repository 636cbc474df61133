"""Secrets planted in every secret field of the schema and of the configuration, and looked for everywhere.

Which fields are secret is read from the schema (`debug_redact`) and from the configuration's types, so that a
new one is planted, too, or named here as missing.
"""

import base64
import hashlib
import io
import json
import logging
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel, SecretStr

from ovirt_provision import logs
from ovirt_provision.config import Config
from ovirt_provision.engine import errors as engine_errors
from ovirt_provision.engine.machines import Machines
from ovirt_provision.errors import ProvisionError
from ovirt_provision.images import fetch
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED
from ovirt_provision.operations import start_machine
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.services.messages import operation_message
from ovirt_provision.simulator.markup import set_text
from ovirt_provision.v1 import images_pb2, resources_pb2, templates_pb2
from tests.harness import Site, spec, started
from tests.image_files import RAW

CANARY = "canary-5d1c7a90"
# What each secret field holds to be taken, by its name, and a text for any other.
PLANTED = {
    "user_data": f"#cloud-config\nruncmd: [{CANARY}]",
    "ignition": f'{{"ignition": {{"version": "3.3.0"}}, "passwd": {{"users": [{{"name": "{CANARY}"}}]}}}}',
    "unattend_xml": f'<unattend xmlns="urn:schemas-microsoft-com:unattend">{CANARY}</unattend>',
}
IMAGE_URL = "https://images.example.com/golden.raw"
PLANTED["url"] = f"{IMAGE_URL}?token={CANARY}"
# What the operating system must be for it.
SYSTEMS = {"ignition": "rhcos_x64", "sysprep": "windows_2022"}
PHASES = ("fetching", "booting", "booting-test-machine")

PARENTS = ("initialization", "start_with", "media", "start_media")

FieldPath = tuple[str, ...]


def secret_fields(descriptor: Descriptor, seen: tuple[str, ...] = ()) -> Iterator[FieldPath]:
    """The paths of all secret fields of a message, at any depth."""
    if descriptor.full_name in seen:
        return
    for field in descriptor.fields:
        if field.GetOptions().debug_redact:
            yield (field.name,)
        elif field.message_type is not None:
            for path in secret_fields(field.message_type, (*seen, descriptor.full_name)):
                yield (field.name, *path)


def plant(message: Message, path: FieldPath) -> None:
    """Puts the canary into a field."""
    *parents, name = path
    for parent in parents:
        field = getattr(message, parent)
        message = field.add() if hasattr(field, "add") else field
        if isinstance(message, resources_pb2.Media):
            root = message
    field = message.DESCRIPTOR.fields_by_name[name]
    value: Any = PLANTED.get(name, CANARY)
    if field.type == FieldDescriptor.TYPE_BYTES:
        value = value.encode()
    if isinstance(message, resources_pb2.PayloadFile):
        # Beside a configuration the engine takes no other.
        root.payload.type = resources_pb2.Payload.TYPE_FLOPPY
    if name == "product_key":
        message.unattend_xml = '<unattend xmlns="urn:schemas-microsoft-com:unattend">$ProductKey$</unattend>'
    if field.is_repeated:
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def secret_settings(model: type[BaseModel], path: FieldPath = ()) -> Iterator[str]:
    """The paths of all secret settings of the configuration."""
    for name, field in model.model_fields.items():
        for kind in _types_of(field.annotation):
            if kind is SecretStr:
                yield ".".join((*path, name))
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secret_settings(kind, (*path, name))


def _types_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in typing.get_args(annotation):
        yield from _types_of(inner)


def in_initialization(path: FieldPath) -> FieldPath:
    """The path of a secret field within the Initialization or the Media that all of them are in."""
    return path[1 + max((path.index(name) for name in PARENTS if name in path), default=-1) :]


PLACES = [
    (name, path) for name, verb in VERBS.items() for path in secret_fields(verb.request_type.DESCRIPTOR)
]
# What each verb needs besides its secrets, in a world that has a stopped Machine `web`.
FIELDS: dict[str, dict[str, Any]] = {
    "CreateMachine": {"key": "new", "spec": spec(), "start_with": started()},
    "CloneMachine": {"key": "new", "source_key": "web", "start_with": started()},
    "StartMachine": {"key": "web", "initialization": started()},
    "CreateTemplate": {
        "machine_key": "web",
        "name": "golden",
        "boot_test": templates_pb2.BootTest(initialization=started()),
    },
    "ImportImage": {
        "checksum": f"sha256:{hashlib.sha256(RAW).hexdigest()}",
        "disk": images_pb2.ImportedDisk(name="golden"),
    },
}
# Each field is planted in the first verb that has it, and the first field in all verbs;
# with OVIRT_PROVISION_CANARIES=all each in all.
EVERY = os.environ.get("OVIRT_PROVISION_CANARIES") == "all"
TRIED = [
    (verb, path)
    for number, (verb, path) in enumerate(PLACES)
    if EVERY
    or in_initialization(path) == in_initialization(PLACES[0][1])
    or in_initialization(path) not in [in_initialization(earlier) for _, earlier in PLACES[:number]]
]
# A verb's outcome that has the daemon write and tell most; with OVIRT_PROVISION_CANARIES=all all of them.
MOST = "crash"
OUTCOMES = {"success": SUCCEEDED, "failure": FAILED, "cancel": CANCELLED, "crash": SUCCEEDED}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure(written, logging.DEBUG)
    yield written
    root.handlers[:], _ = handlers, root.setLevel(level)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Payloads and first-boot configurations that went to the engine, and URLs that were fetched."""
    sent: list[str] = []
    make = start_machine.first_boot

    def noted(initialization: resources_pb2.Initialization) -> Any:
        sent.append(str(initialization))
        return make(initialization)

    def noted_request(request: Any) -> tuple[int, dict[str, str], bytes]:
        sent.append(request.url)
        return 200, {}, RAW

    async def noted_payload(machines: Any, vm_id: str, name: str, payload: Any, **options: Any) -> None:
        if payload is not None:
            sent.append(str(payload.files))
        await store(machines, vm_id, name, payload, **options)

    store = Machines.set_payload
    monkeypatch.setattr(Machines, "set_payload", noted_payload)
    monkeypatch.setattr(start_machine, "first_boot", noted)
    monkeypatch.setattr(fetch, "addresses_of", lambda _host, _port: ["93.184.216.34"])
    with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
        server.add_callback("GET", IMAGE_URL, noted_request)
        yield sent


def found_in(folder: Path, texts: dict[str, str], *secrets: str) -> set[str]:
    """Where one of the secrets is to be read."""
    named = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    named |= {name: text.encode() for name, text in texts.items()}
    return {name for name, content in named.items() for secret in secrets if secret.encode() in content}


async def look_everywhere(
    site: Site, folder: Path, log: io.StringIO, sent: list[str], verb: str, path: FieldPath, outcome: str
) -> set[str]:
    """Calls a verb with the canary in one field, has it end so, and says where the canary was seen."""
    request = VERBS[verb].request_type(**FIELDS[verb])
    plant(request, path)
    if verb == "CreateTemplate" and path[-1] == "admin_password":
        request.boot_test.initialization.host_name = "golden"  # the one of its VM is too long for Windows
    if verb == "ImportImage" and outcome == "failure":
        request.checksum = f"sha256:{hashlib.sha256().hexdigest()}"
    fields = {field.name: value for field, value in request.ListFields()}
    seen: set[str] = set()

    def look(*texts: str) -> None:
        told = {"the log": log.getvalue()} | {f"reply {number}": text for number, text in enumerate(texts)}
        encoded = base64.b64encode(CANARY.encode()).decode()
        seen.update(found_in(folder, told, CANARY, encoded, site.simulator.password))

    await make_web(site, path)
    calling = await site.call(verb, **fields)
    async for changed in site.bridge.dispatcher.runner.watch(calling.id):
        look(repr(changed), str(operation_message(site.bridge, changed)))
        if sent and outcome == "cancel":
            site.bridge.dispatcher.cancel(changed, "by its client")
        if changed.phase in PHASES and outcome == "crash":
            await site.restart()
            break
    ended = await site.ended(calling)
    look(repr(ended), str(operation_message(site.bridge, ended)), json.dumps(ended.error))
    assert ended.state == OUTCOMES[outcome], ended.error
    return seen


async def make_web(site: Site, path: FieldPath) -> None:
    """Makes the stopped Machine, all that is of the operating system that the field is for."""
    for template in site.simulator.world.templates.values():
        set_text(template.config, "os/type", SYSTEMS.get(in_initialization(path)[0], "debian_9"))
    await site.run("CreateMachine", key="web", spec=spec())


def timeouts_for(outcome: str) -> dict[str, float]:
    return {"start": 0.5} if outcome == "failure" else {}


def test_every_secret_of_the_schema_is_planted():
    assert {verb for verb, _ in PLACES} == set(FIELDS)


def test_every_secret_of_the_configuration_is_looked_for():
    """A new one has to be planted in `look_everywhere` as the password of the engine is."""
    assert list(secret_settings(Config)) == ["engines.password"]


def cases() -> list[Any]:
    return [
        pytest.param(verb, path, outcome, id=f"{verb}-{'.'.join(path)}-{outcome}")
        for number, (verb, path) in enumerate(TRIED)
        for outcome in OUTCOMES
        if EVERY or not number or outcome == MOST
    ]


@pytest.mark.parametrize(("verb", "path", "outcome"), cases())
def test_no_secret_is_written_or_told(site, run_virtually, tmp_path, log, sent, verb, path, outcome):
    async def scenario() -> set[str]:
        async with site(**timeouts_for(outcome)) as s:
            return await look_everywhere(s, tmp_path / "state", log, sent, verb, path, outcome)

    assert run_virtually(scenario()) == set()
    assert log.getvalue()
    assert CANARY in sent[0], "it was on its way"


@pytest.mark.parametrize("defence", ["on", "off"])
@pytest.mark.parametrize("path", [("user_data",), ("sysprep", "admin_password")], ids=".".join)
def test_a_fault_of_the_engine_that_repeats_a_secret_is_not_told(
    site, run_virtually, tmp_path, log, monkeypatch, path, defence
):
    monkeypatch.setattr(
        engine_errors,
        "_fault_text",
        lambda _error: f"Cannot run VM: {PLANTED.get(path[-1], CANARY).splitlines()[-1]} is odd.",
    )
    if defence == "off":
        monkeypatch.setattr(logs, "register_secret", lambda _value: None)

    async def scenario() -> set[str]:
        async with site(engine_lock=1) as s:
            await make_web(s, ("start_with", *path))
            s.simulator.world.injections.arm(
                "host-lost", method="POST", path="/vms/[^/]+/start", times=1000, seconds=0
            )
            initialization = started()
            plant(initialization, path)
            calling = await s.call("StartMachine", key="web", initialization=initialization)
            told = [str(operation_message(s.bridge, calling))]
            async for changed in s.bridge.dispatcher.runner.watch(calling.id):
                told.append(str(operation_message(s.bridge, changed)))
            ended = await s.ended(calling)
            assert ended.state == FAILED
            assert "Cannot run VM" in ended.error["engine_text"]
            told += [repr(ended.error), log.getvalue()]
            return found_in(tmp_path / "state", {"what is told": "\n".join(told)}, CANARY)

    found = run_virtually(scenario())
    assert bool(found) == (defence == "off"), found


# What is refused in each field that a verb looks into; what the schema refuses has a test of its own.
BAD = {
    "user_data": f"- {CANARY}: [",
    "ignition": f'{{"{CANARY}": "{CANARY}" 1}}',
    "unattend_xml": f"<{CANARY}>{CANARY}</{CANARY}>",
    "admin_password": f"{CANARY}]]>",
}
REFUSABLE = [(verb, path) for verb, path in TRIED if path[-1] in BAD]


def test_without_splitting_secrets_off_they_are_in_the_ledger(
    site, run_virtually, tmp_path, log, monkeypatch
):
    def careless(message: Message) -> tuple[Message, Message]:
        return message, type(message)()

    monkeypatch.setattr("ovirt_provision.operations.dispatcher.split_secrets", careless)
    verb, path = PLACES[0]

    async def scenario() -> set[str]:
        async with site() as s:
            return await look_everywhere(s, tmp_path / "state", log, [], verb, path, "success")

    assert any("ledger.sqlite" in place for place in run_virtually(scenario()))


def test_without_redaction_a_secret_of_the_configuration_is_in_the_log(log, monkeypatch):
    logs.register_secret(CANARY)
    try:
        logging.getLogger("ovirt_provision").error("the engine says: %s", CANARY)
        assert CANARY not in log.getvalue()
        monkeypatch.setattr(logs, "redact", lambda text: text)
        logging.getLogger("ovirt_provision").error("the engine says: %s", CANARY)
        assert CANARY in log.getvalue()
    finally:
        logs.forget_secret(CANARY)


@pytest.mark.parametrize(
    ("verb", "path"), REFUSABLE, ids=lambda part: part if isinstance(part, str) else ".".join(part)
)
def test_a_secret_that_is_refused_is_not_told(site, run_virtually, tmp_path, log, verb, path):
    async def scenario() -> set[str]:
        async with site() as s:
            await make_web(s, path)
            request = VERBS[verb].request_type(**FIELDS[verb])
            plant(request, path)
            fields = {field.name: value for field, value in request.ListFields()}
            message = request
            for parent in path[:-1]:
                message = getattr(message, parent)
            setattr(message, path[-1], BAD[path[-1]])
            with pytest.raises(ProvisionError) as refused:
                await s.call(verb, **fields)
            told = {"the error": repr(refused.value.report()), "the log": log.getvalue()}
            return found_in(tmp_path / "state", told, CANARY)

    assert run_virtually(scenario()) == set()
