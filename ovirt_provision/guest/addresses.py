"""Which of the addresses that a guest reports are its Machine's."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ovirt_provision.engine.model import ReportedInterface, Vm
from ovirt_provision.v1 import resources_pb2

_ALL = resources_pb2.AddressSelection()
_UNUSABLE = ("no address", "link-local", "of no use")
_FAMILIES = {resources_pb2.AddressSelection.FAMILY_IPV4: 4, resources_pb2.AddressSelection.FAMILY_IPV6: 6}


@dataclass(frozen=True)
class Address:
    """An address on one of the VM's own NICs; the fields are those of `ovirt_provision.v1.Address`."""

    ip: str
    mac: str
    nic: str
    interface: str


class Absence(Enum):
    """Why a running VM has no address that counts; the values are for programs."""

    SILENT = "agent-silent"
    NO_LEASE = "no-lease"
    IGNORED = "only-ignored"
    UNSETTLED = "unsettled"


def addresses_of(vm: Vm, selection: resources_pb2.AddressSelection = _ALL) -> Sequence[Address]:
    """The addresses of a VM that count, IPv4 first; the VM was read with its NICs and reported devices.

    Only interfaces whose MAC is one of the VM's NICs count, which leaves out lo, docker0 and the guest's
    bridges. Link-local addresses and the loopback address itself are never where a client can reach the
    guest.
    """
    found = [
        Address(ip=ip, mac=interface.mac, nic=nic, interface=interface.name)
        for interface, nic, ip, why_not in _judged(vm, selection)
        if not why_not
    ]
    return sorted(found, key=lambda address: ipaddress.ip_address(address.ip).version)


def absence(vm: Vm, selection: resources_pb2.AddressSelection = _ALL) -> tuple[Absence, str]:
    """Why a VM has no address that counts, also in words that follow "the guest"."""
    if not vm.interfaces:
        return Absence.SILENT, "has reported nothing: its agent is silent"
    judged = list(_judged(vm, selection))
    told = ", ".join(f"{ip} of {interface.name} ({why})" for interface, _, ip, why in judged if why)
    own = {nic.mac for nic in vm.nics} & {interface.mac for interface in vm.interfaces}
    if own and all(why in _UNUSABLE for _, nic, _, why in judged if nic):
        return Absence.NO_LEASE, "has no address on the VM's NICs" + (f", only {told}" if told else "")
    return Absence.IGNORED, "has only addresses that do not count: " + (told or "none on the VM's NICs")


def _judged(
    vm: Vm, selection: resources_pb2.AddressSelection
) -> Iterator[tuple[ReportedInterface, str, str, str]]:
    """Every reported address: its interface, the NIC with the MAC of that or nothing, the address, and why it
    does not count or nothing."""
    nics = {nic.mac: nic.name for nic in vm.nics if nic.mac}
    for interface in vm.interfaces:
        nic = nics.get(interface.mac, "")
        for ip in interface.addresses:
            yield interface, nic, ip, _why_not(ip, nic, selection)


def _why_not(text: str, nic: str, selection: resources_pb2.AddressSelection) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "no address"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast or address.is_unspecified or text in ("127.0.0.1", "::1"):
        return "of no use"
    if not nic:
        return "not on a NIC of the VM"
    if selection.nics and nic not in selection.nics:
        return f"on {nic}, which is not selected"
    if selection.family and address.version != _FAMILIES[selection.family]:
        return f"IPv{address.version}"
    if selection.cidrs and not any(_lies_in(address, cidr) for cidr in selection.cidrs):
        return "in none of the selected networks"
    return next((f"in {cidr}" for cidr in selection.ignored_cidrs if _lies_in(address, cidr)), "")


def _lies_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, cidr: str) -> bool:
    return address in ipaddress.ip_network(cidr)
