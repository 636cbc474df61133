"""`python -m tests.crash.daemon`: the daemon, made to kill itself with SIGKILL where it is told.

Environment: CRASH_AT is `MOMENT NUMBER` (see `tests.crashes`), CRASH_WITHOUT the names of the defences that
are switched off, CRASH_PACE how long a second of the schedule lasts.
"""

import asyncio
import os
import signal
import sys

import pytest
import requests

from ovirt_provision.clock import SystemClock
from ovirt_provision.daemon import ServeOptions, serve
from tests.crash import defences
from tests.crashes import Boundaries


class _Deadly(Boundaries):
    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def act_late(self, seconds: float) -> None:
        base, _, _ = os.environ["OVIRT_URL"].rpartition("/ovirt-engine/")
        web = requests.Session()
        web.trust_env = False  # else a REQUESTS_CA_BUNDLE counts for more than `verify`
        reply = web.post(
            f"{base}/simulator/faults",
            json={
                "fault": "late-effect",
                "method": "POST|PUT|DELETE",
                "seconds": seconds * float(os.environ["CRASH_PACE"]),
            },
            auth=(os.environ["OVIRT_USERNAME"], os.environ["OVIRT_PASSWORD"]),
            verify=os.environ["OVIRT_CAFILE"],
            timeout=30,
        )
        reply.raise_for_status()


def main() -> int:
    monkeypatch = pytest.MonkeyPatch()
    defences.switch_off(monkeypatch, os.environ.get("CRASH_WITHOUT", "").split())
    boundaries = _Deadly(monkeypatch, SystemClock())
    moment, _, number = os.environ.get("CRASH_AT", "").partition(" ")
    if moment:
        boundaries.arm(moment, int(number))
    return asyncio.run(serve(ServeOptions()))


if __name__ == "__main__":
    sys.exit(main())
