"""The config drive: exactly the files that the engine makes."""

import json

import pytest
import yaml
from ovirtsdk4 import types

from ovirt_provision.simulator.config_drive import (
    Initialization,
    NicConfiguration,
    answer_file,
    config_drive,
    ignition_drive,
)

META = "openstack/latest/meta_data.json"
USER = "openstack/latest/user_data"
NETWORK = "openstack/latest/network_data.json"


def test_keys_are_a_list_in_the_meta_data_and_nowhere_else():
    files = config_drive(
        Initialization(
            host_name="web", user_name="builder", authorized_ssh_keys="ssh-ed25519 A a\r\n\nssh-rsa B b\n"
        )
    )
    meta = json.loads(files[META])
    assert meta["public_keys"] == ["ssh-ed25519 A a", "ssh-rsa B b"]
    assert (meta["hostname"], meta["name"], meta["meta"]["dsmode"]) == ("web", "web", "local")
    data = yaml.safe_load(files[USER])
    assert data["user"] == "builder"
    assert (data["ssh_pwauth"], data["disable_root"], data["chpasswd"]) == (True, False, {"expire": False})
    assert "ssh_authorized_keys" not in data
    assert files[USER].startswith(b"#cloud-config\n")


def test_every_drive_has_a_uuid_of_its_own():
    first, second = (json.loads(config_drive(Initialization())[META])["uuid"] for _ in range(2))
    assert first != second


def test_the_script_is_appended_as_it_is():
    script = "write_files:\n- path: /etc/motd\n  content: hello\n"
    files = config_drive(Initialization(custom_script=script))
    assert files[USER].endswith(b"\n" + script.encode())
    assert yaml.safe_load(files[USER])["write_files"] == [{"path": "/etc/motd", "content": "hello"}]


@pytest.mark.parametrize(
    ("nic", "network"),
    [
        (NicConfiguration("eth0", boot_protocol="dhcp"), {"type": "ipv4_dhcp"}),
        (
            NicConfiguration(
                "eth0", boot_protocol="static", address="10.0.0.5", netmask="255.0.0.0", gateway="10.0.0.1"
            ),
            {"type": "ipv4", "ip_address": "10.0.0.5", "netmask": "255.0.0.0", "gateway": "10.0.0.1"},
        ),
        (
            NicConfiguration("eth0", ipv6_boot_protocol="static", ipv6_address="fd00::5", ipv6_prefix="64"),
            {"type": "ipv6", "ip_address": "fd00::5", "netmask": "64"},
        ),
    ],
)
def test_the_network_is_openstack_metadata(nic, network):
    found = json.loads(config_drive(Initialization(nics=[nic], dns_servers="10.0.0.2 10.0.0.3"))[NETWORK])
    dns = {"dns_nameservers": ["10.0.0.2", "10.0.0.3"]}
    assert found["networks"] == [{"id": "eth0", "link": "eth0", **network, **dns}]
    assert found["links"] == [{"id": "eth0", "name": "eth0", "type": "vif"}]
    assert [service["address"] for service in found["services"]] == ["10.0.0.2", "10.0.0.3"]


def test_without_a_network_there_is_no_empty_file():
    assert set(config_drive(Initialization(host_name="web"))) == {META, USER}


def test_eni_is_a_file_that_the_meta_data_points_to():
    nic = NicConfiguration("eth0", boot_protocol="dhcp")
    files = config_drive(Initialization(nics=[nic], network_protocol="eni"))
    assert files["openstack/content/0000"] == b"auto eth0\niface eth0 inet dhcp\n"
    assert json.loads(files[META])["network_config"]["content_path"] == "/content/0000"
    assert NETWORK not in files


def specs(lab):
    return lab.world.guests.specs


def test_a_run_once_initialization_is_not_stored(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        once = types.Vm(
            initialization=types.Initialization(host_name="once", authorized_ssh_keys="ssh-rsa KEY k")
        )
        await lab.up(vm_id, use_cloud_init=True, vm=once)
        assert json.loads(specs(lab)[-1].config_drive[META])["hostname"] == "once"
        assert "KEY" not in (await lab.request("GET", f"/vms/{vm_id}?all_content=true")).text
        await lab.call(lab.vms.vm_service(vm_id).stop)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "down")
        await lab.up(vm_id)
        assert specs(lab)[-1].config_drive == {}

    play(scenario)


def test_a_stored_initialization_leaks_through_templates_to_their_vms(play):
    async def scenario(lab):
        stored = types.Initialization(
            user_name="builder", authorized_ssh_keys="ssh-rsa KEY k", root_password="secret"
        )
        vm_id = await lab.create("web", initialization=stored)
        read = await lab.call(lab.vms.vm_service(vm_id).get)
        assert (read.initialization.user_name, read.initialization.root_password) == ("builder", "******")
        source = types.Template(name="golden", vm=types.Vm(id=vm_id))
        golden = await lab.call(lab.system.templates_service().add, source)
        await lab.wait(lambda: lab.world.templates[golden.id].status, "ok")
        await lab.wait(lambda: lab.world.templates[golden.id].attachments[0].disk.status, "ok")
        clone = await lab.create("clone", template=types.Template(id=golden.id))
        await lab.up(clone)
        assert json.loads(specs(lab)[-1].config_drive[META])["public_keys"] == ["ssh-rsa KEY k"]
        assert yaml.safe_load(specs(lab)[-1].config_drive[USER])["password"] == "secret"

    play(scenario)


def test_ignition_is_given_as_it_is_where_the_engine_has_nothing_to_add():
    script = '{ "ignition": {"version": "3.3.0"} }'
    files = ignition_drive(Initialization(custom_script=script, authorized_ssh_keys="ssh-rsa KEY k"))
    assert files[USER] == script.encode()
    assert json.loads(files[META])["public_keys"] == ["ssh-rsa KEY k"]
    assert json.loads(ignition_drive(None)[USER]) == {"ignition": {"version": "2.2.0"}}
    added = json.loads(ignition_drive(Initialization(custom_script=script, host_name="web"))[USER])
    assert added["storage"]["files"][0]["contents"] == {"source": "data:,web"}
    with pytest.raises(ValueError, match="password"):
        ignition_drive(Initialization(user_name="core"))


def test_windows_is_given_an_answer_file_with_its_places_filled():
    (text,) = answer_file(Initialization(root_password="a$b"), "a-name-of-17-long").values()
    assert b"<ComputerName><![CDATA[a-name-of-17-lo]]>" in text
    assert b"<Value><![CDATA[a$b]]>" in text
    assert b"ProductKey" not in text
    own = Initialization(custom_script="$OrgName$ $ProductKey$", org_name="us")
    assert answer_file(own, "web") == {"Unattend.xml": b"us $ProductKey$"}


@pytest.mark.parametrize(
    ("os_type", "asked", "drive", "floppy"),
    [
        ("debian_9", "use_cloud_init", True, False),
        ("debian_9", "use_ignition", False, False),
        ("debian_9", "use_sysprep", False, False),
        ("rhcos_x64", "use_ignition", True, False),
        ("rhcos_x64", "use_cloud_init", False, False),
        ("windows_2022", "use_sysprep", False, True),
        ("windows_2022", "use_cloud_init", False, False),
    ],
)
def test_what_an_operating_system_does_not_take_is_dropped_without_a_word(
    play, os_type, asked, drive, floppy
):
    async def scenario(lab):
        vm_id = await lab.create("web", os=types.OperatingSystem(type=os_type))
        once = types.Vm(initialization=types.Initialization(host_name="once"))
        await lab.up(vm_id, vm=once, **{asked: True})
        spec = specs(lab)[-1]
        assert (bool(spec.config_drive), bool(spec.floppy)) == (drive, floppy)

    play(scenario)


def test_a_start_for_which_no_drive_can_be_made_fails_on_the_host(play):
    async def scenario(lab):
        vm_id = await lab.create("web", os=types.OperatingSystem(type="rhcos_x64"))
        once = types.Vm(initialization=types.Initialization(custom_script="no JSON"))
        await lab.call(lab.vms.vm_service(vm_id).start, use_ignition=True, vm=once)
        assert lab.world.vms[vm_id].status == "down"
        assert await lab.call(lab.system.events_service().list, search="type=119")

    play(scenario)
