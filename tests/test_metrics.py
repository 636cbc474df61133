"""What Prometheus reads of a daemon that works against the simulator."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from stage import Stage

from ovirt_provision import metrics

KEY = "canary-key"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path, guests="none") as stage:
        config = tmp_path / "config/ovirt-provision/config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"metrics: {{listen: 'unix:{socket_of(stage)}'}}\n")
        yield stage


def socket_of(stage: Stage) -> Path:
    return Path(stage.environment["XDG_RUNTIME_DIR"]) / "metrics.sock"


class Scrape:
    """The text of one scrape, and its figures."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def figures(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The figures of a metric that are not zero, summed by these labels."""
        sums: Counter[tuple[str, ...]] = Counter()
        for sample in self.samples:
            if sample.name == f"ovirt_provision_{name}":
                sums[tuple(sample.labels[label] for label in labels)] += sample.value
        return {labels: value for labels, value in sums.items() if value}


async def scrape(stage: Stage) -> Scrape:
    connector = aiohttp.UnixConnector(str(socket_of(stage)))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://daemon/metrics") as reply,
    ):
        assert reply.status == 200
        return Scrape(await reply.text())


async def test_a_create_and_a_destroy_are_counted(stage: Stage):
    stage.provision("machine", "create", KEY, "--template", "debian-12", "--name", "canary-name")
    living = await scrape(stage)
    stage.provision("machine", "destroy", KEY)
    over = await scrape(stage)
    told = stage.requests()
    stage.provision("census")
    counted = await scrape(stage)

    assert socket_of(stage).stat().st_mode & 0o777 == 0o600
    assert living.figures("objects", "kind", "state") == {("vm", "present"): 1, ("disk", "present"): 1}
    assert living.figures("leases", "kind") == {("kept",): 1}
    assert living.figures("operations_total", "verb", "phase", "result") == {
        ("CreateMachine", "connecting-nics", "succeeded"): 1
    }
    assert over.figures("objects") == {}
    assert over.figures("leases") == {}
    assert over.figures("operations_total", "verb", "result") == {
        ("CreateMachine", "succeeded"): 1,
        ("DestroyMachine", "succeeded"): 1,
    }
    assert over.figures("phase_duration_seconds_count", "verb", "phase")["CreateMachine", "cloning"] == 1
    assert over.figures("operations_under_way") == over.figures("watcher_waits") == {}
    assert over.figures("engine_sessions_total", "event") == {("login",): 1}
    # Of each kind exactly as many as the engine itself says that it was asked.
    asked = over.figures("engine_requests_total", "method", "path")
    assert {f"{method} {path}": count for (method, path), count in asked.items()} == {
        kind: count for kind, count in told.items() if not kind.startswith("POST /ovirt-engine/sso/")
    }
    assert over.figures("census_timestamp_seconds") == {}
    assert len(counted.figures("census_timestamp_seconds")) == 1
    for word in (KEY, "canary-name", "uid:", stage.environment["OVIRT_PASSWORD"], str(stage.folder)):
        assert word not in counted.text


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/vms/123e4567-e89b-12d3-a456-426614174000/start", "/vms/{id}/start"),
        ("/events/4711", "/events/{id}"),
        ("/vms/abcdefab-cdef-abcd-efab-cdefabcdefab/nics", "/vms/{id}/nics"),
        ("", ""),
    ],
)
def test_no_id_is_in_a_label(path: str, template: str):
    assert metrics.path_template(path) == template
