"""Static addresses from a range: each Machine gets one that no living Machine of the ledger has."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from ovirt_provision.errors import AddressRangeExhausted, Violation
from ovirt_provision.ledger.store import Ledger, Object
from ovirt_provision.v1 import resources_pb2

# In a Machine's details: its static addresses with prefix length, by interface.
_KEPT = "static_addresses"


def violations_of_ranges(initialization: resources_pb2.Initialization, field: str) -> list[Violation]:
    """What is wrong with the ranges of an Initialization that is at `field` of a request."""
    wrong = []
    for index, nic in enumerate(initialization.nic_configurations):
        if nic.static_range:
            try:
                _parse(nic.static_range)
            except ValueError as error:
                path = f"{field}.nic_configurations[{index}].static_range"
                wrong.append(Violation(path, f"'{nic.static_range}' is given, but {error}"))
    return wrong


def reserve(ledger: Ledger, initialization: resources_pb2.Initialization, field: str) -> dict[str, Any]:
    """The static addresses of a Machine that is to be made, for its details: those that it names, and one of
    each range that is free.

    Called in the transaction that writes the Machine, so that of several calls at once each sees those before
    it. Raises AddressRangeExhausted.
    """
    given = {nic.name: nic.static_address for nic in initialization.nic_configurations if nic.static_address}
    ranges = {index: nic for index, nic in enumerate(initialization.nic_configurations) if nic.static_range}
    taken = set(map(_host, given.values())) | (_taken(ledger) if ranges else set())
    for index, nic in ranges.items():
        free = next((one for one in _addresses(nic) if _host(one) not in taken), None)
        if free is None:
            raise AddressRangeExhausted(
                range=nic.static_range,
                violations=[
                    Violation(
                        f"{field}.nic_configurations[{index}].static_range",
                        f"no address of {nic.static_range} is free",
                    )
                ],
            )
        given[nic.name] = free
        taken.add(_host(free))
    return {_KEPT: given} if given else {}


def with_reserved(initialization: resources_pb2.Initialization, row: Object) -> resources_pb2.Initialization:
    """The Initialization with the addresses that the Machine was given in place of the ranges."""
    filled = resources_pb2.Initialization()
    filled.CopyFrom(initialization)
    for nic in filled.nic_configurations:
        if nic.static_range:
            nic.static_address = row.details[_KEPT][nic.name]
            nic.static_range = ""
    return filled


def _taken(ledger: Ledger) -> set[str]:
    """What the living Machines were given or report."""
    return {
        address
        for row in ledger.living_machines()
        for address in (
            *map(_host, row.details.get(_KEPT, {}).values()),
            *(reported["ip"] for reported in row.details.get("addresses", ())),
        )
    }


def _addresses(nic: resources_pb2.NicConfiguration) -> Iterator[str]:
    first, last = _parse(nic.static_range)
    network = first.network
    kept_out = {str(network.network_address), str(network.broadcast_address), nic.gateway}
    for number in range(int(first.ip), int(last) + 1):
        address = str(ipaddress.IPv4Address(number))
        if network.prefixlen > 30 or address not in kept_out:
            yield f"{address}/{network.prefixlen}"


def _parse(given: str) -> tuple[ipaddress.IPv4Interface, ipaddress.IPv4Address]:
    """The first address with its network, and the last one. Raises ValueError."""
    begin, _, rest = given.partition("-")
    end, _, prefix = rest.partition("/")
    try:
        first, last = ipaddress.IPv4Interface(f"{begin}/{prefix}"), ipaddress.IPv4Address(end)
    except ValueError:
        raise ValueError(
            "it must be the first and the last address with their prefix length, such as "
            "10.11.0.50-10.11.0.99/24"
        ) from None
    if last < first.ip:
        raise ValueError(f"{end} comes before {begin}")
    if last not in first.network:
        raise ValueError(f"{begin} and {end} are not in one network with the prefix length {prefix}")
    return first, last


def _host(address: str) -> str:
    return address.partition("/")[0]
