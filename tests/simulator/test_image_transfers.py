"""Uploads and downloads, from the ticket to the bytes."""

import contextlib
import json
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator import Simulator

PHASE = types.ImageTransferPhase
DATA = bytes(range(256)) * 4096  # 1 MiB


async def transfer(lab, disk, direction, **fields):
    services = lab.system.image_transfers_service()
    wanted = types.ImageTransfer(
        disk=types.Disk(id=disk.id),
        direction=direction,
        format=types.DiskFormat.RAW,
        **fields,
    )
    made = await lab.call(services.add, wanted)
    return made, services.image_transfer_service(made.id)


async def plane(lab, made, method, body=b"", rest="", **headers):
    ticket = made.transfer_url.rpartition("/")[2]
    headers = {"Accept": "*/*", "Content_Type": "application/octet-stream", **headers}
    return await lab.request(method, f"//images/{ticket}{rest}", body.decode("latin-1"), **headers)


async def upload(lab, disk, parts):
    made, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD)
    for offset, part in parts:
        span = f"bytes {offset}-{offset + len(part) - 1}/*"
        reply = await lab.put(made.transfer_url, part, {"Content-Range": span})
        assert reply == 200
    return made, service


def test_what_was_uploaded_is_downloaded(play):
    async def scenario(lab):
        disk = lab.world.add_disk("image", size=1 << 20)
        half = len(DATA) // 2
        made, service = await upload(lab, disk, [(half, DATA[half:]), (0, DATA[:half])])
        assert (made.phase, disk.status) == (PHASE.TRANSFERRING, "locked")
        assert (await lab.call(service.get)).transferred == len(DATA)
        await lab.call(service.finalize)
        assert (await lab.call(service.get)).phase == PHASE.FINALIZING_SUCCESS
        await lab.wait(lambda: disk.status, "ok")
        assert (await lab.call(service.get)).phase == PHASE.FINISHED_SUCCESS
        for _ in range(2):
            made, service = await transfer(lab, disk, types.ImageTransferDirection.DOWNLOAD)
            whole = await plane(lab, made, "GET")
            assert (whole.status, whole.content) == (200, DATA)
            part = await plane(lab, made, "GET", Range="bytes=100-199")
            assert (part.status, part.content) == (206, DATA[100:200])
            assert part.headers["Content-Range"] == f"bytes 100-199/{len(DATA)}"
            await lab.call(service.finalize)
            await lab.wait(lambda: disk.status, "ok")

    play(scenario)


def test_the_bytes_of_a_disk_go_with_it_and_not_with_its_copy(play):
    async def scenario(lab):
        async def remove(disk):
            await lab.call(lab.system.disks_service().disk_service(disk.id).remove)
            await lab.wait(lambda: disk.id in lab.world.disks, False)

        disk = lab.world.add_disk("image", size=1 << 20)
        _, service = await upload(lab, disk, [(0, DATA)])
        await lab.call(service.finalize)
        await lab.wait(lambda: disk.status, "ok")
        action = (
            "<action><disk><name>copy</name></disk>"
            "<storage_domain><name>data</name></storage_domain></action>"
        )
        copied = await lab.request("POST", f"/disks/{disk.id}/copy", action)
        assert copied.status == 200
        (copy,) = [one for one in lab.world.disks.values() if one.name == "copy"]
        await lab.wait(lambda: (disk.status, copy.status), ("ok", "ok"))
        await remove(disk)
        made, service = await transfer(lab, copy, types.ImageTransferDirection.DOWNLOAD)
        assert (await plane(lab, made, "GET")).content == DATA
        await lab.call(service.finalize)
        await lab.wait(lambda: copy.status, "ok")
        await remove(copy)
        left = lab.world.images.path(copy).parent.iterdir()
        assert [file.name for file in left if not file.name.startswith(".")] == []

    play(scenario)


def test_guests_read_what_was_uploaded_to_a_disk_whose_id_the_client_chose(play, monkeypatch):
    chosen = "4f1f2c1e-8a55-4f0c-9d53-0d5f2b6f7a10"

    async def scenario(lab):
        written = []
        write = lab.world.guests.write_disk
        monkeypatch.setattr(
            lab.world.guests, "write_disk", lambda disk, *rest: written.append(disk) or write(disk, *rest)
        )
        wanted = types.Disk(
            id=chosen,
            name="image",
            format=types.DiskFormat.RAW,
            provisioned_size=len(DATA),
            storage_domains=[types.StorageDomain(name="data")],
        )
        made = await lab.call(lab.system.disks_service().add, wanted)
        disk = lab.world.disks[made.id]
        await lab.wait(lambda: disk.status, "ok")
        _, service = await upload(lab, disk, [(0, DATA)])
        await lab.call(service.finalize)
        await lab.wait(lambda: disk.status, "ok")
        assert written == [chosen]

    play(scenario)


def test_the_data_plane_says_what_it_can_and_refuses_the_rest(play):
    async def scenario(lab):
        disk = lab.world.add_disk("image", size=1 << 20)
        made, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD)
        options = await plane(lab, made, "OPTIONS")
        assert (options.status, json.loads(options.text)["features"]) == (200, ["extents", "zero", "flush"])
        beyond = await lab.put(made.transfer_url, b"x", {"Content-Range": f"bytes {1 << 20}-{1 << 20}/*"})
        assert beyond == 416
        zero = await plane(lab, made, "PATCH", b'{"op": "zero", "offset": 0, "size": 10}')
        assert zero.status == 200
        assert json.loads((await plane(lab, made, "GET", rest="/extents")).text)[0]["length"] == 10
        await lab.call(service.pause)
        assert (await plane(lab, made, "OPTIONS")).status == 403
        assert (await lab.request("OPTIONS", "//images/nonsense")).status == 403

    play(scenario)


def test_a_disk_under_transfer_is_left_alone(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        disk = lab.world.add_disk("image")
        _, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD)
        body = f'<disk_attachment><interface>virtio</interface><disk id="{disk.id}"/></disk_attachment>'
        for method, path, sent in (
            ("DELETE", f"/disks/{disk.id}", ""),
            ("POST", f"/vms/{vm_id}/diskattachments", body),
            ("POST", "/imagetransfers", f'<image_transfer><disk id="{disk.id}"/></image_transfer>'),
        ):
            refused = await lab.request(method, path, sent)
            assert (refused.status, "Disk image is being transferred." in refused.text) == (409, True)
        path = f"/imagetransfers/{(await lab.call(service.get)).id}/resume"
        early = await lab.request("POST", path, "<action/>")
        assert (early.status, "not in a paused state" in early.text) == (409, True)
        none = await lab.request("POST", "/imagetransfers", "<image_transfer/>")
        assert "No matching signature found" in none.text

    play(scenario)


@pytest.mark.parametrize(
    ("direction", "status"),
    [(types.ImageTransferDirection.UPLOAD, "illegal"), (types.ImageTransferDirection.DOWNLOAD, "ok")],
)
def test_a_cancelled_upload_leaves_a_disk_of_no_use(play, direction, status):
    async def scenario(lab):
        disk = lab.world.add_disk("image")
        _, service = await transfer(lab, disk, direction)
        await lab.call(service.cancel)
        assert (await lab.call(service.get)).phase == PHASE.CANCELLED_USER
        await lab.wait(lambda: disk.status, status)
        assert (await lab.call(service.get)).phase == PHASE.FINISHED_CLEANUP
        await lab.call(service.cancel)

    play(scenario)


def test_a_silent_client_is_paused_and_may_come_back(play):
    async def scenario(lab):
        disk = lab.world.add_disk("image")
        made, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD, inactivity_timeout=30)
        await lab.clock.sleep(20)
        assert (await plane(lab, made, "OPTIONS")).status == 200
        await lab.clock.sleep(20)
        assert (await lab.call(service.get)).phase == PHASE.TRANSFERRING
        await lab.clock.sleep(31)
        assert (await lab.call(service.get)).phase == PHASE.PAUSED_SYSTEM
        await lab.call(service.resume)
        await lab.wait(lambda: lab.world.transfers[made.id].phase, "transferring")
        events = await lab.call(lab.system.events_service().list, search="type=1074")
        assert len(events) == 1

    play(scenario)


def test_the_patience_with_a_silent_client_ends_at_any_instant(play):
    """The sum of such an instant and the time-out, less the instant, is less than the time-out."""

    async def scenario(lab):
        await lab.clock.sleep(29.40583907400714 - lab.clock.monotonic())
        disk = lab.world.add_disk("image")
        made, _ = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD, inactivity_timeout=60)
        lab.world.transfers[made.id].touched = 29.40583907400714
        await lab.clock.sleep(61)

        lab.world.settle()

        assert lab.world.transfers[made.id].phase == "paused_system"

    play(scenario)


@pytest.fixture
def imageio():
    found = shutil.which("ovirt-imageio")
    if found is None:
        pytest.skip("ovirt-imageio is not installed: not on PATH")
    return found


async def ask(lab, method, url, body=None, **headers):
    trust = ssl.create_default_context(cafile=lab.simulator.ca_file)
    with lab.clock.hold():
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=body, headers=headers, ssl=trust) as reply,
        ):
            return reply.status, await reply.read()


def test_the_real_imageio_serves_transfers_and_ends_with_the_simulator(play, imageio):
    daemons = []

    async def scenario(lab):
        daemons.append(lab.world.images.daemon.pid)
        disk = lab.world.add_disk("image", size=1 << 20)
        half = len(DATA) // 2
        made, service = await upload(lab, disk, [(half, DATA[half:]), (0, DATA[:half])])
        assert made.transfer_url == made.proxy_url
        assert not made.transfer_url.startswith(lab.simulator.url.partition("/ovirt-engine")[0])
        beyond = {"Content-Range": f"bytes {1 << 20}-{1 << 20}/*"}
        assert await lab.put(made.transfer_url, b"x", beyond) == 416
        assert (await lab.call(service.get)).transferred == len(DATA)
        await lab.call(service.pause)
        assert (await ask(lab, "OPTIONS", made.transfer_url))[0] == 403
        await lab.call(service.resume)
        await lab.wait(lambda: lab.world.transfers[made.id].phase, "transferring")
        assert await lab.put(made.transfer_url, DATA[:100], {"Content-Range": "bytes 0-99/*"}) == 200
        await lab.call(service.finalize)
        assert (await ask(lab, "OPTIONS", made.transfer_url))[0] == 403
        await lab.wait(lambda: disk.status, "ok")
        made, service = await transfer(lab, disk, types.ImageTransferDirection.DOWNLOAD)
        assert await ask(lab, "GET", made.transfer_url) == (200, DATA)
        assert await ask(lab, "GET", made.transfer_url, Range="bytes=100-199") == (206, DATA[100:200])
        assert await lab.put(made.transfer_url, b"x", {"Content-Range": "bytes 0-0/*"}) == 403
        status, options = await ask(lab, "OPTIONS", made.transfer_url)
        assert (status, "checksum" in json.loads(options)["features"]) == (200, True)
        await lab.call(service.finalize)
        await lab.wait(lambda: disk.status, "ok")
        assert lab.world.transfers[made.id].phase == "finished_success"

    play(scenario, imageio=imageio)
    assert not Path(f"/proc/{daemons[0]}").exists()


def test_the_real_imageio_zeroes_flushes_and_tells_extents(play, imageio):
    async def scenario(lab):
        disk = lab.world.add_disk("image", size=1 << 20)
        made, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD)
        half = len(DATA) // 2
        assert (
            await lab.put(made.transfer_url, DATA[:half], {"Content-Range": f"bytes 0-{half - 1}/*"}) == 200
        )
        for body in ({"op": "zero", "offset": 0, "size": 65536}, {"op": "flush"}):
            assert (await ask(lab, "PATCH", made.transfer_url, json.dumps(body)))[0] == 200
        await lab.call(service.finalize)
        await lab.wait(lambda: disk.status, "ok")
        made, service = await transfer(lab, disk, types.ImageTransferDirection.DOWNLOAD)
        wanted = bytes(65536) + DATA[65536:half] + bytes(half)
        assert await ask(lab, "GET", made.transfer_url) == (200, wanted)
        status, extents = await ask(lab, "GET", made.transfer_url + "/extents")
        assert (status, sum(one["length"] for one in json.loads(extents))) == (200, 1 << 20)
        await lab.call(service.finalize)

    play(scenario, imageio=imageio)


def test_a_client_of_the_real_imageio_is_silent_only_when_it_sends_nothing(play, imageio):
    async def scenario(lab):
        disk = lab.world.add_disk("image", size=1 << 20)
        made, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD, inactivity_timeout=30)
        await lab.clock.sleep(20)
        assert await lab.put(made.transfer_url, DATA[:4096], {"Content-Range": "bytes 0-4095/*"}) == 200
        await lab.clock.sleep(20)
        assert (await lab.call(service.get)).phase == PHASE.TRANSFERRING
        await lab.clock.sleep(31)
        assert (await lab.call(service.get)).phase == PHASE.PAUSED_SYSTEM
        assert (await ask(lab, "OPTIONS", made.transfer_url))[0] == 403

    play(scenario, imageio=imageio)


def test_a_transfer_fails_when_the_real_imageio_has_gone(play, imageio):
    async def scenario(lab):
        disk = lab.world.add_disk("image", size=1 << 20)
        os.kill(lab.world.images.daemon.pid, 9)
        _, service = await transfer(lab, disk, types.ImageTransferDirection.UPLOAD)
        assert (await lab.call(service.get)).phase == PHASE.FINISHED_FAILURE
        assert disk.status == "illegal"

    play(scenario, imageio=imageio)


def test_an_imageio_that_does_not_serve_is_told(run_virtually, tmp_path):
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no such option\n")
    program.chmod(0o755)

    async def start():
        async with Simulator(imageio=str(program)):
            pass

    with pytest.raises(OSError, match="does not serve: no such option"):
        run_virtually(start())


STAND_IN = """#!/bin/sh
echo "remote.service listening on ('127.0.0.1', 4711)"
echo "Ready for requests"
exec sleep 600
"""


@pytest.fixture
def killed_simulator(tmp_path):
    """Starts a simulator with a stand-in for ovirt-imageio, kills it; gives the stand-in and its folder."""
    program = tmp_path / "imageio"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    children = []

    def kill(**environment):
        ready = tmp_path / "ready"
        os.mkfifo(ready.with_suffix(".fifo"))
        command = [sys.executable, "-c", RUN, str(program), str(ready.with_suffix(".fifo"))]
        with subprocess.Popen(
            command, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")} | environment
        ) as one:
            children.append(os.pidfd_open(int(ready.with_suffix(".fifo").read_text())))
            one.kill()
        (folder,) = (tmp_path / "tmp").glob("ovirt-simulator-imageio-*")
        return children[0], folder

    yield kill
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)


RUN = """
import asyncio, pathlib, sys
from ovirt_provision.simulator import Simulator

async def run():
    async with Simulator(imageio=sys.argv[1]) as simulator:
        pathlib.Path(sys.argv[2]).write_text(str(simulator.world.images.daemon.pid))
        await asyncio.Event().wait()

asyncio.run(run())
"""


def ended(process, seconds):
    return bool(select.select([process], [], [], seconds)[0])


def test_imageio_ends_with_a_killed_simulator_and_the_next_clears_its_folders(
    killed_simulator, monkeypatch, run_virtually
):
    process, folder = killed_simulator()
    assert ended(process, 30)
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
    left = set(folder.parent.iterdir())
    assert len(left) == 2, "the folders of imageio and of certificates"

    async def next_one():
        program = str(folder.parents[1] / "imageio")
        async with Simulator(imageio=program), Simulator(imageio=program):
            found = set(folder.parent.iterdir())
            assert (len(found), found & left) == (4, set()), "those that run keep theirs"

    run_virtually(next_one())
    assert list(folder.parent.iterdir()) == []


def test_without_the_signal_of_the_kernel_imageio_would_outlive_its_simulator(killed_simulator, tmp_path):
    deaf = tmp_path / "setpriv"
    deaf.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    deaf.chmod(0o755)
    process, _ = killed_simulator(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert not ended(process, 1)
