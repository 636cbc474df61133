"""`/simulator/…`: what people and tests ask of the simulator itself, as JSON, logged in as on the engine."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ovirt_provision.simulator.documents import DocumentError, check
from ovirt_provision.simulator.injection import FaultRule, Injections

PREFIX = "/simulator/"


class Counted(Protocol):
    """What is counted of a request."""

    @property
    def in_api(self) -> bool: ...
    @property
    def mutates(self) -> bool: ...
    @property
    def operation(self) -> str: ...


class Control:
    """Answers requests below `/simulator/` with a status and something to write as JSON."""

    def __init__(self, requests: Sequence[Counted], injections: Injections) -> None:
        self._requests = requests
        self._injections = injections

    def answer(self, method: str, path: str, content: bytes) -> tuple[int, Any]:
        """`path` is below `/simulator/`. Whoever calls it has checked who asks."""
        name, _, number = path.strip("/").partition("/")
        if name == "requests" and not number and method == "GET":
            return 200, self._counts()
        if name == "faults" and not number:
            if method == "GET":
                return 200, self._faults()
            if method == "POST":
                return self._arm(content)
            if method == "DELETE":
                self._injections.disarm()
                return 200, self._faults()
        if name == "faults" and number in map(str, self._injections.armed):
            if method == "GET":
                return 200, self._shown(int(number))
            if method == "DELETE":
                self._injections.disarm(int(number))
                return 200, self._faults()
        known = "GET requests; GET, POST, DELETE faults; GET, DELETE faults/ID"
        return 404, {"error": f"no {method} {PREFIX}{path}; there are: {known}"}

    def _counts(self) -> Mapping[str, Any]:
        api = [one for one in self._requests if one.in_api]
        mutating = sum(one.mutates for one in api)
        return {
            "total": len(self._requests),
            "reading": len(api) - mutating,
            "mutating": mutating,
            "session": len(self._requests) - len(api),
            "operations": dict(sorted(Counter(one.operation for one in self._requests).items())),
        }

    def _faults(self) -> Mapping[str, Any]:
        return {
            "armed": [self._shown(number) for number in self._injections.armed],
            "fired": [asdict(firing) for firing in self._injections.fired],
        }

    def _shown(self, number: int) -> Mapping[str, Any]:
        return {"id": number, **self._injections.armed[number].model_dump(exclude_none=True)}

    def _arm(self, content: bytes) -> tuple[int, Any]:
        try:
            rule = check("fault", json.loads(content), FaultRule)
        except DocumentError as error:
            return 400, {"error": "; ".join(error.problems)}
        except ValueError as error:
            return 400, {"error": f"not JSON: {error}"}
        return 201, self._shown(self._injections.arm(rule))
