"""The stage of the end-to-end tests: simulator, daemon and the real packer, in a folder of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import Stage

from ovirt_provision.simulator.certificates import make_certificates

CONFIGURATION = """
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
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose VMs are state machines without guests."""
    with Stage(tmp_path_factory.mktemp("stage"), guests="none") as stage:
        other_ca, _ = make_certificates(stage.folder / "other-ca", "127.0.0.1")
        configuration = stage.folder / "config/ovirt-provision/config.yaml"
        configuration.parent.mkdir(parents=True)
        configuration.touch(0o600)
        configuration.write_text(
            CONFIGURATION.format(
                url=stage.environment["OVIRT_URL"],
                username=stage.environment["OVIRT_USERNAME"],
                ca_file=stage.environment["OVIRT_CAFILE"],
                other_ca=other_ca,
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
