"""Which reported addresses count as the Machine's."""

from ovirt_provision.engine.model import Nic, ReportedInterface, Vm
from ovirt_provision.guest.addresses import addresses_of

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
