"""Which address a Machine is known by, when it counts, and what is said when none comes."""

import pytest

from ovirt_provision.errors import InvalidRequest
from ovirt_provision.ledger.store import FAILED, SUCCEEDED
from ovirt_provision.services.messages import machine_message
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, OWNER, spec, started

Selection = resources_pb2.AddressSelection
NICS = [resources_pb2.Nic(name=name, vnic_profile="ovirtmgmt") for name in ("nic1", "nic2")]


async def told(site, key: str = "web") -> list[tuple[str, str]]:
    """NIC and address of each address that clients are told, while the VM is read and while it is not."""
    row = site.bridge.ledger.living_machine(OWNER, key)
    vm = await site.bridge.engine(ENGINE).machines.get(row.known_id, follow="nics,reported_devices")
    live, kept = (machine_message(site.bridge, row, seen).addresses for seen in (vm, None))
    assert list(live) == list(kept)
    return [(address.nic, address.ip) for address in live]


def test_only_what_is_selected_counts_until_another_selection_is_given(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(address=10) as s:
            created = await s.run(
                "CreateMachine",
                key="web",
                spec=spec(nics=NICS),
                start_with=started(),
                address_selection=Selection(nics=["nic2"]),
            )
            assert created.state == SUCCEEDED, created.error
            assert await told(s) == [("nic2", "10.11.0.2")]

            await s.run("RestartMachine", key="web", force=True)
            assert await told(s) == [("nic2", "10.11.0.2")], "it is remembered"

            await s.run("StopMachine", key="web", force=True)
            await s.run("StartMachine", key="web", address_selection=Selection(cidrs=["10.11.0.1/32"]))
            assert await told(s) == [("nic1", "10.11.0.1")]

            await s.run("CloneMachine", key="copy", source_key="web", start_with=started())
            assert s.bridge.ledger.living_machine(OWNER, "copy") is None, "nothing of it is in that network"

    run_virtually(scenario())


def test_a_nic_that_the_machine_does_not_get_cannot_be_selected(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            with pytest.raises(InvalidRequest, match="did you mean 'nic2'"):
                await s.call(
                    "CreateMachine",
                    key="web",
                    spec=spec(nics=NICS),
                    address_selection=Selection(nics=["nic22"]),
                )

    run_virtually(scenario())


def test_what_bridges_and_tunnels_report_does_not_count(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            s.simulator.world.injections.arm("many-interfaces")
            await s.run("CreateMachine", key="web", spec=spec(), start_with=started())
            assert await told(s) == [("nic1", "10.11.0.1")]

    run_virtually(scenario())


@pytest.mark.parametrize(("settle", "first"), [(0, "10.255.255."), (5, "10.11.0.1")])
def test_an_address_that_changes_does_not_count_until_it_stays(direct_site, run_virtually, settle, first):
    async def scenario() -> None:
        async with direct_site() as s:
            s.simulator.world.injections.arm("address-flaps", seconds=30)
            selection = Selection()
            selection.settle_time.FromSeconds(settle)
            created = await s.run(
                "CreateMachine", key="web", spec=spec(), start_with=started(), address_selection=selection
            )
            assert created.state == SUCCEEDED, created.error
            (address,) = s.bridge.ledger.living_machine(OWNER, "web").details["addresses"]
            assert address["ip"].startswith(first)

    run_virtually(scenario())


def test_a_call_can_say_how_long_an_address_must_stay_or_that_none_is_waited_for(
    direct_site, run_virtually, virtual_clock
):
    async def scenario() -> None:
        async with direct_site() as s:
            selection = Selection()
            selection.settle_time.FromSeconds(60)
            await s.run(
                "CreateMachine", key="web", spec=spec(), start_with=started(), address_selection=selection
            )
            assert virtual_clock.monotonic() > 60

            s.simulator.world.injections.arm("agent-silent")
            before = virtual_clock.monotonic()
            silent = await s.run(
                "CreateMachine",
                key="silent",
                spec=spec(),
                start_with=started(),
                address_selection=Selection(do_not_wait=True),
            )
            assert silent.state == SUCCEEDED, silent.error
            assert virtual_clock.monotonic() - before < 200
            assert s.simulator.world.vms[silent_id(s)].status == "up"

    def silent_id(s) -> str:
        return s.bridge.ledger.living_machine(OWNER, "silent").engine_id

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("fault", "selection", "says", "advice"),
    [
        ("agent-silent", Selection(), "its agent is silent", "qemu-guest-agent"),
        ("address-none", Selection(), "has no address on the VM's NICs", "DHCP"),
        ("address-link-local", Selection(), "only 169.254.1.7 of eth0 (link-local)", "DHCP"),
        (
            "many-interfaces",
            Selection(cidrs=["192.0.2.0/24"]),
            "172.17.0.1 of docker0 (not on a NIC of the VM)",
            "address selection",
        ),
        ("address-flaps", Selection(), "changes its addresses", "settle time"),
    ],
)
def test_an_address_that_never_comes_is_told_with_the_reason(
    direct_site, run_virtually, fault, selection, says, advice
):
    async def scenario() -> None:
        async with direct_site(address=10) as s:
            s.simulator.world.injections.arm(fault)
            failed = await s.run(
                "CreateMachine", key="web", spec=spec(), start_with=started(), address_selection=selection
            )
            assert failed.state == FAILED
            assert (failed.error["reason"], failed.error["phase"]) == ("NO_ADDRESS", "waiting-for-address")
            assert says in failed.error["message"]
            assert advice in failed.error["advice"]
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_a_crash_while_it_settles_loses_nothing_and_the_selection_stays(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            selection = Selection(nics=["nic2"])
            selection.settle_time.FromSeconds(10)
            calling = await s.call(
                "CreateMachine",
                key="web",
                spec=spec(nics=NICS),
                start_with=started(),
                address_selection=selection,
            )
            async for changed in s.bridge.dispatcher.runner.watch(calling.id):
                if changed.phase == "waiting-for-address":
                    await s.restart()
                    break
            ended = await s.ended(calling)
            assert ended.state == SUCCEEDED, ended.error
            assert await told(s) == [("nic2", "10.11.0.2")]

    run_virtually(scenario())
