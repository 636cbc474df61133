"""The census: what it finds, and what it costs the engine."""

from tests.harness import OWNER, Site, spec


async def requests_of_a_census(site: Site) -> int:
    before = len(site.simulator.requests)
    await site.census()
    return len(site.simulator.requests) - before


def test_it_costs_the_same_for_one_machine_and_for_many(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web-0", spec=spec())
            one = await requests_of_a_census(s)
            for operation in [
                await s.call("CreateMachine", key=f"web-{n}", spec=spec()) for n in range(1, 12)
            ]:
                await s.ended(operation)

            assert await requests_of_a_census(s) == one
            assert len(await s.census()) == 24

    run_virtually(scenario())


def test_what_somebody_else_removed_is_missing(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            row = s.bridge.ledger.living_machine(OWNER, "web")
            vm = s.simulator.world.vms.pop(row.engine_id)
            del s.simulator.world.disks[vm.attachments[0].disk.id]

            assert [(finding, kind) for finding, kind, _ in await s.census()] == [
                ("missing", "disk"),
                ("missing", "vm"),
            ]

    run_virtually(scenario())


def test_a_disk_on_its_way_out_with_its_machine_is_awaited_and_never_missing(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            destroying = await s.call("DestroyMachine", key="web")
            seen = set()
            while not s.bridge.ledger.operation(destroying.id).ended:
                seen |= {(finding, kind) for finding, kind, _ in await s.census()}
                await s.clock.sleep(0.1)

            assert ("awaiting-engine", "disk") in seen
            assert not {finding for finding, _ in seen} & {"missing", "leaked", "foreign"}
            assert await s.census() == []

    run_virtually(scenario())
