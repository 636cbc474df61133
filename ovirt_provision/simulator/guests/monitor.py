"""The two conversations in lines of JSON: with QEMU's monitor (QMP) and with the agent inside the guest."""

import asyncio
import itertools
import json
import socket
from typing import Any


class MonitorError(Exception):
    """The other side refused a command."""


class Monitor:
    """One end of a socket pair whose other end QEMU was given. Commands wait for each other."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Starts to listen; `theirs` belongs to the child now."""
        self.theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours, limit=1 << 20)

    async def execute(
        self, command: str, *, passing: socket.socket | None = None, **arguments: object
    ) -> Any:
        """What the command returns; `passing` goes to QEMU with it. Raises MonitorError, and ConnectionError
        when QEMU is gone."""
        async with self._turn:
            request: dict[str, Any] = {"execute": command}
            if arguments:
                request["arguments"] = arguments
            if passing is not None:
                # Between two commands nothing waits to be written, so this overtakes none.
                socket.send_fds(self._ours, [_line(request)], [passing.fileno()])
            else:
                await self._send(request)
            while True:
                message = await self._receive()
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise MonitorError(f"{command}: {message['error'].get('desc')}")

    async def synchronize(self) -> None:
        """Waits for the guest agent: returns when it has read, and answered, everything sent so far."""
        number = next(self._ids)
        await self._send({"execute": "guest-sync", "arguments": {"id": number}})
        while (await self._receive()).get("return") != number:
            pass

    def close(self) -> None:
        self.theirs.close()
        if self._writer is None:
            self._ours.close()
        else:
            self._writer.close()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None:
            raise ConnectionError("the monitor is not open")
        self._writer.write(_line(message))
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any]:
        while True:
            line = await self._reader.readline()
            if not line:
                raise ConnectionError("the other side is gone")
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half a line from before a reboot of the guest
            if isinstance(message, dict):
                return message


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
