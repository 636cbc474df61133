"""The shortest way from a bridge to a simulated engine: no HTTP, no threads, no log-in.

Some thirty times as fast as the real one, which the tests of the session are about; good for many small
worlds.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from ovirtsdk4 import http, services

from ovirt_provision.engine.session import Session, _Connection
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.faults import Refusal
from ovirt_provision.simulator.markup import to_xml

T = TypeVar("T")

URL = "https://engine.example.com/ovirt-engine/api"
_XML = ["Content-Type: application/xml;charset=UTF-8"]


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

    `changes` are what was asked of it, and `observe` is told each as it happens.
    """

    def __init__(self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: list[Change] = []
        self.observe: Callable[[Change], None] = lambda _change: None
        wire = self

        async def inline(session: Session, function: Callable[..., T], *args: Any) -> T:
            await asyncio.sleep(0)
            return function(*args)

        async def no_login(_session: Session) -> str:
            return "token"

        class Connection(_Connection):
            def __init__(self, username: str) -> None:
                """Nothing of curl. The administrator is not held against permits."""
                principal = username.partition("@")[0]
                users = [user for user in simulator.world.users.values() if user.principal == principal]
                self._user = next((user for user in users if user is not simulator.world.admin), None)

            def system_service(self) -> services.SystemService:
                return services.SystemService(self, "")

            def send(self, request: http.Request) -> http.Response:
                correlation_id = self._headers.get("Correlation-Id", "")
                body = request.body or b""
                body = body.decode() if isinstance(body, bytes) else body
                try:
                    reply = simulator.call(
                        request.method,
                        request.path,
                        body,
                        correlation_id=correlation_id or uuid.uuid4().hex,
                        user=self._user,
                        **{name: str(value) for name, value in request.query.items() if value is not None},
                    )
                    element = reply.element
                    answer = http.Response(
                        to_xml(element) if element is not None else b"", reply.status, _XML, ""
                    )
                except Refusal as refusal:
                    headers = [f"Content-Type: {refusal.content_type}"]
                    answer = http.Response(refusal.body, refusal.status, headers, "")
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

        monkeypatch.setattr(Session, "_in_thread", inline)
        monkeypatch.setattr(Session, "_logged_in", no_login)
        monkeypatch.setattr(Session, "_new_connection", lambda session: Connection(session.username))
