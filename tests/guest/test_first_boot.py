"""From the schema's Initialization to what the engine is told."""

from ovirt_provision.guest.first_boot import first_boot
from ovirt_provision.v1 import resources_pb2

NIC = resources_pb2.NicConfiguration


def test_each_way_to_an_address_is_told_as_the_engine_wants_it():
    told = first_boot(
        resources_pb2.Initialization(
            user_name="builder",
            authorized_ssh_keys=["ssh-ed25519 A a", "ssh-ed25519 B b"],
            host_name="web",
            nic_configurations=[
                NIC(
                    name="eth0",
                    boot_protocol=NIC.BOOT_PROTOCOL_STATIC,
                    static_address="10.11.0.5/20",
                    gateway="10.11.0.1",
                ),
                NIC(name="eth1", boot_protocol=NIC.BOOT_PROTOCOL_DHCP),
                NIC(name="eth2", boot_protocol=NIC.BOOT_PROTOCOL_NONE),
            ],
            dns_servers=["10.0.0.2", "10.0.0.3"],
            dns_search_domains=["a.example", "b.example"],
        )
    ).initialization()

    static, dhcp, none = told.nic_configurations
    assert (static.boot_protocol.value, dhcp.boot_protocol.value, none.boot_protocol.value) == (
        "static",
        "dhcp",
        "none",
    )
    assert (static.ip.address, static.ip.netmask, static.ip.gateway) == (
        "10.11.0.5",
        "255.255.240.0",
        "10.11.0.1",
    )
    assert dhcp.ip is None
    # Newlines between keys, blanks between servers: as the oVirt API has them.
    assert told.authorized_ssh_keys == "ssh-ed25519 A a\nssh-ed25519 B b"
    assert told.dns_servers == "10.0.0.2 10.0.0.3"
    assert told.dns_search == "a.example b.example"


def test_what_is_not_given_is_not_told():
    told = first_boot(resources_pb2.Initialization()).initialization()

    assert told.user_name is None
    assert told.nic_configurations is None
    assert told.dns_servers is None
