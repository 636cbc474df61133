"""When faults fire: rules, rates with seeds, the control endpoint."""

import asyncio
import json

import pytest

from ovirt_provision.simulator.documents import DocumentError, check
from ovirt_provision.simulator.injection import FAULTS, FaultRule, Injections

VM = "/vms/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def asked(injections, fault, count, method="GET", path="/vms"):
    """At which of so many equal requests the fault fires."""
    found = []
    for number in range(1, count + 1):
        with injections.during(method, path):
            if injections.fires(fault) is not None:
                found.append(number)
    return found


def test_a_fault_fires_at_the_next_request_or_the_nth_and_as_often_as_told():
    injections = Injections()
    injections.arm("reset")
    assert asked(injections, "reset", 5) == [1]
    injections.arm("reset", nth=3, times=2)
    assert asked(injections, "reset", 9) == [3, 4]
    assert not injections.armed


def test_only_requests_that_match_count():
    injections = Injections()
    injections.arm("reset", method="POST|PUT", path="/vms/.*/start", nth=2)
    for method, path in [
        ("GET", f"{VM}/start"),
        ("POST", "/vms"),
        ("POST", f"{VM}/start"),
        ("POST", f"{VM}/stop"),
    ]:
        assert asked(injections, "reset", 1, method, path) == []
    assert asked(injections, "reset", 1, "PUT", f"{VM}/start") == [1]


def test_a_log_in_is_hit_only_by_a_rule_that_names_it():
    injections = Injections()
    login = "/ovirt-engine/sso/oauth/token"
    injections.arm("unavailable")
    assert asked(injections, "unavailable", 1, "POST", login) == []
    injections.arm("unavailable", path=login)
    assert asked(injections, "unavailable", 1, "POST", login) == [1]


def test_a_rate_is_kept_and_a_seed_replays_it():
    def run(seed, *, mixed=False):
        injections = Injections()
        injections.arm("reset", rate=0.2, seed=seed)
        found = []
        for number in range(500):
            if mixed:
                asked(injections, "reset", 1, "POST", "/disks")
            found += [number] if asked(injections, "reset", 1) else []
        return found

    first = run(7)
    assert 60 < len(first) < 140
    assert run(7) == first
    assert run(7, mixed=True) == first
    assert run(8) != first


def test_a_made_up_seed_is_told_for_a_replay(caplog):
    caplog.set_level("INFO", "ovirt_provision.simulator")
    injections = Injections()
    number = injections.arm("reset", rate=0.5)
    first = asked(injections, "reset", 50)
    told = next(record.getMessage() for record in caplog.records if "armed" in record.getMessage())
    again = Injections()
    assert FaultRule.parse(told.partition(": ")[2]) == injections.armed[number]
    again.arm(FaultRule.parse(told.partition(": ")[2]))
    assert asked(again, "reset", 50) == first
    assert [firing.number for firing in injections.fired] == first


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_reads_as_it_writes(fault):
    seconds = None if FAULTS[fault].seconds is None else 1.5
    rule = FaultRule(fault=fault, path="/vms/[^/]+ x", nth=2, times=3, seconds=seconds)
    assert FaultRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fault": "drop-replay"}, "fault: there is no fault 'drop-replay'; did you mean 'drop-reply'?"),
        ({"fault": "reset", "tims": 2}, "tims: is not a known key; did you mean 'times'?"),
        ({"fault": "reset", "path": "("}, "path: '(' is not a regular expression: missing ), unterminated"),
        ({"fault": "reset", "nth": 0}, "nth: must be greater than or equal to 1, not 0"),
        ({"fault": "reset", "rate": "often"}, "rate: must be a valid number"),
        ({"fault": "reset", "rate": 1.5}, "rate: must be less than or equal to 1, not 1.5"),
        ({"fault": "reset", "seed": 1}, "`seed` is for `rate` only"),
        ({"fault": "reset", "seconds": 1}, "'reset' has nothing that lasts, so it takes no `seconds`"),
        ({}, "fault: is required"),
    ],
)
def test_a_rule_that_is_none_is_told_by_field_and_near_miss(given, said):
    with pytest.raises(DocumentError, match="fault: ") as refused:
        check("fault", given, FaultRule)
    assert refused.value.problems[0].startswith(said)


def test_an_unknown_fault_is_refused_by_name():
    with pytest.raises(ValueError, match="there is no fault 'drop-replay'; did you mean 'drop-reply'"):
        Injections().arm("drop-replay")
    with pytest.raises(ValueError, match="'vms' is not FIELD=VALUE"):
        FaultRule.parse("reset vms")


def test_faults_are_armed_seen_and_disarmed_over_http_by_who_may_log_in(play):
    async def scenario(lab):
        async def control(method, path, body=""):
            reply = await lab.request(method, f"//simulator/{path}", body)
            return reply.status, json.loads(reply.text)

        rule = {"fault": "unavailable", "path": "/vms", "nth": 2}
        stranger = await lab.request("POST", "//simulator/faults", json.dumps(rule), Authorization=None)
        assert (stranger.status, lab.world.injections.armed) == (401, {})

        status, armed = await control("POST", "faults", json.dumps(rule))
        assert (status, armed) == (201, {"id": 1, **rule})
        statuses = [(await lab.request("GET", "/vms")).status for _ in range(3)]
        assert statuses == [200, 503, 200]
        _, seen = await control("GET", "faults")
        fired = {"rule": 1, "fault": "unavailable", "method": "GET", "path": "/vms", "number": 2}
        assert seen == {"armed": [], "fired": [fired]}

        _, armed = await control("POST", "faults", '{"fault": "reset", "rate": 0.5, "seed": 3}')
        assert await control("GET", f"faults/{armed['id']}") == (200, armed)
        assert (await control("DELETE", f"faults/{armed['id']}"))[1]["armed"] == []
        assert (await control("DELETE", f"faults/{armed['id']}"))[0] == 404
        status, refused = await control("POST", "faults", '{"fault": "rest"}')
        assert (status, refused["error"]) == (400, "fault: there is no fault 'rest'; did you mean 'reset'?")
        assert (await control("POST", "faults", "{"))[0] == 400

    play(scenario)


def test_a_seed_replays_over_the_wire_with_clients_that_interleave(play):
    async def scenario(lab):
        async def run():
            lab.world.injections.arm("unavailable", rate=0.4, seed=11)
            replies = await asyncio.gather(
                *(lab.request("GET", path) for path in ("/vms", "/disks") for _ in range(15))
            )
            lab.world.injections.disarm()
            return [[reply.status for reply in part].count(503) for part in (replies[:15], replies[15:])]

        assert await run() == await run()

    play(scenario)
