"""What a daemon loads: it stays for long, so what only its clients need is not to stay with it."""

import os
import subprocess
import sys

SERVE = """
import sys
from ovirt_provision.cli import main
sys.argv = ["ovirt-provision", "serve", "--config", "/does/not/exist"]
try:
    main()
except SystemExit as end:
    assert end.code == 78, end.code
import ovirt_provision.runtime
print(*sys.modules)
"""
# Each of them takes 2 MB or more.
ELSEWHERE = {
    "ovirt_provision.cli.commands",
    "ovirt_provision.simulator",
    "rich",
    "pygments",
    "alembic",
    "aiohttp",
    "requests",
    "sqlalchemy.dialects.postgresql",
}


def test_a_daemon_loads_nothing_that_only_others_need(tmp_path):
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", SERVE], env=environ, capture_output=True, text=True, check=True
    )
    loaded = set(ended.stdout.split())
    assert "ovirt_provision.ledger.store" in loaded
    assert not loaded & ELSEWHERE
