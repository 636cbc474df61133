"""A great many Machines while sessions are revoked and the engine restarts: nobody's operation fails."""

import asyncio
import os
import random
from typing import Any

from ovirt_provision.errors import EngineBroken, EngineSessionExpired, EngineUnreachable
from ovirt_provision.ledger.store import Operation
from tests.harness import Site, spec, started

MACHINES = int(os.environ.get("OVIRT_PROVISION_MACHINES", "8"))
SEED = int(os.environ.get("OVIRT_PROVISION_SEED", random.SystemRandom().getrandbits(31)))
# A thousand of them see twenty restarts.
RESTARTS = max(1, MACHINES // 50)
REVOKED_EVERY = 30.0
# Seconds between two restarts on average; one takes 20.
RESTARTED_EVERY = 80.0
# How many clients work at once, each on one Machine after the other.
CLIENTS = 25


def logins(site: Site) -> int:
    return sum("sso/oauth/token" in request.path for request in site.simulator.requests)


async def called(site: Site, verb: str, **fields: Any) -> Operation:
    """Calls a verb as a client does: again, with the same request_id, where the engine was not to be
    reached."""
    fields["request_id"] = f"{verb}-{fields['key']}"
    while True:
        try:
            return await site.run(verb, **fields)
        except (EngineUnreachable, EngineBroken, EngineSessionExpired):
            await site.clock.sleep(5)


async def lifecycle(site: Site, key: str, random_: random.Random) -> list[Operation]:
    made = await called(site, "CreateMachine", key=key, spec=spec(), start_with=started())
    await site.clock.sleep(random_.uniform(0, 120))
    stopped = await called(site, "StopMachine", key=key)
    return [made, stopped, await called(site, "DestroyMachine", key=key)]


async def play(site: Site) -> tuple[list[Operation], int]:
    """The operations of all Machines, and how often the session had come to its end."""
    random_ = random.Random(SEED)
    ends = 0
    keys = iter(f"web-{number}" for number in range(MACHINES))

    async def client() -> list[Operation]:
        return [operation for key in keys for operation in await lifecycle(site, key, random_)]

    async def revoke() -> None:
        nonlocal ends
        while True:
            await site.clock.sleep(REVOKED_EVERY)
            ends += len(site.simulator.sessions) > 0
            site.simulator.sessions.revoke_all()

    async def restart() -> None:
        nonlocal ends
        for _ in range(RESTARTS):
            await site.clock.sleep(random_.uniform(0.5, 1.5) * RESTARTED_EVERY)
            # At whatever comes next: a reading, a change, a log-in.
            site.simulator.world.injections.arm("engine-restart", path=".*")
            ends += 1

    trouble = [asyncio.create_task(revoke()), asyncio.create_task(restart())]
    try:
        done = await asyncio.gather(*(client() for _ in range(CLIENTS)))
    finally:
        for task in trouble:
            task.cancel()
    return [operation for some in done for operation in some], ends


def test_no_operation_fails_and_every_session_costs_one_login(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            operations, ends = await play(s)
            restarts = sum(one.fault == "engine-restart" for one in s.simulator.world.injections.fired)
            failed = [(one.verb, one.key, one.error) for one in operations if one.state != "succeeded"]
            seconds = s.clock.monotonic()
            print(
                f"seed: {SEED}, machines: {MACHINES}, operations: {len(operations)}, failed: {len(failed)}, "
                f"restarts: {restarts}, sessions ended: {ends}, logins: {logins(s)}, "
                f"virtual seconds: {seconds:.0f}"
            )
            assert len(operations) == 3 * MACHINES
            assert failed == []
            assert s.vms() == []
            assert restarts == RESTARTS
            assert logins(s) <= ends + 1
            assert len(s.simulator.sessions) <= 1
        assert len(s.simulator.sessions) == 0

    run_virtually(scenario())
