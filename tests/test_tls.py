"""TLS as docs/security.md tells people to set it up: its commands, a daemon in a process of its own, and the
command line."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_daemon import REPOSITORY, Home, home  # noqa: F401  # the fixture

DOCUMENT = REPOSITORY / "docs/security.md"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reader:
    """Somebody who follows the document on a machine called localhost."""

    def __init__(self, at: Home, port: int) -> None:
        self.home = at
        self.folder = at.config.parent
        self.folder.mkdir(parents=True, exist_ok=True)
        text = DOCUMENT.read_text().replace("provision.example.com", "localhost").replace("7443", str(port))
        self.authority, self.client, self.token = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        program = self.folder / "bin/ovirt-provision"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ovirt_provision "$@"\n')
        program.chmod(0o755)

    def run(self, commands: str) -> subprocess.CompletedProcess[str]:
        environ = {**self.home.environ, "PATH": f"{self.folder}/bin:{self.home.environ['PATH']}"}
        return subprocess.run(
            ["sh", "-ec", commands], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60
        )

    def follow(self, commands: str) -> None:
        done = self.run(commands)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def reader(home: Home) -> Reader:  # noqa: F811
    return Reader(home, free_port())


def test_mtls_is_set_up_by_the_commands_of_the_document(reader):
    reader.follow(reader.authority)
    reader.home.serve()
    listed = reader.run(reader.client)
    assert listed.returncode == 0, listed.stderr
    assert "env" in listed.stdout

    # What the document makes does not let in somebody else, and nothing gets in without TLS.
    stranger = reader.run(
        re.search(r"certificate\(\).*?\n}\n", reader.authority, re.DOTALL)[0]
        + "certificate mallory clientAuth URI:spiffe://example.com/mallory\n"
        + reader.client.replace("ci.", "mallory.")
    )
    assert stranger.returncode == 7
    assert "'spiffe://example.com/mallory' is not among the owners" in stranger.stderr
    as_client = reader.run(reader.client.replace("ci.", "daemon."))
    assert as_client.returncode == 9
    assert "OVIRT_PROVISION_CA_FILE" in as_client.stderr
    plain = reader.run(re.sub(r"export .*_(CA|CERT|KEY)_FILE=.*\n", "", reader.client))
    assert plain.returncode == 2
    assert "TCP takes TLS: OVIRT_PROVISION_CA_FILE is not set" in plain.stderr


def test_a_token_is_set_up_and_withdrawn_while_the_daemon_runs(reader):
    reader.follow(reader.authority + reader.token)
    config = reader.home.config
    config.write_text(config.read_text().replace("client_ca_file: ca.pem", "token_file: tokens"))
    reader.home.serve()
    client = re.sub(
        r"export .*_CERT_FILE.*\nexport .*_KEY_FILE.*\n",
        "export OVIRT_PROVISION_TOKEN_FILE=$PWD/ci.token\n",
        reader.client,
    )
    listed = reader.run(client)
    assert listed.returncode == 0, listed.stderr

    tokens = Path(reader.folder / "tokens")
    secret = (reader.folder / "ci.token").read_text()
    line = tokens.read_text()
    tokens.write_text("# withdrawn\n")
    withdrawn = reader.run(client)
    assert withdrawn.returncode == 7
    assert "its bearer token is not known" in withdrawn.stderr
    tokens.write_text(f"{line}ci {secret}\n")
    damaged = reader.run(client)
    assert damaged.returncode == 9
    assert "cannot check tokens" in damaged.stderr
    tokens.write_text(line)
    assert reader.run(client).returncode == 0

    process = reader.home.processes[-1]
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert "line 2: is not `OWNER sha256:`" in err
    assert secret not in out + err + withdrawn.stderr + damaged.stderr
