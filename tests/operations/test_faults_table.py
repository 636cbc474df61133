"""Every fault of an engine, one at a time: the right code, phase, reason, correlation id and advice."""

import pytest

from ovirt_provision.ledger.store import CANCELLED, FAILED
from ovirt_provision.operations import dispatcher
from tests.faults import CASES, Case, Told, play

# One process plays them all.
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, Told]:
    return {one.case.name: one for one in play(tmp_path_factory.mktemp("faults"))}


def wrong(told: Told) -> list[str]:
    """What a user would miss in the error."""
    case, operation, error = told.case, told.operation, told.operation.error
    if operation.state != FAILED or error is None:
        return [f"state {operation.state}"]
    missed = [
        f"{name} {error[name]!r}, not {wanted!r}"
        for name, wanted in (
            ("code", int(case.code)),
            ("phase", case.phase),
            ("correlation_id", operation.id),
        )
        if error[name] != wanted
    ]
    says = error["engine_text"] if case.by_engine else error["message"]
    if case.says not in says:
        missed.append(f"{says!r} lacks {case.says!r}")
    if told.engine_logged and error["engine_text"] not in told.engine_logged:
        missed.append(f"engine text {error['engine_text']!r}, but its log says {told.engine_logged}")
    if not error["advice"]:
        missed.append("no advice")
    return missed


def test_there_are_many():
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_tells_the_truth(told: dict[str, Told], case: Case):
    assert wrong(told[case.name]) == []
    assert told[case.name].operation.state != CANCELLED


def test_without_the_look_into_the_engines_log_the_reason_is_missed(tmp_path, monkeypatch):
    async def unexplained(_run, error):
        return error

    monkeypatch.setattr(dispatcher, "_explain", unexplained)
    cases = tuple(case for case in CASES if case.fault in ("vm-fails", "template-fails", "start-fails"))
    assert all(wrong(one) for one in play(tmp_path, cases[:3]))
