"""Fetching by URL: what is let through, and what a server may do."""

import hashlib
import ipaddress

import pytest
import requests
import responses

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import Images
from ovirt_provision.images import fetch as fetching
from ovirt_provision.images.errors import FetchFailed, ImageCorrupt, NoRoomForImage, UrlRefused
from ovirt_provision.images.fetch import fetch, insist_on_fetchable, public_address
from ovirt_provision.images.store import ImageStore
from tests.image_files import RAW

SUM = f"sha256:{hashlib.sha256(RAW).hexdigest()}"
URL = "https://images.example.com/debian.raw"
PUBLIC = "93.184.216.34"

REFUSED = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1"),
    *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::", "::127.0.0.1"),
]


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def images(tmp_path, clock):
    return ImageStore(tmp_path / "images", Images.model_validate({}), clock)


@pytest.fixture
def server():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def at(*addresses):
    return lambda _host, _port: list(addresses)


async def get(images, clock, url=URL, addresses=None, **options):
    await fetch(images, "me", SUM, url, clock=clock, addresses=addresses or at(PUBLIC), **options)


def part_of(images, content):
    """What an earlier fetch has left."""
    file = images.path("me", SUM)
    images._folder.mkdir(mode=0o700)
    file.parent.mkdir(mode=0o700)
    file.with_name(f"{file.name}.part").write_bytes(content)


@pytest.mark.parametrize("address", REFUSED)
def test_no_address_of_ours_is_fetched_from(address):
    with pytest.raises(UrlRefused, match="no public address") as refused:
        public_address(URL, [], at(address))
    assert "allowed_networks" in refused.value.what_to_do
    with pytest.raises(UrlRefused):
        public_address(URL, [], at(PUBLIC, address))


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::808:808"])
def test_public_addresses_are(address):
    assert public_address(URL, [], at(address)) == address


def test_a_private_network_is_let_through_by_the_configuration_alone():
    assert public_address(URL, ["10.0.0.0/8"], at("10.1.2.3")) == "10.1.2.3"
    with pytest.raises(UrlRefused):
        public_address(URL, ["10.0.0.0/8"], at("192.168.1.1"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://images.example.com/a", "only https"),
        ("file:///etc/passwd", "only https"),
        ("ftp://images.example.com/a", "only https"),
        ("https:///a", "names no host"),
        ("https://me:secret@images.example.com/a", "user name or password"),
        ("https://images.example.com:99999/a", "malformed"),
        ("https://[::1/a", "malformed"),
    ],
)
def test_urls_of_other_kinds_are_refused(url, why):
    with pytest.raises(UrlRefused, match=why) as refused:
        insist_on_fetchable(url)
    assert "secret" not in str(refused.value)


async def test_an_image_is_fetched_and_told_in_bytes(images, clock, server):
    server.get(URL, RAW, auto_calculate_content_length=True)
    told = []
    await get(images, clock, show=lambda *now: told.append(now))
    assert images.path("me", SUM).read_bytes() == RAW
    assert told[-1] == (len(RAW), len(RAW))
    await get(images, clock)
    assert len(server.calls) == 1, "what is there is not fetched again"


@pytest.mark.parametrize(
    ("location", "addresses", "why"),
    [
        ("http://images.example.com/b", at(PUBLIC), "only https"),
        (
            "https://inside.example.com/b",
            lambda host, _: [PUBLIC if "images" in host else "10.0.0.1"],
            "no public",
        ),
        (
            "https://169.254.169.254/latest/meta-data",
            lambda host, _: [PUBLIC if "images" in host else host],
            "no pub",
        ),
    ],
)
async def test_a_redirect_to_where_nobody_is_let_is_not_followed(
    images, clock, server, location, addresses, why
):
    server.get(URL, status=302, headers={"Location": location})
    with pytest.raises(UrlRefused, match=why):
        await get(images, clock, addresses=addresses)
    assert len(server.calls) == 1


async def test_a_redirect_is_followed_and_a_circle_is_not(images, clock, server):
    server.get(URL, status=302, headers={"Location": "/there.raw"})
    there = server.get("https://images.example.com/there.raw", RAW)
    await get(images, clock)
    assert images.find("me", SUM) is not None
    images.remove("me", SUM)
    server.remove(there)
    server.get("https://images.example.com/there.raw", status=302, headers={"Location": URL})
    with pytest.raises(FetchFailed, match="redirected more than"):
        await get(images, clock)


async def test_the_connection_goes_to_the_address_that_was_looked_at(images, clock, monkeypatch):
    """A name that stands for another address a moment later changes nothing (DNS rebinding)."""
    asked, connected = [], []

    def addresses(host, _port):
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    def connect(pool, *_args, **_options):
        connected.append((pool.host, pool.conn_kw["server_hostname"], pool.assert_hostname))
        raise requests.ConnectionError("this far")

    monkeypatch.setattr("urllib3.connectionpool.HTTPSConnectionPool.urlopen", connect)
    with pytest.raises(FetchFailed):
        await get(images, clock, addresses=addresses)
    assert (asked, connected) == (["images.example.com"], [(PUBLIC, *["images.example.com"] * 2)])


async def test_a_proxy_of_the_environment_is_not_asked(images, clock, server, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    seen = []
    server.add_callback(
        "GET", URL, lambda request: seen.append(request.req_kwargs["proxies"]) or (200, {}, RAW)
    )
    await get(images, clock)
    assert not any(seen)


async def test_what_broke_off_is_gone_on_with_by_a_range(images, clock, server):
    part_of(images, RAW[:1000])

    def answer(request):
        assert request.headers["Range"] == "bytes=1000-"
        return 206, {"Content-Range": f"bytes 1000-{len(RAW) - 1}/{len(RAW)}"}, RAW[1000:]

    server.add_callback("GET", URL, answer)
    await get(images, clock)
    assert images.path("me", SUM).read_bytes() == RAW


async def test_a_server_that_ignores_ranges_is_read_from_the_beginning(images, clock, server):
    part_of(images, b"x" * 1000)
    server.get(URL, RAW)
    await get(images, clock)
    assert images.path("me", SUM).read_bytes() == RAW


async def test_a_server_that_has_less_than_there_is_is_read_from_the_beginning(images, clock, server):
    part_of(images, b"x" * (len(RAW) + 1))
    server.get(URL, status=416)
    server.get(URL, RAW)
    await get(images, clock)
    assert images.path("me", SUM).read_bytes() == RAW


async def test_another_range_than_was_asked_for_is_an_error(images, clock, server):
    part_of(images, RAW[:1000])
    server.get(URL, RAW, status=206, headers={"Content-Range": "bytes 0-9/10"})
    with pytest.raises(FetchFailed, match="another range"):
        await get(images, clock)


@pytest.mark.parametrize(
    ("content", "problem"), [(b"x" + RAW[1:], "another checksum"), (RAW[:-1], "another checksum")]
)
async def test_what_is_not_the_file_of_the_checksum_is_thrown_away(images, clock, server, content, problem):
    server.get(URL, content)
    with pytest.raises(ImageCorrupt, match=problem):
        await get(images, clock)
    assert images.received("me", SUM) == 0


async def test_a_server_that_says_no_is_told_without_the_query(images, clock, server):
    server.get(URL, status=404)
    with pytest.raises(FetchFailed, match=r"images.example.com/debian.raw cannot be fetched: HTTP 404"):
        await get(images, clock, f"{URL}?token=secret")


async def test_nobody_who_answers_is_told_without_the_query(images, clock, server):
    server.get(URL, body=requests.ConnectionError(f"no route to {URL}?token=secret"))
    with pytest.raises(FetchFailed) as failed:
        await get(images, clock, f"{URL}?token=secret")
    assert "secret" not in str(failed.value)


async def test_a_server_that_is_too_slow_is_left(images, clock, server, monkeypatch):
    """By the clock: each chunk takes it a minute."""
    monkeypatch.setattr(fetching, "_CHUNK", 10_000)
    put = fetching.Part.put

    def slow(part, chunk):
        clock.stand_still(60.0)
        put(part, chunk)

    monkeypatch.setattr(fetching.Part, "put", slow)
    server.get(URL, RAW)
    with pytest.raises(FetchFailed, match=r"sent \d+ bytes in 120 s"):
        await get(images, clock)
    assert 0 < images.received("me", SUM) < len(RAW), "what has come is kept"


async def test_a_file_without_a_length_cannot_fill_the_disk(tmp_path, clock, server):
    small = ImageStore(tmp_path / "images", Images.model_validate({"max_total_gib": 0.1}), clock)
    server.add(responses.Response("GET", URL, RAW, auto_calculate_content_length=False))
    with pytest.raises(NoRoomForImage):
        await get(small, clock)


def test_the_table_has_each_kind_of_address_that_is_not_public():
    kinds = {"is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified"}
    parsed = [ipaddress.ip_address(text.partition("%")[0]) for text in REFUSED]
    assert all(
        any(getattr(one, kind) for one in parsed if one.version == version)
        for kind in kinds
        for version in (4, 6)
    )
