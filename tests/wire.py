"""The shortest way from a bridge to a simulated engine: no HTTP, no threads, no log-in.

Some thirty times as fast as the real one, which the tests of the session are about; good for many small
worlds.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pycurl
import pytest
from ovirtsdk4 import Error, http, services

from ovirt_provision.engine.session import Session, _Connection
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.faults import Refusal
from ovirt_provision.simulator.injection import FaultRule
from ovirt_provision.simulator.markup import to_xml

T = TypeVar("T")

URL = "https://engine.example.com/ovirt-engine/api"
_XML = ["Content-Type: application/xml;charset=UTF-8"]
_PROXY = http.Response(b"<html>Service Unavailable</html>", 503, ["Content-Type: text/html"], "")

# What the wire does to a request here as it does over HTTP, and what it does only there.
_FAULTS = ("reset", "late-effect", "drop-reply", "unavailable")
_HTTP_FAULTS = ("delay", "engine-restart", "session-revoked", "unauthorized")


@dataclass(frozen=True)
class Change:
    """A request that may have changed something; `path` is below the API's base, `body` as it was sent."""

    method: str
    path: str
    body: str
    status: int
    detach_only: bool = False


class Wire:
    """Has every session talk to a simulator in this process.

    `changes` are what was asked of it, and `observe` is told each as it happens. Arming a fault that needs
    HTTP fails, because it would never fire.
    """

    def __init__(self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: list[Change] = []
        self.observe: Callable[[Change], None] = lambda _change: None
        self._late: set[asyncio.Task[None]] = set()
        wire = self
        injections = simulator.world.injections
        arm = injections.arm

        def arm_here(rule: FaultRule | str, **fields: Any) -> int:
            name = rule if isinstance(rule, str) else rule.fault
            assert name not in _HTTP_FAULTS, f"the fault {name} needs HTTP"
            return arm(rule, **fields)

        async def inline(session: Session, function: Callable[..., T], *args: Any) -> T:
            await asyncio.sleep(0)
            return function(*args)

        async def no_login(_session: Session) -> str:
            return "token"

        class Connection(_Connection):
            def __init__(self, username: str) -> None:
                """Nothing of curl. The administrator is not held against permits."""
                self._url = URL  # for the error that an answer without XML is
                principal = username.partition("@")[0]
                users = [user for user in simulator.world.users.values() if user.principal == principal]
                self._user = next((user for user in users if user is not simulator.world.admin), None)

            def system_service(self) -> services.SystemService:
                return services.SystemService(self, "")

            def send(self, request: http.Request) -> http.Response:
                with injections.during(request.method, request.path):
                    fired = {name: injections.fires(name) for name in _FAULTS}
                late = fired["late-effect"]
                if late is not None:
                    wire._do_later(simulator, late, partial(self._answer, request, self._headers))
                if late is not None or fired["reset"] is not None:
                    raise _broken()
                if fired["unavailable"] is not None:
                    return _PROXY
                answer = self._answer(request, self._headers)
                if fired["drop-reply"] is not None:
                    raise _broken()
                return answer

            def _answer(self, request: http.Request, headers: Mapping[str, str]) -> http.Response:
                body = request.body or b""
                body = body.decode() if isinstance(body, bytes) else body
                try:
                    reply = simulator.call(
                        request.method,
                        request.path,
                        body,
                        correlation_id=headers.get("Correlation-Id", "") or uuid.uuid4().hex,
                        user=self._user,
                        **{name: str(value) for name, value in request.query.items() if value is not None},
                    )
                    element = reply.element
                    answer = http.Response(
                        to_xml(element) if element is not None else b"", reply.status, _XML, ""
                    )
                except Refusal as refusal:
                    sort = [f"Content-Type: {refusal.content_type}"]
                    answer = http.Response(refusal.body, refusal.status, sort, "")
                if request.method != "GET":
                    detach = str(request.query.get("detach_only", "")) == "true"
                    change = Change(request.method, request.path, body, answer.code, detach)
                    wire.changes.append(change)
                    wire.observe(change)
                return answer

            def wait(self, context: http.Response, failed_auth: bool = False) -> http.Response:
                return context

            def abandon(self) -> None:
                """Nothing is open."""

        monkeypatch.setattr(injections, "arm", arm_here)
        monkeypatch.setattr(Session, "_in_thread", inline)
        monkeypatch.setattr(Session, "_logged_in", no_login)
        monkeypatch.setattr(Session, "_new_connection", lambda session: Connection(session.username))

    def _do_later(self, simulator: Simulator, seconds: float, effect: Callable[[], object]) -> None:
        async def do() -> None:
            await simulator.clock.sleep(seconds)
            effect()

        task = asyncio.get_running_loop().create_task(do())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


def _broken() -> Error:
    """What the SDK raises when curl does: it hides curl's number in the text."""
    return Error(
        f"Error while sending HTTP request: ('curl', {pycurl.E_RECV_ERROR}, 'Connection reset by peer')"
    )
