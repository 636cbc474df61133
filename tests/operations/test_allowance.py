"""What an owner is held to before anything happens in the engine: allow-lists and the maximum of Machines."""

import asyncio

import pytest

from ovirt_provision.config import Config
from ovirt_provision.errors import Code, NotAllowed, NotYours, ReferencesNotFound, TooManyMachines
from ovirt_provision.ledger.store import SUCCEEDED, Ledger
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.harness import ENGINE, OWNER, TEMPLATE, spec
from tests.image_files import RAW


def hold(site, owner=OWNER, **limits):
    """Holds an owner to limits, as the configuration would."""
    site.bridge.dispatcher._limits = Config.model_validate({"owners": {owner: limits}}).limits


@pytest.mark.parametrize(
    ("limits", "fields", "told"),
    [
        (
            {"templates": ["ci-*", "debian-1"]},
            {},
            "template 'debian-12'; allowed templates are ci-*, debian-1",
        ),
        ({"clusters": ["Lab"]}, {"cluster": "Default"}, "cluster 'Default'; allowed clusters are Lab"),
        ({"clusters": ["Lab"]}, {}, "cluster 'Default'; allowed clusters are Lab"),
        ({"templates": []}, {}, "template 'debian-12'; allowed templates are none"),
    ],
)
def test_what_is_not_allowed_is_refused_before_any_effect(site, run_virtually, limits, fields, told):
    async def scenario():
        async with site() as s:
            hold(s, **limits)
            for verb in (s.call, s.validate):
                with pytest.raises(NotAllowed) as refused:
                    await verb("CreateMachine", key="web", spec=spec(**fields))
                assert f"{OWNER} may not use {told}" in str(refused.value)
                assert refused.value.code == Code.PERMISSION_DENIED
                assert refused.value.fields["owner"] == OWNER
                assert refused.value.fields["what"] in limits
                assert refused.value.violations[0].field.startswith("spec.")
            assert s.vms() == []
            assert s.bridge.ledger.list_machines(OWNER, ENGINE) == []

    run_virtually(scenario())


def test_what_is_allowed_is_made(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, templates=["debian-*"], clusters=["Def*"], engines=[ENGINE], max_machines=1)
            assert (await s.run("CreateMachine", key="web", spec=spec())).state == "succeeded"

    run_virtually(scenario())


def test_a_near_miss_is_one_of_the_allowed(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, templates=["debian-11"])
            with pytest.raises(NotAllowed, match="did you mean 'debian-11'"):
                await s.call("CreateMachine", key="web", spec=spec())

    run_virtually(scenario())


def test_a_near_miss_names_nothing_that_is_not_allowed(site, run_virtually):
    async def scenario():
        async with site() as s:
            for allowed in (["debian-1?", "debian-x"], ["debian-x"]):
                hold(s, templates=allowed)
                template = resources_pb2.TemplateRef(name="debian-x")
                with pytest.raises(ReferencesNotFound) as refused:
                    await s.call("CreateMachine", key="web", spec=spec(template=template))
                assert (TEMPLATE in str(refused.value)) == ("debian-1?" in allowed)

    run_virtually(scenario())


def test_an_id_leads_around_no_allow_list_and_tells_no_name(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, templates=["ci-*"])
            template = next(t for t in s.simulator.world.templates.values() if t.name == TEMPLATE)
            by_id = spec(template=resources_pb2.TemplateRef(id=str(template.id)))
            with pytest.raises(NotAllowed) as refused:
                await s.call("CreateMachine", key="web", spec=by_id)
            assert str(template.id) in str(refused.value)
            assert TEMPLATE not in str(refused.value)

    run_virtually(scenario())


def test_templates_are_made_under_allowed_names_only(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, templates=[TEMPLATE, "ci-*"])
            await s.run("CreateMachine", key="web", spec=spec())
            with pytest.raises(NotAllowed, match="'golden'"):
                await s.call("CreateTemplate", machine_key="web", name="golden")
            assert (await s.run("CreateTemplate", machine_key="web", name="ci-golden")).state == "succeeded"
            assert s.templates() == ["ci-golden"]

    run_virtually(scenario())


async def _fill(s, calls):
    """How many of so many simultaneous creates were accepted; the others were refused for lack of room."""
    answers = await asyncio.gather(
        *(s.call("CreateMachine", key=f"web-{number}", spec=spec()) for number in range(calls)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(error, TooManyMachines) for error in refused), refused
    assert all(error.code == Code.RESOURCE_EXHAUSTED for error in refused)
    return [answer for answer in answers if not isinstance(answer, Exception)]


def test_of_many_calls_at_once_as_many_are_accepted_as_there_is_room_for(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, max_machines=3)
            accepted = await _fill(s, 12)
            assert len(accepted) == 3
            for operation in accepted:
                assert (await s.ended(operation)).state == "succeeded"
            assert len(s.vms()) == 3
            # A copy takes room as well; what is gone gives it back; asking again for what lives takes none.
            with pytest.raises(TooManyMachines, match=f"{OWNER} has 3 Machines, and may have 3"):
                await s.call("CloneMachine", source_key=accepted[0].key, key="copy")
            again = await s.call("CreateMachine", key=accepted[0].key, spec=spec())
            assert again.id == accepted[0].id
            await s.run("DestroyMachine", key=accepted[0].key)
            assert (await s.run("CreateMachine", key="one-more", spec=spec())).state == "succeeded"

    run_virtually(scenario())


def test_counting_outside_the_transaction_would_let_too_many_in(site, run_virtually, monkeypatch):
    """The run with the defence off: counted before the look-ups, every call sees room."""

    async def scenario():
        async with site() as s:
            hold(s, max_machines=3)
            early = {}

            def count(ledger, _connection, owner):
                return early.setdefault(owner, len(ledger.list_machines(owner, ENGINE)))

            monkeypatch.setattr(Ledger, "count_machines", count)
            assert len(await _fill(s, 12)) == 12

    run_virtually(scenario())


def test_another_owners_room_is_its_own(site, run_virtually):
    async def scenario():
        async with site() as s:
            hold(s, max_machines=1)
            await s.run("CreateMachine", key="web", spec=spec())
            verb = VERBS["CreateMachine"]
            request = verb.request_type(
                request_id="6b8cb2e8-6c1f-4d43-9a52-0f86a2c6c1a1", key="web", spec=spec(name="b")
            )
            other = await s.bridge.dispatcher.call(verb, "uid:2", ENGINE, request)
            assert (await s.ended(other)).state == "succeeded"

    run_virtually(scenario())


def test_a_template_is_removed_by_its_owner_or_an_admin(site, run_virtually):
    async def scenario():
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            made = await s.run("CreateTemplate", machine_key="web", name="golden")
            template_id = s.bridge.ledger.object(made.object_id).engine_id
            verb = VERBS["DestroyTemplate"]

            def request():
                return verb.request_type(request_id="6b8cb2e8-6c1f-4d43-9a52-0f86a2c6c1a2", id=template_id)

            hold(s, "ci", role="user")
            with pytest.raises(NotYours) as refused:
                await s.bridge.dispatcher.call(verb, "ci", ENGINE, request())
            assert OWNER not in str(refused.value)
            assert s.templates() == ["golden"]
            hold(s, "ci", role="admin")
            await s.ended(await s.bridge.dispatcher.call(verb, "ci", ENGINE, request()))
            assert s.templates() == []

    run_virtually(scenario())


def test_a_template_is_imported_by_who_may_not_use_blank(direct_site, run_virtually):
    async def scenario():
        async with direct_site() as s:
            hold(s, templates=["golden"])
            blank = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
            wanted = images_pb2.ImportedTemplate(name="golden", machine=blank)
            done = await s.run("ImportImage", checksum=await s.upload(RAW), template=wanted)
            assert done.state == SUCCEEDED, done.error
            assert s.templates() == ["golden"]

            wanted.name = "silver"
            with pytest.raises(NotAllowed, match="may not use template 'silver'"):
                await s.validate("ImportImage", checksum=done.request["checksum"], template=wanted)
            with pytest.raises(NotAllowed, match="may not use template 'Blank'"):
                await s.validate("CreateMachine", key="web", spec=blank)

    run_virtually(scenario())
