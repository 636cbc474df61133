"""The process that moves the bytes of an image, against a host that serves them over TLS."""

import asyncio
import os
import signal
import sys

import pytest
from aiohttp import web
from ovirtsdk4 import Connection, types

from ovirt_provision.clock import SystemClock
from ovirt_provision.images.transfer import Job, MoveFailed, process_mover
from ovirt_provision.simulator import Simulator

SIZE = 3 << 20
MIDDLE = slice(1 << 20, 2 << 20)


@pytest.fixture
def image(tmp_path):
    """A file with a hole in its middle."""
    file = tmp_path / "image.raw"
    with file.open("wb") as opened:
        opened.write(b"a" * (1 << 20))
        opened.seek(2 << 20)
        opened.write(b"b" * (1 << 20))
    return file


@pytest.fixture
async def engine():
    async with Simulator() as simulator:
        yield simulator


async def opened(engine, direction, disk):
    def ask():
        connection = Connection(
            url=engine.url, username=engine.username, password=engine.password, ca_file=str(engine.ca_file)
        )
        wanted = types.ImageTransfer(
            disk=types.Disk(id=disk.id),
            direction=types.ImageTransferDirection(direction),
            format=types.DiskFormat.RAW,
        )
        return connection.system_service().image_transfers_service().add(wanted)

    return await asyncio.to_thread(ask)


async def move(job):
    told = []
    await process_mover(SystemClock())(job, lambda *now: told.append(now))
    return told


def job(engine, made, file, **fields):
    direction = made.direction.value
    return Job(direction, file, SIZE, made.transfer_url, ca_file=str(engine.ca_file), **fields)


async def test_bytes_go_there_and_come_back(engine, image, tmp_path):
    disk = engine.world.add_disk("image", size=SIZE)
    made = await opened(engine, "upload", disk)
    told = await move(job(engine, made, image))
    assert told[-1] == (SIZE, SIZE)
    assert engine.world.images.path(disk).read_bytes() == image.read_bytes()
    engine.world.transfers[made.id].direction = "download"
    made.direction = types.ImageTransferDirection.DOWNLOAD
    back = tmp_path / "back.raw"
    assert (await move(job(engine, made, back)))[-1] == (SIZE, SIZE)
    assert back.read_bytes() == image.read_bytes()


async def test_it_goes_on_where_it_was(engine, image):
    disk = engine.world.add_disk("image", size=SIZE)
    made = await opened(engine, "upload", disk)
    told = await move(job(engine, made, image, offset=2 << 20))
    assert told[-1] == (SIZE, SIZE)
    there = engine.world.images.path(disk).read_bytes()
    assert there == bytes(2 << 20) + b"b" * (1 << 20), "what was there already is not sent"


async def test_a_ticket_that_does_not_count_and_a_host_that_does_not_answer(engine, image):
    disk = engine.world.add_disk("image", size=SIZE)
    made = await opened(engine, "upload", disk)
    engine.world.transfers[made.id].phase = "paused_system"
    with pytest.raises(MoveFailed) as refused:
        await move(job(engine, made, image))
    assert refused.value.kind == "ticket"
    ticket = made.transfer_url.rpartition("/")[2]
    with pytest.raises(MoveFailed) as silent:
        await move(Job("upload", image, SIZE, f"https://127.0.0.1:1/images/{ticket}"))
    assert (silent.value.kind, str(silent.value)) == ("network", "127.0.0.1:1: Connection refused")
    assert ticket not in f"{refused.value}{silent.value}", "a ticket opens the disk"


async def test_where_no_way_leads_to_the_host_the_engine_passes_the_bytes_on(engine, image):
    disk = engine.world.add_disk("image", size=SIZE)
    made = await opened(engine, "upload", disk)
    there = Job(
        "upload",
        image,
        SIZE,
        "https://127.0.0.1:1/images/x",
        proxy_url=made.transfer_url,
        ca_file=str(engine.ca_file),
    )
    await move(there)
    assert engine.world.images.path(disk).read_bytes() == image.read_bytes()


async def test_a_host_with_the_certificate_of_somebody_else_gets_nothing(engine, image):
    disk = engine.world.add_disk("image", size=SIZE)
    made = await opened(engine, "upload", disk)
    with pytest.raises(MoveFailed, match=r"(?i)certificate|SSL"):
        await move(Job("upload", image, SIZE, made.transfer_url))
    assert not engine.world.images.path(disk).exists()


class Host:
    """A host of images that does what a test says. `gone` is set once a client has."""

    def __init__(self):
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    async def start(self, answer):
        async def handle(request):
            if request.method == "OPTIONS":
                return web.json_response({"features": []})
            return await answer(request)

        application = web.Application(client_max_size=SIZE * 2, handler_args={"handler_cancellation": True})
        application.router.add_route("*", "/{rest:.*}", handle)
        self._runner = web.AppRunner(application, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/images/ticket"

    async def stop(self):
        await self._runner.cleanup()

    async def hang(self, request):
        self.asked.set()
        try:
            await request.read()  # or nobody would notice that the client is gone
            await asyncio.Event().wait()
        finally:
            self.gone.set()


@pytest.fixture
async def host():
    made = Host()
    yield made
    await made.stop()


async def test_a_host_that_ignores_ranges_is_refused_unless_all_is_wanted(host, tmp_path):
    content = os.urandom(SIZE)

    async def whole(_request):
        return web.Response(body=content)

    await host.start(whole)
    file = tmp_path / "back.raw"
    await move(Job("download", file, SIZE, host.url))
    assert file.read_bytes() == content
    with pytest.raises(MoveFailed, match="ignores ranges"):
        await move(Job("download", file, SIZE, host.url, offset=1 << 20))


async def test_a_host_whose_disk_is_full_is_told(host, image):
    async def full(_request):
        return web.Response(status=507, text="No space left on device")

    await host.start(full)
    with pytest.raises(MoveFailed, match="No space left") as failed:
        await move(Job("upload", image, SIZE, host.url))
    assert failed.value.kind == "space"


async def test_it_ends_when_it_is_told_to(host, image):
    await host.start(host.hang)
    moving = asyncio.create_task(move(Job("upload", image, SIZE, host.url)))
    await host.asked.wait()
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    await host.gone.wait()


RUN = """
import asyncio, pathlib, sys
from ovirt_provision.clock import SystemClock
from ovirt_provision.images.transfer import Job, process_mover
job = Job("upload", pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
asyncio.run(process_mover(SystemClock())(job, print))
"""


async def test_it_does_not_outlive_a_daemon_that_is_killed(host, image):
    await host.start(host.hang)
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, image, str(SIZE), host.url)
    await host.asked.wait()
    daemon.send_signal(signal.SIGKILL)
    await daemon.wait()
    await host.gone.wait()
