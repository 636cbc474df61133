"""Templates that count only when they are whole: tags and roles, tests, replacement, and versions that go."""

from typing import Any

import pytest

from ovirt_provision.errors import (
    EngineUnreachable,
    InvalidRequest,
    NameInUse,
    NotOurs,
    TemplateBusy,
    TemplateHasVersions,
    TemplateInUse,
    TooManyMachines,
)
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Operation
from ovirt_provision.operations import old_versions, replacement
from ovirt_provision.v1 import resources_pb2, templates_pb2
from tests.harness import OWNER, TEMPLATE, Site, spec, started

TEST = templates_pb2.BootTest()


async def build(site: Site, key: str = "build") -> None:
    """A Machine that lives on its own."""
    made = await site.run("CreateMachine", key=key, spec=spec())
    assert made.state == SUCCEEDED, made.error
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, key))


async def create(site: Site, name: str = "golden", **fields: object) -> Operation:
    return await site.run("CreateTemplate", machine_key="build", name=name, **fields)


async def golden(site: Site) -> str:
    """The id of a template `golden` that stands."""
    await build(site)
    made = await create(site)
    assert made.state == SUCCEEDED, made.error
    return template_id(site, made)


def template_id(site: Site, made: Operation) -> str:
    return site.bridge.ledger.object(made.object_id).known_id


def names(site: Site) -> dict[str, str]:
    """Names of the templates that are not the engine's own, by id."""
    templates = site.simulator.world.templates.values()
    return {t.id: t.name for t in templates if t.name not in ("Blank", TEMPLATE)}


def changes(site: Site) -> int:
    return sum(request.method != "GET" for request in site.simulator.requests)


async def use(site: Site, name: str, key: str = "user", version: int = 0) -> None:
    """A VM stands on a template from now on."""
    reference = resources_pb2.TemplateRef(name=name, version=version)
    made = await site.run("CreateMachine", key=key, spec=spec(template=reference))
    assert made.state == SUCCEEDED, made.error
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, key))


def phases(operation: Operation) -> list[str]:
    return [phase["name"] for phase in operation.phases]


# Tags and roles


def call(site: Site, method: str, path: str, body: str = "") -> object:
    reply = site.simulator.call(method, path, body)
    assert reply.status < 300, reply
    return reply.element


def test_a_template_gets_its_tags_and_roles(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            call(s, "POST", "/tags", "<tag><name>linux</name></tag>")
            await build(s)

            made = await create(
                s,
                tags=["linux"],
                permissions=[
                    resources_pb2.Permission(role="UserTemplateBasedVm", group="Everyone"),
                    resources_pb2.Permission(role="TemplateOwner", user="admin@internal"),
                ],
            )

            assert made.state == SUCCEEDED, made.error
            engine_id = template_id(s, made)
            world = s.simulator.world
            assert [tag.name for tag in world.templates[engine_id].tags] == ["linux"]
            roles = {
                (world.roles[p.role].name, p.user.principal if p.user else "")
                for p in world.permissions.values()
                if p.target == ("templates", engine_id)
            }
            assert roles >= {("UserTemplateBasedVm", ""), ("TemplateOwner", "admin")}

    run_virtually(scenario())


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_made(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await golden(s)
            call(s, "POST", "/tags", "<tag><name>linux</name></tag>")
            before = changes(s)
            wrong = {
                "name": "golden",
                "tags": ["linus"],
                "permissions": [resources_pb2.Permission(role="TemplateOwnr", user="admim@internal")],
                "storage_domain": "nowhere",
                "boot_test": templates_pb2.BootTest(
                    initialization=resources_pb2.Initialization(user_data="- a list")
                ),
            }
            for check in (
                s.validate("CreateTemplate", validate_only=True, **wrong),
                s.validate("CreateTemplate", machine_key="nobody's", validate_only=True, **wrong),
                s.call("CreateTemplate", machine_key="build", **wrong),
            ):
                with pytest.raises(InvalidRequest) as refused:
                    await check
                told = {violation.field: violation.description for violation in refused.value.violations}
                assert set(told) == {
                    "name",
                    "tags[0]",
                    "permissions[0].role",
                    "permissions[0].user",
                    "storage_domain",
                    "boot_test.initialization.user_data",
                }
                assert "did you mean 'linux'?" in told["tags[0]"]
                assert "did you mean 'TemplateOwner'?" in told["permissions[0].role"]
                assert "did you mean 'admin@internal-authz'?" in told["permissions[0].user"]
            assert changes(s) == before

    run_virtually(scenario())


def test_what_is_right_may_be_validated_before_there_is_a_machine(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await s.validate("CreateTemplate", name="golden", validate_only=True, storage_domain="data")

    run_virtually(scenario())


# Boot test


def test_a_tested_template_counts_once_a_clone_of_it_has_answered(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)

            made = await create(s, boot_test=templates_pb2.BootTest(initialization=started(), ssh_port=2222))

            assert made.state == SUCCEEDED, made.error
            assert phases(made) == [
                "creating-template",
                "copying-disks",
                "creating-test-machine",
                "booting-test-machine",
                "waiting-for-test-address",
                "reaching-ssh",
                "removing-test-machine",
                "renaming",
            ]
            assert names(s) == {template_id(s, made): "golden"}
            assert [port for _, port in s.ssh.asked] == [2222]
            assert (s.vms(), s.disks()) == (["build"], 3)
            assert {finding for finding, _, _ in await s.census()} == {"ours"}

    run_virtually(scenario())


def test_while_it_is_tested_nobody_finds_it_under_its_name(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            making = await s.call("CreateTemplate", machine_key="build", name="golden", boot_test=TEST)
            async for seen in s.bridge.dispatcher.runner.watch(making.id):
                if seen.phase == "reaching-ssh":
                    assert list(names(s).values()) == [f"golden.new-{making.request_id[:8]}"]
            assert list(names(s).values()) == ["golden"]

    run_virtually(scenario())


@pytest.mark.parametrize("version", [False, True])
def test_what_fails_its_test_leaves_nothing_new(direct_site, run_virtually, version):
    async def scenario() -> None:
        async with direct_site(ssh=60) as s:
            await golden(s)
            before = (names(s), s.vms(), s.disks())
            s.ssh.silent = "Connection refused"

            made = await create(
                s, boot_test=TEST, **({"new_version": True} if version else {"replace": True})
            )

            assert made.state == FAILED
            assert made.phase == "reaching-ssh"
            assert "port 22: Connection refused" in made.error["message"]
            assert (names(s), s.vms(), s.disks()) == before
            assert {finding for finding, _, _ in await s.census()} == {"ours"}

    run_virtually(scenario())


def test_an_address_may_be_enough(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            s.ssh.silent = "No route to host"

            made = await create(s, boot_test=templates_pb2.BootTest(address_only=True))

            assert made.state == SUCCEEDED, made.error
            assert s.ssh.asked == []

    run_virtually(scenario())


@pytest.mark.parametrize(
    "phase", ["creating-test-machine", "booting-test-machine", "waiting-for-test-address", "reaching-ssh"]
)
def test_cancelling_a_test_leaves_nothing(direct_site, run_virtually, phase):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            before = (names(s), s.vms(), s.disks())
            s.ssh.silent = "Connection refused"
            making = await s.call("CreateTemplate", machine_key="build", name="golden", boot_test=TEST)
            async for seen in s.bridge.dispatcher.runner.watch(making.id):
                if seen.phase == phase:
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert seen.state == CANCELLED
            assert (names(s), s.vms(), s.disks()) == before

    run_virtually(scenario())


def test_a_test_needs_room_for_its_machine(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(owners={OWNER: {"max_machines": 1}}) as s:
            await build(s)
            with pytest.raises(TooManyMachines):
                await create(s, boot_test=TEST)
            assert (await create(s)).state == SUCCEEDED

    run_virtually(scenario())


# Replacement


def test_a_name_that_is_ours_is_refused_and_says_what_to_do(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await golden(s)
            before = changes(s)
            with pytest.raises(NameInUse, match="already, made by this installation") as refused:
                await create(s)
            assert "add a version" in refused.value.what_to_do
            assert changes(s) == before

    run_virtually(scenario())


@pytest.mark.parametrize("tested", [False, True])
def test_replacing_removes_the_old_one_last(direct_site, run_virtually, tested):
    async def scenario() -> None:
        async with direct_site() as s:
            old = await golden(s)
            fields = {"boot_test": TEST} if tested else {}
            making = await s.call(
                "CreateTemplate", machine_key="build", name="golden", replace=True, **fields
            )
            temporary = f"golden.new-{making.request_id[:8]}"
            async for seen in s.bridge.dispatcher.runner.watch(making.id):
                if seen.phase not in ("", "removing-old", "renaming"):
                    assert names(s)[old] == "golden"
                    assert set(names(s).values()) <= {"golden", temporary}

            assert seen.state == SUCCEEDED, seen.error
            assert phases(seen)[-2:] == ["removing-old", "renaming"]
            assert names(s) == {template_id(s, seen): "golden"}
            assert old not in names(s)
            assert [e for e in await s.census() if e[1] == "template"] == [("ours", "template", "golden")]
            assert (await s.run("DestroyTemplate", id=template_id(s, seen))).state == SUCCEEDED

    run_virtually(scenario())


def test_there_need_not_be_anything_to_replace(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            assert (await create(s, replace=True)).state == SUCCEEDED
            assert list(names(s).values()) == ["golden"]

    run_virtually(scenario())


def test_what_cannot_be_replaced_is_refused_before_the_first_effect(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await golden(s)
            await use(s, "golden")
            before = changes(s)
            with pytest.raises(TemplateInUse, match="user"):
                await create(s, replace=True)
            with pytest.raises(TemplateInUse):
                await s.validate("CreateTemplate", name="golden", replace=True, validate_only=True)
            with pytest.raises(NotOurs):
                await create(s, TEMPLATE, replace=True)
            assert changes(s) == before
            await s.run("DestroyMachine", key="user")
            await create(s, new_version=True)
            with pytest.raises(TemplateHasVersions, match="1, 2"):
                await create(s, replace=True)

    run_virtually(scenario())


async def replaced_while_used(site: Site) -> tuple[Operation, str]:
    """A replacement in whose midst the old template comes into use; the id of that."""
    old = await golden(site)
    making = await site.call("CreateTemplate", machine_key="build", name="golden", replace=True)
    async for seen in site.bridge.dispatcher.runner.watch(making.id):
        if seen.phase == "copying-disks" and "user" not in site.vms():
            await use(site, "golden")
    return seen, old


def test_an_old_one_that_comes_into_use_stands_and_so_does_the_new_one(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            ended, old = await replaced_while_used(s)

            assert ended.state == FAILED
            assert ended.error["reason"] == "TEMPLATE_IN_USE"
            new = template_id(s, ended)
            assert names(s) == {old: "golden", new: f"golden.new-{ended.request_id[:8]}"}
            for told in (old, new, "user", names(s)[new]):
                assert told in ended.error["message"]
            assert [e[0] for e in await s.census() if e[1] == "template"] == ["ours", "ours"]
            assert (await s.run("DestroyTemplate", id=new)).state == SUCCEEDED

    run_virtually(scenario())


def test_without_the_look_at_its_users_the_engine_still_protects_it(direct_site, run_virtually, monkeypatch):
    async def nobody(*_: object) -> list[str]:
        return []

    monkeypatch.setattr(replacement, "users_of", nobody)

    async def scenario() -> None:
        async with direct_site() as s:
            ended, old = await replaced_while_used(s)
            assert ended.error["reason"] == "TEMPLATE_IN_USE"
            assert "being used by the following VMs: user" in ended.error["engine_text"]
            assert len(names(s)) == 2
            assert old in names(s)

    run_virtually(scenario())


def test_without_the_promise_to_stay_both_are_lost(direct_site, run_virtually, monkeypatch):
    """With the defence off, an undo behind the removal of the old one takes the new one, too."""
    monkeypatch.setattr("ovirt_provision.operations.create_template.stays", lambda _row: False)

    async def scenario() -> dict[str, str]:
        async with direct_site() as s:
            await renamed_away(s)
            return names(s)

    assert not any(name.startswith("golden.new") for name in run_virtually(scenario()).values())


async def renamed_away(site: Site) -> Operation:
    """A replacement whose name somebody else takes between the removal of the old one and the renaming."""
    await golden(site)
    making = await site.call("CreateTemplate", machine_key="build", name="golden", replace=True)
    taken = False
    async for seen in site.bridge.dispatcher.runner.watch(making.id):
        if seen.phase == "renaming" and not taken and "golden" not in names(site).values():
            taken = True
            for template in site.simulator.world.templates.values():
                if template.name == TEMPLATE:
                    template.name = "golden"
    return seen


def test_a_name_that_is_lost_to_somebody_else_loses_no_template(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            ended = await renamed_away(s)
            assert ended.state == FAILED
            assert ended.error["reason"] == "NAME_IN_USE"
            new = template_id(s, ended)
            assert names(s)[new] == f"golden.new-{ended.request_id[:8]}"
            assert f"The new template stands as {names(s)[new]} ({new})" in ended.error["advice"]

    run_virtually(scenario())


@pytest.mark.parametrize("phase", ["removing-old", "renaming"])
def test_a_cancellation_comes_too_late_once_the_old_one_goes(direct_site, run_virtually, phase):
    async def scenario() -> None:
        async with direct_site() as s:
            old = await golden(s)
            making = await s.call("CreateTemplate", machine_key="build", name="golden", replace=True)
            async for seen in s.bridge.dispatcher.runner.watch(making.id):
                if seen.phase == phase:
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert seen.state == SUCCEEDED, seen.error
            assert list(names(s).values()) == ["golden"]
            assert old not in names(s)

    run_virtually(scenario())


def test_a_template_is_replaced_by_one_operation_at_a_time(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            await build(s, "other")
            one = await s.call("CreateTemplate", machine_key="build", name="golden", replace=True)
            with pytest.raises(TemplateBusy, match=one.id):
                await s.call("CreateTemplate", machine_key="other", name="golden", replace=True)
            assert (await s.ended(one)).state == SUCCEEDED
            assert list(names(s).values()) == ["golden"]

    run_virtually(scenario())


def test_of_two_who_want_a_free_name_one_fails_and_leaves_nothing(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            await build(s, "other")
            one = await s.call("CreateTemplate", machine_key="build", name="golden", replace=True)
            two = await s.call("CreateTemplate", machine_key="other", name="golden", replace=True)
            ended = [await s.ended(one), await s.ended(two)]
            assert sorted(operation.state for operation in ended) == [FAILED, SUCCEEDED]
            assert list(names(s).values()) == ["golden"]

    run_virtually(scenario())


# Versions that go


def versions(site: Site) -> list[int]:
    found = site.simulator.world.templates.values()
    return sorted(t.version_number for t in found if t.name == "golden")


def warnings(site: Site, operation: Operation) -> list[str]:
    from ovirt_provision.services.messages import operation_message

    return list(operation_message(site.bridge, operation).warnings)


def test_only_the_newest_versions_stay(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            for number in (2, 3, 4):
                made = await create(s, new_version=True, keep_versions=2)
                assert made.state == SUCCEEDED, made.error
                assert warnings(s, made) == []
                assert versions(s) == [number - 1, number]
            assert [e[0] for e in await s.census() if e[1] == "template"] == ["ours", "ours"]

    run_virtually(scenario())


def test_a_version_in_use_stays_and_is_told(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            await create(s, new_version=True)
            await use(s, "golden", version=1)

            made = await create(s, new_version=True, keep_versions=1)

            assert made.state == SUCCEEDED, made.error
            assert versions(s) == [1, 3]
            (told,) = warnings(s, made)
            assert "version 1" in told
            assert told.endswith("it is in use by user")

    run_virtually(scenario())


def test_versions_of_others_neither_count_nor_go(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            await build(s)
            for _ in range(3):
                made = await create(s, TEMPLATE, new_version=True, keep_versions=1)
                assert made.state == SUCCEEDED, made.error
            found = [t for t in s.simulator.world.templates.values() if t.name == TEMPLATE]
            assert sorted(t.version_number for t in found) == [1, 4]
            assert warnings(s, made) == []

    run_virtually(scenario())


def test_what_the_engine_refuses_to_remove_is_told_and_no_error(direct_site, run_virtually, monkeypatch):
    """Somebody whose VMs the account does not see uses it."""

    async def nobody(*_: object) -> list[str]:
        return []

    monkeypatch.setattr("ovirt_provision.operations.old_versions.users_of", nobody)

    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            await use(s, "golden")
            made = await create(s, new_version=True, keep_versions=1)
            assert made.state == SUCCEEDED, made.error
            assert versions(s) == [1, 2]
            (told,) = warnings(s, made)
            assert "being used by the following VMs: user" in told
            assert [e[0] for e in await s.census() if e[1] == "template"] == ["ours", "ours"]

    run_virtually(scenario())


def test_an_old_version_goes_though_the_engine_was_away_for_a_moment(direct_site, run_virtually, monkeypatch):
    look, looks = old_versions.insist_on_own_versions, 0

    async def away(*arguments: Any, **options: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise EngineUnreachable(url="https://engine", detail="no route to host")
        await look(*arguments, **options)

    monkeypatch.setattr(old_versions, "insist_on_own_versions", away)

    async def scenario() -> None:
        async with direct_site() as s:
            await golden(s)
            made = await create(s, new_version=True, keep_versions=1)
            assert (made.state, looks) == (SUCCEEDED, 2), made.error
            assert (versions(s), warnings(s, made)) == ([2], [])

    run_virtually(scenario())
