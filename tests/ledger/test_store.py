"""The ledger on SQLite."""

import stat
import subprocess
import sys

import pytest
import sqlalchemy as sa

from ovirt_provision.clock import VirtualClock
from ovirt_provision.ledger.database import migrate
from ovirt_provision.ledger.schema import metadata
from ovirt_provision.ledger.store import GONE, INTENDED, LATE, Ledger, OwnershipLost


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def add_machine(ledger: Ledger, key: str = "web", generation: int = 1, state: str = INTENDED) -> int:
    with ledger.transaction() as connection:
        return ledger.add_object(
            connection,
            engine="e",
            kind="vm",
            engine_id=f"id-{key}-{generation}",
            name=key,
            owner="uid:1",
            key=key,
            generation=generation,
            request_id=f"request-{key}-{generation}",
            state=state,
        )


def test_what_was_written_is_there_after_opening_again(path):
    first = Ledger.open(path, VirtualClock())
    add_machine(first)
    first.close()

    machine = Ledger.open(path, VirtualClock()).living_machine("uid:1", "web")

    assert machine is not None
    assert machine.engine_id == "id-web-1"


def test_only_its_owner_can_read_the_file(path):
    Ledger.open(path, VirtualClock())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_daemon_that_was_overtaken_cannot_write_any_more(path):
    old = Ledger.open(path, VirtualClock())
    Ledger.open(path, VirtualClock())

    with pytest.raises(OwnershipLost):
        add_machine(old)
    assert old.living_machine("uid:1", "web") is None


def test_two_living_machines_cannot_share_a_key(path):
    ledger = Ledger.open(path, VirtualClock())
    add_machine(ledger)

    with pytest.raises(sa.exc.IntegrityError):
        add_machine(ledger, generation=2)


@pytest.mark.parametrize("state", [GONE, LATE])
def test_a_dead_machine_leaves_its_key_free(path, state):
    ledger = Ledger.open(path, VirtualClock())
    ledger.update_object(add_machine(ledger), state=state)

    add_machine(ledger, generation=2)

    living = ledger.living_machine("uid:1", "web")
    assert living is not None
    assert living.generation == 2


def shape(path) -> dict[str, object]:
    """Columns, keys and indexes of each table of a file, and whose file it is."""
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        tables = {
            name: sorted(
                [tuple(row) for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")],
                key=lambda column: column[1],
            )
            + sorted(tuple(row[1:]) for row in connection.exec_driver_sql(f"PRAGMA index_list({name})"))
            for name in sa.inspect(connection).get_table_names()
        }
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("SELECT * FROM alembic_version").all()
        return {**tables, "application": application, "version": version}


def test_a_new_ledger_is_what_the_migrations_make(path, tmp_path):
    Ledger.open(path, VirtualClock()).close()
    migrated = tmp_path / "migrated.sqlite"
    with sa.create_engine(f"sqlite:///{migrated}").begin() as connection:
        migrate(connection)

    assert shape(path) == shape(migrated)
    assert set(shape(path)) > {table.name for table in metadata.sorted_tables}


def test_alembic_is_loaded_for_upgrades_alone(path):
    """It is a tenth of what the daemon has in memory."""
    opens = (
        "import pathlib, sys; from ovirt_provision.clock import SystemClock; "
        "from ovirt_provision.ledger.store import Ledger; "
        f"Ledger.open(pathlib.Path({str(path)!r}), SystemClock()); print('alembic' in sys.modules)"
    )
    for _ in ("a new one", "an old one"):
        ended = subprocess.run([sys.executable, "-c", opens], capture_output=True, text=True, check=True)
        assert ended.stdout == "False\n"
