"""What a run has left behind: the engine's objects held against the ledger."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from lxml import etree

from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import (
    CANCELLED,
    FAILED,
    GONE,
    INTENDED,
    KEPT,
    LATE,
    PRESENT,
    REMOVING,
    Ledger,
    Object,
    Operation,
)

# Asks the engine past the bridge: method, path. None where the engine refuses.
Ask = Callable[[str, str], "etree._Element | None"]


@dataclass(frozen=True)
class Thing:
    """An object in the engine. `inside` is the VM or template that it belongs to, for a disk the first of
    them; `looks` is what its owner would notice if it changed."""

    kind: str
    id: str
    name: str
    mark: Mark | None
    inside: str
    looks: str


def look(ask: Ask) -> dict[str, Thing]:
    """Every VM, template, snapshot and disk in the engine, by id."""

    def get(path: str) -> Iterable[etree._Element]:
        found = ask("GET", path)
        return () if found is None else found

    things: dict[str, Thing] = {}
    holders: dict[str, str] = {}
    for kind, path in (("vm", "/vms"), ("template", "/templates")):
        for element in get(path):
            held = get(f"{path}/{element.get('id')}/diskattachments")
            for attachment in held:
                holders.setdefault(str(attachment.get("id")), str(element.get("id")))
            thing = _thing(kind, element, mark_in="comment")
            things[thing.id] = thing
            for snapshot in get(f"/vms/{thing.id}/snapshots") if kind == "vm" else ():
                if snapshot.findtext("snapshot_type") == "regular":
                    taken = _thing("snapshot", snapshot, mark_in="description", inside=thing.id)
                    things[taken.id] = taken
    for element in get("/disks"):
        disk = _thing("disk", element, mark_in="description", inside=holders.get(str(element.get("id")), ""))
        things[disk.id] = disk
    return things


_LOOKS = ("name", "comment", "description", "status", "memory", "provisioned_size", "version/version_name")


def _thing(kind: str, element: etree._Element, *, mark_in: str, inside: str = "") -> Thing:
    told = element.findtext(mark_in) or ""
    looks = "\n".join(f"{path}={element.findtext(path)}" for path in _LOOKS)
    name = element.findtext("name") or element.findtext("description") or ""
    return Thing(kind, str(element.get("id")), name, Mark.parse(told), inside, looks)


@dataclass
class Verdict:
    """How often each promise was broken, and in `wrong` what else is not as it should be, in words."""

    duplicates: int = 0
    leaks: int = 0
    foreign: int = 0
    undead: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        return bool(self.duplicates or self.leaks or self.foreign or self.undead or self.wrong)

    def add(self, other: "Verdict") -> None:
        self.duplicates += other.duplicates
        self.leaks += other.leaks
        self.foreign += other.foreign
        self.undead += other.undead
        self.wrong += other.wrong

    def __str__(self) -> str:
        return (
            f"duplicates: {self.duplicates}, leaks: {self.leaks}, foreign: {self.foreign}, "
            f"undead: {self.undead}"
        )


def judge(
    before: dict[str, Thing],
    after: dict[str, Thing],
    ledger: Ledger,
    installation: str,
    *,
    asked: Collection[str],
) -> Verdict:
    """Holds the engine `after` a run against what was there `before` and against the ledger.

    `asked` are the request_ids of the clients. Each object counts once.
    """
    verdict = Verdict()
    for thing in before.values():
        if thing.id not in after:
            verdict.foreign += 1
            verdict.wrong.append(f"{thing.kind} {thing.name} is not ours and is gone")
        elif after[thing.id].looks != thing.looks:
            verdict.foreign += 1
            verdict.wrong.append(f"{thing.kind} {thing.name} is not ours and was changed")
    ours = [thing for id, thing in after.items() if id not in before]
    rows = ledger.list_objects(INTENDED, PRESENT, REMOVING, LATE, GONE)
    counted = _duplicates(ours, installation, verdict)
    for thing in ours:
        if thing.id in counted:
            continue
        state = _state(thing, after, rows, ledger, installation)
        if state == GONE:
            verdict.undead += 1
            verdict.wrong.append(f"{thing.kind} {thing.name} was destroyed and lives")
        elif state == "":
            verdict.leaks += 1
            verdict.wrong.append(f"{thing.kind} {thing.name} is known to nobody ({thing.mark or 'no mark'})")
    _judge_ledger(after, rows, ledger, asked, verdict)
    return verdict


def _duplicates(ours: Sequence[Thing], installation: str, verdict: Verdict) -> set[str]:
    """The ids of all but the first object of each request, and of each owner's key."""
    seen: Counter[tuple[str, ...]] = Counter()
    found: set[str] = set()
    for thing in ours:
        mark = thing.mark
        if mark is None or mark.installation != installation or mark.kind != thing.kind:
            continue
        # A request may make several disks; ids of ours fence each of them.
        same = [(thing.kind, mark.request)] if thing.kind != "disk" else []
        if thing.kind == "vm":
            same.append((mark.owner, mark.key))
        if any(seen[what] for what in same):
            found.add(thing.id)
            verdict.wrong.append(f"{thing.kind} {thing.name} is there twice ({mark})")
        seen.update(same)
    verdict.duplicates += len(found)
    return found


def _state(
    thing: Thing, after: dict[str, Thing], rows: Sequence[Object], ledger: Ledger, installation: str
) -> str:
    """The state of the ledger's row of an object; empty where the ledger does not know it."""
    known = [row for row in rows if row.kind == thing.kind and row.engine_id == thing.id]
    if not known and thing.mark is not None and thing.mark.installation == installation:
        # Made, and the ledger has not been told its id: somebody still has to look for it.
        known = [
            row
            for row in rows
            if (row.kind, row.request_id, row.engine_id) == (thing.kind, thing.mark.request, None)
            and (row.state != GONE or _is_buried(row, ledger))
        ]
    if known:
        row = known[-1]
        return LATE if row.state == GONE and _is_buried(row, ledger) else row.state
    if thing.kind == "disk" and thing.inside and after[thing.inside].kind in ("vm", "template"):
        # The disk of something that is judged itself; one that a VM of ours only borrows is somebody's.
        return _state(after[thing.inside], after, rows, ledger, installation)
    return ""


def _is_buried(row: Object, ledger: Ledger) -> bool:
    return any(tombstone.object_id == row.id for tombstone in ledger.tombstones())


def _was_in_the_way(operation: Operation, others: Iterable[Operation]) -> bool:
    """Whether an operation may fail for what another client did to the template of the same name: it
    destroyed or replaced the base of a version, took the name that a new one was to get, or had the engine
    export it, which locks it. Or for the disk that a stranger attached to its Machine."""
    base, name = operation.plan.get("base_id"), operation.request.get("name")
    if operation.verb in ("ExportTemplate", "CreateBackup"):
        refused = (operation.error or {}).get("reason") == "ENGINE_REFUSED"
        exports = [one for one in others if one is not operation and one.verb == "ExportTemplate"]
        template = operation.request.get("template")
        return refused and any(one.request["template"] == template for one in exports)
    if operation.verb != "CreateTemplate":
        return False
    error = operation.error or {}
    if error.get("reason") == "FOREIGN_DISK_ATTACHED" and "disk precious-" in error["message"]:
        return True
    for other in others:
        if base and other.verb == "DestroyTemplate" and other.request.get("id") == base:
            return True
        if other is not operation and other.verb == "CreateTemplate" and other.request.get("name") == name:
            if base and other.request.get("replace"):
                return True
            if operation.request.get("replace") and (operation.error or {}).get("reason") == "NAME_IN_USE":
                return True
    return False


def _stands_alone(row: Object) -> bool:
    return row.kind in ("vm", "template") or (row.kind == "disk" and row.parent_id is None)


def _judge_ledger(
    after: dict[str, Thing],
    rows: Sequence[Object],
    ledger: Ledger,
    asked: Collection[str],
    verdict: Verdict,
) -> None:
    by_request = {
        operation.request_id: operation
        for request_id in asked
        for owner in {row.owner for row in rows}
        if (operation := ledger.operation_of_request(owner, request_id)) is not None
    }
    for operation in ledger.unended_operations():
        verdict.wrong.append(f"{operation.verb} has not ended: {operation.state} in {operation.phase}")
    for operation in by_request.values():
        if operation.state == FAILED and not _was_in_the_way(operation, by_request.values()):
            told = (operation.error or {}).get("message", "")
            verdict.wrong.append(f"{operation.verb} failed: {told}")
        elif operation.state == CANCELLED and operation.cancelled_by is None:
            verdict.wrong.append(f"{operation.verb} was cancelled by nobody")
    destroyed = {
        operation.object_id
        for operation in by_request.values()
        if operation.verb.startswith(("Destroy", "DetachDisk"))
    }
    for row in rows:
        if row.state in (REMOVING, LATE):
            verdict.wrong.append(f"{row.kind} {row.name} still waits to be removed")
        elif row.state == INTENDED:
            verdict.wrong.append(f"{row.kind} {row.name} is still only intended")
        elif row.state == PRESENT and _stands_alone(row) and row.engine_id not in after:
            verdict.wrong.append(f"{row.kind} {row.name} is lost")
        elif row.state == GONE and row.kind == "vm" and row.id not in destroyed:
            lease, made = ledger.lease(row.id), by_request.get(row.request_id)
            if lease is not None and lease.kind == KEPT and made is not None:
                verdict.wrong.append(f"VM {row.name} was kept and is gone")
