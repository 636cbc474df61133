"""Templates from Machines, on the simulated engine in virtual time."""

import uuid

import pytest

from ovirt_provision.errors import KeyInUse, MachineNotDown, MachineNotFound, NameInUse, NotOurs
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, OWNER, Site, spec, started


async def template_id(site: Site, name: str) -> str:
    return (await site.bridge.engine(ENGINE).templates.versions_of(name))[0].id


def test_a_sealed_template_stands_with_a_mark_of_its_own_and_no_initialization_of_ours(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run(
                "CreateMachine",
                key="build",
                spec=spec(),
                start_with=started(authorized_ssh_keys=["ssh-ed25519 AAAA temporary"]),
            )
            await s.run("StopMachine", key="build")

            made = await s.run("CreateTemplate", machine_key="build", name="golden", seal=True)

            assert made.state == SUCCEEDED, made.error
            assert [phase["name"] for phase in made.phases] == ["creating-template", "sealing"]
            session = s.bridge.engine(ENGINE).session
            template = (
                await session.call(
                    "read",
                    lambda system: system.templates_service().list(search="name=golden", all_content=True),
                )
            )[0]
            assert str(template.status) == "ok"
            assert template.comment.startswith("ovirt-provision/1 template ")
            assert template.initialization is None or not template.initialization.authorized_ssh_keys
            assert s.vms() == ["build"], "the Machine stays"

            await s.run("DestroyMachine", key="build")
            assert s.templates() == ["golden"]
            assert await s.census() == [("ours", "template", "golden")]

    run_virtually(scenario())


def test_a_machine_from_the_new_template_works(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            await s.run("CreateTemplate", machine_key="build", name="golden")

            made = await s.run(
                "CreateMachine",
                key="web",
                spec=spec(template=resources_pb2.TemplateRef(name="golden")),
                start_with=started(),
            )

            assert made.state == SUCCEEDED, made.error

    run_virtually(scenario())


def test_destroying_a_template_of_ours(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            await s.run("CreateTemplate", machine_key="build", name="golden")
            golden = await template_id(s, "golden")

            assert (await s.run("DestroyTemplate", id=golden)).state == SUCCEEDED
            assert s.templates() == []
            assert (await s.run("DestroyTemplate", id=golden)).state == SUCCEEDED, "what is gone"
            assert (await s.run("DestroyTemplate", id=str(uuid.uuid4()))).state == SUCCEEDED, "what never was"

    run_virtually(scenario())


def test_a_template_that_we_did_not_make_is_refused(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(NotOurs):
                await s.call("DestroyTemplate", id=await template_id(s, "debian-12"))

            assert await template_id(s, "debian-12")

    run_virtually(scenario())


def test_a_template_that_inherited_a_mark_is_not_ours(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            vm_id = s.bridge.ledger.living_machine(OWNER, "build").engine_id
            from ovirtsdk4 import types

            await s.bridge.engine(ENGINE).session.call(
                "do as a person would",
                lambda system: system.templates_service().add(
                    types.Template(name="by-hand", vm=types.Vm(id=vm_id))
                ),
            )
            await s.clock.sleep(120)
            by_hand = await template_id(s, "by-hand")

            with pytest.raises(NotOurs):
                await s.call("DestroyTemplate", id=by_hand)
            assert ("foreign", "template", "by-hand") in await s.census()

    run_virtually(scenario())


def test_a_name_that_is_taken_is_refused_before_any_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            asked = len([r for r in s.simulator.requests if r.method != "GET"])

            with pytest.raises(NameInUse, match="debian-12"):
                await s.call("CreateTemplate", machine_key="build", name="debian-12")

            assert len([r for r in s.simulator.requests if r.method != "GET"]) == asked

    run_virtually(scenario())


def test_the_machine_has_to_be_there_and_down(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(MachineNotFound):
                await s.call("CreateTemplate", machine_key="build", name="golden")
            await s.run("CreateMachine", key="build", spec=spec(), start_with=started())
            with pytest.raises(MachineNotDown, match="is up"):
                await s.call("CreateTemplate", machine_key="build", name="golden")
            assert s.templates() == []

    run_virtually(scenario())


@pytest.mark.parametrize("fault", ["template-fails", "seal-fails"])
def test_a_failure_in_the_engine_is_told_in_its_own_words_and_leaves_nothing(site, run_virtually, fault):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            disks = s.disks()
            s.simulator.world.injections.arm(fault)

            made = await s.run("CreateTemplate", machine_key="build", name="golden", seal=True)

            assert made.state == FAILED
            assert "golden" in made.error["engine_text"]
            assert made.error["reason"] == "ENGINE_OPERATION_FAILED"
            assert (s.templates(), s.disks()) == ([], disks)

    run_virtually(scenario())


@pytest.mark.parametrize("after", [1, 20, 45])
def test_cancelling_leaves_the_machine_and_no_template(site, run_virtually, after):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            disks = s.disks()
            making = await s.call("CreateTemplate", machine_key="build", name="golden", seal=True)
            await s.clock.sleep(after)
            s.bridge.dispatcher.cancel(making, "by its client")

            ended = await s.ended(making)

            assert ended.state == CANCELLED
            assert (s.templates(), s.disks(), s.vms()) == ([], disks, ["build"])

    run_virtually(scenario())


def test_a_living_key_is_not_confused_by_templates(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            await s.run("CreateTemplate", machine_key="build", name="golden")
            with pytest.raises(KeyInUse):
                await s.call("CreateMachine", key="build", spec=spec(clone=True))

    run_virtually(scenario())
