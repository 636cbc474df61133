"""Which of the addresses that a guest reports are its Machine's."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from ovirt_provision.engine.model import Vm


@dataclass(frozen=True)
class Address:
    """An address on one of the VM's own NICs; the fields are those of `ovirt_provision.v1.Address`."""

    ip: str
    mac: str
    nic: str
    interface: str


def addresses_of(vm: Vm) -> Sequence[Address]:
    """The usable addresses of a VM that was read with its NICs and reported devices, IPv4 first.

    Only interfaces whose MAC is one of the VM's NICs count, which leaves out lo, docker0 and the guest's
    bridges. Link-local addresses and the loopback address itself are never where a client can reach the
    guest.
    """
    nics = {nic.mac: nic.name for nic in vm.nics if nic.mac}
    found = [
        Address(ip=ip, mac=interface.mac, nic=nics[interface.mac], interface=interface.name)
        for interface in vm.interfaces
        if interface.mac in nics
        for ip in interface.addresses
        if _usable(ip)
    ]
    return sorted(found, key=lambda address: ipaddress.ip_address(address.ip).version)


def _usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or text in ("127.0.0.1", "::1")
    )
