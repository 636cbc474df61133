"""Many callers and interruptions at once: one effect each, and an end for everything."""

import asyncio
import uuid

import pytest

from ovirt_provision.errors import MachineBusy, ProvisionError
from ovirt_provision.ledger.store import CANCELLED, FAILED, REMOVING, SUCCEEDED, Operation
from ovirt_provision.simulator import Simulator
from ovirt_provision.v1 import resources_pb2
from tests.crashes import AFTER_COMMIT, Crashes
from tests.harness import ENGINE, OWNER, Site, spec, started

CREATING = ["creating", "cloning", "changing-disks", "connecting-nics", "booting", "waiting-for-address"]
MAKING_A_TEMPLATE = ["creating-template", "sealing"]


async def create(site: Site) -> Operation:
    """A create that goes through every phase there is."""
    return await site.call(
        "CreateMachine",
        key="web",
        spec=spec(
            boot_disk=resources_pb2.DiskSpec(size_bytes=6 << 30),
            nics=[resources_pb2.Nic(name="nic2", vnic_profile="ovirtmgmt")],
        ),
        start_with=started(user_data="runcmd: [id]"),
    )


async def make_template(site: Site, **fields: object) -> Operation:
    return await site.call("CreateTemplate", machine_key="web", name="golden", seal=True, **fields)


async def reach(site: Site, operation: Operation, phase: str) -> None:
    async for seen in site.bridge.dispatcher.runner.watch(operation.id):
        if seen.phase == phase:
            return
    raise AssertionError(f"{operation.verb} has no phase {phase}")


def created(simulator: Simulator, path: str) -> int:
    return sum(
        (request.method, request.path.partition("?")[0]) == ("POST", path) for request in simulator.requests
    )


def test_sixteen_callers_with_one_request_id_make_one_machine_and_one_template(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            for verb, fields in (
                ("CreateMachine", {"key": "web", "spec": spec()}),
                ("CreateTemplate", {"machine_key": "web", "name": "golden"}),
                ("StartMachine", {"key": "web"}),
                ("StopMachine", {"key": "web"}),
                ("DestroyMachine", {"key": "web"}),
            ):
                request_id = str(uuid.uuid4())
                calls = [s.call(verb, request_id=request_id, **fields) for _ in range(16)]
                operations = await asyncio.gather(*calls)
                assert len({operation.id for operation in operations}) == 1, verb
                assert (await s.ended(operations[0])).state == SUCCEEDED, verb
            assert (created(s.simulator, "/vms"), created(s.simulator, "/templates")) == (1, 1)
            assert (s.vms(), s.templates()) == ([], ["golden"])

    run_virtually(scenario())


def test_a_caller_that_comes_while_the_template_stands_already_gets_its_operation(site, run_virtually):
    """Its look-ups find the name taken, by the very request that it repeats."""

    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            request_id = str(uuid.uuid4())
            fields = {"machine_key": "web", "name": "golden", "request_id": request_id}
            first, second = await asyncio.gather(
                s.call("CreateTemplate", **fields), slow_call(s, "CreateTemplate", **fields)
            )
            assert first.id == second.id

    async def slow_call(s: Site, verb: str, **fields: object) -> Operation:
        """A call whose look-ups end when the first call's template stands."""
        versions_of = s.bridge.engine(ENGINE).templates.versions_of

        async def late(name: str, **options: object) -> object:
            s.bridge.engine(ENGINE).templates.versions_of = versions_of
            while not s.templates():
                await s.clock.sleep(1)
            return await versions_of(name, **options)

        s.bridge.engine(ENGINE).templates.versions_of = late
        return await s.call(verb, **fields)

    run_virtually(scenario())


def test_verbs_that_come_at_once_take_turns_or_say_who_is_first(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            calls = [
                s.call("StopMachine", key="web"),
                s.call("StartMachine", key="web"),
                s.call("RestartMachine", key="web"),
                s.call("StopMachine", key="web"),
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)

            accepted = [answer for answer in answers if isinstance(answer, Operation)]
            assert len(accepted) == 1
            assert all(isinstance(answer, MachineBusy) for answer in answers if answer not in accepted)
            assert (await s.ended(accepted[0])).state == SUCCEEDED

    run_virtually(scenario())


def test_destroys_that_come_at_once_all_succeed(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            calls = [s.call("DestroyMachine", key="web") for _ in range(4)]
            for destroying in await asyncio.gather(*calls):
                assert (await s.ended(destroying)).state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("phase", CREATING)
def test_a_destroy_takes_over_from_a_create_in_any_phase(site, run_virtually, monkeypatch, phase, crash):
    """Also when the daemon dies right after it has accepted the destroy."""

    async def scenario() -> None:
        async with site() as s:
            creating = await create(s)
            await reach(s, creating, phase)
            request_id = str(uuid.uuid4())
            crashes = Crashes(s, monkeypatch)
            if crash:
                crashes.arm(AFTER_COMMIT, 1)
            begun = s.clock.monotonic()

            async def client() -> Operation:
                return await s.ended(await s.call("DestroyMachine", key="web", request_id=request_id))

            destroyed = await crashes.play(client)

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert (await s.ended(creating)).state == CANCELLED
            assert (s.vms(), s.disks()) == ([], 1)
            assert s.clock.monotonic() - begun < 60, "it did not wait for the create to succeed"

    run_virtually(scenario())


@pytest.mark.parametrize("phase", MAKING_A_TEMPLATE)
def test_a_destroy_takes_over_from_a_template_in_any_phase(site, run_virtually, phase):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            making = await make_template(s)
            await reach(s, making, phase)

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert (await s.ended(making)).state == CANCELLED
            assert (s.vms(), s.templates(), s.disks()) == ([], [], 1)

    run_virtually(scenario())


def test_destroying_a_template_in_the_making_cancels_its_making(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            making = await make_template(s)
            await reach(s, making, "sealing")
            template = s.bridge.ledger.object(making.object_id).engine_id

            destroyed = await s.run("DestroyTemplate", id=template)

            assert destroyed.state == SUCCEEDED, destroyed.error
            assert (await s.ended(making)).state == CANCELLED
            assert s.templates() == []

    run_virtually(scenario())


@pytest.mark.parametrize("phase", CREATING)
def test_a_cancelled_create_leaves_nothing_in_any_phase(site, run_virtually, phase):
    async def scenario() -> None:
        async with site() as s:
            creating = await create(s)
            await reach(s, creating, phase)
            s.bridge.dispatcher.cancel(creating, "by its client")

            assert (await s.ended(creating)).state == CANCELLED
            assert (s.vms(), s.disks(), await s.census()) == ([], 1, [])

    run_virtually(scenario())


@pytest.mark.parametrize("phase", CREATING)
def test_a_create_whose_lease_ends_in_any_phase_is_undone(site, run_virtually, phase):
    async def scenario() -> None:
        async with site(renew_interval=3, lease_grace=6) as s:
            creating = await create(s)
            row = s.bridge.ledger.living_machine(OWNER, "web")

            async def client_until_that_phase() -> None:
                async for seen in s.bridge.dispatcher.runner.watch(creating.id):
                    s.bridge.leases.heard(row)
                    if seen.phase == phase:
                        return

            reaching = asyncio.ensure_future(client_until_that_phase())
            while not reaching.done():
                s.bridge.leases.heard(row)
                await s.clock.sleep(1)
            ended = await s.ended(creating)
            await s.clock.sleep(120)

            assert ended.state in (CANCELLED, SUCCEEDED)
            assert (s.vms(), s.disks(), await s.census()) == ([], 1, [])

    run_virtually(scenario())


def test_a_key_that_is_being_destroyed_is_busy_and_not_what_it_was(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            destroying = await s.call("DestroyMachine", key="web")
            with pytest.raises(MachineBusy, match="DestroyMachine"):
                await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await reach(s, destroying, "destroying")
            await s.clock.sleep(1)
            assert s.bridge.ledger.living_machine(OWNER, "web").state == REMOVING
            with pytest.raises(MachineBusy, match="DestroyMachine"):
                await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            await s.ended(destroying)
            again = await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            assert again.state == SUCCEEDED
            assert s.vms() == ["web"]

    run_virtually(scenario())


def test_secrets_that_are_lost_over_a_restart_undo_the_operation_and_are_said_to_be(
    site, run_virtually, tmp_path
):
    async def scenario() -> None:
        async with site() as s:
            creating = await create(s)
            await reach(s, creating, "cloning")
            await s.bridge.close()
            (tmp_path / "ovirt-provision" / "secret-key").unlink()
            s.bridge = s.new_bridge()
            s.bridge.start()

            ended = await s.ended(creating)

            assert ended.state == FAILED
            assert ended.error["reason"] == "SECRETS_LOST"
            assert "key" in ended.error["message"]
            assert (s.vms(), s.disks(), await s.census()) == ([], 1, [])

    run_virtually(scenario())


def test_without_cancelling_the_others_a_destroy_waits_for_the_create(site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""

    async def scenario() -> float:
        async with site() as s:
            creating = await create(s)
            await reach(s, creating, "cloning")
            monkeypatch.setattr(s.bridge.dispatcher, "cancel", lambda operation, by: operation)
            await s.run("DestroyMachine", key="web")
            assert (await s.ended(creating)).state == SUCCEEDED
            return s.clock.monotonic()

    assert run_virtually(scenario()) > 60


def test_a_caller_whose_request_id_is_another_verbs_is_told(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            request_id = str(uuid.uuid4())
            answers = await asyncio.gather(
                s.call("CreateMachine", key="web", spec=spec(), request_id=request_id),
                s.call("DestroyMachine", key="web", request_id=request_id),
                return_exceptions=True,
            )
            refused = [answer for answer in answers if isinstance(answer, ProvisionError)]
            assert [error.reason for error in refused] == ["REQUEST_ID_REUSED"]

    run_virtually(scenario())
