"""What no client should send, and what many send at once: the simulator answers and stands."""

import asyncio
import gzip
import json
import ssl
import time

import pytest

from ovirt_provision.simulator.server import MAX_BODY

BOMB = "<!DOCTYPE vm [{}]><vm><name>&e9;</name></vm>".format(
    '<!ENTITY e0 "ha">' + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
)
QUADRATIC = f'<!DOCTYPE vm [<!ENTITY e "{"a" * 50_000}">]><vm><name>{"&e;" * 50_000}</name></vm>'
FILE = '<!DOCTYPE vm [<!ENTITY e SYSTEM "file:///etc/hostname">]><vm><name>&e;</name></vm>'
REMOTE = '<!DOCTYPE vm SYSTEM "http://127.0.0.1:1/x.dtd"><vm><name>a</name></vm>'
DEEP = "<vm>" * 100_000
LONG = f"<vm><name>{'a' * 12_000_000}</name></vm>"


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        QUADRATIC,
        FILE,
        REMOTE,
        DEEP,
        "<vm",
        "",
        "\x00",
        "<vm>\ud7ff&bogus;</vm>",
        "<vm xmlns='urn:x'/>",
        "[]",
    ],
    ids=[
        "bomb",
        "quadratic",
        "file",
        "remote",
        "deep",
        "cut",
        "empty",
        "zero",
        "entity",
        "namespace",
        "json",
    ],
)
def test_xml_that_is_none_is_a_400_at_once(play, body):
    async def scenario(lab):
        begin = time.process_time()
        reply = await lab.request("POST", "/vms", body)
        assert reply.status == 400
        assert "<reason>Request syntactically incorrect.</reason>" in reply.text
        assert "apidoc#services/vms/methods/add" in reply.text
        assert time.process_time() - begin < 3
        await stands(lab)

    play(scenario)


async def stands(lab):
    assert not lab.world.vms
    assert (await lab.request("GET", "/vms")).status == 200


@pytest.mark.parametrize("body", ["{", "[]", '"vm"', '{"name": ' * 50_000, '{"name": NaN'])
def test_json_that_is_none_is_a_400(play, body):
    async def scenario(lab):
        reply = await lab.request("POST", "/vms", body, Content_Type="application/json")
        assert (reply.status, "Request syntactically incorrect." in reply.text) == (400, True)
        await stands(lab)

    play(scenario)


def test_a_huge_body_is_refused(play):
    async def scenario(lab):
        assert (await lab.request("POST", "/vms", "x" * (MAX_BODY + 1))).status == 413
        await stands(lab)

    play(scenario)


def test_a_body_that_inflates_is_refused(play):
    async def scenario(lab):
        small = gzip.compress(b" " * (4 * MAX_BODY))
        reply = await lab.request("POST", "/vms", small, Content_Encoding="gzip")
        assert reply.status in (400, 413)
        await stands(lab)

    play(scenario)


def test_a_long_name_is_refused_as_such(play):
    async def scenario(lab):
        body = LONG.replace("</name>", "</name><cluster><name>Default</name></cluster><template id='{}'/>")
        body = body.format("00000000-0000-0000-0000-000000000000")
        reply = await lab.request("POST", "/vms", body)
        assert reply.status == 400
        await stands(lab)

    play(scenario)


def test_without_accept_it_is_xml_and_gzip_only_for_who_asks(play):
    async def scenario(lab):
        plain = await lab.request("GET", "/clusters", Accept=None, Accept_Encoding="identity")
        assert plain.headers["Content-Type"] == "application/xml;charset=UTF-8"
        assert "Content-Encoding" not in plain.headers
        packed = await lab.request("GET", "/clusters", Accept="*/*", Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.content == plain.content

    play(scenario)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/vms/%00", 404),
        ("/vms/..%2f..%2fetc", 404),
        ("/vms/%ff%fe", 404),
        ("/vms?search=" + "(" * 2000, 200),
        ("/vms?search=name%3D" + "*" * 200 + "x", 200),
        ("/vms?max=99999999999999999999", 200),
        ("/vms?follow=" + "disk_attachments." * 200, 500),
        ("/" + "vms/" * 1000, 404),
    ],
)
def test_paths_that_make_no_sense_are_answered(play, path, status):
    async def scenario(lab):
        begin = time.process_time()
        lab.world.add_vm("a" * 200)
        assert (await lab.request("GET", path)).status == status
        assert time.process_time() - begin < 3
        assert (await lab.request("GET", "/vms")).status == 200

    play(scenario)


def test_bytes_that_are_no_http_are_answered_and_do_no_harm(play):
    async def scenario(lab):
        trust = ssl.create_default_context(cafile=lab.simulator.ca_file)
        port = int(lab.simulator.url.rpartition(":")[2].partition("/")[0])
        for sent in (b"\x16\x03\x01 nothing\r\n\r\n", b"GET\r\n\r\n", b"A" * 100_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
            writer.write(sent)
            with lab.clock.hold():
                assert b"400" in await reader.readline()
            writer.close()
        plain_reader, plain = await asyncio.open_connection("127.0.0.1", port)
        plain.write(b"GET / HTTP/1.1\r\n\r\n")
        with lab.clock.hold():
            await plain_reader.read()
        plain.close()
        await stands(lab)

    play(scenario)


def test_two_hundred_connections_at_once_are_all_answered(play):
    async def scenario(lab):
        replies = await asyncio.gather(*(lab.request("GET", "/vms") for _ in range(200)))
        assert {reply.status for reply in replies} == {200}
        counts = json.loads((await lab.request("GET", "//simulator/requests")).text)
        assert counts["operations"]["GET /vms"] == 200

    play(scenario)
