"""Export to a domain of that type, and import of what lies there."""

from lxml import etree
from ovirtsdk4 import types


async def export_domain(lab):
    """An export domain in the data center; its service."""
    host = types.Host(name="host1")
    storage = types.HostStorage(type=types.StorageType.NFS, address="192.0.2.7", path="/export")
    wanted = types.StorageDomain(
        name="shelf", type=types.StorageDomainType.EXPORT, host=host, storage=storage
    )
    made = await lab.call(lab.system.storage_domains_service().add, wanted)
    center = lab.system.data_centers_service().data_center_service(next(iter(lab.world.data_centers)))
    await lab.call(center.storage_domains_service().add, types.StorageDomain(id=made.id))
    return lab.system.storage_domains_service().storage_domain_service(made.id)


SHELF = types.StorageDomain(name="shelf")


async def count(lab, search):
    return len(await lab.call(lab.system.events_service().list, search=search))


def test_a_vm_goes_to_an_export_domain_and_comes_back_as_itself(play):
    async def scenario(lab):
        shelf = await export_domain(lab)
        vm_id = await lab.create("web", comment="mine")
        before = lab.world.vms[vm_id]
        (disk,) = [one.disk.id for one in before.attachments]
        vm = lab.vms.vm_service(vm_id)
        await lab.call(vm.export, storage_domain=SHELF, discard_snapshots=True)
        busy = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert (busy.status, "VM is being exported now" in busy.text) == (409, True)
        assert await lab.call(shelf.vms_service().list) == []
        await lab.wait(lambda: before.status, "down")
        (listed,) = await lab.call(shelf.vms_service().list)
        assert (listed.id, listed.name, listed.comment) == (vm_id, "web", "mine")
        assert await count(lab, f"type=1150 and vm.id={vm_id}") == 1
        inside = shelf.vms_service().vm_service(vm_id)
        assert [one.id for one in await lab.call(inside.disks_service().list)] == [disk]
        again = await lab.request(
            "POST",
            f"/vms/{vm_id}/export",
            "<action><storage_domain><name>shelf</name></storage_domain>"
            "<discard_snapshots>true</discard_snapshots></action>",
        )
        assert (again.status, "VM with the same identifier already exists." in again.text) == (409, True)

        cluster = types.Cluster(name="Default")
        present = await lab.request(
            "POST", f"/storagedomains/{listed.storage_domain.id}/vms/{vm_id}/import", "<action/>"
        )
        assert present.status == 409
        await lab.ready_disks(vm_id)
        macs = [nic.mac for nic in before.nics]
        await lab.call(vm.remove)
        await lab.wait(lambda: disk in lab.world.disks, False)
        await lab.call(inside.import_, cluster=cluster, storage_domain=types.StorageDomain(name="data"))
        assert (await lab.call(vm.get)).status == types.VmStatus.IMAGE_LOCKED
        await lab.ready(vm_id)
        await lab.ready_disks(vm_id)
        after = lab.world.vms[vm_id]
        assert [one.disk.id for one in after.attachments] == [disk]
        assert [nic.mac for nic in after.nics] == macs
        assert await count(lab, f"type=1152 and vm.id={vm_id}") == 1
        await lab.up(vm_id)

        await lab.call(inside.import_, clone=True, vm=types.Vm(name="twin"), cluster=cluster)
        twin = lab.world.vm_named("twin")
        await lab.ready(twin.id)
        assert twin.id != vm_id
        assert {nic.mac for nic in twin.nics}.isdisjoint(macs)
        await lab.call(inside.remove)
        assert await lab.call(shelf.vms_service().list) == []

    play(scenario)


def test_a_template_goes_to_an_export_domain_and_comes_back_beside_itself(play):
    async def scenario(lab):
        shelf = await export_domain(lab)
        (template,) = [one for one in lab.world.templates.values() if one.attachments]
        service = lab.system.templates_service().template_service(template.id)
        await lab.call(service.export, storage_domain=SHELF)
        await lab.wait(lambda: template.status, "ok")
        inside = shelf.templates_service().template_service(template.id)
        assert (await lab.call(inside.get)).name == template.name
        await lab.call(inside.import_, clone=True, template=types.Template(name="copy"))
        (made,) = [one for one in lab.world.templates.values() if one.name == "copy"]
        assert made.status == "locked"
        await lab.wait(lambda: made.status, "ok")
        assert await count(lab, "type=1158 and message=*copy*") == 1
        vm_id = await lab.create("web", template=types.Template(name="copy"))
        await lab.up(vm_id)

    play(scenario)


APPLIANCE = (
    "<external_{0}_import><url>ova:///tmp/{1}</url><{0}><name>{2}</name></{0}><host><name>host1</name></host>"
    "<cluster><name>Default</name></cluster><storage_domain><name>data</name></storage_domain>"
    "</external_{0}_import>"
)


def test_a_vm_that_runs_goes_to_a_file_of_a_host_and_comes_back_as_another(play):
    async def scenario(lab):
        vm_id = await lab.create("web", memory=3 << 30)
        await lab.up(vm_id)
        vm = lab.world.vms[vm_id]
        to_file = "<action><host><name>host1</name></host><directory>/tmp/</directory>{}</action>"
        reply = await lab.request("POST", f"/vms/{vm_id}/export", to_file.format(""))
        assert (reply.status, "<job " in reply.text) == (200, True)
        busy = await lab.request("POST", f"/vms/{vm_id}/export", to_file.format(""))
        assert (busy.status, "VM is being exported now" in busy.text) == (409, True)
        early = await lab.request("POST", "/externalvmimports", APPLIANCE.format("vm", "web.ova", "copy"))
        assert early.status == 400
        await lab.wait(lambda: vm.lock, None)
        assert (vm.status, vm.snapshots) == ("up", [])
        assert await count(lab, "type=1224 and message=*/tmp/web.ova*") == 1
        about = "as an OVA to /tmp/web.ova on Host host1"
        jobs = [job.status for job in lab.world.jobs.values() if about in job.description]
        assert sorted(jobs) == ["failed", "finished"]
        made = await lab.request("POST", "/externalvmimports", APPLIANCE.format("vm", "web.ova", "copy"))
        assert made.status == 201
        copy = lab.world.vms[etree.fromstring(made.content).find("vm").get("id")]
        assert (copy.status, copy.name, copy.id == vm_id) == ("image_locked", "copy", False)
        await lab.ready(copy.id)
        service = lab.vms.vm_service(copy.id)
        assert (await lab.call(service.get)).memory == 3 << 30
        assert {nic.mac for nic in copy.nics}.isdisjoint({nic.mac for nic in vm.nics})
        await lab.up(copy.id)

    play(scenario)


def test_a_template_goes_to_a_file_of_a_host_and_comes_back_as_another(play):
    async def scenario(lab):
        template = lab.world.templates_named("debian-12")[0]
        service = lab.system.templates_service().template_service(template.id)
        host = types.Host(name="host1")
        await lab.call(service.export_to_path_on_host, host=host, directory="/tmp", filename="golden.ova")
        assert template.status == "locked"
        await lab.wait(lambda: template.status, "ok")
        body = APPLIANCE.format("template", "golden.ova", "twin")
        wrong = await lab.request("POST", "/externalvmimports", body.replace("_template_", "_vm_"))
        assert wrong.status == 400
        assert (await lab.request("POST", "/externaltemplateimports", body)).status == 201
        (twin,) = lab.world.templates_named("twin")
        await lab.wait(lambda: twin.status, "ok")
        await lab.create("web", template=types.Template(name="twin"))

    play(scenario)


def test_an_appliance_wants_a_host_that_is_up(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        next(iter(lab.world.hosts.values())).status = "maintenance"
        to_file = "<action><host><name>host1</name></host><directory>/tmp</directory></action>"
        refused = await lab.request("POST", f"/vms/{vm_id}/export", to_file)
        assert (refused.status, "only when Host status is Up" in refused.text) == (409, True)
        nothing = await lab.request("POST", "/externalvmimports", "<external_vm_import/>")
        assert (nothing.status, "host.id|name" in nothing.text) == (400, True)

    play(scenario)


def test_what_cannot_be_exported_is_refused(play):
    async def scenario(lab):
        await export_domain(lab)
        vm_id = await lab.create("web")

        async def refusal(inner):
            reply = await lab.request("POST", f"/vms/{vm_id}/export", f"<action>{inner}</action>")
            return reply.status, reply.text

        to_shelf = "<storage_domain><name>shelf</name></storage_domain>"
        status, text = await refusal(to_shelf)
        assert (status, "Template does not exist in the Export Domain: debian-12" in text) == (409, True)
        status, text = await refusal("<storage_domain><name>data</name></storage_domain>")
        assert (status, "is not an Export Domain" in text) == (409, True)
        status, text = await refusal("<host><name>host1</name></host><directory>/none</directory>")
        assert (status, "Invalid target folder: /none on Host host1." in text) == (400, True)
        assert (await refusal(""))[0] == 400
        await lab.up(vm_id)
        status, text = await refusal(f"{to_shelf}<discard_snapshots>true</discard_snapshots>")
        assert (status, "At least one of the VMs is not down." in text) == (409, True)
        assert lab.world.vms[vm_id].status == "up"

    play(scenario)
