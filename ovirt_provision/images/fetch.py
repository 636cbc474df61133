"""Fetching an image from a URL that a caller names, without becoming his way into our own networks.

Only https. Every address that a name stands for is looked at, and the connection goes to one of these: what
the name stands for a moment later does not matter. Redirects are followed one by one, each as a URL of its
own. What has come is resumed by ranges where the server has them.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters

from ovirt_provision import __version__
from ovirt_provision.clock import Clock
from ovirt_provision.errors import ProvisionError
from ovirt_provision.images.errors import FetchFailed, UrlRefused
from ovirt_provision.images.store import ImageStore, Part

_MOST_REDIRECTS = 5
_CHUNK = 1 << 20
# Seconds: to connect, and for the next byte.
_CONNECT, _READ = 10.0, 60.0
# A server that sends less than so many bytes in so many seconds keeps us for nothing.
_SLOWEST, _OVER = 64 << 10, 120.0
# Bytes of an unknown length for which room is made at a time.
_AT_A_TIME = 256 << 20

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Addresses = Callable[[str, int], Sequence[str]]


def addresses_of(host: str, port: int) -> Sequence[str]:
    """All addresses that a name stands for. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def shown(url: str) -> str:
    """Host and path of a URL: its query may be secret."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}{parts.path}"


def insist_on_fetchable(url: str) -> None:
    """Raises UrlRefused for a URL that is never fetched, whatever its name stands for."""
    why = ""
    try:
        parts = urlsplit(url)
        if parts.scheme != "https":
            why = "only https is fetched"
        elif not parts.hostname:
            why = "it names no host"
        elif parts.username is not None or parts.password is not None:
            why = "it holds a user name or password"
        _ = parts.port
    except ValueError:
        raise UrlRefused(url="the URL", why="it is malformed", remedy="Correct it.") from None
    if why:
        raise UrlRefused(url=shown(url), why=why, remedy="Take an https URL, or upload the image.")


def public_address(url: str, allowed: Sequence[str], addresses: Addresses) -> str:
    """The address to connect to for a URL. Raises UrlRefused unless all that its name stands for are public
    or in the networks that are `allowed`, and FetchFailed when it stands for nothing."""
    parts = urlsplit(url)
    try:
        found = addresses(parts.hostname or "", parts.port or 443)
    except OSError as error:
        raise FetchFailed(url=shown(url), why=error.strerror or str(error)) from None
    networks = [ipaddress.ip_network(network) for network in allowed]
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not all(_may_be(one, networks) for one in _inside(address) or [address]):
            raise UrlRefused(
                url=shown(url),
                why=f"{parts.hostname} is {address}, which is no public address",
                remedy="If it is meant, add its network to `images.allowed_networks` in its configuration.",
            )
    if not found:
        raise FetchFailed(url=shown(url), why="its name stands for no address")
    return found[0]


def _may_be(address: _Address, networks: Sequence[Any]) -> bool:
    if any(address in network for network in networks):
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _inside(address: _Address) -> list[_Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[_Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in ipaddress.ip_network("64:ff9b::/96"):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


class _Pinned(requests.adapters.HTTPAdapter):
    """Connects to one address, and has it prove that it is the host of the URL."""

    def __init__(self, address: str, host: str) -> None:
        self._address = address
        self._host = host
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(
        self,
        request: Any,
        verify: Any,
        proxies: Any = None,  # noqa: ARG002 - a proxy would choose the address itself
        cert: Any = None,
    ) -> Any:
        """As the adapter's, to our address."""
        where, how = self.build_connection_pool_key_attributes(request, verify, cert)
        named = {"assert_hostname": self._host, "server_hostname": self._host}
        return self.poolmanager.connection_from_host(
            **{**where, "host": self._address}, pool_kwargs={**how, **named}
        )


async def fetch(
    images: ImageStore,
    owner: str,
    checksum: str,
    url: str,
    *,
    clock: Clock,
    show: Callable[[int, int], None] = lambda _done, _total: None,
    addresses: Addresses | None = None,
) -> None:
    """Fetches an image into the store, unless it is there. `show` is told the bytes, and the total or 0.

    Raises UrlRefused, FetchFailed and what `Part` raises.
    """
    async with images.taking(owner, checksum) as part:
        if part is None:
            return
        one = _Fetch(images, part, url, clock, addresses or addresses_of)
        loop = asyncio.get_running_loop()

        def tell(done: int, total: int) -> None:
            loop.call_soon_threadsafe(show, done, total)

        one.show = tell
        try:
            with clock.hold():
                await asyncio.to_thread(one.run)
        finally:
            one.stop.set()
        await part.finish()


class _Fetch:
    """One fetch, in a thread of its own."""

    def __init__(self, images: ImageStore, part: Part, url: str, clock: Clock, addresses: Addresses) -> None:
        self._images = images
        self._part = part
        self._url = url
        self._clock = clock
        self._addresses = addresses
        self.stop = threading.Event()
        self.show: Callable[[int, int], None] = lambda _done, _total: None

    def run(self) -> None:
        """Raises as `fetch` does."""
        offset = self._part.received
        reply = self._open(offset)
        try:
            if reply.status_code == 416 and offset:
                reply.close()
                offset = 0
                reply = self._open(offset)
            if reply.status_code not in (200, 206):
                raise self._failed(f"HTTP {reply.status_code} {reply.reason or ''}".strip())
            goes_on = reply.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
            if reply.status_code == 206 and not goes_on:
                raise self._failed("the server sent another range than was asked for")
            if reply.status_code == 200:
                offset = 0  # it ignores ranges
            length = int(reply.headers.get("Content-Length") or 0)
            self._part.open(offset, offset + length if length else 0)
            self._read(reply, offset, offset + length if length else 0)
        except requests.RequestException as error:
            raise self._failed(_words(error)) from None
        finally:
            reply.close()

    def _read(self, reply: requests.Response, done: int, total: int) -> None:
        since, before, room = self._clock.monotonic(), done, done
        for chunk in reply.iter_content(_CHUNK):
            if self.stop.is_set():
                return
            if not total and done >= room:
                room = done + _AT_A_TIME
                self._images.make_room(_AT_A_TIME)
            self._part.put(chunk)
            done += len(chunk)
            self.show(done, total)
            now = self._clock.monotonic()
            if now - since >= _OVER:
                if done - before < _SLOWEST:
                    raise self._failed(f"the server sent {done - before} bytes in {now - since:.0f} s")
                since, before = now, done

    def _open(self, offset: int) -> requests.Response:
        """The answer of the server that has the image, after all redirects."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            insist_on_fetchable(url)
            address = public_address(url, self._images.limits.allowed_networks, self._addresses)
            host = urlsplit(url).hostname or ""
            session = requests.Session()
            # No proxy, and no password of a .netrc.
            session.trust_env = False
            session.mount("https://", _Pinned(address, host))
            headers = {"Accept-Encoding": "identity", "User-Agent": f"ovirt-provision/{__version__}"}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            try:
                reply = session.get(
                    url, headers=headers, stream=True, allow_redirects=False, timeout=(_CONNECT, _READ)
                )
            except requests.RequestException as error:
                raise self._failed(_words(error)) from None
            if not reply.is_redirect:
                return reply
            reply.close()
            url = urljoin(url, reply.headers["Location"])
        raise self._failed(f"it was redirected more than {_MOST_REDIRECTS} times")

    def _failed(self, why: str) -> ProvisionError:
        return FetchFailed(url=shown(self._url), why=why)


def _words(error: BaseException) -> str:
    """What went wrong, without the URL that libraries put into their messages."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (one for one in getattr(inner, "args", ()) if isinstance(one, BaseException)), None
        )
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    text = getattr(inner, "strerror", None) or getattr(inner, "verify_message", None)
    return text or type(inner).__name__
