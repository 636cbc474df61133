"""`engine trust`: nothing is trusted that nobody has vouched for."""

import os
import pty
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import responses
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ovirt_provision.cli import trust
from ovirt_provision.simulator.certificates import make_certificates

from .conftest import DEADLINE, Cli

ENGINE = "https://engine.example.com"
HEALTHY = "DB Up!Welcome to Health Status!"


@pytest.fixture
def ca(tmp_path: Path) -> bytes:
    return make_certificates(tmp_path / "certificates", "127.0.0.1")[0].read_bytes()


def fingerprint_of(file: str) -> str:
    return trust.fingerprint(x509.load_pem_x509_certificate(Path(file).read_bytes()))


def served(ca: bytes | str, *, status: int = 200, health: str = HEALTHY, health_status: int = 200) -> None:
    responses.get(ENGINE + trust.CA_PATH, ca, status=status)
    responses.get(ENGINE + trust.HEALTH_PATH, health, status=health_status)


def answered(cli: Cli, answer: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command at a terminal where somebody types `answer`."""
    ours, terminal = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(cli.folder), "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-m", "ovirt_provision", *arguments],
        env=environment,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        os.write(ours, f"{answer}\n".encode())
        out, _ = process.communicate(timeout=DEADLINE)
    os.close(ours)
    os.close(terminal)
    return process.returncode, out


def test_the_fingerprint_is_shown_and_yes_writes_the_ca(cli: Cli, engine: dict[str, str]) -> None:
    code, out = answered(cli, "y", "engine", "trust", engine["OVIRT_URL"])
    written = cli.folder / ".config/ovirt-provision/127.0.0.1-ca.pem"
    assert code == 0
    assert fingerprint_of(engine["OVIRT_CAFILE"]) in out
    assert "CN=oVirt simulator CA" in out
    assert HEALTHY in out
    assert f"OVIRT_CAFILE={written}" in out
    assert written.read_bytes() == Path(engine["OVIRT_CAFILE"]).read_bytes()
    assert stat.S_IMODE(written.stat().st_mode) == 0o644
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("answer", ["n", ""])
def test_without_a_yes_nothing_is_written(cli: Cli, engine: dict[str, str], answer: str) -> None:
    code, out = answered(cli, answer, "engine", "trust", engine["OVIRT_URL"])
    assert (code, "Nothing was written" in out) == (1, True)
    assert not (cli.folder / ".config").exists()


def test_where_nobody_can_be_asked_a_fingerprint_is_needed(cli: Cli, engine: dict[str, str]) -> None:
    cli.environment["OVIRT_URL"] = engine["OVIRT_URL"]
    file = cli.folder / "ca.pem"
    refused = cli.run("engine", "trust", "--output-file", str(file))
    assert refused.code == 2
    assert "--fingerprint" in refused.err
    assert not file.exists()

    right = fingerprint_of(engine["OVIRT_CAFILE"])
    plain = right.replace(":", "").lower()
    done = cli.run("engine", "trust", "--output-file", str(file), "--fingerprint", plain, "-o", "json")
    assert done.code == 0
    assert (done.json["fingerprint"], done.json["file"]) == (right, str(file))
    assert fingerprint_of(str(file)) == right

    again = cli.run("engine", "trust", "--output-file", str(file))
    assert (again.code, "holds this CA already" in again.err) == (0, True)


def test_another_fingerprint_refuses_the_ca(cli: Cli, engine: dict[str, str]) -> None:
    file = cli.folder / "ca.pem"
    wrong = "00" * 32
    result = cli.run(
        "engine", "trust", engine["OVIRT_URL"], "--output-file", str(file), "--fingerprint", wrong
    )
    assert result.code == 6
    assert fingerprint_of(engine["OVIRT_CAFILE"]) in result.err
    assert not file.exists()


def test_another_ca_is_replaced_only_when_somebody_says_so(
    cli: Cli, engine: dict[str, str], ca: bytes
) -> None:
    file = cli.folder / "ca.pem"
    file.write_bytes(ca)
    before = fingerprint_of(str(file))
    refused = cli.run("engine", "trust", engine["OVIRT_URL"], "--output-file", str(file))
    assert (refused.code, before in refused.err) == (2, True)
    assert file.read_bytes() == ca

    code, _ = answered(cli, "y", "engine", "trust", engine["OVIRT_URL"], "--output-file", str(file))
    assert code == 0
    assert fingerprint_of(str(file)) == fingerprint_of(engine["OVIRT_CAFILE"])


def test_a_server_that_its_own_ca_has_not_signed(
    engine: dict[str, str], ca: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What somebody in between, who can serve any file, would do: the engine's server with a CA of another.
    fetched = trust._get
    monkeypatch.setattr(
        trust, "_get", lambda url, verify: (200, ca) if verify is False else fetched(url, verify=verify)
    )
    with pytest.raises(trust.CaDoesNotFit, match="does not verify"):
        trust.fetch(engine["OVIRT_URL"])


def test_a_name_that_the_certificate_is_not_for(engine: dict[str, str], monkeypatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **options: resolve("127.0.0.1", *rest, **options)
    )
    with pytest.raises(trust.CaDoesNotFit, match=r"other\.example"):
        trust.fetch(engine["OVIRT_URL"].replace("127.0.0.1", "other.example"))


def test_a_port_where_nothing_listens(cli: Cli) -> None:
    result = cli.run("engine", "trust", "https://127.0.0.1:1/ovirt-engine/api")
    assert result.code == 9
    assert "https://127.0.0.1:1 cannot be reached" in result.err
    assert "Connection refused" in result.err


@responses.activate
@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("<html>not found</html>", 404, "HTTP 404"),
        ("<html>a proxy's page</html>", 200, "no certificate in PEM format"),
        ("", 302, "HTTP 302"),
        ("x" * 2_000_000, 200, "longer than"),
    ],
)
def test_what_is_no_engine_is_told_apart(body: str, status: int, told: str) -> None:
    served(body, status=status)
    with pytest.raises(trust.NoCa, match=told):
        trust.fetch(ENGINE)


@responses.activate
def test_a_redirect_to_another_server_is_not_followed(ca: bytes) -> None:
    responses.get(ENGINE + trust.CA_PATH, status=302, headers={"Location": "https://elsewhere.example/"})
    responses.get("https://elsewhere.example/", ca)
    with pytest.raises(trust.NoCa, match="HTTP 302"):
        trust.fetch(ENGINE)


@responses.activate
def test_a_certificate_that_is_no_ca_is_refused(tmp_path: Path) -> None:
    _, server = make_certificates(tmp_path / "certificates", "127.0.0.1")
    served(server.read_bytes())
    with pytest.raises(trust.NoCa, match="is not one of a CA"):
        trust.fetch(ENGINE)


@responses.activate
def test_only_the_certificate_whose_fingerprint_is_shown_is_kept(ca: bytes, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other", "127.0.0.1")[0].read_bytes()
    served(ca + other)
    fetched = trust.fetch("engine.example.com")
    assert fetched.pem == x509.load_pem_x509_certificate(ca).public_bytes(serialization.Encoding.PEM)
    assert fetched.fingerprint == trust.fingerprint(x509.load_pem_x509_certificate(ca))


@responses.activate
def test_an_engine_in_poor_health_can_be_trusted_and_says_so(ca: bytes) -> None:
    served(ca, health="<html><body>DB  Down</body></html>", health_status=500)
    assert trust.fetch(f"{ENGINE}/ovirt-engine/api").health == "HTTP 500 DB Down"


@responses.activate
def test_no_password_goes_to_a_server_that_is_not_known(ca: bytes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine engine.example.com login me password canary\n")
    served(ca)
    trust.fetch(ENGINE)
    assert all("Authorization" not in call.request.headers for call in responses.calls)
    assert len(responses.calls) == 2


@responses.activate
def test_a_connection_that_breaks(ca: bytes) -> None:
    responses.get(ENGINE + trust.CA_PATH, ca)
    responses.get(ENGINE + trust.HEALTH_PATH, body=requests.exceptions.ReadTimeout("read timed out"))
    with pytest.raises(trust.EngineDown, match="read timed out"):
        trust.fetch(ENGINE)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("http://engine", "must begin with https://"),
        ("https://", "names no host"),
        ("https://engine:port", "is no URL"),
        ("https://me:canary@engine", "came with a user or a password"),
    ],
)
def test_urls_that_cannot_be_used(given: str, told: str) -> None:
    with pytest.raises(trust.UrlInvalid, match=told) as refused:
        trust.base_url(given)
    assert "canary" not in str(refused.value)


def test_ways_to_write_a_fingerprint() -> None:
    pairs = ":".join(["A0"] * 32)
    for given in (pairs, "a0" * 32, f"sha256 Fingerprint={pairs}", f"SHA256:{'a0' * 32}", f" {pairs}\n"):
        assert trust.read_fingerprint(given) == pairs


@pytest.mark.parametrize("given", ["abc", "a0" * 31, "g0" * 32, "a0" * 33])
def test_a_fingerprint_that_is_none(cli: Cli, given: str) -> None:
    result = cli.run("engine", "trust", "engine.example.com", "--fingerprint", given)
    assert result.code == 2
    assert "64 hexadecimal digits" in result.err


def test_neither_a_url_nor_ovirt_url(cli: Cli) -> None:
    result = cli.run("engine", "trust")
    assert result.code == 2
    assert "OVIRT_URL is not set" in result.err


def test_there_is_no_way_to_say_yes_without_a_fingerprint(cli: Cli) -> None:
    result = cli.run("engine", "trust", "engine.example.com", "--yes")
    assert (result.code, "No such option" in result.err) == (2, True)


def test_a_file_that_cannot_be_written(cli: Cli, engine: dict[str, str]) -> None:
    right = fingerprint_of(engine["OVIRT_CAFILE"])
    result = cli.run(
        "engine", "trust", engine["OVIRT_URL"], "--fingerprint", right, "--output-file", "/dev/null/ca.pem"
    )
    assert result.code == 6
    assert "/dev/null/ca.pem cannot be written" in result.err
