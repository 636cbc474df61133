"""Whether somebody answers as an SSH server does (RFC 4253, section 4.2)."""

import asyncio
from collections.abc import Awaitable, Callable

# Seconds for one attempt, real ones: what is waited for is a machine in a network.
_ATTEMPT = 10.0
_LONGEST_LINE = 1024
# A server may say something else before; clients have to read over it.
_MOST_LINES = 50


# Asks for the greeting at an address and a port; see `greeting`.
Greeting = Callable[[str, int], Awaitable[str]]


class NoSshServer(Exception):
    """Nobody answered as an SSH server does; the text says what happened instead."""


async def greeting(address: str, port: int) -> str:
    """The identification that an SSH server at a TCP port sends, such as `SSH-2.0-OpenSSH_9.2p1`.

    Raises NoSshServer.
    """
    try:
        async with asyncio.timeout(_ATTEMPT):
            reader, writer = await asyncio.open_connection(address, port, limit=_LONGEST_LINE)
            try:
                for _ in range(_MOST_LINES):
                    line = await reader.readline()
                    if not line:
                        break
                    if line.startswith(b"SSH-"):
                        return line.decode("ascii", "replace").strip()
            finally:
                writer.close()
    except TimeoutError:
        raise NoSshServer(f"no answer within {_ATTEMPT:g} s") from None
    except (OSError, ValueError) as error:
        raise NoSshServer(getattr(error, "strerror", None) or str(error)) from None
    raise NoSshServer("whoever answers is no SSH server")
