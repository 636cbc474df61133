"""Has the bytes of an image moved between a file and a host of the engine, by a process (client.py)."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ovirt_provision.clock import Clock


@dataclass(frozen=True)
class Job:
    """What is to be moved: `size` bytes between `file` and the URLs of a transfer, from `offset` on.

    `url` leads to the host, `proxy_url` to the engine, which passes on what does not get to the host; both
    hold the ticket. `ca_file` is empty for the system's authorities.
    """

    direction: str
    file: Path
    size: int
    url: str = field(repr=False)
    proxy_url: str = field(default="", repr=False)
    ca_file: str = ""
    insecure: bool = False
    offset: int = 0


# What is told while bytes are moved: how many are done, and how many of these are kept whatever happens.
Progress = Callable[[int, int], None]
Mover = Callable[[Job, Progress], Awaitable[None]]


class MoveFailed(Exception):
    """The bytes could not be moved. `kind` is `ticket` where the host does not know the ticket (the transfer
    is paused, or over), `network` where nobody answers, `space` where a disk is full, else `data`."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def process_mover(clock: Clock) -> Mover:
    """The mover of a daemon."""

    async def move(job: Job, progress: Progress) -> None:
        """Moves the bytes. Ends the process when it is cancelled. Raises MoveFailed."""
        # Virtual time stands still, as for any request.
        with clock.hold():
            await _move(job, progress)

    return move


async def _move(job: Job, progress: Progress) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "ovirt_provision.images.client",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    words = asyncio.ensure_future(process.stderr.read())
    failure: MoveFailed | None = None
    try:
        # It stays open: its end tells the process that the daemon is gone.
        process.stdin.write(json.dumps({**asdict(job), "file": str(job.file)}).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        async for line in process.stdout:
            told = json.loads(line)
            if "failed" in told:
                failure = MoveFailed(told["failed"], told["why"])
            else:
                progress(told["done"], told["kept"])
        status = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        await process.wait()
        said = (await words).decode(errors="replace").strip().splitlines()
    if failure is None and status:
        failure = MoveFailed("data", f"the transfer process ended with {status}: {said[-1] if said else ''}")
    if failure is not None:
        raise failure
