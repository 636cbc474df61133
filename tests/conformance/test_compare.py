"""The comparator notices every kind of difference, and nothing else."""

import pytest

from tests.conformance.compare import Ids, compare_bodies, compare_headers

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
D = "dddddddd-0000-4000-8000-000000000004"

VM = f"""<?xml version="1.0"?>
<vm href="/ovirt-engine/api/vms/{A}" id="{A}">
    <name>web</name>
    <memory>1073741824</memory>
    <creation_time>2026-11-23T02:41:46.360Z</creation_time>
    <status>down</status>
    <fqdn>web.example</fqdn>
    <nics><nic id="{B}"><name>nic1</name></nic><nic id="{C}"><name>nic2</name></nic></nics>
</vm>"""


def differences(expected: str, got: str, ids: Ids | None = None) -> list[str]:
    return list(compare_bodies(expected, got, ids or Ids()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (A, D),
        ("2026-11-23T02:41:46.360Z", "2027-01-01T00:00:00.000Z"),
        ("web.example", "other.example"),
        ("<fqdn>web.example</fqdn>", ""),
        ("\n    <name>web</name>", "<name>web</name>"),
        (
            f'<nic id="{B}"><name>nic1</name></nic><nic id="{C}"><name>nic2</name></nic>',
            f'<nic id="{C}"><name>nic2</name></nic><nic id="{B}"><name>nic1</name></nic>',
        ),
    ],
    ids=["id", "time", "host fact", "host fact missing", "blanks", "order of a list"],
)
def test_what_makes_no_difference(old: str, new: str) -> None:
    assert old in VM
    assert differences(VM, VM.replace(old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("<name>web</name>", "<name>wbe</name>", "vm/name: 'web' / 'wbe'"),
        ("<memory>1073741824</memory>", "", "vm/memory: '1073741824' / none"),
        ("<status>down</status>", "<status>down</status><origin>ovirt</origin>", "vm/origin: none / 'ovirt'"),
        ("<name>nic2</name>", "<name>nic3</name>", "vm/nics/nic[nic2]: <nic> with name / none"),
        (
            f"/api/vms/{A}",
            f"/api/v4/vms/{A}",
            f"vm@href: '/ovirt-engine/api/vms/{A}' / '/ovirt-engine/api/v4/vms/{A}'",
        ),
        (
            "2026-11-23T02:41:46.360Z",
            "yesterday",
            "vm/creation_time: '2026-11-23T02:41:46.360Z' / 'yesterday'",
        ),
    ],
    ids=["text", "missing", "too much", "member of a list", "href", "time that is none"],
)
def test_what_makes_one(old: str, new: str, difference: str) -> None:
    assert old in VM
    assert difference in differences(VM, VM.replace(old, new))


def test_order_where_it_means_something() -> None:
    left = "<vms><vm><name>a</name></vm><vm><name>b</name></vm></vms>"
    right = "<vms><vm><name>b</name></vm><vm><name>a</name></vm></vms>"
    assert list(compare_bodies(left, right, Ids())) == []
    assert list(compare_bodies(left, right, Ids(), ordered=True)) == ["vms: in another order"]
    boot = "<devices><device>cdrom</device><device>hd</device></devices>"
    other = "<devices><device>hd</device><device>cdrom</device></devices>"
    assert differences(boot, other) != []


def test_an_id_stands_for_one_thing() -> None:
    ids = Ids()
    assert differences(f'<vm id="{A}"/>', f'<vm id="{B}"/>', ids) == []
    assert ids.translate(f"/vms/{A}/start") == f"/vms/{B}/start"
    assert differences(f'<disk><vm id="{A}"/></disk>', f'<disk><vm id="{B}"/></disk>', ids) == []
    assert differences(f'<disk><vm id="{A}"/></disk>', f'<disk><vm id="{C}"/></disk>', ids) != []


def test_ids_in_texts_are_mapped_too() -> None:
    ids = Ids()
    ids.learn(A, B)
    assert (
        differences(f"<fault><detail>no {A}</detail></fault>", f"<fault><detail>no {B}</detail></fault>", ids)
        == []
    )
    assert (
        differences(f"<fault><detail>no {A}</detail></fault>", f"<fault><detail>no {C}</detail></fault>", ids)
        != []
    )


def test_a_fault_has_to_say_the_same() -> None:
    fault = "<fault><detail>[Cannot run VM.]</detail><reason>Operation Failed</reason></fault>"
    assert differences(fault, fault.replace("run", "start")) != []
    assert differences(fault, fault.replace("Failed", "failed")) != []
    assert differences(fault, f"<action>{fault}</action>") == ["fault / action"]


def test_json_tells_a_string_from_a_number() -> None:
    assert differences('{"vm": [{"id": "1", "ok": "true"}]}', '{"vm": [{"id": "1", "ok": "true"}]}') == []
    assert differences('{"ok": "true"}', '{"ok": true}') == ["object/ok: '\"true\"' / 'true'"]
    assert differences("{}", '{"vm": [{"name": "a"}]}') != []


def test_bodies_that_are_neither_xml_nor_json() -> None:
    page = "<html><head><title>Error</title></head><body>Unauthorized</body></html>"
    assert differences(page, page) == []
    assert differences(page, page.replace("Unauthorized", "Forbidden")) != []
    assert differences(page, "") != []
    assert differences("", "<vm/>") != []


def test_headers_that_matter() -> None:
    def compare(expected: dict[str, str], got: dict[str, str], **sent: str) -> list[str]:
        headers = {name.replace("_", "-"): value for name, value in sent.items()}
        return list(compare_headers(headers, expected, got, Ids()))

    xml = {"Content-Type": "application/xml;charset=UTF-8"}
    assert compare(xml, {"Content-Type": "application/xml; charset=utf-8", "Server": "x"}) == []
    assert compare(xml, {}) != []
    assert compare({}, xml) != []
    assert (
        compare({"Location": "https://a/ovirt-engine/api/x"}, {"Location": "https://b:1/ovirt-engine/api/x"})
        == []
    )
    assert (
        compare({"Location": "https://a/ovirt-engine/api/x"}, {"Location": "https://a/ovirt-engine/api/y"})
        != []
    )
    assert compare({"Correlation-Id": "a"}, {"Correlation-Id": "b"}) == []
    assert compare({"Correlation-Id": "a"}, {"Correlation-Id": "b"}, Correlation_Id="a") != []
    assert compare({"Correlation-Id": "a"}, {}) != []
    assert compare({"Set-Cookie": "JSESSIONID=a"}, {}) != []
