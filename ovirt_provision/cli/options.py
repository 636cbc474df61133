"""Options that several commands share, and the readers of their values."""

import re
import uuid
from pathlib import Path
from typing import Annotated

import typer

from ovirt_provision.cli.output import Format
from ovirt_provision.v1 import resources_pb2

_DHCP = resources_pb2.NicConfiguration.BOOT_PROTOCOL_DHCP
_NONE = resources_pb2.NicConfiguration.BOOT_PROTOCOL_NONE
_STATIC = resources_pb2.NicConfiguration.BOOT_PROTOCOL_STATIC
_SIZE = re.compile(r"(\d+)(MiB|GiB|TiB)?")
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = {None: 1, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _uuid(given: str) -> str:
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise typer.BadParameter(f"'{given}' is not a UUID, such as {uuid.uuid4()}") from None


def size(given: str) -> int:
    """Bytes of `2GiB`, `512MiB` or a plain number of bytes."""
    match = _SIZE.fullmatch(given.strip())
    if not match:
        raise typer.BadParameter(f"'{given}' is not a size; give MiB, GiB, TiB or plain bytes, such as 2GiB")
    return int(match[1]) * _UNITS[match[2]]


def duration(given: str) -> int:
    """Seconds of `90s`, `30m`, `8h` or `2d`."""
    match = _DURATION.fullmatch(given.strip())
    if not match or int(match[1]) == 0:
        raise typer.BadParameter(
            f"'{given}' is not a time; give s, m, h or d, such as 90s, 30m, 8h or 2d", param_hint="--ttl"
        )
    return int(match[1]) * _SECONDS[match[2]]


def nic_configurations(dhcp: list[str], static: list[str]) -> list[resources_pb2.NicConfiguration]:
    """How the guest's interfaces are configured, by those with DHCP and by static addresses such as
    `eth0=10.11.0.5/24`, `eth0=2001:db8::5/64,2001:db8::1` or, for the first address that is free,
    `eth0=10.11.0.50-10.11.0.99/24`; the daemon checks the addresses."""
    found = {name: resources_pb2.NicConfiguration(name=name, boot_protocol=_DHCP) for name in dhcp}
    for given in static:
        name, equals, addresses = given.partition("=")
        if not equals or not name or not addresses:
            raise typer.BadParameter(
                f"'{given}' is not IFACE=ADDRESS/PREFIX[,GATEWAY], such as eth0=10.11.0.5/24,10.11.0.1",
                param_hint="--address",
            )
        address, _, gateway = addresses.partition(",")
        nic = found.setdefault(name, resources_pb2.NicConfiguration(name=name, boot_protocol=_NONE))
        if ":" in address:
            nic.ipv6_boot_protocol, nic.ipv6_static_address, nic.ipv6_gateway = _STATIC, address, gateway
        elif nic.boot_protocol != _NONE:
            raise typer.BadParameter(
                f"interface {name} has another IPv4 configuration already", param_hint="--address"
            )
        else:
            nic.boot_protocol, nic.gateway = _STATIC, gateway
            if "-" in address:
                nic.static_range = address
            else:
                nic.static_address = address
    return list(found.values())


def template(given: str) -> tuple[str, int]:
    """Name and version of `debian` (0: the newest) or `debian:3`."""
    name, colon, version = given.rpartition(":")
    if not colon:
        return given, 0
    if not name or not version.isascii() or not version.isdigit() or int(version) < 1:
        raise typer.BadParameter(
            f"'{given}' is not NAME or NAME:VERSION with a version from 1, such as debian-12:3"
        )
    return name, int(version)


def template_reference(given: str) -> resources_pb2.TemplateRef:
    """The template that NAME, NAME:VERSION or an id of a version means."""
    template_id = as_uuid(given)
    if template_id:
        return resources_pb2.TemplateRef(id=template_id)
    name, version = template(given)
    return resources_pb2.TemplateRef(name=name, version=version)


def permissions(users: list[str], groups: list[str]) -> list[resources_pb2.Permission]:
    """The permissions of `ROLE=USER` and `ROLE=GROUP`."""
    made = []
    for kind, option, texts in (("user", "--grant", users), ("group", "--grant-group", groups)):
        for given in texts:
            role, equals, name = given.partition("=")
            if not equals or not role or not name:
                raise typer.BadParameter(
                    f"'{given}' is not ROLE={kind.upper()}, such as UserTemplateBasedVm=jane@internal",
                    param_hint=option,
                )
            made.append(resources_pb2.Permission(role=role, **{kind: name}))
    return made


def as_uuid(given: str) -> str | None:
    """The UUID that was given, in its usual form; None when it is not one."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        return None


def public_keys(files: list[Path]) -> list[str]:
    """The public keys in these files, one a line, as in authorized_keys."""
    keys: list[str] = []
    for file in files:
        try:
            text = file.expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="--ssh-key") from None
        if "PRIVATE KEY-----" in text:
            raise typer.BadParameter(
                f"{file} is a private key; give the public one, most likely {file}.pub",
                param_hint="--ssh-key",
            )
        found = [
            line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
        if not found:
            raise typer.BadParameter(f"{file} holds no key", param_hint="--ssh-key")
        keys += found
    return keys


EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        "-e",
        metavar="PROFILE",
        help="Engine profile of the daemon. Default: the engine of OVIRT_URL, else the daemon's default.",
    ),
]
GrantOption = Annotated[
    list[str],
    typer.Option(metavar="ROLE=USER", help="Role that a user of the engine gets on it. Repeatable."),
]
GrantGroupOption = Annotated[
    list[str],
    typer.Option(metavar="ROLE=GROUP", help="Role that a group of the engine gets on it. Repeatable."),
]
RegexOption = Annotated[
    str,
    typer.Option(metavar="REGEX", help="Only those in whose name this regular expression (RE2) is found."),
]
OwnerOption = Annotated[
    str,
    typer.Option(
        metavar="OWNER",
        help="Whose Machine is meant, for admins of the daemon: `uid:1000`, or the name in a certificate or "
        "token. Default: your own.",
    ),
]
RequestIdOption = Annotated[
    str,
    typer.Option(
        metavar="UUID",
        help="Names this attempt: repeating it with the same arguments changes nothing. Default: a new one.",
        callback=lambda given: _uuid(given) if given else str(uuid.uuid4()),
    ),
]


def _remember_format(context: typer.Context, chosen: Format) -> Format:
    # For the errors, which `main` prints.
    context.obj.output_format = chosen
    return chosen


OutputOption = Annotated[
    Format,
    typer.Option(
        "--output", "-o", help="json: the schema's messages, for programs.", callback=_remember_format
    ),
]
DescriptionOption = Annotated[str, typer.Option(metavar="TEXT", help="Description in the engine.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only check all that it refers to.")]
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Print the operation at once instead of waiting for it.")
]
KeyArgument = Annotated[str, typer.Argument(help="Key of the Machine.", show_default=False)]
