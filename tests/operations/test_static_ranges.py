"""Static addresses from a range."""

import asyncio

import pytest

from ovirt_provision.errors import AddressRangeExhausted, InvalidRequest
from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.operations import start_machine, static_ranges
from ovirt_provision.v1.resources_pb2 import NicConfiguration
from tests.harness import spec, started

RANGE = "10.11.0.50-10.11.0.52/24"


def ranged(given: str = RANGE, **fields):
    nic = NicConfiguration(name="eth0", boot_protocol=NicConfiguration.BOOT_PROTOCOL_STATIC, **fields)
    if not fields.get("static_address"):
        nic.static_range = given
    return started(nic_configurations=[nic])


def addresses(site) -> list[str]:
    """What the ledger has promised, by key."""
    rows = sorted(site.bridge.ledger.living_machines(), key=lambda row: row.key)
    return [row.details["static_addresses"]["eth0"] for row in rows]


async def create(site, key: str, start_with=None):
    return await site.run("CreateMachine", key=key, spec=spec(), start_with=start_with or ranged())


@pytest.fixture
def told(monkeypatch) -> set[str]:
    """The static addresses that the engine was asked to give to guests."""
    seen: set[str] = set()
    make = start_machine.first_boot

    def noted(initialization):
        boot = make(initialization)
        seen.update(interface.address for interface in boot.interfaces)
        return boot

    monkeypatch.setattr(start_machine, "first_boot", noted)
    return seen


def test_machines_made_at_once_have_addresses_of_their_own(site, run_virtually, told):
    async def scenario() -> None:
        async with site() as s:
            made = await asyncio.gather(*(create(s, key) for key in "abc"))
            assert [one.state for one in made] == [SUCCEEDED] * 3
            assert sorted(addresses(s)) == ["10.11.0.50/24", "10.11.0.51/24", "10.11.0.52/24"]
            assert told == {"10.11.0.50", "10.11.0.51", "10.11.0.52"}
            with pytest.raises(AddressRangeExhausted, match=RANGE) as refused:
                await create(s, "d")
            assert [violation.field for violation in refused.value.violations] == [
                "start_with.nic_configurations[0].static_range"
            ]
            assert len(s.vms()) == 3

            await s.run("DestroyMachine", key="b")
            assert (await create(s, "d")).state == SUCCEEDED
            assert addresses(s) == ["10.11.0.50/24", "10.11.0.52/24", "10.11.0.51/24"]

    run_virtually(scenario())


def test_an_address_survives_a_crash_before_the_start_and_is_free_again_after_an_undo(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            made = await s.call("CreateMachine", key="a", spec=spec(), start_with=ranged())
            assert (await create(s, "b")).state == SUCCEEDED
            await s.restart()
            assert (await s.ended(made)).state == SUCCEEDED
            assert addresses(s) == ["10.11.0.50/24", "10.11.0.51/24"]

            s.simulator.world.injections.arm("vm-fails")
            await create(s, "c")
            assert (await create(s, "d")).state == SUCCEEDED
            assert addresses(s)[-1] == "10.11.0.52/24"

    run_virtually(scenario())


def test_what_machines_have_otherwise_is_left_out(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await create(s, "a", ranged(static_address="10.11.0.50/24"))
            await create(s, "b", ranged(gateway="10.11.0.51"))
            assert addresses(s) == ["10.11.0.50/24", "10.11.0.52/24"]

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("10.11.0.9-10.11.0.5/24", "comes before"),
        ("10.11.0.9-10.11.1.5/24", "not in one network"),
        ("10.11.0.9-10.11.0.300/24", "must be the first and the last address"),
        ("10.11.0.9-10.11.0.10/33", "must be the first and the last address"),
    ],
)
def test_what_is_no_range_is_refused(site, run_virtually, given, why):
    async def scenario() -> None:
        async with site() as s:
            with pytest.raises(InvalidRequest, match=why):
                await create(s, "a", ranged(given))
            assert s.vms() == []

    run_virtually(scenario())


def test_addresses_of_network_and_broadcast_are_given_to_nobody():
    nic = NicConfiguration(static_range="10.11.0.0-10.11.0.3/30")
    assert list(static_ranges._addresses(nic)) == ["10.11.0.1/30", "10.11.0.2/30"]


def test_without_looking_at_the_others_two_have_one_address(site, run_virtually, monkeypatch):
    monkeypatch.setattr(static_ranges, "_taken", lambda ledger: set())

    async def scenario() -> None:
        async with site() as s:
            await asyncio.gather(*(create(s, key) for key in "ab"))
            assert len(set(addresses(s))) == 1

    run_virtually(scenario())
