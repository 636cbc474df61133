"""The ledger's file: opened, checked and migrated; and what SQLite complains of, as errors of ours.

Two things lie beside it: `ledger.commits`, by which a ledger that has lost transactions is recognised, and
after an upgrade a copy of the ledger as the version before left it.
"""

import contextlib
import errno
import logging
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ovirt_provision import paths
from ovirt_provision.errors import Code, ProvisionError
from ovirt_provision.ledger.schema import APPLICATION_ID, epochs, metadata, objects, operations

FILE = "ledger.sqlite"
# Execution options of connections by how they begin: with the write lock, so that nobody can write between
# what they look up and what follows; or without a transaction.
WRITING = {"begin": "BEGIN IMMEDIATE"}
_ALONE = {"begin": ""}
# Where Alembic keeps which schema a ledger has.
_VERSION = sa.Table(
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)
_MIGRATIONS = Path(__file__).with_name("migrations") / "versions"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FAILURES = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
)
_LONGEST_LIST = 5


class LedgerError(ProvisionError):
    """The ledger cannot be read or written; what needs it stands still until it can."""

    code = Code.UNAVAILABLE


class LedgerFull(LedgerError):
    """There is no space left for the ledger."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "LEDGER_FULL"
    message = "the ledger {file} cannot be written: its disk is full ({detail})"
    advice = (
        "Make room on the file system of {file}. Until then no call is accepted that would change something; "
        "operations under way stand still, and go on by themselves."
    )


class LedgerFailing(LedgerError):
    """The ledger's disk fails."""

    reason = "LEDGER_FAILING"
    message = "the ledger {file} cannot be read or written: {detail}"
    advice = (
        "Look for errors of that disk in the kernel's log. Operations under way stand still, and go on by "
        "themselves once the ledger can be written again."
    )


class LedgerDamaged(LedgerError):
    """The ledger is not what was written."""

    code = Code.FAILED_PRECONDITION
    reason = "LEDGER_DAMAGED"
    message = "the ledger {file} is damaged: {detail}"
    advice = (
        "Restore ledger.sqlite and installation from a backup (docs/configuration.md) into an empty state "
        "folder. What was made since is then reported by `ovirt-provision census` as leaked, and not touched."
    )


class LedgerIncomplete(LedgerError):
    """The ledger is sound, but lacks what was written last."""

    code = Code.FAILED_PRECONDITION
    reason = "LEDGER_INCOMPLETE"
    message = "the ledger {file} {detail}"
    advice = (
        "Put ledger.sqlite and ledger.sqlite-wal back as they were, both of the same moment. If you have "
        "restored an older backup on purpose, remove {tally}: what was made since is then reported by "
        "`ovirt-provision census` as leaked, and not touched."
    )


class LedgerNewer(LedgerError):
    """A newer version has migrated the ledger."""

    code = Code.FAILED_PRECONDITION
    reason = "LEDGER_NEWER"
    message = (
        "the ledger {file} has the schema {found} of a newer ovirt-provision; this one knows up to {known}"
    )
    advice = (
        "Install the newer version again. To go back all the same, restore a backup of before the upgrade "
        "(the upgrade left one at {copies}); it lacks what was done since."
    )


class LedgerForeign(LedgerError):
    """The file is a database of something else."""

    code = Code.FAILED_PRECONDITION
    reason = "LEDGER_FOREIGN"
    message = "{file} is no ledger of ovirt-provision: {detail}"
    advice = "Move it away, or choose another state folder by XDG_STATE_HOME."


class Tally:
    """How many transactions the ledger has committed, written down beside it after each commit.

    SQLite takes a write-ahead log that was cut off, or lost, for one that ends there; this number tells. It
    never runs ahead of the ledger: it is written later, and a commit is on disk when it returns.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor: int | None = None

    def read(self) -> int:
        """The number; 0 where there is none, or none that can be read after a power cut."""
        try:
            text = self.file.read_bytes()
        except FileNotFoundError:
            return 0
        return int(text) if re.fullmatch(rb"[0-9]{20}\n", text) else 0

    def write(self, commits: int) -> None:
        """Notes the number, in place, so that it needs no space. When that fails, less is protected."""
        with contextlib.suppress(OSError):
            if self._descriptor is None:
                self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, b"%020d\n" % commits, 0)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def tally_of(file: Path) -> Tally:
    """The tally that belongs to a ledger's file."""
    return Tally(file.with_name("ledger.commits"))


def open_database(file: Path) -> sa.Engine:
    """Opens the ledger in a file that only its owner can read, made and migrated where needed.

    A migration is one transaction: it happens as a whole or not at all. Raises LedgerError.
    """
    tally = tally_of(file)
    expected = tally.read()
    try:
        _insist_on_file(file, expected, tally)
        database = sa.create_engine(f"sqlite:///{file}")
        sa.event.listen(database, "connect", _configure_sqlite)
        sa.event.listen(database, "begin", _begin)
        sa.event.listen(database, "handle_error", lambda context: _translate(context, file))
        try:
            _open(database, file, expected, tally)
        except BaseException:
            database.dispose()
            raise
    except OSError as error:
        raise unwritable(file, error) from None
    return database


def unwritable(file: Path, error: OSError) -> LedgerError:
    """The error for a file of the ledger that the system does not write."""
    kind = LedgerFull if error.errno in _FULL else LedgerFailing
    return kind(file=file, detail=error.strerror or "input/output error")


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Copies a database as it is now, also while it is being written, to a file for its owner alone.

    Raises OSError and sqlite3.Error.
    """
    new = target.with_name(f".{target.name}{paths.NEW}")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(new)) as copy:
        source.backup(copy)
        # A copy is one file, whoever opens it.
        copy.execute("PRAGMA journal_mode=DELETE")
    new.rename(target)
    paths.sync_folder(target.parent)


def _insist_on_file(file: Path, expected: int, tally: Tally) -> None:
    """Makes the file if there never was one. Raises LedgerIncomplete where there was."""
    missing = not file.exists()
    if expected and (missing or not file.stat().st_size):
        detail = f"is {'gone' if missing else 'empty'}, though {expected} transactions were written to it"
        raise LedgerIncomplete(file=file, tally=tally.file, detail=detail)
    if missing:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _open(database: sa.Engine, file: Path, expected: int, tally: Tally) -> None:
    revisions = known_revisions()
    with database.connect().execution_options(**_ALONE) as connection:
        revision = _identify(connection, file, revisions)
        if revision is not None:
            _insist_on_soundness(connection, file)
            _insist_on_commits(connection, file, expected, tally)
        if revision == revisions[-1]:
            _insist_on_rows(connection, file)
            return
        if revision is not None:
            driver: Any = connection.connection.driver_connection
            copy_database(driver, _copy_of(file, revision))
        # It stays with the file. Not earlier: a file that is not ours is left as it is.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    with database.execution_options(**WRITING).begin() as connection:
        if revision is None:
            _make_tables(connection, revisions[-1])
        else:
            migrate(connection)


def known_revisions() -> Sequence[str]:
    """The schemas that this version knows, oldest first: those of the files of the migrations."""
    return sorted(file.name.partition("_")[0] for file in _MIGRATIONS.glob("[0-9]*_*.py"))


def _make_tables(connection: sa.Connection, revision: str) -> None:
    metadata.create_all(connection)
    _VERSION.create(connection)
    connection.execute(_VERSION.insert().values(version_num=revision))
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def migrate(connection: sa.Connection) -> None:
    """Brings the tables of an older version, or none, to the schema of this one."""
    # Imported only here: Alembic takes 15 MB, and only upgrades need it.
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    migrations = Config()
    migrations.set_main_option("script_location", "ovirt_provision.ledger:migrations")
    migrations.attributes["connection"] = connection
    command.upgrade(migrations, "head")


def _copy_of(file: Path, revision: str) -> Path:
    return file.with_name(f"{file.name}.before-{revision}")


def _identify(connection: sa.Connection, file: Path, revisions: Sequence[str]) -> str | None:
    """The ledger's schema, None for an empty file. Raises LedgerForeign, LedgerNewer and LedgerDamaged."""
    tables = sa.inspect(connection).get_table_names()
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if application not in (0, APPLICATION_ID):
        raise LedgerForeign(file=file, detail=f"its application id is {application:#x}")
    if not tables:
        return None
    if _VERSION.name not in tables:
        shown = ", ".join(sorted(tables)[:_LONGEST_LIST])
        raise LedgerForeign(file=file, detail=f"it holds the tables {shown}")
    found = connection.scalar(sa.select(_VERSION))
    if found is None:
        raise LedgerDamaged(file=file, detail="it does not say which schema it has")
    if found not in revisions:
        copies = _copy_of(file, "*")
        raise LedgerNewer(file=file, found=found, known=revisions[-1], copies=copies)
    return str(found)


def _insist_on_soundness(connection: sa.Connection, file: Path) -> None:
    """Raises LedgerDamaged unless all pages, rows and indexes are where they belong."""
    found = connection.exec_driver_sql(f"PRAGMA integrity_check({_LONGEST_LIST})").scalars().all()
    wrong = [line for row in found for line in str(row).splitlines() if line != "ok"]
    if wrong:
        raise LedgerDamaged(file=file, detail="; ".join(wrong[:_LONGEST_LIST]))


def _insist_on_commits(connection: sa.Connection, file: Path, expected: int, tally: Tally) -> None:
    columns = {column["name"] for column in sa.inspect(connection).get_columns(epochs.name)}
    # Schemas before 0003 did not count; a tally says that this one was newer already.
    found = connection.scalar(sa.select(epochs.c.commits)) or 0 if epochs.c.commits.name in columns else 0
    if found < expected:
        detail = f"has lost the last {expected - found} of {expected} transactions"
        raise LedgerIncomplete(file=file, tally=tally.file, detail=detail)


def _insist_on_rows(connection: sa.Connection, file: Path) -> None:
    """Raises LedgerDamaged unless every row can be read: a page may be whole and its text not."""
    for table in metadata.sorted_tables:
        try:
            for _ in connection.execute(sa.select(table)):
                pass
        except (ValueError, sa.exc.DBAPIError) as error:
            raise LedgerDamaged(file=file, detail=f"a row of {table.name} cannot be read: {error}") from None
    lost = connection.scalar(
        sa.select(sa.func.count())
        .select_from(operations.outerjoin(objects, operations.c.object_id == objects.c.id))
        .where(operations.c.object_id.is_not(None), objects.c.id.is_(None))
    )
    if lost:
        raise LedgerDamaged(file=file, detail=f"{lost} operations have lost their object")


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver would begin a transaction at the first change only, and none at all for the statements of a
    # migration; so `_begin` does.
    connection.isolation_level = None
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)


def _translate(context: sa.engine.ExceptionContext, file: Path) -> LedgerError | None:
    """The error to raise instead of SQLite's; None lets it through."""
    original = context.original_exception
    # The low byte is the error, the others say where it happened.
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    detail = f"{original} ({getattr(original, 'sqlite_errorname', 'unknown')})"
    if code == sqlite3.SQLITE_FULL:
        return LedgerFull(file=file, detail=detail)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerDamaged(file=file, detail=detail)
    if code in _FAILURES:
        return LedgerFailing(file=file, detail=detail)
    return None
