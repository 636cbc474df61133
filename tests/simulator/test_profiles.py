"""Disk profiles of storage domains, CPU profiles of clusters."""

import pytest
from lxml import etree


@pytest.mark.parametrize(
    ("kind", "owner_tag", "owners", "last"),
    [
        ("disk_profile", "storage_domain", "domains", "Cannot remove last Disk profile in Storage Domain."),
        ("cpu_profile", "cluster", "clusters", "Cannot remove last CPU profile in Cluster."),
    ],
)
def test_a_profile_is_added_changed_and_removed(play, kind, owner_tag, owners, last):
    async def scenario(lab):
        path = f"/{kind.replace('_', '')}s"
        owner = next(iter(getattr(lab.world, owners).values()))

        async def names():
            found = etree.fromstring((await lab.request("GET", path)).content)
            return [one.findtext("name") for one in found]

        async def add(name, owner_id=owner.id):
            of = f'<{owner_tag} id="{owner_id}"/>'
            return await lab.request("POST", path, f"<{kind}><name>{name}</name>{of}</{kind}>")

        (first,) = etree.fromstring((await lab.request("GET", path)).content)
        refused = await lab.request("DELETE", f"{path}/{first.get('id')}")
        assert (refused.status, last in refused.text) == (409, True)
        made = await add("gold")
        assert (made.status, await names()) == (201, [owner.name, "gold"])
        twice = await add("gold")
        assert (twice.status, "Profile name is in use." in twice.text) == (409, True)
        assert (await add("silver", "00000000-0000-4000-8000-000000000000")).status == 404
        gold = etree.fromstring(made.content)
        below = gold.get("href").removeprefix("/ovirt-engine/api")
        assert (await lab.request("GET", below)).status == 200
        assert (await lab.request("GET", f"{path}/{gold.get('id')}/permissions")).status == 200
        qos = "00000000-0000-4000-8000-00000000000a"
        body = f'<{kind}><name>platinum</name><description>best</description><qos id="{qos}"/></{kind}>'
        changed = await lab.request("PUT", f"{path}/{gold.get('id')}", body)
        assert (changed.status, await names()) == (200, [owner.name, "platinum"])
        assert etree.fromstring(changed.content).find("qos").get("id") == qos
        assert (await lab.request("DELETE", f"{path}/{first.get('id')}")).status == 200
        assert await names() == ["platinum"]

    play(scenario)


def test_a_disk_keeps_the_profile_that_it_was_given(play):
    async def scenario(lab):
        domain = next(iter(lab.world.domains.values()))
        other = lab.world.add_storage_domain(domain.data_center, "data2")
        body = f'<disk_profile><name>gold</name><storage_domain id="{domain.id}"/></disk_profile>'
        made = await lab.request("POST", "/diskprofiles", body)
        profile = etree.fromstring(made.content).get("id")

        async def add(on):
            inner = f'<disk_profile id="{profile}"/><storage_domains><storage_domain id="{on.id}"/>'
            rest = "<format>cow</format><provisioned_size>1073741824</provisioned_size><name>d</name>"
            return await lab.request("POST", "/disks", f"<disk>{rest}{inner}</storage_domains></disk>")

        wrong = await add(other)
        assert (wrong.status, "is not assigned to Storage Domain data2" in wrong.text) == (409, True)
        disk = etree.fromstring((await add(domain)).content)
        assert disk.find("disk_profile").get("id") == profile
        used = await lab.request("DELETE", f"/diskprofiles/{profile}")
        assert (used.status, "are using this Profile" in used.text) == (409, True)

    play(scenario)
