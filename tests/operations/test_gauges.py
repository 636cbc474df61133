"""The metrics of what goes wrong: an engine that is silent, a cancelled operation, a lease that ran out."""

from prometheus_client import REGISTRY

from ovirt_provision.operations.gauges import read_gauges
from tests.harness import ENGINE, Site, spec

SECONDS = 120.0


def figure(site: Site, name: str, **labels: str) -> float:
    read_gauges(site.bridge)
    return REGISTRY.get_sample_value(f"ovirt_provision_{name}", labels) or 0.0


def test_an_engine_that_cannot_be_read_shows_as_lag(site, run_virtually, virtual_clock):
    async def scenario():
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(clone=True))
            await virtual_clock.sleep(5)
            assert figure(s, "watcher_waits", engine=ENGINE) == 1
            assert figure(s, "watcher_lag_seconds", engine=ENGINE) <= 1
            labels = {"verb": "CreateMachine", "phase": "cloning", "state": "running"}
            assert figure(s, "operations_under_way", **labels) == 1

            down = s.simulator.world.injections.arm("unavailable", method="GET", times=10_000)
            await virtual_clock.sleep(SECONDS)
            assert figure(s, "watcher_lag_seconds", engine=ENGINE) >= SECONDS - 1

            s.simulator.world.injections.disarm(down)
            await s.ended(creating)
            assert figure(s, "watcher_lag_seconds", engine=ENGINE) == 0
            assert figure(s, "operations_under_way", **labels) == 0

    run_virtually(scenario())


def test_a_cancelled_operation_counts_where_it_was(site, run_virtually, virtual_clock):
    async def scenario():
        async with site() as s:
            labels = {"verb": "CreateMachine", "phase": "cloning", "result": "cancelled"}
            before = figure(s, "operations_total", **labels)
            creating = await s.call("CreateMachine", key="web", spec=spec(clone=True))
            await virtual_clock.sleep(5)
            s.bridge.dispatcher.cancel(creating, "by its client")
            await s.ended(creating)

            assert figure(s, "operations_total", **labels) == before + 1

    run_virtually(scenario())


def test_a_lease_that_ran_out_is_seen_until_its_machine_is_gone(site, run_virtually, virtual_clock):
    async def scenario():
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            assert figure(s, "leases", kind="session") == 1

            stuck = s.simulator.world.injections.arm("unavailable", method="DELETE", times=10_000)
            await virtual_clock.sleep(360)
            assert (figure(s, "leases", kind="session"), figure(s, "leases", kind="expired")) == (0, 1)
            assert figure(s, "objects", engine=ENGINE, kind="vm", state="removing") == 1

            s.simulator.world.injections.disarm(stuck)
            await virtual_clock.sleep(1200)
            assert figure(s, "leases", kind="expired") == 0
            assert figure(s, "objects", engine=ENGINE, kind="vm", state="removing") == 0

    run_virtually(scenario())
