"""Inside a guest: applies the config drive (label `config-2`) that the engine attached to this start.

A small stand-in for cloud-init, in its order and with its defaults, for what the engine writes
(`CloudInitHandler` and `VmInitToOpenStackMetadataAdapter` in its source) and what people add as custom
script. It runs on the guest's own Python with PyYAML, so it imports nothing from this project, and modules
that few drives need only where they are needed: under software emulation each costs a tenth of a second.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

DRIVE = Path("/run/config-drive")
DEFAULT_USER = "debian"  # whom cloud-init makes on Debian when the drive names nobody
IGNORED = {
    "chpasswd",
    "disable_root",
    "output",
    "ssh_deletekeys",
    "fqdn",
    "hostname",
    "password",
    "ssh_authorized_keys",
}


class Guest:
    """The system that is changed: its file tree, and a way to run commands in it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def run(self, *command: str, text: str | None = None) -> None:
        subprocess.run(command, input=text, text=True, check=True, stdin=None if text else subprocess.DEVNULL)

    def exists(self, user: str) -> bool:
        return self._passwd(user) is not None

    def home(self, user: str) -> str:
        entry = self._passwd(user)
        return entry[5] if entry else f"/home/{user}"

    def own(self, path: Path, user: str, group: str | None = None) -> None:
        import shutil

        shutil.chown(path, user, group or user)

    def _passwd(self, user: str) -> list[str] | None:
        for line in self.path("/etc/passwd").read_text().splitlines():
            entry = line.split(":")
            if entry[0] == user:
                return entry
        return None


def main() -> None:
    """Applies the drive; what fails is told on the console and in the log, and the rest is still applied."""
    apply(DRIVE, Guest(), _log)


def apply(drive: Path, guest: Guest, log: Callable[[str], None]) -> None:
    """Applies the drive that is mounted at `drive` to `guest`, once per instance (the drive's uuid)."""
    meta = _read_meta(drive)
    config = _read_config(drive, log)
    instance = guest.path("/var/lib/ovirt-guest/instance")
    uuid = str(meta.get("uuid", ""))
    seen = instance / "uuid"
    if seen.is_file() and seen.read_text().strip() == uuid:
        return
    instance.mkdir(parents=True, mode=0o700, exist_ok=True)
    for leftover in instance.iterdir():
        leftover.unlink()

    default = _default_user(config)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("write_files", lambda: _write_files(guest, config, deferred=False)),
        ("hostname", lambda: _set_hostname(guest, meta, config)),
        ("timezone", lambda: _set_time_zone(guest, config)),
        ("network", lambda: _set_network(guest, drive, meta)),
        ("files", lambda: _write_personality(guest, drive, meta)),
        ("ssh", lambda: _set_ssh(guest, config)),
        ("host keys", lambda: _forget_host_keys(guest, config)),
        ("users", lambda: _make_users(guest, config, default)),
        ("keys", lambda: _authorize(guest, meta, config, default)),
        ("passwords", lambda: _set_passwords(guest, config, default)),
        ("write_files deferred", lambda: _write_files(guest, config, deferred=True)),
        ("runcmd", lambda: _write_runcmd(instance, config)),
    ]
    for name, step in steps:
        try:
            step()
        except Exception:  # one broken part must not cost the login that the others give
            import traceback

            log(f"{name} failed:\n{traceback.format_exc()}")
    known = {"user", "users", "write_files", "runcmd", "ssh_pwauth", "timezone"} | IGNORED
    for key in sorted(set(config) - known):
        log(f"ignored: {key}")
    seen.write_text(uuid + "\n")


def interfaces_file(network_data: Mapping[str, Any]) -> str:
    """The stanzas of /etc/network/interfaces for OpenStack's network_data.json; empty without networks."""
    links = {link["id"]: link.get("name", link["id"]) for link in network_data.get("links") or []}
    stanzas: list[str] = []
    for network in network_data.get("networks") or []:
        name = links.get(network["link"], network["link"])
        kind = network["type"]
        family = "inet6" if kind.startswith("ipv6") else "inet"
        method = "dhcp" if kind.endswith("_dhcp") else "static"
        lines = [f"iface {name} {family} {method}"]
        for ours, theirs in (("address", "ip_address"), ("netmask", "netmask"), ("gateway", "gateway")):
            if method == "static" and network.get(theirs):
                lines.append(f"    {ours} {network[theirs]}")
        if network.get("dns_nameservers"):
            lines.append("    dns-nameservers " + " ".join(network["dns_nameservers"]))
        if network.get("dns_search"):
            lines.append("    dns-search " + " ".join(network["dns_search"]))
        stanzas.append(f"auto {name}\n" + "\n".join(lines) + "\n")
    return "\n".join(stanzas)


def _read_meta(drive: Path) -> dict[str, Any]:
    meta = json.loads((drive / "openstack/latest/meta_data.json").read_text())
    return meta if isinstance(meta, dict) else {}


def _read_config(drive: Path, log: Callable[[str], None]) -> dict[str, Any]:
    path = drive / "openstack/latest/user_data"
    text = path.read_text() if path.is_file() else ""
    if not text.startswith("#cloud-config"):
        if text.strip():
            log(f"user_data is ignored: it starts with {text.splitlines()[0]!r} and not with '#cloud-config'")
        return {}
    try:
        config = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        log(f"user_data is ignored: {error}")
        return {}
    return config if isinstance(config, dict) else {}


def _default_user(config: Mapping[str, Any]) -> dict[str, Any]:
    user = config.get("user") or {}
    if isinstance(user, str):
        user = {"name": user}
    return {"name": DEFAULT_USER, "sudo": "ALL=(ALL) NOPASSWD:ALL", **user}


def _users(config: Mapping[str, Any], default: dict[str, Any]) -> Iterator[dict[str, Any]]:
    users = config.get("users")
    if users is None:
        users = ["default"]
    for user in users if isinstance(users, list) else [users]:
        if user == "default":
            yield default
        elif isinstance(user, str):
            yield {"name": user}
        else:
            yield default | user if user.get("name") == default["name"] else user


def _make_users(guest: Guest, config: Mapping[str, Any], default: dict[str, Any]) -> None:
    for user in _users(config, default):
        name = user["name"]
        if not guest.exists(name):
            command = ["useradd", "--create-home", "--shell", user.get("shell", "/bin/bash")]
            for option, key in (
                ("--comment", "gecos"),
                ("--uid", "uid"),
                ("--home-dir", "homedir"),
                ("--gid", "primary_group"),
            ):
                if user.get(key) is not None:
                    command += [option, str(user[key])]
            groups = user.get("groups") or []
            if groups:
                command += [
                    "--groups",
                    groups.replace(" ", "") if isinstance(groups, str) else ",".join(groups),
                ]
            guest.run(*command, name)
        hashed = user.get("hashed_passwd") or user.get("passwd")
        if hashed:
            guest.run("chpasswd", "--encrypted", text=f"{name}:{hashed}\n")
        elif user.get("plain_text_passwd"):
            guest.run("chpasswd", text=f"{name}:{user['plain_text_passwd']}\n")
        rules = user.get("sudo") or []
        rules = [rules] if isinstance(rules, str) else rules
        if rules and name != "root":
            file = guest.path("/etc/sudoers.d/90-cloud-init-users")
            text = file.read_text() if file.is_file() else ""
            for rule in (f"{name} {rule}" for rule in rules):
                if rule not in text.splitlines():
                    text += rule + "\n"
            _write(file, text, 0o440)
        _add_keys(guest, name, user.get("ssh_authorized_keys") or [])


def _authorize(
    guest: Guest, meta: Mapping[str, Any], config: Mapping[str, Any], default: Mapping[str, Any]
) -> None:
    given = meta.get("public_keys") or []
    keys = list(given.values()) if isinstance(given, dict) else list(given)
    keys += config.get("ssh_authorized_keys") or []
    if any(user["name"] == default["name"] for user in _users(config, dict(default))):
        _add_keys(guest, default["name"], keys)
    # cloud-init gives root the same keys unless root is disabled; the engine always writes `disable_root: 0`.
    if not config.get("disable_root", True):
        _add_keys(guest, "root", keys)


def _add_keys(guest: Guest, user: str, keys: Sequence[str]) -> None:
    if not keys:
        return
    folder = guest.path(guest.home(user)) / ".ssh"
    file = folder / "authorized_keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = file.read_text().splitlines() if file.is_file() else []
    lines += [key.strip() for key in keys if key.strip() not in lines]
    _write(file, "\n".join(lines) + "\n", 0o600)
    guest.own(folder, user)
    guest.own(file, user)


def _set_passwords(guest: Guest, config: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    chpasswd = config.get("chpasswd") or {}
    pairs: list[tuple[str, str, bool]] = []
    if config.get("password"):
        pairs.append((default["name"], str(config["password"]), False))
    listed = chpasswd.get("list") or []
    for line in listed.splitlines() if isinstance(listed, str) else listed:
        user, _, password = line.strip().partition(":")
        if user:
            pairs.append((user, password, re.match(r"\$(1|2a|2y|5|6|y)\$", password) is not None))
    for user in chpasswd.get("users") or []:
        pairs.append((user["name"], str(user["password"]), user.get("type") != "text"))
    for name, password, hashed in pairs:
        guest.run("chpasswd", *(["--encrypted"] if hashed else []), text=f"{name}:{password}\n")
        if chpasswd.get("expire", True):
            guest.run("passwd", "--expire", name)


def _set_ssh(guest: Guest, config: Mapping[str, Any]) -> None:
    allowed = config.get("ssh_pwauth")
    if allowed is not None and allowed != "unchanged":
        answer = "yes" if str(allowed).lower() in ("true", "yes", "1", "on") else "no"
        file = guest.path("/etc/ssh/sshd_config.d/50-cloud-init.conf")
        _write(file, f"PasswordAuthentication {answer}\n", 0o600)


def _forget_host_keys(guest: Guest, config: Mapping[str, Any]) -> None:
    """A new instance gets keys of its own: the boot makes those that are missing."""
    if str(config.get("ssh_deletekeys", True)).lower() in ("true", "1", "yes", "on"):
        for key in guest.path("/etc/ssh").glob("ssh_host_*key*"):
            key.unlink()


def _set_hostname(guest: Guest, meta: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    full = str(config.get("fqdn") or config.get("hostname") or meta.get("hostname") or "")
    if not full:
        return
    short = str(config.get("hostname") or full).split(".")[0]
    _write(guest.path("/etc/hostname"), short + "\n")
    names = full if full == short else f"{full} {short}"
    hosts = guest.path("/etc/hosts")
    old = hosts.read_text().splitlines() if hosts.is_file() else ["127.0.0.1\tlocalhost"]
    lines = [line for line in old if line.split()[:1] != ["127.0.1.1"]]
    _write(hosts, "\n".join([*lines, f"127.0.1.1\t{names}"]) + "\n")


def _set_time_zone(guest: Guest, config: Mapping[str, Any]) -> None:
    name = config.get("timezone")
    if not name:
        return
    zone = Path("/usr/share/zoneinfo") / str(name)
    if not guest.path(str(zone)).is_file():
        raise ValueError(f"there is no time zone {name}")
    local = guest.path("/etc/localtime")
    local.unlink(missing_ok=True)
    local.symlink_to(zone)
    _write(guest.path("/etc/timezone"), f"{name}\n")


def _set_network(guest: Guest, drive: Path, meta: Mapping[str, Any]) -> None:
    """Writes /etc/network/interfaces; NICs that the drive does not name use DHCP, as without a drive."""
    network_data = drive / "openstack/latest/network_data.json"
    content = (meta.get("network_config") or {}).get("content_path")
    stanzas = ""
    if network_data.is_file():
        stanzas = interfaces_file(json.loads(network_data.read_text()))
    elif content:
        stanzas = (drive / "openstack" / content.lstrip("/")).read_text()
    if not stanzas:
        return
    named = set(re.findall(r"^\s*iface\s+(\S+)", stanzas, re.MULTILINE))
    blocks = [] if "lo" in named else ["auto lo\niface lo inet loopback\n"]
    blocks.append(stanzas)
    for nic in sorted(path.name for path in guest.path("/sys/class/net").glob("eth*")):
        if nic not in named:
            blocks.append(f"auto {nic}\niface {nic} inet dhcp\n")
    _write(guest.path("/etc/network/interfaces"), "\n".join(blocks))


def _write_personality(guest: Guest, drive: Path, meta: Mapping[str, Any]) -> None:
    for entry in meta.get("files") or []:
        source = drive / "openstack" / entry["content_path"].lstrip("/")
        _write(guest.path(entry["path"]), source.read_bytes())


def _write_files(guest: Guest, config: Mapping[str, Any], *, deferred: bool) -> None:
    for entry in config.get("write_files") or []:
        if bool(entry.get("defer")) != deferred:
            continue
        path = guest.path(entry["path"])
        content = _decode(entry.get("content", ""), str(entry.get("encoding", "text/plain")).lower())
        mode = entry.get("permissions", 0o644)
        mode = mode if isinstance(mode, int) else int(mode, 8)
        if entry.get("append") and path.is_file():
            content = path.read_bytes() + content
        _write(path, content, mode)
        user, _, group = str(entry.get("owner", "root:root")).partition(":")
        guest.own(path, user, group)


def _decode(content: Any, encoding: str) -> bytes:
    import base64
    import gzip

    data = content if isinstance(content, bytes) else str(content).encode()
    if encoding in ("b64", "base64", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"):
        data = base64.b64decode(data)
    if encoding.startswith("gz"):
        data = gzip.decompress(data)
    return data


def _write_runcmd(instance: Path, config: Mapping[str, Any]) -> None:
    """Leaves the commands as a script for the final stage, which runs when people can already log in."""
    import shlex

    commands = config.get("runcmd") or []
    if isinstance(commands, str):
        commands = [commands]
    lines = [command if isinstance(command, str) else shlex.join(map(str, command)) for command in commands]
    if lines:
        _write(instance / "runcmd", "#!/bin/sh\n" + "\n".join(lines) + "\n", 0o700)


def _write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        os.fchmod(file.fileno(), mode)


def _log(message: str) -> None:
    print(f"first boot: {message}", file=sys.stderr)
    with Path("/var/log/cloud-init-output.log").open("a") as log:
        log.write(f"first boot: {message}\n")
