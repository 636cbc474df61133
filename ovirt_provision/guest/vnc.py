"""A VNC client that types and nothing else: it asks for no picture.

Source: RFC 6143 (RFB 3.8), and the VeNCrypt extension as QEMU has it, by which hosts offer VNC over TLS.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct

_VERSION = b"RFB 003.008\n"
# Security types.
_VNC, _VENCRYPT = 2, 19
# VeNCrypt's: TLS with the server's certificate, and in it the ticket.
_X509_VNC = 261
_NAMES = {1: "None", 2: "VNC", 5: "RA2", 16: "Tight", 18: "TLS", 19: "VeNCrypt", 20: "SASL", 30: "Apple"}
_SUBTYPES = {
    256: "Plain",
    257: "TLSNone",
    258: "TLSVnc",
    259: "TLSPlain",
    260: "X509None",
    261: "X509Vnc",
    262: "X509Plain",
    263: "TLSSASL",
    264: "X509SASL",
}
_LONGEST_TEXT = 4096
_KEY_EVENT = 4


class VncUnreachable(Exception):
    """Nobody answers there; the text says what happened instead."""


class VncUnsupported(Exception):
    """Whoever answers speaks no VNC that this client speaks."""


class VncTlsRefused(Exception):
    """The server's certificate does not verify, or TLS fails otherwise."""


class VncTicketRefused(Exception):
    """The server does not take the ticket."""


class VncLost(Exception):
    """The connection has ended."""


class VncClient:
    """A connection to a console, from `connect` on. `encrypted` is whether it goes over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._discarding: asyncio.Task[None] | None = None
        self.encrypted = False

    @classmethod
    async def connect(
        cls, address: str, port: int, ticket: str, tls: ssl.SSLContext, seconds: float
    ) -> "VncClient":
        """Opens a console with a ticket, of which VNC knows 8 characters; over TLS, as `tls` says, where the
        server offers it. It may take so many real seconds.

        Raises VncUnreachable, VncUnsupported, VncTlsRefused and VncTicketRefused, of which none tells the
        ticket.
        """
        client: VncClient | None = None
        try:
            async with asyncio.timeout(seconds):
                client = cls(*await asyncio.open_connection(address, port))
                await client._open(address, ticket, tls)
        except BaseException as error:
            if client is not None:
                client._writer.close()
            if isinstance(error, ssl.SSLError):
                raise VncTlsRefused(_text_of(error)) from None
            if isinstance(error, asyncio.IncompleteReadError):
                raise VncUnreachable("it hangs up before the console is open") from None
            if isinstance(error, TimeoutError):
                raise VncUnreachable(f"no answer within {seconds:g} s") from None
            if isinstance(error, OSError):
                raise VncUnreachable(_reason(error)) from None
            raise
        client._discarding = asyncio.create_task(client._discard())
        return client

    @property
    def lost(self) -> bool:
        """Whether the other side has hung up."""
        return self._discarding is not None and self._discarding.done()

    async def send(self, keysym: int, *, down: bool) -> None:
        """Presses a key or lets it up. Raises VncLost."""
        if self.lost:
            raise VncLost
        self._writer.write(struct.pack(">BBxxI", _KEY_EVENT, down, keysym))
        try:
            await self._writer.drain()
        except OSError:
            raise VncLost from None

    async def close(self) -> None:
        """Hangs up."""
        if self._discarding is not None:
            self._discarding.cancel()
            await asyncio.gather(self._discarding, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _open(self, address: str, ticket: str, tls: ssl.SSLContext) -> None:
        version = await self._reader.readexactly(len(_VERSION))
        if not version.startswith(b"RFB 003.") or version < _VERSION:
            raise VncUnsupported(f"it says {version!r}, not that it is VNC 3.8")
        self._writer.write(_VERSION)
        offered = list(await self._reader.readexactly(await self._number("B")))
        if not offered:
            raise VncUnsupported(f"it refuses: {await self._text()}")
        if _VENCRYPT in offered:
            self._writer.write(bytes([_VENCRYPT]))
            await self._encrypt(address, tls)
        elif _VNC in offered:
            self._writer.write(bytes([_VNC]))
        else:
            raise VncUnsupported(f"it offers {_listed(offered, _NAMES)}, and neither VNC nor VeNCrypt")
        challenge = await self._reader.readexactly(16)
        self._writer.write(_answer(challenge, ticket))
        if await self._number("I") != 0:
            raise VncTicketRefused(await self._text())
        # Others may look on; nobody is thrown out.
        self._writer.write(b"\x01")
        await self._reader.readexactly(20)
        await self._text()

    async def _encrypt(self, address: str, tls: ssl.SSLContext) -> None:
        await self._reader.readexactly(2)
        self._writer.write(bytes([0, 2]))
        if await self._number("B") != 0:
            raise VncUnsupported("it does not speak VeNCrypt 0.2")
        offered = [await self._number("I") for _ in range(await self._number("B"))]
        if _X509_VNC not in offered:
            raise VncUnsupported(f"its VeNCrypt offers {_listed(offered, _SUBTYPES)}, and not X509Vnc")
        self._writer.write(struct.pack(">I", _X509_VNC))
        if await self._number("B") != 1:
            raise VncUnsupported("it has refused X509Vnc, which it had offered")
        await self._writer.start_tls(tls, server_hostname=address)
        self.encrypted = True

    async def _discard(self) -> None:
        """Reads over bells and clipboards, until the other side hangs up."""
        with contextlib.suppress(OSError):
            while await self._reader.read(65536):
                pass

    async def _number(self, kind: str) -> int:
        size = struct.calcsize(f">{kind}")
        return int(struct.unpack(f">{kind}", await self._reader.readexactly(size))[0])

    async def _text(self) -> str:
        size = await self._number("I")
        if size > _LONGEST_TEXT:
            raise VncUnsupported(f"it sends a text of {size} bytes")
        return (await self._reader.readexactly(size)).decode("utf-8", "replace")


def _answer(challenge: bytes, ticket: str) -> bytes:
    """The challenge, encrypted by DES with 8 characters of the ticket, the bits of each reversed."""
    # Imported late: it takes 8 MB.
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    password = ticket.encode()[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password)
    # Three times the same key is plain DES.
    encryptor = Cipher(TripleDES(3 * key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(challenge) + encryptor.finalize()


def _listed(numbers: list[int], names: dict[int, str]) -> str:
    return ", ".join(names.get(number, str(number)) for number in numbers) or "nothing"


def _reason(error: OSError) -> str:
    """What the system says; what asyncio says instead names the address once more."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _text_of(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or str(error)
