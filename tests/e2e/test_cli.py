"""The command line, a daemon that it starts itself, and a simulated engine without guests."""

import json
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from stage import Stage

CREATE = ("machine", "create", "web", "--template", "debian-12")


def run(stage: Stage, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = stage.start(
        *stage.cli(*arguments), extra=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate()
    assert "Traceback" not in err
    return process.returncode, out, err


def test_a_machine_from_its_making_to_its_end(stage: Stage, is_untouched: Callable[[], bool]) -> None:
    code, out, err = run(stage, *CREATE, "--memory", "512MiB", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["machine"]["status"] == "STATUS_DOWN"
    assert run(stage, "machine", "start", "web")[0] == 0
    row = run(stage, "machine", "list")[1].splitlines()[1]
    assert row.split()[:2] == ["web", "up"]
    assert run(stage, "machine", "stop", "web", "--force")[0] == 0
    assert run(stage, "machine", "destroy", "web")[0] == 0
    assert run(stage, "machine", "destroy", "web")[0] == 0, "destroying what is gone succeeds"
    assert run(stage, "machine", "get", "web")[0] == 4
    assert is_untouched()


def test_a_copy_and_two_versions_of_a_template_of_it(stage: Stage, is_untouched: Callable[[], bool]) -> None:
    assert run(stage, *CREATE)[0] == 0
    code, out, err = run(
        stage, "machine", "clone", "web", "copy", "--start", "--hostname", "copy", "-o", "json"
    )
    assert code == 0, err
    told = json.loads(out)
    assert (told["machine"]["key"], told["machine"]["status"]) == ("copy", "STATUS_UP")
    assert told["machine"]["addresses"][0]["ip"]
    assert (told["cleanup"], told["machine"]["lease"]["kind"]) == ("CLEANUP_DONE", "KIND_KEPT")
    assert run(stage, "machine", "stop", "copy", "--force")[0] == 0
    make = ("template", "create", "copy", "golden", "--no-seal")
    assert run(stage, *make)[0] == 0
    assert run(stage, *make, "--new-version", "--version-name", "spring")[0] == 0
    rows = [row.split()[:3] for row in run(stage, "template", "list", "golden")[1].splitlines()[1:]]
    assert rows == [["golden", "1", "base"], ["golden", "2", "spring"]]
    assert run(stage, "template", "destroy", "golden:1")[0] == 0
    assert run(stage, "template", "destroy", "golden:2")[0] == 0
    assert run(stage, "machine", "destroy", "copy")[0] == 0
    assert run(stage, "machine", "destroy", "web")[0] == 0
    assert is_untouched()


def test_a_repeated_request_makes_one_machine(stage: Stage) -> None:
    request_id = str(uuid.uuid4())
    first = json.loads(run(stage, *CREATE, "--request-id", request_id, "-o", "json")[1])
    second = json.loads(run(stage, *CREATE, "--request-id", request_id, "-o", "json")[1])
    assert first["id"] == second["id"]
    code, _, err = run(stage, *CREATE, "--request-id", request_id, "--memory", "1GiB")
    assert code == 5, err
    code, _, err = run(stage, *CREATE, "--memory", "1GiB")
    assert code == 6
    assert "memory" in err
    stage.provision("machine", "destroy", "web")


def test_ctrl_c_undoes_a_create(stage: Stage, is_untouched: Callable[[], bool]) -> None:
    process = stage.start(*stage.cli(*CREATE, "--clone"), stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert "CreateMachine" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert is_untouched()


def test_a_killed_daemon_is_started_again_and_goes_on(stage: Stage) -> None:
    process = stage.start(
        *stage.cli(*CREATE, "--clone", "-o", "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert "CreateMachine" in process.stderr.readline()
    stage.stop_daemon(signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["machine"]["status"] == "STATUS_DOWN"
    assert [name for name in stage.virtual_machines() if name == "web"] == ["web"]
    stage.provision("machine", "destroy", "web")


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("wrong-password", "refused the login"),
        ("wrong-ca", "cannot be verified"),
        ("down", "cannot be reached"),
        ("wrong-pasword", "did you mean 'wrong-password'?"),
    ],
)
def test_what_is_wrong_with_an_engine_is_told(stage: Stage, profile: str, told: str) -> None:
    code, _, err = run(stage, "engine", "get", profile)
    assert code in (4, 6, 9)
    assert told in err


def test_a_daemon_never_serves_another_shells_engine(stage: Stage) -> None:
    run(stage, "engine", "list")
    code, _, err = run(stage, "machine", "list", OVIRT_URL="https://other.example.com/ovirt-engine/api")
    assert code == 6
    assert stage.environment["OVIRT_URL"] in err


def test_the_password_lies_nowhere(stage: Stage) -> None:
    run(stage, *CREATE, "--start")
    pid = stage.daemon_pid()
    assert pid is not None
    password = stage.environment["OVIRT_PASSWORD"].encode()
    assert b"OVIRT_" not in Path(f"/proc/{pid}/environ").read_bytes()
    places = [Path(f"/proc/{pid}/environ"), Path(f"/proc/{pid}/cmdline")]
    places += [path for path in (stage.folder / "state").rglob("*") if path.is_file()]
    assert any(path.name == "daemon.log" for path in places)
    assert [path for path in places if password in path.read_bytes()] == []
    stage.provision("machine", "destroy", "web")
