"""Watchdogs, NUMA nodes, the CD drive and filter parameters of NICs."""

import ovirtsdk4
import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator.entities import StorageDomain


def test_a_vm_has_at_most_one_watchdog(play):
    async def scenario(lab):
        vm = lab.vms.vm_service(await lab.create("web"))
        watchdogs = vm.watchdogs_service()
        dog = types.Watchdog(model=types.WatchdogModel.I6300ESB, action=types.WatchdogAction.RESET)
        made = await lab.call(watchdogs.add, dog)
        with pytest.raises(ovirtsdk4.Error) as caught:
            await lab.call(watchdogs.add, dog)
        assert caught.value.code == 409

        one = watchdogs.watchdog_service(made.id)
        await lab.call(one.update, types.Watchdog(action=types.WatchdogAction.PAUSE))
        (shown,) = await lab.call(watchdogs.list)
        assert (shown.model, shown.action) == (types.WatchdogModel.I6300ESB, types.WatchdogAction.PAUSE)
        assert shown.vm.id == vm._path.rsplit("/", 1)[1]
        await lab.call(one.remove)
        assert await lab.call(watchdogs.list) == []

    play(scenario)


def test_numa_nodes_differ_in_index_and_fit_into_the_memory(play):
    async def scenario(lab):
        vm = lab.vms.vm_service(await lab.create("web", memory=1 << 30))
        nodes = vm.numa_nodes_service()

        def node(index, memory):
            cores = [types.Core(index=index)]
            pins = [types.NumaNodePin(index=0)]
            return types.VirtualNumaNode(
                index=index, memory=memory, cpu=types.Cpu(cores=cores), numa_node_pins=pins
            )

        await lab.call(nodes.add, node(0, 512))
        for wrong, why in ((node(0, 256), "exists at least twice"), (node(1, 513), "total memory of 1025")):
            with pytest.raises(ovirtsdk4.Error, match=why) as caught:
                await lab.call(nodes.add, wrong)
            assert caught.value.code == 400
        await lab.call(nodes.add, node(1, 512))
        shown = await lab.call(nodes.list)
        assert [(one.index, one.memory, one.cpu.cores[0].index) for one in shown] == [
            (0, 512, 0),
            (1, 512, 1),
        ]
        await lab.call(nodes.node_service(shown[0].id).remove)
        assert [one.index for one in await lab.call(nodes.list)] == [1]

        missing = await lab.request(
            "POST", nodes._path, "<vm_numa_node><index>2</index><memory>1</memory></vm_numa_node>"
        )
        assert missing.status == 400

    play(scenario)


def test_a_disc_lies_in_the_drive_until_the_running_vm_changes_it(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        center = lab.world.vms[vm_id].cluster.data_center
        isos = StorageDomain("d0", "isos", center, "p0", type="iso", files=["a.iso", "b.iso"])
        lab.world.domains[isos.id] = isos
        (drive,) = await lab.call(lab.vms.vm_service(vm_id).cdroms_service().list)
        assert drive.file is None
        one = lab.vms.vm_service(vm_id).cdroms_service().cdrom_service(drive.id)
        with pytest.raises(ovirtsdk4.Error, match="VM is not running"):
            await lab.call(one.update, types.Cdrom(file=types.File(id="a.iso")), current=True)
        await lab.call(one.update, types.Cdrom(file=types.File(id="c.iso")))
        with pytest.raises(ovirtsdk4.Error, match="Invalid ISO image path"):
            await lab.call(lab.vms.vm_service(vm_id).start)
        await lab.call(one.update, types.Cdrom(file=types.File(id="a.iso")))
        await lab.up(vm_id)
        assert (await lab.call(one.get, current=True)).file.id == "a.iso"

        await lab.call(one.update, types.Cdrom(file=types.File(id="b.iso")), current=True)
        assert (await lab.call(one.get, current=True)).file.id == "b.iso"
        assert (await lab.call(one.get)).file.id == "a.iso"
        await lab.call(lab.vms.vm_service(vm_id).stop)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "down")
        assert (await lab.call(one.get, current=True)).file is None
        await lab.call(one.update, types.Cdrom(file=types.File(id="")))
        assert (await lab.call(one.get)).file is None

    play(scenario)


def test_a_nic_keeps_the_parameters_of_its_filter(play):
    async def scenario(lab):
        nics = lab.vms.vm_service(await lab.create("web")).nics_service()
        nic = await lab.call(nics.add, types.Nic(name="n1"))
        parameters = nics.nic_service(nic.id).network_filter_parameters_service()
        for value in ("01:02:03:ab:cd:ef", "01:02:03:ab:cd:f0"):
            await lab.call(parameters.add, types.NetworkFilterParameter(name="GATEWAY_MAC", value=value))
        shown = await lab.call(parameters.list)
        assert [(one.name, one.value) for one in shown] == [
            ("GATEWAY_MAC", "01:02:03:ab:cd:ef"),
            ("GATEWAY_MAC", "01:02:03:ab:cd:f0"),
        ]
        assert shown[0].nic.id == nic.id
        await lab.call(parameters.parameter_service(shown[0].id).remove)
        assert [one.id for one in await lab.call(parameters.list)] == [shown[1].id]

    play(scenario)
