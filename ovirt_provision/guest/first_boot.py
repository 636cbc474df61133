"""From the schema's Initialization to what the engine is told at a run-once start."""

import ipaddress
import zoneinfo

from ovirt_provision.engine.vm_requests import FirstBoot, GuestInterface
from ovirt_provision.errors import Violation, did_you_mean
from ovirt_provision.guest import answer_file, cloud_config, ignition
from ovirt_provision.v1 import resources_pb2

_PROTOCOLS = {
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_UNSPECIFIED: "none",
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_DHCP: "dhcp",
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_NONE: "none",
    resources_pb2.NicConfiguration.BOOT_PROTOCOL_STATIC: "static",
}
# What the engine has for an operating system, by how its name begins, and cloud-init for all others. It drops
# what is of another kind, without a word (`RunVmCommand` in its source).
_KINDS = {"windows": "sysprep", "rhcos": "ignition"}


def violations_of(
    initialization: resources_pb2.Initialization, field: str, *, vm_name: str, os_type: str
) -> list[Violation]:
    """What is wrong with an Initialization that is at `field` of a request, for a VM of that name.

    `os_type` is what the engine takes the VM's operating system for, such as `rhel_9x64`; empty if unknown.
    """
    wrong: list[Violation] = []
    kind = _build(initialization, field, wrong, vm_name).kind
    takes = next((kind for begin, kind in _KINDS.items() if os_type.startswith(begin)), "cloud-init")
    # One in which nothing is said is a start like any other.
    if os_type and kind != takes and initialization.ByteSize() > 0:
        wrong.append(
            Violation(
                field if kind == "cloud-init" else f"{field}.{kind}",
                f"would be lost: the engine gives a VM with the operating system '{os_type}' {takes} and no "
                f"{kind}; give that, or correct the operating system of the template",
            )
        )
    return wrong


def first_boot(initialization: resources_pb2.Initialization) -> FirstBoot:
    """The engine's form of an Initialization in which nothing is wrong."""
    return _build(initialization, "initialization", [], "")


def _build(
    initialization: resources_pb2.Initialization, field: str, wrong: list[Violation], vm_name: str
) -> FirstBoot:
    if initialization.ignition:
        return FirstBoot("ignition", custom_script=ignition.complete(initialization, field, wrong))
    if initialization.HasField("sysprep"):
        sysprep = initialization.sysprep
        return FirstBoot(
            "sysprep",
            host_name=initialization.host_name,
            time_zone=initialization.time_zone,
            admin_password=sysprep.admin_password,
            organization=sysprep.organization,
            domain=sysprep.domain,
            input_locale=sysprep.input_locale,
            ui_language=sysprep.ui_language,
            system_locale=sysprep.system_locale,
            user_locale=sysprep.user_locale,
            custom_script=answer_file.complete(initialization, field, wrong, vm_name=vm_name),
        )
    config = cloud_config.merge(initialization, field, wrong)
    _check_time_zone(initialization.time_zone, f"{field}.time_zone", wrong)
    return FirstBoot(
        "cloud-init",
        user_name=config.user_name,
        authorized_ssh_keys=tuple(initialization.authorized_ssh_keys),
        host_name=initialization.host_name,
        time_zone=config.time_zone,
        interfaces=tuple(_interface(nic) for nic in initialization.nic_configurations),
        dns_servers=tuple(initialization.dns_servers),
        dns_search_domains=tuple(initialization.dns_search_domains),
        custom_script=config.text,
    )


def _check_time_zone(name: str, field: str, wrong: list[Violation]) -> None:
    if not name:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # Without any, this computer has no list of them.
        known = zoneinfo.available_timezones()
        if known:
            wrong.append(Violation(field, f"there is no time zone '{name}'{did_you_mean(name, known)}"))


def _interface(nic: resources_pb2.NicConfiguration) -> GuestInterface:
    interface = GuestInterface(
        nic.name, _PROTOCOLS[nic.boot_protocol], ipv6_protocol=_PROTOCOLS[nic.ipv6_boot_protocol]
    )
    if nic.static_address:
        ipv4 = ipaddress.IPv4Interface(nic.static_address)
        interface.address, interface.netmask = str(ipv4.ip), str(ipv4.netmask)
        interface.gateway = nic.gateway
    if nic.ipv6_static_address:
        ipv6 = ipaddress.IPv6Interface(nic.ipv6_static_address)
        interface.ipv6_address, interface.ipv6_prefix = str(ipv6.ip), ipv6.network.prefixlen
        interface.ipv6_gateway = nic.ipv6_gateway
    return interface
