"""User data merged with what the engine writes itself, as a guest reads the two.

More random texts: `OVIRT_PROVISION_EXAMPLES=20000 pytest tests/guest/test_cloud_config.py`;
`--hypothesis-seed=N` replays.
"""

import base64
import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ovirt_provision.errors import Violation
from ovirt_provision.guest.cloud_config import ENGINE_COMMAND, LONGEST, SCRIPT
from ovirt_provision.guest.first_boot import first_boot, violations_of
from ovirt_provision.simulator import config_drive
from ovirt_provision.v1 import resources_pb2

EXAMPLES = int(os.environ.get("OVIRT_PROVISION_EXAMPLES", "100"))
KEY = "ssh-ed25519 AAAA somebody"
OTHER = "ssh-ed25519 BBBB somebody-else"
CANARY = "canary-5d1c7a90"


def wrong(user_data: str = "", **fields) -> list[Violation]:
    asked = resources_pb2.Initialization(user_data=user_data, **fields)
    return violations_of(asked, "start_with", vm_name="web", os_type="debian_9")


def read(user_data: str = "", **fields) -> dict:
    """The cloud-config that the guest finds on the drive that the engine makes, which is read as cloud-init
    reads it."""
    asked = resources_pb2.Initialization(user_data=user_data, **fields)
    assert wrong(user_data, **fields) == []
    told = first_boot(asked).initialization()
    drive = config_drive.config_drive(
        config_drive.Initialization(
            user_name=told.user_name or "", timezone=told.timezone, custom_script=told.custom_script
        )
    )
    text = drive["openstack/latest/user_data"].decode()
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def test_without_user_data_passwords_are_off_and_the_engines_own_stays():
    found = read(user_name="builder")
    assert found["ssh_pwauth"] is False
    assert found["user"] == "builder"
    assert found["runcmd"] == [ENGINE_COMMAND]
    assert found["disable_root"] is False


@pytest.mark.parametrize(
    ("user_data", "fields", "allowed"),
    [
        ("", {"ssh_password_authentication": True}, True),
        ("ssh_pwauth: true", {}, True),
        ("ssh_pwauth: true", {"ssh_password_authentication": True}, True),
        ("ssh_pwauth: false", {}, False),
        ("packages: [vim]", {}, False),
    ],
)
def test_passwords_are_taken_where_somebody_asks_for_it(user_data, fields, allowed):
    assert read(user_data, **fields)["ssh_pwauth"] is allowed


def test_lists_are_merged_and_what_the_engine_runs_comes_first():
    found = read(
        f"#cloud-config\nruncmd: [[echo, one], echo two]\nssh_authorized_keys: ['{OTHER}']\n"
        "write_files: [{path: /etc/a, content: a}]\nbootcmd: [echo zero]\nchpasswd: {list: 'root:x'}\n",
        files=[{"path": "/etc/b", "content": b"\x00\xff", "permissions": "0600"}],
        authorized_ssh_keys=[KEY],
    )
    assert found["runcmd"] == [ENGINE_COMMAND, ["echo", "one"], "echo two"]
    assert found["bootcmd"] == ["echo zero"]
    assert found["ssh_authorized_keys"] == [OTHER]
    assert found["chpasswd"] == {"list": "root:x", "expire": False}
    first, second = found["write_files"]
    assert first == {"path": "/etc/a", "content": "a"}
    assert (second["path"], second["permissions"]) == ("/etc/b", "0600")
    assert base64.b64decode(second["content"]) == b"\x00\xff"


def test_a_script_runs_as_it_is_at_the_end_of_the_first_boot():
    script = f"#!/usr/bin/env python3\nprint('{CANARY} é \x07')\n"
    found = read(script)
    (file,) = found["write_files"]
    assert (file["path"], file["permissions"], file["encoding"]) == (SCRIPT, "0700", "b64")
    assert base64.b64decode(file["content"]).decode() == script
    assert found["runcmd"] == [ENGINE_COMMAND, [SCRIPT]]


def test_what_the_engine_gets_is_ascii_so_that_no_part_of_it_can_spoil_it():
    told = first_boot(resources_pb2.Initialization(user_data='motd: é💥\nx: "\\a"\n')).custom_script
    assert told.isascii()
    assert yaml.safe_load(told)["motd"] == "é💥"


def test_an_account_is_made_and_gets_the_keys_whatever_accounts_the_user_data_makes():
    asked = {"user_name": "builder", "authorized_ssh_keys": [KEY]}
    assert read("users: [{name: ops}]", **asked)["users"] == ["default", {"name": "ops"}]
    assert read("users: [default, {name: ops}]", **asked)["users"] == ["default", {"name": "ops"}]
    found = read(f"users: [{{name: builder, ssh_authorized_keys: ['{OTHER}']}}]", **asked)
    assert found["users"] == [{"name": "builder", "ssh_authorized_keys": [OTHER, KEY]}]
    assert "user" not in found, "it would be a second account"
    found = read("user: {gecos: The Builder}", **asked)
    assert found["user"] == {"gecos": "The Builder", "name": "builder"}
    assert read("user: builder", **asked)["user"] == "builder"


def test_a_time_zone_is_there_once():
    found = read("timezone: Europe/Berlin", time_zone="Europe/Berlin")
    assert found["timezone"] == "Europe/Berlin"
    told = first_boot(
        resources_pb2.Initialization(user_data="timezone: Europe/Berlin", time_zone="Europe/Berlin")
    ).initialization()
    assert "timezone" not in told.custom_script
    (violation,) = wrong(time_zone="Europe/Berln")
    assert violation == Violation(
        "start_with.time_zone", "there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"
    )


@pytest.mark.parametrize(
    ("user_data", "fields", "field", "key"),
    [
        ("hostname: db", {"host_name": "web"}, "host_name", "hostname"),
        ("fqdn: db.example.com", {"host_name": "web"}, "host_name", "fqdn"),
        ("preserve_hostname: true", {"host_name": "web"}, "host_name", "preserve_hostname"),
        ("timezone: UTC", {"time_zone": "Europe/Berlin"}, "time_zone", "timezone"),
        ("user: ops", {"user_name": "builder"}, "user_name", "user"),
        ("user: {name: ops}", {"user_name": "builder"}, "user_name", "user"),
        (
            "ssh_pwauth: true",
            {"ssh_password_authentication": False},
            "ssh_password_authentication",
            "ssh_pwauth",
        ),
        ("resolv_conf: {}", {"dns_servers": ["10.0.0.2"]}, "dns_servers", "resolv_conf"),
    ],
)
def test_what_says_two_things_is_refused_with_both_names(user_data, fields, field, key):
    (violation,) = wrong(user_data, **fields)
    assert violation.field == f"start_with.{field}"
    assert f"`{key}:`" in violation.description


def test_what_says_the_same_is_taken():
    assert read("fqdn: web.example.com\nhostname: WEB", host_name="web")["fqdn"] == "web.example.com"


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        ("Content-Type: multipart/mixed; boundary=x\n\n--x", "multi-part"),
        ("MIME-Version: 1.0\n", "multi-part"),
        ("#include\nhttps://example.com/", "list of URLs"),
        ("#cloud-boothook\n#!/bin/sh\n", "bootcmd"),
        ("#cloud-config-archive\n- x", "archive"),
        ("#part-handler\n", "part handler"),
        ("## template: jinja\n#cloud-config\n", "template"),
        ("<powershell>", "sysprep"),
        ('{"ignition": {"version": "3.3.0"}}', "ignition"),
        (base64.b64encode(b"#cloud-config\nruncmd: []").decode(), "base64"),
        (base64.b64encode(b"#!/bin/sh\n").decode(), "base64"),
        ("#!/bin/sh\r\necho\r\n", "Windows line ends"),
        ("network: {version: 2}", "nic_configurations"),
        ("runcmd: echo", "list under `runcmd:`"),
        ("- a", "mapping"),
        ("just words", "mapping"),
    ],
)
def test_other_kinds_are_refused_with_what_to_do(user_data, said):
    (violation,) = wrong(user_data)
    assert violation.field == "start_with.user_data"
    assert said in violation.description


@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        (f"#cloud-config\npassword: [{CANARY}", "line 2, column 27"),
        (f"a: {CANARY}\n  b: {CANARY}", "line 2, column 4: mapping values are not allowed here"),
        (f"runcmd: []\nx: {CANARY}\nruncmd: [{CANARY}]", "line 3, column 1: `runcmd` is there twice"),
        (f"{CANARY}: 1\n{CANARY}: 2", "line 2, column 1: a key is there twice"),
        (f"x: {{{CANARY}: 1, {CANARY}: 2}}", "line 1, column 25: a key is there twice"),
        (f"x: *{CANARY}", "line 1, column 4"),
        (f"x: !{CANARY} 1", "line 1, column 4"),
        (f"x: '{CANARY}\ty: \\{CANARY}", "line 1"),
        (f"a: 1\n{CANARY}: \x01", "line 2, column 18"),
        ("---\na: 1\n---\nb: 2", "line 3, column 1: but found another document"),
        ("[" * 5000, "nested too deeply"),
        ("x: 2020-13-45", "a value that is none"),
        (f"x: !!timestamp {CANARY}", "a value that is none"),
        (f"x: !!bool {CANARY}", "a value that is none"),
        ('x: !!int ""', "a value that is none"),
        ("x: !!float 1e", "a value that is none"),
    ],
)
def test_a_fault_in_the_yaml_is_told_by_line_and_column_and_nothing_of_the_text(user_data, said):
    (violation,) = wrong(user_data)
    assert said in violation.description
    assert CANARY not in violation.description


@pytest.mark.parametrize("depth", range(100, 500, 20))
def test_what_is_deep_is_merged_or_refused(depth):
    """What can be read and cannot be written, or the other way round, is no exception."""
    assert {violation.description for violation in wrong("x: " + "[" * depth + "]" * depth)} <= {
        "is nested too deeply"
    }


def test_what_makes_no_sense_to_the_merge_is_left_to_the_guest():
    asked = {"user_name": "builder", "files": [{"path": "/a", "content": b"a"}]}
    assert wrong("write_files: [{path: [a]}, 1]\nusers: [[a], {name: {}}]\nuser: builder", **asked) == []
    assert wrong("users: &a [*a]\n", **asked) == []


def test_mappings_that_grow_by_merging_each_other_are_refused_before_they_do():
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 64)]
    (violation,) = wrong("\n".join(levels))
    assert "too many keys are merged" in violation.description


def test_what_becomes_too_long_is_refused():
    files = [{"path": f"/{number}", "content": bytes(200_000)} for number in range(3)]
    (violation,) = wrong(files=files)
    assert str(LONGEST) in violation.description
    (violation,) = wrong("write_files: [{path: /a}]", files=[{"path": "/a"}])
    assert violation.field == "start_with.files[0].path"


def test_all_that_is_wrong_is_told_at_once():
    fields = {violation.field for violation in wrong("user: a\nhostname: b", user_name="c", host_name="d")}
    assert fields == {"start_with.user_name", "start_with.host_name"}


# Pieces of YAML that mean something in it, to the merge or to nobody.
PARTS = (
    *("user", "users", "runcmd", "bootcmd", "write_files", "chpasswd", "ssh_pwauth", "hostname", "timezone"),
    *("path", "content", "name", "default", "builder", "web", "true", "null", "0755", "2026-02-30", "1e3"),
    *("~", "-", ":", "?", "[", "]", "{", "}", ",", "*", "|", ">", "'", '"', "#", "%", "@", "`", "\t"),
    *("<<:", "!!int", "!!set", "!!binary", "&a", "*a", "---", "...", "\\x", "\x07", "é"),
    *(" ", "  ", ": ", "- ", "\n", "\n  ", "\n- "),
)


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
@settings(max_examples=EXAMPLES, deadline=None)
def test_whatever_is_given_is_refused_or_makes_one_mapping_with_the_engines(text):
    fields = {"user_name": "builder", "host_name": "web", "files": [{"path": "/a"}], "time_zone": "UTC"}
    initialization = resources_pb2.Initialization(user_data=text, **fields)
    if violations_of(initialization, "start_with", vm_name="web", os_type="") == []:
        found = read(text, **fields)
        assert {"path": "/a", "encoding": "b64", "content": ""} in found["write_files"]
        assert found["runcmd"][0] == ENGINE_COMMAND
