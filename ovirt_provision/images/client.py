"""Moves the bytes of one image between a file and ovirt-imageio. A process of its own, so that it neither
keeps the daemon from its work nor outlives it: `python -m ovirt_provision.images.client`.

The job comes as one line of JSON on standard input (the URL holds the ticket, which no process list may
show); when that is closed, the daemon is gone, and so is this. What is done goes out as lines of JSON:

    {"done": BYTES, "kept": BYTES}        from the beginning of the image; `kept` survives a crash
    {"failed": "ticket"|"data"|"space"|"network", "why": TEXT}      the last line, if it failed

It speaks the documented API (https://ovirt.github.io/ovirt-imageio/images.html): OPTIONS, PUT and GET of
ranges, PATCH to zero and to flush, and extents.
"""

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import urllib3

# Bytes: of one request, and after how many what was written is flushed and so kept.
_REQUEST = 32 << 20
_FLUSH = 256 << 20
_BUFFER = 1 << 20
# Seconds without a byte.
_STALL = 60.0
_CONNECT = 10.0
# How often one after the other a request may fail without any progress, and the pause before it is repeated.
_TRIES = 5
_PAUSE = 1.0
# Seconds between two lines of progress.
_TELL = 0.2


@dataclass
class Failed(Exception):
    """Why it cannot go on: `kind` is what the daemon acts by."""

    kind: str
    why: str


class Server:
    """The host that has the disk, or the engine where that passes the bytes on."""

    def __init__(self, urls: list[str], ca_file: str, *, insecure: bool) -> None:
        self._urls = [url for url in urls if url]
        self._trust: dict[str, Any] = {"ca_certs": ca_file or None}
        if insecure:
            self._trust = {"cert_reqs": "CERT_NONE"}
            urllib3.disable_warnings()
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._path = ""
        self.features: set[str] = set()

    def connect(self) -> None:
        """Finds the first URL that answers. Raises Failed."""
        why = "there is no URL"
        for url in self._urls:
            parts = urlsplit(url)
            make = urllib3.HTTPSConnectionPool if parts.scheme == "https" else urllib3.HTTPConnectionPool
            self._pool = make(
                parts.hostname or "",
                parts.port,
                timeout=urllib3.Timeout(connect=_CONNECT, read=_STALL),
                blocksize=_BUFFER,
                retries=False,
                **(self._trust if parts.scheme == "https" else {}),
            )
            self._path = parts.path
            try:
                told = self.ask("OPTIONS")
            except Failed as failure:
                if failure.kind != "network":
                    raise
                why = f"{parts.hostname}:{parts.port}: {failure.why}"
                continue
            self.features = set(json.loads(told.data or b"{}").get("features", ()))
            return
        raise Failed("network", why)

    def ask(self, method: str, path: str = "", **options: Any) -> urllib3.BaseHTTPResponse:
        """One request. Raises Failed."""
        assert self._pool is not None
        try:
            reply = self._pool.urlopen(method, self._path + path, **options)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Failed("network", _words(error)) from None
        if reply.status >= 300:
            text = (
                reply.data[:400].decode(errors="replace").replace(self._path.rpartition("/")[2], "…").strip()
            )
            usual = "network" if reply.status >= 500 else "data"
            kind = {401: "ticket", 403: "ticket", 404: "ticket", 507: "space"}.get(reply.status, usual)
            raise Failed(kind, f"HTTP {reply.status} {text}".strip())
        return reply


def _words(error: BaseException) -> str:
    # What urllib3 says itself has the whole URL in it, and with that the ticket.
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        reason = getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__
    return type(error).__name__


class Range:
    """Some bytes of a file, read as they are sent."""

    def __init__(self, file: BinaryIO, offset: int, length: int) -> None:
        self._file = file
        self._left = length
        file.seek(offset)

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        chunk = self._file.read(wanted)
        self._left -= len(chunk)
        return chunk


class Transfer:
    """One job: the file, how far it is, and who is told."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._file = Path(job["file"])
        self._size: int = job["size"]
        self._done = self._kept = int(job["offset"])
        self._server = Server([job["url"], job["proxy_url"]], job["ca_file"], insecure=job["insecure"])
        self._upload = job["direction"] == "upload"
        self._told_at = 0.0

    def run(self) -> None:
        """Raises Failed and OSError."""
        self._server.connect()
        mode = os.O_RDONLY if self._upload else os.O_RDWR | os.O_CREAT
        descriptor = os.open(self._file, mode | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "rb" if self._upload else "r+b", buffering=0) as file:
            if not self._upload:
                file.truncate(self._size)
            parts = self._data(file) if self._upload else self._extents()
            for start, length, empty in parts:
                self._move(file, start, length, empty)
            self._keep(file)

    def _data(self, file: BinaryIO) -> Iterator[tuple[int, int, bool]]:
        """Where a file begins, how long it goes on, and whether that is a hole, from `_done` on."""
        while self._done < self._size:
            at = self._done
            try:
                data = min(os.lseek(file.fileno(), at, os.SEEK_DATA), self._size)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = self._size
            if data > at and "zero" in self._server.features:
                yield at, data - at, True
                continue
            end = min(os.lseek(file.fileno(), data, os.SEEK_HOLE), self._size) if data == at else data
            yield at, end - at, False

    def _extents(self) -> Iterator[tuple[int, int, bool]]:
        """The same of the disk."""
        found = [{"start": 0, "length": self._size, "zero": False}]
        if "extents" in self._server.features:
            found = json.loads(self._server.ask("GET", "/extents").data)
        for one in found:
            start = max(one["start"], self._done)
            end = min(one["start"] + one["length"], self._size)
            if end > start:
                yield start, end - start, bool(one["zero"])

    def _move(self, file: BinaryIO, start: int, length: int, empty: bool) -> None:
        at, end, tries = start, start + length, 0
        while at < end:
            step = end - at if empty else min(_REQUEST, end - at)
            try:
                if not self._upload:
                    if not empty:
                        self._get(file, at, step)
                elif empty:
                    self._patch({"op": "zero", "offset": at, "size": step, "flush": False})
                else:
                    self._put(file, at, step)
            except Failed as failure:
                tries += 1
                if failure.kind != "network" or tries >= _TRIES:
                    raise
                time.sleep(_PAUSE * tries)
                continue
            at, tries = at + step, 0
            self._done = at
            if self._done - self._kept >= _FLUSH:
                self._keep(file)
            self._tell()

    def _put(self, file: BinaryIO, at: int, length: int) -> None:
        flush = "n" if "flush" in self._server.features else "y"
        self._server.ask(
            "PUT",
            f"?flush={flush}",
            body=Range(file, at, length),
            headers={
                "Content-Length": str(length),
                "Content-Range": f"bytes {at}-{at + length - 1}/*",
                "Content-Type": "application/octet-stream",
            },
        ).drain_conn()

    def _patch(self, body: dict[str, Any]) -> None:
        self._server.ask(
            "PATCH", "", body=json.dumps(body), headers={"Content-Type": "application/json"}
        ).drain_conn()

    def _get(self, file: BinaryIO, at: int, length: int) -> None:
        headers = {"Range": f"bytes={at}-{at + length - 1}"}
        reply = self._server.ask("GET", "", headers=headers, preload_content=False)
        try:
            if reply.status != 206 and (at, length) != (0, self._size):
                raise Failed("data", "the server ignores ranges")
            file.seek(at)
            left = length
            while left > 0 and (chunk := reply.read(min(_BUFFER, left))):
                file.write(chunk)
                left -= len(chunk)
            if left:
                raise Failed("network", f"{left} bytes of {length} did not come")
        except (urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise Failed("network", _words(error)) from None
        finally:
            reply.close() if reply.status != 206 else reply.release_conn()

    def _keep(self, file: BinaryIO) -> None:
        if not self._upload:
            os.fsync(file.fileno())
        elif "flush" in self._server.features:
            self._patch({"op": "flush"})
        self._kept = self._done
        self._tell(now=True)

    def _tell(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._told_at >= _TELL:
            self._told_at = time.monotonic()
            say({"done": self._done, "kept": self._kept})


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _end_with_the_daemon() -> None:
    # Not by sys.stdin: what a thread holds of that keeps the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> int:
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_daemon, daemon=True).start()
    try:
        Transfer(job).run()
    except Failed as failure:
        say({"failed": failure.kind, "why": failure.why})
    except OSError as error:
        kind = "space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "data"
        say({"failed": kind, "why": error.strerror or str(error)})
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
