"""What is done to whole disks, and the storage domains under them."""

import pytest
from ovirtsdk4 import types


async def second_domain(lab, name="data2"):
    return lab.world.add_storage_domain(next(iter(lab.world.data_centers.values())), name)


def move(name):
    return f"<action><storage_domain><name>{name}</name></storage_domain></action>"


def test_an_edit_is_seen_when_the_lock_is_gone(play):
    async def scenario(lab):
        disk = lab.world.add_disk("d")
        service = lab.system.disks_service().disk_service(disk.id)
        reply = await lab.call(service.update, types.Disk(name="renamed", provisioned_size=8 << 30))
        assert (reply.name, reply.provisioned_size, reply.status) == ("d", 4 << 30, types.DiskStatus.LOCKED)
        refused = await lab.request("PUT", f"/disks/{disk.id}", "<disk><name>x</name></disk>")
        assert (refused.status, "${diskAliases}" in refused.text) == (409, True)
        await lab.wait(lambda: disk.status, "ok")
        assert ((await lab.call(service.get)).name, disk.size) == ("renamed", 8 << 30)

    play(scenario)


def test_a_disk_moves_to_another_domain(play):
    async def scenario(lab):
        disk = lab.world.add_disk("d")
        target = await second_domain(lab)
        same = await lab.request("POST", f"/disks/{disk.id}/move", move("data"))
        assert (same.status, "source and target storage domains are the same" in same.text) == (400, True)
        nowhere = await lab.request("POST", f"/disks/{disk.id}/move", "<action/>")
        assert "Parameters 'storage_domain.id' or 'storage_domain.name' are mandatory" in nowhere.text
        assert (await lab.request("POST", f"/disks/{disk.id}/move", move("data2"))).status == 200
        assert disk.status == "locked"
        await lab.wait(lambda: (disk.status, disk.domain), ("ok", target))

    play(scenario)


def test_a_disk_is_copied_and_busy_meanwhile(play):
    async def scenario(lab):
        disk = lab.world.add_disk("d")
        await second_domain(lab)
        body = move("data2").replace("<action>", "<action><disk><name>twin</name></disk>")
        assert (await lab.request("POST", f"/disks/{disk.id}/copy", body)).status == 200
        busy = await lab.request("POST", f"/disks/{disk.id}/move", move("data2"))
        assert (busy.status, "Disk twin is being moved or copied." in busy.text) == (409, True)
        await lab.wait(lambda: disk.status, "ok")
        (twin,) = [one for one in lab.world.disks.values() if one.name == "twin"]
        assert (twin.status, twin.size, twin.domain.name) == ("ok", disk.size, "data2")

    play(scenario)


def test_a_disk_is_added_on_the_domain_at_whose_address_it_is(play):
    async def scenario(lab):
        target = await second_domain(lab)
        disks = lab.system.storage_domains_service().storage_domain_service(target.id).disks_service()
        wanted = types.Disk(name="d", format=types.DiskFormat.COW, provisioned_size=1 << 30)
        made = await lab.call(disks.add, wanted)
        assert [one.id for one in made.storage_domains] == [target.id]
        assert [one.id for one in await lab.call(disks.list)] == [made.id]

    play(scenario)


def test_a_disk_of_a_template_is_the_same_disk_on_each_domain_to_which_it_is_copied(play):
    async def scenario(lab):
        disk = lab.world.templates_named("debian-12")[0].attachments[0].disk
        target = await second_domain(lab)
        count = len(lab.world.disks)
        assert (await lab.request("POST", f"/disks/{disk.id}/copy", move("data2"))).status == 200
        assert disk.status == "locked"
        await lab.wait(lambda: disk.status, "ok")
        service = lab.system.disks_service().disk_service(disk.id)
        domains = (await lab.call(service.get)).storage_domains
        assert ([one.id for one in domains], len(lab.world.disks)) == ([disk.domain.id, target.id], count)
        found = await lab.call(lab.system.disks_service().list, search="storage=data2")
        assert [one.id for one in found] == [disk.id]
        on_target = lab.system.storage_domains_service().storage_domain_service(target.id)
        assert [one.id for one in await lab.call(on_target.disks_service().list)] == [disk.id]
        again = await lab.request("POST", f"/disks/{disk.id}/copy", move("data2"))
        assert (again.status, "One of the Template Images already exists." in again.text) == (409, True)
        path = f"/templates/{lab.world.template_of(disk).id}/diskattachments/{disk.id}"
        assert "A storage domain must be specified" in (await lab.request("DELETE", path)).text
        first = disk.domain
        assert (await lab.request("DELETE", f"{path}?storage_domain={first.id}")).status == 200
        await lab.wait(lambda: (disk.status, disk.domains), ("ok", [target]))
        last = await lab.request("DELETE", f"{path}?storage_domain={target.id}")
        assert (last.status, "the only remaining copy" in last.text) == (409, True)
        wrong = await lab.request("DELETE", f"{path}?storage_domain={first.id}")
        assert (wrong.status, "not related to disk" in wrong.text) == (409, True)
        moved = await lab.request("POST", f"/disks/{disk.id}/move", move("data2"))
        assert (moved.status, "not attached to any VM: debian-12_Disk1" in moved.text) == (409, True)

    play(scenario)


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        ("sparsify", "Sparsifying is not supported for QCOW2 disk d."),
        ("reduce", "[Cannot ${action} Storage. Reduce image isn't required for file based domains.]"),
    ],
)
def test_what_a_disk_does_not_need_is_refused(play, action, fault):
    async def scenario(lab):
        disk = lab.world.add_disk("d")
        reply = await lab.request("POST", f"/disks/{disk.id}/{action}", "<action/>")
        assert (reply.status, fault in reply.text) == (400, True)

    play(scenario)


def test_a_disk_of_a_running_vm_is_not_sparsified(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.up(vm_id)
        disk = lab.world.vms[vm_id].attachments[0].disk
        reply = await lab.request("POST", f"/disks/{disk.id}/sparsify", "<action/>")
        assert (reply.status, "is plugged to non-Down VMs: web" in reply.text) == (409, True)

    play(scenario)


def test_block_storage_has_no_sparse_raw_disks(play):
    async def scenario(lab):
        (await second_domain(lab, "fc")).storage_type = "fcp"
        body = (
            "<disk><format>raw</format><provisioned_size>1073741824</provisioned_size>{}"
            "<storage_domains><storage_domain><name>fc</name></storage_domain></storage_domains></disk>"
        )
        sparse = await lab.request("POST", "/disks", body.format(""))
        assert (sparse.status, "(RAW Sparse backup-None) is incompatible" in sparse.text) == (409, True)
        assert (await lab.request("POST", "/disks", body.format("<sparse>false</sparse>"))).status == 201

    play(scenario)


def test_a_domain_for_backups_takes_no_running_vm(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        domain = next(iter(lab.world.domains))
        await lab.up(vm_id)
        flag = "<storage_domain><backup>true</backup></storage_domain>"
        early = await lab.request("PUT", f"/storagedomains/{domain}", flag)
        assert (early.status, "attached to running VMs" in early.text) == (409, True)
        await lab.call(lab.vms.vm_service(vm_id).stop)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "down")
        assert (await lab.request("PUT", f"/storagedomains/{domain}", flag)).status == 200
        start = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert (start.status, "stored on a backup storage domain" in start.text) == (400, True)

    play(scenario)


def test_a_domain_is_made_attached_rested_and_detached(play):
    async def scenario(lab):
        domains = lab.system.storage_domains_service()
        made = await lab.call(
            domains.add,
            types.StorageDomain(
                name="extra",
                type=types.StorageDomainType.DATA,
                storage=types.HostStorage(type=types.StorageType.NFS, address="nas", path="/extra"),
                host=types.Host(name="host1"),
            ),
        )
        assert (await lab.call(domains.storage_domain_service(made.id).get)).status == (
            types.StorageDomainStatus.UNATTACHED
        )
        center = next(iter(lab.world.data_centers))
        attached = lab.system.data_centers_service().data_center_service(center).storage_domains_service()
        active = await lab.call(attached.add, types.StorageDomain(id=made.id))
        assert (active.status, active.master) == (types.StorageDomainStatus.ACTIVE, False)
        early = await lab.request("DELETE", f"/datacenters/{center}/storagedomains/{made.id}")
        assert (early.status, "Storage Domain's status is Active." in early.text) == (409, True)
        service = attached.storage_domain_service(made.id)
        await lab.call(service.deactivate)
        await lab.wait(lambda: lab.world.domains[made.id].status, "maintenance")
        await lab.call(service.remove)
        hostless = await lab.request("DELETE", f"/storagedomains/{made.id}")
        assert (hostless.status, "host parameter is missing" in hostless.text) == (400, True)
        await lab.call(domains.storage_domain_service(made.id).remove, host="host1")
        assert (await lab.request("GET", f"/storagedomains/{made.id}")).status == 404

    play(scenario)
