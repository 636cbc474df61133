"""Disks that become images, which the daemon keeps for their callers."""

import subprocess
from pathlib import Path
from typing import cast

import pytest

from ovirt_provision.errors import (
    InvalidRequest,
    MachineBusy,
    MachineNotDown,
    NotOurs,
    OperationNotFound,
    ReferencesNotFound,
)
from ovirt_provision.images import qemu_img
from ovirt_provision.images.errors import QemuImgFailed, TransferFailed
from ovirt_provision.images.transfer import MoveFailed
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Operation
from ovirt_provision.services.calls import Caller, Context, calling
from ovirt_provision.services.image_service import ImageServicer
from ovirt_provision.services.messages import operation_message
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.crashes import AFTER_COMMIT, Crashes
from tests.harness import OWNER, Site, spec, started
from tests.image_files import RAW, qcow2

GOLDEN = resources_pb2.TemplateRef(name="golden")
AS_RAW = resources_pb2.Image.FORMAT_RAW
PHASES = ("opening-transfer", "transferring", "finalizing", "converting")


async def golden(site: Site, content: bytes = RAW) -> None:
    """A template of an image."""
    checksum = await site.upload(content)
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default", memory_bytes=1 << 30)
    wanted = images_pb2.ImportedTemplate(name="golden", machine=machine)
    made = await site.run("ImportImage", checksum=checksum, template=wanted)
    assert made.state == SUCCEEDED, made.error
    site.bridge.images.remove(OWNER, checksum)


def file_of(site: Site, exported: Operation) -> Path:
    assert exported.state == SUCCEEDED, exported.error
    image = operation_message(site.bridge, exported).image
    assert site.bridge.images.need(OWNER, image.checksum).size == image.size_bytes
    return site.bridge.images.path(OWNER, image.checksum)


def transfers(site: Site) -> list[str]:
    """The phases of all transfers, as the engine tells them."""
    world = site.simulator.world
    for one in list(world.transfers):
        site.simulator.call("GET", f"/imagetransfers/{one}", "")
    return [one.phase for one in world.transfers.values() if one.direction == "download"]


def left(site: Site) -> list[str]:
    """What an export must not leave: disks that nobody can use, transfers, and files."""
    disks = [one.name for one in site.simulator.world.disks.values() if one.status != "ok"]
    open_ones = [one for one in transfers(site) if not one.startswith("finished")]
    return [*disks, *open_ones, *site.bridge.images.scratched()]


def as_raw(file: Path, tmp_path: Path) -> bytes:
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, tmp_path / "raw"], check=True)
    return (tmp_path / "raw").read_bytes()


def test_what_was_imported_is_exported_with_the_same_bytes(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            exported = await s.run("ExportImage", template=GOLDEN, format=AS_RAW)
            assert file_of(s, exported).read_bytes() == RAW
            image = operation_message(s.bridge, exported).image
            assert (image.format, image.virtual_size_bytes) == (AS_RAW, len(RAW))
            again = await s.run(
                "ImportImage", checksum=image.checksum, disk=images_pb2.ImportedDisk(name="again")
            )
            assert again.state == SUCCEEDED, again.error
            disk = operation_message(s.bridge, again).disk.id
            once_more = await s.run("ExportImage", disk_id=disk, format=AS_RAW)
            assert operation_message(s.bridge, once_more).image.checksum == image.checksum
            assert transfers(s) == ["finished_success"] * 2
            assert left(s) == []

    run_virtually(scenario())


@pytest.mark.parametrize("content", [RAW, qcow2()], ids=["raw", "qcow2"])
def test_a_qcow2_has_what_a_guest_would_read(direct_site, run_virtually, tmp_path, content):
    (tmp_path / "given").write_bytes(content)
    wanted = content if content is RAW else as_raw(tmp_path / "given", tmp_path)

    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s, content)
            used = await s.run("CreateMachine", key="web", spec=spec(template=GOLDEN))
            assert used.state == SUCCEEDED, used.error
            for source in ({"template": GOLDEN}, {"machine_key": "web"}):
                exported = await s.run("ExportImage", **source)
                assert as_raw(file_of(s, exported), tmp_path) == wanted
            assert left(s) == []

    run_virtually(scenario())


def test_what_is_wrong_is_refused_before_the_first_effect(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            unseen = resources_pb2.AddressSelection(do_not_wait=True)
            await s.run(
                "CreateMachine",
                key="web",
                spec=spec(template=GOLDEN),
                start_with=started(),
                address_selection=unseen,
            )
            before = len(s.simulator.world.jobs)
            with pytest.raises(ReferencesNotFound, match="did you mean 'golden'"):
                await s.call("ExportImage", template=resources_pb2.TemplateRef(name="goldne"))
            with pytest.raises(ReferencesNotFound, match=r"has no disk 'golden_Disk2'.*'golden_Disk1'"):
                await s.call("ExportImage", template=GOLDEN, disk_name="golden_Disk2")
            with pytest.raises(MachineNotDown):
                await s.call("ExportImage", machine_key="web")
            base = next(iter(s.simulator.world.disks))
            with pytest.raises(NotOurs):
                await s.call("ExportImage", disk_id=base)
            for disk in s.simulator.world.disks.values():
                disk.status = "illegal"
            await s.clock.sleep(5)
            with pytest.raises(InvalidRequest, match="illegal"):
                await s.validate("ExportImage", template=GOLDEN, validate_only=True)
            assert len(s.simulator.world.jobs) == before
            assert transfers(s) == []

    run_virtually(scenario())


def test_the_machine_is_busy_meanwhile(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            await s.run("CreateMachine", key="web", spec=spec(template=GOLDEN))
            exporting = await s.call("ExportImage", machine_key="web")
            with pytest.raises(MachineBusy, match="ExportImage"):
                await s.call("StartMachine", key="web")
            file_of(s, await s.ended(exporting))

    run_virtually(scenario())


@pytest.mark.parametrize("phase", PHASES)
def test_an_export_that_is_cancelled_leaves_nothing(direct_site, run_virtually, phase):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            exporting = await s.call("ExportImage", template=GOLDEN)
            async for seen in s.bridge.dispatcher.runner.watch(exporting.id):
                if seen.phase == phase:
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert (seen.state, seen.cleanup) == (CANCELLED, "done")
            assert left(s) == []
            assert s.bridge.images.list(OWNER) == []

    run_virtually(scenario())


@pytest.mark.parametrize("commits", [2, 3, 5, 7, 9])
def test_a_daemon_that_dies_meanwhile_gives_the_same_image(site, run_virtually, monkeypatch, commits):
    async def scenario() -> None:
        async with site(late_create_grace=30) as s:
            await golden(s)
            crashes = Crashes(s, monkeypatch)
            crashes.arm(AFTER_COMMIT, commits)
            s.hosts.moved.clear()

            async def export() -> Operation:
                request_id = "11111111-1111-4111-8111-111111111111"
                exporting = await s.call("ExportImage", request_id=request_id, template=GOLDEN, format=AS_RAW)
                return await s.ended(exporting)

            exported = await crashes.play(export)
            assert file_of(s, exported).read_bytes() == RAW
            assert crashes.deaths == 1
            assert left(s) == []

    run_virtually(scenario())


def test_a_download_goes_on_where_the_last_daemon_was(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            s.hosts.moved.clear()
            exporting = await s.call("ExportImage", template=GOLDEN, format=AS_RAW)
            async for seen in s.bridge.dispatcher.runner.watch(exporting.id):
                row = s.bridge.ledger.object(seen.object_id)
                if seen.phase == "transferring":
                    half = len(RAW) // 2
                    s.bridge.ledger.update_object(row.id, details={**row.details, "transferred": half})
                    file = s.bridge.images.scratch(exporting.id, ".raw")
                    file.write_bytes(RAW[:half])
                    break
            await s.restart()
            exported = await s.ended(exporting)
            assert file_of(s, exported).read_bytes() == RAW
            assert s.hosts.jobs[-1].offset == len(RAW) // 2

    run_virtually(scenario())


def test_what_was_downloaded_and_is_lost_is_downloaded_again(direct_site, run_virtually):
    """Without that look the image would have a hole where the last daemon's bytes were."""

    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            exporting = await s.call("ExportImage", template=GOLDEN, format=AS_RAW)
            async for seen in s.bridge.dispatcher.runner.watch(exporting.id):
                row = s.bridge.ledger.object(seen.object_id)
                if seen.phase == "transferring":
                    half = len(RAW) // 2
                    s.bridge.ledger.update_object(row.id, details={**row.details, "transferred": half})
                    break
            s.bridge.images.drop_scratch(exporting.id)
            await s.restart()
            assert file_of(s, await s.ended(exporting)).read_bytes() == RAW

    run_virtually(scenario())


@pytest.mark.parametrize("defended", [True, False])
def test_a_paused_download_whose_export_is_over_is_ended_by_the_janitor(
    direct_site, run_virtually, monkeypatch, defended
):
    async def scenario() -> list[str]:
        async with direct_site(undo=5, engine_lock=1, cleanup_interval=10) as s:
            await golden(s)
            if not defended:

                async def idle(_janitor: object) -> None:
                    return None

                monkeypatch.setattr("ovirt_provision.operations.janitor.Janitor.run", idle)
                await s.restart()
            world = s.simulator.world
            exporting = await s.call("ExportImage", template=GOLDEN)
            async for seen in s.bridge.dispatcher.runner.watch(exporting.id):
                if seen.phase == "transferring" and not world.injections.armed:
                    (one,) = [one for one in world.transfers.values() if one.direction == "download"]
                    s.simulator.call("POST", f"/imagetransfers/{one.id}/pause", "<action/>")
                    world.injections.arm("forbidden", method="POST", path="/imagetransfers/.*", times=10)
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert (seen.state, seen.cleanup) == (CANCELLED, "pending")
            world.injections.disarm()
            await s.clock.sleep(120)
            return left(s)

    assert (run_virtually(scenario()) == []) == defended


def test_what_goes_wrong_is_told_and_undone(direct_site, run_virtually, monkeypatch):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            s.hosts.failures.append(MoveFailed("data", "HTTP 500 disk error"))
            failed = await s.run("ExportImage", template=GOLDEN)
            assert (failed.state, failed.error["reason"]) == (FAILED, TransferFailed.reason)
            assert "disk error" in failed.error["message"]
            assert left(s) == []

            async def broken(*_: object, **__: object) -> None:
                raise QemuImgFailed(doing="convert the image", said="no space left")

            monkeypatch.setattr(qemu_img, "convert", broken)
            failed = await s.run("ExportImage", template=GOLDEN)
            assert (failed.state, failed.phase) == (FAILED, "converting")
            assert left(s) == []

    run_virtually(scenario())


def test_what_the_daemon_had_before_an_export_stays_when_the_export_is_done_with(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            uploaded = await s.upload(RAW)
            await s.clock.sleep(1)
            calling.set(Caller(OWNER, s.bridge.config.limits(OWNER)))
            service, context = ImageServicer(lambda: s.bridge), cast(Context, None)

            async def done_with(operation: Operation, checksum: str) -> None:
                request = images_pb2.RemoveImageRequest(checksum=checksum, export_id=operation.id)
                await service.RemoveImage(request, context)

            for image_format, stays in ((AS_RAW, True), (resources_pb2.Image.FORMAT_QCOW2, False)):
                exported = await s.run("ExportImage", template=GOLDEN, format=image_format)
                checksum = operation_message(s.bridge, exported).image.checksum
                assert (checksum == uploaded) == stays
                await done_with(exported, checksum)
                assert (s.bridge.images.find(OWNER, checksum) is not None) == stays
            with pytest.raises(OperationNotFound):
                await done_with(exported, uploaded)
            calling.set(Caller("jane", s.bridge.config.limits(OWNER)))
            with pytest.raises(OperationNotFound):
                await done_with(exported, checksum)

    run_virtually(scenario())
