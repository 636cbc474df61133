"""A daemon that dies at any moment: the next one ends what was begun, exactly once, and nothing is left
over."""

import pytest

from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED
from ovirt_provision.operations import create_template, new_machine
from tests.harness import Site, spec, started

MOMENTS = [0.01, 0.3, 1, 2.5, 6, 11, 14, 18, 24, 31, 40, 47]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_create_goes_on_where_it_was(site, run_virtually, moment):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(moment)
            await s.restart()

            ended = await s.ended(creating)

            assert ended.state == SUCCEEDED, ended.error
            assert s.vms() == ["web"]
            assert s.disks() == 2
            await s.run("DestroyMachine", key="web")
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


@pytest.mark.parametrize("moment", [0.01, 0.3, 1, 6, 20, 35, 50, 60])
def test_a_template_goes_on_where_it_was(site, run_virtually, moment):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            making = await s.call("CreateTemplate", machine_key="build", name="golden", seal=True)
            await s.clock.sleep(moment)
            await s.restart()

            ended = await s.ended(making)

            assert ended.state == SUCCEEDED, ended.error
            assert s.templates() == ["golden"]
            await s.run("DestroyMachine", key="build")
            assert (s.vms(), s.disks()) == ([], 2)

    run_virtually(scenario())


@pytest.mark.parametrize("moment", [0.01, 1, 5, 12, 20])
def test_a_destroy_goes_on_where_it_was(site, run_virtually, moment):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            destroying = await s.call("DestroyMachine", key="web")
            await s.clock.sleep(moment)
            await s.restart()

            assert (await s.ended(destroying)).state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


@pytest.mark.parametrize("moment", [0.3, 6, 24, 40])
def test_an_undo_goes_on_where_it_was(site, run_virtually, moment):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(moment)
            s.bridge.dispatcher.cancel(creating, "by its client")
            await s.clock.sleep(0.5)
            await s.restart()

            ended = await s.ended(creating)

            assert ended.state in (CANCELLED, SUCCEEDED)
            if ended.state == CANCELLED:
                assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_without_recovery_the_machine_is_left_behind(site, run_virtually):
    """The defence switched off: the tests above can fail."""

    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(6)
            await s.restart(recover=False)
            await s.clock.sleep(600)

            assert not s.bridge.ledger.operation(creating.id).ended
            assert s.vms() == ["web"]

    run_virtually(scenario())


@pytest.mark.parametrize("path", [r".*/vms", r".*/vms/[^/]+/start"])
def test_a_lost_reply_does_not_make_a_second_machine(site, run_virtually, path):
    async def scenario() -> None:
        async with site() as s:
            s.simulator.world.injections.arm("drop-reply", method="POST", path=path)

            made = await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

            assert made.state == SUCCEEDED, made.error
            assert (s.vms(), s.disks()) == (["web"], 2)

    run_virtually(scenario())


@pytest.mark.parametrize("seal", [False, True])
def test_a_lost_reply_does_not_make_a_second_template(site, run_virtually, seal):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            s.simulator.world.injections.arm("drop-reply", method="POST", path=r".*/templates")

            made = await s.run("CreateTemplate", machine_key="build", name="golden", seal=seal)

            assert made.state == SUCCEEDED, made.error
            assert s.templates() == ["golden"]

    run_virtually(scenario())


async def _never_there(*_: object) -> None:
    return None


def test_without_looking_by_id_a_lost_reply_fails_the_create(site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""
    monkeypatch.setattr(new_machine, "find_made", _never_there)

    async def scenario() -> None:
        async with site() as s:
            s.simulator.world.injections.arm("drop-reply", method="POST", path=r".*/vms")
            assert (await s.run("CreateMachine", key="web", spec=spec())).state == FAILED

    run_virtually(scenario())


def test_without_looking_by_name_and_mark_a_lost_reply_fails_the_template(site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""
    monkeypatch.setattr(create_template, "_find", _never_there)

    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="build", spec=spec())
            s.simulator.world.injections.arm("drop-reply", method="POST", path=r".*/templates")
            assert (await s.run("CreateTemplate", machine_key="build", name="golden")).state == FAILED

    run_virtually(scenario())


@pytest.mark.parametrize("fault", ["unauthorized", "unavailable"])
def test_an_engine_that_falters_does_not_end_an_operation(site, run_virtually, fault):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            for _ in range(12):
                await s.clock.sleep(3)
                s.simulator.world.injections.arm(fault)

            ended = await s.ended(creating)

            assert ended.state == SUCCEEDED, ended.error
            assert s.vms() == ["web"]
            statuses = [request.status for request in s.simulator.requests]
            assert statuses.count({"unauthorized": 401, "unavailable": 503}[fault]) > 5

    run_virtually(scenario())


def test_a_lost_reply_to_a_removal_does_not_matter(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            s.simulator.world.injections.arm("drop-reply", method="DELETE")

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def count_logins(site: Site) -> int:
    return sum("sso/oauth/token" in request.path for request in site.simulator.requests)


def test_one_login_serves_many_machines_and_it_is_given_back(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            operations = [await s.call("CreateMachine", key=f"web-{n}", spec=spec()) for n in range(6)]
            for operation in operations:
                assert (await s.ended(operation)).state == SUCCEEDED
            assert count_logins(s) == 1
            await s.restart()
            assert sum("sso-logout" in request.path for request in s.simulator.requests) == 1

    run_virtually(scenario())


def test_a_daemon_that_was_overtaken_does_nothing_any_more(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.clock.sleep(6)
            first, s.bridge = s.bridge, s.new_bridge()
            s.bridge.start()

            assert (await s.ended(creating)).state == SUCCEEDED
            await s.run("DestroyMachine", key="web")

            assert not first.dispatcher.runner.busy
            assert (s.vms(), s.disks()) == ([], 1)
            sent = [r.operation for r in s.simulator.requests if r.mutates]
            assert sorted(sent) == [
                "DELETE /vms/{id}",
                "POST /vms",
                "POST /vms/{id}/start",
                "POST /vms/{id}/stop",
            ]
            await first.close()

    run_virtually(scenario())
