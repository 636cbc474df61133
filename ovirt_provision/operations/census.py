"""The census: what carries our mark in the engine, held against the ledger."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ovirt_provision import metrics
from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Snapshot, Vm
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.store import INTENDED, LATE, PRESENT, REMOVING, Ledger, Object
from ovirt_provision.operations.provisioning import is_ours, our_template

OURS = "ours"
FOREIGN = "foreign"
AWAITING_ENGINE = "awaiting-engine"
LEAKED = "leaked"
MISSING = "missing"
ADOPTED = "adopted"

_MARKED = 'comment="*ovirt-provision/*"'
_MAX_ROWS = 10_000


@dataclass(frozen=True)
class Entry:
    """One line of the census; the fields are those of `ovirt_provision.v1.CensusEntry`."""

    finding: str
    kind: str
    id: str
    name: str
    key: str
    owner: str
    detail: str


async def take_census(engine: Engine, ledger: Ledger, installation: str) -> Sequence[Entry]:
    """Reads the engine and changes nothing. Raises what the engine's reads raise."""
    rows = {
        (row.kind, row.engine_id): row
        for row in ledger.list_objects(INTENDED, PRESENT, REMOVING, LATE, engine=engine.name)
        # A transfer belongs to its disk, and tells nobody whose it is.
        if row.engine_id is not None and row.kind != "transfer"
    }
    entries: list[Entry] = []
    seen: set[tuple[str, str | None]] = set()
    for vm in await engine.machines.search(_MARKED, follow="snapshots", max_rows=_MAX_ROWS):
        mark = Mark.parse(vm.comment)
        if mark is None:
            continue
        seen.add(("vm", vm.id))
        for snapshot in vm.snapshots:
            entry = _snapshot(engine, ledger, installation, vm, snapshot)
            if entry is not None:
                seen.add(("snapshot", snapshot.id))
                entries.append(entry)
        row = rows.get(("vm", vm.id))
        if row is not None and row.adopted:
            entries.append(_adopted(row, vm.name))
        elif not is_ours(ledger, installation, engine.name, vm):
            why = (
                "the mark is of another installation"
                if mark.installation != installation
                else "a copied mark"
            )
            entries.append(_entry(FOREIGN, "vm", vm.id, vm.name, mark, why))
        elif row is None:
            entries.append(
                _entry(LEAKED, "vm", vm.id, vm.name, mark, "our mark, but the ledger does not know it")
            )
        else:
            entries.append(_known(row, vm.name))
    for template in await engine.templates.search(_MARKED, max_rows=_MAX_ROWS):
        mark = Mark.parse(template.comment)
        if mark is None:
            continue
        ours = our_template(ledger, installation, engine.name, template)
        if ours is not None:
            seen.add(("template", ours.engine_id))
            entries.append(_known(ours, template.name, template.id))
        elif mark.installation == installation and mark.kind == "template":
            why = "our mark, but the ledger does not know it"
            entries.append(_entry(LEAKED, "template", template.id, template.name, mark, why))
        else:
            why = (
                "inherited from the VM that it was made of"
                if mark.kind != "template"
                else "another installation's"
            )
            entries.append(_entry(FOREIGN, "template", template.id, template.name, mark, why))
    unmarked = [row for place, row in rows.items() if row.adopted and place not in seen]
    # Asked for at once, they are read together.
    unmarked_vms = await asyncio.gather(*(engine.machines.find(row.known_id) for row in unmarked))
    for row, adopted in zip(unmarked, unmarked_vms, strict=True):
        if adopted is not None:
            seen.add(("vm", adopted.id))
            entries.append(_adopted(row, adopted.name))
    for disk_id in await engine.disks.find([engine_id for kind, engine_id in rows if kind == "disk"]):
        seen.add(("disk", disk_id))
        row = rows["disk", disk_id]
        entries.append(_known(row, row.name, being_removed=_state_now(ledger, row) != PRESENT))
    entries += [
        Entry(MISSING, kind, engine_id or "", row.name, row.key, row.owner, "the engine does not have it")
        for (kind, engine_id), row in rows.items()
        if (kind, engine_id) not in seen and row.state == PRESENT and _state_now(ledger, row) == PRESENT
    ]
    _measure(engine.name, entries)
    return entries


def _measure(engine: str, entries: Sequence[Entry]) -> None:
    counts = Counter((entry.finding, entry.kind) for entry in entries)
    # Zeros as well: what the census before found is to be seen to have gone.
    for finding in (OURS, FOREIGN, AWAITING_ENGINE, LEAKED, MISSING, ADOPTED):
        for kind in ("vm", "template", "disk", "snapshot"):
            metrics.CENSUS.labels(engine, finding, kind).set(counts[finding, kind])
    metrics.CENSUS_TIME.labels(engine).set_to_current_time()


def _snapshot(engine: Engine, ledger: Ledger, installation: str, vm: Vm, snapshot: Snapshot) -> Entry | None:
    """The line of a snapshot; None for one without a mark."""
    mark = Mark.parse(snapshot.description)
    if mark is None:
        return None
    name = f"of VM {vm.name}"
    row = ledger.object_in_engine(engine.name, "snapshot", snapshot.id)
    if row is None and mark.installation == installation:
        intended = ledger.object_of_request(engine.name, "snapshot", mark.owner, mark.request)
        row = intended if intended is not None and intended.engine_id is None else None
    if row is not None:
        return _known(row, name, snapshot.id)
    if mark.installation == installation:
        why = "our mark, but the ledger does not know it"
        return _entry(LEAKED, "snapshot", snapshot.id, name, mark, why)
    why = "the mark is of another installation"
    return _entry(FOREIGN, "snapshot", snapshot.id, name, mark, why)


def _state_now(ledger: Ledger, row: Object) -> str:
    """The state of an object, or of the VM that it belongs to: a disk goes with its VM.

    Read anew, because the engine was read since, and what an operation has removed meanwhile is not missing.
    """
    now = ledger.object(row.id)
    if now.state == PRESENT and now.parent_id is not None:
        return ledger.object(now.parent_id).state
    return now.state


def _known(row: Object, name: str, engine_id: str = "", *, being_removed: bool = False) -> Entry:
    if being_removed or row.state in (REMOVING, LATE):
        return Entry(
            AWAITING_ENGINE, row.kind, row.engine_id or engine_id, name, row.key, row.owner, "to be removed"
        )
    return Entry(OURS, row.kind, row.engine_id or engine_id, name, row.key, row.owner, "")


def _adopted(row: Object, name: str) -> Entry:
    return Entry(ADOPTED, "vm", row.known_id, name, row.key, row.owner, "made by others, and adopted")


def _entry(finding: str, kind: str, engine_id: str, name: str, mark: Mark, detail: str) -> Entry:
    return Entry(finding, kind, engine_id, name, mark.key, mark.owner, detail)
