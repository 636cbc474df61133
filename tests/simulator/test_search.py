"""The search language, and the lists that it is used on."""

from datetime import UTC, datetime

import pytest

from ovirt_provision.simulator.faults import Fault
from ovirt_provision.simulator.search import Field, Kind, search

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)
ROWS = [
    {
        "name": name,
        "status": status,
        "size": size,
        "id": f"{size:08x}-0000-4000-8000-000000000000",
        "tags": tags,
    }
    for name, status, size, tags in (
        ("SR0", "down", 1, []),
        ("sr0", "up", 2, ["lab"]),
        ("sr1", "image_locked", 3, ["lab", "old"]),
        ("sr_2", "down", 4, []),
    )
]
FIELDS = {
    "name": Field(lambda row: row["name"], free_text=True),
    "status": Field(lambda row: row["status"], Kind.STATUS, values=frozenset({"up", "down", "imagelocked"})),
    "size": Field(lambda row: row["size"], Kind.NUMBER),
    "id": Field(lambda row: row["id"], Kind.ID),
    "tag": Field(lambda row: row["tags"], Kind.CASED_TEXT),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["SR0", "sr0", "sr1", "sr_2"]),
        ("*", ["SR0", "sr0", "sr1", "sr_2"]),
        ("name=sr0", ["SR0", "sr0"]),
        ("NAME = SR1", ["sr1"]),
        ('name="sr1"', ["sr1"]),
        ("name=sr*", ["SR0", "sr0", "sr1", "sr_2"]),
        ("name=sr_2", ["sr_2"]),
        ("name=sr_1", []),
        ("name=sr%", []),
        ("sr1", ["sr1"]),
        ("name=sr1 or name=sr_2", ["sr1", "sr_2"]),
        ("name=sr* and status!=down", ["sr0", "sr1"]),
        ("status=imagelocked", ["sr1"]),
        ("status=image_locked", []),
        ("name=sr* and (status=up or size>3)", ["sr0", "sr_2"]),
        ("size<=2", ["SR0", "sr0"]),
        ("tag=lab", ["sr0", "sr1"]),
        ("tag=LAB", []),
        ("name=sr* sortby size desc", ["sr_2", "sr1", "sr0", "SR0"]),
        ("sortby size desc page 1", ["sr_2", "sr1", "sr0", "SR0"]),
        ("id=00000003-0000-4000-8000-000000000000", ["sr1"]),
        ("bogus=x", []),
        ("name=", []),
        ("((", []),
        ("name~sr", []),
        ("name=sr1 name=sr2", []),
        ("name=sr* status=up", ["sr0"]),
        ("size>1 name=sr* or name=SR0 sortby size", ["SR0", "sr0", "sr1", "sr_2"]),
    ],
)
def test_a_search_finds_what_the_engine_would(text, found):
    assert [row["name"] for row in search(ROWS, text, FIELDS, now=NOW)] == found


def test_case_matters_only_on_request():
    assert [row["name"] for row in search(ROWS, "name=SR0", FIELDS, case_sensitive=True, now=NOW)] == ["SR0"]


def test_max_cuts_and_pages_have_its_size():
    def names(text, maximum):
        return [row["name"] for row in search(ROWS, text, FIELDS, maximum=maximum, now=NOW)]

    assert names("", 3) == ["SR0", "sr0", "sr1"]
    assert names("", 0) == []
    assert names("name=sr* page 2", 3) == ["sr_2"]
    assert names("name=sr* page 3", 3) == []


def test_a_malformed_id_is_the_databases_error():
    with pytest.raises(Fault, match="invalid input syntax for type uuid") as caught:
        search(ROWS, "id=x", FIELDS, now=NOW)
    assert caught.value.status == 400


def test_events_are_tailed_by_id_and_newest_first(play):
    async def scenario(lab):
        for name in ("a", "b", "c"):
            lab.world.log(34, vm=lab.world.add_vm(name), job=None)
        read = lab.system.events_service().list
        before = lab.world.events[0].id - 1
        events = await lab.call(read, from_=before)
        assert [event.vm.name for event in events if event.code == 34] == ["c", "b", "a"]
        last = events[0].index
        assert await lab.call(read, from_=last) == []
        assert [event.index for event in await lab.call(read, from_=before, max=1)] == [last]
        first = await lab.call(read, search="type=34 sortby time asc", max=1)
        assert first[0].vm.name == "a"
        assert [
            one.vm.name for one in await lab.call(read, search=f"vm.id={lab.world.vm_named('b').id}")
        ] == ["b"]

    play(scenario)


def test_lists_follow_links_into_each_row(play):
    async def scenario(lab):
        lab.world.add_vm("a")
        lab.world.add_vm("b")
        found = await lab.call(
            lab.vms.list, search="name=*", follow="nics.vnic_profile,disk_attachments.disk,cluster"
        )
        assert [vm.name for vm in found] == ["a", "b"]
        for vm in found:
            assert vm.nics[0].vnic_profile.name == "ovirtmgmt"
            assert vm.disk_attachments[0].disk.provisioned_size == 4 << 30
            assert vm.cluster.name == "Default"

    play(scenario)
