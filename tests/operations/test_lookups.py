"""Templates, disks and networks that are described instead of named by id: the one, or why there is none."""

import time

import pytest

from ovirt_provision.errors import Ambiguous, InvalidRequest, NothingFound
from ovirt_provision.operations.lookups import (
    Named,
    find_disk,
    find_network,
    find_template,
    list_disks,
    list_networks,
    list_templates,
)
from tests.harness import ENGINE, TEMPLATE, Site, spec


async def furnish(site: Site) -> None:
    """`golden` in two versions, the second with the tag `linux`, and `silver`."""
    site.simulator.call("POST", "/tags", "<tag><name>linux</name></tag>")
    await site.run("CreateMachine", key="build", spec=spec())
    for name, fields in (
        ("golden", {}),
        ("golden", {"new_version": True, "tags": ["linux"]}),
        ("silver", {}),
    ):
        await site.run("CreateTemplate", machine_key="build", name=name, **fields)


def template(site: Site, named: Named, **fields: object) -> object:
    fields = {"tags": (), "latest": False, "version": 0, "counts": lambda _: True} | fields
    return find_template(site.bridge.engine(ENGINE), named, may_see=lambda name: name != "silver", **fields)


def test_the_one_template_that_is_described(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await furnish(s)
            asked = len(s.simulator.requests)
            for named, fields, version in (
                (Named("golden"), {"version": 1}, 1),
                (Named("golden"), {"latest": True}, 2),
                (Named("golden"), {"tags": ["linux"]}, 2),
                (Named(regex="^gold"), {"latest": True}, 2),
                (Named(regex="old.*n$"), {"version": 1}, 1),
            ):
                found = await template(s, named, **fields)
                assert (found.name, found.version) == ("golden", version), (named, fields)
            assert len(s.simulator.requests) - asked == 5, "a request each"

            with pytest.raises(Ambiguous, match=r"2 templates match: golden:1 .*golden:2") as several:
                await template(s, Named("golden"))
            assert "ask for the latest" in several.value.what_to_do
            with pytest.raises(NothingFound, match="did you mean 'golden'"):
                await template(s, Named("goldne"))
            with pytest.raises(NothingFound, match="of version 7"):
                await template(s, Named("golden"), version=7)
            with pytest.raises(NothingFound) as hidden:
                await template(s, Named("silvre"))
            assert "silver" not in str(hidden.value), "what a caller may not know is no near miss"
            with pytest.raises(NothingFound):
                await template(s, Named("silver"))

    run_virtually(scenario())


def test_lists_filter_by_the_same(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await furnish(s)
            engine = s.bridge.engine(ENGINE)

            async def names(named: Named, **fields: object) -> list[tuple[str, int]]:
                fields = {"tags": (), "latest": False, "may_see": lambda _: True} | fields
                return [(one.name, one.version) for one in await list_templates(engine, named, **fields)]

            assert await names(Named(regex="^(golden|silver)$")) == [
                ("golden", 1),
                ("golden", 2),
                ("silver", 1),
            ]
            assert await names(Named(regex="en"), latest=True) == [("golden", 2)]
            assert await names(Named(), tags=["linux"]) == [("golden", 2)]
            whole = await list_templates(
                engine,
                Named("golden"),
                tags=["linux"],
                latest=True,
                may_see=lambda _: True,
                follow="disk_attachments.disk,tags",
            )
            assert [(one.tags, len(one.disks), one.os_type != "") for one in whole] == [(("linux",), 1, True)]

    run_virtually(scenario())


def test_disks_and_networks(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec(clone=True))
            await s.run("DetachDisk", machine_key="build", name="golden-disk")
            engine = s.bridge.engine(ENGINE)
            everything = {"content_type": "", "counts": lambda _: True}
            found = await find_disk(engine, Named("golden-disk"), made_at=None, **everything)
            assert found.name == "golden-disk"
            with pytest.raises(NothingFound, match="did you mean 'golden-disk'"):
                await find_disk(engine, Named("golden-disc"), made_at=None, **everything)
            assert await list_disks(engine, Named(), content_type="iso", counts=lambda _: True) == []
            assert len(await list_disks(engine, Named(regex="disk"), **everything)) >= 1

            asked = len(s.simulator.requests)
            network = await find_network(engine, Named("ovirtmgmt"), data_center="")
            assert (network.data_center, list(network.vnic_profiles)) == ("Default", ["ovirtmgmt"])
            assert len(s.simulator.requests) - asked == 3, "however many networks there are"
            with pytest.raises(NothingFound, match="in data center 'Elsewhere'"):
                await find_network(engine, Named(regex="."), data_center="Elsewhere")
            assert await list_networks(engine, Named("nowhere"), data_center="") == []

    run_virtually(scenario())


def test_a_regular_expression_takes_linear_time_and_is_checked():
    test = Named(regex="(a+)+$").test()
    began = time.process_time()
    assert not test("a" * 250 + "!")
    # With backtracking it would take longer than the universe is old; this is the processor's time.
    assert time.process_time() - began < 5
    with pytest.raises(InvalidRequest, match="name_regex: '\\(' is no regular expression"):
        Named(regex="(").test()
    assert Named(regex="^deb").test()(TEMPLATE)
