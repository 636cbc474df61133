"""Which reported addresses count as the Machine's."""

from dataclasses import replace

import pytest

from ovirt_provision.engine.model import Nic, ReportedInterface, Vm
from ovirt_provision.guest.addresses import Absence, absence, addresses_of
from ovirt_provision.v1 import resources_pb2

MAC = "56:6f:ab:cd:00:01"


def vm(*interfaces: ReportedInterface) -> Vm:
    nic = Nic(id="n", name="nic1", mac=MAC, vnic_profile_id="p")
    return Vm("id", "web", "up", "", "t", "c", nics=(nic,), interfaces=interfaces)


def test_only_interfaces_with_the_mac_of_a_nic_count():
    seen = vm(
        ReportedInterface("lo", "00:00:00:00:00:00", ("127.0.0.1", "::1")),
        ReportedInterface("docker0", "02:42:00:00:00:01", ("172.17.0.1",)),
        ReportedInterface("eth0", MAC, ("10.11.0.5",)),
    )

    assert [(a.ip, a.nic, a.interface) for a in addresses_of(seen)] == [("10.11.0.5", "nic1", "eth0")]


def test_link_local_and_the_loopback_address_do_not_count_and_ipv4_comes_first():
    seen = vm(
        ReportedInterface("eth0", MAC, ("fe80::1", "2001:db8::5", "169.254.1.1", "127.0.0.1", "127.64.0.9"))
    )

    assert [a.ip for a in addresses_of(seen)] == ["127.64.0.9", "2001:db8::5"]


def test_a_vm_that_reports_nothing_has_no_address():
    assert addresses_of(vm()) == []


def selecting(vm: Vm, **fields) -> list[str]:
    return [a.ip for a in addresses_of(vm, resources_pb2.AddressSelection(**fields))]


def test_nics_families_and_networks_select():
    second = "56:6f:ab:cd:00:02"
    seen = replace(
        vm(
            ReportedInterface("eth0", MAC, ("10.11.0.5", "172.20.0.9", "2001:db8::5", "fd00::5")),
            ReportedInterface("eth1", second, ("192.168.0.5",)),
        ),
        nics=(Nic("n", "nic1", MAC, "p"), Nic("m", "nic2", second, "p")),
    )

    assert selecting(seen) == ["10.11.0.5", "172.20.0.9", "192.168.0.5", "2001:db8::5", "fd00::5"]
    assert selecting(seen, nics=["nic2"]) == ["192.168.0.5"]
    assert selecting(seen, family=resources_pb2.AddressSelection.FAMILY_IPV6) == ["2001:db8::5", "fd00::5"]
    assert selecting(seen, cidrs=["10.0.0.0/8", "2001:db8::/32"]) == ["10.11.0.5", "2001:db8::5"]
    assert selecting(seen, nics=["nic1"], ignored_cidrs=["172.16.0.0/12", "fd00::/8"]) == [
        "10.11.0.5",
        "2001:db8::5",
    ]


@pytest.mark.parametrize(
    ("interfaces", "fields", "why", "told"),
    [
        ((), {}, Absence.SILENT, "silent"),
        ((ReportedInterface("eth0", MAC, ()),), {}, Absence.NO_LEASE, "no address on the VM's NICs"),
        (
            (
                ReportedInterface("eth0", MAC, ("fe80::1",)),
                ReportedInterface("docker0", "02", ("172.17.0.1",)),
            ),
            {},
            Absence.NO_LEASE,
            "fe80::1 of eth0 (link-local), 172.17.0.1 of docker0 (not on a NIC of the VM)",
        ),
        (
            (ReportedInterface("docker0", "02", ("172.17.0.1",)),),
            {},
            Absence.IGNORED,
            "172.17.0.1 of docker0 (not on a NIC of the VM)",
        ),
        (
            (ReportedInterface("eth0", MAC, ("10.11.0.5",)),),
            {"cidrs": ["192.168.0.0/16"]},
            Absence.IGNORED,
            "10.11.0.5 of eth0 (in none of the selected networks)",
        ),
        (
            (ReportedInterface("eth0", MAC, ("10.11.0.5",)),),
            {"nics": ["nic2"]},
            Absence.IGNORED,
            "on nic1, which is not selected",
        ),
    ],
)
def test_why_there_is_none_is_told_apart(interfaces, fields, why, told):
    found, words = absence(vm(*interfaces), resources_pb2.AddressSelection(**fields))
    assert found is why
    assert told in words
