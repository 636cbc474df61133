"""The cloud-config that the engine appends to its own, merged from a user's and from the typed fields.

The engine writes a YAML mapping and appends our text to it as it is (behaviour.md, "The config drive that the
engine makes"); cloud-init reads both as one mapping, in which the last of two equal keys holds. So a key that
the engine writes, too, is repeated only where its value has to be another one, and then holds the engine's
own entries as well. Every other key is there once.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from ovirt_provision.errors import Violation
from ovirt_provision.v1 import resources_pb2

ENGINE_COMMAND = (
    "sed -i '/^datasource_list: /d' /etc/cloud/cloud.cfg; "
    'echo \'datasource_list: ["NoCloud", "ConfigDrive"]\' >> /etc/cloud/cloud.cfg'
)
"""What the engine has the guest run, so that it asks no metadata server at its next boot (`CloudInitHandler`
in its source)."""

SCRIPT = "/var/lib/cloud/instance/user-script"
"""Where a script lies in the guest: beside those that cloud-init itself runs from there."""

LONGEST = 512 << 10
"""Bytes that are given to the engine at most. It has no limit of its own for them, but they travel in the
VM's domain XML, encoded in base64, where 4 MiB are the end."""

_MOST_MERGED = 10_000
# Only these are named in errors: anything else may be a secret that has come into a wrong place.
_NAMED = (
    "apt",
    "bootcmd",
    "chpasswd",
    "disable_root",
    "fqdn",
    "groups",
    "hostname",
    "locale",
    "mounts",
    "ntp",
    "output",
    "packages",
    "password",
    "runcmd",
    "ssh_authorized_keys",
    "ssh_pwauth",
    "timezone",
    "user",
    "users",
    "write_files",
)
# Kinds of user data that cannot be appended to a mapping, by how they begin, with what to do instead.
_REFUSED = {
    "content-type:": ("multi-part", "put its scripts under `runcmd:` and its files under `write_files:`"),
    "mime-version:": ("multi-part", "put its scripts under `runcmd:` and its files under `write_files:`"),
    "#include": ("a list of URLs", "give what they hold"),
    "#cloud-boothook": ("a boothook", "put its commands under `bootcmd:`"),
    "#cloud-config-archive": ("an archive of several parts", "put them into one mapping"),
    "#cloud-config-jsonp": ("a JSON patch", "give the keys themselves"),
    "#part-handler": ("a part handler", "write it to a file by `write_files:`"),
    "#upstart-job": ("an upstart job", "write it to a file by `write_files:`"),
    "## template:": ("a template", "give it with its variables filled in"),
    "#ps1": ("a PowerShell script", "use the field `sysprep` for Windows"),
    "<": ("XML or PowerShell", "use the field `sysprep` for Windows"),
    "{": ("JSON", "use the field `ignition` for an Ignition configuration"),
    "i2nsb3vklwnvbmzpz": ("in base64", "give it as it is"),
    "iyev": ("in base64", "give it as it is"),
}
_TOO_DEEP = "is nested too deeply"
# What PyYAML raises for a scalar that is not what it looks like or what its tag says.
_BAD_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_LISTS = ("bootcmd", "runcmd", "ssh_authorized_keys", "users", "write_files")


@dataclass
class CloudConfig:
    """What the engine is given for cloud-init. What it is to write itself is empty where ours has it."""

    text: str = ""
    user_name: str = ""
    time_zone: str = ""


def merge(initialization: resources_pb2.Initialization, field: str, wrong: list[Violation]) -> CloudConfig:
    """Merges the user data of `initialization`, at `field` in the request, with its other fields.

    Adds to `wrong` what is wrong with them. No value of the user data is in it.
    """
    config = _read(initialization.user_data, f"{field}.user_data", wrong)
    try:
        return _Merging(initialization, field, config, wrong).result()
    except RecursionError:
        # What can just be read may be too deep to be written.
        wrong.append(Violation(f"{field}.user_data", _TOO_DEEP))
        return CloudConfig()


def _read(user_data: str, field: str, wrong: list[Violation]) -> dict[str, Any]:
    """The mapping that user data means; empty where it is wrong."""
    start = user_data.lstrip("\ufeff \t\r\n")
    if start.startswith("#!"):
        return _wrapped(start, field, wrong)
    for begin, (kind, instead) in _REFUSED.items():
        if start.lower().startswith(begin):
            wrong.append(Violation(field, f"is {kind}, which the engine's drive cannot carry: {instead}"))
            return {}
    try:
        config = yaml.load(user_data, _Loader)  # noqa: S506 # a SafeLoader
    except yaml.reader.ReaderError as error:
        lines = user_data[: error.position].split("\n")
        wrong.append(_not_yaml(field, len(lines), len(lines[-1]) + 1, "a character that YAML does not allow"))
        return {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or ""
        wrong.append(
            _not_yaml(
                field,
                mark.line + 1 if mark else 1,
                mark.column + 1 if mark else 1,
                # In quotes is what the text has there.
                "" if "'" in problem or '"' in problem else problem,
            )
        )
        return {}
    except RecursionError:
        wrong.append(Violation(field, _TOO_DEEP))
        return {}
    except _BAD_VALUE:
        wrong.append(
            Violation(field, "is not YAML: it has a value that is none, such as a date without a day")
        )
        return {}
    if config is None:
        return {}
    if not isinstance(config, dict):
        wrong.append(
            Violation(
                field,
                "is no cloud-config: it must be a YAML mapping with keys such as `write_files:` and "
                "`runcmd:`, or a script that begins with `#!`",
            )
        )
        return {}
    return config


def _not_yaml(field: str, line: int, column: int, problem: str) -> Violation:
    return Violation(
        field, f"cannot be read as YAML: line {line}, column {column}" + (f": {problem}" if problem else "")
    )


def _wrapped(script: str, field: str, wrong: list[Violation]) -> dict[str, Any]:
    """A cloud-config that runs a script once, at the end of the first boot, as user data that is one runs."""
    if script.split("\n", 1)[0].endswith("\r"):
        wrong.append(
            Violation(field, "is a script with Windows line ends, for which the guest finds no interpreter")
        )
    file = {
        "path": SCRIPT,
        "permissions": "0700",
        "encoding": "b64",
        "content": base64.b64encode(script.encode()).decode(),
    }
    return {"write_files": [file], "runcmd": [[SCRIPT]]}


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, and mappings that grow without end by merging others."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                name = f"`{key.value}`" if key.value in _NAMED else "a key"
                raise yaml.constructor.ConstructorError(None, None, f"{name} is there twice", key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > _MOST_MERGED:
            raise yaml.constructor.ConstructorError(None, None, "too many keys are merged", node.start_mark)


class _Merging:
    """One merge: `config` becomes the result, step by step."""

    def __init__(
        self,
        initialization: resources_pb2.Initialization,
        field: str,
        config: dict[str, Any],
        wrong: list[Violation],
    ) -> None:
        self._initialization = initialization
        self._field = field
        self._config = config
        self._wrong = wrong
        self._result = CloudConfig(user_name=initialization.user_name, time_zone=initialization.time_zone)

    def result(self) -> CloudConfig:
        for name in _LISTS:
            self._check_list(name)
        if "network" in self._config:
            self._refuse(
                "user_data", "has `network:`, which cloud-init does not read there: use nic_configurations"
            )
        self._host_name()
        self._time_zone()
        self._resolver()
        self._user()
        self._passwords()
        self._files()
        if self._config.get("runcmd"):
            self._config["runcmd"] = [ENGINE_COMMAND, *self._config["runcmd"]]
        if self._config:
            self._result.text = yaml.safe_dump(self._config, sort_keys=False, width=1 << 20)
        if len(self._result.text) > LONGEST:
            self._refuse(
                "user_data",
                f"makes {len(self._result.text)} bytes with the files and as YAML; at most {LONGEST}",
            )
        return self._result

    def _refuse(self, name: str, description: str) -> None:
        self._wrong.append(Violation(f"{self._field}.{name}", description))

    def _conflict(self, name: str, key: str) -> None:
        self._refuse(
            name, f"is given, and `{key}:` in the user data says something else; give one of the two"
        )

    def _check_list(self, name: str) -> None:
        value = self._config.get(name)
        if name in self._config and value is None:
            del self._config[name]
        elif value is not None and not isinstance(value, list):
            self._refuse("user_data", f"must have a list under `{name}:`")
            del self._config[name]

    def _host_name(self) -> None:
        wanted = self._initialization.host_name
        if not wanted:
            return
        for key in ("hostname", "fqdn"):
            given = self._config.get(key)
            if given is not None and str(given).split(".")[0].lower() != wanted.lower():
                self._conflict("host_name", key)
        if self._config.get("preserve_hostname"):
            self._conflict("host_name", "preserve_hostname")

    def _time_zone(self) -> None:
        wanted = self._initialization.time_zone
        if wanted and self._config.pop("timezone", wanted) != wanted:
            self._conflict("time_zone", "timezone")

    def _resolver(self) -> None:
        for name in ("dns_servers", "dns_search_domains"):
            if getattr(self._initialization, name) and "resolv_conf" in self._config:
                self._conflict(name, "resolv_conf")

    def _user(self) -> None:
        """Sees to it that the account is made and gets the keys, whatever accounts the user data makes."""
        name = self._initialization.user_name
        user = self._config.get("user")
        if isinstance(user, dict) and name:
            if user.setdefault("name", name) != name:
                self._conflict("user_name", "user")
            self._result.user_name = ""
        elif user is not None and name:
            del self._config["user"]
            if user != name:
                self._conflict("user_name", "user")
        users = self._config.get("users")
        keys = list(self._initialization.authorized_ssh_keys)
        if not users or not (name or keys) or "default" in users:
            return
        own = [one for one in users if name and name in (one, isinstance(one, dict) and one.get("name"))]
        if not own:
            self._config["users"] = ["default", *users]
            return
        # The account is not the default one then, to which alone cloud-init gives the keys of the meta-data.
        self._result.user_name = ""
        self._config["users"] = [
            _with_keys(one if isinstance(one, dict) else {"name": one}, keys) if one in own else one
            for one in users
        ]

    def _passwords(self) -> None:
        chpasswd = self._config.get("chpasswd")
        if isinstance(chpasswd, dict):
            chpasswd.setdefault("expire", False)
        given = self._config.get("ssh_pwauth")
        if not self._initialization.HasField("ssh_password_authentication"):
            self._config["ssh_pwauth"] = False if given is None else given
            return
        wanted = self._initialization.ssh_password_authentication
        if given is not None and given != wanted:
            self._conflict("ssh_password_authentication", "ssh_pwauth")
        self._config["ssh_pwauth"] = wanted

    def _files(self) -> None:
        paths = [
            entry.get("path") for entry in self._config.get("write_files", []) if isinstance(entry, dict)
        ]
        for number, file in enumerate(self._initialization.files):
            if file.path in paths:
                self._refuse(f"files[{number}].path", "is written by another file, too")
            paths.append(file.path)
            entry = {"path": file.path, "encoding": "b64", "content": base64.b64encode(file.content).decode()}
            entry |= {
                key: value
                for key, value in (("permissions", file.permissions), ("owner", file.owner))
                if value
            }
            self._config.setdefault("write_files", []).append(entry)


def _with_keys(user: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    present = user.get("ssh_authorized_keys") or []
    present = present if isinstance(present, list) else [present]
    added = [key for key in keys if key not in present]
    return {**user, "ssh_authorized_keys": [*present, *added]} if added else user
