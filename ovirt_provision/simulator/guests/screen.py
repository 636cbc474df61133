"""The graphics consoles of guests: VNC servers that let in who has the ticket.

A screen begins to listen when somebody first asks where it is. The VNC of a guest under QEMU is QEMU's own,
which is handed each connection; where there is no guest, a screen shows nothing, and keeps what is typed.
"""

import asyncio
import contextlib
import secrets
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

ADDRESS = "127.0.0.1"
"""Where the consoles of all hosts are."""

_VERSION = b"RFB 003.008\n"
_VNC, _VENCRYPT, _X509_VNC = 2, 19, 261
_SHIFTS = (0xFFE1, 0xFFE2)
_KEY_EVENT = 4
# Bytes after the first of what else a client may say; of two kinds the length is in them.
_LENGTHS = {0: 19, 3: 9, 5: 5}
_ENCODINGS, _CLIPBOARD = 2, 6


class ListeningScreen(ABC):
    """A screen with a port of its own at `ADDRESS`; what answers there is up to its class."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port, which is opened at the first question; call it inside the running event loop."""
        if self._socket is None:
            self._socket = socket.create_server((ADDRESS, 0))
            self._socket.setblocking(False)
            self._port = self._socket.getsockname()[1]
            self._keep(self._accept(self._socket))
        return self._port

    @property
    def is_open(self) -> bool:
        """Whether somebody has asked for the port."""
        return self._socket is not None

    @abstractmethod
    async def _handle(self, connection: socket.socket) -> None:
        """Answers a connection until it ends."""

    def close(self) -> None:
        """The VM is off: frees the port and hangs up."""
        for task in self._tasks:
            task.cancel()
        if self._socket is not None:
            self._socket.close()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            self._keep(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._handle(connection)


class RecordingScreen(ListeningScreen):
    """The console of a VM without a guest. `keys` are the keysyms that were pressed (True) or let up (False).

    With `certificates` it is offered only over TLS, as by the hosts of clusters with VNC encryption; see
    GuestSpec.
    """

    def __init__(self, certificates: Path | None = None) -> None:
        super().__init__()
        self.keys: list[tuple[int, bool]] = []
        self._certificates = certificates
        self._ticket = ""

    @property
    def text(self) -> str:
        """What was typed, as a guest with a US keyboard would have it; special keys as `<ff0d>`."""
        typed, shifts = [], 0
        for keysym, down in self.keys:
            if keysym in _SHIFTS:
                shifts += 1 if down else -1
            elif down:
                plain = 0x20 <= keysym < 0x7F
                typed.append(_on_key(chr(keysym), bool(shifts)) if plain else f"<{keysym:04x}>")
        return "".join(typed)

    def let_in(self, ticket: str, seconds: float) -> None:  # noqa: ARG002
        """From now on this ticket opens the console; time does not pass for it here."""
        self._ticket = ticket

    async def _handle(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            await self._let_in(reader, writer)
            await self._record(reader)
        finally:
            writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_VERSION)
        await reader.readexactly(len(_VERSION))
        writer.write(bytes([1, _VNC if self._certificates is None else _VENCRYPT]))
        await reader.readexactly(1)
        if self._certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificates / "server.pem")
            writer.write(b"\x00\x02")
            await reader.readexactly(2)
            writer.write(b"\x00\x01" + struct.pack(">I", _X509_VNC))
            await reader.readexactly(4)
            writer.write(b"\x01")
            await writer.drain()
            await _start_tls(reader, writer, context)
        challenge = secrets.token_bytes(16)
        writer.write(challenge)
        if not self._ticket or await reader.readexactly(16) != _encrypt(challenge, self._ticket):
            writer.write(struct.pack(">II", 1, 21) + b"Authentication failed")
            await writer.drain()
            raise ConnectionAbortedError
        writer.write(struct.pack(">I", 0))
        await reader.readexactly(1)
        name = b"simulated"
        writer.write(struct.pack(">HH16xI", 640, 480, len(name)) + name)

    async def _record(self, reader: asyncio.StreamReader) -> None:
        while True:
            kind = (await reader.readexactly(1))[0]
            if kind == _KEY_EVENT:
                down, keysym = struct.unpack(">BxxI", await reader.readexactly(7))
                self.keys.append((keysym, bool(down)))
            elif kind == _ENCODINGS:
                await reader.readexactly(4 * struct.unpack(">xH", await reader.readexactly(3))[0])
            elif kind == _CLIPBOARD:
                await reader.readexactly(struct.unpack(">xxxI", await reader.readexactly(7))[0])
            else:
                await reader.readexactly(_LENGTHS[kind])


async def _start_tls(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> None:
    """Goes on over TLS as a server does, for which a stream of one's own has no call."""
    loop, transport = asyncio.get_running_loop(), writer.transport
    protocol = transport.get_protocol()
    encrypted = await loop.start_tls(transport, protocol, context, server_side=True)
    assert isinstance(encrypted, asyncio.Transport)
    writer._transport = encrypted  # type: ignore[attr-defined]
    reader._transport = encrypted  # type: ignore[attr-defined]


def _on_key(character: str, shift: bool) -> str:
    """What a US keyboard types by the key of a character."""
    plain, shifted = "`1234567890-=[]\\;',./", '~!@#$%^&*()_+{}|:"<>?'
    if character in shifted and not shift:
        return plain[shifted.index(character)]
    if character in plain and shift:
        return shifted[plain.index(character)]
    if character.isalpha():
        return character.upper() if shift else character.lower()
    return character


def _encrypt(challenge: bytes, ticket: str) -> bytes:
    """VNC's DES: the key is the ticket with the bits of each byte reversed."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in ticket.encode()[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(3 * key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(challenge) + encryptor.finalize()
