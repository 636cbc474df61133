"""Quotas: the default one, limits, and what they refuse."""

from ovirtsdk4 import types

DISK = (
    "<disk><format>cow</format><provisioned_size>{}</provisioned_size>{}"
    "<storage_domains><storage_domain><name>data</name></storage_domain></storage_domains></disk>"
)


def test_an_enforced_quota_refuses_what_is_beyond_its_limit(play):
    async def scenario(lab):
        center = next(iter(lab.world.data_centers))
        service = lab.system.data_centers_service().data_center_service(center)
        quotas = service.quotas_service()
        (default,) = await lab.call(quotas.list)
        assert (default.name, default.id) == ("Default", lab.world.data_centers[center].quota_id)
        made = await lab.call(quotas.add, types.Quota(name="small"))
        limit = await lab.request(
            "POST",
            f"/datacenters/{center}/quotas/{made.id}/quotastoragelimits",
            "<quota_storage_limit><limit>3</limit></quota_storage_limit>",
        )
        assert limit.status == 200
        await lab.call(service.update, types.DataCenter(quota_mode=types.QuotaModeType.ENABLED))
        pays = f'<quota id="{made.id}"/>'
        assert (await lab.request("POST", "/disks", DISK.format(2 << 30, pays))).status == 201
        beyond = await lab.request("POST", "/disks", DISK.format(2 << 30, pays))
        assert (beyond.status, "Quota has insufficient storage resources." in beyond.text) == (409, True)
        assert (await lab.request("POST", "/disks", DISK.format(2 << 30, ""))).status == 201
        unknown = await lab.request("POST", "/disks", DISK.format(1, f'<quota id="{center}"/>'))
        assert (unknown.status, "Quota doesn't exist." in unknown.text) == (400, True)

    play(scenario)
