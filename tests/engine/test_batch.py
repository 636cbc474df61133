"""Readings that are done together."""

import asyncio

import pytest

from ovirt_provision.engine.batch import Batch
from ovirt_provision.errors import EngineUnreachable


class Source:
    """What is read, and in which batches it was."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.version = 1
        self.broken = False

    async def __call__(self, keys: list[str]) -> dict[str, str]:
        self.read.append(sorted(keys))
        self.begun.set()
        seen = self.version
        await self.gate.wait()
        if self.broken:
            raise EngineUnreachable(url="https://e", detail="gone")
        return {key: f"{key}{seen}" for key in keys}


async def test_those_who_come_during_a_reading_share_the_next_one():
    source = Source()
    batch = Batch(source)
    first = asyncio.ensure_future(batch.get("a"))
    await source.begun.wait()
    source.version = 2
    others = [asyncio.ensure_future(batch.get(key)) for key in ("a", "b", "b")]
    await asyncio.sleep(0)
    source.gate.set()

    assert await asyncio.gather(first, *others) == ["a1", "a2", "b2", "b2"], (
        "nothing from before it was asked"
    )
    assert source.read == [["a"], ["a", "b"]]


async def test_no_more_than_the_most_are_read_at_once():
    source = Source()
    source.gate.set()
    assert (
        len(
            await asyncio.gather(
                *(Batch.get(batch, str(n)) for batch in [Batch(source, 3)] for n in range(7))
            )
        )
        == 7
    )
    assert [len(keys) for keys in source.read] == [3, 3, 1]


async def test_who_gives_up_keeps_nobody_from_the_answer():
    source = Source()
    batch = Batch(source)
    leaving, staying = (asyncio.ensure_future(batch.get("a")) for _ in range(2))
    await source.begun.wait()
    leaving.cancel()
    source.gate.set()
    assert await staying == "a1"


async def test_everybody_gets_an_error_of_his_own():
    source = Source()
    source.broken = True
    source.gate.set()
    batch = Batch(source)
    first, second = await asyncio.gather(batch.get("a"), batch.get("b"), return_exceptions=True)
    assert isinstance(first, EngineUnreachable)
    assert isinstance(second, EngineUnreachable)
    first.phase = "booting"
    assert (second.phase, str(second)) == ("", str(first))
    with pytest.raises(EngineUnreachable):
        await batch.get("c")
