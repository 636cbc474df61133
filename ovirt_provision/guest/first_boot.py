"""From the schema's Initialization to what the engine is told at a run-once start."""

import ipaddress

import yaml

from ovirt_provision.engine.machines import FirstBoot, GuestInterface
from ovirt_provision.errors import Violation
from ovirt_provision.v1 import resources_pb2

# The top-level keys that the engine writes into the cloud-config itself, before it appends ours as raw text.
_ENGINE_KEYS = frozenset(
    {"ssh_pwauth", "disable_root", "output", "user", "chpasswd", "ssh_authorized_keys", "runcmd", "timezone"}
)

_PROTOCOLS = {
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_DHCP: "dhcp",
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_NONE: "none",
}


def first_boot(initialization: resources_pb2.Initialization) -> FirstBoot:
    """The engine's form of an Initialization."""
    return FirstBoot(
        user_name=initialization.user_name,
        authorized_ssh_keys=tuple(initialization.authorized_ssh_keys),
        host_name=initialization.host_name,
        interfaces=tuple(_interface(nic) for nic in initialization.nic_configurations),
        dns_servers=tuple(initialization.dns_servers),
        dns_search_domains=tuple(initialization.dns_search_domains),
        custom_script=initialization.custom_script,
    )


def _interface(nic: resources_pb2.NicConfiguration) -> GuestInterface:
    if nic.boot_protocol != resources_pb2.NicConfiguration.BOOT_PROTOCOL_STATIC:
        return GuestInterface(nic.name, _PROTOCOLS[nic.boot_protocol])
    static = ipaddress.IPv4Interface(nic.static_address)
    return GuestInterface(nic.name, "static", str(static.ip), str(static.netmask), nic.gateway)


def violations_of_script(script: str, field: str) -> list[Violation]:
    """What is wrong with a custom script that the engine will append to its own cloud-config as raw text.

    It has to be YAML with keys at the top: `#!` and MIME user-data would break the engine's document.
    """
    if not script.strip():
        return []
    if script.startswith("#!"):
        return [
            Violation(
                field,
                "is a shell script, but the engine appends it to a cloud-config; put it under `runcmd:`",
            )
        ]
    try:
        parsed = yaml.safe_load(script)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        return [
            Violation(field, f"is not YAML{where}; give cloud-config such as `write_files:` and `runcmd:`")
        ]
    if not isinstance(parsed, dict):
        return [Violation(field, "must be a YAML mapping with keys such as `write_files:` and `runcmd:`")]
    return [
        Violation(
            field, f"has the key `{key}`, which the engine writes itself; use the field of its own for it"
        )
        for key in sorted(parsed.keys() & (_ENGINE_KEYS - {"runcmd"}))
    ]
