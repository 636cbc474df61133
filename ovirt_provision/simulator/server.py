"""The simulated engine on the wire: HTTPS, logging in, formats, headers, the request log."""

import asyncio
import contextlib
import gzip
import ipaddress
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from ovirt_provision.simulator import faults, markup
from ovirt_provision.simulator.api import BASE, Reply, Request, Router
from ovirt_provision.simulator.entities import is_uuid
from ovirt_provision.simulator.faults import Fault, Refusal
from ovirt_provision.simulator.markup import Element
from ovirt_provision.simulator.sessions import LoginRefused, Session, Sessions, refusal_json
from ovirt_provision.simulator.world import World

log = logging.getLogger(__name__)

_ENGINE = "/ovirt-engine"
_READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Exchange:
    """One request that was answered.

    `path` is below the API's base for calls of the API (`in_api`); `seconds` are real.
    """

    method: str
    path: str
    status: int
    seconds: float
    correlation_id: str
    user_agent: str
    in_api: bool

    @property
    def mutates(self) -> bool:
        """Whether it is a call of the API that may change something."""
        return self.in_api and self.method not in _READING

    @property
    def operation(self) -> str:
        """Method and path without ids and query."""
        parts = [
            "{id}" if is_uuid(part) else part.partition(";")[0]
            for part in self.path.partition("?")[0].split("/")
        ]
        return f"{self.method} {'/'.join(parts)}"


class Server:
    """Turns HTTP requests into calls of the router, one at a time."""

    def __init__(self, world: World, sessions: Sessions, router: Router, ca_file: Path) -> None:
        self._world = world
        self._sessions = sessions
        self._router = router
        self._ca = ca_file.read_bytes()
        self.requests: list[Exchange] = []

    def application(self) -> web.Application:
        application = web.Application(client_max_size=16 << 20)
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        begin = time.monotonic()
        raw = http.raw_path
        if raw.partition("?")[0] == "/simulator/requests":
            return self._control(http)
        in_api = _is_api(raw.partition("?")[0])
        shown = _below_base(raw) if in_api else raw.partition("?")[0]
        content = await http.read()
        injections = self._world.injections
        plain = shown.partition("?")[0]
        delay = injections.fires("delay", http.method, plain)
        drops = injections.fires("drop-reply", http.method, plain) is not None
        late = injections.fires("late-effect", http.method, plain)
        if late is not None:
            drops = True
            if http.transport is not None:
                http.transport.abort()
            await self._world.clock.sleep(late)
        with self._released_locks() as held:
            response = self._answer(http, content, held)
            if held or http.method not in _READING:
                await asyncio.sleep(self._world.timing.command)
        slow = response.headers.pop("X-Refused-Login", None) is not None
        await asyncio.sleep((delay or 0.0) + (self._world.timing.refused_login if slow else 0.0))
        seconds = time.monotonic() - begin
        exchange = Exchange(
            http.method,
            shown,
            response.status,
            seconds,
            response.headers.get("Correlation-Id", ""),
            http.headers.get("User-Agent", ""),
            in_api,
        )
        self.requests.append(exchange)
        log.info(
            "%-6s %s -> %d%s, %.0f ms%s",
            http.method,
            unquote(shown),
            response.status,
            " (reply dropped)" if drops else "",
            seconds * 1000,
            f", {exchange.correlation_id}" if http.headers.get("Correlation-Id") else "",
        )
        if drops and http.transport is not None:
            http.transport.abort()
        return response

    @contextlib.contextmanager
    def _released_locks(self) -> Iterator[list[tuple[str, str]]]:
        held: list[tuple[str, str]] = []
        try:
            yield held
        finally:
            self._world.locks.difference_update(held)

    def _answer(self, http: web.Request, content: bytes, held: list[tuple[str, str]]) -> web.Response:
        path = http.raw_path.partition("?")[0]
        self._world.settle()
        if path == f"{_ENGINE}/services/health":
            return _response(200, b"DB Up!Welcome to Health Status!", "text/html;charset=UTF-8")
        if path == f"{_ENGINE}/services/pki-resource":
            return self._pki(http)
        if path == f"{_ENGINE}/services/sso-logout":
            return self._log_out(http, content)
        if path.startswith(f"{_ENGINE}/sso/oauth/"):
            return self._sso(http, path.removeprefix(f"{_ENGINE}/sso/oauth/"), content)
        if _is_api(path):
            return _compress(http, self._api(http, content, held))
        return _response(
            404, b"<html><head><title>Error</title></head><body>Not Found</body></html>", "text/html"
        )

    # The API

    def _api(self, http: web.Request, content: bytes, held: list[tuple[str, str]]) -> web.Response:
        injections = self._world.injections
        plain = _below_base(http.raw_path).partition("?")[0]
        if injections.fires("unavailable", http.method, plain) is not None:
            return _response(
                503,
                b"<html><head><title>503 Service Unavailable</title></head></html>",
                "text/html;charset=UTF-8",
            )
        try:
            session = self._sessions.authenticate(
                http.headers.get("Authorization"), http.cookies.get("JSESSIONID")
            )
            if injections.fires("unauthorized", http.method, plain) is not None:
                self._sessions.log_out(session.token)
                raise faults.unauthorized(
                    "invalid_grant: The provided authorization grant for the auth code has expired."
                )
        except Refusal as refusal:
            return _refusal(refusal, {})
        self._see(http, session)
        query = _parameters(http.raw_path)
        correlation_id = _correlation_id(
            http.headers.get("Correlation-Id") or query.get("correlation_id", "")
        )
        headers = {"Correlation-Id": correlation_id}
        if http.headers.get("Prefer") == "persistent-auth":
            session.cookie = session.cookie or uuid.uuid4().hex
            headers["Set-Cookie"] = f"JSESSIONID={session.cookie}; path={BASE}; secure; HttpOnly"
        as_json = False
        request = Request(
            self._world,
            http.headers.get("Host", "localhost"),
            "GET" if http.method == "HEAD" else http.method,
            plain,
            query,
            content,
            "json" in http.headers.get("Content-Type", ""),
            correlation_id,
            held,
        )
        try:
            as_json = _wants_json(http)
            _check_formats(http)
            if injections.fires("forbidden", http.method, plain) is not None:
                raise faults.forbidden(plain)
            reply = self._router.dispatch(request)
        except Refusal as refusal:
            return _refusal(refusal, headers)
        except Fault as fault:
            reply = Reply(fault.status, fault.element())
        return self._render(http, reply, headers, as_json)

    def _render(
        self, http: web.Request, reply: Reply, headers: Mapping[str, str], as_json: bool
    ) -> web.Response:
        headers = {**headers, **reply.headers}
        if reply.status == 201 and reply.location is not None:
            # The doubled path is the engine's own mistake.
            headers["Location"] = f"https://{http.headers.get('Host', 'localhost')}{BASE}/v4{reply.location}"
        if reply.element is None:
            return _response(reply.status, b"", None, headers)
        if _is_versioned(http.raw_path):
            _add_version(reply.element)
        if as_json:
            return _response(reply.status, markup.to_json(reply.element), "application/json", headers)
        return _response(reply.status, markup.to_xml(reply.element), "application/xml;charset=UTF-8", headers)

    def _see(self, http: web.Request, session: Session) -> None:
        """The first use of a session by the API is what the engine calls a login."""
        if not session.seen_by_api:
            session.seen_by_api = True
            self._world.log(
                30,
                job=None,
                correlation_id=uuid.uuid4().hex[:8],
                address=http.remote or "",
                session=session.id,
            )

    # Logging in and out, and what needs no login

    def _sso(self, http: web.Request, name: str, content: bytes) -> web.Response:
        form = dict(parse_qsl(content.decode(errors="replace"), keep_blank_values=True))
        form |= dict(parse_qsl(http.raw_path.partition("?")[2], keep_blank_values=True))
        if name == "revoke":
            error = {"error_description": "Missing parameter: 'client_id'", "error": "invalid_request"}
            return _json_response(400, json.dumps(error).encode())
        if name == "token-info":
            return _json_response(200, b"{}")
        if name != "token":
            return _response(404, b"", None)
        try:
            reply = self._sessions.token_reply(form, http.headers.get("Accept", ""))
        except LoginRefused as refused:
            response = _json_response(400, refusal_json(refused))
            if refused.slow:
                response.headers["X-Refused-Login"] = "slow"
            return response
        return _json_response(200, json.dumps(reply, separators=(",", ":")).encode())

    def _log_out(self, http: web.Request, content: bytes) -> web.Response:
        form = dict(parse_qsl(content.decode(errors="replace"), keep_blank_values=True))
        session = self._sessions.log_out(form.get("token", ""))
        if session is not None and session.seen_by_api:
            self._world.log(31, job=None, address=http.remote or "", session=session.id)
        return _json_response(200, b"{ }")

    def _pki(self, http: web.Request) -> web.Response:
        query = dict(parse_qsl(http.raw_path.partition("?")[2]))
        if query.get("resource") != "ca-certificate" or query.get("format", "X509-PEM-CA") not in (
            "X509-PEM-CA",
            "X509-PEM",
        ):
            return _response(400, b"", None)
        return _response(200, self._ca, "application/x-x509-ca-cert")

    def _control(self, http: web.Request) -> web.Response:
        """Counts of what was asked of the engine so far; for this machine only."""
        if http.remote is None or not ipaddress.ip_address(http.remote).is_loopback:
            return _response(403, b"", None)
        api = [one for one in self.requests if one.in_api]
        mutating = sum(1 for one in api if one.mutates)
        counts = {
            "total": len(self.requests),
            "reading": len(api) - mutating,
            "mutating": mutating,
            "session": len(self.requests) - len(api),
            "operations": dict(sorted(Counter(one.operation for one in self.requests).items())),
        }
        return _response(200, json.dumps(counts, indent=2).encode() + b"\n", "application/json")


def _is_api(path: str) -> bool:
    return re.match(rf"{BASE}(/|;|$)", path) is not None


def _is_versioned(path: str) -> bool:
    return re.match(rf"{BASE}/v4(/|;|\?|$)", path) is not None


def _below_base(raw: str) -> str:
    path, mark, query = raw.partition("?")
    path = path.removeprefix(BASE)
    if re.match(r"/v4(/|;|$)", path):
        path = path.removeprefix("/v4")
    path = "/".join(unquote(part.partition(";")[0]) for part in path.split("/"))
    return (path or "/") + (mark + query if mark else "")


def _parameters(raw: str) -> dict[str, str]:
    """Query and matrix parameters as one; `-` in names is `_`."""
    path, _, query = raw.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    for part in path.split("/"):
        for parameter in part.split(";")[1:]:
            name, _, value = parameter.partition("=")
            pairs.append((unquote(name), unquote(value)))
    return {name.replace("-", "_"): value for name, value in pairs}


def _correlation_id(sent: str) -> str:
    """What the engine makes of a correlation id: other characters dropped, 36 at most, one of its own if none
    is left.
    """
    return re.sub(r"[^A-Za-z0-9-]", "", sent)[:36] or str(uuid.uuid4())


def _wants_json(http: web.Request) -> bool:
    """Whether the reply is to be JSON; XML unless the client names JSON first."""
    for part in http.headers.get("Accept", "*/*").split(","):
        kind = part.partition(";")[0].strip()
        if kind in ("application/xml", "text/xml", "*/*", "application/*", ""):
            return False
        if kind == "application/json":
            return True
    raise Refusal(406)


def _check_formats(http: web.Request) -> None:
    version = http.headers.get("Version", "4")
    if version != "4" or re.match(rf"{BASE}/v3(/|$)", http.raw_path):
        raise faults.html(405, f"HTTP method {http.method} is not supported by this URL")
    if http.method in ("POST", "PUT"):
        kind = http.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind not in ("application/xml", "application/json", "text/xml"):
            raise Refusal(415)


def _add_version(element: Element) -> None:
    for one in element.iter():
        href = one.get("href", "")
        if href.startswith(f"{BASE}/"):
            one.set("href", f"{BASE}/v4{href.removeprefix(BASE)}")


def _refusal(refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
    return _response(refusal.status, refusal.body, refusal.content_type, {**headers, **refusal.headers})


def _json_response(status: int, body: bytes) -> web.Response:
    return _response(status, body, "application/json")


def _response(
    status: int, body: bytes, content_type: str | None, headers: Mapping[str, str] | None = None
) -> web.Response:
    response = web.Response(status=status, body=body, headers=dict(headers or {}))
    if content_type is not None:
        response.headers["Content-Type"] = content_type
    elif "Content-Type" in response.headers:
        del response.headers["Content-Type"]
    return response


def _compress(http: web.Request, response: web.Response) -> web.Response:
    body = response.body
    if not isinstance(body, bytes) or not body or "gzip" not in http.headers.get("Accept-Encoding", ""):
        return response
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    return web.Response(
        status=response.status,
        body=gzip.compress(body, mtime=0),
        headers={**headers, "Content-Encoding": "gzip"},
    )
