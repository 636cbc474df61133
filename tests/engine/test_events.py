"""The tail of the event log."""

import asyncio
from types import SimpleNamespace

from ovirt_provision.engine.events import Events


class LateLog:
    """An event log in which ids become visible out of order, as on a real engine (behaviour.md 66)."""

    def __init__(self) -> None:
        self.visible = [100]

    async def call(self, _doing, request):
        return request(self)

    def events_service(self):
        return self

    def list(self, max=None, from_=0, search=None):
        ids = sorted((i for i in self.visible if i > from_), reverse=True)[:max]
        return [
            SimpleNamespace(
                id=str(i), code=0, correlation_id="", vm=None, template=None, description="", severity=None
            )
            for i in ids
        ]


def test_an_id_that_becomes_visible_late_is_not_missed_and_none_is_told_twice():
    log = LateLog()
    events = Events(log)

    async def scenario() -> list[list[int]]:
        seen = [[event.id for event in await events.tail()]]
        for arriving in ([103], [101, 104], [102]):
            log.visible += arriving
            seen.append([event.id for event in await events.tail()])
        return seen

    assert asyncio.run(scenario()) == [[], [103], [101, 104], [102]]


class FilteredLog(LateLog):
    """Who is no administrator is given all events, whatever is asked for, unless it is a search."""

    def __init__(self) -> None:
        super().__init__()
        self.visible = list(range(1, 101))
        self.told = []

    def list(self, max=None, from_=0, search=None):
        found = super().list(max, from_) if search is not None else super().list()
        self.told.append(len(found))
        return found


def test_who_is_given_all_events_searches_for_the_new_ones():
    log = FilteredLog()
    events = Events(log)

    async def scenario() -> list[list[int]]:
        seen = [[event.id for event in await events.tail()]]
        for arriving in ([101, 102], [103]):
            log.visible += arriving
            seen.append([event.id for event in await events.tail()])
        return seen

    assert asyncio.run(scenario()) == [[], [101, 102], [103]]
    assert log.told[0] == 100
    assert max(log.told[1:]) <= 53, "the overlap and what is new"
