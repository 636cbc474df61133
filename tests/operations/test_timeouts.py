"""Time-outs that a request has for itself."""

import pytest

from ovirt_provision.config import Timeouts
from ovirt_provision.errors import InvalidRequest
from ovirt_provision.ledger.store import FAILED, SUCCEEDED
from ovirt_provision.operations.timeouts import OF_AN_OPERATION
from tests.harness import spec, started

OWN = {"address": {"seconds": 30}}


def test_a_create_waits_as_long_as_it_says_itself_also_after_a_crash(site, run_virtually):
    async def scenario() -> None:
        async with site(address=200) as s:
            s.simulator.world.injections.arm("agent-silent", times=2)
            calls = {
                key: await s.call(
                    "CreateMachine", key=key, spec=spec(), start_with=started(), timeouts=timeouts
                )
                for key, timeouts in (("own", OWN), ("configured", {}))
            }
            async for seen in s.bridge.dispatcher.runner.watch(calls["own"].id):
                if seen.phase == "waiting-for-address":
                    break
            await s.restart()
            waited = {}
            for key, call in calls.items():
                ended = await s.ended(call)
                last = next(phase for phase in ended.phases if phase["name"] == "waiting-for-address")
                waited[key] = ended.error, ended.ended_at - last["start"]
                assert ended.state == FAILED
            assert 30 <= waited["own"][1] < 120
            assert "30 s" in waited["own"][0]["message"]
            assert waited["configured"][1] >= 200

    run_virtually(scenario())


def test_a_request_that_waits_otherwise_asks_for_the_same_machine(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            made = await s.run("CreateMachine", key="web", spec=spec())
            again = await s.call("CreateMachine", key="web", spec=spec(), timeouts=OWN)
            assert (again.id, again.state) == (made.id, SUCCEEDED)

    run_virtually(scenario())


def test_names_that_mean_nothing_are_refused_before_anything_is_made(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            given = {"adress": {"seconds": 1}, "idle": {"seconds": 1}}
            with pytest.raises(InvalidRequest) as refused:
                await s.call("CreateMachine", key="web", spec=spec(), timeouts=given)
            assert [violation.field for violation in refused.value.violations] == [
                "timeouts.adress",
                "timeouts.idle",
            ]
            assert "did you mean 'address'?" in refused.value.violations[0].description
            assert "machine_ready" in refused.value.violations[1].description
            assert s.vms() == []

    run_virtually(scenario())


def test_each_name_is_one_of_the_configuration():
    assert set(OF_AN_OPERATION) <= Timeouts.model_fields.keys()
