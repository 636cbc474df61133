"""The queue of an engine: a cap on what is at work, first in, first out, in nobody's way."""

import asyncio
import math

from ovirt_provision.ledger.queue import Queue
from ovirt_provision.ledger.store import CANCELLED, SUCCEEDED, UNDOING, Operation
from ovirt_provision.operations import dispatcher
from ovirt_provision.services.messages import operation_message
from tests.harness import ENGINE, OWNER, Site, spec

KEYS = [f"web-{number}" for number in range(6)]


async def create_all(site: Site) -> list[Operation]:
    return [await site.call("CreateMachine", key=key, spec=spec()) for key in KEYS]


async def most_at_once(site: Site, operations: list[Operation]) -> int:
    """How many VMs the engine was making at the same time, at most, until the operations have ended."""
    most = 0
    ended = asyncio.gather(*(site.ended(operation) for operation in operations))
    while not ended.done():
        locked = [vm for vm in site.simulator.world.vms.values() if vm.status == "image_locked"]
        most = max(most, len(locked))
        await site.clock.sleep(0.5)
    assert {operation.state for operation in await ended} == {SUCCEEDED}
    return most


def asked_for(site: Site) -> list[str]:
    """Keys of the Machines that the engine was asked to make, in that order."""
    made = [r for r in site.simulator.requests if (r.method, r.path.partition("?")[0]) == ("POST", "/vms")]
    return [site.bridge.ledger.operation_or_fail(request.correlation_id).key for request in made]


def begun_in_order(site: Site, operations: list[Operation]) -> bool:
    begun = [site.bridge.ledger.operation_or_fail(o.id).phases[0]["start"] for o in operations]
    return begun == sorted(begun) and len(set(begun)) > 1


def show(site: Site, operation: Operation) -> tuple[str, str]:
    """Phase and progress as clients get them."""
    message = operation_message(site.bridge, site.bridge.ledger.operation_or_fail(operation.id))
    return message.phase, message.progress


def test_no_more_than_the_cap_are_at_work_and_each_tells_its_position(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=2) as s:
            operations = await create_all(s)
            await s.clock.sleep(1)
            assert show(s, operations[1])[0] == "cloning"
            assert show(s, operations[2]) == ("queued", "position 1 of 4")
            assert show(s, operations[5]) == ("queued", "position 4 of 4")
            assert s.bridge.dispatcher.queue_lengths() == {ENGINE: 4}
            assert await most_at_once(s, operations) == 2
            assert begun_in_order(s, operations)
            assert sorted(asked_for(s)) == KEYS

    run_virtually(scenario())


def test_a_position_moves_on_and_is_told_to_who_watches(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=2) as s:
            last = (await create_all(s))[-1]
            told = [show(s, last) async for _ in s.bridge.dispatcher.runner.watch(last.id)]
            positions = [progress for phase, progress in told if phase == "queued" and progress]
            assert positions == ["position 4 of 4", "position 2 of 2"]

    run_virtually(scenario())


def test_what_waits_survives_a_restart_in_order_and_what_has_begun_stays_at_work(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=2) as s:
            operations = await create_all(s)
            await s.clock.sleep(5)
            await s.restart()
            await s.clock.sleep(1)
            assert [show(s, operation)[0] for operation in operations] == ["cloning"] * 2 + ["queued"] * 4
            assert await most_at_once(s, operations) == 2
            assert begun_in_order(s, operations)
            assert sorted(asked_for(s)) == KEYS

    run_virtually(scenario())


def test_no_deadline_runs_while_an_operation_waits(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=1, create_machine=20, machine_ready=20) as s:
            operations = await create_all(s)
            assert await most_at_once(s, operations) == 1
            assert s.clock.monotonic() > 60

    run_virtually(scenario())


def test_cancelled_while_it_waits_it_leaves_nothing_and_asks_the_engine_nothing(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=1) as s:
            operations = await create_all(s)
            await s.clock.sleep(1)
            vm = s.bridge.ledger.living_machine(OWNER, KEYS[-1]).engine_id
            s.bridge.dispatcher.cancel(operations[-1], "by its client")
            cancelled = await s.ended(operations[-1])

            assert (cancelled.state, cancelled.cleanup, cancelled.phases) == (CANCELLED, "done", [])
            about_it = (vm, KEYS[-1], cancelled.id)
            assert not any(
                word in f"{r.path} {r.correlation_id}" for r in s.simulator.requests for word in about_it
            )
            assert s.bridge.ledger.living_machine(OWNER, KEYS[-1]) is None
            assert show(s, operations[1]) == ("queued", "position 1 of 4")
            await most_at_once(s, operations[:-1])
            assert s.vms() == KEYS[:-1]
            assert asked_for(s) == KEYS[:-1]

    run_virtually(scenario())


def test_cancelled_while_it_waits_and_then_killed_it_still_leaves_nothing(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=1) as s:
            operations = await create_all(s)
            await s.clock.sleep(1)
            s.bridge.ledger.update_operation(operations[-1].id, cancelled_by="by its client")
            await s.restart()
            assert (await s.ended(operations[-1])).state == CANCELLED
            assert asked_for(s) == KEYS[:1]
            assert s.bridge.ledger.living_machine(OWNER, KEYS[-1]) is None

    run_virtually(scenario())


def test_destroying_never_waits_behind_creates(site, run_virtually):
    """Neither a Machine that stands, nor one that waits to be made, nor one that is being made."""

    async def scenario() -> None:
        async with site(operations=1) as s:
            await s.run("CreateMachine", key="old", spec=spec())
            operations = await create_all(s)
            await s.clock.sleep(1)
            begun = s.clock.monotonic()
            for key in ("old", KEYS[0], KEYS[3]):
                assert (await s.run("DestroyMachine", key=key)).state == SUCCEEDED
            assert s.clock.monotonic() - begun < 60
            await most_at_once(s, [operations[i] for i in (1, 2, 4, 5)])
            assert s.vms() == [KEYS[i] for i in (1, 2, 4, 5)]

    run_virtually(scenario())


def test_undoing_keeps_nobody_waiting(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=1, machine_ready=5) as s:
            operations = await create_all(s)
            while s.bridge.ledger.operation_or_fail(operations[0].id).state != UNDOING:
                await s.clock.sleep(1)
            await s.clock.sleep(1)
            assert show(s, operations[1])[0] == "cloning"
            assert s.bridge.ledger.operation_or_fail(operations[0].id).state == UNDOING
            for operation in operations:
                s.bridge.dispatcher.cancel(operation, "by its client")

    run_virtually(scenario())


async def destroy_all(site: Site) -> list[Operation]:
    return [await site.call("DestroyMachine", key=key) for key in KEYS]


def test_of_many_removals_only_some_begin_and_the_others_tell_their_position(
    site, run_virtually, monkeypatch
):
    monkeypatch.setattr(dispatcher, "REMOVALS", 2)

    async def scenario() -> None:
        async with site() as s:
            await most_at_once(s, await create_all(s))
            operations = await destroy_all(s)
            await s.clock.sleep(0.1)
            phases = [show(s, operation)[0] for operation in operations]
            assert phases == ["destroying"] * 2 + ["queued"] * 4
            assert show(s, operations[2]) == ("queued", "position 1 of 4")
            await s.restart()
            assert {(await s.ended(operation)).state for operation in operations} == {SUCCEEDED}
            assert begun_in_order(s, operations)
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


async def held_up(site: Site) -> float:
    """For how many seconds the other removals had to wait, while the engine never gets on with the first."""
    await most_at_once(site, await create_all(site))
    site.simulator.world.vm_named(KEYS[0]).attachments[0].disk.status = "locked"
    begun = site.clock.monotonic()
    operations = await destroy_all(site)
    for operation in operations[1:]:
        assert (await site.ended(operation)).state == SUCCEEDED
    return site.clock.monotonic() - begun


def test_a_removal_that_the_engine_holds_up_keeps_nobody_waiting_for_long(site, run_virtually, monkeypatch):
    monkeypatch.setattr(dispatcher, "REMOVALS", 1)

    async def scenario() -> float:
        async with site(destroy=600) as s:
            return await held_up(s)

    assert run_virtually(scenario()) < 4 * dispatcher.PATIENCE


def test_without_patience_a_removal_that_is_held_up_keeps_all_waiting(site, run_virtually, monkeypatch):
    """The defence switched off."""
    monkeypatch.setattr(dispatcher, "REMOVALS", 1)
    monkeypatch.setattr(dispatcher, "PATIENCE", math.inf)

    async def scenario() -> float:
        async with site(destroy=600) as s:
            return await held_up(s)

    assert run_virtually(scenario()) > 600


def test_a_lease_that_ends_in_the_queue_takes_the_place_back(site, run_virtually):
    async def scenario() -> None:
        async with site(operations=1, renew_interval=3, lease_grace=6, machine_ready=200) as s:
            first, second = [await s.call("CreateMachine", key=key, spec=spec()) for key in KEYS[:2]]
            row = s.bridge.ledger.living_machine(OWNER, KEYS[0])
            while not s.bridge.ledger.operation_or_fail(first.id).ended:
                s.bridge.leases.heard(row)
                await s.clock.sleep(1)
            assert (await s.ended(second)).state == CANCELLED
            assert asked_for(s) == KEYS[:1]

    run_virtually(scenario())


def test_without_a_cap_all_are_at_work_at_once(site, run_virtually):
    async def scenario() -> int:
        async with site(operations=0) as s:
            return await most_at_once(s, await create_all(s))

    assert run_virtually(scenario()) == len(KEYS)


def test_a_queue_that_lets_everybody_in_is_noticed(site, run_virtually, monkeypatch):
    """The defence switched off: the tests above can fail."""

    async def scenario() -> int:
        async with site(operations=2) as s:
            monkeypatch.setattr(Queue, "join", lambda self, operation_id, begin, *, begun: begin())
            return await most_at_once(s, await create_all(s))

    assert run_virtually(scenario()) == len(KEYS)
