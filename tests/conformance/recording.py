"""Recordings of a real engine: one exchange a line, in JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# They were also driven from outside: a lost host, injected task failures, an engine restart, many writers at
# once.
EXCLUDED = ("03c", "14", "15", "24", "28b", "29")
"""Beginnings of the names of recordings whose requests alone cannot reproduce them."""

_STATUS = re.compile(r"<(?:\w+_)?status>([^<]*)</")


@dataclass(frozen=True)
class Exchange:
    """A request and the engine's reply.

    `line` counts from 1; `time` and `duration` are seconds, `time` from the scenario's start.
    """

    line: int
    time: float
    duration: float
    note: str
    method: str
    path: str
    request_headers: Mapping[str, str]
    request_body: str | None
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def is_change(self) -> bool:
        """Whether the client polled until it saw this reply's state."""
        return "[poll: change" in self.note


@dataclass(frozen=True)
class Recording:
    """`odd_lines` are the numbers of lines that hold no exchange although they look like one."""

    path: Path
    exchanges: tuple[Exchange, ...]
    odd_lines: tuple[int, ...]


def state_of(status: int, body: str) -> tuple[int, str | None]:
    """What a polling client looks at: the HTTP status, and the entity's own status if it has one."""
    root = body[body.find("<", body.find("?>") + 2) :] if "?>" in body else body
    indents = re.findall(r"\n( +)<(?:status|snapshot_status|phase)>([^<]*)</", root)
    if indents:
        return status, min(indents, key=lambda found: len(found[0]))[1]
    found = _STATUS.search(root)
    return status, found.group(1) if found else None


def load(path: Path) -> Recording:
    """Reads a recording; raises `OSError` when it cannot be read, and takes every line as it is."""
    exchanges = []
    odd = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if isinstance(value, dict) and not value.get("method"):
                continue  # a remark of the client
            exchanges.append(_exchange(number, value))
        except (ValueError, TypeError, KeyError, AttributeError):
            odd.append(number)
    return Recording(path, tuple(exchanges), tuple(odd))


def recordings(folder: Path) -> list[Path]:
    """The recordings of a folder that requests alone can reproduce."""
    return [path for path in sorted(folder.glob("*.jsonl")) if not _is_excluded(path.name)]


def _is_excluded(name: str) -> bool:
    return name.partition("_")[0] in EXCLUDED


def _exchange(number: int, value: dict[str, Any]) -> Exchange:
    return Exchange(
        number,
        float(value.get("t") or 0.0),
        float(value.get("dur") or 0.0),
        str(value.get("note") or ""),
        str(value["method"]),
        str(value["path"]),
        _headers(value.get("req_headers")),
        _text(value.get("req_body")),
        int(value["status"]),
        _headers(value.get("resp_headers")),
        _text(value.get("resp_body")) or "",
    )


def _headers(value: Any) -> Mapping[str, str]:
    return {str(name).title(): str(text) for name, text in (value or {}).items()}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
