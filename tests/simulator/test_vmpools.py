"""Pools of VMs: made with their VMs, one allocated, one detached, removed with the rest."""

from ovirtsdk4 import types


def test_a_pool_makes_gives_and_takes_its_vms_with_it(play):
    async def scenario(lab):
        (template,) = [one for one in lab.world.templates.values() if one.attachments]
        service = lab.system.vm_pools_service()
        wanted = types.VmPool(
            name="desk",
            size=2,
            cluster=types.Cluster(name="Default"),
            template=types.Template(id=template.id),
        )
        pool = await lab.call(service.add, wanted)
        assert (pool.size, pool.type, pool.stateful) == (2, types.VmPoolType.AUTOMATIC, False)
        first, second = (lab.world.vm_named(name).id for name in ("desk-1", "desk-2"))
        for vm_id in (first, second):
            await lab.ready(vm_id)
            await lab.ready_disks(vm_id)
        assert (await lab.call(lab.vms.vm_service(first).get)).vm_pool.id == pool.id
        kept = await lab.request("DELETE", f"/vms/{first}")
        assert (kept.status, "The VM is attached to a VM Pool." in kept.text) == (409, True)

        path = f"/vmpools/{pool.id}"
        given = await lab.request("POST", f"{path}/allocatevm", "<action/>")
        assert (given.status, f'id="{first}"' in given.text) == (200, True)
        await lab.wait(lambda: lab.world.vms[first].status, "up")
        running = await lab.request("DELETE", path)
        assert (running.status, "Not all VMs of the VM Pool are down: desk-1." in running.text) == (409, True)
        await lab.request("POST", f"{path}/allocatevm", "<action/>")
        empty = await lab.request("POST", f"{path}/allocatevm", "<action/>")
        assert (empty.status, "no available VMs in the VM Pool" in empty.text) == (409, True)

        await lab.wait(lambda: lab.world.vms[second].status, "up")
        for vm_id in (first, second):
            await lab.call(lab.vms.vm_service(vm_id).stop)
            await lab.wait(lambda vm_id=vm_id: lab.world.vms[vm_id].status, "down")
        await lab.call(lab.vms.vm_service(second).detach)
        await lab.call(service.pool_service(pool.id).remove)
        assert await lab.call(service.list) == []
        assert [vm.name for vm in await lab.call(lab.vms.list)] == ["desk-2"]

    play(scenario)


def test_a_pool_grows_and_does_not_shrink(play):
    async def scenario(lab):
        service = lab.system.vm_pools_service()
        blank = types.Template(name="Blank")
        wanted = types.VmPool(name="d?k", size=1, cluster=types.Cluster(name="Default"), template=blank)
        pool = await lab.call(service.add, wanted)
        grown = await lab.call(service.pool_service(pool.id).update, types.VmPool(size=3, description="more"))
        assert (grown.size, grown.description) == (3, "more")
        assert [vm.name for vm in await lab.call(lab.vms.list)] == ["d1k", "d2k", "d3k"]
        shrunk = await lab.request("PUT", f"/vmpools/{pool.id}", "<vm_pool><size>1</size></vm_pool>")
        assert shrunk.status == 409
        taken = await lab.request(
            "POST",
            "/vmpools",
            "<vm_pool><name>d?k</name><cluster><name>Default</name></cluster>"
            "<template><name>Blank</name></template></vm_pool>",
        )
        assert (taken.status, "The VM Pool name is already in use" in taken.text) == (409, True)

    play(scenario)
