"""The virtual clock: jumps when nothing else is to be done, and not before."""

import asyncio
import threading

from ovirt_provision.clock import VirtualClock


def test_sleepers_wake_in_the_order_of_their_times_without_waiting(virtual_clock, run_virtually):
    woken = []

    async def sleeper(seconds: float) -> None:
        await virtual_clock.sleep(seconds)
        woken.append((seconds, virtual_clock.monotonic()))

    async def scenario() -> None:
        await asyncio.gather(sleeper(3600), sleeper(1), sleeper(60))

    run_virtually(scenario())

    assert woken == [(1, 1), (60, 60), (3600, 3600)]


def test_time_stands_still_while_a_hold_is_open(virtual_clock, run_virtually):
    release = threading.Event()

    async def scenario() -> float:
        sleeper = asyncio.ensure_future(virtual_clock.sleep(5))
        loop = asyncio.get_running_loop()
        # The thread ends only once it has been seen that the loop was idle and the clock did not move.
        loop.call_later(0.05, release.set)
        with virtual_clock.hold():
            await loop.run_in_executor(None, release.wait)
            held = virtual_clock.monotonic()
        await sleeper
        return held

    assert run_virtually(scenario()) == 0
    assert virtual_clock.monotonic() == 5


def test_a_cancelled_sleeper_does_not_move_the_clock(virtual_clock: VirtualClock, run_virtually):
    async def scenario() -> None:
        sleeper = asyncio.ensure_future(virtual_clock.sleep(1000))
        await asyncio.sleep(0)
        sleeper.cancel()
        await virtual_clock.sleep(1)

    run_virtually(scenario())

    assert virtual_clock.monotonic() == 1
