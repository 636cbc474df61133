"""A few seeds of the campaigns; `make crash` and `make crash-virtual` run many."""

import pytest

from tests.crash import virtual
from tests.crash.schedule import draw

# In virtual time; the first few that are cheap and kill a daemon.
SEEDS = (1, 4, 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_leaves_what_was_asked_for_and_nothing_else(seed: int):
    verdict, _ = virtual.run(draw(seed))

    assert not verdict.broken, f"{verdict} {verdict.wrong}; replay: make crash-virtual SEED={seed}"
