"""Cancel and failure undo everything, in every phase of every verb that makes something.

By default the daemon dies in every second undo, and every second phase fails; `OVIRT_PROVISION_UNDO=all` does
all.
"""

import dataclasses
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from ovirt_provision.cli import output
from ovirt_provision.errors import EngineOperationFailed
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import CANCELLED, FAILED, LATE, REMOVING
from ovirt_provision.operations import dispatcher
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.services.errors import from_message
from ovirt_provision.services.messages import operation_message
from ovirt_provision.v1 import resources_pb2
from tests.harness import OWNER, Site, spec, started

GIB = 1 << 30
NICS = [resources_pb2.Nic(name="nic1", vnic_profile="ovirtmgmt")]
# What a client asks for, by name; a Machine `web` and a template `golden` are there before.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "thin": ("CreateMachine", {"key": "new", "spec": spec(nics=NICS), "start_with": started()}),
    "full": (
        "CreateMachine",
        {
            "key": "new",
            "spec": spec(
                clone=True,
                nics=NICS,
                boot_disk=resources_pb2.DiskSpec(size_bytes=20 * GIB),
                new_disks=[resources_pb2.DiskSpec(size_bytes=GIB)],
            ),
            "start_with": started(),
        },
    ),
    "copy": ("CloneMachine", {"source_key": "web", "key": "new", "start_with": started()}),
    "template": ("CreateTemplate", {"machine_key": "web", "name": "new"}),
    "sealed": ("CreateTemplate", {"machine_key": "web", "name": "new", "seal": True}),
    "version": ("CreateTemplate", {"machine_key": "web", "name": "golden", "new_version": True}),
}


def phases_of(name: str) -> list[str]:
    verb, fields = CALLS[name]
    return [phase.name for phase in VERBS[verb].phases(VERBS[verb].request_type(**fields))]


ALL = os.environ.get("OVIRT_PROVISION_UNDO") == "all"


async def prepare(site: Site) -> None:
    await site.run("CreateMachine", key="web", spec=spec())
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, "web"))
    await site.run("CreateTemplate", machine_key="web", name="golden")


def left(site: Site) -> tuple[list[str], list[str], int, list[str]]:
    """All that there is in the engine."""
    site.simulator.world.settle()
    return site.vms(), site.templates(), site.disks(), site.snapshots()


async def insist_on_nothing_left(site: Site, before: object) -> None:
    assert left(site) == before
    assert {finding for finding, _, _ in await site.census()} == {"ours"}
    ledger = site.bridge.ledger
    assert not ledger.list_objects(REMOVING, LATE)
    assert not ledger.unended_operations()
    assert ledger.living_machine(OWNER, "new") is None


async def cancel_in(site: Site, name: str, phase: str, *, crash_after: float | None = None):
    """Calls a verb and cancels it in a phase; with `crash_after` the daemon dies so many seconds later."""
    verb, fields = CALLS[name]
    operation = await site.call(verb, **fields)
    async for seen in site.bridge.dispatcher.runner.watch(operation.id):
        if seen.phase == phase and not seen.cancelled_by:
            site.bridge.dispatcher.cancel(seen, "by its client")
            if crash_after is not None:
                break
    if crash_after is not None:
        await site.clock.sleep(crash_after)
        await site.restart()
    return await site.ended(operation)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_cancelled_in_any_phase_leaves_nothing(direct_site, run_virtually, name):
    rng = random.Random(name)

    async def scenario() -> None:
        async with direct_site() as s:
            await prepare(s)
            before = left(s)
            for number, phase in enumerate(phases_of(name)):
                moments = [None, rng.uniform(0, 30)]
                for crash_after in moments if ALL else moments[number % 2 :][:1]:
                    ended = await cancel_in(s, name, phase, crash_after=crash_after)

                    told = f"cancelled in {phase}, killed after {crash_after} s"
                    assert (ended.state, ended.cleanup) == (CANCELLED, "done"), told
                    await insist_on_nothing_left(s, before)

    run_virtually(scenario())


def failing_in(phase: str):
    """The phases of a verb, of which one fails when it has done its work: the worst moment."""

    async def fail(_run: object) -> None:
        raise EngineOperationFailed(doing=phase, engine_says="as the test wants it")

    def wrap(phases: Sequence[Phase[Any]]) -> list[Phase[Any]]:
        wrapped = []
        for each in phases:
            if each.name == phase:

                async def both(run: Any, each: Phase[Any] = each) -> None:
                    if each.observe:
                        await each.observe(run)
                    await fail(run)

                each = dataclasses.replace(each, observe=both)
            wrapped.append(each)
        return wrapped

    return wrap


def make_fail(monkeypatch: pytest.MonkeyPatch, name: str, phase: str) -> None:
    verb = VERBS[CALLS[name][0]]
    wrap = failing_in(phase)
    failing = dataclasses.replace(verb, phases=lambda request: wrap(verb.phases(request)))
    monkeypatch.setitem(dispatcher.VERBS, verb.name, failing)


@pytest.mark.parametrize("name", CALLS)
def test_what_fails_at_the_end_of_any_phase_leaves_nothing(direct_site, run_virtually, monkeypatch, name):
    async def scenario() -> None:
        async with direct_site() as s:
            await prepare(s)
            before = left(s)
            for phase in phases_of(name)[:: 1 if ALL else 2]:
                with monkeypatch.context() as patch:
                    make_fail(patch, name, phase)
                    verb, fields = CALLS[name]
                    ended = await s.run(verb, **fields)

                assert (ended.state, ended.cleanup) == (FAILED, "done")
                assert (ended.error["reason"], ended.error["phase"]) == ("ENGINE_OPERATION_FAILED", phase)
                await insist_on_nothing_left(s, before)

    run_virtually(scenario())


@pytest.mark.parametrize("name", CALLS)
def test_without_its_undo_something_is_left(direct_site, run_virtually, monkeypatch, name):
    """The defence switched off: the tests above can fail."""
    verb = VERBS[CALLS[name][0]]
    without = dataclasses.replace(
        verb, phases=lambda request: [dataclasses.replace(p, undo=None) for p in verb.phases(request)]
    )
    monkeypatch.setitem(dispatcher.VERBS, verb.name, without)

    async def scenario() -> None:
        async with direct_site() as s:
            await prepare(s)
            before = left(s)
            await cancel_in(s, name, phases_of(name)[-1])
            assert left(s) != before

    run_virtually(scenario())


@pytest.mark.parametrize("verb", ["StartMachine", "StopMachine", "RestartMachine"])
def test_cancelling_what_makes_nothing_keeps_the_machine(direct_site, run_virtually, verb):
    async def scenario() -> None:
        async with direct_site() as s:
            await prepare(s)
            if verb == "StopMachine":
                await s.run("StartMachine", key="web")
            before = left(s)
            operation = await s.call(verb, key="web")
            await s.clock.sleep(0.5)
            s.bridge.dispatcher.cancel(operation, "by its client")

            assert (await s.ended(operation)).state == CANCELLED
            await s.clock.sleep(120)
            assert left(s) == before
            assert s.bridge.ledger.living_machine(OWNER, "web") is not None

    run_virtually(scenario())


def test_a_lock_held_for_ever_is_told_to_people_until_the_janitor_has_done(
    direct_site, run_virtually, capsys
):
    """From the engine to what the command line prints."""

    async def scenario() -> None:
        async with direct_site(machine_ready=120, destroy=60, undo=60) as s:
            s.simulator.world.injections.arm("disk-stays-locked")
            failed = await s.run("CreateMachine", key="web", spec=spec())
            await s.clock.sleep(1800)

            message = operation_message(s.bridge, s.bridge.ledger.operation(failed.id))
            assert message.cleanup == resources_pb2.Operation.CLEANUP_PENDING
            output.print_error(from_message(message.error), output.Format.TABLE)
            told = " ".join(capsys.readouterr().err.split())
            assert "What it has made is not all gone yet" in told
            assert "awaiting-engine" in told
            assert ("awaiting-engine", "vm", "web") in await s.census()
            assert s.bridge.busy, "the daemon does not end before it is gone"

            await s.restart()
            for disk in s.simulator.world.disks.values():
                disk.status = "ok"
            await s.clock.sleep(900)

            message = operation_message(s.bridge, s.bridge.ledger.operation(failed.id))
            assert message.cleanup == resources_pb2.Operation.CLEANUP_DONE
            assert "not all gone" not in message.error.advice
            assert (s.vms(), s.disks()) == ([], 1)
            assert not s.bridge.busy

    run_virtually(scenario())
