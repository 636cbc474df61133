"""Every operation ends by its deadline, whatever hangs in the engine, and never hides the engine's reason."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from ovirt_provision.engine.session import Session
from ovirt_provision.errors import Code, EngineUnreachable
from ovirt_provision.ledger.runner import Run
from ovirt_provision.ledger.store import FAILED, SUCCEEDED, Operation
from ovirt_provision.operations import dispatcher
from ovirt_provision.v1 import images_pb2, resources_pb2, templates_pb2
from tests.harness import OWNER, TEMPLATE, Site, add_export_domain, add_vault, spec, started
from tests.image_files import RAW

# Each seed is five operations of the older verbs; of the newer ones half as many have ten each.
SEEDS = int(os.environ.get("OVIRT_PROVISION_SEEDS", "2"))
SEED = int(os.environ.get("OVIRT_PROVISION_SEED", random.SystemRandom().getrandbits(31)))
MARGIN = 2.0
ON_DATA: dict[str, Any] = {"storage_domain": "data"}
HANGS = (
    "job-hangs",
    "disk-stays-locked",
    "vm-not-responding",
    "agent-silent",
    "address-link-local",
    "address-none",
    "address-flaps",
    "late-effect",
    "unavailable",
    "silence",
)
TIMEOUTS = {
    "create_machine": 60.0,
    "machine_ready": 120.0,
    "start": 90.0,
    "address": 60.0,
    "shutdown": 30.0,
    "power_off": 60.0,
    "create_template": 120.0,
    "create_snapshot": 90.0,
    "remove_snapshot": 90.0,
    "destroy": 90.0,
    "undo": 120.0,
    "job": 60.0,
    "engine_lock": 10.0,
}

NEWER_TIMEOUTS = TIMEOUTS | {
    "disk_ready": 90.0,
    "transfer_ready": 60.0,
    "transfer_image": 120.0,
    "sparsify": 90.0,
    "export_template": 120.0,
    "late_create_grace": 30.0,
}


def deadline(site: Site, operation: Operation) -> float:
    """Seconds that an operation may take: the phases that it entered, and the undo of these."""
    runner = site.bridge.dispatcher.runner
    entered = {phase["name"] for phase in operation.phases}
    phases = [phase for phase in runner._phases_of(operation) if phase.name in entered]
    undone = 0 if operation.state == SUCCEEDED else sum(phase.undo is not None for phase in phases)
    run = runner._make_run(operation)
    return sum(runner._seconds_of(run, phase.timeout) for phase in phases) + undone * TIMEOUTS["undo"]


def late_phases(site: Site, operation: Operation) -> list[str]:
    runner = site.bridge.dispatcher.runner
    run = runner._make_run(operation)
    allowed = {phase.name: runner._seconds_of(run, phase.timeout) for phase in runner._phases_of(operation)}
    return [
        phase["name"]
        for phase in operation.phases
        if phase["end"] is not None and phase["end"] - phase["start"] > allowed[phase["name"]] + MARGIN
    ]


def fall_silent(monkeypatch: pytest.MonkeyPatch, clock: Any, seed: int) -> Callable[[], None]:
    """Has the engine leave a fifth of all requests without an answer until the transport gives up, beginning
    with the call of what is returned."""
    in_thread = Session._in_thread
    asked: Counter[str] = Counter()
    silent = False

    async def send(session: Session, function: Callable[..., Any], *args: Any) -> Any:
        if silent and function.__name__ == "_send":
            asked[args[1]] += 1
            if random.Random(f"{seed} {args[1]} {asked[args[1]]}").random() < 0.2:
                await clock.sleep(60)
                raise EngineUnreachable(url=session.url, detail="Operation timed out")
        return await in_thread(session, function, *args)

    def begin() -> None:
        nonlocal silent
        silent = True

    monkeypatch.setattr(Session, "_in_thread", send)
    return begin


async def make(site: Site, key: str, **fields: Any) -> None:
    made = await site.run("CreateMachine", key=key, **{"spec": spec(), **fields})
    assert made.state == SUCCEEDED, made.error
    row = site.bridge.ledger.living_machine(OWNER, key)
    assert row is not None
    site.bridge.leases.confirm(row)


async def play(site: Site, seed: int, silence: Callable[[], None]) -> tuple[int, list[str]]:
    """How many operations there were, and what was wrong with them."""
    random_ = random.Random(seed)
    for key in ("source", "starts", "restarts", "goes"):
        await make(site, key, **({"start_with": started()} if key == "restarts" else {}))
    hangs = hang(site, random_, seed, HANGS, silence)
    copying = random_.choice(("CloneMachine", "CreateTemplate"))
    calls = (
        site.call("CreateMachine", key="web", spec=spec(), start_with=started()),
        site.call("CloneMachine", key="copy", source_key="source")
        if copying == "CloneMachine"
        else site.call("CreateTemplate", machine_key="source", name="golden"),
        site.call("StartMachine", key="starts"),
        site.call("RestartMachine", key="restarts"),
        site.call("DestroyMachine", key="goes"),
    )
    return await judge(site, calls, hangs)


async def play_newer(site: Site, seed: int, silence: Callable[[], None]) -> tuple[int, list[str]]:
    """The same with the verbs of images, disks and backups, by a generator of their own."""
    random_ = random.Random(f"newer {seed}")
    for disk in site.simulator.world.disks.values():
        disk.size = 1 << 20  # exports move its bytes
    vault = add_vault(site.simulator)
    add_export_domain(site.simulator)
    checksum = await site.upload(RAW)
    raw = resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)
    for key in ("sparse", "exported", "detached"):
        await make(site, key, spec=spec(clone=True, boot_disk=raw))
    base = resources_pb2.TemplateRef(name=TEMPLATE)
    of_base = {"template": base, "storage_domain": "vault"}
    saved = await site.run("CreateBackup", name="saved", **of_base)
    kept = await site.run(
        "ImportImage", checksum=checksum, disk=images_pb2.ImportedDisk(name="old", **ON_DATA)
    )
    assert (saved.state, kept.state) == (SUCCEEDED, SUCCEEDED)
    disk_id = site.bridge.ledger.object(kept.object_id).known_id
    hangs = hang(site, random_, seed, (*HANGS, "hosts-move-nothing"), silence)
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
    imported = images_pb2.ImportedTemplate(name="imported", machine=machine, **ON_DATA)
    ova = templates_pb2.ExportTemplateRequest.Ova(host="host1", directory="/var/tmp")
    shelf = templates_pb2.ExportTemplateRequest.ExportDomain(storage_domain="shelf")
    calls = [
        site.call("ImportImage", checksum=checksum, disk=images_pb2.ImportedDisk(name="new", **ON_DATA)),
        site.call("ImportImage", checksum=checksum, template=imported),
        site.call("ExportImage", machine_key="exported", format=resources_pb2.Image.FORMAT_RAW),
        site.call("SparsifyDisk", machine_key="sparse"),
        site.call("DetachDisk", machine_key="detached", name="detached"),
        site.call("DestroyDisk", id=disk_id),
        site.call(
            "ExportTemplate", template=base, **random_.choice(({"ova": ova}, {"export_domain": shelf}))
        ),
        site.call("CreateBackup", **of_base),
        site.call(
            "RestoreBackup",
            backup=resources_pb2.TemplateRef(name="saved"),
            storage_domain="data",
            name="restored",
        ),
        site.call("MarkBackupDomain", id=vault.id, backup=True),
    ]
    return await judge(site, calls, hangs)


def hang(
    site: Site, random_: random.Random, seed: int, among: Sequence[str], silence: Callable[[], None]
) -> Sequence[str]:
    """Has some things hang from now on, and says which."""
    hangs = random_.sample(among, random_.randint(1, 3))
    for one in hangs:
        if one == "silence":
            silence()
        elif one == "hosts-move-nothing":
            site.hosts.seconds = 1e6
        else:
            site.simulator.world.injections.arm(one, rate=random_.choice((0.2, 1.0)), seed=seed)
    return hangs


async def judge(
    site: Site, calls: Sequence[Coroutine[Any, Any, Operation]], hangs: Sequence[str]
) -> tuple[int, list[str]]:
    # A look-up that fails is an answer of its own; no operation begins.
    accepted = [c for c in await asyncio.gather(*calls, return_exceptions=True) if isinstance(c, Operation)]
    longest = sum(NEWER_TIMEOUTS.values()) * 3
    ends = [asyncio.ensure_future(site.ended(operation)) for operation in accepted]
    limit = asyncio.ensure_future(site.clock.sleep(longest))
    await asyncio.wait({limit, asyncio.ensure_future(asyncio.wait(ends))}, return_when="FIRST_COMPLETED")
    limit.cancel()
    wrong = []
    for operation, end in zip(accepted, ends, strict=True):
        if not end.done():
            end.cancel()
            wrong.append(f"{operation.verb} never ends")
            continue
        ended = end.result()
        took = ended.ended_at - ended.phases[0]["start"] if ended.phases else 0.0
        if took > deadline(site, ended) + MARGIN:
            wrong.append(f"{ended.verb} took {took:.0f} s, not {deadline(site, ended):.0f} s")
        wrong += [f"{ended.verb} is late in {phase}" for phase in late_phases(site, ended)]
    return len(accepted), [f"{what} ({', '.join(hangs)})" for what in wrong]


@pytest.mark.parametrize("number", range(SEEDS))
def test_every_operation_ends_by_its_deadline(site, run_virtually, virtual_clock, monkeypatch, number):
    seed = SEED + number
    silence = fall_silent(monkeypatch, virtual_clock, seed)

    async def scenario() -> None:
        async with site(**TIMEOUTS) as s:
            count, wrong = await play(s, seed, silence)
            print(f"seed: {seed}, operations: {count}, late: {len(wrong)}")
            assert wrong == [], f"OVIRT_PROVISION_SEED={seed} replays it"

    run_virtually(scenario())


@pytest.mark.parametrize("number", range(-(-SEEDS // 2)))
def test_every_operation_of_the_newer_verbs_ends_by_its_deadline(
    direct_site, run_virtually, virtual_clock, monkeypatch, number
):
    seed = SEED + number
    silence = fall_silent(monkeypatch, virtual_clock, seed)

    async def scenario() -> None:
        async with direct_site(**NEWER_TIMEOUTS) as s:
            count, wrong = await play_newer(s, seed, silence)
            print(f"seed: {seed}, operations: {count}, late: {len(wrong)}")
            assert wrong == [], f"OVIRT_PROVISION_SEED={seed} replays it"

    run_virtually(scenario())


def test_without_deadlines_an_operation_never_ends(site, run_virtually, monkeypatch):
    enter = Run.enter

    def endless(run: Run, phase: str, timeout: str, seconds: float, *, cancellable: bool) -> None:
        enter(run, phase, timeout, 1e9, cancellable=cancellable)
        run._seconds = 1e9

    monkeypatch.setattr(Run, "enter", endless)

    async def scenario() -> None:
        async with site(**TIMEOUTS) as s:
            s.simulator.world.injections.arm("agent-silent")
            operation = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            # Boot and address are over after 90 s, and its lease not before 300 s.
            await s.clock.sleep(250)
            assert not s.bridge.ledger.operation_or_fail(operation.id).ended

    run_virtually(scenario())


def test_an_engine_that_never_answers_ends_an_operation_no_later(
    site, run_virtually, virtual_clock, monkeypatch
):
    """A request is under way when the deadline comes."""
    in_thread = Session._in_thread

    async def send(session: Session, function: Callable[..., Any], *args: Any) -> Any:
        if function.__name__ == "_send" and args[1].startswith("start VM"):
            await asyncio.Event().wait()
        return await in_thread(session, function, *args)

    monkeypatch.setattr(Session, "_in_thread", send)

    async def scenario() -> None:
        async with site(start=50) as s:
            await s.run("CreateMachine", key="web", spec=spec())
            begun = s.clock.monotonic()

            ended = await s.run("StartMachine", key="web")

            assert 50 <= s.clock.monotonic() - begun <= 50 + MARGIN
            assert (ended.state, ended.error["code"]) == (FAILED, Code.DEADLINE_EXCEEDED)
            assert "the engine has not answered" in ended.error["message"]

    run_virtually(scenario())


@pytest.mark.parametrize("defence", [True, False], ids=["kept", "off"])
def test_it_is_no_timeout_where_the_engine_logged_why(site, run_virtually, monkeypatch, defence):
    if not defence:

        async def unexplained(_run, error):
            return error

        monkeypatch.setattr(dispatcher, "_explain", unexplained)

    async def scenario() -> None:
        async with site(machine_ready=60) as s:
            s.simulator.world.injections.arm("disk-stays-locked")
            operation = await s.call("CreateMachine", key="web", spec=spec())
            await s.clock.sleep(30)
            s.simulator.world.log(2022, job=None, correlation_id=operation.id)
            s.simulator.world.log(60, job=None, correlation_id="another", vm=s.simulator.world.add_vm("x"))

            ended = await s.ended(operation)

            if defence:
                assert ended.error["code"] == Code.ABORTED
                assert ended.error["engine_text"] == "Add-Disk operation failed to complete."
                assert "timeout" not in ended.error["advice"].lower()
            else:
                assert ended.error["code"] == Code.DEADLINE_EXCEEDED

    run_virtually(scenario())
