"""Disks, attachments, NICs, networks: what is made, refused and found in use."""

import pytest
from ovirtsdk4 import types

ID = "e6dd91fd-35dc-4532-89b9-1e19aaed29f4"


def disk(rest="", disk_id="", name="data1"):
    given = f' id="{disk_id}"' if disk_id else ""
    return (
        f"<disk{given}><name>{name}</name><format>cow</format><provisioned_size>1073741824</provisioned_size>{rest}"
        "<storage_domains><storage_domain><name>data</name></storage_domain></storage_domains></disk>"
    )


def test_a_floating_disk_is_locked_then_ok_and_its_id_is_fenced(play):
    async def scenario(lab):
        reply = await lab.request("POST", "/disks", disk(disk_id=ID), Correlation_Id="make-disk")
        assert reply.status == 201
        assert "<status>locked</status>" in reply.text
        for _ in ("locked", "ok"):
            again = await lab.request("POST", "/disks", disk(disk_id=ID, name="other"))
            assert again.status == 409
            assert f"disk ID: {ID} is already used by the following existing disk: data1." in again.text
            await lab.wait(lambda: lab.world.disks[ID].status, "ok")
        events = await lab.call(lab.system.events_service().list, search="correlation_id=make-disk")
        assert [event.code for event in events] == [2021, 2020]
        await lab.request("DELETE", f"/disks/{ID}")
        assert (await lab.request("POST", "/disks", disk(disk_id=ID))).status == 409
        await lab.wait(lambda: ID in lab.world.disks, False)
        assert (await lab.request("POST", "/disks", disk(disk_id=ID))).status == 201

    play(scenario)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("<disk><name>d</name></disk>", 400, "Disk [provisionedSize, format] required for add"),
        (disk().replace("1073741824", "0"), 400, "Disk's provisioned size has to be greater than 0.]"),
        (disk().replace(">data<", ">nope<"), 404, "Entity not found: nope"),
        (disk("<sparse>false</sparse>"), 409, "(COW Preallocated backup-None) is incompatible"),
        (disk().replace("cow", "qcow2"), 400, "isn't a valid value for the 'DiskFormat' enumerated type"),
    ],
)
def test_a_disk_that_cannot_be_is_refused(play, body, status, text):
    async def scenario(lab):
        reply = await lab.request("POST", "/disks", body)
        assert reply.status == status
        assert text in reply.text

    play(scenario)


def attachment(inner, rest="<bootable>false</bootable><interface>virtio</interface>"):
    return f"<disk_attachment>{rest}{inner}</disk_attachment>"


def test_an_id_in_an_attachment_means_attach(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        reply = await lab.request("POST", f"/vms/{vm.id}/diskattachments", attachment(disk(disk_id=ID)))
        assert reply.status == 400
        assert "[Cannot attach Virtual Disk. The specified disk does not exist.]" in reply.text
        path = f"/vms/{vm.id}/diskattachments"
        made = await lab.request("POST", path, attachment(disk()), Correlation_Id="add")
        assert made.status == 201
        added = vm.attachments[-1].disk
        assert added.status == "locked"
        await lab.wait(lambda: added.status, "ok")
        events = await lab.call(lab.system.events_service().list, search="correlation_id=add")
        assert [event.code for event in events] == [97, 78]

    play(scenario)


def test_every_put_locks_the_disk_for_a_while(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        path = f"/disks/{vm.attachments[0].disk.id}"
        assert (await lab.request("PUT", path, "<disk/>")).status == 200
        busy = await lab.request("PUT", path, "<disk><name>new</name></disk>")
        assert "[Cannot edit Virtual Disk: The following disks are locked: ${diskAliases}." in busy.text
        await lab.wait(lambda: vm.attachments[0].disk.status, "ok")
        smaller = await lab.request("PUT", path, "<disk><provisioned_size>1</provisioned_size></disk>")
        assert smaller.status == 400
        eight = "<disk><provisioned_size>8589934592</provisioned_size></disk>"
        larger = await lab.request("PUT", path, eight)
        assert larger.status == 200
        assert await lab.wait(lambda: vm.attachments[0].disk.status, "ok") >= 8

    play(scenario)


def nic(name, profile_id):
    return f'<nic><name>{name}</name><vnic_profile id="{profile_id}"/></nic>'


def test_nics_get_addresses_of_the_pool_and_are_fenced(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        (lab_profile,) = (profile for profile in lab.world.profiles.values() if profile.name == "lab")
        nics = lab.vms.vm_service(vm.id).nics_service()
        profile = types.VnicProfile(id=lab_profile.id)
        made = await lab.call(nics.add, types.Nic(name="nic2", vnic_profile=profile))
        assert made.mac.address == "56:6f:ab:cd:00:01"
        path = f"/vms/{vm.id}/nics"
        same = await lab.request("POST", path, nic("nic2", lab_profile.id))
        assert (same.status, "Network interface name is already in use" in same.text) == (409, True)
        mac = f"<nic><name>nic3</name><mac><address>{made.mac.address}</address></mac></nic>"
        taken = await lab.request("POST", path, mac)
        assert "[MAC Address 56:6f:ab:cd:00:01 is already in use by VM or snapshot: web.]" in taken.text
        by_name = await lab.request(
            "POST", path, "<nic><name>nic4</name><vnic_profile><name>lab</name></vnic_profile></nic>"
        )
        assert (by_name.status, "vnic_profile" in by_name.text) == (201, False)
        unknown = await lab.request("POST", path, nic("nic5", ID))
        assert (unknown.status, "profile doesn't exist" in unknown.text) == (400, True)
        in_use = await lab.request("DELETE", f"/vnicprofiles/{lab_profile.id}")
        assert in_use.status == 409
        await lab.up(vm.id)
        plugged = await lab.request("DELETE", f"{path}/{made.id}")
        assert "The VM Network Interface is plugged to a running VM.]" in plugged.text

    play(scenario)


def test_a_profile_of_a_network_that_the_cluster_lacks_is_refused(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        center = next(iter(lab.world.data_centers))
        network = f'<network><name>far</name><data_center id="{center}"/></network>'
        made = await lab.request("POST", "/networks", network)
        assert made.status == 201
        (far,) = (profile for profile in lab.world.profiles.values() if profile.name == "far")
        reply = await lab.request("POST", f"/vms/{vm.id}/nics", nic("nic2", far.id))
        assert reply.status == 409
        assert "[The specified Logical Network doesn't exist in the current Cluster.]" in reply.text

    play(scenario)


def test_a_change_of_a_disk_holds_when_its_lock_ends(play):
    async def scenario(lab):
        disk = lab.world.add_disk("one")
        bigger = "<disk><name>two</name><provisioned_size>8589934592</provisioned_size></disk>"
        reply = await lab.request("PUT", f"/disks/{disk.id}", bigger)
        assert "<name>one</name>" in reply.text
        assert "<status>locked</status>" in reply.text
        assert (await lab.request("PUT", f"/disks/{disk.id}", bigger)).status == 409
        await lab.wait(lambda: disk.status, "ok")
        assert (disk.name, disk.size) == ("two", 8 << 30)

    play(scenario)


def test_moving_and_copying_a_disk_lock_it(play):
    async def scenario(lab):
        disk = lab.world.add_disk("one")
        center = disk.domain.data_center
        lab.world.add_storage_domain(center, "other")
        to_other = "<action><storage_domain><name>other</name></storage_domain></action>"
        assert (await lab.request("POST", f"/disks/{disk.id}/copy", "<action/>")).status == 400
        copied = await lab.request("POST", f"/disks/{disk.id}/copy", to_other)
        assert (copied.status, "<job " in copied.text) == (200, True)
        refused = await lab.request("POST", f"/disks/{disk.id}/move", to_other)
        assert refused.status == 409
        assert "[Cannot move Virtual Disk. Disk one is being moved or copied.]" in refused.text
        await lab.wait(lambda: disk.status, "ok")
        assert [(one.name, one.domain.name) for one in lab.world.disks.values() if one.name == "one"] == [
            ("one", "data"),
            ("one", "other"),
        ]
        assert (await lab.request("POST", f"/disks/{disk.id}/move", to_other)).status == 200
        await lab.wait(lambda: disk.status, "ok")
        assert disk.domain.name == "other"
        assert (await lab.request("POST", f"/disks/{disk.id}/move", to_other)).status == 400

    play(scenario)


def test_a_disk_may_be_told_its_own_id_but_no_other(play):
    async def scenario(lab):
        await lab.request("POST", "/disks", disk(disk_id=ID))
        await lab.wait(lambda: lab.world.disks[ID].status, "ok")
        other = await lab.request("PUT", f"/disks/{ID}", f'<disk id="{ID[::-1]}"><alias>a</alias></disk>')
        assert (other.status, "immutable field: id" in other.text) == (409, True)
        own = await lab.request("PUT", f"/disks/{ID}", f'<disk id="{ID}"><alias>a</alias></disk>')
        assert own.status == 200
        await lab.wait(lambda: lab.world.disks[ID].name, "a")

    play(scenario)


def test_a_disk_links_to_a_profile_that_can_be_read(play):
    async def scenario(lab):
        await lab.request("POST", "/disks", disk(disk_id=ID))
        shown = await lab.call(lab.system.disks_service().disk_service(ID).get)
        profile = await lab.call(lab.connection.follow_link, shown.disk_profile)
        assert (profile.id, profile.storage_domain.id) == (
            shown.disk_profile.id,
            shown.storage_domains[0].id,
        )
        again = await lab.call(lab.connection.follow_link, profile)
        assert again.name == profile.name
        assert (await lab.request("GET", f"/diskprofiles/{ID}")).status == 404

    play(scenario)


def test_the_job_of_an_extended_disk_ends_when_the_disk_is_free(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        disk_id = lab.world.vms[vm_id].attachments[0].disk.id
        size = lab.world.disks[disk_id].size + 4096
        body = f"<disk><provisioned_size>{size}</provisioned_size></disk>"
        await lab.request("PUT", f"/disks/{disk_id}", body, Correlation_Id="grow")
        (job,) = [one for one in lab.world.jobs.values() if one.correlation_id == "grow"]
        assert job.description == "Updating Disk debian-12_Disk1 properties for VMs: web"
        assert (job.status, lab.world.disks[disk_id].status) == ("started", "locked")
        await lab.wait(lambda: job.status, "finished")
        assert (lab.world.disks[disk_id].status, lab.world.disks[disk_id].size) == ("ok", size)
        smaller = await lab.request("PUT", f"/disks/{disk_id}", body.replace(str(size), "1"))
        assert smaller.status == 400

    play(scenario)
