"""The data plane of image transfers: `https://…/images/TICKET`, as ovirt-imageio speaks it.

| method | what |
| --- | --- |
| OPTIONS | what can be done, as JSON |
| GET | all bytes, or those of `Range: bytes=FIRST-LAST` |
| GET …/extents | where there is data, as JSON: everywhere |
| PUT | writes the body at FIRST of `Content-Range: bytes FIRST-LAST/*`, or at `?offset=` |
| PATCH | `{"op": "zero", "offset": …, "size": …}` and `{"op": "flush"}` |

Where there is a real ovirt-imageio (`imageio.py`), it answers all that instead.
A ticket is known while its transfer is in the phase `transferring`; otherwise the answer is 403.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from ovirt_provision.simulator.temporary import TemporaryFolder

if TYPE_CHECKING:
    from ovirt_provision.simulator.entities import Disk, ImageTransfer
    from ovirt_provision.simulator.imageio import Imageio
    from ovirt_provision.simulator.world import World

PREFIX = "/images/"
_CHUNK = 1 << 20
_FEATURES = {"features": ["extents", "zero", "flush"], "max_readers": 8, "max_writers": 8}


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Images:
    """The content of disks while it is transferred: files in a folder that is made when it is needed.

    `daemon` is the ovirt-imageio that serves them, if it is not the simulator itself.
    """

    def __init__(self) -> None:
        self.daemon: Imageio | None = None
        self._folder: TemporaryFolder | None = None

    def path(self, disk: "Disk") -> Path:
        """The file of a disk; it need not be there yet."""
        if self._folder is None:
            self._folder = TemporaryFolder("ovirt-simulator-images-")
        return self._folder.path / disk.id

    def drop(self, disk: "Disk") -> None:
        if self._folder is not None:
            self.path(disk).unlink(missing_ok=True)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


async def serve(world: "World", http: web.Request) -> web.StreamResponse:
    """Answers one request of the data plane."""
    world.settle()
    ticket, _, rest = http.path.removeprefix(PREFIX).partition("/")
    try:
        transfer = next((one for one in world.transfers.values() if one.ticket == ticket), None)
        if transfer is None or transfer.phase != "transferring":
            raise _Refused(403, f"No such ticket: {ticket}\n")
        transfer.touched = world.monotonic
        path = world.images.path(transfer.disk)
        path.touch()
        if http.method == "OPTIONS":
            allow = "OPTIONS,GET,PUT,PATCH" if transfer.direction == "upload" else "OPTIONS,GET"
            return web.json_response(_FEATURES, headers={"Allow": allow})
        if http.method == "GET" and rest == "extents":
            length = path.stat().st_size
            return web.json_response([{"start": 0, "length": length, "zero": False, "hole": False}])
        if http.method == "GET" and not rest:
            return await _get(http, transfer, path)
        if http.method in ("PUT", "PATCH") and not rest:
            if transfer.direction != "upload":
                raise _Refused(403, "Ticket does not allow writing\n")
            return await (_put if http.method == "PUT" else _patch)(http, transfer, path)
        raise _Refused(405 if not rest else 404, "")
    except _Refused as refused:
        return web.Response(status=refused.status, text=str(refused))


async def _get(http: web.Request, transfer: "ImageTransfer", path: Path) -> web.StreamResponse:
    size = path.stat().st_size  # noqa: ASYNC240
    first, last = 0, size - 1
    wanted = http.headers.get("Range")
    if wanted is not None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if found is None or int(found.group(1)) >= max(size, 1):
            raise _Refused(416, f"Cannot satisfy {wanted}\n")
        first, last = int(found.group(1)), min(int(found.group(2) or last), last)
    length = last - first + 1
    response = web.StreamResponse(status=206 if wanted is not None else 200)
    response.content_type = "application/octet-stream"
    response.content_length = length
    if wanted is not None:
        response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    await response.prepare(http)
    with path.open("rb") as file:
        file.seek(first)
        while length > 0 and (chunk := file.read(min(_CHUNK, length))):
            await response.write(chunk)
            length -= len(chunk)
            transfer.transferred += len(chunk)
    await response.write_eof()
    return response


async def _put(http: web.Request, transfer: "ImageTransfer", path: Path) -> web.StreamResponse:
    offset = _offset(http)
    length = http.content_length
    if length is None:
        raise _Refused(400, "Content-Length is required\n")
    _check_fits(transfer, offset, length)
    with path.open("r+b") as file:
        file.seek(offset)
        async for chunk in http.content.iter_chunked(_CHUNK):
            file.write(chunk)
            transfer.transferred += len(chunk)
    return web.Response(status=200)


def _offset(http: web.Request) -> int:
    sent = http.headers.get("Content-Range")
    if sent is not None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\*|\d+)", sent)
        if found is None:
            raise _Refused(400, f"Invalid Content-Range: {sent}\n")
        return int(found.group(1))
    text = http.query.get("offset", "0")
    if not text.isdigit():
        raise _Refused(400, f"Invalid offset: {text}\n")
    return int(text)


async def _patch(http: web.Request, transfer: "ImageTransfer", path: Path) -> web.StreamResponse:
    try:
        asked = json.loads(await http.read())
        operation = asked["op"]
        offset, size = int(asked.get("offset", 0)), int(asked.get("size", 0))
    except (ValueError, KeyError, TypeError) as error:
        raise _Refused(400, f"Invalid request: {error}\n") from None
    if operation == "zero":
        _check_fits(transfer, offset, size)
        with path.open("r+b") as file:
            file.seek(offset)
            while size > 0:
                size -= file.write(bytes(min(_CHUNK, size)))
    elif operation != "flush":
        raise _Refused(400, f"Unknown operation: {operation}\n")
    return web.Response(status=200)


def _check_fits(transfer: "ImageTransfer", offset: int, length: int) -> None:
    """A raw image ends where its disk ends; of another format the file may be larger."""
    if transfer.format == "raw" and offset + length > transfer.disk.size:
        raise _Refused(416, f"Requested range out of allowed range: {transfer.disk.size}\n")
