"""Docker hosts on a stage: rancher-machine with our driver, and the engines that it makes, over TLS.

For the demo and the end-to-end tests, which share the life of one host on a Stage with guests="qemu", under
tools/in-namespace:

    hosts = DockerHosts(stage, print)
    hosts.create("web")                      # from TEMPLATE to "Docker is up and running!"
    variables = hosts.env("web")             # DOCKER_HOST, DOCKER_CERT_PATH, … as a user's shell gets them
    docker_info(variables)["ServerVersion"]  # over TLS, with the client's certificate
    refused_without_certificate(variables)   # how the engine refuses who has none
    hosts.ls(), hosts.ssh("web", "hostname"), hosts.stop("web"), hosts.start("web"), hosts.rm("web")

`missing` tells whether hosts can be made at all: the image has to be in the cache before the stage is set,
and cannot be built under tools/in-namespace. `rm` is safe to call once `create` was, whatever became of it.
"""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stage import ROOT, SSH_PORT, UNDO_TIMEOUT, Stage, StageError

from ovirt_provision.simulator.guests import image

BINARIES = ROOT / "build/bin"
RANCHER_MACHINE = BINARIES / "rancher-machine"
DRIVER = BINARIES / "docker-machine-driver-ovirt"
TEMPLATE = "debian-12-docker"
UP = "Docker is up and running!"
DOCKER_TIMEOUT = 120  # seconds


def missing(*, guests: bool) -> str | None:
    """What has to be built before hosts can be made, with `guests` the image too; None when all is there."""
    for binary in (RANCHER_MACHINE, DRIVER):
        if not binary.exists():
            return f"{binary.name} is not built: run `make tools`"
    if guests and image.find_cached(image.DOCKER) is None:
        return f"the guest image of {TEMPLATE} is not built: run `make tools`"
    return None


class DockerHosts:
    """A store of rancher-machine on a stage. What fails raises StageError, with what rancher-machine said."""

    def __init__(
        self,
        stage: Stage,
        show: Callable[[str], None] = lambda _: None,
        store: Path | None = None,
        program: Path = RANCHER_MACHINE,
    ) -> None:
        """`show` gets each line of the program as it comes; `store` is in the stage by default. The program
        may be another docker-machine."""
        self._stage = stage
        self._program = program
        self._show = show
        self.store = store or stage.folder / "docker-machine"
        self._extra = {"PATH": f"{BINARIES}:{stage.environment['PATH']}"}

    def create(self, name: str, *options: str) -> str:
        """Makes a host from TEMPLATE, with more flags. Returns when its Docker engine answers over TLS."""
        # Docker is in the template, and a guest would reach nothing to install it from.
        fixed = (
            "--engine-install-url",
            "none",
            "--ovirt-template",
            TEMPLATE,
            "--ovirt-ssh-port",
            str(SSH_PORT),
        )
        said = self._run("create", "--driver", "ovirt", *fixed, *options, name)
        if UP not in said:
            raise StageError(f"rancher-machine create never said '{UP}':\n{said}")
        return said

    def ls(self) -> str:
        return self._run("ls")

    def env(self, name: str) -> dict[str, str]:
        """What `eval $(rancher-machine env NAME)` sets in a shell."""
        lines = self._run("env", "--shell", "bash", name).splitlines()
        exports = (shlex.split(line)[1].partition("=") for line in lines if line.startswith("export "))
        return {variable: value for variable, _, value in exports}

    def ip(self, name: str) -> str:
        return self._run("ip", name).strip()

    def ssh(self, name: str, command: str) -> str:
        """What a command on the host says."""
        return self._run("ssh", name, command)

    def stop(self, name: str) -> None:
        self._run("stop", name)

    def start(self, name: str) -> None:
        """Returns when the Docker engine has started, for which rancher-machine does not wait."""
        self._run("start", name)
        self.ssh(name, "sudo systemctl start docker")

    def rm(self, name: str) -> None:
        self._run("rm", "-y", name)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Runs `rancher-machine ARGUMENTS`; returns its exit code and all that it said.

        An interrupt goes on to the driver, too, and this waits for what it undoes.
        """
        process = self.spawn(*arguments, **environment)
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                self._show(line)
            code = process.wait()
        except BaseException:
            _end_group(process)
            raise
        return code, "".join(said)

    def spawn(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Starts `rancher-machine ARGUMENTS`, in a session of its own, with a pipe for all that it says."""
        return self._stage.start(
            *(str(self._program), "--storage-path", str(self.store), *arguments),
            extra={**self._extra, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _run(self, *arguments: str) -> str:
        code, said = self.run(*arguments)
        if code:
            raise StageError(f"rancher-machine {' '.join(arguments)}: exit code {code}\n{said}")
        return said


def docker_info(variables: Mapping[str, str]) -> Any:
    """`docker info` as a dictionary: of the docker client where one is installed, else of the engine's API.

    `variables` are those of `DockerHosts.env`. Raises StageError.
    """
    if docker := shutil.which("docker"):
        command = ["timeout", str(DOCKER_TIMEOUT), docker, "info", "--format", "{{json .}}"]
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        if ended.returncode:
            raise StageError(f"docker info: exit code {ended.returncode}\n{ended.stderr}")
        return json.loads(ended.stdout)
    context = _trust(variables)
    folder = Path(variables["DOCKER_CERT_PATH"])
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    try:
        return json.loads(_get_info(variables, context))
    except (OSError, http.client.HTTPException) as error:
        raise StageError(f"{variables['DOCKER_HOST']}/info: {error}") from None


def refused_without_certificate(variables: Mapping[str, str]) -> str:
    """Asks a Docker engine without a client certificate, and returns the TLS alert by which it refuses.

    Raises StageError when it does not, or refuses in another way.
    """
    url = _url(variables)
    try:
        with (
            socket.create_connection((url.hostname, url.port), DOCKER_TIMEOUT) as plain,
            _trust(variables).wrap_socket(plain, server_hostname=url.hostname) as connection,
        ):
            # In TLS 1.3 the client is through with its part of the handshake before it is refused.
            connection.recv(1)
            told = "it says something else"
    except ssl.SSLError as error:
        told = str(error)
        if error.reason and "ALERT" in error.reason and "CERTIFICATE" in error.reason:
            return error.reason
    except OSError as error:
        told = str(error)
    raise StageError(f"{variables['DOCKER_HOST']} does not refuse a client without a certificate: {told}")


def _trust(variables: Mapping[str, str]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=Path(variables["DOCKER_CERT_PATH"]) / "ca.pem")


def _url(variables: Mapping[str, str]) -> urllib.parse.SplitResult:
    return urllib.parse.urlsplit(variables["DOCKER_HOST"])


def _get_info(variables: Mapping[str, str], context: ssl.SSLContext) -> bytes:
    url = _url(variables)
    assert url.hostname is not None
    connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=DOCKER_TIMEOUT, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/info")
        reply = connection.getresponse()
        content = reply.read()
    if reply.status != http.client.OK:
        raise StageError(f"{variables['DOCKER_HOST']}/info: status {reply.status} {content!r}")
    return content


def _end_group(process: "subprocess.Popen[str]") -> None:
    """Ends rancher-machine and waits for its plugins, which undo a create on SIGTERM and outlive it."""
    deadline = time.monotonic() + UNDO_TIMEOUT
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
