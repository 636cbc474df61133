"""Secrets survive a restart of the daemon, and nobody else reads them."""

import stat
import uuid

import pytest
from google.protobuf import descriptor_pb2, message_factory

from ovirt_provision import paths
from ovirt_provision.errors import SecretsLost
from ovirt_provision.ledger.secrets import (
    SecretKeyInvalid,
    SecretStore,
    merge_secrets,
    secret_key,
    split_secrets,
)
from ovirt_provision.v1 import machines_pb2

KEY = bytes(range(32))
CANARY = b"canary-2ad0"


@pytest.fixture
def operation_id():
    return str(uuid.uuid4())


@pytest.fixture
def store(tmp_path):
    return SecretStore(tmp_path / "secrets", lambda: KEY)


def test_secrets_survive_a_restart_and_are_not_readable_on_disk(tmp_path, store, operation_id):
    store.seal(operation_id, CANARY)
    (file,) = (tmp_path / "secrets").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert CANARY not in file.read_bytes()
    assert SecretStore(tmp_path / "secrets", lambda: KEY).open(operation_id) == CANARY


def test_the_same_secrets_never_look_the_same(tmp_path, store):
    store.seal(str(uuid.uuid4()), CANARY)
    store.seal(str(uuid.uuid4()), CANARY)
    first, second = (file.read_bytes() for file in (tmp_path / "secrets").iterdir())
    assert first[13:] != second[13:]


def test_sealing_again_replaces(store, operation_id):
    store.seal(operation_id, b"old")
    store.seal(operation_id, CANARY)
    assert store.open(operation_id) == CANARY


def test_removed_secrets_are_gone(tmp_path, store, operation_id):
    store.seal(operation_id, CANARY)
    assert store.operations() == {operation_id}
    store.remove(operation_id)
    store.remove(operation_id)
    assert list((tmp_path / "secrets").iterdir()) == []
    assert store.operations() == set()
    with pytest.raises(SecretsLost, match="is gone"):
        store.open(operation_id)


def test_a_lost_key_is_said(tmp_path, store, operation_id):
    store.seal(operation_id, CANARY)
    with pytest.raises(SecretsLost, match="the key that sealed it is gone"):
        SecretStore(tmp_path / "secrets", lambda: KEY[::-1]).open(operation_id)


def test_secrets_of_one_operation_do_not_pass_for_those_of_another(tmp_path, store, operation_id):
    store.seal(operation_id, CANARY)
    other = str(uuid.uuid4())
    (tmp_path / "secrets" / operation_id).rename(tmp_path / "secrets" / other)
    with pytest.raises(SecretsLost):
        store.open(other)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\x02" + bytes(40), b"\x01" + bytes(12), b"\x01" + bytes(40)]
)
def test_a_damaged_file_is_said(tmp_path, store, operation_id, content):
    (tmp_path / "secrets" / operation_id).write_bytes(content)
    with pytest.raises(SecretsLost, match="damaged"):
        store.open(operation_id)


def test_what_a_crash_left_half_written_is_cleared(tmp_path, store, operation_id):
    left = tmp_path / "secrets" / f".{operation_id}.new"
    left.write_bytes(b"half")
    assert store.operations() == set()
    SecretStore(tmp_path / "secrets", lambda: KEY)
    assert not left.exists()


def test_only_an_operation_id_names_a_file(store):
    with pytest.raises(ValueError, match="UUID"):
        store.seal("../escape", CANARY)


def test_without_a_place_for_a_key_nothing_touches_the_disk(tmp_path, operation_id):
    store = SecretStore(tmp_path / "secrets", lambda: secret_key({"HOME": str(tmp_path)}))
    store.seal(operation_id, CANARY)
    assert store.open(operation_id) == CANARY
    assert store.operations() == {operation_id}
    assert list((tmp_path / "secrets").iterdir()) == []
    with pytest.raises(SecretsLost, match="memory only"):
        SecretStore(tmp_path / "secrets", lambda: None).open(operation_id)
    store.remove(operation_id)
    with pytest.raises(SecretsLost):
        store.open(operation_id)


def test_the_key_of_the_session_is_made_once_and_private(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "CREDENTIALS_DIRECTORY": str(tmp_path / "none")}
    key = secret_key(environ)
    assert key is not None
    assert len(key) == 32
    assert secret_key(environ) == key
    file = tmp_path / "ovirt-provision" / "secret-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    with pytest.raises(paths.PathUnsafe, match="mode 0640"):
        secret_key(environ)


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n"])
def test_the_key_of_systemd_comes_first(tmp_path, content):
    (tmp_path / "ovirt-provision-key").write_bytes(content)
    assert secret_key({"XDG_RUNTIME_DIR": str(tmp_path), "CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY
    assert not (tmp_path / "ovirt-provision").exists()


def test_a_key_of_the_wrong_size_is_refused_without_showing_it(tmp_path):
    (tmp_path / "ovirt-provision-key").write_bytes(b"canary-key")
    with pytest.raises(SecretKeyInvalid, match="10 bytes") as refused:
        secret_key({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "canary" not in str(refused.value)
    assert "openssl rand -hex 32" in refused.value.what_to_do


def test_a_request_is_split_and_merged():
    request = machines_pb2.CreateMachineRequest(
        key="k", start_with={"user_name": "u", "user_data": CANARY.decode()}
    )
    before = request.SerializeToString()
    public, hidden = split_secrets(request)

    assert request.SerializeToString() == before
    assert CANARY not in public.SerializeToString()
    assert public.start_with.user_name == "u"
    assert hidden == machines_pb2.CreateMachineRequest(start_with={"user_data": CANARY.decode()})
    assert merge_secrets(public, hidden) == request


def test_a_request_without_secrets_has_nothing_to_hide():
    request = machines_pb2.CreateMachineRequest(key="k", start_with={"user_name": "u"})
    public, hidden = split_secrets(request)
    assert public == request
    assert hidden.ByteSize() == 0
    assert merge_secrets(public, hidden) == request


def test_secrets_are_found_wherever_a_schema_can_put_them():
    message = vault_type()(
        name="public",
        secret="s1",
        secrets=["s2", "s3"],
        inner={"name": "public", "secret": "s4"},
        inners=[{"name": "public"}, {"secret": "s5"}, {"name": "public"}],
        by_name={"a": {"name": "public", "secret": "s6"}, "b": {"name": "public"}},
        whole={"name": "s7"},
        counts={"public": 1},
        choice="s8",
    )
    public, hidden = split_secrets(message)

    text = str(public)
    assert not any(f"s{number}" in text for number in range(1, 9))
    assert text.count("public") == 7
    assert "public" not in str(hidden)
    assert merge_secrets(public, hidden) == message
    assert type(message).FromString(hidden.SerializeToString()) == hidden


def vault_type():
    """A message type with a secret in every kind of field."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{uuid.uuid4()}.proto", package="vault", syntax="proto3")
    string, message, integer, single, many = 9, 11, 5, 1, 3

    def add(owner, name, number, kind, label=single, type_name=None, secret=False, **more):
        field = owner.field.add(name=name, number=number, type=kind, label=label, type_name=type_name, **more)
        field.options.debug_redact = secret

    inner = file.message_type.add(name="Inner")
    add(inner, "name", 1, string)
    add(inner, "secret", 2, string, secret=True)
    vault = file.message_type.add(name="Vault")
    vault.oneof_decl.add(name="either")
    add(vault, "name", 1, string)
    add(vault, "secret", 2, string, secret=True)
    add(vault, "secrets", 3, string, many, secret=True)
    add(vault, "inner", 4, message, type_name=".vault.Inner")
    add(vault, "inners", 5, message, many, ".vault.Inner")
    for name, kind, type_name in (("ByName", message, ".vault.Inner"), ("Counts", integer, None)):
        entry = vault.nested_type.add(name=f"{name}Entry")
        entry.options.map_entry = True
        add(entry, "key", 1, string)
        add(entry, "value", 2, kind, type_name=type_name)
    add(vault, "by_name", 6, message, many, ".vault.Vault.ByNameEntry")
    add(vault, "whole", 7, message, type_name=".vault.Inner", secret=True)
    add(vault, "counts", 8, message, many, ".vault.Vault.CountsEntry")
    add(vault, "choice", 9, string, secret=True, oneof_index=0)
    return message_factory.GetMessages([file])["vault.Vault"]
