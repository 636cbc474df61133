"""Ledgers as earlier versions have left them."""

import contextlib
import json
import sqlite3
from pathlib import Path


def make_0001(file: Path) -> None:
    """Turns a ledger that nobody has open into one of the schema 0001, with all that it holds."""
    rename_disks(file)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as ledger:
        for index in ("objects_request", "objects_key", "objects_parent", "operations_object"):
            ledger.execute(f"DROP INDEX {index}")
        for table, column in (("epochs", "commits"), ("leases", "ttl"), ("leases", "confirmed_at")):
            ledger.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        ledger.execute("PRAGMA application_id = 0")
        ledger.execute("UPDATE alembic_version SET version_num = '0001'")
        ledger.execute("PRAGMA journal_mode = DELETE")
    file.with_name("ledger.commits").unlink(missing_ok=True)


def rename_disks(file: Path) -> None:
    """Calls the number of a Machine's disks as the schema 0001 did."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as ledger:
        for table, column in (("operations", "plan"), ("objects", "details")):
            for row_id, text in ledger.execute(f"SELECT id, {column} FROM {table}").fetchall():
                value = json.loads(text)
                if "disks" in value:
                    value["template_disks"] = value.pop("disks")
                    ledger.execute(
                        f"UPDATE {table} SET {column} = ? WHERE id = ?", (json.dumps(value), row_id)
                    )
