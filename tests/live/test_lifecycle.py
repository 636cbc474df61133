"""The life of Machines and templates on a real engine. `make live` runs it; CONTRIBUTING.md says how."""

import signal
import uuid

import pytest

from tests.live.conftest import Live

pytestmark = [pytest.mark.live, pytest.mark.timeout(4 * 3600)]


def keys(live: Live) -> list[str]:
    return sorted(machine["key"] for machine in live.provision("machine", "list").get("machines", []))


def test_nothing_keeps_machines_from_being_made(live: Live):
    findings = live.provision("doctor")["findings"]

    assert [finding for finding in findings if finding["severity"] == "SEVERITY_PROBLEM"] == []


def test_a_machine_lives_and_is_gone(live: Live):
    made = live.create("web")
    again = live.create("web")
    assert again["machine"]["id"] == made["machine"]["id"]
    assert keys(live) == [live.name("web")]
    if live.starts:
        assert live.provision("machine", "start", made["key"])["machine"]["addresses"]
        live.provision("machine", "stop", made["key"])

    live.provision("machine", "destroy", made["key"])

    assert keys(live) == []
    assert live.ours() == []


def test_a_copy_and_a_template_are_independent_of_their_source(live: Live):
    live.create("source")
    live.provision("machine", "clone", live.name("source"), live.name("copy"))
    template = live.provision("template", "create", live.name("source"), live.name("golden"))
    live.provision("machine", "destroy", live.name("source"))
    assert keys(live) == [live.name("copy")]

    live.provision("machine", "destroy", live.name("copy"))
    live.provision("template", "destroy", template["template"]["id"])

    assert live.ours() == []


def test_a_killed_daemon_leaves_one_machine(live: Live):
    request = ("--request-id", str(uuid.uuid4()))
    live.create("killed", "--no-wait", *request)
    live.end_daemon(signal.SIGKILL)

    made = live.create("killed", *request)

    assert keys(live) == [live.name("killed")]
    live.provision("machine", "destroy", made["key"])
    assert live.ours() == []


def test_an_interrupted_create_leaves_nothing(live: Live):
    where = ("--template", live.template, "--cluster", live.cluster)
    process = live.start("machine", "create", live.name("interrupted"), *where, "--clone")
    assert process.stderr is not None
    # Its progress: the engine was asked.
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)

    assert process.returncode == 130
    assert live.ours() == []
