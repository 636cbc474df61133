"""Where guests are reached, and what QEMU is told so that they are; nothing is started."""

import json
import os
import socket
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from ovirt_provision.simulator.guests import GuestNic, GuestSpec, network
from ovirt_provision.simulator.guests.network import (
    LOOPBACK,
    NAMESPACE,
    Addresses,
    AddressUnusable,
    Link,
    Reach,
    read_static,
)

IN_NAMESPACE = Path(__file__).parents[3] / "tools/in-namespace"


def drive(*networks: dict[str, str], name: str = "eth0") -> dict[str, bytes]:
    data = {"links": [{"id": "first", "name": name, "type": "vif"}], "networks": networks}
    return {"openstack/latest/network_data.json": json.dumps(data).encode()}


def static(address: str, **more: str) -> dict[str, str]:
    return {"id": "first", "link": "first", "type": "ipv4", "ip_address": address, **more}


def options(link: Link, reach: Reach) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for option in link.netdev(reach.ports).split(","):
        name, _, value = option.partition("=")
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("reach", [LOOPBACK, NAMESPACE], ids=str)
@pytest.mark.parametrize("attempt", range(3))
def test_a_vm_keeps_an_address_of_its_own(reach: Reach, attempt: int) -> None:
    addresses = [reach.address(f"vm-{number}", attempt) for number in range(500)]
    assert addresses == [reach.address(f"vm-{number}", attempt) for number in range(500)]
    assert all(address in reach.addresses for address in addresses)
    assert not any(str(address).endswith((".0", ".255")) for address in addresses)
    assert len(set(addresses)) > 490


def test_a_taken_address_leads_to_another() -> None:
    assert len({NAMESPACE.address("vm", attempt) for attempt in range(10)}) == 10


def test_a_drive_without_a_static_address_for_the_first_nic_means_dhcp() -> None:
    assert read_static({}) is None
    assert read_static(drive({"id": "first", "link": "first", "type": "ipv4_dhcp"})) is None
    assert read_static(drive(static("10.11.3.4"), name="eth1")) is None


@pytest.mark.parametrize("netmask", ["255.255.255.0", "24"])
def test_a_static_address_is_read_with_netmask_and_gateway(netmask: str) -> None:
    found = read_static(drive(static("10.11.3.4", netmask=netmask, gateway="10.11.3.1")))
    assert found is not None
    assert (str(found.interface), str(found.gateway)) == ("10.11.3.4/24", "10.11.3.1")


@pytest.mark.parametrize(
    ("reach", "host", "expected"),
    [
        (LOOPBACK, "127.64.1.2", ["127.64.1.2:2222-10.11.3.4:22", "127.64.1.2:2376-10.11.3.4:2376"]),
        (NAMESPACE, "10.11.3.4", ["10.11.3.4:22-10.11.3.4:22", "10.11.3.4:2376-10.11.3.4:2376"]),
    ],
)
def test_the_guests_network_fits_its_static_address(reach: Reach, host: str, expected: list[str]) -> None:
    given = read_static(drive(static("10.11.3.4", netmask="255.255.255.0", gateway="10.11.3.1")))
    found = options(Link.make(reach, IPv4Address(host), given), reach)
    assert found["net"] == ["10.11.3.0/24"]
    assert found["host"] == ["10.11.3.1"]
    assert found["dhcpstart"] == ["10.11.3.4"]
    assert found["hostfwd"] == [f"tcp:{each}" for each in expected]


def test_in_a_namespace_dhcp_gives_the_guest_the_address_at_which_it_is_reached() -> None:
    found = options(Link.make(NAMESPACE, IPv4Address("10.11.0.1"), None), NAMESPACE)
    assert (found["net"], found["dhcpstart"]) == (["10.11.0.0/16"], ["10.11.0.1"])
    assert len({*found["host"], *found["dns"], *found["dhcpstart"]}) == 3


@pytest.mark.parametrize("prefix", [8, 24, 29, 30, 31, 32])
@pytest.mark.parametrize("gateway", [None, "10.11.3.4", "192.168.1.1"])
def test_every_network_has_room_for_what_qemu_needs(prefix: int, gateway: str | None) -> None:
    given = read_static(
        drive(static("10.11.3.4", netmask=str(prefix), **({"gateway": gateway} if gateway else {})))
    )
    found = options(Link.make(NAMESPACE, IPv4Address("10.11.3.4"), given), NAMESPACE)
    addresses = {IPv4Address(found[name][0]) for name in ("host", "dns", "dhcpstart")}
    assert len(addresses) == 3
    assert all(address in IPv4Network(found["net"][0]) for address in addresses)


def test_in_namespace_runs_a_command_where_guests_have_honest_addresses(tmp_path: Path) -> None:
    program = (
        "import sys; from ovirt_provision.simulator.guests import network;"
        "print(network.find_reach().honest, *sys.argv[1:]); sys.exit(7)"
    )
    ended = subprocess.run(
        [IN_NAMESPACE, sys.executable, "-c", program, "a  b", "$c"],
        env=os.environ | {"PYTHONPATH": str(IN_NAMESPACE.parents[1])},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 7, ended.stderr
    allowed = "no namespaces" not in ended.stderr
    assert ended.stdout == f"{allowed} a  b $c\n"


def test_in_namespace_does_without_where_there_is_none(tmp_path: Path) -> None:
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\nexit 1\n")
    unshare.chmod(0o755)
    ended = subprocess.run(
        [IN_NAMESPACE, "echo", "ran"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "ran\n")
    assert "SSH at port 2222" in ended.stderr
    assert ended.stderr.count("\n") == 1


REACH = Reach(IPv4Network("127.65.0.0/16"), {22: 2222}, honest=True)
"""Addresses that can be bound everywhere."""


def spec(config_drive: dict[str, bytes]) -> GuestSpec:
    return GuestSpec("vm", "web", 1 << 28, 1, [GuestNic("nic1", "56:6f:00:00:00:01")], ["d"], config_drive)


def test_a_static_address_is_where_the_vm_is_reached_at_later_starts_too() -> None:
    addresses = Addresses(REACH)
    given = drive(static("127.65.3.4", netmask="24"))
    for config_drive in (given, {}):
        assert str(addresses.link(spec(config_drive), ()).host) == "127.65.3.4"
    dhcp = drive({"id": "first", "link": "first", "type": "ipv4_dhcp"})
    assert addresses.link(spec(dhcp), ()).host == REACH.address("vm")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("10.99.0.1", r"10\.99\.0\.1 of VM web cannot be reached here; take one in 127\.65\.0\.0/16"),
        ("10.11.3", "VM web is given a bad static address: .*10.11.3"),
    ],
)
def test_a_static_address_that_cannot_work_is_refused(address: str, complaint: str) -> None:
    with pytest.raises(AddressUnusable, match=complaint):
        Addresses(REACH).link(spec(drive(static(address, netmask="24"))), ())


def test_a_static_address_that_somebody_has_is_refused() -> None:
    with (
        socket.create_server(("127.65.3.4", 2222)),
        pytest.raises(AddressUnusable, match=r"127\.65\.3\.4 of .* is in use"),
    ):
        Addresses(REACH).link(spec(drive(static("127.65.3.4", netmask="24"))), ())


@pytest.mark.parametrize("reach", [LOOPBACK, NAMESPACE], ids=str)
def test_a_guest_reaches_no_port_of_the_host_but_those_that_are_open_to_it(reach: Reach) -> None:
    link = Link.make(reach, reach.address("vm"), None)
    assert "guestfwd" not in link.netdev(reach.ports)
    opened = [part for part in link.netdev(reach.ports, [8600]).split(",") if part.startswith("guestfwd=")]
    (forward,) = opened
    assert forward.startswith(f"guestfwd=tcp:{reach.host}:8600-cmd:")
    assert reach.host in link.guest.network
    assert reach.host not in (link.guest.ip, link.gateway)


def test_the_relay_joins_a_guest_to_the_port() -> None:
    """As QEMU runs it: its standard input and output are the guest's connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = [sys.executable, "-I", "-S", str(Path(network.__file__).with_name("relay.py"))]
        process = subprocess.Popen(
            [*relay, str(server.getsockname()[1])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as file:
            assert process.stdin is not None
            process.stdin.write(b"GET\0\xff\n")
            process.stdin.close()
            assert file.read() == b"GET\0\xff\n", "all of it, and then its end"
            file.write(b"answer")
        assert process.stdout is not None
        assert process.stdout.read() == b"answer"
        assert process.wait() == 0
        process.stdout.close()
