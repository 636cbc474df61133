"""What recovery needs of an operation's secrets: one sealed file each, under a key that lies elsewhere."""

import os
import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ovirt_provision import paths
from ovirt_provision.errors import Code, ProvisionError, SecretsLost
from ovirt_provision.ledger.database import unwritable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
CREDENTIAL = "ovirt-provision-key"
_NONCE_BYTES = 12
# A shorter line, such as `packages:`, is not a secret but a word that others use.
_TELLING_LINE = 12
_VERSION = b"\x01"

AnyMessage = TypeVar("AnyMessage", bound=Message)


class SecretKeyInvalid(ProvisionError):
    """The key file that the secrets are to be sealed with is no 256-bit key."""

    code = Code.FAILED_PRECONDITION
    reason = "SECRET_KEY_INVALID"
    message = "{file} must hold a key of 32 bytes, raw or as 64 hexadecimal digits; it holds {size} bytes"
    advice = "Make one with: openssl rand -hex 32"


def secret_key(environ: Mapping[str, str] | None = None) -> bytes | None:
    """The 256-bit key of this daemon; never in the state folder.

    `$CREDENTIALS_DIRECTORY/ovirt-provision-key` (systemd's LoadCredential=), which outlives a reboot; else
    `$XDG_RUNTIME_DIR/ovirt-provision/secret-key`, made when absent, which outlives the daemon; else None.
    Raises SecretKeyInvalid and paths.PathUnsafe.
    """
    variables = os.environ if environ is None else environ
    credentials = variables.get("CREDENTIALS_DIRECTORY", "")
    if credentials and (Path(credentials) / CREDENTIAL).exists():
        return _read_key(Path(credentials) / CREDENTIAL)
    folder = paths.runtime_folder(variables)
    if folder is None:
        return None
    file = paths.private_folder(folder) / "secret-key"
    if not file.exists():
        paths.write_private(file, secrets.token_bytes(KEY_BYTES))
    paths.check_private(file)
    return _read_key(file)


class SecretStore:
    """Seals the secrets of operations with AES-GCM, one 0600 file each in `folder`.

    Without a key they stay in memory, and a restart loses them.
    """

    def __init__(self, folder: Path, key_source: Callable[[], bytes | None] = secret_key) -> None:
        """Raises what `key_source` raises, and paths.PathUnsafe when others may enter `folder`."""
        self._folder = paths.private_folder(folder)
        for unfinished in self._folder.glob(f".*{paths.NEW}"):
            unfinished.unlink()
        self._key = key_source()
        self._memory: dict[str, bytes] = {}

    def seal(self, operation_id: str, data: bytes) -> None:
        """Keeps the secrets of the operation, in place of those it had; on disk when this returns.

        Raises LedgerError when they cannot be written.
        """
        file = self._file(operation_id)
        if self._key is None:
            self._memory[file.name] = data
            return
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = _VERSION + nonce + _cipher(self._key).encrypt(nonce, data, file.name.encode())
        try:
            paths.write_private(file, sealed)
        except OSError as error:
            raise unwritable(file, error) from None

    def open(self, operation_id: str) -> bytes:
        """The secrets of the operation. Raises SecretsLost, saying why, when there are none to be had."""
        # Imported late: it takes 8 MB, and many daemons never see a secret.
        from cryptography.exceptions import InvalidTag

        file = self._file(operation_id)
        if self._key is None:
            if file.name not in self._memory:
                raise SecretsLost(detail="they were kept in memory only, since there is no place for a key")
            return self._memory[file.name]
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise SecretsLost(detail=f"{file} is gone") from None
        except OSError as error:
            raise SecretsLost(detail=f"{file} cannot be read: {error.strerror}") from None
        nonce, sealed = content[1 : 1 + _NONCE_BYTES], content[1 + _NONCE_BYTES :]
        if not content.startswith(_VERSION) or len(nonce) != _NONCE_BYTES:
            raise SecretsLost(detail=f"{file} is damaged")
        try:
            return _cipher(self._key).decrypt(nonce, sealed, file.name.encode())
        except InvalidTag:
            raise SecretsLost(
                detail=f"{file} is damaged, or the key that sealed it is gone (as it is after a reboot)"
            ) from None

    def remove(self, operation_id: str) -> None:
        """Forgets the secrets of the operation; having none is fine."""
        file = self._file(operation_id)
        self._memory.pop(file.name, None)
        if file.exists():
            file.unlink()
            paths.sync_folder(self._folder)

    def operations(self) -> set[str]:
        """Ids of the operations whose secrets are kept, for removing those of operations that have ended."""
        names = {file.name for file in self._folder.iterdir()} | set(self._memory)
        return {name for name in names if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)}

    def _file(self, operation_id: str) -> Path:
        # Only a UUID becomes a file name, in one spelling.
        return self._folder / str(uuid.UUID(operation_id))


def split_secrets(message: AnyMessage) -> tuple[AnyMessage, AnyMessage]:
    """Two new messages: one without the fields marked `debug_redact` at any depth, and one with only those.

    Together they are whole again by `merge_secrets`.
    """
    public, hidden = type(message)(), type(message)()
    public.CopyFrom(message)
    _move_secrets(public, hidden)
    return public, hidden


def merge_secrets(public: AnyMessage, hidden: AnyMessage) -> AnyMessage:
    """A new message: `public` with the secret fields of `hidden`, the two that `split_secrets` returned."""
    whole = type(public)()
    whole.CopyFrom(public)
    _copy_secrets(hidden, whole)
    return whole


def texts_of(hidden: Message) -> Iterator[str]:
    """Every text in the secret half that `split_secrets` returned, and each line of a longer one.

    A user's cloud-config reaches the engine merged with other lines.
    """
    for field, value in hidden.ListFields():
        values = value.values() if _is_map(field) else value if field.is_repeated else [value]
        for item in values:
            if isinstance(item, Message):
                yield from texts_of(item)
                continue
            text = item.decode(errors="replace") if isinstance(item, bytes) else str(item)
            yield text
            yield from (line for line in map(str.strip, text.splitlines()[1:]) if len(line) >= _TELLING_LINE)


def _move_secrets(source: Message, target: Message) -> bool:
    moved = False
    for field, value in source.ListFields():
        if field.GetOptions().debug_redact:
            _copy_field(field, value, target)
            source.ClearField(field.name)
            moved = True
        elif field.message_type is None:
            continue
        elif _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    part = type(value[key])()
                    if _move_secrets(value[key], part):
                        getattr(target, field.name)[key].CopyFrom(part)
                        moved = True
        elif field.is_repeated:
            # Every item gets its counterpart, so that the indexes agree.
            parts = [type(item)() for item in value]
            moves = [_move_secrets(item, part) for item, part in zip(value, parts, strict=True)]
            if any(moves):
                getattr(target, field.name).extend(parts)
                moved = True
        else:
            part = type(value)()
            if _move_secrets(value, part):
                getattr(target, field.name).CopyFrom(part)
                moved = True
    return moved


def _copy_secrets(source: Message, target: Message) -> None:
    for field, value in source.ListFields():
        if field.GetOptions().debug_redact:
            _copy_field(field, value, target)
        elif _is_map(field):
            for key in value:
                _copy_secrets(value[key], getattr(target, field.name)[key])
        elif field.is_repeated:
            for item, counterpart in zip(value, getattr(target, field.name), strict=True):
                _copy_secrets(item, counterpart)
        else:
            _copy_secrets(value, getattr(target, field.name))


def _copy_field(field: FieldDescriptor, value: Any, target: Message) -> None:
    if field.is_repeated:
        getattr(target, field.name).MergeFrom(value)
    elif field.message_type is not None:
        getattr(target, field.name).CopyFrom(value)
    else:
        setattr(target, field.name, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _read_key(file: Path) -> bytes:
    content = file.read_bytes()
    if len(content) == KEY_BYTES:
        return content
    if re.fullmatch(rb"[0-9A-Fa-f]{64}\s*", content):
        return bytes.fromhex(content.decode().strip())
    raise SecretKeyInvalid(file=file, size=len(content))
