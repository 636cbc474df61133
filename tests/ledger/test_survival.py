"""What becomes of the ledger when its disk or its daemon fails: all that was acknowledged, or a refusal.

More seeds: `OVIRT_PROVISION_SEEDS=1000 pytest tests/ledger/test_survival.py`; a failure names the seed, which
`OVIRT_PROVISION_SEED` replays.
"""

import contextlib
import os
import random
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovirt_provision.clock import VirtualClock
from ovirt_provision.ledger import database
from ovirt_provision.ledger.database import (
    LedgerDamaged,
    LedgerError,
    LedgerFailing,
    LedgerForeign,
    LedgerFull,
    LedgerIncomplete,
    LedgerNewer,
    Tally,
)
from ovirt_provision.ledger.store import Ledger
from tests.disk import Disk, Event, after_kill, after_power_cut
from tests.schemas import make_0001

CHANGES = 30


def seeds(default: int) -> Iterator[int]:
    """The seeds to try, the first one random; the one under way is printed where a test fails."""
    given = os.environ.get("OVIRT_PROVISION_SEED")
    first = int(given) if given else random.SystemRandom().randrange(2**32)
    many = 1 if given else int(os.environ.get("OVIRT_PROVISION_SEEDS", default))
    for seed in range(first, first + many):
        print(f"OVIRT_PROVISION_SEED={seed}")
        yield seed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def disk():
    return Disk()


def add_machine(ledger: Ledger, key: str) -> None:
    """What accepts a create: an object, a lease and an operation in one transaction."""
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, key))
    with ledger.transaction() as connection:
        object_id = ledger.add_object(
            connection,
            engine="e",
            kind="vm",
            engine_id=f"id-{key}",
            name=key,
            owner="uid:1",
            key=key,
            generation=1,
            request_id=request_id,
            state="intended",
            details={"disks": 1, "cluster": "Default"},
        )
        ledger.set_lease(connection, object_id, "session")
        ledger.add_operation(
            connection,
            id=request_id,
            verb="CreateMachine",
            engine="e",
            owner="uid:1",
            request_id=request_id,
            request_hash="h" * 64,
            request={"key": key},
            plan={"disks": 1, "template_id": f"template-of-{key}"},
            key=key,
            object_id=object_id,
        )


def acknowledged(ledger: Ledger) -> dict[str, object]:
    """What the ledger tells of each Machine: its rows, whole."""
    return {
        operation.key: (operation, ledger.object(operation.object_id), ledger.lease(operation.object_id))
        for operation in sorted(ledger.unended_operations(), key=lambda operation: operation.key)
    }


def work(path: Path, disk: Disk) -> dict[str, object]:
    """Fills a ledger, with checkpoints on the way, and leaves it as a daemon that dies. After each change
    `disk` has a note of its number and of the tally; returns what was acknowledged, in order."""
    with disk.in_place():
        ledger = Ledger.open(path, VirtualClock())
        disk.note(f"0 {ledger._tally.read()}")
        for number in range(1, CHANGES + 1):
            add_machine(ledger, f"web-{number:02}")
            disk.note(f"{number} {ledger._tally.read()}")
            if number % 7 == 0:
                with ledger._database.connect().execution_options(begin="") as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        return acknowledged(ledger)


def lay_out(folder: Path, files: dict[str, bytes], tally: int | None = None) -> Path:
    """Writes a state folder, and returns where its ledger is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if tally is not None:
        (folder / "ledger.commits").write_text(f"{tally:020}\n")
    return folder / "ledger.sqlite"


def read_again(path: Path) -> dict[str, object]:
    """What the next daemon finds; nothing where it starts and cannot read.

    Raises LedgerError where it refuses to start.
    """
    ledger = Ledger.open(path, VirtualClock())
    try:
        return acknowledged(ledger)
    except Exception as error:
        print(f"not to be read: {error}")
        return {}
    finally:
        ledger.close()


def notes(events: list[Event]) -> list[tuple[int, int]]:
    """(changes acknowledged, tally) at each note."""
    return [(int(a), int(b)) for a, b in (event.file.split() for event in events if event.kind == "note")]


def lost_by_power_cuts(disk: Disk, written: dict[str, object], folder: Path, many: int) -> Iterator[str]:
    """The power cuts after which something acknowledged was missing or not to be read."""
    for seed in seeds(many):
        chance = random.Random(seed)
        events = disk.events[: chance.randrange(len(disk.events))]
        known = notes(events)
        tally = chance.choice([None, *(tally for _, tally in known)])
        path = lay_out(folder, after_power_cut(events, chance), tally)
        owed = list(written)[: known[-1][0] if known else 0]
        try:
            found = read_again(path)
        except LedgerError as error:
            yield f"seed {seed}: {error}"
            continue
        lost = [key for key in owed if found.get(key) != written[key]]
        if lost:
            yield f"seed {seed}: {lost}"


def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(path, disk, tmp_path):
    written = work(path, disk)

    assert list(lost_by_power_cuts(disk, written, tmp_path / "after", 12)) == []


def test_without_synchronous_full_a_power_cut_loses_what_was_acknowledged(path, disk, tmp_path, monkeypatch):
    configure = database._configure_sqlite

    def careless(connection, record):
        configure(connection, record)
        connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(database, "_configure_sqlite", careless)
    written = work(path, disk)
    monkeypatch.undo()

    assert next(lost_by_power_cuts(disk, written, tmp_path / "after", 100))


def test_a_kill_at_any_write_loses_nothing_acknowledged(path, disk, tmp_path):
    written = work(path, disk)
    for seed in seeds(12):
        end = random.Random(seed).randrange(len(disk.events))
        known = notes(disk.events[:end])
        changes, tally = known[-1] if known else (0, None)

        found = read_again(lay_out(tmp_path / "after", after_kill(disk.events[:end]), tally))

        assert all(found.get(key) == written[key] for key in list(written)[:changes]), seed


def previous(path: Path, disk: Disk) -> dict[str, object]:
    """A ledger of the schema 0001 at `path`, and what it has acknowledged. `disk` then remembers what is
    written to it from now on."""
    ledger = Ledger.open(path, VirtualClock())
    for number in range(3):
        add_machine(ledger, f"web-{number}")
    written = acknowledged(ledger)
    ledger.close()
    make_0001(path)
    disk.events[:] = [Event("write", path.name, 0, path.read_bytes()), Event("sync", path.name)]
    return written


def broken_migrations(disk: Disk, written: dict[str, object], folder: Path) -> Iterator[str]:
    """What the next daemon says after a kill at each write of a migration, and after power cuts there."""
    ends = range(2, len(disk.events) + 1)
    worlds = [(f"a kill at event {end}", after_kill(disk.events[:end])) for end in ends]
    for seed in seeds(10):
        chance = random.Random(seed)
        end = chance.choice(ends)
        worlds.append((f"seed {seed}", after_power_cut(disk.events[:end], chance)))
    for what, files in worlds:
        try:
            found: object = read_again(lay_out(folder, files))
        except Exception as error:
            found = error
        if found != written:
            yield f"{what}: {found}"


def migrate(path: Path, disk: Disk) -> None:
    with disk.in_place():
        database.open_database(path).dispose()


def test_a_migration_that_dies_at_any_write_is_done_by_the_next_daemon(path, disk, tmp_path):
    written = previous(path, disk)
    migrate(path, disk)

    assert len(disk.events) > 10
    assert list(broken_migrations(disk, written, tmp_path / "after")) == []


def test_without_one_transaction_a_migration_that_dies_leaves_a_ledger_that_nobody_can_open(
    path, disk, tmp_path, monkeypatch
):
    written = previous(path, disk)
    monkeypatch.setattr(database, "_begin", lambda connection: None)
    migrate(path, disk)
    monkeypatch.undo()

    assert any("duplicate column" in line for line in broken_migrations(disk, written, tmp_path / "after"))


def test_an_upgrade_leaves_the_ledger_of_before(path, disk):
    previous(path, disk)
    before = path.read_bytes()

    migrate(path, disk)

    copy = path.with_name("ledger.sqlite.before-0001")
    assert execute(copy, "SELECT version_num FROM alembic_version") == [("0001",)]
    assert execute(copy, "SELECT count(*) FROM operations") == [(3,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() != before


def damage(files: dict[str, bytes], chance: random.Random) -> tuple[str, dict[str, bytes]]:
    """One of the files cut off, or with a torn write: sectors of another time or of nothing at all."""
    name = chance.choice([name for name, content in files.items() if content])
    content = bytearray(files[name])
    start = chance.randrange(len(content))
    how = chance.choice(("cut off", "zeros", "garbage"))
    if how == "cut off":
        del content[start:]
    else:
        length = chance.choice((512, 4096, len(content)))
        start -= start % 512
        end = min(start + length, len(content))
        content[start:end] = bytes(end - start) if how == "zeros" else chance.randbytes(end - start)
    return f"{name} {how} at {start}", {**files, name: bytes(content)}


def unnoticed_damages(path: Path, folder: Path, written: dict[str, object], many: int) -> Iterator[str]:
    """Damages after which a daemon starts and does not know all that was acknowledged."""
    names = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.commits")
    whole = {name: path.with_name(name).read_bytes() for name in names}
    tally = int(whole.pop("ledger.commits"))
    for seed in seeds(many):
        what, files = damage(whole, random.Random(seed))
        try:
            found = read_again(lay_out(folder, files, tally))
        except LedgerError as error:
            if not (error.what_to_do and str(folder) in str(error)):
                yield f"seed {seed}: {what}: {error}"
            continue
        if found != written:
            yield f"seed {seed}: {what}"


def test_a_damaged_ledger_is_refused_or_whole(path, disk, tmp_path):
    written = work(path, disk)

    assert list(unnoticed_damages(path, tmp_path / "after", written, 20)) == []


@pytest.mark.parametrize("defence", ["Tally.read", "_insist_on_soundness"])
def test_without_its_checks_a_damaged_ledger_is_taken_for_whole(path, disk, tmp_path, monkeypatch, defence):
    written = work(path, disk)
    if defence == "Tally.read":
        monkeypatch.setattr(Tally, "read", lambda self: 0)
    else:
        monkeypatch.setattr(database, "_insist_on_soundness", lambda *_: None)
        monkeypatch.setattr(database, "_insist_on_rows", lambda *_: None)

    assert next(unnoticed_damages(path, tmp_path / "after", written, 200))


def execute(path: Path, statement: str) -> list[object]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as opened:
        return opened.execute(statement).fetchall()


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_older(path: Path) -> None:
    make_0001(path)
    path.with_name("ledger.commits").write_text(f"{9:020}\n")


def replace_by_text(path: Path) -> None:
    path.write_text("a ledger? " * 1000)


def replace_by_strange(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE moz_places (id)")


def mark_as_strange(path: Path) -> None:
    execute(path, "PRAGMA application_id = 17")


def make_newer(path: Path) -> None:
    execute(path, "UPDATE alembic_version SET version_num = '0999'")


@pytest.mark.parametrize(
    ("ruin", "error", "said"),
    [
        (lose, LedgerIncomplete, "is gone, though 2 transactions were written to it"),
        (empty, LedgerIncomplete, "is empty, though 2 transactions were written to it"),
        (replace_by_older, LedgerIncomplete, "has lost the last 9 of 9 transactions"),
        (replace_by_text, LedgerDamaged, "file is not a database"),
        (replace_by_strange, LedgerForeign, "it holds the tables moz_places"),
        (mark_as_strange, LedgerForeign, "its application id is 0x11"),
        (make_newer, LedgerNewer, "the schema 0999 of a newer ovirt-provision; this one knows up to 0004"),
    ],
)
def test_a_ledger_that_cannot_be_trusted_is_refused_and_left_as_it_is(path, ruin, error, said):
    ledger = Ledger.open(path, VirtualClock())
    add_machine(ledger, "web")
    ledger.close()
    ruin(path)
    before = path.read_bytes() if path.exists() else None

    with pytest.raises(error, match=said) as refused:
        Ledger.open(path, VirtualClock())

    assert str(path) in str(refused.value)
    assert refused.value.what_to_do
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_ledger_restored_from_a_backup_into_an_empty_folder_is_taken(path, tmp_path):
    ledger = Ledger.open(path, VirtualClock())
    add_machine(ledger, "web")
    (tmp_path / "restored").mkdir()
    with contextlib.closing(sqlite3.connect(path)) as source:
        database.copy_database(source, tmp_path / "restored/ledger.sqlite")
    add_machine(ledger, "later")
    ledger.close()

    assert list(read_again(tmp_path / "restored/ledger.sqlite")) == ["web"]


@pytest.mark.parametrize(("trouble", "error"), [("full", LedgerFull), ("unsyncable", LedgerFailing)])
def test_what_the_disk_refuses_is_not_written_and_said_so(path, disk, tmp_path, trouble, error):
    with disk.in_place():
        ledger = Ledger.open(path, VirtualClock())
        add_machine(ledger, "before")
        setattr(disk, trouble, True)
        for refused in (lambda: add_machine(ledger, "refused"), ledger.insist_on_writable):
            with pytest.raises(error):
                refused()
        setattr(disk, trouble, False)
        ledger.insist_on_writable()
        add_machine(ledger, "after")

    assert set(acknowledged(ledger)) == {"before", "after"}
    assert set(read_again(lay_out(tmp_path / "killed", after_kill(disk.events), 4))) == {"before", "after"}


def test_a_daemon_does_not_start_on_a_full_disk(path, disk):
    disk.full = True
    with disk.in_place(), pytest.raises(LedgerFull):
        Ledger.open(path, VirtualClock())

    assert read_again(path) == {}
