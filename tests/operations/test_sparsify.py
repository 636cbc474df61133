"""Disks that are sparsified: those of a Machine, those that were handed over, those of a new template."""

from dataclasses import replace

import pytest

from ovirt_provision.errors import (
    DiskInUse,
    DiskNotSparsifiable,
    InvalidRequest,
    MachineBusy,
    MachineNotDown,
    NotOurs,
)
from ovirt_provision.ledger.store import FAILED, SUCCEEDED, Operation
from ovirt_provision.operations import sparsify_disk
from ovirt_provision.services.messages import operation_message
from ovirt_provision.simulator.entities import Disk
from ovirt_provision.v1 import resources_pb2
from tests.harness import Site, spec, started

FULL = 5 << 30
EMPTY = 1 << 20
RAW = {"clone": True, "boot_disk": resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)}


async def build(site: Site, **fields: object) -> Disk:
    """A Machine `build`, down, with a disk that takes more than it uses."""
    made = await site.run("CreateMachine", key="build", spec=spec(**(fields or RAW)))
    assert made.state == SUCCEEDED, made.error
    (attachment,) = site.simulator.world.vms[made_id(site, made)].attachments
    attachment.disk.actual_size = FULL
    return attachment.disk


def made_id(site: Site, made: Operation) -> str:
    return site.bridge.ledger.object(made.object_id).known_id


def changes(site: Site) -> int:
    """How many commands the engine has been given, also those that it refused."""
    return len(site.simulator.world.jobs)


def told(site: Site, operation: Operation) -> list[tuple[str, int, int]]:
    message = operation_message(site.bridge, operation)
    return [(one.id, one.bytes_before, one.bytes_after) for one in message.sparsified]


@pytest.mark.parametrize("by_key", [True, False])
def test_a_disk_of_a_machine_takes_less(direct_site, run_virtually, by_key):
    async def scenario() -> None:
        async with direct_site() as s:
            disk = await build(s)
            ended = await s.run("SparsifyDisk", **({"machine_key": "build"} if by_key else {"id": disk.id}))
            assert ended.state == SUCCEEDED, ended.error
            assert disk.actual_size == EMPTY
            assert told(s, ended) == [(disk.id, FULL, EMPTY)]
            assert disk.status == "ok"

    run_virtually(scenario())


def test_a_disk_that_was_handed_over_takes_less(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            disk = await build(s)
            await s.run("DetachDisk", machine_key="build", name="golden")
            ended = await s.run("SparsifyDisk", id=disk.id)
            assert ended.state == SUCCEEDED, ended.error
            assert told(s, ended) == [(disk.id, FULL, EMPTY)]
            vm = s.simulator.call(
                "POST",
                "/vms",
                "<vm><name>theirs</name><cluster><name>Default</name></cluster>"
                "<template><name>Blank</name></template></vm>",
            ).element.get("id")
            s.simulator.call(
                "POST",
                f"/vms/{vm}/diskattachments",
                f'<disk_attachment><interface>virtio</interface><disk id="{disk.id}"/></disk_attachment>',
            )
            with pytest.raises(DiskInUse, match="cannot be sparsified, because a VM has it"):
                await s.call("SparsifyDisk", id=disk.id)

    run_virtually(scenario())


def test_what_cannot_be_sparsified_is_refused_before_the_first_effect(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            disk = await build(s)
            base = next(one for one in s.simulator.world.disks if one != disk.id)
            before = changes(s)
            with pytest.raises(NotOurs, match="the ledger does not know it"):
                await s.call("SparsifyDisk", id=base)
            disk.sparse = False
            with pytest.raises(DiskNotSparsifiable, match="it is preallocated"):
                await s.call("SparsifyDisk", id=disk.id)
            disk.sparse, disk.format = True, "cow"
            with pytest.raises(DiskNotSparsifiable, match="it is a qcow2 disk") as refused:
                await s.call("SparsifyDisk", machine_key="build")
            assert "as a full copy with disks of that kind" in refused.value.what_to_do
            disk.format, disk.status = "raw", "illegal"
            with pytest.raises(DiskNotSparsifiable, match="it is illegal"):
                await s.call("SparsifyDisk", id=disk.id)
            disk.status = "ok"
            assert changes(s) == before
            await s.run("StartMachine", key="build", initialization=started())
            with pytest.raises(MachineNotDown):
                await s.call("SparsifyDisk", machine_key="build")

    run_virtually(scenario())


def test_the_machine_is_busy_meanwhile(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            disk = await build(s)
            sparsifying = await s.call("SparsifyDisk", id=disk.id)
            with pytest.raises(MachineBusy, match="SparsifyDisk"):
                await s.call("StartMachine", key="build")
            assert (await s.ended(sparsifying)).state == SUCCEEDED

    run_virtually(scenario())


def test_a_template_is_sparsified_and_the_machine_stays_as_it_is(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            disk = await build(s, clone=False)
            made = await s.run(
                "CreateTemplate",
                machine_key="build",
                name="golden",
                seal=True,
                sparsify=True,
                disk_format=resources_pb2.DISK_FORMAT_RAW,
            )
            assert made.state == SUCCEEDED, made.error
            names = [phase["name"] for phase in made.phases]
            assert names == ["creating-template", "sealing", "sparsifying"]
            template = s.simulator.world.templates[made_id(s, made)]
            (copy,) = [one.disk for one in template.attachments]
            assert (copy.format, copy.status, copy.actual_size) == ("raw", "ok", EMPTY)
            assert told(s, made) == [(copy.id, FULL, EMPTY)]
            assert disk.actual_size == FULL

    run_virtually(scenario())


@pytest.mark.parametrize(("block", "says"), [(False, "set disk_format to RAW"), (True, "no block device")])
def test_a_template_that_cannot_be_sparsified_is_refused_with_advice(direct_site, run_virtually, block, says):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s, clone=False)
            for domain in s.simulator.world.domains.values():
                domain.storage_type = "fcp" if block else "nfs"
            before = changes(s)
            wanted = resources_pb2.DISK_FORMAT_RAW if block else resources_pb2.DISK_FORMAT_UNSPECIFIED
            with pytest.raises(InvalidRequest) as refused:
                await s.call(
                    "CreateTemplate", machine_key="build", name="golden", sparsify=True, disk_format=wanted
                )
            assert [violation.field for violation in refused.value.violations] == ["sparsify"]
            assert says in str(refused.value)
            assert changes(s) == before

    run_virtually(scenario())


def test_what_fails_leaves_no_template_and_says_why(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            s.simulator.world.injections.arm("sparsify-fails")
            made = await s.run("CreateTemplate", machine_key="build", name="golden", sparsify=True)
            assert (made.state, made.phase) == (FAILED, "sparsifying")
            assert "Failed to sparsify" in made.error["message"]
            assert s.templates() == []
            assert s.disks() == 2

    run_virtually(scenario())


@pytest.mark.parametrize("defended", [True, False])
def test_an_answer_that_is_lost_costs_no_second_run(site, run_virtually, monkeypatch, defended):
    """Without the look at the disk, what the engine does already is taken for a refusal."""
    if not defended:
        present = sparsify_disk._look

        async def unlocked(run, disk_id):
            return replace(await present(run, disk_id), status="ok")

        monkeypatch.setattr(sparsify_disk, "_look", unlocked)

    async def scenario() -> Operation:
        async with site(engine_lock=1) as s:
            await build(s)
            s.simulator.world.injections.arm(
                "drop-reply", method="POST", path="/disks/[^/]+/sparsify", times=1
            )
            return await s.run("SparsifyDisk", machine_key="build")

    ended = run_virtually(scenario())
    assert ended.state == (SUCCEEDED if defended else FAILED)
