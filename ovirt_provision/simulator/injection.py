"""Faults that tests inject by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

FAULTS: Mapping[str, str] = {
    "drop-reply": "the request has its effect, then the connection breaks",
    "late-effect": "the connection breaks at once, and the request has its effect only `seconds` later",
    "delay": "the reply comes `seconds` (of real time) late",
    "unauthorized": "HTTP 401 in HTML, and the session is dead",
    "unavailable": "HTTP 503 in HTML, without effect",
    "forbidden": "HTTP 403 as for an account without the permission, without effect",
    "late-event": "the next event becomes visible `seconds` later than those after it",
    "job-hangs": "a job never ends, whatever becomes of what it did",
    "template-fails": "the copy of a template's disk fails: it vanishes, with event 1322",
    "seal-fails": "the sealing of a template fails: it vanishes, with event 1324",
    "snapshot-fails": "the making of a snapshot fails: it vanishes, with event 69",
    "vm-fails": "the making of a VM's disks fails: it vanishes, with event 60",
    "disk-stays-locked": "the disks of what is made next never leave `locked`",
    "vm-pauses": "a VM that boots goes to `paused` instead of `up`",
    "vm-crashes": "a VM that boots goes `down` instead of `up`, with event 119",
    "start-fails": "the host refuses to start a VM: it goes `down`, with event 119",
}
"""Names and meanings. The first six are about requests, the others about what the engine does."""


@dataclass
class _Armed:
    fault: str
    method: re.Pattern[str]
    path: re.Pattern[str]
    left: int
    seconds: float


class Injections:
    """The faults that are armed. Each fires `times` times and is then gone."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def arm(
        self, fault: str, *, method: str = ".*", path: str = ".*", times: int = 1, seconds: float = 0.0
    ) -> None:
        """Arms a fault of the table for requests whose method and path (regular expressions, whole) match.

        `method` and `path` are for faults about requests. Raises `ValueError` for an unknown name.
        """
        if fault not in FAULTS:
            raise ValueError(f"no fault '{fault}'; there are: {', '.join(FAULTS)}")
        self._armed.append(_Armed(fault, re.compile(method), re.compile(path), times, seconds))

    def disarm(self) -> None:
        self._armed.clear()

    def fires(self, fault: str, method: str = "", path: str = "") -> float | None:
        """Seconds of the fault if one is armed for this, which uses it up once; else None."""
        for armed in self._armed:
            if armed.fault == fault and armed.method.fullmatch(method) and armed.path.fullmatch(path):
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
                return armed.seconds
        return None
