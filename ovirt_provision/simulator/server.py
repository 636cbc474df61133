"""The simulated engine on the wire: HTTPS, logging in, formats, headers, the request log."""

import asyncio
import contextlib
import gzip
import json
import logging
import re
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from ovirt_provision.simulator import faults, images, markup
from ovirt_provision.simulator.api import BASE, Reply, Request, Router
from ovirt_provision.simulator.control import PREFIX, Control
from ovirt_provision.simulator.entities import User
from ovirt_provision.simulator.faults import Refusal
from ovirt_provision.simulator.injection import operation
from ovirt_provision.simulator.markup import Element
from ovirt_provision.simulator.resources.consoles import VIEWER
from ovirt_provision.simulator.sessions import (
    EXPIRED,
    LoginRedirected,
    LoginRefused,
    Session,
    Sessions,
    refusal_json,
)
from ovirt_provision.simulator.world import World

log = logging.getLogger(__name__)

_ENGINE = "/ovirt-engine"
_READING = ("GET", "HEAD", "OPTIONS")
_WIRE_FAULTS = ("reset", "engine-restart", "late-effect", "drop-reply", "delay", "unavailable")

MAX_BODY = 16 << 20
"""Bytes of a request that are read; beyond them it is answered 413."""

_PROXY_PAGE = b"""<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">
<html><head>
<title>503 Service Unavailable</title>
</head><body>
<h1>Service Unavailable</h1>
<p>The server is temporarily unable to service your
request due to maintenance downtime or capacity
problems. Please try again later.</p>
</body></html>
"""


@dataclass(frozen=True)
class Exchange:
    """One request that was answered.

    `path` is below the API's base for calls of the API (`in_api`); `seconds` are real. `lost` is whether
    the client was gone when the engine answered.
    """

    method: str
    path: str
    status: int
    seconds: float
    correlation_id: str
    user_agent: str
    in_api: bool
    lost: bool = False

    @property
    def mutates(self) -> bool:
        """Whether it is a call of the API that may change something."""
        return self.in_api and self.method not in _READING

    @property
    def operation(self) -> str:
        """Method and path without ids and query."""
        return operation(self.method, self.path)


class _Response(web.Response):
    """`wait` is how many real seconds it comes late, `why` the engine's reason for a refusal."""

    wait = 0.0
    why = ""


class Server:
    """Turns HTTP requests into calls of the router, one at a time.

    `restart` is called with the seconds of an outage when a fault takes the engine down.
    """

    def __init__(
        self,
        world: World,
        sessions: Sessions,
        router: Router,
        ca_file: Path,
        restart: Callable[[float], None],
    ) -> None:
        self._world = world
        self._sessions = sessions
        self._router = router
        self._ca = ca_file.read_bytes()
        self._restart = restart
        self.requests: list[Exchange] = []
        self._control = Control(self.requests, world.injections)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._serve)
        return application

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        begin = time.monotonic()
        path = http.raw_path.partition("?")[0]
        if path.startswith(images.PREFIX):
            return await images.serve(self._world, http)
        try:
            content = await http.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(faults.html(413, "Request Entity Too Large"), {})
        if path.startswith(PREFIX):
            return self._answer_control(http, path.removeprefix(PREFIX), content)
        in_api = _is_api(path)
        shown = _below_base(http.raw_path) if in_api else path
        response = await self._answer_or_break(http, shown.partition("?")[0], content)
        exchange = Exchange(
            http.method,
            shown,
            response.status,
            time.monotonic() - begin,
            response.headers.get("Correlation-Id", ""),
            http.headers.get("User-Agent", ""),
            in_api,
            lost=http.transport is None or http.transport.is_closing(),
        )
        self.requests.append(exchange)
        if log.isEnabledFor(logging.INFO):
            self._log(http, exchange, response)
        return response

    async def _answer_or_break(self, http: web.Request, plain: str, content: bytes) -> _Response:
        """The reply, late or over a broken connection where a fault of the wire says so."""
        injections = self._world.injections
        with injections.during(http.method, plain):
            fired = {name: injections.fires(name) for name in _WIRE_FAULTS}
        restart, late, delay = fired["engine-restart"], fired["late-effect"], fired["delay"]
        if restart is not None:
            self._restart(restart)
        if restart is not None or late is not None or fired["reset"] is not None:
            _break(http)
        if late is not None:
            await self._world.clock.sleep(late)
        elif http.transport is None or http.transport.is_closing():
            return _response(503, b"", None)
        if fired["unavailable"] is not None:
            return _response(503, _PROXY_PAGE, "text/html; charset=iso-8859-1")
        with self._released_locks() as held, injections.during(http.method, plain):
            response = self._answer(http, content, held)
            if held or http.method not in _READING:
                await asyncio.sleep(self._world.timing.command)
        await asyncio.sleep((delay or 0.0) + response.wait)
        if fired["drop-reply"] is not None:
            _break(http)
        return response

    def _log(self, http: web.Request, exchange: Exchange, response: _Response) -> None:
        """One line: what was asked, the answer, how long it took, which attempt, of what, and why not."""
        names = [self._world.name_of(part) for part in exchange.path.partition("?")[0].split("/")]
        log.info(
            "%-6s %s -> %s%s, %.0f ms%s%s%s",
            exchange.method,
            unquote(exchange.path),
            exchange.status,
            " (lost)" if exchange.lost else "",
            exchange.seconds * 1000,
            "".join(f", {name}" for name in names if name),
            f", [{exchange.correlation_id}]" if http.headers.get("Correlation-Id") else "",
            f": {response.why}" if response.why else "",
        )

    @contextlib.contextmanager
    def _released_locks(self) -> Iterator[list[tuple[str, str]]]:
        held: list[tuple[str, str]] = []
        try:
            yield held
        finally:
            self._world.locks.difference_update(held)

    def _answer(self, http: web.Request, content: bytes, held: list[tuple[str, str]]) -> _Response:
        path = http.raw_path.partition("?")[0]
        self._world.settle()
        if path == f"{_ENGINE}/services/health":
            return _response(200, b"DB Up!Welcome to Health Status!", "text/html;charset=ISO-8859-1")
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

    def _api(self, http: web.Request, content: bytes, held: list[tuple[str, str]]) -> _Response:
        injections = self._world.injections
        plain = _below_base(http.raw_path).partition("?")[0]
        try:
            if injections.fires("unauthorized") is not None:
                raise faults.unauthorized()
            session = self._sessions.authenticate(
                http.headers.get("Authorization"), http.cookies.get("JSESSIONID")
            )
            if injections.fires("session-revoked") is not None:
                self._sessions.log_out(session.token)
                raise faults.unauthorized(EXPIRED)
            self._check_login_permission(session)
        except Refusal as refusal:
            return _refusal(refusal, {})
        self._see(http, session)
        query = _parameters(http.raw_path)
        if "Filter" in http.headers:
            query.setdefault("filter", http.headers["Filter"])
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
            http.headers.get("Accept", ""),
            self._user_of(session),
        )
        as_it_is = http.method != "HEAD" and not _is_versioned(http.raw_path)
        try:
            as_json = _wants_json(http)
            request.as_xml = as_it_is and not as_json
            _check_formats(http)
            reply = self._router.answer(request)
        except Refusal as refusal:
            return _refusal(refusal, headers)
        except Exception as error:  # the simulator stands whatever a client sends
            log.exception("%s %s", http.method, http.raw_path)
            return _refusal(faults.server_error(type(error).__name__), headers)
        why = _why(reply)
        response = self._render(http, reply, headers, as_json)
        response.wait, response.why = reply.wait, why
        return response

    def _render(
        self, http: web.Request, reply: Reply, headers: Mapping[str, str], as_json: bool
    ) -> _Response:
        headers = {**headers, **reply.headers}
        if reply.status == 201 and reply.location is not None:
            # The doubled path is the engine's own mistake.
            headers["Location"] = f"https://{http.headers.get('Host', 'localhost')}{BASE}/v4{reply.location}"
        if reply.text is not None:
            return _response(reply.status, *reply.text, headers)
        if reply.element is None:
            return _response(reply.status, b"", None, headers)
        if _is_versioned(http.raw_path):
            _add_version(reply.element)
            if "Link" in headers:
                headers["Link"] = headers["Link"].replace(f"{BASE}/", f"{BASE}/v4/")
        if http.method == "HEAD":
            return _response(reply.status, b"", None, headers)
        if as_json:
            return _response(reply.status, markup.to_json(reply.element), "application/json", headers)
        return _response(reply.status, markup.to_xml(reply.element), markup.XML_TYPE, headers)

    def _check_login_permission(self, session: Session) -> None:
        """Who has no role that permits it gets a token, but nothing for it."""
        principal, _, profile = session.username.partition("@")
        world = self._world
        own = (one for one in world.permissions.values() if one.user and one.user.principal == principal)
        if not any("login" in world.roles[one.role].permits for one in own):
            self._world.see_user(principal)
            raise faults.unauthorized(
                f"The user {principal}@{profile}-authz with profile [{profile}] is not authorized to perform "
                "login"
            )

    def _user_of(self, session: Session) -> User | None:
        principal = session.username.partition("@")[0]
        return next((one for one in self._world.users.values() if one.principal == principal), None)

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

    def _sso(self, http: web.Request, name: str, content: bytes) -> _Response:
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
        except LoginRedirected:
            why = "error=unauthorized_client&error_description=Authentication+required."
            location = f"https://{http.headers.get('Host', 'localhost')}{_ENGINE}/oauth2-callback?{why}"
            cookie = f"JSESSIONID={uuid.uuid4().hex}; path={_ENGINE}/sso; HttpOnly"
            return _response(302, b"", None, {"Location": location, "Set-Cookie": cookie})
        except LoginRefused as refused:
            response = _json_response(400, refusal_json(refused))
            response.why = refused.text
            if refused.slow:
                response.wait = self._world.timing.refused_login
            return response
        return _json_response(200, json.dumps(reply, separators=(",", ":")).encode())

    def _log_out(self, http: web.Request, content: bytes) -> _Response:
        form = dict(parse_qsl(content.decode(errors="replace"), keep_blank_values=True))
        session = self._sessions.log_out(form.get("token", ""))
        if session is not None and session.seen_by_api:
            self._world.log(31, job=None, address=http.remote or "", session=session.id)
        return _json_response(200, b"{ }")

    def _pki(self, http: web.Request) -> _Response:
        query = dict(parse_qsl(http.raw_path.partition("?")[2]))
        if query.get("resource") != "ca-certificate" or query.get("format", "X509-PEM-CA") not in (
            "X509-PEM-CA",
            "X509-PEM",
        ):
            return _response(400, b"", None)
        return _response(200, self._ca, "application/x-x509-ca-cert; charset=ISO-8859-1")

    def _answer_control(self, http: web.Request, path: str, content: bytes) -> _Response:
        try:
            self._sessions.authenticate(http.headers.get("Authorization"), None)
        except Refusal as refusal:
            return _refusal(refusal, {})
        status, value = self._control.answer(http.method, path.partition("?")[0], content)
        return _json_response(status, json.dumps(value, indent=2).encode() + b"\n")


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
    return re.sub(r"[^A-Za-z0-9_-]", "", sent)[:36] or str(uuid.uuid4())


def _wants_json(http: web.Request) -> bool:
    """Whether the reply is to be JSON; XML unless the client names JSON first."""
    for part in http.headers.get("Accept", "*/*").split(","):
        kind = part.partition(";")[0].strip()
        if kind in ("application/xml", "text/xml", "*/*", "application/*", ""):
            return False
        if kind == VIEWER and "/graphicsconsoles/" in http.path:
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


def _refusal(refusal: Refusal, headers: Mapping[str, str]) -> _Response:
    return _response(refusal.status, refusal.body, refusal.content_type, {**headers, **refusal.headers})


def _json_response(status: int, body: bytes) -> _Response:
    return _response(status, body, "application/json")


def _response(
    status: int, body: bytes, content_type: str | None, headers: Mapping[str, str] | None = None
) -> _Response:
    response = _Response(status=status, body=body, headers=dict(headers or {}))
    if content_type is not None:
        response.headers["Content-Type"] = content_type
    elif "Content-Type" in response.headers:
        del response.headers["Content-Type"]
    return response


def _why(reply: Reply) -> str:
    """What the fault in a reply says."""
    if reply.status < 400 or reply.element is None:
        return ""
    fault = next(reply.element.iter("fault"), None)
    said = [markup.find_text(fault, tag) for tag in ("detail", "reason")] if fault is not None else []
    return next((" ".join(text.split()) for text in said if text), "")


def _break(http: web.Request) -> None:
    """Resets the connection; without SO_LINGER the client would see it end in good order."""
    if http.transport is not None:
        raw = http.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()


def _compress(http: web.Request, response: _Response) -> _Response:
    body = response.body
    if not isinstance(body, bytes) or not body or "gzip" not in http.headers.get("Accept-Encoding", ""):
        return response
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    compressed = _Response(
        status=response.status,
        body=gzip.compress(body, compresslevel=1, mtime=0),
        headers={**headers, "Content-Encoding": "gzip"},
    )
    compressed.wait, compressed.why = response.wait, response.why
    return compressed
