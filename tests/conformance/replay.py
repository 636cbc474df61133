"""Asks the simulator what a recording's client asked the engine, at the same times."""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote

import aiohttp
import yarl

from ovirt_provision.clock import VirtualClock
from ovirt_provision.simulator import Simulator
from tests.conformance import world
from tests.conformance.compare import Ids, compare_bodies, compare_headers
from tests.conformance.findings import Findings, find
from tests.conformance.recording import Exchange, Recording, load, state_of

TOLERANCE = 15.0
"""Seconds by which a polled state may come earlier or later than recorded."""

_POLL_EVERY = 0.2
_MOST_POLLS = 1000
_HOST = "/ovirt-engine"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Disagreement:
    exchange: Exchange
    differences: tuple[str, ...]

    def __str__(self) -> str:
        more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
        return f"{self.exchange.method} {self.exchange.path}: {self.differences[0]}{more}"


@dataclass(frozen=True)
class Result:
    """How a recording compares; `total` counts its exchanges."""

    recording: Recording
    total: int
    disagreements: tuple[Disagreement, ...]

    @property
    def agreed(self) -> int:
        return self.total - len(self.disagreements)


def replay(path: Path, *, profile: str = "recorded") -> Result:
    """Replays one recording against a simulator of its own; raises `OSError` when it cannot be read."""
    recording = load(path)
    findings = find(recording.exchanges)
    start = findings.began.timestamp() if findings.began is not None else 1_800_000_000.0
    clock = VirtualClock(start)
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(_replay(recording, findings, clock, profile))


async def _replay(recording: Recording, findings: Findings, clock: VirtualClock, profile: str) -> Result:
    async with Simulator(clock=clock, profile=profile) as simulator:
        world.build(simulator.world, findings)
        for username in _others(recording, simulator.username):
            simulator.sessions.add_account(username, simulator.password)
        known = world.recorded_ids(simulator.world, findings)
        async with _Client.open(simulator, clock, recording, known) as client:
            found = []
            for exchange in recording.exchanges:
                differences = await client.differences(exchange)
                if differences:
                    found.append(Disagreement(exchange, tuple(differences)))
            return Result(recording, len(recording.exchanges), tuple(found))


class _Client:
    """The recording's client. `_shift` is how much later than recorded things are, in seconds."""

    def __init__(
        self,
        simulator: Simulator,
        clock: VirtualClock,
        recording: Recording,
        known: Iterable[str],
        http: aiohttp.ClientSession,
    ) -> None:
        self._simulator = simulator
        self._clock = clock
        self._http = http
        self._ids = Ids()
        for identity in known:
            self._ids.learn(identity, identity)
        first = recording.exchanges[0].time if recording.exchanges else 0.0
        self._begin = clock.monotonic() - first
        self._shift = 0.0
        self._polled = ""
        self._accepted = _accepted_passwords(recording)
        self._tokens: dict[str, str] = {}
        self._last_token = ""
        self._token = ""
        self._cookie: str | None = None
        self._host = simulator.url.partition(_HOST)[0]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, simulator: Simulator, clock: VirtualClock, recording: Recording, known: Iterable[str]
    ) -> AsyncIterator["_Client"]:
        trust = ssl.create_default_context(cafile=simulator.ca_file)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust),
            skip_auto_headers=["Accept", "Content-Type"],
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as http:
            yield cls(simulator, clock, recording, known, http)

    async def differences(self, exchange: Exchange) -> list[str]:
        found: list[str] = []
        try:
            if exchange.is_change:
                reply, late = await self._poll(exchange)
                self._polled = exchange.path
                if late < -TOLERANCE:
                    found.append(f"status is there {-late:.0f} s too early")
            else:
                self._polled = ""
                reply = await self._at(exchange)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return [f"no reply: {error!r}"]
        if reply.status != exchange.status:
            found.append(f"status {exchange.status} / {reply.status}{_why(reply)}")
            return found
        found += compare_headers(exchange.request_headers, exchange.headers, reply.headers, self._ids)
        if exchange.path.startswith("/ovirt-engine/sso/"):
            self._learn_tokens(exchange, reply)
            found += compare_bodies(_masked(exchange.body), _masked(reply.body), self._ids)
        else:
            ordered = "sortby" in exchange.path.lower()
            found += compare_bodies(exchange.body, reply.body, self._ids, ordered=ordered)
        return found

    # Time

    async def _at(self, exchange: Exchange) -> Reply:
        await self._wait_until(exchange.time + self._shift)
        return await self._ask(exchange)

    async def _poll(self, exchange: Exchange) -> tuple[Reply, float]:
        """Polls until the recorded state is there, and takes over how much later (or earlier) that is."""
        wanted = state_of(exchange.status, exchange.body)
        due = exchange.time + self._shift
        if self._polled != exchange.path:
            # The first look of many: the state may have been there for long before anybody looked.
            await self._wait_until(due - TOLERANCE)
        every = max(_POLL_EVERY, (due - self._now) / _MOST_POLLS)
        while True:
            reply = await self._ask(exchange)
            late = self._now - due
            if state_of(reply.status, reply.body) == wanted:
                self._shift += late
                return reply, late
            if late >= TOLERANCE:
                return reply, late
            await self._clock.sleep(every)

    @property
    def _now(self) -> float:
        return self._clock.monotonic() - self._begin

    async def _wait_until(self, moment: float) -> None:
        if moment > self._now:
            await self._clock.sleep(moment - self._now)

    # Requests

    async def _ask(self, exchange: Exchange) -> Reply:
        headers = {
            name: value
            for name, value in exchange.request_headers.items()
            if name not in ("Host", "Content-Length", "Cookie", "Accept-Encoding")
        }
        authorization = headers.pop("Authorization", None)
        if authorization is not None:
            headers["Authorization"] = await self._authorization(exchange, authorization)
        elif self._cookie is not None and "Prefer" in headers:
            headers["Cookie"] = f"JSESSIONID={self._cookie}"
        body = exchange.request_body
        if body is not None:
            if exchange.status < 300:
                await self._look_up_disk(body)
            body = self._credentials(self._ids.translate(self._with_tokens(body)))
            if "Content-Type" not in headers and exchange.status != 415:
                # Not every recorder notes all headers; without this one the engine takes no body.
                headers["Content-Type"] = f"application/{'json' if body.startswith('{') else 'xml'}"
        path = self._credentials(self._ids.translate(self._with_event_numbers(exchange.path)))
        reply = await self._send(exchange.method, path, headers, body)
        cookie = re.search(r"JSESSIONID=([^;]+)", reply.headers.get("Set-Cookie", ""))
        if cookie is not None:
            self._cookie = cookie.group(1)
        return reply

    async def _look_up_disk(self, body: str) -> None:
        """A client may have learnt the id of a template's only disk without that being recorded."""
        template = re.search(r'<template id="([^"]+)"', body)
        unknown = [one for one in re.findall(r'<disk id="([^"]+)"', body) if self._ids.ours(one) is None]
        if template is None or len(unknown) != 1 or self._ids.ours(template.group(1)) is None:
            return
        path = f"{_HOST}/api/templates/{self._ids.ours(template.group(1))}/diskattachments"
        authorization = f"Bearer {self._token or await self._log_in()}"
        reply = await self._send(
            "GET", path, {"Accept": "application/xml", "Authorization": authorization}, None
        )
        found = re.findall(r'<disk_attachment [^>]*id="([^"]+)"', reply.body)
        if len(found) == 1:
            self._ids.learn(unknown[0], found[0])

    async def _send(self, method: str, path: str, headers: Mapping[str, str], body: str | None) -> Reply:
        url = yarl.URL(self._host + path.replace(" ", "%20"), encoded=True)
        data = body.encode() if body is not None else None
        with self._clock.hold():
            async with self._http.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as reply:
                content = await reply.read()
                named = {name.title(): value for name, value in reply.headers.items()}
                return Reply(reply.status, named, content.decode(errors="replace"))

    def _with_event_numbers(self, path: str) -> str:
        return re.sub(r"(?<=from=)\d+", lambda found: self._ids.ours(found.group()) or found.group(), path)

    # Logging in. The recording masks tokens: what a masked one was shows in the engine's reply.

    async def _authorization(self, exchange: Exchange, recorded: str) -> str:
        scheme, _, value = recorded.partition(" ")
        if scheme.lower() == "basic":
            return f"{scheme} {self._basic(value)}"
        if exchange.status == 401:
            return "Bearer unknown" if "invalid_grant" in exchange.body else f"Bearer {self._last_token}"
        if not self._token:
            self._token = await self._log_in()
        return f"Bearer {self._token}"

    async def _log_in(self) -> str:
        form = (
            "grant_type=password&scope=ovirt-app-api"
            f"&username={quote(self._simulator.username)}&password={quote(self._simulator.password)}"
        )
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        reply = await self._send("POST", f"{_HOST}/sso/oauth/token", headers, form)
        return str(json.loads(reply.body)["access_token"])

    def _basic(self, value: str) -> str:
        try:
            user, colon, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return value
        return base64.b64encode((user + colon + self._password(user, password)).encode()).decode()

    def _password(self, user: str, password: str) -> str:
        """Ours, where the engine took the recorded one."""
        return self._simulator.password if password in self._accepted else password

    def _credentials(self, text: str) -> str:
        def ours(found: re.Match[str]) -> str:
            return found.group(1) + quote(self._password("", found.group(2)), safe="")

        return re.sub(r"(?<![\w-])(password=)([^&\s<]*)", ours, text)

    def _with_tokens(self, text: str) -> str:
        for recorded, ours in self._tokens.items():
            text = text.replace(recorded, ours)
        return text

    def _learn_tokens(self, exchange: Exchange, reply: Reply) -> None:
        recorded, ours = (_token_of(body) for body in (exchange.body, reply.body))
        if recorded and ours:
            self._tokens[recorded] = ours
            self._last_token = ours


def _token_of(body: str) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    return str(value.get("access_token", "")) if isinstance(value, dict) else ""


def _masked(body: str) -> str:
    return re.sub(r'("access_token"\s*:\s*)"[^"]*"', r'\1"<token>"', body)


def _accepted_passwords(recording: Recording) -> set[str]:
    """The passwords with which the recording's users got in."""
    found = set()
    for exchange in recording.exchanges:
        if exchange.status != 200:
            continue
        basic = re.fullmatch(r"Basic (\S+)", exchange.request_headers.get("Authorization", ""))
        if basic is not None:
            found.add(base64.b64decode(basic.group(1) + "==").decode(errors="replace").partition(":")[2])
        form = f"{exchange.request_body or ''}&{exchange.path.partition('?')[2]}"
        if "/sso/" in exchange.path:
            found.update(parse_qs(form).get("password", []))
    return found


def _others(recording: Recording, username: str) -> set[str]:
    """Who else got a token."""
    found = set()
    for exchange in recording.exchanges:
        if exchange.status == 200 and "/sso/" in exchange.path and "access_token" in exchange.body:
            form = f"{exchange.request_body or ''}&{exchange.path.partition('?')[2]}"
            found.update(parse_qs(form).get("username", []))
    return found - {username}


def _why(reply: Reply) -> str:
    detail = re.search(r"<detail>(.*?)</detail>", reply.body, re.DOTALL)
    return f" {' '.join(detail.group(1).split())[:200]}" if detail is not None else ""
