"""What happens in one run of a campaign: all of it is drawn from the seed."""

import hashlib
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message

from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.v1 import images_pb2, resources_pb2, templates_pb2
from tests.crashes import (
    AFTER_COMMIT,
    AFTER_READING,
    BEFORE_CHANGE,
    BEFORE_COMMIT,
    BEFORE_READING,
    LATE_CHANGE,
    LATER_CHANGE,
    LOST_REPLY,
)
from tests.harness import TEMPLATE, spec, started
from tests.image_files import RAW

# Clients share them, and so get into each other's way.
KEYS = ("web", "db", "build")
TEMPLATES = ("golden", "silver")
# Of the image that is imported.
CHECKSUM = f"sha256:{hashlib.sha256(RAW).hexdigest()}"

# How often each moment of a kill is drawn, and how far its number goes.
_KILLS = {
    BEFORE_COMMIT: (1, 24),
    AFTER_COMMIT: (4, 24),
    BEFORE_CHANGE: (1, 6),
    LOST_REPLY: (4, 6),
    LATE_CHANGE: (2, 6),
    LATER_CHANGE: (2, 6),
    BEFORE_READING: (1, 60),
    AFTER_READING: (1, 60),
}
# Faults and the requests at which a client cannot tell what became of them. What comes late is a create or a
# removal: a start or stop that comes minutes late may rightly bring a Machine down under its owner.
_ANY_CHANGE = {"method": "POST|PUT|DELETE"}
_CREATES = {"method": "POST", "path": "/(vms|templates|vms/[^/]+/snapshots)"}
_TEMPLATES = {"method": "POST", "path": "/templates"}
_REMOVALS = {"method": "DELETE", "path": "/(vms|templates)/.*"}
_FAULTS: Sequence[tuple[str, dict[str, str]]] = (
    ("drop-reply", _ANY_CHANGE),
    ("drop-reply", _CREATES),
    ("reset", _ANY_CHANGE),
    ("unavailable", _ANY_CHANGE),
    ("session-revoked", {}),
    ("drop-reply", _TEMPLATES),
    ("late-effect", _CREATES),
    ("late-effect", _CREATES),
    ("late-effect", _TEMPLATES),
    ("late-effect", _REMOVALS),
)


@dataclass(frozen=True)
class Step:
    """One call of a client, or with the verb `attach` what somebody else does: put a disk on a Machine's VM.
    The `id` of a DestroyTemplate is a name: one is destroyed that was made under it.

    Seconds: `pause` before it, `cancel_after` from its acceptance (None: not cancelled). A client that does
    not `wait` goes on while the operation runs; one that `repeat`s sends the call twice.
    """

    verb: str
    fields: dict[str, Any]
    request_id: str
    pause: float
    cancel_after: float | None = None
    wait: bool = True
    repeat: bool = False
    confirm: bool = False

    def request(self, **more: Any) -> Message:
        return VERBS[self.verb].request_type(request_id=self.request_id, **{**self.fields, **more})

    def __str__(self) -> str:
        fields = ", ".join(str(value).replace("\n", " ") for value in self.fields.values())
        marks = [f"cancel after {self.cancel_after:.1f} s"] if self.cancel_after is not None else []
        marks += [name for name in ("repeat", "confirm") if getattr(self, name)]
        marks += [] if self.wait else ["do not wait"]
        return f"{self.verb}({fields})" + (f" [{', '.join(marks)}]" if marks else "")


@dataclass(frozen=True)
class Schedule:
    """A run: what each client does, the faults of the engine, and the boundaries at which daemons die.

    `kills` are (moment, number) as `tests.crashes` counts them, one for each daemon in turn; `delays` are the
    numbers of the changing requests whose replies come only after our time-out.
    """

    seed: int
    clients: Sequence[Sequence[Step]]
    faults: Sequence[dict[str, Any]]
    kills: Sequence[tuple[str, int]]
    delays: frozenset[int] = field(default_factory=frozenset)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}"]
        lines += [
            f"  client {number}: {', '.join(map(str, steps))}"
            for number, steps in enumerate(self.clients, start=1)
        ]
        lines += ["  fault: " + " ".join(f"{k}={v}" for k, v in fault.items()) for fault in self.faults]
        lines += [f"  kill: {moment} {number}" for moment, number in self.kills]
        lines += [f"  replies too late: {', '.join(map(str, sorted(self.delays)))}"] if self.delays else []
        return "\n".join(lines)


def draw(seed: int, *, pace: float = 1.0) -> Schedule:
    """The schedule of a seed. `pace` is how long a second of it lasts, in seconds of the run's clock."""
    rng = random.Random(f"crash {seed}")
    clients = [
        [_step(rng, pace) for _ in range(rng.randint(2, 4))] for _ in range(rng.choice((1, 1, 2, 2, 3)))
    ]
    clients[0] = [*_beginning(rng), *clients[0]]
    trouble = _trouble(rng, pace, _KILLS)
    images = random.Random(f"images {seed}")
    clients = [[_with_more(images, step) for step in steps] for steps in clients]
    return Schedule(seed, clients, *trouble)


def draw_images(seed: int) -> Schedule:
    """Another schedule of a seed: of imports, exports, backups and what sparsifies, for runs in virtual
    time."""
    rng = random.Random(f"crash of images {seed}")
    raw = resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)
    own = {"key": "web", "spec": spec(clone=True, boot_disk=raw)}
    steps = [Step("CreateMachine", own, _id(rng), pause=0.0, confirm=True)]
    steps += [_step_of_images(rng, number) for number in range(rng.randint(2, 4))]
    clients = [steps, [_step_of_images(rng, 10)]][: rng.choice((1, 1, 2))]
    # These verbs have more phases, and so more moments.
    kills = {moment: (weight, 2 * most) for moment, (weight, most) in _KILLS.items()}
    return Schedule(seed, clients, *_trouble(rng, 1.0, kills))


def _step_of_images(rng: random.Random, number: int) -> Step:
    base = resources_pb2.TemplateRef(name=TEMPLATE)
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
    image = {"checksum": CHECKSUM}
    of_machine = {"machine_key": "web"}
    to_host = templates_pb2.ExportTemplateRequest.Ova(host="host1", directory="/var/tmp")
    to_shelf = templates_pb2.ExportTemplateRequest.ExportDomain(storage_domain="shelf", replace=True)
    verb, fields = rng.choice(
        (
            ("ImportImage", image | {"disk": images_pb2.ImportedDisk(name="kept", storage_domain="data")}),
            (
                "ImportImage",
                image
                | {
                    "template": images_pb2.ImportedTemplate(
                        name=f"imported-{number}", machine=machine, storage_domain="data"
                    )
                },
            ),
            ("ExportImage", of_machine | {"format": resources_pb2.Image.FORMAT_RAW}),
            ("SparsifyDisk", of_machine),
            ("ExportTemplate", {"template": base, "ova": to_host}),
            ("ExportTemplate", {"template": base, "export_domain": to_shelf}),
            ("CreateBackup", rng.choice((of_machine, {"template": base})) | {"storage_domain": "vault"}),
            (
                "RestoreBackup",
                {
                    "backup": resources_pb2.TemplateRef(name="saved"),
                    "storage_domain": "data",
                    "name": f"restored-{number}",
                },
            ),
            ("DetachDisk", of_machine | {"name": "kept"}),
        )
    )
    return Step(
        verb,
        fields,
        _id(rng),
        pause=round(rng.choice((0, rng.uniform(0, 20))), 3),
        cancel_after=round(rng.uniform(0, 30), 3) if rng.random() < 0.25 else None,
        wait=rng.random() < 0.8,
        repeat=rng.random() < 0.2,
    )


def _trouble(
    rng: random.Random, pace: float, moments_of_kills: Mapping[str, tuple[int, int]]
) -> tuple[Sequence[dict[str, Any]], Sequence[tuple[str, int]], frozenset[int]]:
    """The faults, kills and delays of a schedule."""
    faults = []
    for name, where in rng.sample(_FAULTS, rng.choice((0, 0, 1, 1, 2))):
        rule: dict[str, Any] = {"fault": name, **where, "times": rng.randint(1, 3)}
        rule["nth"] = rng.randint(1, 6 if where is _ANY_CHANGE else 2)
        if name == "late-effect":
            rule["seconds"] = round(pace * rng.uniform(1, 80), 3)
        faults.append(rule)
    moments = list(moments_of_kills)
    weights = [weight for weight, _ in moments_of_kills.values()]
    kills = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        (moment,) = rng.choices(moments, weights)
        kills.append((moment, rng.randint(1, moments_of_kills[moment][1])))
    delays = frozenset(rng.sample(range(1, 10), rng.choice((0, 0, 0, 1, 2))))
    return faults, kills, delays


def _with_more(rng: random.Random, step: Step) -> Step:
    """The same step, or one that asks for more of a template, or for the disk of a Machine instead."""
    if step.verb != "CreateTemplate" or rng.random() < 0.5:
        return step
    if rng.random() < 0.15:
        fields = {"machine_key": step.fields["machine_key"], "name": f"{step.fields['name']}-disk"}
        return replace(step, verb="DetachDisk", fields=fields, cancel_after=None)
    more: dict[str, Any] = {"keep_versions": 1} if step.fields["new_version"] else {"replace": True}
    if rng.random() < 0.4:
        # Nobody listens at the addresses of guests that are none.
        more["boot_test"] = templates_pb2.BootTest(address_only=True)
    return replace(step, fields={**step.fields, **more})


def _beginning(rng: random.Random) -> list[Step]:
    """What the first client does first, so that there is something to work on: a Machine, and often a
    template of it and a version of that."""
    first = _create(rng, wait=True)
    steps = [first]
    if rng.random() < 0.25:
        steps.append(Step("attach", {"key": first.fields["key"]}, _id(rng), pause=0.0))
    for new_version in (False, True)[: rng.choice((0, 0, 1, 2))]:
        fields = {"machine_key": first.fields["key"], "name": TEMPLATES[0], "new_version": new_version}
        steps.append(Step("CreateTemplate", fields, _id(rng), pause=0.0))
    return steps


def _id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _create(rng: random.Random, *, wait: bool) -> Step:
    fields: dict[str, Any] = {"key": rng.choice(KEYS), "spec": spec(clone=rng.random() < 0.3)}
    if rng.random() < 0.3:
        fields["start_with"] = started(user_data="runcmd: [id]")
    request_id = _id(rng)
    # By a generator of its own, so that the seeds from before there were disks stay what they are.
    for number in range(random.Random(f"disks {request_id}").choice((0, 0, 0, 1, 2))):
        fields["spec"].new_disks.add(name=f"{fields['key']}-{number}", size_bytes=1 << 30)
    return Step(
        "CreateMachine",
        fields,
        request_id,
        pause=0.0,
        wait=wait,
        repeat=rng.random() < 0.3,
        confirm=rng.random() < 0.7,
    )


def _step(rng: random.Random, pace: float) -> Step:
    verb = rng.choices(
        (
            "CreateMachine",
            "CloneMachine",
            "CreateTemplate",
            "DestroyMachine",
            "DestroyTemplate",
            "StartMachine",
            "StopMachine",
            "attach",
        ),
        (6, 3, 6, 4, 3, 2, 2, 2),
    )[0]
    pause = round(pace * rng.choice((0, 0, rng.uniform(0, 5), rng.uniform(0, 60))), 3)
    key = rng.choice(KEYS)
    wait = rng.random() < 0.75
    cancel_after = round(pace * rng.uniform(0, 30), 3) if rng.random() < 0.2 else None
    common = {"pause": pause, "wait": wait, "repeat": rng.random() < 0.2, "cancel_after": cancel_after}
    if verb == "CreateMachine":
        drawn = _create(rng, wait=wait)
        common["repeat"] = drawn.repeat
        return Step(verb, drawn.fields, drawn.request_id, confirm=drawn.confirm, **common)
    fields: dict[str, Any] = {"key": key}
    if verb == "CloneMachine":
        fields = {"source_key": key, "key": rng.choice([k for k in KEYS if k != key])}
    elif verb == "CreateTemplate":
        version = rng.random() < 0.4
        fields = {
            "machine_key": key,
            "name": rng.choice(TEMPLATES),
            "new_version": version,
            "seal": rng.random() < 0.4,
        }
    elif verb == "DestroyTemplate":
        fields = {"id": rng.choice((*TEMPLATES, *TEMPLATES, TEMPLATE))}
    return Step(verb, fields, _id(rng), confirm=verb == "CloneMachine" and rng.random() < 0.5, **common)
