"""What guests are given at their first boot, as the simulated engine hands it to them."""

import json

import pytest
import yaml

from ovirt_provision.errors import InvalidRequest
from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.simulator.markup import set_text
from ovirt_provision.v1 import resources_pb2
from tests.harness import spec, started

Nic = resources_pb2.NicConfiguration
EMPTY = '{"ignition": {"version": "3.3.0"}}'


def become(site, os_type: str) -> None:
    for template in site.simulator.world.templates.values():
        set_text(template.config, "os/type", os_type)


async def booted(site, **fields):
    """The host's view of a Machine that was made and started with these fields."""
    created = await site.run("CreateMachine", key="web", spec=spec(), start_with=started(**fields))
    assert created.state == SUCCEEDED, created.error
    for request in site.simulator.requests:
        if request.path.endswith("/vms") or "/templates" in request.path:
            assert "initialization" not in str(request), "what is stored is inherited by templates"
    (vm,) = site.simulator.world.vms.values()
    assert vm.config.find("initialization") is None
    return site.simulator.world.guests.specs[-1]


def test_a_linux_guest_gets_all_of_it_on_the_config_drive(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            host = await booted(
                s,
                host_name="web",
                authorized_ssh_keys=["ssh-ed25519 A a"],
                time_zone="Europe/Berlin",
                nic_configurations=[
                    Nic(
                        name="eth0",
                        boot_protocol=Nic.BOOT_PROTOCOL_STATIC,
                        static_address="10.11.0.5/24",
                        gateway="10.11.0.1",
                        ipv6_boot_protocol=Nic.BOOT_PROTOCOL_STATIC,
                        ipv6_static_address="2001:db8::5/64",
                        ipv6_gateway="2001:db8::1",
                    ),
                    Nic(
                        name="eth1",
                        boot_protocol=Nic.BOOT_PROTOCOL_NONE,
                        ipv6_boot_protocol=Nic.BOOT_PROTOCOL_DHCP,
                    ),
                ],
                dns_servers=["10.11.0.2", "2001:db8::2"],
                dns_search_domains=["example.com"],
                user_data="#cloud-config\nruncmd: [date]\n",
            )
            files = {path.rpartition("/")[2]: content for path, content in host.config_drive.items()}
            meta, network = json.loads(files["meta_data.json"]), json.loads(files["network_data.json"])
            assert (meta["hostname"], meta["public_keys"]) == ("web", ["ssh-ed25519 A a"])
            dns = {"dns_nameservers": ["10.11.0.2", "2001:db8::2"], "dns_search": ["example.com"]}
            assert [one | dns for one in network["networks"]] == network["networks"]
            v4, v6, dhcp = network["networks"]
            assert (v4["type"], v4["ip_address"], v4["netmask"]) == ("ipv4", "10.11.0.5", "255.255.255.0")
            assert (v6["type"], v6["ip_address"], v6["netmask"]) == ("ipv6", "2001:db8::5", "64")
            assert v6["gateway"] == "2001:db8::1"
            assert (dhcp["link"], dhcp["type"]) == ("eth1", "ipv6_dhcp")
            config = yaml.safe_load(files["user_data"])
            assert (config["timezone"], config["ssh_pwauth"]) == ("Europe/Berlin", False)
            assert config["runcmd"][1:] == ["date"]

    run_virtually(scenario())


def test_ignition_reaches_a_guest_that_takes_it(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            become(s, "rhcos_x64")
            host = await booted(s, ignition=EMPTY, host_name="web", authorized_ssh_keys=["ssh-ed25519 A a"])
            told = json.loads(host.config_drive["openstack/latest/user_data"])
            assert told["ignition"] == {"version": "3.3.0"}
            assert told["passwd"]["users"][0]["sshAuthorizedKeys"] == ["ssh-ed25519 A a"]

    run_virtually(scenario())


def test_windows_gets_its_answer_file_and_no_config_drive(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            become(s, "windows_2022")
            sysprep = resources_pb2.Sysprep(admin_password="s3cret", organization="us")
            host = await booted(s, sysprep=sysprep, user_name="", host_name="web")
            assert host.config_drive == {}
            assert b"<Value><![CDATA[s3cret]]>" in host.floppy["Unattend.xml"]

    run_virtually(scenario())


def test_windows_starts_without_being_told_anything(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            become(s, "windows_2022")
            host = await booted(s, user_name="")
            assert (host.config_drive, host.floppy) == ({}, {})

    run_virtually(scenario())


@pytest.mark.parametrize("verb", ["CreateMachine", "CloneMachine", "StartMachine"])
def test_what_the_engine_would_drop_is_refused_before_anything_is_made(site, run_virtually, verb):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            fields = {
                "CreateMachine": {"key": "new", "spec": spec(), "start_with": started(ignition=EMPTY)},
                "CloneMachine": {"key": "new", "source_key": "web", "start_with": started(ignition=EMPTY)},
                "StartMachine": {"key": "web", "initialization": started(ignition=EMPTY)},
            }
            with pytest.raises(InvalidRequest, match=r"(start_with|initialization)\.ignition: would be lost"):
                await s.call(verb, **fields[verb])
            assert s.vms() == ["web"]

    run_virtually(scenario())
