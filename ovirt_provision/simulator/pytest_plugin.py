"""A pytest plugin: the fixture `ovirt_simulator`, an oVirt engine for each test that asks for it.

Installed with ovirt-provision, pytest finds it by itself:

    def test_my_client(ovirt_simulator):
        client = Client(ovirt_simulator.url, ovirt_simulator.username, ovirt_simulator.password,
                        ovirt_simulator.ca_file)

    @pytest.mark.ovirt_simulator(profile="engine", data=Path("world.yaml"))
    def test_in_a_world_of_my_own(ovirt_simulator):
        ovirt_simulator.arm("drop-reply", method="POST", path="/vms")

The marker takes what `Simulator` takes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ovirt_provision.simulator.thread import SimulatorThread


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "ovirt_simulator(**options): options of the test's oVirt simulator, such as profile and data",
    )


@pytest.fixture
def ovirt_simulator(request: pytest.FixtureRequest) -> "Iterator[SimulatorThread]":
    """A simulated oVirt engine over HTTPS, new for each test, in the timing profile `fast`."""
    # Imported here: every run of pytest imports this plugin, few use it.
    from ovirt_provision.simulator.thread import SimulatorThread

    marker = request.node.get_closest_marker("ovirt_simulator")
    with SimulatorThread(**(marker.kwargs if marker is not None else {})) as simulator:
        yield simulator
