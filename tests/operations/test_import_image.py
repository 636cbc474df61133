"""Images that become disks and templates."""

import pytest

from ovirt_provision.engine.disks import Disks
from ovirt_provision.errors import InvalidRequest
from ovirt_provision.images.errors import ImageBusy, ImageNotFound, ImageRefused
from ovirt_provision.images.transfer import MoveFailed
from ovirt_provision.ledger.store import INTENDED, PRESENT, REMOVING
from ovirt_provision.operations import transfers
from ovirt_provision.operations.janitor import Janitor
from ovirt_provision.services.messages import operation_message
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.harness import OWNER, spec
from tests.image_files import ISO, RAW, qcow2

NOWHERE = f"sha256:{'0' * 64}"


def disk(**fields):
    return images_pb2.ImportedDisk(**{"name": "golden", **fields})


def template(**fields):
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default", memory_bytes=1 << 30)
    return images_pb2.ImportedTemplate(**{"name": "golden", "machine": machine, **fields})


def content_of(site, name):
    """The bytes that the engine has of a disk."""
    (found,) = (one for one in site.simulator.world.disks.values() if one.name == name)
    return site.simulator.world.images.path(found).with_suffix(".kept").read_bytes()


def no_transfer_is_open(site):
    return all(one.ended for one in site.simulator.world.transfers.values())


def phase_now(site):
    """The phase of the only transfer, as the engine tells it."""
    (transfer,) = site.simulator.world.transfers.values()
    site.simulator.call("GET", f"/imagetransfers/{transfer.id}", "")
    return transfer.phase


def test_an_image_becomes_a_disk_byte_by_byte(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            content = qcow2()
            checksum = await s.upload(content)
            done = await s.run("ImportImage", checksum=checksum, disk=disk(description="of Packer"))
            assert done.state == "succeeded", done.error
            (made,) = (one for one in s.simulator.world.disks.values() if one.name == "golden")
            assert (made.status, made.size, made.format, made.content_type) == ("ok", 64 << 20, "cow", "data")
            assert content_of(s, "golden") == content
            assert made.description.startswith("of Packer\novirt-provision/1 disk ")
            assert no_transfer_is_open(s)
            assert await s.census() == [("ours", "disk", "golden")]
            assert (await s.run("DestroyDisk", id=made.id)).state == "succeeded"
            assert s.disks() == 1

    run_virtually(scenario())


def test_an_image_becomes_a_template_and_nothing_is_left_beside_it(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            s.simulator.call("POST", "/tags", "<tag><name>linux</name></tag>")
            checksum = await s.upload(qcow2())
            wanted = template(description="of Packer", tags=["linux"])
            done = await s.run("ImportImage", checksum=checksum, template=wanted)
            assert done.state == "succeeded", done.error
            assert (s.templates(), s.vms(), s.disks()) == (["golden"], [], 2)
            (made,) = (one for one in s.simulator.world.templates.values() if one.name == "golden")
            assert made.description == "of Packer"
            assert await s.census() == [("ours", "template", "golden")]
            assert not s.bridge.ledger.list_objects(REMOVING)
            golden = resources_pb2.TemplateRef(name="golden")
            web = await s.run("CreateMachine", key="web", spec=spec(template=golden))
            assert web.state == "succeeded", web.error

    run_virtually(scenario())


def test_a_template_gets_versions_and_is_replaced_as_by_create_template(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(qcow2())
            for fields in ({}, {"new_version": True, "keep_versions": 1, "version_name": "spring"}):
                done = await s.run("ImportImage", checksum=checksum, template=template(**fields))
                assert done.state == "succeeded", done.error
            assert s.templates() == ["golden"]
            done = await s.run("ImportImage", checksum=checksum, template=template(replace=True))
            assert done.state == "succeeded", done.error
            assert (s.templates(), s.vms(), s.disks()) == (["golden"], [], 2)

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("content", "wanted", "made"),
    [
        (RAW, {}, ("raw", "data", len(RAW))),
        (RAW, {"format": resources_pb2.DISK_FORMAT_COW}, ("cow", "data", len(RAW))),
        (RAW[:1000], {}, ("raw", "data", 1024)),
        (qcow2(size=1 << 20), {"format": resources_pb2.DISK_FORMAT_RAW}, ("raw", "data", 1 << 20)),
        (ISO, {}, ("raw", "iso", -(-len(ISO) // 512) * 512)),
    ],
    ids=["raw", "raw-to-cow", "odd-length", "qcow2-to-raw", "iso"],
)
def test_each_kind_of_image_becomes_its_kind_of_disk(direct_site, run_virtually, content, wanted, made):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(content)
            done = await s.run("ImportImage", checksum=checksum, disk=disk(**wanted))
            assert done.state == "succeeded", done.error
            (found,) = (one for one in s.simulator.world.disks.values() if one.name == "golden")
            assert (found.format, found.content_type, found.size) == made
            sent = content_of(s, "golden")
            if "format" not in wanted:
                assert sent == content
            elif found.format == "raw":
                assert sent == bytes(1 << 20)
            else:
                assert sent.startswith(b"QFI")
            assert not s.bridge.images.scratched(), "what was converted is gone"

    run_virtually(scenario())


def test_the_second_import_moves_no_byte(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(qcow2())
            for target in ({"disk": disk()}, {"template": template(name="base")}):
                first = await s.run("ImportImage", checksum=checksum, reuse=True, **target)
                assert first.state == "succeeded", first.error
                moved = len(s.hosts.jobs)
                s.bridge.images.remove(OWNER, checksum)
                assert (await s.run("ImportImage", checksum=checksum, reuse=True, **target)).id == first.id
                assert len(s.hosts.jobs) == moved
                await s.upload(qcow2())
            other = await s.run("ImportImage", checksum=checksum, reuse=True, disk=disk(name="other"))
            again = await s.run("ImportImage", checksum=checksum, disk=disk())
            assert (other.state, again.state) == ("succeeded", "succeeded")
            assert len(s.hosts.jobs) == 4, "another target, and one that is not to be reused"

    run_virtually(scenario())


def test_two_that_come_together_share_what_is_made(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(qcow2())
            first = await s.call("ImportImage", checksum=checksum, reuse=True, disk=disk())
            assert (await s.call("ImportImage", checksum=checksum, reuse=True, disk=disk())).id == first.id
            assert (await s.ended(first)).state == "succeeded"
            assert len(s.hosts.jobs) == 1

    run_virtually(scenario())


def test_what_is_not_whole_any_more_is_not_reused(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(qcow2())
            await s.run("ImportImage", checksum=checksum, reuse=True, disk=disk())
            (made,) = (one for one in s.simulator.world.disks.values() if one.name == "golden")
            made.status = "illegal"
            again = await s.run("ImportImage", checksum=checksum, reuse=True, disk=disk())
            assert again.state == "succeeded"
            assert len(s.hosts.jobs) == 2

    run_virtually(scenario())


@pytest.mark.parametrize("moment", ["before", "while it is looked at"])
def test_what_is_being_destroyed_is_not_reused(direct_site, run_virtually, monkeypatch, moment):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(qcow2())
            await s.run("ImportImage", checksum=checksum, reuse=True, disk=disk())
            (made,) = (one for one in s.simulator.world.disks.values() if one.name == "golden")
            get, destroying = Disks.get, []

            async def destroy():
                destroying.append(await s.call("DestroyDisk", id=made.id))

            async def meanwhile(disks, disk_id):
                found = await get(disks, disk_id)
                if not destroying and disk_id == made.id:
                    destroying.append(None)
                    await destroy()
                return found

            if moment == "before":
                await destroy()
            else:
                monkeypatch.setattr(Disks, "get", meanwhile)
            again = await s.run("ImportImage", checksum=checksum, reuse=True, disk=disk())

            assert (await s.ended(destroying[-1])).state == again.state == "succeeded"
            assert [one.name for one in s.simulator.world.disks.values()].count("golden") == 1
            assert len(s.hosts.jobs) == 2

    run_virtually(scenario())


def test_all_that_is_wrong_is_told_before_an_image_is_there(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            s.simulator.world.add_template("golden")
            wrong = template(storage_domain="dato", tags=["none"])
            wrong.machine.cluster = "Defualt"
            with pytest.raises(InvalidRequest) as refused:
                await s.validate("ImportImage", checksum=NOWHERE, validate_only=True, template=wrong)
            told = {one.field: one.description for one in refused.value.violations}
            assert set(told) == {"template.name", "template.tags[0]", "template.machine.cluster"}
            assert "did you mean 'Default'?" in told["template.machine.cluster"]
            wrong = template(name="new", storage_domain="dato")
            with pytest.raises(InvalidRequest, match="did you mean 'data'"):
                await s.validate("ImportImage", checksum=NOWHERE, validate_only=True, template=wrong)
            with pytest.raises(InvalidRequest, match="did you mean 'data'"):
                await s.validate(
                    "ImportImage", checksum=NOWHERE, validate_only=True, disk=disk(storage_domain="dato")
                )
            with pytest.raises(ImageNotFound, match="no image sha256:"):
                await s.call("ImportImage", checksum=NOWHERE, disk=disk())

    run_virtually(scenario())


def test_an_iso_is_no_system_disk(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(ISO)
            with pytest.raises(ImageRefused, match="ISO 9660"):
                await s.call("ImportImage", checksum=checksum, template=template())

    run_virtually(scenario())


async def nothing_is_left(s):
    assert (s.vms(), s.templates(), s.disks()) == ([], [], 1)
    assert no_transfer_is_open(s)
    assert {finding for finding, _, _ in await s.census()} <= {"ours"}
    rows = s.bridge.ledger.list_objects(INTENDED, PRESENT, REMOVING)
    assert not [row.kind for row in rows]
    assert not s.bridge.images.scratched()


@pytest.mark.parametrize(
    "phase",
    [
        "creating-disk",
        "opening-transfer",
        "transferring",
        "finalizing",
        "creating-machine",
        "copying-disks",
        "removing-machine",
    ],
)
def test_a_cancellation_in_any_phase_leaves_nothing(direct_site, run_virtually, phase):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(RAW)
            wanted = template(disk_format=resources_pb2.DISK_FORMAT_COW)
            importing = await s.call("ImportImage", checksum=checksum, template=wanted)
            async for seen in s.bridge.dispatcher.runner.watch(importing.id):
                if seen.phase == phase:
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert (seen.state, seen.cleanup) == ("cancelled", "done"), seen.error
            await nothing_is_left(s)

    run_virtually(scenario())


def test_progress_is_told_in_bytes_with_the_rate(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(RAW)
            importing = await s.call("ImportImage", checksum=checksum, disk=disk())
            told = []
            async for seen in s.bridge.dispatcher.runner.watch(importing.id):
                if (now := operation_message(s.bridge, seen)).HasField("transferred"):
                    told.append((now.transferred.done_bytes, now.transferred.bytes_per_second))
            quarter = len(RAW) // 4
            assert told[0] == (quarter, 0)
            assert (3 * quarter, quarter) in told
            assert not operation_message(s.bridge, seen).HasField("transferred")

    run_virtually(scenario())


def test_a_host_that_is_gone_for_a_while_is_waited_for(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            s.hosts.failures = [MoveFailed("network", "Connection refused")] * 3
            checksum = await s.upload(RAW)
            done = await s.run("ImportImage", checksum=checksum, disk=disk())
            assert done.state == "succeeded", done.error
            assert content_of(s, "golden") == RAW

    run_virtually(scenario())


@pytest.mark.parametrize("failure", [("network", "Connection refused"), ("space", "No space left on device")])
def test_a_transfer_that_gets_nowhere_fails_and_leaves_nothing(direct_site, run_virtually, failure):
    async def scenario():
        async with direct_site() as s:
            s.hosts.failures = [MoveFailed(*failure)] * 1000
            checksum = await s.upload(RAW)
            done = await s.run("ImportImage", checksum=checksum, disk=disk())
            assert (done.state, done.error["reason"]) == ("failed", "TRANSFER_FAILED")
            assert failure[1] in done.error["message"]
            await nothing_is_left(s)

    run_virtually(scenario())


def test_a_host_that_is_too_slow_ends_at_the_deadline(direct_site, run_virtually):
    async def scenario():
        async with direct_site(transfer_image=60) as s:
            s.hosts.seconds = 30.0
            checksum = await s.upload(RAW)
            done = await s.run("ImportImage", checksum=checksum, disk=disk())
            assert (done.state, done.error["reason"], done.error["phase"]) == (
                "failed",
                "DEADLINE_EXCEEDED",
                "transferring",
            )
            assert "of 512" in done.error["message"] or "bytes" in done.error["message"]
            await nothing_is_left(s)

    run_virtually(scenario())


def test_a_transfer_that_the_engine_has_paused_goes_on_where_it_was(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(RAW)
            importing = await s.call("ImportImage", checksum=checksum, disk=disk())
            paused = False
            async for _ in s.bridge.dispatcher.runner.watch(importing.id):
                if s.hosts.moved and not paused:
                    paused = True
                    (transfer,) = s.simulator.world.transfers.values()
                    s.simulator.call("POST", f"/imagetransfers/{transfer.id}/pause", "<action/>")
            done = await s.ended(importing)
            assert done.state == "succeeded", done.error
            assert content_of(s, "golden") == RAW

    run_virtually(scenario())


def test_what_the_engine_does_not_take_over_leaves_nothing(direct_site, run_virtually, monkeypatch):
    async def scenario():
        async with direct_site() as s:

            def broken(*_args):
                return _Broken()

            monkeypatch.setattr(s.simulator.world.guests, "write_disk", broken)
            checksum = await s.upload(RAW)
            done = await s.run("ImportImage", checksum=checksum, disk=disk())
            assert (done.state, done.error["reason"]) == ("failed", "TRANSFER_FAILED")
            assert "does not take over" in done.error["message"]
            await nothing_is_left(s)

    run_virtually(scenario())


class _Broken:
    done = True
    error = "the image is broken"


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_daemon_that_is_killed_goes_on_where_its_transfer_was(
    direct_site, run_virtually, monkeypatch, steps
):
    """At five points of an upload; what was kept is not sent again."""
    monkeypatch.setattr(transfers, "_WRITE_DOWN", 1)

    async def scenario():
        async with direct_site() as s:
            s.hosts.steps = 6
            checksum = await s.upload(RAW)
            importing = await s.call("ImportImage", checksum=checksum, disk=disk())
            async for _ in s.bridge.dispatcher.runner.watch(importing.id):
                if len(s.hosts.moved) == steps:
                    break
            # Longer than the engine waits for a client: it has paused the transfer meanwhile.
            await s.restart(recover=False)
            await s.clock.sleep(400)
            assert phase_now(s) == "paused_system"
            s.bridge.start()
            done = await s.ended(importing)
            assert done.state == "succeeded", done.error
            assert content_of(s, "golden") == RAW
            assert sum(s.hosts.moved) == len(RAW), "no byte was sent twice"
            assert len(s.simulator.world.transfers) == 1

    run_virtually(scenario())


@pytest.mark.parametrize("defended", [True, False])
def test_the_janitor_ends_what_an_undo_had_to_leave(site, run_virtually, monkeypatch, defended):
    """A transfer that is left paused locks its disk for ever: without the janitor it would stay so."""
    if not defended:
        monkeypatch.setattr(Janitor, "_waiting", lambda _janitor: [])

    async def scenario():
        async with site(undo=30) as s:
            checksum = await s.upload(RAW)
            s.hosts.steps, s.hosts.seconds = 100, 10.0
            importing = await s.call("ImportImage", checksum=checksum, disk=disk())
            async for seen in s.bridge.dispatcher.runner.watch(importing.id):
                if s.hosts.moved and not seen.cancelled_by:
                    s.simulator.world.injections.arm(
                        "unavailable", method="POST", path="/imagetransfers/.*/cancel", times=20
                    )
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert (seen.state, seen.cleanup) == ("cancelled", "pending")
            assert phase_now(s) == "transferring"
            await s.clock.sleep(600)
            assert phase_now(s) == ("finished_cleanup" if defended else "paused_system")
            if defended:
                await nothing_is_left(s)
                assert s.bridge.ledger.operation_or_fail(seen.id).cleanup == "done"
            else:
                assert s.disks() == 2

    run_virtually(scenario())


def test_an_image_in_use_stays(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            checksum = await s.upload(RAW)
            importing = await s.call("ImportImage", checksum=checksum, disk=disk())
            with pytest.raises(ImageBusy):
                s.bridge.images.remove(OWNER, checksum)
            await s.ended(importing)
            s.bridge.images.remove(OWNER, checksum)

    run_virtually(scenario())
