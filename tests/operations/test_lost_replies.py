"""The engine acts, and its reply is dropped, comes after our time-out, or the request itself arrives only
after we have repeated it: one effect, and what is destroyed stays so.

By default the first change of some verbs loses its reply; `OVIRT_PROVISION_CRASHES=all` has every change of
all of them suffer.
"""

import os

import pytest

from tests.crashes import Crashes
from tests.harness import Site
from tests.operations.test_every_crash import SCENARIOS, TOMBSTONE, play

DROPPED = "dropped"
TOO_LATE = "too-late"
# The request arrives so many seconds late: before and after it is repeated, and after our time-out.
ARRIVES = {"arrives-first": 0.5, "arrives-second": 5.0, "arrives-last": 70.0}
_ALL = os.environ.get("OVIRT_PROVISION_CRASHES") == "all"
_NAMES = tuple(SCENARIOS) if _ALL else ("clone", "version", "destroy")
_FATES = (DROPPED, TOO_LATE, *ARRIVES) if _ALL else (TOO_LATE, "arrives-second")


def losses() -> list[tuple[str, str, int]]:
    """(scenario, fate, number) of every reply to lose."""
    return [
        (name, fate, number)
        for name in _NAMES
        for fate in _FATES
        for number in range(1, (SCENARIOS[name].changes if _ALL else 1) + 1)
    ]


def lose(site: Site, crashes: Crashes, fate: str, number: int) -> None:
    if fate == TOO_LATE:
        crashes.arm_all([], delays=frozenset({number}))
        return
    change = {"method": "POST|PUT|DELETE", "nth": number}
    if fate == DROPPED:
        site.simulator.world.injections.arm("drop-reply", **change)
    else:
        site.simulator.world.injections.arm("late-effect", seconds=ARRIVES[fate], **change)


@pytest.mark.parametrize(("name", "fate", "number"), losses())
def test_a_lost_reply_has_one_effect(site, run_virtually, monkeypatch, name, fate, number):
    async def scenario() -> None:
        async with site(**TOMBSTONE) as s:
            crashes = Crashes(s, monkeypatch)
            await play(s, crashes, SCENARIOS[name], lose=lambda: lose(s, crashes, fate, number))

    run_virtually(scenario())
