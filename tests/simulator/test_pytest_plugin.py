"""The fixture that other projects get."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import yaml

TEST = """
import pytest
import requests

def ask(simulator, path):
    session = requests.Session()
    session.trust_env = False
    session.auth = (simulator.username, simulator.password)
    return session.get(simulator.url + path, headers={"Accept": "application/json"}, verify=simulator.ca_file)

def test_it_answers_and_counts(ovirt_simulator):
    assert ask(ovirt_simulator, "/clusters").json()["cluster"][0]["name"] == "Default"
    assert [one.path for one in ovirt_simulator.requests] == ["/clusters"]

def test_it_is_new_each_time_and_has_faults(ovirt_simulator):
    assert not ovirt_simulator.requests
    ovirt_simulator.arm("unavailable", nth=2)
    assert [ask(ovirt_simulator, "/vms").status_code for _ in range(3)] == [200, 503, 200]

@pytest.mark.ovirt_simulator(data=WORLD, profile="engine")
def test_it_has_a_world_of_ones_own(ovirt_simulator):
    assert {vm["name"] for vm in ask(ovirt_simulator, "/vms").json()["vm"]} == {"web", "db"}
    assert ovirt_simulator.run(lambda simulator: len(simulator.world.vms)) == 2
"""


PAGE = Path(__file__).parents[2] / "docs/simulator.md"


def test_what_the_page_shows_of_the_fixture_works(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test_page.py").write_text(next(block for block in blocks if "ovirt_simulator" in block))
    assert "1 passed" in run_pytest(tmp_path)


def test_other_projects_can_use_the_fixture(tmp_path):
    world = tmp_path / "world.yaml"
    world.write_text(yaml.dump({"vms": [{"name": "web"}, {"name": "db", "status": "up"}]}))
    text = textwrap.dedent(TEST).replace("WORLD", f"__import__('pathlib').Path({str(world)!r})")
    (tmp_path / "test_theirs.py").write_text(text)
    assert "3 passed" in run_pytest(tmp_path)


def run_pytest(folder):
    # By name and nothing else: the installed package would load it a second time.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = [
        "-q",
        "-p",
        "ovirt_provision.simulator.pytest_plugin",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    return ended.stdout + ended.stderr
