"""What the engine comes with: fixed lists, users of the directory, profiles."""

import json

from lxml import etree
from ovirtsdk4 import types


def test_what_provisioning_clients_look_up(play):
    async def scenario(lab):
        system = lab.system
        systems = await lab.call(system.operating_systems_service().list)
        assert {"other", "rhel_9x64", "windows_11"} <= {one.name for one in systems}
        icon = await lab.request("GET", f"/icons/{systems[0].small_icon.id}")
        assert (icon.status, "<media_type>image/png</media_type>" in icon.text) == (200, True)
        found = await lab.call(system.instance_types_service().list, search="name=Large")
        assert [(one.name, one.memory) for one in found] == [("Large", 8 << 30)]
        levels = {one.id for one in await lab.call(system.cluster_levels_service().list)}
        assert {"4.7", "4.8"} <= levels
        level = await lab.call(system.cluster_levels_service().level_service("4.8").get)
        assert "create_vm" in {permit.name for permit in level.permits}
        policies = await lab.call(system.scheduling_policies_service().list)
        assert [one.name for one in policies if one.default_policy] == ["none"]
        option = await lab.request("GET", "/options/MaxNumOfVmCpus?version=4.8")
        assert "<value>{ppc=384, x86=710, s390x=384}</value>" in option.text
        assert (await lab.request("GET", "/options/Nonsense")).status == 404
        option = await lab.request("GET", "/options/MigrationPolicies?version=4.8")
        policies = json.loads(etree.fromstring(option.content).findtext("values/system_option_value/value"))
        assert [one["name"] for one in policies][::3] == ["Minimal downtime", "Very large VMs"]
        assert policies[0]["id"] == {"uuid": "80554327-0569-496b-bdeb-fcbbf52b827b"}

    play(scenario)


def test_all_that_permissions_are_on_can_be_followed(play):
    async def scenario(lab):
        user = lab.system.users_service().user_service(lab.world.admin.id)
        permissions = await lab.call(user.permissions_service().list)
        names = set()
        for permission in permissions:
            for link in (permission.role, permission.group, permission.user, permission.template):
                if link is not None:
                    names.add((await lab.call(lab.connection.follow_link, link)).name)
        assert {"admin", "Everyone", "Blank", "Small"} <= names
        assert [one.name for one in await lab.call(user.roles_service().list)] == ["SuperUser"]
        groups = lab.system.groups_service()
        (everyone,) = await lab.call(groups.list)
        of_group = await lab.call(groups.group_service(everyone.id).permissions_service().list)
        assert {one.id for one in of_group} < {one.id for one in permissions}
        listed = await lab.call(lab.system.templates_service().list)
        assert {one.name for one in listed} == {"Blank", "debian-12"}

    play(scenario)


def test_an_instance_type_of_ones_own_gives_a_vm_its_hardware(play):
    async def scenario(lab):
        service = lab.system.instance_types_service()
        topology = types.CpuTopology(sockets=2, cores=3, threads=1)
        wanted = types.InstanceType(name="huge", memory=5 << 30, cpu=types.Cpu(topology=topology))
        made = await lab.call(service.add, wanted)
        assert [one.name for one in await lab.call(service.list, search="name=huge")] == ["huge"]
        body = "<instance_type><name>Large</name></instance_type>"
        taken = await lab.request("POST", "/instancetypes", body)
        assert (taken.status, "already in use" in taken.text) == (409, True)
        own = service.instance_type_service(made.id)
        changed = await lab.call(own.update, types.InstanceType(memory=6 << 30))
        assert (changed.memory, changed.cpu.topology.cores) == (6 << 30, 3)
        vm_id = await lab.create("web", instance_type=types.InstanceType(id=made.id))
        vm = await lab.call(lab.vms.vm_service(vm_id).get)
        assert (vm.memory, vm.cpu.topology.sockets, vm.instance_type.id) == (6 << 30, 2, made.id)
        await lab.call(own.remove)
        vm = await lab.call(lab.vms.vm_service(vm_id).get)
        assert (vm.memory, vm.instance_type) == (6 << 30, None)

    play(scenario)


def test_only_who_is_in_the_directory_becomes_a_user(play):
    async def scenario(lab):
        domain = "<domain><name>internal-authz</name></domain>"
        ghost = f"<user><user_name>ghost@internal-authz</user_name>{domain}</user>"
        refused = await lab.request("POST", "/users", ghost)
        assert (refused.status, "ADUSER@internal-authz:: username=ghost" in refused.text) == (404, True)
        users = await lab.call(lab.system.users_service().list)
        assert [(one.principal, one.user_name) for one in users] == [("admin", "admin@internal-authz")]

    play(scenario)


def test_a_template_belongs_to_who_made_it_until_it_goes(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        body = f'<template><name>golden</name><vm id="{vm.id}"/></template>'
        assert (await lab.request("POST", "/templates", body)).status == 201
        (template,) = lab.world.templates_named("golden")
        shown = await lab.request("GET", f"/templates/{template.id}/permissions")
        assert shown.text.count("<permission ") == 4
        await lab.wait(lambda: template.status, "ok")
        assert (await lab.request("DELETE", f"/templates/{template.id}")).status == 200
        assert (await lab.request("DELETE", f"/templates/{template.id}")).status == 409
        await lab.wait(lambda: template.id in lab.world.templates, False)
        assert not any(one.target == ("templates", template.id) for one in lab.world.permissions.values())

    play(scenario)
