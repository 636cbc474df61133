"""TLS as docs/security.md tells people to set it up: its commands, a daemon in a process of its own, and the
command line."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from ovirt_provision import paths
from ovirt_provision.cli.channel import open_channel
from ovirt_provision.services.errors import from_rpc_error
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc
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

    def follow(self, commands: str) -> str:
        done = self.run(commands)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, exports: str) -> str:
        """As what a client with these variables is let in, or the reason why not, in this process."""
        lines = [shlex.split(line) for line in exports.splitlines() if line.startswith("export")]
        environ = {
            name: value.replace("$PWD", str(self.folder))
            for name, _, value in (line[1].partition("=") for line in lines)
        }
        address = paths.daemon_address(environ)
        with open_channel(address, environ) as channel:
            try:
                engines_pb2_grpc.EngineServiceStub(channel).ListEngines(
                    engines_pb2.ListEnginesRequest(), timeout=20
                )
            except grpc.RpcError as error:
                return from_rpc_error(error).message
        return "let in"


@pytest.fixture
def reader(home: Home) -> Reader:  # noqa: F811
    return Reader(home, free_port())


def test_mtls_is_set_up_by_the_commands_of_the_document(reader):
    make_certificate = re.search(r"certificate\(\).*?\n}\n", reader.authority, re.DOTALL)
    assert make_certificate is not None
    reader.follow(
        f"{reader.authority}{make_certificate[0]}"
        "certificate mallory clientAuth URI:spiffe://example.com/mallory"
    )
    reader.home.serve()
    assert "env" in reader.follow(reader.client)

    # What the document makes lets in nobody else.
    stranger = reader.ask(reader.client.replace("ci.", "mallory."))
    assert stranger == "'spiffe://example.com/mallory' is not among the owners of this daemon"
    assert "Socket closed" in reader.ask(reader.client.replace("ci.", "daemon."))


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
    assert reader.ask(client) == "let in"

    tokens = Path(reader.folder / "tokens")
    secret = (reader.folder / "ci.token").read_text()
    line = tokens.read_text()
    tokens.write_text("# withdrawn\n")
    withdrawn = reader.ask(client)
    assert withdrawn == "the call is refused: its bearer token is not known"
    # A slip: the token itself in place of its hash.
    tokens.write_text(f"{line}ci {secret}\n")
    damaged = reader.ask(client)
    assert damaged == "the daemon cannot check tokens at the moment"
    tokens.write_text(line)
    assert reader.ask(client) == "let in"

    process = reader.home.processes[-1]
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert "line 2: is not `OWNER sha256:`" in err
    assert secret not in out + err + withdrawn + damaged
