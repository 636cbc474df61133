"""The life of a VM, as a client of the engine sees it."""

import ovirtsdk4
import pytest
from ovirtsdk4 import types

VM = types.VmStatus


def test_a_thin_vm_is_locked_then_down_and_its_disk_is_its_own(play):
    async def scenario(lab):
        vm = types.Vm(
            id="6A0F1A52-0000-4000-8000-000000000001",
            name="web",
            comment="mine",
            memory=2 << 30,
            cluster=types.Cluster(name="Default"),
            template=types.Template(name="debian-12"),
        )
        made = await lab.call(lab.vms.add, vm, headers={"Correlation-Id": "make-web"})
        assert (made.id, made.status, made.comment) == (vm.id.lower(), VM.IMAGE_LOCKED, "mine")
        assert (made.memory, made.memory_policy.guaranteed) == (2 << 30, 2 << 30)
        service = lab.vms.vm_service(made.id)
        attachments = await lab.call(service.disk_attachments_service().list, follow="disk")
        template_disk = lab.world.templates_named("debian-12")[0].attachments[0].disk.id
        assert [(a.bootable, a.disk.status) for a in attachments] == [(True, types.DiskStatus.LOCKED)]
        assert attachments[0].id != template_disk
        await lab.ready(made.id)
        assert [nic.name for nic in await lab.call(service.nics_service().list)] == ["nic1"]
        events = await lab.call(lab.system.events_service().list, search="correlation_id=make-web")
        assert [event.code for event in events] == [53, 37]
        for status in (types.JobStatus.STARTED, types.JobStatus.FINISHED):
            jobs = await lab.call(lab.system.jobs_service().list, search="correlation_id=make-web")
            assert [job.status for job in jobs] == [status]
            await lab.clock.sleep(lab.world.timing.job_lag)

    play(scenario)


def test_a_vm_is_down_before_its_disk_is_free(play):
    async def scenario(lab):
        reply = await lab.request("POST", "/vms", create_body("web"))
        assert reply.status == 202
        assert "Location" not in reply.headers
        assert "<creation_status>pending</creation_status>" in reply.text
        vm = lab.world.vm_named("web")
        await lab.wait(lambda: vm.creation, dict.fromkeys(vm.creation, "complete"))
        assert vm.status == "image_locked"
        await lab.wait(lambda: vm.status, "down")
        refused = await lab.request("POST", f"/vms/{vm.id}/start", "<action/>")
        assert refused.status == 409
        assert (
            "[Cannot run VM: The following disks are locked: debian-12_Disk1. Please try again"
            in refused.text
        )
        assert refused.text.index("<fault>") < refused.text.index("<status>failed</status>")

    play(scenario)


def create_body(name, vm_id=""):
    given = f' id="{vm_id}"' if vm_id else ""
    return (
        f"<vm{given}><name>{name}</name><cluster><name>Default</name></cluster>"
        "<template><name>debian-12</name></template></vm>"
    )


def test_a_run_once_start_brings_the_guest_up_with_its_addresses(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        service = lab.vms.vm_service(vm_id)
        once = types.Vm(initialization=types.Initialization(user_name="builder", host_name="web"))
        await lab.call(service.start, use_cloud_init=True, vm=once)
        assert (await lab.call(service.get)).status == VM.WAIT_FOR_LAUNCH
        assert await lab.call(service.reported_devices_service().list) == []
        await lab.wait(lambda: lab.world.vms[vm_id].status, "powering_up")
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up")
        await lab.clock.sleep(lab.world.timing.guest_agent)
        vm = await lab.call(service.get, follow="nics,reported_devices")
        assert (vm.status, vm.run_once, vm.initialization) == (VM.UP, True, None)
        (device,) = vm.reported_devices
        assert device.mac.address == vm.nics[0].mac.address
        assert [(ip.address, ip.version) for ip in device.ips] == [("10.11.0.1", types.IpVersion.V4)]

    play(scenario)


def test_shutdown_and_stop_of_what_is_down_are_no_errors_but_reboot_is(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.up(vm_id)
        service = lab.vms.vm_service(vm_id)
        await lab.call(service.shutdown)
        assert (await lab.call(service.get)).status == VM.POWERING_DOWN
        await lab.wait(lambda: lab.world.vms[vm_id].status, "down")
        await lab.call(service.shutdown)
        await lab.call(service.stop)
        reply = await lab.request("POST", f"/vms/{vm_id}/reboot", "<action/>")
        assert reply.status == 409
        assert "because the VM is in Down status." in reply.text
        assert (await lab.call(service.get)).status == VM.DOWN

    play(scenario)


@pytest.mark.parametrize(
    ("vm_id", "name", "status", "text"),
    [
        (
            "same",
            "web",
            409,
            "[Cannot add VM. The VM name is already in use, please choose a unique name and try again.]",
        ),
        ("same", "other", 400, "[Cannot add VM. VM with the given Id already exists in the system.]"),
        (
            "",
            "web",
            409,
            "[Cannot add VM. The VM name is already in use, please choose a unique name and try again.]",
        ),
        ("zzz", "other", 400, "Invalid UUID string: zzz"),
    ],
)
def test_ids_and_names_are_fenced(play, vm_id, name, status, text):
    async def scenario(lab):
        made = await lab.create("web")
        body = create_body(name, made if vm_id == "same" else vm_id)
        reply = await lab.request("POST", "/vms", body)
        assert reply.status == status
        assert text in reply.text

    play(scenario)


def test_the_same_name_while_the_first_is_being_made_is_in_progress(play):
    async def scenario(lab):
        await lab.request("POST", "/vms", create_body("web"))
        reply = await lab.request("POST", "/vms", create_body("web"))
        assert reply.status == 409
        assert "Related operation is currently in progress" in reply.text

    play(scenario)


def test_deleting_a_vm_hides_it_at_once_and_its_disk_later(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        disk_id = lab.world.vms[vm_id].attachments[0].disk.id
        reply = await lab.request("DELETE", f"/vms/{vm_id}", Correlation_Id="end-web")
        assert reply.status == 200
        gone = await lab.request("GET", f"/vms/{vm_id}")
        assert (gone.status, gone.content, gone.headers.get("Content-Type")) == (404, b"", None)
        still = await lab.request("GET", f"/disks/{disk_id}")
        assert "<status>locked</status>" in still.text
        await lab.wait(lambda: disk_id in lab.world.disks, False)
        (job,) = await lab.call(lab.system.jobs_service().list, search="correlation_id=end-web")
        assert job.status == types.JobStatus.STARTED
        again = await lab.request("POST", "/vms", create_body("web", vm_id))
        assert again.status == 202

    play(scenario)


def test_detaching_a_disk_keeps_it(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        disk_id = lab.world.vms[vm_id].attachments[0].disk.id
        reply = await lab.request("DELETE", f"/vms/{vm_id}/diskattachments/{disk_id}")
        assert reply.status == 200
        await lab.request("DELETE", f"/vms/{vm_id}")
        await lab.clock.sleep(600)
        assert (await lab.request("GET", f"/disks/{disk_id}")).status == 200

    play(scenario)


def test_a_suspended_vm_goes_on_where_it_was_or_forgets_it(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        vm = lab.vms.vm_service(vm_id)
        with pytest.raises(ovirtsdk4.Error, match="VM is not up"):
            await lab.call(vm.suspend)
        await lab.up(vm_id)
        guest = lab.world.vms[vm_id].guest
        await lab.call(vm.suspend)
        assert (await lab.call(vm.get)).status is VM.SAVING_STATE
        await lab.wait(lambda: lab.world.vms[vm_id].status, "suspended")
        assert (await lab.call(vm.get)).host is None
        with pytest.raises(ovirtsdk4.Error, match="its state is not down") as caught:
            await lab.call(vm.remove)
        assert caught.value.code == 409

        await lab.call(vm.start)
        assert (await lab.call(vm.get)).status is VM.RESTORING_STATE
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up")
        assert lab.world.vms[vm_id].guest is guest

        await lab.call(vm.suspend)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "suspended")
        await lab.call(vm.stop)
        assert (await lab.call(vm.get)).status is VM.DOWN
        events = await lab.call(lab.system.events_service().list, search=f"vm.id={vm_id}")
        assert [event.code for event in events if event.code in (111, 501, 503)] == [111, 503, 501, 503, 501]

    play(scenario)


def test_a_reboot_brings_what_waits_for_the_next_run(play):
    async def scenario(lab):
        vm_id = await lab.create("web", memory=1 << 30)
        vm = lab.vms.vm_service(vm_id)
        await lab.up(vm_id)
        guest = lab.world.vms[vm_id].guest
        await lab.call(vm.reboot)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up")
        assert lab.world.vms[vm_id].guest is guest

        await lab.call(vm.update, types.Vm(memory=2 << 30))
        assert (await lab.call(vm.get)).next_run_configuration_exists
        await lab.call(vm.reboot)
        assert (await lab.call(vm.get)).status is VM.REBOOT_IN_PROGRESS
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up")
        shown = await lab.call(vm.get)
        assert (shown.memory, shown.next_run_configuration_exists) == (2 << 30, False)
        assert lab.world.vms[vm_id].guest is not guest

    play(scenario)


def test_what_of_a_running_vm_changes_at_once(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.up(vm_id)
        config = lab.world.vms[vm_id].config

        async def put(change):
            return await lab.request("PUT", f"/vms/{vm_id}", f"<vm>{change}</vm>")

        plugged = await put("<cpu><topology><sockets>4</sockets></topology></cpu>")
        assert "<next_run_configuration_exists>false<" in plugged.text
        assert config.findtext("cpu/topology/sockets") == "1"
        assert lab.world.vms[vm_id].config.findtext("cpu/topology/sockets") == "4"
        waiting = await put("<bios><boot_menu><enabled>true</enabled></boot_menu></bios>")
        assert "<next_run_configuration_exists>true<" in waiting.text
        assert lab.world.vms[vm_id].config.findtext("bios/boot_menu/enabled") == "false"
        assert (await put("<memory>2147483648</memory>")).status == 200
        refused = await put("<description>anything</description>")
        assert refused.status == 400
        assert "memory next run configuration already exists" in refused.text

    play(scenario)


def test_a_vm_takes_its_hardware_from_its_instance_type(play):
    async def scenario(lab):
        (large,) = await lab.call(lab.system.instance_types_service().list, search="name=Large")
        vm_id = await lab.create("web", instance_type=types.InstanceType(id=large.id), memory=3 << 30)
        vm = lab.vms.vm_service(vm_id)
        shown = await lab.call(vm.get)
        assert shown.instance_type.id == large.id
        assert shown.cpu.topology.sockets == large.cpu.topology.sockets == 2
        assert shown.cpu.architecture is types.Architecture.X86_64
        assert shown.memory == 3 << 30
        (small,) = await lab.call(lab.system.instance_types_service().list, search="name=Small")
        await lab.call(vm.update, types.Vm(instance_type=types.InstanceType(id=small.id)))
        shown = await lab.call(vm.get)
        assert (shown.instance_type.id, shown.memory) == (small.id, small.memory)
        with pytest.raises(ovirtsdk4.Error, match="GetInstanceType") as caught:
            await lab.create("db", instance_type=types.InstanceType(id=vm_id))
        assert caught.value.code == 404

    play(scenario)


def test_a_stateless_run_begins_and_ends_with_a_locked_vm(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        vm = lab.world.vms[vm_id]
        stateless = "<action><vm><stateless>true</stateless></vm></action>"
        busy = "Related operation is currently in progress"

        async def refused(change):
            reply = await lab.request("PUT", f"/vms/{vm_id}", f"<vm>{change}</vm>")
            return (reply.status, busy in reply.text) == (409, True)

        assert (await lab.request("POST", f"/vms/{vm_id}/start", stateless)).status == 200
        assert vm.status == "down"
        assert await refused("<description>x</description>")
        await lab.wait(lambda: vm.status, "up")
        assert (await lab.request("POST", f"/vms/{vm_id}/stop", "<action/>")).status == 200
        await lab.wait(lambda: vm.status, "down")
        assert await refused("<description>x</description>")
        await lab.clock.sleep(60)
        assert not await refused("<description>x</description>")

    play(scenario)


def test_what_a_vm_refers_to_can_be_followed(play):
    async def scenario(lab):
        domain = next(iter(lab.world.domains.values()))
        policy = types.VmPlacementPolicy(hosts=[types.Host(name="host1")], affinity=types.VmAffinity.PINNED)
        lease = types.StorageDomainLease(storage_domain=types.StorageDomain(id=domain.id))
        vm_id = await lab.create("web", placement_policy=policy, lease=lease)
        shown = await lab.call(lab.vms.vm_service(vm_id).get)
        host = await lab.call(lab.connection.follow_link, shown.placement_policy.hosts[0])
        assert host.name == "host1"
        assert (await lab.call(lab.connection.follow_link, shown.lease.storage_domain)).name == domain.name
        policy.hosts[0].name = "host9"
        with pytest.raises(ovirtsdk4.Error, match="Entity not found: host9"):
            await lab.create("db", placement_policy=policy)

    play(scenario)


def test_only_a_stateless_vm_tells_whether_it_uses_the_latest_version(play):
    async def scenario(lab):
        for name, stateless in (("web", True), ("db", False)):
            vm_id = await lab.create(name, stateless=stateless, use_latest_template_version=True)
            shown = await lab.call(lab.vms.vm_service(vm_id).get)
            assert shown.use_latest_template_version is (True if stateless else None)

    play(scenario)


def test_custom_properties_are_the_engines(play):
    async def scenario(lab):
        async def put(name, value):
            one = f"<custom_property><name>{name}</name><value>{value}</value></custom_property>"
            body = f"<vm><custom_properties>{one}</custom_properties></vm>"
            return (await lab.request("PUT", f"/vms/{vm_id}", body)).status

        vm_id = await lab.create("web")
        assert await put("hugepages", "2048") == 200
        (shown,) = (await lab.call(lab.vms.vm_service(vm_id).get)).custom_properties
        assert (shown.name, shown.value) == ("hugepages", "2048")
        assert await put("hugepages", "many") == 400
        assert await put("hugepage", "2048") == 400

    play(scenario)
