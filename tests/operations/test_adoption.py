"""VMs that somebody else made: started and stopped by a key, and nothing else, whatever is asked."""

import asyncio
import contextlib
import os
import random
import uuid
from typing import Any

import pytest

from ovirt_provision.errors import (
    AdoptionNotAllowed,
    KeyInUse,
    MachineAdopted,
    MachineBusy,
    ProvisionError,
    ReferencesNotFound,
    TooManyMachines,
    VmNotAdoptable,
)
from ovirt_provision.ledger.identity import Mark, vm_id
from ovirt_provision.ledger.store import GONE, SUCCEEDED, Object
from ovirt_provision.operations import destroy_machine
from ovirt_provision.operations.adopt_machine import adopt_machine
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.v1 import machines_pb2
from tests.crashes import AFTER_COMMIT, Crashes
from tests.harness import ENGINE, INSTALLATION, OWNER, Site, spec, started


def foreign_vm(site: Site, name: str = "theirs", comment: str = "", id: str = "") -> str:
    """A VM with a guest that somebody makes past the bridge; returns its id once it stands."""
    made = site.simulator.call(
        "POST",
        "/vms",
        f'<vm id="{id or uuid.uuid4()}"><name>{name}</name><comment>{comment}</comment>'
        "<cluster><name>Default</name></cluster><template><name>debian-12</name></template></vm>",
    ).element
    assert made is not None
    return str(made.get("id"))


async def theirs(site: Site, **how: str) -> str:
    made = foreign_vm(site, **how)
    await site.clock.sleep(120)
    return made


async def adopt(site: Site, vm: str, key: str = "web", owner: str = OWNER) -> Object:
    request = machines_pb2.AdoptMachineRequest(key=key, vm_id=vm)
    row, _ = await adopt_machine(site.bridge.dispatcher.make_call(owner, ENGINE, request))
    return row


def as_it_is(site: Site, vm: str) -> Any:
    """All that the engine tells of a VM and that only somebody who changes it would change."""

    def read(path: str) -> Any:
        found = site.simulator.call("GET", f"/vms/{vm}{path}").element
        assert found is not None
        return found

    own = {child.tag: child.text for child in read("") if child.tag in ("name", "comment", "memory")}
    parts = ("diskattachments", "nics", "snapshots", "tags")
    return own | {part: sorted(one.get("id") for one in read(f"/{part}")) for part in parts}


def test_an_adopted_vm_is_started_stopped_and_restarted_and_only_forgotten(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            vm = await theirs(s)
            before = as_it_is(s, vm)
            asked = len(s.simulator.requests)

            row = await adopt(s, vm)

            assert {r.method for r in s.simulator.requests[asked:] if r.in_api} == {"GET"}
            assert (row.engine_id, row.name, row.details["cluster"]) == (vm, "theirs", "Default")
            assert ("adopted", "vm", "theirs") in await s.census()
            for verb, status in (
                ("StartMachine", "up"),
                ("StartMachine", "up"),
                ("RestartMachine", "up"),
                ("StopMachine", "down"),
                ("StopMachine", "down"),
            ):
                ended = await s.run(verb, key="web")
                assert ended.state == SUCCEEDED, (verb, ended.error)
                assert s.simulator.world.vms[vm].status == status
                assert bool(s.bridge.ledger.object(row.id).details["addresses"]) == (status == "up")
            await s.run("StartMachine", key="web")

            destroyed = await s.run("DestroyMachine", key="web")

            assert (destroyed.state, s.bridge.ledger.object(row.id).state) == (SUCCEEDED, GONE)
            assert s.simulator.world.vms[vm].status == "up"
            assert as_it_is(s, vm) == before
            assert await s.census() == []
            assert (await adopt(s, vm)).generation == 2

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("CloneMachine", {"source_key": "web", "key": "copy"}),
        ("CreateTemplate", {"machine_key": "web", "name": "golden"}),
        ("DetachDisk", {"machine_key": "web", "name": "golden"}),
        ("StartMachine", {"key": "web", "initialization": started()}),
    ],
)
def test_every_other_verb_is_refused_before_it_asks_the_engine(site, run_virtually, verb, fields):
    async def scenario() -> None:
        async with site() as s:
            vm = await theirs(s)
            await adopt(s, vm)
            before, asked = as_it_is(s, vm), len(s.simulator.requests)

            with pytest.raises(MachineAdopted):
                await s.run(verb, **fields)

            assert len(s.simulator.requests) == asked
            assert as_it_is(s, vm) == before

    run_virtually(scenario())


def test_a_create_of_the_key_is_refused(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await adopt(s, await theirs(s))

            with pytest.raises(KeyInUse):
                await s.run("CreateMachine", key="web", spec=spec())

    run_virtually(scenario())


def test_a_lease_that_ends_forgets_the_vm(site, run_virtually):
    async def scenario() -> None:
        async with site(lease_grace=60) as s:
            vm = await theirs(s)
            row = await adopt(s, vm)
            await s.run("StartMachine", key="web")

            await s.clock.sleep(120)

            assert s.bridge.ledger.object(row.id).state == GONE
            assert s.simulator.world.vms[vm].status == "up"

    run_virtually(scenario())


@pytest.mark.parametrize("defence", ["on", "off"])
def test_what_the_janitor_takes_for_ours_it_still_does_not_touch(site, run_virtually, monkeypatch, defence):
    """The row of an adopted VM that was damaged, or that some verb to come destroys like any other."""

    async def scenario() -> bool:
        async with site() as s:
            vm = await theirs(s)
            row = await adopt(s, vm)
            s.bridge.ledger.update_object(row.id, details={})
            await s.run("DestroyMachine", key="web")
            await s.clock.sleep(1200)
            return vm in s.simulator.world.vms

    if defence == "off":
        monkeypatch.setattr(Provisioning, "insist_on_ours", lambda *_: None)
    assert run_virtually(scenario()) == (defence == "on")


def test_adopting_again_is_the_same_machine_and_another_is_refused(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            vm, other = await theirs(s), await theirs(s, name="others")
            first = await adopt(s, vm)

            assert (await adopt(s, vm)).id == first.id
            for vm_id_given, key, told in ((other, "web", "vm_id"), (vm, "again", "under the key 'web'")):
                with pytest.raises((KeyInUse, VmNotAdoptable), match=told):
                    await adopt(s, vm_id_given, key)
            with pytest.raises(VmNotAdoptable) as refused:
                await adopt(s, vm, "web", "uid:2000")
            assert "web" not in str(refused.value)

    run_virtually(
        scenario(),
    )


def test_adopting_again_is_refused_only_while_the_machine_is_being_forgotten(
    direct_site, run_virtually, monkeypatch
):
    """A client that begins anew does not know that its start is still under way."""
    forget = destroy_machine.remove_machine

    async def scenario() -> None:
        async with direct_site() as s:

            async def slowly(*how: Any) -> None:
                await s.clock.sleep(60)
                await forget(*how)

            monkeypatch.setattr(destroy_machine, "remove_machine", slowly)
            vm = await theirs(s)
            row = await adopt(s, vm)
            starting = await s.call("StartMachine", key="web")

            assert (await adopt(s, vm)).id == row.id

            assert (await s.ended(starting)).state == SUCCEEDED
            destroying = await s.call("DestroyMachine", key="web")
            with pytest.raises(MachineBusy, match=destroying.id):
                await adopt(s, vm)
            await s.ended(destroying)
            assert (await adopt(s, vm)).generation == 2

    run_virtually(scenario())


def test_a_machine_of_anybody_is_not_adopted(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            await s.run("CreateMachine", key="db", spec=spec())
            ours = s.bridge.ledger.living_machine(OWNER, "db").known_id
            elsewhere = str(uuid.uuid4())
            its_id = vm_id(elsewhere, "somebody", "key", 1)
            await theirs(
                s, id=its_id, comment=str(Mark("vm", elsewhere, "somebody", "key", 1, str(uuid.uuid4())))
            )
            leaked = vm_id(str(INSTALLATION), OWNER, "lost", 1)
            await theirs(
                s,
                name="lost",
                id=leaked,
                comment=str(Mark("vm", str(INSTALLATION), OWNER, "lost", 1, str(uuid.uuid4()))),
            )
            for vm, why in (
                (ours, "a Machine already"),
                (its_id, "another installation"),
                (leaked, "made by this"),
            ):
                with pytest.raises(VmNotAdoptable, match=why):
                    await adopt(s, vm)
            with pytest.raises(ReferencesNotFound, match="no VM with the id"):
                await adopt(s, str(uuid.uuid4()))
            # A mark that was copied, or inherited from a template, makes a VM nobody's Machine.
            mark = s.simulator.world.vms[ours].comment
            copied = await adopt(s, await theirs(s, name="copy", comment=mark))
            assert ("adopted", "vm", "copy") in await s.census()
            await s.run("DestroyMachine", key="web")
            assert copied.engine_id in s.simulator.world.vms

    run_virtually(scenario())


def test_who_may_adopt_is_in_the_configuration(site, run_virtually):
    async def scenario() -> None:
        owners: dict[str, Any] = {
            "user": {},
            "limited": {"adopt": ["shared-*"], "max_machines": 1},
            "admin": {"role": "admin"},
            "admin-of-none": {"role": "admin", "adopt": []},
        }
        async with site(owners=owners) as s:
            shared, private = await theirs(s, name="shared-1"), await theirs(s, name="private")
            asked = len(s.simulator.requests)
            for owner in ("user", "admin-of-none"):
                with pytest.raises(AdoptionNotAllowed, match="called nothing"):
                    await adopt(s, shared, owner=owner)
            assert len(s.simulator.requests) == asked, "who may adopt nothing learns nothing"
            with pytest.raises(AdoptionNotAllowed, match=r"called shared-\*") as refused:
                await adopt(s, private, owner="limited")
            assert "private" not in str(refused.value)
            await adopt(s, shared, owner="limited")
            with pytest.raises(TooManyMachines):
                await adopt(s, await theirs(s, name="shared-2"), "two", owner="limited")
            await adopt(s, private, owner="admin")

    run_virtually(scenario())


def test_of_many_who_adopt_a_vm_at_once_one_gets_it(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            vm = await theirs(s)

            got = await asyncio.gather(*(adopt(s, vm, f"key-{n}") for n in range(5)), return_exceptions=True)

            assert sorted(type(one).__name__ for one in got) == ["Object", *["VmNotAdoptable"] * 4]

    run_virtually(scenario())


SEED = int(os.environ.get("OVIRT_PROVISION_SEED", random.SystemRandom().getrandbits(31)))
RUNS = int(os.environ.get("OVIRT_PROVISION_ADOPTIONS", "1"))


def anything(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A call about the adopted VM, of a verb that may do what it says or of one that may not."""
    return rng.choice(
        [
            ("StartMachine", {"key": "web"}),
            ("StopMachine", {"key": "web", "force": rng.random() < 0.5}),
            ("RestartMachine", {"key": "web", "force": rng.random() < 0.5}),
            ("DestroyMachine", {"key": "web"}),
            ("CloneMachine", {"source_key": "web", "key": "copy"}),
            ("CreateTemplate", {"machine_key": "web", "name": "golden"}),
            ("CreateMachine", {"key": "web", "spec": spec()}),
        ]
    )


@pytest.mark.parametrize("run", range(RUNS))
def test_whatever_is_asked_and_whoever_dies_the_vm_is_as_it_was(
    direct_site, run_virtually, monkeypatch, run, virtual_clock
):
    """OVIRT_PROVISION_SEED replays one, OVIRT_PROVISION_ADOPTIONS=n plays so many."""
    rng = random.Random(f"adoption {SEED + run}")
    print(f"OVIRT_PROVISION_SEED={SEED + run}")

    async def scenario() -> set[str]:
        async with direct_site(lease_grace=120, late_create_grace=30) as s:
            vm = await theirs(s)
            before, crashes, asked = as_it_is(s, vm), Crashes(s, monkeypatch), set()
            crashes.arm_all([(AFTER_COMMIT, rng.randint(1, 12)) for _ in range(4)])
            for _ in range(10):
                with contextlib.suppress(ProvisionError):
                    await crashes.survive(lambda: adopt(s, vm))
                verb, fields = anything(rng)
                request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
                with contextlib.suppress(ProvisionError):
                    begun = await crashes.survive(
                        lambda v=verb, f=fields, r=request_id: s.call(v, request_id=r, **f)
                    )
                    asked.add(verb)
                    if rng.random() < 0.7:
                        await crashes.survive(lambda b=begun: s.ended(b))
                await virtual_clock.sleep(rng.choice((0, 3, 200)))
                assert as_it_is(s, vm) == before
            crashes.arm_all(())
            # Long enough for leases to end, and for what janitors and late arrivals may do.
            await crashes.survive(lambda: virtual_clock.sleep(1200))
            assert as_it_is(s, vm) == before
            assert not s.bridge.ledger.unended_operations()
            living = s.bridge.ledger.living_machine(OWNER, "web")
            assert living is None or not living.adopted, "its lease has ended"
            return asked

    run_virtually(scenario())
