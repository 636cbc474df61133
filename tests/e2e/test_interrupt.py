"""The demo, interrupted."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ROOT


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of a unix socket."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


@pytest.mark.guests
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "moment", [pytest.param("Connected to SSH", marks=pytest.mark.long), "(demo-host) CreateMachine  60 %"]
)
def test_ctrl_c_leaves_nothing(tmp_path: Path, short_folder: Path, moment: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/demo.py"), str(tmp_path / "stage")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(short_folder)},
    )
    assert demo.stdout is not None
    seen = []
    for line in demo.stdout:
        seen.append(line)
        if moment in line:
            break
    os.killpg(demo.pid, signal.SIGINT)
    seen.append(demo.stdout.read())
    assert demo.wait() == 130, "".join(seen)
    assert "Interrupted; everything is cleaned up." in seen[-1]
    assert list(short_folder.iterdir()) == []
    marks = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert [mark for mark in marks if str(tmp_path).encode() in mark] == []
