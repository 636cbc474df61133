"""Ignition configurations, with the account, its keys and the host name put into them.

The engine passes a configuration on as it is, unless it is to add something itself, which it does in the
manner of spec 2 alone, and fails without a password (`IgnitionHandler` in its source): so it is told nothing
else.
"""

import json
import re
from typing import Any

from ovirt_provision.errors import Violation
from ovirt_provision.v1 import resources_pb2

_VERSION = re.compile(r"[23]\.\d+\.\d+(-\w+)?")
_HOST_NAME_FILE = "/etc/hostname"
_DEFAULT_USER = "core"
# Whose members may use sudo without a password, on every system that has Ignition.
_ADMINISTRATORS = "sudo"


class _Twice(ValueError):
    """A key is there twice in one object."""


class _Shape(Exception):
    """Something is not of the type that Ignition has there."""


def complete(initialization: resources_pb2.Initialization, field: str, wrong: list[Violation]) -> str:
    """The configuration of `initialization`, at `field` in the request, as JSON with its other fields in it.

    Adds to `wrong` what is wrong; no value of the configuration is in that.
    """
    path = f"{field}.ignition"
    try:
        config = json.loads(initialization.ignition, object_pairs_hook=_once, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        wrong.append(Violation(path, f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"))
        return ""
    except _Twice:
        wrong.append(Violation(path, "has a key twice in one object"))
        return ""
    except (RecursionError, ValueError):
        wrong.append(Violation(path, "is not JSON: nested too deeply, or with a number that is none"))
        return ""
    head = config.get("ignition") if isinstance(config, dict) else None
    version = head.get("version") if isinstance(head, dict) else None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        wrong.append(
            Violation(path, 'is no Ignition configuration: it needs {"ignition": {"version": "3.…"}} or 2.…')
        )
        return ""
    try:
        _add_user(config, initialization)
        _add_host_name(config, initialization, version, f"{field}.host_name", wrong)
    except _Shape as error:
        wrong.append(Violation(path, f"must have {error} as Ignition has it"))
        return ""
    return json.dumps(config, separators=(",", ":"))


def _refuse(_constant: str) -> None:
    raise ValueError


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _list_at(config: dict[str, Any], section: str, name: str) -> list[dict[str, Any]]:
    """The list `section.name`, made where it is missing."""
    part = config.setdefault(section, {})
    entries = part.setdefault(name, []) if isinstance(part, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _Shape(f"{section}.{name}")
    return entries


def _add_user(config: dict[str, Any], initialization: resources_pb2.Initialization) -> None:
    keys = list(initialization.authorized_ssh_keys)
    name = initialization.user_name or (_DEFAULT_USER if keys else "")
    if not name:
        return
    users = _list_at(config, "passwd", "users")
    user = next((entry for entry in users if entry.get("name") == name), None)
    if user is None:
        user = {"name": name}
        if name != _DEFAULT_USER:
            user["groups"] = [_ADMINISTRATORS]
        users.append(user)
    present = user.setdefault("sshAuthorizedKeys", [])
    if not isinstance(present, list):
        raise _Shape("a list of keys in passwd.users")
    present += [key for key in keys if key not in present]


def _add_host_name(
    config: dict[str, Any],
    initialization: resources_pb2.Initialization,
    version: str,
    field: str,
    wrong: list[Violation],
) -> None:
    name = initialization.host_name
    if not name:
        return
    files = _list_at(config, "storage", "files")
    if any(entry.get("path") == _HOST_NAME_FILE for entry in files):
        wrong.append(
            Violation(field, f"is given, and the Ignition configuration writes {_HOST_NAME_FILE}, too")
        )
        return
    file = {"path": _HOST_NAME_FILE, "mode": 0o644, "contents": {"source": f"data:,{name}"}}
    files.append(file | ({"filesystem": "root"} if version.startswith("2") else {"overwrite": True}))
