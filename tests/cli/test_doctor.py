"""`doctor`: an answer whatever is missing, with advice, and an exit code that scripts can use."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from ovirt_provision.cli import client, doctor
from ovirt_provision.simulator.certificates import make_certificates
from ovirt_provision.v1 import engines_pb2
from ovirt_provision.v1.engines_pb2 import Finding
from ovirt_provision.v1.resources_pb2 import Error

from .conftest import DEADLINE, Cli, FakeDaemon, Result

STARTABLE = {"OVIRT_PROVISION_ADDRESS": ""}


def finding(severity: Finding.Severity.ValueType, name: str = "hosts") -> Finding:
    advice = "" if severity == Finding.SEVERITY_OK else "Activate a host."
    return Finding(name=name, severity=severity, summary="2 of 3 hosts are up", advice=advice)


def found(result: Result) -> dict[str, Any]:
    """Findings by name."""
    return {each["name"]: each for each in result.json["findings"]}


def odd(result: Result) -> dict[str, str]:
    return {
        name: each["severity"].removeprefix("SEVERITY_").lower()
        for name, each in found(result).items()
        if each["severity"] != "SEVERITY_OK"
    }


def configured(cli: Cli, text: str) -> None:
    folder = cli.folder / ".config/ovirt-provision"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)


@pytest.fixture
def short_home(cli: Cli) -> Iterator[Cli]:
    """A home that leaves enough of the socket's path; the daemon that was started there is ended."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        cli.folder = Path(folder)
        cli.environment |= STARTABLE
        yield cli
        lock = cli.folder / ".local/state/ovirt-provision/daemon.lock"
        if lock.exists():
            pid = int(lock.read_text().split()[0])
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + DEADLINE
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_all_is_well(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.findings = [finding(Finding.SEVERITY_OK)]
    result = cli.run("doctor")
    assert result.code == 0
    assert [line.split()[:2] for line in result.out.splitlines()[1:]] == [
        ["configuration", "ok"],
        ["daemon", "ok"],
        ["engine", "ok"],
        ["hosts", "ok"],
    ]
    assert cli.address in result.out
    assert "state in /state" in result.out
    assert "lab: https://e/api as me" in result.out
    assert "0 problems, 0 warnings" in result.err


@pytest.mark.parametrize(
    ("severity", "code", "told"),
    [
        (Finding.SEVERITY_WARNING, 0, "0 problems, 1 warning"),
        (Finding.SEVERITY_PROBLEM, 1, "1 problem, 0 warnings"),
    ],
)
def test_only_a_problem_changes_the_exit_code(
    cli: Cli, daemon: FakeDaemon, severity: Finding.Severity.ValueType, code: int, told: str
) -> None:
    daemon.findings = [finding(severity)]
    result = cli.run("doctor")
    assert (result.code, told in result.err) == (code, True)
    assert "→ Activate a host." in result.out


def test_the_named_engine_is_examined(cli: Cli, daemon: FakeDaemon) -> None:
    cli.run("doctor", "--engine", "lab")
    assert daemon.last(engines_pb2.ExamineEngineRequest).engine.profile == "lab"


def test_json_has_the_findings_of_both_sides(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.findings = [finding(Finding.SEVERITY_PROBLEM)]
    result = cli.run("doctor", "-o", "json")
    assert result.code == 1
    assert list(found(result)) == ["configuration", "daemon", "engine", "hosts"]
    assert odd(result) == {"hosts": "problem"}


def test_what_the_daemon_refuses_is_a_problem_with_its_advice(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.refusal = Error(
        code=code_pb2.NOT_FOUND, message="no engine profile 'lap'", advice="Name one of these."
    )
    result = cli.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"daemon": "problem"})
    assert found(result)["daemon"]["advice"] == "Name one of these."


def test_a_daemon_of_another_version(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.version = "0.0.1"
    result = cli.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (0, {"daemon": "warning"})
    assert "0.0.1" in found(result)["daemon"]["summary"]


def test_an_engine_that_answers_too_slowly(
    cli: Cli, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVIRT_PROVISION_ADDRESS", cli.address)
    monkeypatch.setenv("HOME", str(cli.folder))
    monkeypatch.setattr(client, "CALL_TIMEOUT", 1.0)
    daemon.examines.clear()
    try:
        *_, last = doctor._examine("lab")
    finally:
        daemon.examines.set()
    assert (last.name, last.severity) == ("engine", Finding.SEVERITY_PROBLEM)
    assert "did not end within 1 s" in last.summary


def test_without_any_configuration_both_ways_are_named(short_home: Cli) -> None:
    result = short_home.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"configuration": "problem", "daemon": "problem"})
    assert "OVIRT_URL" in found(result)["configuration"]["advice"]
    assert "config.yaml" in found(result)["configuration"]["advice"]


def test_a_configuration_with_mistakes_starts_no_daemon_and_shows_no_password(short_home: Cli) -> None:
    configured(short_home, "engines: {lab: {url: https://e/ovirt-engine/api, usernam: me, password: canary}}")
    result = short_home.run("doctor")
    assert result.code == 1
    assert "did you mean 'username'?" in result.out
    assert "Mend the configuration first." in result.out
    assert "canary" not in result.out + result.err
    assert not (short_home.folder / ".local").exists()


def test_a_missing_ca_file_leads_to_engine_trust(cli: Cli) -> None:
    cli.environment |= STARTABLE | {
        "OVIRT_URL": "https://engine/ovirt-engine/api",
        "OVIRT_USERNAME": "me@internal",
        "OVIRT_PASSWORD": "canary",
        "OVIRT_CAFILE": "/no/ca.pem",
    }
    result = cli.run("doctor", "-o", "json")
    assert "/no/ca.pem cannot be read" in found(result)["configuration"]["summary"]
    assert "ovirt-provision engine trust" in found(result)["configuration"]["advice"]


def test_variables_that_nobody_reads(cli: Cli) -> None:
    configured(cli, "engines: {lab: {url: https://e/ovirt-engine/api, username: me, password: canary}}")
    (cli.folder / ".config/ovirt-provision/config.yaml").chmod(0o600)
    cli.environment["OVIRT_PASSWORD"] = "canary"
    result = cli.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (0, {"configuration": "warning"})
    assert "OVIRT_PASSWORD is not used without OVIRT_URL" in found(result)["configuration"]["summary"]


def test_an_address_that_is_none(cli: Cli) -> None:
    cli.address = "nowhere"
    result = cli.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"daemon": "problem"})
    assert "unix:/absolute/path" in found(result)["daemon"]["advice"]


def test_without_its_daemon_the_engine_is_looked_at_from_here(cli: Cli, engine: dict[str, str]) -> None:
    cli.address = "unix:/nowhere/daemon.sock"
    cli.environment |= engine
    result = cli.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"daemon": "problem"})
    assert "DB Up!" in found(result)["connection"]["summary"]


def test_without_its_daemon_a_wrong_ca_is_told(cli: Cli, engine: dict[str, str], tmp_path: Path) -> None:
    other, _ = make_certificates(tmp_path / "other", "127.0.0.1")
    cli.address = "unix:/nowhere/daemon.sock"
    cli.environment |= engine | {"OVIRT_CAFILE": str(other)}
    result = cli.run("doctor", "-o", "json")
    assert odd(result) == {"daemon": "problem", "certificate": "problem"}
    assert "ovirt-provision engine trust" in found(result)["certificate"]["advice"]


def test_without_its_daemon_an_engine_that_is_down_is_told(cli: Cli, engine: dict[str, str]) -> None:
    cli.address = "unix:/nowhere/daemon.sock"
    cli.environment |= engine | {"OVIRT_URL": "https://127.0.0.1:1/ovirt-engine/api"}
    result = cli.run("doctor", "-o", "json")
    assert odd(result) == {"daemon": "problem", "connection": "problem"}


def test_a_daemon_that_cannot_start_says_why(short_home: Cli, engine: dict[str, str]) -> None:
    state = short_home.folder / ".local/state/ovirt-provision"
    state.mkdir(parents=True)
    state.chmod(0o755)
    short_home.environment |= engine
    result = short_home.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"daemon": "problem"})
    assert f"chmod 700 {state}" in found(result)["daemon"]["advice"]
    assert "connection" in found(result)


def test_a_fresh_machine_with_a_daemon_started_for_it(short_home: Cli, engine: dict[str, str]) -> None:
    short_home.environment |= engine
    result = short_home.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (0, {})
    assert str(short_home.folder / ".local/state/ovirt-provision") in found(result)["daemon"]["summary"]
    assert {"certificate", "login", "create-vms", "hosts", "leftovers"} <= set(found(result))

    short_home.environment["OVIRT_URL"] = "https://other/ovirt-engine/api"
    other = short_home.run("doctor", "-o", "json")
    assert (other.code, odd(other)) == (1, {"engine": "problem"})
    assert "not the engine of your OVIRT_* variables" in found(other)["engine"]["summary"]


def test_a_wrong_password(short_home: Cli, engine: dict[str, str]) -> None:
    short_home.environment |= engine | {"OVIRT_PASSWORD": "canary-7f3a"}
    result = short_home.run("doctor", "-o", "json")
    assert (result.code, odd(result)) == (1, {"login": "problem"})
    assert "canary" not in result.out + result.err
