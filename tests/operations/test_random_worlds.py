"""Random worlds full of what looks like ours: no verb, reaper or janitor changes anything of others.

`OVIRT_PROVISION_WORLDS=10000` plays so many of each kind, `OVIRT_PROVISION_WORLD=17` those of that seed, `-k
NewerWorld` one kind.
"""

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import structlog

from ovirt_provision.clock import VirtualClock
from ovirt_provision.config import Owner
from ovirt_provision.engine.disks import Disks
from ovirt_provision.engine.model import Vm
from ovirt_provision.errors import ProvisionError
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import Ledger, Object
from ovirt_provision.operations import (
    adopt_machine,
    destroy_template,
    new_machine,
    provisioning,
    removal,
    transfers,
)
from ovirt_provision.simulator import Simulator
from ovirt_provision.v1 import images_pb2, machines_pb2, resources_pb2, templates_pb2
from tests.harness import ENGINE, OWNER, Site, add_export_domain, add_vault, spec, started
from tests.image_files import RAW
from tests.strangers import KEYS, TEMPLATES, Strangers
from tests.wire import URL, Wire

WORLDS = int(os.environ.get("OVIRT_PROVISION_WORLDS", "8"))
ONLY = int(os.environ["OVIRT_PROVISION_WORLD"]) if "OVIRT_PROVISION_WORLD" in os.environ else None
# Without a defence, the harm is to be seen within so many worlds.
_ENOUGH = 200
# In seconds. What is refused or waited for in vain costs the fewest looks at the engine.
_TIMEOUTS = {
    "create_machine": 20,
    "machine_ready": 30,
    "create_template": 30,
    "create_version": 30,
    "create_snapshot": 30,
    "remove_snapshot": 30,
    "start": 30,
    "address": 30,
    "shutdown": 10,
    "power_off": 20,
    "destroy": 40,
    "undo": 60,
    "engine_lock": 5,
    "engine_request": 5,
    "late_create_grace": 10,
    "watch_interval": 3,
    "renew_interval": 20,
    "lease_grace": 60,
}


class World:
    """One engine with strangers on it and a bridge in front of it, made from a seed."""

    _owners: Mapping[str, Any] = {}

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._rng = random.Random(seed)
        self._disks_rng = random.Random(f"disks {seed}")
        self._images = random.Random(f"images {seed}")
        self._monkeypatch = monkeypatch
        self._folder = folder
        self.clock = VirtualClock()
        self.violations: list[str] = []
        self.deeds: list[str] = []
        self.changes = 0

    def _people(self) -> Strangers:
        return Strangers(self._site, self._rng)

    async def play(self) -> None:
        simulator = Simulator(clock=self.clock, profile="fast", state_dir=self._folder / "simulator")
        wire = Wire(simulator, self._monkeypatch)
        state = self._folder / "state"
        state.mkdir(mode=0o700)
        profile = {"url": URL, "insecure": True}
        self._site = Site(simulator, state, self.clock, profile=profile, owners=self._owners, **_TIMEOUTS)
        self._strangers = self._people()
        wire.observe = self._strangers.judge
        self._site.bridge.start()
        try:
            await self._live()
        finally:
            await self._site.bridge.close()
        self._strangers.look()
        self.violations = self._strangers.violations
        self.deeds = self._strangers.deeds
        self.changes = len(wire.changes)

    async def _live(self) -> None:
        for key in self._rng.sample(KEYS, self._rng.randint(1, 2)):
            await self._call("CreateMachine", key=key, spec=spec())
            row = self._site.bridge.ledger.living_machine(OWNER, key)
            if row is not None and self._rng.random() < 0.5:
                self._site.bridge.leases.confirm(row)
        if self._rng.random() < 0.4:
            await self._random_verb("CreateTemplate")
        for _ in range(self._rng.randint(2, 5)):
            self._strangers.act()
        for _ in range(self._rng.randint(2, 4)):
            verb = asyncio.ensure_future(self._random_verb())
            if self._rng.random() < 0.5:
                await self.clock.sleep(self._rng.uniform(0, 4))
                self._strangers.act()
            await verb
        if self._rng.random() < 0.2:
            await self._site.restart()
        await self._site.census()
        for template in list(self._site.simulator.world.templates):
            await self._call("DestroyTemplate", id=template)
        for disk in list(self._site.simulator.world.disks):
            if self._images.random() < 0.2:
                await self._call("DestroyDisk", id=disk)
        for key in (*KEYS, *(f"{key}-copy" for key in KEYS)):
            if self._rng.random() < 0.7:  # the others go with their leases, or stay
                await self._call("DestroyMachine", key=key)
        await self.clock.sleep(200)  # the janitor goes on with what was left

    async def _random_verb(self, verb: str = "") -> None:
        key = self._rng.choice(KEYS)
        start = {"start_with": started()} if self._rng.random() < 0.2 else {}
        wanted = spec(clone=self._rng.random() < 0.3)
        # By a generator of its own, so that the seeds from before there were disks stay what they are.
        for _ in range(self._disks_rng.choice((0, 0, 1, 2))):
            wanted.new_disks.add(size_bytes=1 << 30)
        calls: dict[str, dict[str, object]] = {
            "CreateMachine": {"key": key, "spec": wanted, **start},
            "CloneMachine": {"source_key": key, "key": f"{key}-copy", **start},
            "StartMachine": {"key": key},
            "StopMachine": {"key": key, "force": self._rng.random() < 0.5},
            "RestartMachine": {"key": key, "force": self._rng.random() < 0.5},
            "CreateTemplate": {
                "machine_key": key,
                "name": self._rng.choice(TEMPLATES),
                **({"new_version": True} if self._rng.random() < 0.3 else {}),
            },
            "DestroyMachine": {"key": key},
        }
        verb = verb or self._rng.choice(list(calls))
        if verb == "DestroyMachine" and self._images.random() < 0.3:
            await self._call("DetachDisk", machine_key=key, name="kept")
        else:
            await self._call(verb, **self._more(verb, calls[verb]))

    def _more(self, verb: str, fields: dict[str, object]) -> dict[str, object]:
        """The fields, and what else is asked of a template. That is drawn by itself, so that old seeds go on
        meaning what they did."""
        if verb != "CreateTemplate":
            return fields
        more = dict(fields)
        if self._images.random() < 0.5:
            more |= {"keep_versions": 1} if "new_version" in fields else {"replace": True}
        if self._images.random() < 0.2:
            more["boot_test"] = templates_pb2.BootTest(address_only=True)
        return more

    async def _call(self, verb: str, **fields: object) -> None:
        """Runs a verb, which the world may well make fail."""
        fields["request_id"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        with contextlib.suppress(ProvisionError):
            operation = await self._site.call(verb, **fields)
            if self._rng.random() < 0.15:
                await self.clock.sleep(self._rng.uniform(0, 5))
                self._site.bridge.dispatcher.cancel(operation, "by its client")
            await self._site.ended(operation)


class NewerWorld(World):
    """One in which the verbs that came later are called, and what was called is taken up after a restart.

    All of it is drawn by a generator of its own: the other worlds stay what they are.
    """

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        super().__init__(seed, monkeypatch, folder)
        self._rng = random.Random(f"newer {seed}")
        self._is_admin = self._rng.random() < 0.7
        self._owners = {OWNER: {"role": "admin"} if self._is_admin else {"adopt": ["theirs-*"]}}
        self._image = ""

    def _people(self) -> Strangers:
        add_export_domain(self._site.simulator)
        add_vault(self._site.simulator, backup=self._rng.random() < 0.8)
        for disk in self._site.simulator.world.disks.values():
            disk.size = 1 << 20  # exports move its bytes
        return Strangers(self._site, self._rng, newer=True)

    async def _live(self) -> None:
        if self._rng.random() < 0.5:
            self._image = await self._site.upload(RAW)
        for key in self._rng.sample(KEYS, self._rng.randint(1, 2)):
            await self._call("CreateMachine", key=key, spec=self._spec())
            row = self._site.bridge.ledger.living_machine(OWNER, key)
            if row is not None and self._rng.random() < 0.5:
                self._site.bridge.leases.confirm(row)
        for _ in range(self._rng.randint(2, 4)):
            self._strangers.act()
        if self._rng.random() < 0.7:
            await self._adopt()
        for _ in range(self._rng.randint(2, 4)):
            await self._any_verb()
        for collection, verb in (("templates", "DestroyTemplate"), ("disks", "DestroyDisk")):
            for id in list(getattr(self._site.simulator.world, collection)):
                if self._rng.random() < 0.3:
                    await self._call(verb, id=id)
        for key in KEYS:
            if self._rng.random() < 0.7:
                await self._call("DestroyMachine", key=key)
        await self.clock.sleep(200)

    async def _any_verb(self) -> None:
        if self._rng.random() < 0.15:
            await self._adopt()
            return
        draw, world = self._rng.choice, self._site.simulator.world
        key, force = draw(KEYS), self._rng.random() < 0.5
        template = resources_pb2.TemplateRef(
            name=draw(["debian-12", *(t.name for t in world.templates.values())])
        )
        a_disk = {"id": draw(list(world.disks)) if world.disks else str(uuid.UUID(int=1))}
        of_machine = {"machine_key": key}
        domain = draw(list(world.domains.values()))
        calls: list[tuple[str, dict[str, Any]]] = [
            ("CreateMachine", {"key": key, "spec": self._spec()}),
            ("CreateMachine", {"key": key, "spec": self._spec()}),
            ("StartMachine", {"key": key}),
            ("StopMachine", {"key": key, "force": force}),
            ("RestartMachine", {"key": key, "force": force}),
            ("CreateTemplate", of_machine | {"name": draw(TEMPLATES)}),
            ("DetachDisk", of_machine | {"name": "kept"}),
            ("SparsifyDisk", draw([of_machine, a_disk])),
            ("ExportTemplate", {"template": template, **self._target(force)}),
            (
                "ExportImage",
                draw([{"template": template}, of_machine]) | {"format": resources_pb2.Image.FORMAT_RAW},
            ),
            ("MarkBackupDomain", {"id": domain.id, "backup": force}),
            (
                "CreateBackup",
                draw([{"template": template}, of_machine])
                | {"storage_domain": "vault", "name": draw(["saved", "golden", ""])},
            ),
            (
                "RestoreBackup",
                {"backup": template, "storage_domain": "data", "name": draw(["restored", "golden"])},
            ),
            ("DestroyMachine", {"key": key}),
        ]
        if self._image:
            calls += [("ImportImage", self._imported())] * 4
        verb, fields = draw(calls)
        if verb == "MarkBackupDomain" and self._is_admin:
            self._strangers.lend(f"/storagedomains/{domain.id}")
        await self._call(verb, **fields)

    def _spec(self) -> resources_pb2.MachineSpec:
        wanted = spec()
        if self._rng.random() < 0.5:
            wanted = spec(clone=True, boot_disk=resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW))
        if self._rng.random() < 0.3:
            wanted.new_disks.add(size_bytes=1 << 30)
        attached = {a.disk.id for vm in self._site.simulator.world.vms.values() for a in vm.attachments}
        free = [
            disk.id
            for disk in self._site.simulator.world.disks.values()
            if disk.id not in attached and disk.name == "precious"
        ]
        if free and self._rng.random() < 0.7:
            wanted.attached_disks.add(id=self._rng.choice(free))
            self._strangers.lend(f"/disks/{wanted.attached_disks[0].id}")
        return wanted

    def _target(self, replace: bool) -> dict[str, object]:
        if self._rng.random() < 0.5:
            return {"ova": templates_pb2.ExportTemplateRequest.Ova(host="host1", directory="/var/tmp")}
        target = templates_pb2.ExportTemplateRequest.ExportDomain(storage_domain="shelf", replace=replace)
        return {"export_domain": target}

    def _imported(self) -> dict[str, object]:
        name = self._rng.choice(["kept", "precious"])
        if self._rng.random() < 0.6:
            disk = images_pb2.ImportedDisk(name=name, storage_domain="data")
            return {"checksum": self._image, "disk": disk}
        machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
        template = images_pb2.ImportedTemplate(
            name=self._rng.choice(TEMPLATES),
            machine=machine,
            storage_domain="data",
            replace=self._rng.random() < 0.3,
        )
        return {"checksum": self._image, "template": template}

    async def _adopt(self) -> None:
        """Adopts one of all VMs, if it can be."""
        vms = list(self._site.simulator.world.vms.values())
        if not vms:
            return
        vm, key = self._rng.choice(vms), self._rng.choice(KEYS)
        if self._strangers.may_be_adopted(vm.id) and (self._is_admin or vm.name.startswith("theirs-")):
            self._strangers.lend(f"/vms/{vm.id}")
        request = machines_pb2.AdoptMachineRequest(key=key, vm_id=vm.id)
        with contextlib.suppress(ProvisionError):
            await adopt_machine.adopt_machine(self._site.bridge.dispatcher.make_call(OWNER, ENGINE, request))
            for verb in self._rng.sample(("StartMachine", "StopMachine", "RestartMachine"), 2):
                await self._call(verb, key=key)

    async def _call(self, verb: str, **fields: object) -> None:
        """Runs a verb, among people who go on meanwhile; its client may cancel it, and its daemon end."""
        fields["request_id"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        self._strangers.request_id = str(fields["request_id"])
        if self._rng.random() < 0.3:
            self._strangers.act()
        if verb == "ImportImage" and self._rng.random() < 0.25:
            self._strangers.act(Strangers.take_next_disk_id)
        with contextlib.suppress(ProvisionError):
            operation = await self._site.call(verb, **fields)
            if self._rng.random() < 0.3:
                await self.clock.sleep(self._rng.uniform(0, 5))
                if self._rng.random() < 0.3:
                    await self._site.bridge.close()
                    self._strangers.act()
                    await self._site.restart()
                elif self._rng.random() < 0.5:
                    self._site.bridge.dispatcher.cancel(operation, "by its client")
                self._strangers.act()
            await self._site.ended(operation)


class Play(Protocol):
    def __call__(self, seed: int, kind: type[World] = World) -> World: ...


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Plays the world of a seed, by default one of the older verbs."""
    # In memory, where the file system has such a place: a commit to disk takes longer than all the rest.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="worlds-", dir=memory))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))

    def run(seed: int, kind: type[World] = World) -> World:
        with monkeypatch.context() as patch, tempfile.TemporaryDirectory(dir=folder) as own:
            world = kind(seed, patch, Path(own))
            with asyncio.Runner(loop_factory=world.clock.new_event_loop) as runner:
                runner.run(world.play())
        return world

    try:
        yield run
    finally:
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Ten thousand worlds log a gigabyte."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("kind", [World, NewerWorld])
@pytest.mark.parametrize("half", [0, 1])
def test_nothing_of_others_is_ever_changed(play: Play, half: int, kind: type[World]) -> None:
    deeds = changes = 0
    seeds = [ONLY] if ONLY is not None else range(half, WORLDS, 2)
    for seed in seeds:
        world = play(seed, kind)
        told = (
            f"OVIRT_PROVISION_WORLD={seed} {kind.__name__} ({', '.join(world.deeds)}): {world.violations[:1]}"
        )
        assert not world.violations, told
        deeds += len(world.deeds)
        changes += world.changes
    print(
        f"worlds: {len(seeds)}, deeds of strangers: {deeds}, changes by the bridge: {changes}, of others': 0"
    )
    assert changes > len(seeds) or ONLY is not None


def by_installation(mark: Mark, _object_id: str, installation: str) -> bool:
    return mark.kind == "vm" and mark.installation == installation


def by_name(ledger: Ledger, _installation: str, engine: str, vm: Vm) -> bool:
    row = ledger.object_in_engine(engine, "vm", vm.id)
    return row is not None and row.name == vm.name


async def never(*_: object, **__: object) -> bool:
    return False


def never_so(*_: object) -> bool:
    return False


def everything(*_: object) -> bool:
    return True


def nothing(*_: object, **__: object) -> None:
    return


class Anything(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


DEFENCES: Mapping[str, Sequence[tuple[Any, str, Any]]] = {
    "the mark is not held against the id": [(Mark, "is_of_vm", by_installation)],
    "the name is looked at instead of the mark": [
        (module, "is_ours", by_name) for module in (provisioning, new_machine)
    ],
    "every disk of our VM is taken for ours": [(removal, "_foreign_disks", lambda _vm, _owned: [])],
    "a template is removed from under a version of others": [
        (module, "insist_on_own_versions", never) for module in (destroy_template, removal)
    ],
    "a disk is removed from whatever VM has it": [(Disks, "is_attached", never)],
}
NEWER_DEFENCES: Mapping[str, Sequence[tuple[Any, str, Any]]] = {
    "who is no admin marks storage domains": [(Owner, "is_admin", property(everything))],
    "a VM of any name is adopted": [(Owner, "may_adopt", everything)],
    "a Machine of another installation is adopted": [(adopt_machine, "_insist_on_nobodys", nothing)],
    "an adopted VM is taken for one of ours": [
        (Object, "adopted", property(never_so)),
        (provisioning.Provisioning, "insist_on_ours", nothing),
    ],
    "the disk that our VM boots from is taken for its own": [(Ledger, "disk_ids", lambda *_: Anything())],
    "a transfer of others is taken for ours": [
        (transfers, "one_of", lambda row, transfer: transfer.direction == row.details["direction"])
    ],
    "a disk with our id is taken for ours": [(removal, "_is_of_others", never_so)],
}


# Where the search for harm begins, so that it is short.
HARMED = {
    (World, "the mark is not held against the id"): 58,
    (World, "a template is removed from under a version of others"): 98,
    (World, "a disk is removed from whatever VM has it"): 17,
    (NewerWorld, "who is no admin marks storage domains"): 7,
    (NewerWorld, "a VM of any name is adopted"): 7,
    (NewerWorld, "a Machine of another installation is adopted"): 22,
    (NewerWorld, "an adopted VM is taken for one of ours"): 1,
    (NewerWorld, "the disk that our VM boots from is taken for its own"): 4,
    (NewerWorld, "a transfer of others is taken for ours"): 62,
    (NewerWorld, "a disk with our id is taken for ours"): 98,
}


@pytest.mark.parametrize(
    ("kind", "defence"),
    [*((World, name) for name in DEFENCES), *((NewerWorld, name) for name in NEWER_DEFENCES)],
)
def test_without_a_defence_the_harm_is_seen(
    play: Play, monkeypatch: pytest.MonkeyPatch, kind: type[World], defence: str
) -> None:
    """The defences switched off, one by one: the test above can fail."""
    for owner, name, weaker in (DEFENCES if kind is World else NEWER_DEFENCES)[defence]:
        monkeypatch.setattr(owner, name, weaker)
    first = HARMED.get((kind, defence), 0)
    for seed in range(first, first + _ENOUGH):
        world = play(seed, kind)
        if world.violations:
            print(f"{defence}: OVIRT_PROVISION_WORLD={seed} {kind.__name__}: {world.violations[0][:150]}")
            return
    raise AssertionError(f"{_ENOUGH} worlds, and no harm is seen")
