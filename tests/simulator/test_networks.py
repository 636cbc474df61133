"""Networks, vNIC profiles, MAC pools and clusters."""

import pytest
from ovirtsdk4 import types


async def data_center(lab):
    return types.DataCenter(id=next(iter(lab.world.data_centers)))


def test_a_network_comes_with_a_profile_and_has_to_be_set_up_on_hosts(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        networks = lab.system.networks_service()
        vlan = types.Network(
            name="blue", data_center=await data_center(lab), vlan=types.Vlan(id=77), mtu=1500
        )
        made = await lab.call(networks.add, vlan)
        assert (made.vlan.id, made.mtu, made.vdsm_name) == (77, 1500, "blue")
        (profile,) = [one for one in lab.world.profiles.values() if one.network.name == "blue"]
        nics = lab.vms.vm_service(vm_id).nics_service()
        nic = types.Nic(name="nic2", vnic_profile=types.VnicProfile(id=profile.id))
        early = await lab.request(
            "POST",
            f"/vms/{vm_id}/nics",
            f'<nic><name>nic2</name><vnic_profile id="{profile.id}"/></nic>',
        )
        assert (early.status, "doesn't exist in the current Cluster" in early.text) == (409, True)
        cluster = next(iter(lab.world.clusters))
        members = lab.system.clusters_service().cluster_service(cluster).networks_service()
        await lab.call(members.add, types.Network(id=made.id, required=False))
        await lab.call(nics.add, nic)
        refused = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert "internal filter Network because network(s) blue are missing." in refused.text
        host = next(iter(lab.world.hosts))
        attachment = types.NetworkAttachment(
            network=types.Network(name="blue"), host_nic=types.HostNic(name="eth1")
        )
        await lab.call(
            lab.system.hosts_service().host_service(host).setup_networks,
            modified_network_attachments=[attachment],
        )
        await lab.up(vm_id)
        used = await lab.request("DELETE", f"/networks/{made.id}")
        assert (used.status, "is used by virtual machine: web" in used.text) == (409, True)

    play(scenario)


@pytest.mark.parametrize(
    ("name", "bridge"), [("a_short_one", "a_short_one"), ("bad name!", None), ("much_too_long_for_it", None)]
)
def test_a_bridge_has_a_name_that_the_kernel_takes(play, name, bridge):
    async def scenario(lab):
        made = await lab.call(
            lab.system.networks_service().add,
            types.Network(name=name, data_center=await data_center(lab)),
        )
        assert made.vdsm_name == (bridge or "on" + made.id.replace("-", "")[:13])

    play(scenario)


def test_a_profile_has_the_default_filter_another_or_none(play):
    async def scenario(lab):
        network = next(iter(lab.world.networks))
        filters = await lab.call(lab.system.network_filters_service().list)
        wanted = next(one.id for one in filters if one.name == "clean-traffic")
        bodies = {
            "plain": "",
            "own": f'<network_filter id="{wanted}"/>',
            "none": "<network_filter/>",
            "passing": "<pass_through><mode>enabled</mode></pass_through>",
        }
        for name, rest in bodies.items():
            made = await lab.request(
                "POST",
                "/vnicprofiles",
                f'<vnic_profile><name>{name}</name><network id="{network}"/>{rest}</vnic_profile>',
            )
            assert made.status == 201
        chosen = {one.name: one.filter_id for one in lab.world.profiles.values() if one.name in bodies}
        default = next(one.id for one in filters if one.name == "vdsm-no-mac-spoofing")
        assert chosen == {"plain": default, "own": wanted, "none": None, "passing": None}

    play(scenario)


def test_a_small_mac_pool_runs_dry(play):
    async def scenario(lab):
        pools = lab.system.mac_pools_service()
        ends = types.Range(from_="02:aa:bb:cc:00:00", to="02:aa:bb:cc:00:01")
        pool = await lab.call(pools.add, types.MacPool(name="tiny", ranges=[ends]))
        cluster = await lab.call(
            lab.system.clusters_service().add,
            types.Cluster(
                name="small",
                data_center=await data_center(lab),
                cpu=types.Cpu(architecture=types.Architecture.X86_64, type="Intel Nehalem Family"),
                mac_pool=types.MacPool(id=pool.id),
            ),
        )
        vm_id = await lab.create(
            "web", cluster=types.Cluster(id=cluster.id), template=types.Template(name="Blank")
        )
        macs = []
        for name in ("nic1", "nic2"):
            nic = await lab.call(lab.vms.vm_service(vm_id).nics_service().add, types.Nic(name=name))
            macs.append(nic.mac.address)
        assert macs == ["02:aa:bb:cc:00:00", "02:aa:bb:cc:00:01"]
        dry = await lab.request("POST", f"/vms/{vm_id}/nics", "<nic><name>nic3</name></nic>")
        assert (dry.status, "Not enough MAC addresses left" in dry.text) == (409, True)
        used = await lab.request("DELETE", f"/macpools/{pool.id}")
        assert (used.status, "Several Clusters (1) are using this MAC Pool" in used.text) == (409, True)
        kept = await lab.request("DELETE", f"/clusters/{cluster.id}")
        assert (kept.status, "One or more VMs are still assigned" in kept.text) == (409, True)
        await lab.call(lab.vms.vm_service(vm_id).remove)
        await lab.call(lab.system.clusters_service().cluster_service(cluster.id).remove)
        await lab.call(pools.mac_pool_service(pool.id).remove)

    play(scenario)


def test_a_range_that_is_none_is_refused(play):
    async def scenario(lab):
        body = "<mac_pool><name>p</name><ranges><range><from>zz</from><to>yy</to></range></ranges></mac_pool>"
        reply = await lab.request("POST", "/macpools", body)
        assert reply.status == 400
        assert "Attribute: macPool.ranges[0].macFrom" in reply.text

    play(scenario)


def test_a_data_center_is_found_by_what_is_in_it(play):
    async def scenario(lab):
        service = lab.system.data_centers_service()
        for search, names in (
            ("Clusters.name=Default", ["Default"]),
            ("clusters.name=other", []),
            ("storage.name=data", ["Default"]),
            ("status=up", ["Default"]),
            ("status=uninitialized", []),
        ):
            assert [one.name for one in await lab.call(service.list, search=search)] == names

    play(scenario)


def test_a_data_center_keeps_its_version_and_quota_mode(play):
    async def scenario(lab):
        service = lab.system.data_centers_service()
        version = types.Version(major=4, minor=7)
        mode = types.QuotaModeType.AUDIT
        made = await lab.call(
            service.add, types.DataCenter(name="old", local=False, version=version, quota_mode=mode)
        )
        shown = await lab.call(service.data_center_service(made.id).get)
        assert (shown.version.major, shown.version.minor, shown.quota_mode) == (4, 7, mode)

    play(scenario)
