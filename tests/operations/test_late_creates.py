"""The engine runs a create after we have given it up: what is destroyed stays so, and nothing is there
twice."""

import uuid
from typing import Any

import pytest

from ovirt_provision.ledger.store import CANCELLED, FAILED, GONE, SUCCEEDED, Ledger, Object, Operation
from ovirt_provision.operations import destroy_disk, new_machine, removal
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.crashes import Crashes
from tests.harness import ENGINE, OWNER, Site, spec, started
from tests.image_files import RAW

VMS = r"/vms"
TEMPLATES = r"/templates"


def run_late(site: Site, path: str, seconds: float, times: int = 1) -> None:
    site.simulator.world.injections.arm("late-effect", method="POST", path=path, seconds=seconds, times=times)


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_cancelled_create_that_the_engine_runs_later_is_swept(site, run_virtually, monkeypatch, defence):
    if defence == "off":
        monkeypatch.setattr(removal, "bury_if_unanswered", lambda run, row: None)

    async def scenario() -> tuple[list[str], int]:
        async with site() as s:
            run_late(s, VMS, seconds=100, times=9)
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(2)
            s.bridge.dispatcher.cancel(creating, "by its client")
            assert (await s.ended(creating)).state == CANCELLED
            assert s.vms() == []

            await s.clock.sleep(300)
            return s.vms(), s.disks()

    assert run_virtually(scenario()) == (([], 1) if defence == "on" else (["web"], 2))


def test_a_first_request_that_arrives_after_the_destroy_is_swept_though_the_second_was_answered(
    site, run_virtually
):
    async def scenario() -> None:
        async with site() as s:
            run_late(s, VMS, seconds=120)
            assert (await s.run("CreateMachine", key="web", spec=spec())).state == SUCCEEDED
            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert s.clock.monotonic() < 100

            await s.clock.sleep(300)

            assert (s.vms(), s.disks()) == ([], 1)
            assert await s.census() == []

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_vm_that_comes_back_while_it_is_destroyed_goes_with_its_new_disk(
    site, run_virtually, monkeypatch, defence
):
    if defence == "off":
        monkeypatch.setattr(removal, "_disks_known", lambda row, vm: row.details.get("disks_known"))

    async def scenario() -> tuple[str, list[str], int]:
        async with site() as s:
            run_late(s, VMS, seconds=120)
            created = await s.run("CreateMachine", key="web", spec=spec())
            vm = s.bridge.ledger.object(created.object_id).engine_id
            await s.clock.sleep(115 - s.clock.monotonic())
            s.simulator.world.injections.arm("drop-reply", method="DELETE", path=f"/vms/{vm}")
            s.simulator.world.injections.arm("unavailable", method="GET", path=f"/vms/{vm}", nth=2, times=4)
            destroyed = await s.run("DestroyMachine", key="web")
            assert s.clock.monotonic() > 120
            await s.clock.sleep(300)
            return destroyed.state, s.vms(), s.disks()

    assert run_virtually(scenario()) == ((SUCCEEDED, [], 1) if defence == "on" else (FAILED, [], 2))


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_vm_that_comes_back_after_its_destroy_does_not_keep_the_name(
    site, run_virtually, monkeypatch, defence
):
    if defence == "off":
        monkeypatch.setattr(new_machine, "is_going", lambda *_: False)

    async def scenario() -> Operation:
        async with site() as s:
            run_late(s, VMS, seconds=120)
            assert (await s.run("CreateMachine", key="web", spec=spec())).state == SUCCEEDED
            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            while not s.vms():
                await s.clock.sleep(1)
                s.simulator.world.settle()
            again = await s.run("CreateMachine", key="web", spec=spec())
            assert s.vms() == (["web"] if again.state == SUCCEEDED else s.vms())
            return again

    again = run_virtually(scenario())
    if defence == "on":
        assert again.state == SUCCEEDED, again.error
    else:
        assert again.error["reason"] == "NAME_IN_USE"


def test_a_late_request_does_not_disturb_the_machine_that_stands(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            run_late(s, VMS, seconds=40)
            assert (await s.run("CreateMachine", key="web", spec=spec())).state == SUCCEEDED
            await s.clock.sleep(100)
            assert (s.vms(), s.disks()) == (["web"], 2)

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_disk_that_arrives_after_its_destroy_is_swept(site, run_virtually, monkeypatch, defence):
    if defence == "off":
        monkeypatch.setattr(destroy_disk, "bury_if_unanswered", lambda run, row: None)

    async def scenario() -> int:
        async with site() as s:
            checksum = await s.upload(RAW)
            run_late(s, "/disks", seconds=150)
            made = await s.run("ImportImage", checksum=checksum, disk=images_pb2.ImportedDisk(name="data"))
            assert made.state == SUCCEEDED, made.error
            disk = s.bridge.ledger.object(made.object_id).known_id
            assert (await s.run("DestroyDisk", id=disk)).state == SUCCEEDED
            assert s.disks() == 1
            while s.disks() == 1:
                await s.clock.sleep(1)
                s.simulator.world.settle()
            await s.clock.sleep(240)
            return s.disks()

    assert run_virtually(scenario()) == (1 if defence == "on" else 2)


def test_a_template_that_arrives_after_its_destroy_is_swept(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            run_late(s, TEMPLATES, seconds=150)
            made = await s.run("CreateTemplate", machine_key="build", name="golden")
            assert made.state == SUCCEEDED, made.error
            template = s.bridge.ledger.object(made.object_id).engine_id
            assert (await s.run("DestroyTemplate", id=template)).state == SUCCEEDED
            assert s.templates() == []
            while not s.templates():
                await s.clock.sleep(1)
                s.simulator.world.settle()

            await s.clock.sleep(240)

            assert s.templates() == []
            assert s.bridge.ledger.object(made.object_id).state == GONE

    run_virtually(scenario())


@pytest.mark.parametrize("destroyed", [False, True])
def test_a_late_twin_of_a_template_that_has_its_own_name_by_then_is_swept(site, run_virtually, destroyed):
    """Until it is renamed its temporary name keeps the engine from making a second one."""

    async def scenario() -> None:
        async with site() as s:
            disks = s.disks()
            await s.run("CreateMachine", key="build", spec=spec())
            await s.run("CreateTemplate", machine_key="build", name="golden")
            run_late(s, TEMPLATES, seconds=150)
            made = await s.run("CreateTemplate", machine_key="build", name="golden", replace=True)
            assert made.state == SUCCEEDED, made.error
            template = s.bridge.ledger.object(made.object_id)
            if destroyed:
                assert (await s.run("DestroyTemplate", id=template.engine_id)).state == SUCCEEDED
            standing = s.templates()
            for _ in range(150):
                await s.clock.sleep(1)
                s.simulator.world.settle()
                if s.templates() != standing:
                    break
            else:
                pytest.fail("the engine has made no twin")

            await s.clock.sleep(240)
            await s.run("DestroyMachine", key="build")

            assert s.templates() == standing == ([] if destroyed else ["golden"])
            assert s.disks() == disks + (not destroyed)

    run_virtually(scenario())


def test_a_cancelled_template_that_the_engine_makes_later_is_swept(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            disks = s.disks()
            run_late(s, TEMPLATES, seconds=60, times=9)
            making = await s.call("CreateTemplate", machine_key="build", name="golden")
            await s.clock.sleep(2)
            s.bridge.dispatcher.cancel(making, "by its client")
            assert (await s.ended(making)).state == CANCELLED

            await s.clock.sleep(240)

            assert (s.templates(), s.disks()) == ([], disks)

    run_virtually(scenario())


def test_a_late_create_of_a_longer_outage_is_looked_for_at_the_next_start(site, run_virtually):
    async def scenario() -> None:
        async with site(late_create_grace=30) as s:
            run_late(s, VMS, seconds=60, times=9)
            creating = await s.call("CreateMachine", key="web", spec=spec())
            await s.clock.sleep(2)
            s.bridge.dispatcher.cancel(creating, "by its client")
            await s.ended(creating)
            s.bridge.engine(ENGINE).session._token = None  # the create came with a session that still stands
            await s.bridge.close()
            await s.clock.sleep(3600)
            s.simulator.world.settle()
            assert s.vms() == ["web"]

            s.bridge = s.new_bridge()
            s.bridge.start()
            await s.clock.sleep(100)

            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_an_engine_that_does_not_answer_keeps_no_other_from_being_swept(site, run_virtually, monkeypatch):
    async def scenario() -> None:
        async with site() as s:
            for key in ("a", "b"):
                run_late(s, VMS, seconds=100, times=9)
                creating = await s.call("CreateMachine", key=key, spec=spec())
                await s.clock.sleep(2)
                s.bridge.dispatcher.cancel(creating, "by its client")
                await s.ended(creating)
                s.simulator.world.injections.disarm()
            first = s.bridge.ledger.last_machine(OWNER, "a").engine_id
            await s.clock.sleep(50)
            s.simulator.world.injections.arm("unavailable", path=f"/vms/{first}", times=1000)

            await s.clock.sleep(300)
            assert s.vms() == ["a"], "the other one was swept"
            s.simulator.world.injections.disarm()
            await s.clock.sleep(200)
            assert s.vms() == []

    run_virtually(scenario())


def test_a_start_that_comes_late_does_not_stop_the_destroy(site, run_virtually):
    """It brings the VM up while the engine still refuses to remove it."""

    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            vm = next(iter(s.simulator.world.vms.values()))
            disk = vm.attachments[0].disk
            run_late(s, r"/vms/[^/]+/start", seconds=12, times=9)
            starting = await s.call("StartMachine", key="web")
            await s.clock.sleep(0.5)
            s.bridge.dispatcher.cancel(starting, "by its client")
            await s.ended(starting)
            s.simulator.world.injections.disarm()
            disk.status = "locked"
            begun = s.clock.monotonic()
            destroying = await s.call("DestroyMachine", key="web")
            await s.clock.sleep(10)
            disk.status = "ok"

            ended = await s.ended(destroying)

            assert any("/start" in r.path and r.status == 200 for r in s.simulator.requests)
            assert ended.state == SUCCEEDED, ended.error
            assert (s.vms(), s.disks()) == ([], 1)
            assert s.clock.monotonic() - begun < 120

    run_virtually(scenario())


@pytest.mark.parametrize("verb", ["CreateMachine", "ImportImage"])
def test_a_late_disk_is_swept_though_the_daemon_died_as_it_wrote_down_that_it_is_gone(
    site, run_virtually, monkeypatch, verb
):
    request_id = str(uuid.uuid4())

    async def cancelled(s: Site, **fields: Any) -> Operation:
        making = await s.call(verb, request_id=request_id, **fields)
        async for seen in s.bridge.dispatcher.runner.watch(making.id):
            if seen.phase in ("creating-disks", "creating-disk") and not seen.cancelled_by:
                await s.clock.sleep(3)
                s.bridge.dispatcher.cancel(seen, "by its client")
        return await s.ended(making)

    async def scenario() -> None:
        async with site() as s:
            fields: dict[str, Any] = {
                "CreateMachine": {
                    "key": "web",
                    "spec": spec(new_disks=[resources_pb2.DiskSpec(size_bytes=1 << 30)]),
                },
                "ImportImage": {
                    "checksum": await s.upload(RAW),
                    "disk": images_pb2.ImportedDisk(name="data"),
                },
            }[verb]
            run_late(s, "/disks", seconds=100, times=9)
            crashes = Crashes(s, monkeypatch)
            crashes.arm()
            update = Ledger.update_object

            def dying(ledger: Ledger, object_id: int, **values: Any) -> Object:
                row = update(ledger, object_id, **values)
                if row.kind == "disk" and row.unanswered and row.state == GONE and not crashes.deaths:
                    crashes.die()
                return row

            monkeypatch.setattr(Ledger, "update_object", dying)
            ended = await crashes.play(lambda: cancelled(s, **fields))

            assert (ended.state, crashes.deaths) == (CANCELLED, 1)
            assert s.disks() == 1
            await s.clock.sleep(400)
            assert (s.vms(), s.disks()) == ([], 1)
            assert any(r.method == "DELETE" and "/disks/" in r.path for r in s.simulator.requests), "it came"

    run_virtually(scenario())
