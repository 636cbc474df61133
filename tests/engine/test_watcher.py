"""The watcher: one for all who wait, and what it costs the engine."""

import asyncio
import uuid

import pytest

from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.simulator import Simulator


async def create(engine: Engine, name: str) -> str:
    template = (await engine.templates.versions_of("debian-12"))[0]
    vm_id = str(uuid.uuid4())
    wanted = VmRequest(vm_id, name, "", template.id, template.cluster_id)
    await engine.machines.create(wanted, correlation_id=name)
    return vm_id


def ready(vm: Vm | None) -> bool:
    assert vm is not None
    return vm.ready and bool(vm.disks)


async def wait_for(engine: Engine, simulator: Simulator, count: int) -> int:
    """Requests that it took to wait for so many VMs at the same time."""
    ids = [await create(engine, f"vm-{count}-{n}") for n in range(count)]
    before = len(simulator.requests)
    await asyncio.gather(*(engine.watcher.vm(vm_id, ready, with_disks=True) for vm_id in ids))
    return len(simulator.requests) - before


def test_waiting_for_forty_costs_what_waiting_for_one_costs(simulated, run_virtually):
    async def scenario() -> tuple[int, int]:
        async with simulated() as (simulator, engine):
            return await wait_for(engine, simulator, 1), await wait_for(engine, simulator, 40)

    one, forty = run_virtually(scenario())

    assert forty <= one + 2


def test_an_event_brings_the_news_within_a_tick(simulated, run_virtually, virtual_clock):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            vm_id = await create(engine, "web")
            known_at = []

            async def notice() -> None:
                while simulator.world.vms[vm_id].status != "down":
                    await virtual_clock.sleep(0.1)
                    simulator.world.settle()
                known_at.append(virtual_clock.monotonic())

            def down(vm: Vm | None) -> bool:
                return vm is not None and vm.status == "down"

            await asyncio.gather(notice(), engine.watcher.vm(vm_id, down))
            # A tick is one second here; the backstop without events would be at five.
            assert virtual_clock.monotonic() - known_at[0] <= 1.2

    run_virtually(scenario())


def test_a_row_that_a_search_misses_is_looked_up_by_id(simulated, run_virtually, monkeypatch):
    async def scenario() -> None:
        async with simulated() as (_, engine):
            ids = [await create(engine, name) for name in ("web", "db")]

            async def blind(*_args: object, **_more: object) -> list[Vm]:
                return []

            monkeypatch.setattr(engine.machines, "search", blind)
            seen = await asyncio.gather(*(engine.watcher.vm(one, lambda vm: vm is not None) for one in ids))
            assert [vm.id for vm in seen if vm is not None] == ids

    run_virtually(scenario())


def test_only_a_404_means_gone(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (_, engine):
            assert await engine.watcher.vm(str(uuid.uuid4()), lambda vm: vm is None) is None

    run_virtually(scenario())


def test_failed_readings_do_not_end_a_wait(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            vm_id = await create(engine, "web")
            simulator.world.injections.arm("unavailable", times=9)
            await engine.watcher.vm(vm_id, ready, with_disks=True)

    run_virtually(scenario())


def test_what_a_waiter_raises_ends_only_its_own_wait(simulated, run_virtually):
    def fails(_vm: Vm | None) -> bool:
        raise ValueError("not this one")

    async def scenario() -> None:
        async with simulated() as (_, engine):
            vm_id = await create(engine, "web")
            failing = asyncio.ensure_future(engine.watcher.vm(vm_id, fails))
            assert await engine.watcher.vm(vm_id, ready, with_disks=True)
            with pytest.raises(ValueError, match="not this one"):
                await failing

    run_virtually(scenario())


def test_nobody_waits_nothing_is_asked(simulated, run_virtually, virtual_clock):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            vm_id = await create(engine, "web")
            await engine.watcher.vm(vm_id, ready, with_disks=True)
            asked = len(simulator.requests)
            await virtual_clock.sleep(3600)
            assert len(simulator.requests) == asked

    run_virtually(scenario())


def test_what_cannot_be_read_keeps_nobody_else_waiting(simulated, run_virtually, virtual_clock):
    """The disks are refused for good; whoever waits for a VM or a template hears of it all the same."""

    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            vm_id = await create(engine, "web")
            template = (await engine.templates.versions_of("debian-12"))[0]
            simulator.world.injections.arm("forbidden", path="/disks.*", times=1000)
            hopeless = asyncio.ensure_future(engine.watcher.disk("0" * 8, lambda disk: disk is None))
            async with asyncio.timeout(20):
                await asyncio.gather(
                    engine.watcher.vm(vm_id, ready, with_disks=True),
                    engine.watcher.template(template.id, lambda seen: seen is not None),
                )
            assert not hopeless.done()
            assert virtual_clock.monotonic() < 60
            hopeless.cancel()

    run_virtually(scenario())
