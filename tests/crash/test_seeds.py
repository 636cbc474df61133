"""A few seeds of the campaigns, of which `make crash` and `make crash-virtual` run many, and schedules that
show a defence to be missing when it is switched off."""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from tests.crash import virtual
from tests.crash.schedule import Schedule, Step, draw, draw_images
from tests.harness import spec

# The first few that are cheap and kill a daemon.
SEEDS = (1, 9)
SEEDS_OF_IMAGES = (1,)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_leaves_what_was_asked_for_and_nothing_else(seed: int):
    verdict, _ = virtual.run(draw(seed))

    assert not verdict.broken, f"{verdict} {verdict.wrong}; replay: make crash-virtual SEED={seed}"


@pytest.mark.parametrize("seed", SEEDS_OF_IMAGES)
def test_a_seed_of_images_leaves_what_was_asked_for_and_nothing_else(seed: int):
    verdict, _ = virtual.run(draw_images(seed))

    assert not verdict.broken, f"{verdict} {verdict.wrong}; replay: make crash-virtual SEED={seed} IMAGES=1"


def step(verb: str, *, cancel_after: float | None = None, confirm: bool = False, **fields: Any) -> Step:
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, verb))
    return Step(verb, fields, request_id, pause=0.0, cancel_after=cancel_after, confirm=confirm)


def schedule(*steps: Step, faults: Sequence[dict[str, Any]] = ()) -> Schedule:
    create = step("CreateMachine", key="web", spec=spec(), confirm=True)
    return Schedule(0, [[create, *steps]], faults, [])


def late(path: str, seconds: float, times: int = 1) -> dict[str, Any]:
    return {"fault": "late-effect", "method": "POST", "path": path, "seconds": seconds, "times": times}


# By what is counted when the defence is missing.
HARM = {
    "duplicates": (
        "identity",
        schedule(faults=[{"fault": "drop-reply", "method": "POST", "path": "/vms"}]),
    ),
    "undead": ("tombstones", schedule(step("DestroyMachine", key="web"), faults=[late("/vms", 80)])),
    "leaks": (
        "tombstones",
        schedule(
            step("CreateTemplate", machine_key="web", name="golden", cancel_after=2.0),
            faults=[late("/templates", 60, times=9)],
        ),
    ),
    "foreign": ("marks", schedule(step("attach", key="web"), step("DestroyMachine", key="web"))),
}


@pytest.mark.parametrize("count", HARM)
def test_a_missing_defence_does_harm_that_is_counted(count: str):
    defence, played = HARM[count]

    with_it, _ = virtual.run(played)
    without_it, _ = virtual.run(played, without=frozenset({defence}))

    assert not with_it.broken, with_it.wrong
    assert getattr(without_it, count) > 0, without_it.wrong


def test_a_seed_asks_the_engine_for_the_same_again():
    _, asked = virtual.run(draw(SEEDS[0]))
    _, again = virtual.run(draw(SEEDS[0]))

    assert asked == again
