"""The log as its reader sees it."""

import io
import logging
import warnings

import pytest
import structlog
from pydantic import SecretStr

from ovirt_provision import logs
from ovirt_provision.v1 import resources_pb2

CANARY = "ca&nary s3cret/1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[io.StringIO, Terminal])
def stream(request):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    made = request.param()
    logs.configure(made)
    yield made
    root.handlers[:], root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_one_line_per_event_with_its_fields(stream):
    structlog.get_logger("ovirt_provision.a").info(
        "made a\nmachine", key="web-1", seconds=1.5, path=["x", "y"]
    )
    logging.getLogger("b").warning("from the %s library", "standard")
    logging.getLogger("b").info("chatter")
    text = stream.getvalue()
    assert "web-1" in text
    assert "standard" in text
    assert "chatter" not in text
    if not stream.isatty():
        first, second = text.splitlines()
        assert 'level=info event="made a\\nmachine"' in first
        assert "key=web-1 seconds=1.5" in first
        assert 'level=warning event="from the standard library" logger=b' in second


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "OVIRT_PASSWORD",
        "access_token",
        "Authorization",
        "custom_script",
        "user_data",
        "private_key",
    ],
)
def test_values_of_secret_keys_are_not_shown(stream, key):
    log = structlog.get_logger("ovirt_provision.a")
    log.info("plain", **{key: CANARY})
    log.info("nested", headers={key: [CANARY], "Accept": "application/xml"}, items=[{key: CANARY}])
    logging.getLogger("library").warning("extra", extra={key: CANARY})
    assert CANARY not in stream.getvalue()
    assert "application/xml" in stream.getvalue()


def test_a_registered_secret_is_not_shown_wherever_it_turns_up(stream):
    logs.register_secret(CANARY)
    try:
        log = structlog.get_logger("ovirt_provision.a")
        log.info(
            f"the engine said: {CANARY}",
            url="https://e/?p=ca%26nary%20s3cret%2F1",
            body="<p>ca&amp;nary s3cret/1</p>",
        )
        log.info("form", body="p=ca%26nary+s3cret%2F1", nested={"a": [CANARY]}, object=ValueError(CANARY))
        logging.getLogger("library").error("%s", CANARY)
        try:
            local = CANARY
            raise RuntimeError(f"cannot use {local}")
        except RuntimeError:
            log.exception("failed")
            logging.getLogger("library").exception("failed too")
        warnings.warn(f"old {CANARY}", stacklevel=1)
    finally:
        logs.forget_secret(CANARY)
    text = stream.getvalue()
    assert "nary" not in text
    assert text.count(logs.REDACTED) >= 9
    assert text.count("RuntimeError: cannot use [redacted]") == 2
    if not stream.isatty():
        assert len(text.splitlines()) == 6


def test_a_secret_that_begins_with_another_goes_whole():
    for secret in ("abcdef", "abcdefghij"):
        logs.register_secret(secret)
    assert logs.redact("x abcdefghij y abcdef z") == "x [redacted] y [redacted] z"
    logs.forget_secret("abcdef")
    assert logs.redact("x abcdefghij y abcdef z") == "x [redacted] y abcdef z"
    logs.forget_secret("abcdefghij")


def test_a_secret_of_two_operations_stays_hidden_until_both_have_ended():
    logs.register_secret("used by both")
    logs.register_secret("used by both")
    logs.forget_secret("used by both")
    assert logs.redact("used by both") == logs.REDACTED
    logs.forget_secret("used by both")
    assert logs.redact("used by both") == "used by both"


def test_short_values_do_not_garble_the_log():
    logs.register_secret("e")
    assert logs.redact("every event") == "every event"


def test_messages_and_secret_types_do_not_spill(stream):
    request = resources_pb2.Initialization(user_data=CANARY)
    structlog.get_logger("ovirt_provision.a").info("got", request=request, value=SecretStr(CANARY))
    assert "nary" not in stream.getvalue()
    assert "ovirt_provision.v1.Initialization" in stream.getvalue()


def test_a_log_that_has_grown_goes_on_in_an_empty_file(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LARGEST_LOG", 100)
    file = tmp_path / "daemon.log"
    logs.cut(file)
    with file.open("a") as log:
        for said in ("a" * 99, "b" * 100, "c"):
            print(said, file=log, flush=True)
            logs.cut(file)

    assert file.read_text() == "c\n"
    assert file.with_name("daemon.log.1").read_text() == "b" * 100 + "\n"
    assert file.with_name("daemon.log.1").stat().st_mode & 0o777 == 0o600
