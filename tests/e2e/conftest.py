"""The stage of the end-to-end tests: simulator, daemon and the real packer, in a folder of their own."""

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from stage import Stage

from ovirt_provision.simulator.certificates import make_certificates
from tests.certificates import Authority

CONFIGURATION = """
timeouts:
  ssh: 3
engines:
  wrong-password:
    url: {url}
    username: {username}
    password: not the password
    ca_file: {ca_file}
  wrong-ca:
    url: {url}
    username: {username}
    password: any
    ca_file: {other_ca}
  down:
    url: https://127.0.0.1:1/ovirt-engine/api
    username: {username}
    password: any
    ca_file: {ca_file}
owners:
  spiffe://example.com/builds: {{}}
tls:
  listen: {tls_address}
  cert_file: {cert_file}
  key_file: {key_file}
  token_file: {token_file}
"""
TOKEN = "a token, long enough, for the builds of another machine"


# What takes longest comes first, so that at the end nobody waits for one of them. A process that is given a
# single test is given the next file at once: the fourth of these waits behind the demo, and is short.
FIRST = (
    "test_demo.py",
    "test_docker_machine.py",
    "test_packer.py",
    "test_console.py",
    "test_interrupt.py",
    "test_qemu.py",
    "test_clones.py",
    "test_live.py",
    "test_packer_images.py",
    "test_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)
    if any(item.path.is_relative_to(here) for item in items):
        items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose VMs are state machines without guests."""
    with Stage(tmp_path_factory.mktemp("stage"), guests="none") as stage:
        other_ca, _ = make_certificates(stage.folder / "other-ca", "127.0.0.1")
        authority = Authority(stage.folder / "authority")
        certificate = authority.daemon()
        tokens = stage.folder / "tokens"
        tokens.touch(0o600)
        tokens.write_text(
            f"spiffe://example.com/builds sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            tls_address = f"127.0.0.1:{probe.getsockname()[1]}"
        configuration = stage.folder / "config/ovirt-provision/config.yaml"
        configuration.parent.mkdir(parents=True)
        configuration.touch(0o600)
        configuration.write_text(
            CONFIGURATION.format(
                url=stage.environment["OVIRT_URL"],
                username=stage.environment["OVIRT_USERNAME"],
                ca_file=stage.environment["OVIRT_CAFILE"],
                other_ca=other_ca,
                tls_address=tls_address,
                cert_file=certificate.cert_file,
                key_file=certificate.key_file,
                token_file=tokens,
            )
        )
        stage.install_plugin()
        yield stage


@pytest.fixture
def is_untouched(stage: Stage) -> Callable[[], bool]:
    """Whether the engine holds what it held before, and nothing of ours."""
    before = stage.world()

    def check() -> bool:
        assert stage.provision("census")["entries"] == []
        assert stage.world() == before
        return True

    return check


@pytest.fixture
def from_elsewhere(stage: Stage) -> dict[str, str]:
    """The environment of a client on another machine: the daemon's address, its CA and a token."""
    stage.provision("engine", "list")  # a daemon runs
    token_file = stage.folder / "token"
    token_file.touch(0o600)
    token_file.write_text(TOKEN)
    return {
        **{name: "" for name in stage.environment if name.startswith("OVIRT_")},
        "OVIRT_PROVISION_ADDRESS": _tls_address(stage),
        "OVIRT_PROVISION_CA_FILE": str(stage.folder / "authority/ca.pem"),
        "OVIRT_PROVISION_TOKEN_FILE": str(token_file),
    }


def _tls_address(stage: Stage) -> str:
    configuration = yaml.safe_load((stage.folder / "config/ovirt-provision/config.yaml").read_text())
    return str(configuration["tls"]["listen"])
