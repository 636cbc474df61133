"""Where guests are reached, and the user-mode network (slirp) that each is alone in.

A guest has an address of its own on this host, from which QEMU forwards to it. Ordinary users may bind
neither a guest's own address nor port 22, but in a network namespace of theirs they may:
`tools/in-namespace`.
"""

import hashlib
import json
import shlex
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from ovirt_provision.simulator.guests import GuestSpec

FIRST_NIC = "eth0"
"""What guests call the NIC by which they are reached."""

SSH_PORT = 22
DOCKER_PORT = 2376
SLIRP = IPv4Network("10.0.2.0/24")
"""The network of guests that do not have their own addresses."""
_RELAY = Path(__file__).with_name("relay.py")


@dataclass(frozen=True)
class Reach:
    """Where guests are reached: at an address in `addresses`, at ports by the guest's own port.

    `honest` means that the guests have these very addresses and ports.
    """

    addresses: IPv4Network
    ports: Mapping[int, int]
    honest: bool

    @property
    def host(self) -> IPv4Address:
        """Where guests by DHCP reach the ports of this host that are open to them."""
        return _host_of(self.addresses if self.honest else SLIRP)

    @property
    def ssh_port(self) -> int:
        return self.ports[SSH_PORT]

    def address(self, vm_id: str, attempt: int = 0) -> IPv4Address:
        """The VM's own address, the same at every start; `attempt` counts those found taken."""
        digest = hashlib.sha256(f"{vm_id} {attempt}".encode()).digest()
        offset = int.from_bytes(digest[:4], "big") % self.addresses.num_addresses
        # Not the ends of a /24: some tools take them for network and broadcast addresses.
        last = 1 + (offset & 0xFF) % 254
        return self.addresses.network_address + ((offset & ~0xFF) | last)

    def is_free(self, address: IPv4Address) -> bool:
        """Whether all ports can be bound there."""
        return all(_can_bind(address, port) for port in self.ports.values())

    def __str__(self) -> str:
        return f"{self.addresses}, SSH at port {self.ssh_port}"


LOOPBACK = Reach(IPv4Network("127.64.0.0/10"), {SSH_PORT: 2222, DOCKER_PORT: DOCKER_PORT}, honest=False)
NAMESPACE = Reach(IPv4Network("10.11.0.0/16"), {SSH_PORT: SSH_PORT, DOCKER_PORT: DOCKER_PORT}, honest=True)


def find_reach() -> Reach:
    """NAMESPACE where this process may use it, else LOOPBACK."""
    ends = (NAMESPACE.addresses.network_address + 1, NAMESPACE.addresses.broadcast_address - 1)
    return NAMESPACE if all(_can_bind(end, NAMESPACE.ssh_port) for end in ends) else LOOPBACK


@dataclass(frozen=True)
class Static:
    """A static address that a config drive gives to the first NIC."""

    interface: IPv4Interface
    gateway: IPv4Address | None = None


def read_static(drive: Mapping[str, bytes]) -> Static | None:
    """What `network_data.json` gives to the first NIC; None for DHCP. Raises ValueError for a bad address."""
    data = json.loads(drive.get("openstack/latest/network_data.json") or b"{}")
    links = {link["id"]: link.get("name", link["id"]) for link in data.get("links", ())}
    for network in data.get("networks", ()):
        if network["type"] == "ipv4" and links.get(network["link"]) == FIRST_NIC:
            gateway = network.get("gateway")
            return Static(
                IPv4Interface(f"{network['ip_address']}/{network.get('netmask', 32)}"),
                IPv4Address(gateway) if gateway else None,
            )
    return None


@dataclass(frozen=True)
class Link:
    """The first NIC's: `host` is where it is reached, `guest` the address that the guest has."""

    host: IPv4Address
    guest: IPv4Interface
    gateway: IPv4Address

    @classmethod
    def make(cls, reach: Reach, host: IPv4Address, static: Static | None) -> "Link":
        if static is not None:
            guest, gateway = static.interface, static.gateway
        elif reach.honest:
            guest, gateway = IPv4Interface(f"{host}/{reach.addresses.prefixlen}"), None
        else:
            guest, gateway = IPv4Interface(f"{SLIRP[15]}/{SLIRP.prefixlen}"), SLIRP[2]
        # QEMU has a gateway and a name server in every network.
        guest = IPv4Interface(f"{guest.ip}/{min(guest.network.prefixlen, 29)}")
        if gateway is None or gateway in (guest.ip, _host_of(guest.network)) or gateway not in guest.network:
            gateway = _spare(guest.network, guest.ip)
        return cls(host, guest, gateway)

    def netdev(self, ports: Mapping[int, int], host_ports: Sequence[int] = ()) -> str:
        """The options of QEMU's `-netdev user` that make it so, for static addresses and DHCP alike.

        `host_ports` are the ports of this host's 127.0.0.1 that the guest reaches, at the third address of
        its network.
        """
        host = _host_of(self.guest.network)
        options = [
            f"net={self.guest.network}",
            f"host={self.gateway}",
            f"dns={_spare(self.guest.network, self.guest.ip, self.gateway, host)}",
            f"dhcpstart={self.guest.ip}",
            *(f"hostfwd=tcp:{self.host}:{ours}-{self.guest.ip}:{theirs}" for theirs, ours in ports.items()),
            *(f"guestfwd=tcp:{host}:{port}-cmd:{_relay(port)}" for port in host_ports),
        ]
        return ",".join(options)


class AddressUnusable(OSError):
    """A VM cannot be reached at the address that it is given, or at any."""


class Addresses:
    """Where each VM is reached, from start to start."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        # What the last config drive said holds for starts without one, too.
        self._statics: dict[str, Static | None] = {}

    def link(self, spec: GuestSpec, used: Collection[IPv4Address]) -> Link:
        """The link of a VM that is started while others use `used`. Raises AddressUnusable."""
        if spec.config_drive:
            try:
                self._statics[spec.vm_id] = read_static(spec.config_drive)
            except ValueError as error:
                raise AddressUnusable(f"VM {spec.name} is given a bad static address: {error}") from None
        static = self._statics.get(spec.vm_id)
        return Link.make(self._reach, self._find(spec, static, used), static)

    def _find(self, spec: GuestSpec, static: Static | None, used: Collection[IPv4Address]) -> IPv4Address:
        if static is not None and self._reach.honest:
            address = static.interface.ip
            if address not in self._reach.addresses:
                raise AddressUnusable(
                    f"the static address {address} of VM {spec.name} cannot be reached here; "
                    f"take one in {self._reach.addresses}"
                )
            if address in used or not self._reach.is_free(address):
                raise AddressUnusable(f"the static address {address} of VM {spec.name} is in use")
            return address
        for attempt in range(100):
            address = self._reach.address(spec.vm_id, attempt)
            if address not in used and self._reach.is_free(address):
                return address
        raise AddressUnusable(f"no free address in {self._reach.addresses} for VM {spec.name}")


def _host_of(network: IPv4Network) -> IPv4Address:
    return network[3]


def _relay(port: int) -> str:
    """The command that QEMU runs for each connection of the guest's to a port of this host."""
    return shlex.join([sys.executable, "-I", "-S", str(_RELAY), str(port)]).replace(",", ",,")


def _spare(network: IPv4Network, *taken: IPv4Address) -> IPv4Address:
    return next(address for address in network.hosts() if address not in taken)


def _can_bind(address: IPv4Address, port: int) -> bool:
    with socket.socket() as probe:
        # As QEMU does, so that the connections of the last run that are fading away do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError:
            return False
    return True
