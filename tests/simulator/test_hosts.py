"""Hosts: maintenance, and their networks."""

from ovirtsdk4 import types


async def status(lab, host):
    return (await lab.call(lab.system.hosts_service().host_service(host).get)).status


def test_a_host_rests_and_comes_back(play):
    async def scenario(lab):
        host = next(iter(lab.world.hosts))
        service = lab.system.hosts_service().host_service(host)
        up = await lab.request("POST", f"/hosts/{host}/activate", "<action/>")
        assert (up.status, "[Cannot activate Host. Host in Up status.]" in up.text) == (409, True)
        await lab.call(service.deactivate)
        await lab.wait(lambda: lab.world.hosts[host].status, "maintenance")
        vm_id = await lab.create("web", template=types.Template(name="Blank"))
        rest = "<interface>virtio</interface><active>true</active>"
        floating = lab.world.add_disk("system")
        body = f'<disk_attachment>{rest}<disk id="{floating.id}"/></disk_attachment>'
        await lab.request("POST", f"/vms/{vm_id}/diskattachments", body)
        refused = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert "There is no host that satisfies current scheduling constraints" in refused.text
        await lab.call(service.activate)
        await lab.wait(lambda: lab.world.hosts[host].status, "up")
        await lab.up(vm_id)

    play(scenario)


def test_a_host_with_vms_and_no_other_stays_up(play):
    async def scenario(lab):
        await lab.up(await lab.create("web"))
        host = next(iter(lab.world.hosts))
        refused = await lab.request("POST", f"/hosts/{host}/deactivate", "<action/>")
        assert (refused.status, "cannot be switched to maintenance mode: host1" in refused.text) == (
            409,
            True,
        )
        removed = await lab.request("DELETE", f"/hosts/{host}")
        assert (removed.status, "Host is operational" in removed.text) == (409, True)
        assert await status(lab, host) == types.HostStatus.UP

    play(scenario)


def test_a_new_host_comes_up_by_itself(play):
    async def scenario(lab):
        host = types.Host(
            name="host2", address="192.0.2.2", root_password="x", cluster=types.Cluster(name="Default")
        )
        made = await lab.call(lab.system.hosts_service().add, host)
        assert made.status == types.HostStatus.UNASSIGNED
        await lab.wait(lambda: lab.world.hosts[made.id].status, "up")

    play(scenario)


def test_name_servers_are_addresses_and_at_most_three(play):
    async def scenario(lab):
        host = next(iter(lab.world.hosts))
        attachments = lab.system.hosts_service().host_service(host).network_attachments_service()
        (first, *_) = await lab.call(attachments.list)
        path = f"/hosts/{host}/networkattachments/{first.id}"

        def body(*servers):
            names = "".join(f"<name_server>{server}</name_server>" for server in servers)
            inner = f"<name_servers>{names}</name_servers>"
            return (
                "<network_attachment><dns_resolver_configuration>"
                f"{inner}</dns_resolver_configuration></network_attachment>"
            )

        bad = await lab.request("PUT", path, body("not-an-ip"))
        assert (bad.status, 'supplied "not-an-ip" is neither.' in bad.text) == (400, True)
        many = await lab.request("PUT", path, body(*(f"192.0.2.{number}" for number in range(1, 5))))
        assert (many.status, "size must be between 1 and 3" in many.text) == (400, True)
        assert (await lab.request("PUT", path, body("192.0.2.53", "192.0.2.54"))).status == 200
        shown = await lab.call(attachments.attachment_service(first.id).get)
        assert shown.dns_resolver_configuration.name_servers == ["192.0.2.53", "192.0.2.54"]

    play(scenario)


def test_a_vm_migrates_to_another_host(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.up(vm_id)
        vm = lab.vms.vm_service(vm_id)
        alone = await lab.request("POST", f"/vms/{vm_id}/migrate", "<action/>")
        assert (alone.status, "There is no host that satisfies" in alone.text) == (409, True)
        second = lab.world.add_host(lab.world.vms[vm_id].cluster, "host2")
        await lab.call(vm.migrate)
        assert (await lab.call(vm.get)).status == types.VmStatus.MIGRATING
        await lab.call(vm.cancel_migration)
        assert (await lab.call(vm.get)).status == types.VmStatus.UP
        await lab.call(vm.migrate, host=types.Host(name="host2"))
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up")
        assert (await lab.call(vm.get)).host.id == second.id

    play(scenario)


def test_a_host_has_a_kernel_command_line_even_if_it_is_empty(play):
    async def scenario(lab):
        (host,) = await lab.call(lab.system.hosts_service().list)
        assert (host.os.custom_kernel_cmdline, host.os.reported_kernel_cmdline) == ("", "")

    play(scenario)
