"""What QEMU is told, and what becomes of the guest agent's answer; nothing is started."""

import itertools
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pycdlib

from ovirt_provision.simulator.guests import GuestNic, GuestSpec
from ovirt_provision.simulator.guests.image import GuestImage
from ovirt_provision.simulator.guests.iso import make_iso
from ovirt_provision.simulator.guests.network import LOOPBACK, Link
from ovirt_provision.simulator.guests.qemu import interfaces_of
from ovirt_provision.simulator.guests.qemu_arguments import machine_arguments, network_arguments

IMAGE = GuestImage(Path("/image"), UUID(int=1))
SPEC = GuestSpec(
    vm_id="b1c6ae46-6a2c-4f2b-9d2f-0f6d3f5a3c11",
    name="web,1",
    memory=512 << 20,
    cpus=2,
    nics=(GuestNic("nic1", "56:6f:00:00:00:01"), GuestNic("nic2", "56:6f:00:00:00:02")),
    disks=("a", "b"),
)
LINK = Link.make(LOOPBACK, IPv4Address("127.64.1.2"), None)


def options(arguments: list[str], name: str) -> list[str]:
    return [value for option, value in itertools.pairwise(arguments) if option == f"-{name}"]


def test_the_machine_is_as_large_as_the_vm() -> None:
    arguments = machine_arguments(SPEC, "tcg", [Path("/d/a.qcow2")], IMAGE, "root=/dev/vda")
    assert options(arguments, "m") == ["512M"]
    assert options(arguments, "smp") == ["2"]
    assert options(arguments, "uuid") == [SPEC.vm_id]


def test_emulation_does_not_take_the_hosts_memory_for_its_buffer() -> None:
    assert options(machine_arguments(SPEC, "tcg", [], IMAGE, ""), "accel") == ["tcg,tb-size=64"]
    assert options(machine_arguments(SPEC, "kvm", [], IMAGE, ""), "accel") == ["kvm"]


def test_linux_is_told_what_it_cannot_know_of_emulated_processors() -> None:
    (emulated,) = options(machine_arguments(SPEC, "tcg", [], IMAGE, "root=/dev/vda"), "append")
    assert emulated.split() == ["root=/dev/vda", "mitigations=off", "tsc=reliable"]
    assert options(machine_arguments(SPEC, "kvm", [], IMAGE, "root=/dev/vda"), "append") == ["root=/dev/vda"]


def test_a_comma_in_a_name_is_not_another_option() -> None:
    arguments = machine_arguments(SPEC, "tcg", [Path("/d/a,b.qcow2")], IMAGE, "")
    assert options(arguments, "name") == ["web,,1"]
    assert options(arguments, "drive")[0].endswith("file=/d/a,,b.qcow2")


def test_a_disk_that_is_not_ours_is_left_to_the_firmware() -> None:
    assert "-kernel" not in machine_arguments(SPEC, "tcg", [Path("/d/a.qcow2")], None, "")


def test_every_nic_is_alone_in_a_closed_network_and_ssh_comes_in_by_the_first() -> None:
    arguments = network_arguments(SPEC, LINK, LOOPBACK.ports)
    first, second = options(arguments, "netdev")
    assert "restrict=on" in first
    assert "restrict=on" in second
    assert "hostfwd=tcp:127.64.1.2:2222-10.0.2.15:22" in first
    assert "hostfwd" not in second
    assert [device.split("mac=")[1][:17] for device in options(arguments, "device")] == [
        nic.mac for nic in SPEC.nics
    ]


def test_the_reachable_address_is_shown_on_the_interface_with_the_nics_mac() -> None:
    answer = [
        {
            "name": "lo",
            "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}],
        },
        {
            "name": "eth0",
            "hardware-address": "56:6F:00:00:00:01",
            "ip-addresses": [{"ip-address": "10.0.2.15"}, {"ip-address": "fe80::1"}],
        },
        {
            "name": "eth1",
            "hardware-address": "56:6f:00:00:00:02",
            "ip-addresses": [{"ip-address": "10.0.3.15"}],
        },
        {"name": "docker0"},
    ]
    found = interfaces_of(answer, SPEC, LINK)
    assert [(interface.name, interface.mac, *interface.addresses) for interface in found] == [
        ("lo", "00:00:00:00:00:00", "127.0.0.1"),
        ("eth0", "56:6f:00:00:00:01", "127.64.1.2", "fe80::1"),
        ("eth1", "56:6f:00:00:00:02", "10.0.3.15"),
        ("docker0", ""),
    ]


def test_the_config_drive_holds_its_files_under_their_names(tmp_path: Path) -> None:
    files = {
        "openstack/latest/meta_data.json": b"{}",
        "openstack/latest/user_data": b"#cloud-config\n" * 400,
        "openstack/content/0000": b"auto eth0\n",
    }
    image = tmp_path / "drive.iso"
    image.write_bytes(make_iso(files))
    assert image.read_bytes()[0x8028:0x8048].decode().strip() == "config-2"
    drive = pycdlib.PyCdlib()
    drive.open(str(image))
    for kind in ("rr_path", "joliet_path"):
        for path, content in files.items():
            with drive.open_file_from_iso(**{kind: f"/{path}"}) as file:
                assert file.read() == content
    drive.close()
