"""The real data plane of image transfers: the ovirt-imageio daemon, as a process of its own.

It is configured and run as on an oVirt host: over TLS for clients, and over a unix socket for whoever adds
and removes tickets (https://ovirt.github.io/ovirt-imageio/). Its tickets name the files of `images.py`.
"""

import asyncio
import collections
import configparser
import contextlib
import http.client
import json
import logging
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovirt_provision.simulator.temporary import TemporaryFolder

if TYPE_CHECKING:
    from ovirt_provision.simulator.entities import ImageTransfer

log = logging.getLogger(__name__)

PROGRAM = "ovirt-imageio"
_START_SECONDS = 30.0
_CONTROL_SECONDS = 5.0
_FOREVER = 10 * 365 * 24 * 3600  # seconds: it is the simulator that ends transfers, on its own clock
_TABLES = 1 << 20  # bytes; with an eighth of the disk's size more than what qcow2 needs beside the data


class _Control(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_CONTROL_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Imageio:
    """A daemon, between `start` and `stop`. It dies with this process, however this one dies.

    `program` is the path of ovirt-imageio, `certificate` a PEM file with its certificate and key. `port` is
    the one it has taken at the address `listen`.
    """

    port: int

    def __init__(self, program: str, listen: str, certificate: Path) -> None:
        self._program = program
        self._listen = listen
        self._certificate = certificate
        # A unix socket's path is short, which that of a state folder need not be.
        self._folder = TemporaryFolder("ovirt-simulator-imageio-")
        self._socket = self._folder.path / "control"
        self._process: asyncio.subprocess.Process | None = None
        self._draining: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, once there is one."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Returns when it serves. Raises `OSError` with its last words when it does not."""
        self._configure()
        self._process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", self._program, "--conf-dir", self._folder.path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        last: collections.deque[str] = collections.deque(maxlen=5)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                async for line in self._process.stdout:
                    last.append(line.decode(errors="replace").strip())
                    if found := re.search(r"remote\.service listening on \(.*?, (\d+)", last[-1]):
                        self.port = int(found.group(1))
                    if hasattr(self, "port") and last[-1].endswith("Ready for requests"):
                        self._draining = asyncio.create_task(_drain(self._process.stdout))
                        return
        raise OSError(f"{self._program} does not serve: {' / '.join(last) or 'nothing was said'}")

    def _configure(self) -> None:
        settings = configparser.RawConfigParser()
        settings.read_dict(
            {
                "daemon": {"systemd_enable": False, "drop_privileges": False, "run_dir": self._folder.path},
                "tls": {"enable": True, "cert_file": self._certificate, "key_file": self._certificate},
                "remote": {"host": self._listen, "port": 0},
                "local": {"enable": False},
                # Removing waits for nobody, as the simulator waits for the answer.
                "control": {"transport": "unix", "socket": self._socket, "remove_timeout": 0},
                "handlers": {"keys": "stderr"},
                "logger_root": {"level": "INFO", "handlers": "stderr"},
            }
        )
        folder = self._folder.path / "conf.d"
        folder.mkdir()
        with (folder / "99-simulator.conf").open("w") as file:
            settings.write(file)

    async def stop(self) -> None:
        """Ends the process, and removes what it was given."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._draining is not None:
            await self._draining
        self._folder.cleanup()

    def add_ticket(self, transfer: "ImageTransfer", path: Path) -> None:
        """Opens a disk's file to the holder of the transfer's ticket. Raises `OSError`."""
        path.touch()
        upload = transfer.direction == "upload"
        if upload and transfer.format == "raw" and path.stat().st_size < transfer.disk.size:
            os.truncate(path, transfer.disk.size)  # the volume of a raw disk has its whole length
        size = transfer.disk.size if upload else path.stat().st_size
        if upload and transfer.format != "raw":
            size += size // 8 + _TABLES
        ticket = {
            "uuid": transfer.ticket,
            "transfer_id": transfer.id,
            "url": path.as_uri(),
            "size": size,
            "ops": ["write" if upload else "read"],
            "sparse": True,
            "timeout": _FOREVER,
            "inactivity_timeout": transfer.inactivity_timeout or _FOREVER,
        }
        self._ask("PUT", transfer, ticket)

    def remove_ticket(self, transfer: "ImageTransfer") -> None:
        """Nothing can be read or written any more. Raises `OSError`."""
        self._ask("DELETE", transfer)

    def progress(self, transfer: "ImageTransfer") -> tuple[bool, int]:
        """Whether a request is under way, and the bytes since the ticket was added. Raises `OSError`."""
        said = self._ask("GET", transfer)
        return said["active"], said["transferred"]

    def _ask(self, method: str, transfer: "ImageTransfer", ticket: dict[str, Any] | None = None) -> Any:
        with contextlib.closing(_Control(self._socket)) as control:
            try:
                body = json.dumps(ticket) if ticket is not None else None
                control.request(method, f"/tickets/{transfer.ticket}", body)
                reply = control.getresponse()
                content = reply.read()
            except http.client.HTTPException as error:
                raise OSError(f"ovirt-imageio broke off: {error!r}") from error
        if reply.status >= 300:
            raise OSError(f"ovirt-imageio refused {method} of a ticket: {content.decode(errors='replace')}")
        return json.loads(content) if content else None


async def _drain(stream: asyncio.StreamReader) -> None:
    # What it says holds tickets, which open disks.
    while await stream.read(1 << 16):
        pass
