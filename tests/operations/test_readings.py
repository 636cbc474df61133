"""Looks at Machines, whose cost does not grow with how many look: what `ls` of many hosts does."""

import asyncio
import uuid
from typing import Any, cast

import pytest

from ovirt_provision.engine import readings
from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.session import Session
from ovirt_provision.errors import EngineUnreachable
from ovirt_provision.ledger.store import PRESENT
from ovirt_provision.operations.machines import find_machine
from ovirt_provision.services.calls import Caller, Context, calling
from ovirt_provision.services.machine_service import MachineServicer
from ovirt_provision.v1 import machines_pb2, resources_pb2
from tests.harness import ENGINE, OWNER, TEMPLATE, Site, spec

MANY = 100


class Counter:
    """Counts what the engine is asked, and refuses it while `broken`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.broken = False
        real = Session.call

        async def call(session: Session, doing: str, *args: Any, **fields: Any) -> Any:
            self.asked.append(doing)
            if self.broken:
                raise EngineUnreachable(url="https://engine.example.com", detail="no route", doing=doing)
            return await real(session, doing, *args, **fields)

        monkeypatch.setattr(Session, "call", call)


async def look(site: Site, key: str) -> Vm | None:
    """As GetMachine with a max_age of 15 s does."""
    ledger = site.bridge.ledger
    row = find_machine(ledger, OWNER, ENGINE, key, adopted=True)
    return await site.bridge.engine(ENGINE).readings.get(
        row.known_id,
        max_age=15.0,
        since=ledger.changed_at(row.id),
        others=lambda: [other.known_id for other in ledger.list_machines(OWNER, ENGINE)],
    )


async def seen(site: Site, key: str) -> str:
    vm = await look(site, key)
    return vm.status if vm is not None else "gone"


async def hosts(site: Site, number: int, template: str = "Blank") -> list[str]:
    """Keys of so many Machines, as if they had been adopted."""
    keys = [f"host-{n:03}" for n in range(number)]
    with site.bridge.ledger.transaction() as connection:
        for key in keys:
            made = site.simulator.call(
                "POST",
                "/vms",
                f"<vm><name>{key}</name><cluster><name>Default</name></cluster>"
                f"<template><name>{template}</name></template></vm>",
            ).element
            assert made is not None
            site.bridge.ledger.add_object(
                connection,
                engine=ENGINE,
                kind="vm",
                engine_id=made.get("id"),
                name=key,
                owner=OWNER,
                key=key,
                generation=1,
                request_id=str(uuid.uuid4()),
                state=PRESENT,
                details={"adopted": True},
            )
    return keys


@pytest.mark.parametrize("together", [True, False], ids=["at once", "one by one"])
def test_a_hundred_looks_cost_the_engine_one_search_and_the_next_hundred_nothing(
    direct_site, run_virtually, monkeypatch, together
):
    async def scenario() -> list[int]:
        async with direct_site() as s:
            keys, counter, costs = await hosts(s, MANY), Counter(monkeypatch), []
            for pause in (10, 10, 0):
                counter.asked.clear()
                if together:
                    found = list(await asyncio.gather(*(look(s, key) for key in keys)))
                else:
                    found = [await look(s, key) for key in keys]
                assert [vm.name for vm in found if vm is not None] == keys
                costs.append(len(counter.asked))
                await s.clock.sleep(pause)
            return costs

    assert run_virtually(scenario()) == [1, 0, 1]


def test_more_than_go_into_a_search_are_read_page_by_page(direct_site, run_virtually, monkeypatch):
    async def scenario() -> None:
        async with direct_site() as s:
            monkeypatch.setattr(readings, "MOST", 10)
            keys, counter = await hosts(s, 13), Counter(monkeypatch)

            assert None not in [await look(s, key) for key in reversed(keys)]

            assert len(counter.asked) == 2

    run_virtually(scenario())


def test_what_an_operation_has_changed_is_seen_at_once(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            (key,) = await hosts(s, 1, TEMPLATE)
            await s.clock.sleep(120)
            selection = resources_pb2.AddressSelection(do_not_wait=True)
            for verb, fields, status in (
                ("StartMachine", {"address_selection": selection}, "up"),
                ("StopMachine", {}, "down"),
            ):
                assert (await seen(s, key)) != status
                operation = await s.call(verb, key=key, **fields)
                statuses = set()
                while not s.bridge.ledger.operation_or_fail(operation.id).ended:
                    statuses.add(await seen(s, key))
                    await s.clock.sleep(0.5)
                assert len(statuses) > 1, "it is seen while it changes"
                assert (await seen(s, key)) == status

    run_virtually(scenario())


def test_what_somebody_has_removed_is_gone_and_costs_the_others_nothing(
    direct_site, run_virtually, monkeypatch
):
    async def scenario() -> None:
        async with direct_site() as s:
            keys, counter = await hosts(s, 3), Counter(monkeypatch)
            gone = find_machine(s.bridge.ledger, OWNER, ENGINE, keys[1], adopted=True).known_id
            s.simulator.call("DELETE", f"/vms/{gone}")

            for _ in range(2):
                assert [await look(s, key) is None for key in keys] == [False, True, False]

            # One search, and for the one that it lacks another with those that are as old, and a GET.
            assert len(counter.asked) <= 3

    run_virtually(scenario())


def test_an_engine_that_cannot_be_reached_is_no_absence_and_everybody_is_told(
    direct_site, run_virtually, monkeypatch
):
    async def scenario() -> None:
        async with direct_site() as s:
            keys, counter = await hosts(s, 20), Counter(monkeypatch)
            counter.broken = True

            got = await asyncio.gather(*(look(s, key) for key in keys), return_exceptions=True)

            assert {type(one) for one in got} == {EngineUnreachable}
            assert len(counter.asked) == 1
            counter.broken = False
            assert await look(s, keys[0]) is not None

    run_virtually(scenario())


def test_a_client_is_told_that_its_vm_is_absent_and_what_it_would_be_made_from(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            calling.set(Caller(OWNER, s.bridge.config.limits(OWNER)))
            service, context = MachineServicer(lambda: s.bridge), cast(Context, None)
            keys = await hosts(s, 2)
            gone = find_machine(s.bridge.ledger, OWNER, ENGINE, keys[0], adopted=True).known_id
            s.simulator.call("DELETE", f"/vms/{gone}")
            statuses = []
            for key, age in ((keys[0], 0), (keys[0], 15), (keys[1], 0), (keys[1], 15)):
                asked = machines_pb2.GetMachineRequest(key=key)
                if age:
                    asked.max_age.seconds = age
                machine = (await service.GetMachine(asked, context)).machine
                assert machine.adopted
                statuses.append(resources_pb2.Machine.Status.Name(machine.status))
            assert statuses == ["STATUS_ABSENT"] * 2 + ["STATUS_DOWN"] * 2

            wanted = machines_pb2.CreateMachineRequest(
                request_id=str(uuid.uuid4()), key="new", spec=spec(), validate_only=True
            )
            template = (await service.CreateMachine(wanted, context)).template
            assert (template.name, template.version, template.os) == (TEMPLATE, 1, "debian_9")

    run_virtually(scenario())


def test_a_census_reads_adopted_vms_together(direct_site, run_virtually, monkeypatch):
    async def scenario() -> None:
        async with direct_site() as s:
            keys, counter = await hosts(s, 12), Counter(monkeypatch)

            found = await s.census()

            assert found == [("adopted", "vm", key) for key in keys]
            assert len([asked for asked in counter.asked if "VM" in asked]) == 2, (
                "those with a mark, and these"
            )

    run_virtually(scenario())
