"""The simulator agrees with the recordings of a real engine as far as docs/simulator.md says."""

import json
import re
from pathlib import Path

import pytest

from ovirt_provision.simulator.timing import PROFILES
from tests.conformance.__main__ import TRANSCRIPTS, main
from tests.conformance.recording import recordings
from tests.conformance.replay import replay

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


@pytest.mark.timeout(600)
def test_at_least_what_the_page_says() -> None:
    claim = re.search(r"\*\*(\d+) of (\d+) exchanges agree\*\*", PAGE.read_text())
    assert claim is not None, "docs/simulator.md does not say how many exchanges agree"
    results = {path.stem: replay(path) for path in recordings(TRANSCRIPTS)}
    assert sum(result.total for result in results.values()) == int(claim.group(2))
    rows = re.findall(r"^\| (\w+) \| (\d+) \| \d+ \|$", PAGE.read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(results)
    worse = [name for name, agreed in rows if results[name].agreed < int(agreed)]
    assert not worse, [str(one) for name in worse for one in results[name].disagreements]
    assert sum(result.agreed for result in results.values()) >= int(claim.group(1))


def _line(**fields: object) -> str:
    exchange = {
        "t": 0.1,
        "dur": 0.1,
        "note": "",
        "method": "GET",
        "path": "/ovirt-engine/api/vms",
        "req_headers": {"Accept": "application/xml", "Authorization": "Bearer <token>"},
        "req_body": None,
        "status": 200,
        "resp_headers": {"Content-Type": "application/xml;charset=UTF-8", "Correlation-Id": "x"},
        "resp_body": "<vms/>",
    }
    return json.dumps(exchange | fields)


def test_other_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [_line(), _line(path="/ovirt-engine/api/bogus"), json.dumps({"note": "a remark"})]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 exchanges agree" in out
    assert "mine.jsonl:2 GET /ovirt-engine/api/bogus: status 200 / 404" in out


def test_odd_lines_are_named_and_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [
        "{",
        "[]",
        '{"method": "GET"}',
        _line(resp_body={"not": "text"}),
        _line(path="no path"),
        _line(t=None),
    ]
    (tmp_path / "odd.jsonl").write_bytes("\n".join([*odd, _line()]).encode() + b"\n\xff\xfe\n")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert [f"odd.jsonl:{line} is no exchange" in out for line in (1, 2, 3, 8)] == [True] * 4
    assert "2 of 4 exchanges agree" in out


@pytest.mark.parametrize(
    "body",
    [
        '<event href="/ovirt-engine/api/events/x" id="x"><time>2026-01-01T00:00:00</time></event>',
        '<vms><vm href="/ovirt-engine/api/vms/{id}" id="{id}"><memory>x</memory></vm></vms>',
        '<disk href="/ovirt-engine/api/disks/{id}" id="{id}"><provisioned_size>big</provisioned_size></disk>',
        '<vm href="/ovirt-engine/api/vms/{id}" id="{id}"><creation_time>never</creation_time></vm>',
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    ],
)
def test_replies_that_no_engine_gives_do_no_harm(tmp_path: Path, body: str) -> None:
    text = body.replace("{id}", "aaaaaaaa-0000-4000-8000-00000000000a")
    (tmp_path / "odd.jsonl").write_text("\n".join([_line(t=1e12, resp_body=text), _line(resp_body=text)]))
    assert replay(tmp_path / "odd.jsonl").total == 2


def test_nothing_to_replay(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "missing.jsonl")]) == 2


@pytest.mark.parametrize(("later", "differences"), [(0, 0), (-10, 0), (14, 0), (-14, 0), (40, 1)])
def test_a_state_may_come_a_little_earlier_or_later(tmp_path: Path, later: float, differences: int) -> None:
    timing = PROFILES["recorded"]
    recorded = max(2.0, timing.create_disk + timing.storage_end + later)
    disk = "aaaaaaaa-0000-4000-8000-00000000000a"
    body = (
        "<disk><name>d</name><format>cow</format><provisioned_size>1073741824</provisioned_size>"
        "<storage_domains><storage_domain><name>nfs</name></storage_domain></storage_domains></disk>"
    )
    made = f'<disk href="/ovirt-engine/api/disks/{disk}" id="{disk}">\n    <status>locked</status></disk>'
    path = f"/ovirt-engine/api/disks/{disk}"
    headers = {"Authorization": "Bearer <token>", "Content-Type": "application/xml"}
    lines = [
        _line(
            method="POST",
            path="/ovirt-engine/api/disks",
            req_body=body,
            req_headers=headers,
            status=201,
            resp_body=made,
        ),
        _line(t=1, note="[poll: change (200, 'locked')]", path=path, resp_body=made),
        _line(
            t=recorded, note="[poll: change (200, 'ok')]", path=path, resp_body=made.replace("locked", "ok")
        ),
        _line(t=recorded + 1, path=path, resp_body=made.replace("locked", "ok")),
    ]
    (tmp_path / "poll.jsonl").write_text("\n".join(lines))
    said = [one for found in replay(tmp_path / "poll.jsonl").disagreements for one in found.differences]
    assert sum("status" in one or "early" in one for one in said) == differences
