"""Ignition configurations with the typed fields in them."""

import json

import pytest

from ovirt_provision.guest.first_boot import first_boot, violations_of
from ovirt_provision.v1 import resources_pb2

KEY = "ssh-ed25519 AAAA somebody"
CANARY = "canary-5d1c7a90"
EMPTY = '{"ignition": {"version": "3.3.0"}}'


def wrong(ignition: str, os_type: str = "rhcos_x64", **fields):
    given = resources_pb2.Initialization(ignition=ignition, **fields)
    return violations_of(given, "start_with", vm_name="web", os_type=os_type)


def completed(ignition: str, **fields):
    assert wrong(ignition, **fields) == []
    told = first_boot(resources_pb2.Initialization(ignition=ignition, **fields))
    assert told.kind == "ignition"
    # With a name the engine would add to the configuration in its own way, and fail without a password.
    assert (told.user_name, told.host_name, told.authorized_ssh_keys) == ("", "", ())
    return json.loads(told.custom_script)


def test_the_account_its_keys_and_the_host_name_are_put_into_it():
    found = completed(EMPTY, user_name="ops", authorized_ssh_keys=[KEY], host_name="web")
    assert found["passwd"]["users"] == [{"name": "ops", "groups": ["sudo"], "sshAuthorizedKeys": [KEY]}]
    assert found["storage"]["files"] == [
        {"path": "/etc/hostname", "mode": 0o644, "contents": {"source": "data:,web"}, "overwrite": True}
    ]


def test_what_is_there_stays():
    given = {
        "ignition": {"version": "2.2.0"},
        "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["other"]}], "groups": []},
        "storage": {"files": [{"path": "/etc/a"}]},
    }
    found = completed(json.dumps(given), authorized_ssh_keys=[KEY], host_name="web")
    assert found["passwd"] == {
        "users": [{"name": "core", "sshAuthorizedKeys": ["other", KEY]}],
        "groups": [],
    }
    assert found["storage"]["files"][0] == {"path": "/etc/a"}
    assert found["storage"]["files"][1]["filesystem"] == "root", "as version 2 has it"
    assert completed(json.dumps(given)) == given


@pytest.mark.parametrize(
    ("ignition", "said"),
    [
        (f'{{"{CANARY}": "{CANARY}" 1}}', "line 1, column"),
        ("[]", "version"),
        (f'{{"ignition": {{"version": "{CANARY}"}}}}', "version"),
        ('{"ignition": {"version": "1.0.0"}}', "version"),
        (f'{{"{CANARY}": 1, "{CANARY}": 2}}', "twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"ignition": {"version": "3.3.0"}, "x": NaN}', "number"),
    ],
)
def test_what_is_none_is_refused_without_telling_it(ignition, said):
    (violation,) = wrong(ignition)
    assert violation.field == "start_with.ignition"
    assert said in violation.description
    assert CANARY not in violation.description


def test_what_the_fields_cannot_be_put_into_is_refused():
    (violation,) = wrong('{"ignition": {"version": "3.0.0"}, "passwd": []}', user_name="ops")
    assert "passwd.users" in violation.description
    both = '{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/etc/hostname"}]}}'
    (violation,) = wrong(both, host_name="web")
    assert violation.field == "start_with.host_name"


def test_an_operating_system_that_the_engine_gives_none_is_refused():
    (violation,) = wrong(EMPTY, os_type="other_linux")
    assert violation.field == "start_with.ignition"
    assert "'other_linux'" in violation.description
    assert wrong(EMPTY, os_type="") == [], "what is not known is not refused"
