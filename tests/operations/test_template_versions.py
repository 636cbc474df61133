"""Versions of templates, which the engine does not fence: made exactly once all the same."""

import pytest

from ovirt_provision.errors import ReferencesNotFound
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Operation
from ovirt_provision.operations import create_template
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, OWNER, TEMPLATE, Site, spec

TEMPLATES = r"/templates"
# How long the engine may still run a request that it has not answered: engine_request + late_create_grace.
OVER = 60 + 600


async def build(site: Site, *, base: str = "golden") -> None:
    """A Machine that lives on its own, and a template made from it."""
    await site.run("CreateMachine", key="build", spec=spec())
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, "build"))
    if base:
        made = await site.run("CreateTemplate", machine_key="build", name=base)
        assert made.state == SUCCEEDED, made.error


async def add_version(site: Site, name: str = "golden", **fields: object) -> Operation:
    return await site.run("CreateTemplate", machine_key="build", name=name, new_version=True, **fields)


def versions(site: Site, name: str = "golden") -> list[int]:
    return sorted(t.version_number for t in site.simulator.world.templates.values() if t.name == name)


def requests_that_made_one(site: Site) -> int:
    asked = site.simulator.requests
    return sum((r.method, r.path, r.status) == ("POST", TEMPLATES, 201) for r in asked)


def version_id(site: Site, number: int, name: str = "golden") -> str:
    return next(
        t.id for t in site.simulator.world.templates.values() if (t.name, t.version_number) == (name, number)
    )


async def machine_of(site: Site, key: str, version: int = 0) -> str:
    """Id of the template version that a new Machine is made from."""
    reference = resources_pb2.TemplateRef(name="golden", version=version)
    made = await site.run("CreateMachine", key=key, spec=spec(template=reference))
    assert made.state == SUCCEEDED, made.error
    return site.simulator.world.vms[site.bridge.ledger.object(made.object_id).engine_id].template.id


def test_a_new_version_is_the_latest_and_leaves_the_others(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)

            made = await add_version(s, version_name="spring", description="second")

            assert made.state == SUCCEEDED, made.error
            second = await s.bridge.engine(ENGINE).templates.get(version_id(s, 2))
            assert (second.name, second.version_name, second.description) == ("golden", "spring", "second")
            assert second.base_id == version_id(s, 1)
            assert await machine_of(s, "newest") == second.id
            assert await machine_of(s, "first", version=1) == version_id(s, 1)
            assert [entry for entry in await s.census() if entry[1] == "template"] == [
                ("ours", "template", "golden"),
                ("ours", "template", "golden"),
            ]

    run_virtually(scenario())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_destroying_a_version_never_touches_the_others(direct_site, run_virtually, number):
    """Also the one that the others hang on."""

    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            await add_version(s)
            await add_version(s)

            destroyed = await s.run("DestroyTemplate", id=version_id(s, number))

            assert destroyed.state == SUCCEEDED, destroyed.error
            left = [n for n in (1, 2, 3) if n != number]
            assert versions(s) == left
            assert await machine_of(s, "web") == version_id(s, left[-1])
            assert (await add_version(s)).state == SUCCEEDED
            assert len(versions(s)) == 3

    run_virtually(scenario())


def test_a_version_of_somebody_elses_template_is_ours_alone(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s, base="")
            foreign = version_id(s, 1, TEMPLATE)

            assert (await add_version(s, TEMPLATE)).state == SUCCEEDED
            assert versions(s, TEMPLATE) == [1, 2]
            ours = version_id(s, 2, TEMPLATE)
            assert (await s.run("DestroyTemplate", id=ours)).state == SUCCEEDED
            assert version_id(s, 1, TEMPLATE) == foreign

    run_virtually(scenario())


def test_there_has_to_be_a_template_to_make_a_version_of(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            with pytest.raises(ReferencesNotFound, match="did you mean 'golden'"):
                await add_version(s, "goldne")
            assert requests_that_made_one(s) == 1

    run_virtually(scenario())


def test_the_latest_is_the_newest_that_is_ready(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            making = await s.call("CreateTemplate", machine_key="build", name="golden", new_version=True)
            while versions(s) != [1, 2]:
                await s.clock.sleep(1)

            assert await machine_of(s, "web") == version_id(s, 1)

            await s.ended(making)
            assert await machine_of(s, "later") == version_id(s, 2)

    run_virtually(scenario())


def test_a_version_whose_reply_is_lost_is_found_and_not_made_again(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            s.simulator.world.injections.arm("drop-reply", method="POST", path=TEMPLATES)
            begun = s.clock.monotonic()

            made = await add_version(s)

            assert made.state == SUCCEEDED, made.error
            assert s.clock.monotonic() - begun < 60
            assert versions(s) == [1, 2]

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_request_without_an_answer_is_waited_for_and_not_repeated(
    site, run_virtually, monkeypatch, defence
):
    """With the defence off, it is repeated as one is that the engine fences: then there are two."""
    if defence == "off":

        async def at_once(_run: object, _asked_at: float) -> bool:
            return True

        monkeypatch.setattr(create_template, "_is_over", at_once)

    async def scenario() -> int:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm("late-effect", method="POST", path=TEMPLATES, seconds=100)
            made = await add_version(s)
            assert made.state == SUCCEEDED, made.error
            await s.clock.sleep(300)
            return requests_that_made_one(s)

    assert run_virtually(scenario()) == (2 if defence == "on" else 3)


def test_a_request_that_got_lost_is_repeated_when_it_cannot_have_an_effect_any_more(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm("unavailable", method="POST", path=TEMPLATES)
            begun = s.clock.monotonic()

            made = await add_version(s)

            assert made.state == SUCCEEDED, made.error
            assert OVER < s.clock.monotonic() - begun < OVER + 120
            assert versions(s) == [1, 2]

    run_virtually(scenario())


@pytest.mark.parametrize("fault", ["unauthorized", "session-revoked"])
def test_a_request_that_the_engine_did_not_let_in_is_repeated_at_once(site, run_virtually, fault):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm(fault, method="POST", path=TEMPLATES)
            begun = s.clock.monotonic()

            made = await add_version(s)

            assert made.state == SUCCEEDED, made.error
            assert s.clock.monotonic() - begun < 120
            assert versions(s) == [1, 2]

    run_virtually(scenario())


def test_it_is_not_repeated_while_the_machine_is_not_down(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm("unavailable", method="POST", path=TEMPLATES)
            making = await s.call("CreateTemplate", machine_key="build", name="golden", new_version=True)
            await s.clock.sleep(60)
            vm = next(iter(s.simulator.world.vms.values()))
            vm.status = "image_locked"  # as it is while the engine makes a template of it

            ended = await s.ended(making)

            assert ended.state == FAILED
            assert "create_version" in ended.error["message"]
            assert "VM build is image_locked" in ended.error["message"]
            assert versions(s) == [1]

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_second_version_of_the_same_request_is_swept(site, run_virtually, monkeypatch, defence):
    """The engine runs the first request when its time is over and it was repeated."""
    if defence == "off":
        monkeypatch.setattr(create_template, "bury_if_unanswered", lambda run, row: None)

    async def scenario() -> tuple[bool, list[tuple[str, str, str]]]:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm("late-effect", method="POST", path=TEMPLATES, seconds=OVER + 60)
            made = await add_version(s)
            assert made.state == SUCCEEDED, made.error
            ours = s.bridge.ledger.object(made.object_id)

            await s.clock.sleep(OVER + 300)

            assert requests_that_made_one(s) == 3
            assert ours.engine_id in s.simulator.world.templates
            assert not s.bridge.ledger.tombstones() or defence == "off"
            return versions(s) == [1, 2], [entry for entry in await s.census() if entry[0] != "ours"]

    swept, odd = run_virtually(scenario())
    assert swept is (defence == "on")
    assert odd == ([] if defence == "on" else [("leaked", "template", "golden")])


def test_a_version_that_arrives_after_its_destroy_is_swept_and_no_other(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await build(s)
            s.simulator.world.injections.arm("late-effect", method="POST", path=TEMPLATES, seconds=OVER + 200)
            made = await add_version(s)
            ours = s.bridge.ledger.object(made.object_id).engine_id
            assert (await s.run("DestroyTemplate", id=ours)).state == SUCCEEDED
            assert versions(s) == [1]
            while requests_that_made_one(s) < 3:
                await s.clock.sleep(1)
                s.simulator.world.settle()

            await s.clock.sleep(240)

            assert versions(s) == [1]

    run_virtually(scenario())


@pytest.mark.parametrize("fault", ["", "drop-reply", "late-effect"])
@pytest.mark.parametrize("after", [1, 45])
def test_cancelling_leaves_the_versions_that_were_there(direct_site, run_virtually, fault, after):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            disks = s.disks()
            if fault:
                s.simulator.world.injections.arm(fault, method="POST", path=TEMPLATES)
            making = await s.call(
                "CreateTemplate", machine_key="build", name="golden", new_version=True, seal=True
            )
            await s.clock.sleep(after)
            s.bridge.dispatcher.cancel(making, "by its client")

            ended = await s.ended(making)

            assert ended.state == CANCELLED
            await s.clock.sleep(240)
            assert (versions(s), s.disks(), s.vms()) == ([1], disks, ["build"])
            assert {finding for finding, _, _ in await s.census()} == {"ours"}

    run_virtually(scenario())


def test_two_machines_make_versions_at_the_same_time(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            await s.run("CreateMachine", key="other", spec=spec())
            both = [
                await s.call("CreateTemplate", machine_key=key, name="golden", new_version=True)
                for key in ("build", "other")
            ]

            ended = [await s.ended(one) for one in both]

            assert [one.state for one in ended] == [SUCCEEDED, SUCCEEDED]
            assert versions(s) == [1, 2, 3]
            made = {s.bridge.ledger.object(one.object_id).engine_id for one in both}
            assert made == {version_id(s, 2), version_id(s, 3)}

    run_virtually(scenario())
