"""One SSO session per engine, shared by a small pool of SDK connections."""

import asyncio
import contextlib
import copy
import io
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import ovirtsdk4 as sdk
import pycurl
import structlog

from ovirt_provision import __version__, metrics
from ovirt_provision.clock import Clock
from ovirt_provision.config import EngineProfile, Timeouts
from ovirt_provision.engine.account import Account, Need
from ovirt_provision.engine.certificate import Certificate, read_certificate
from ovirt_provision.engine.errors import from_curl, from_sdk
from ovirt_provision.errors import (
    EngineBroken,
    EngineCertificateInvalid,
    EngineLoginFailed,
    EnginePermissionDenied,
    EngineSessionExpired,
    EngineUnreachable,
    ProvisionError,
)

T = TypeVar("T")

# In bytes, and so a few VMs.
_LARGE_ANSWER = 64 << 10

log = structlog.get_logger("engine")


class _TokenRejected(Exception):
    """The engine answered 401 to our token."""


class _Connection(sdk.Connection):  # type: ignore[misc]
    """An SDK connection that uses the session's token and never logs in by itself.

    The SDK would log in once per connection and again at each 401, so an expired token would cost one login
    for every caller; here the session does it once for all.
    """

    _unpacks = False

    def __init__(self, engine: str, unpacking: threading.Lock, **options: Any) -> None:
        super().__init__(**options)
        self._engine = engine
        self._unpacking = unpacking

    def use_token(self, token: str) -> None:
        self._sso_token = token

    def wait(self, context: Any, failed_auth: bool = False) -> Any:
        """As the SDK's, and counts the request. A large answer waits here until `unpacked` was called for the
        one before: as the SDK's objects a hundred VMs are 5 MB, and Python makes one at a time anyway."""
        request, status, began = context[3], "none", time.monotonic()
        try:
            response = super().wait(context, failed_auth)
            status = str(response.code)
        except _TokenRejected:
            status = "401"
            raise
        finally:
            path = metrics.path_template(request.path)
            metrics.ENGINE_REQUESTS.labels(self._engine, request.method, path, status).inc()
            metrics.ENGINE_REQUEST_SECONDS.labels(self._engine, request.method).observe(
                time.monotonic() - began
            )
        if len(response.body or b"") > _LARGE_ANSWER and not self._unpacks:
            self._unpacking.acquire()
            self._unpacks = True
        return response

    def unpacked(self) -> None:
        """Says that the objects of the last answers are not needed any more."""
        if self._unpacks:
            self._unpacks = False
            self._unpacking.release()

    def _get_access_token(self) -> str:
        raise _TokenRejected

    def abandon(self) -> None:
        """Closes without logging out: the token belongs to the session."""
        self.close(logout=False)


class Session:
    """Runs SDK requests against one engine in a bounded pool of threads, logged in once for all of them."""

    def __init__(self, name: str, profile: EngineProfile, timeouts: Timeouts, clock: Clock) -> None:
        """`name` is that of the profile."""
        self.name = name
        self.url = profile.url
        self.username = profile.username
        self.insecure = profile.insecure
        # Of whoever speaks TLS for the engine, its hosts too; empty for the system's authorities.
        self.ca_file = str(profile.ca_file) if profile.ca_file else ""
        self._profile = profile
        self._timeouts = timeouts
        self._clock = clock
        self._threads = ThreadPoolExecutor(profile.connections, thread_name_prefix="engine")
        self._idle: queue.SimpleQueue[_Connection] = queue.SimpleQueue()
        self._unpacking = threading.Lock()
        self._token: str | None = None
        self._rejected: str | None = None
        self.account = Account(self, clock)
        self._login: asyncio.Task[None] | None = None

    async def call(
        self,
        doing: str,
        request: Callable[[Any], T],
        *,
        correlation_id: str = "",
        once: bool = False,
        needs: Sequence[Need] = (),
    ) -> T:
        """Runs `request(system_service)` in a thread and returns its result.

        `doing` says for errors what is attempted, as an infinitive. A request that meets an expired session
        is repeated once after a new login. `once` is for creates, which have to be resolved by id first: they
        are not repeated, and go over a connection of their own, because curl repeats any request silently
        when a connection that was used before breaks. `needs` is what the engine asks of the account for it.

        Raises a ProvisionError: EngineUnreachable, EngineCertificateInvalid, EngineLoginFailed,
        EngineSessionExpired, EnginePermissionDenied, EngineNotFound, EngineRefused or EngineBroken.
        """
        for attempt in (1, 2):
            token = await self._logged_in()
            try:
                return await self._in_thread(self._send, token, doing, request, correlation_id, once)
            except EnginePermissionDenied as error:
                error.needs = tuple(needs)
                raise
            except _TokenRejected:
                metrics.SESSIONS.labels(self.name, "rejected").inc()
                self._forget(token)
                if attempt == 2 or once:
                    break
        raise EngineSessionExpired(url=self.url, correlation_id=correlation_id)

    async def log_in(self) -> None:
        """Logs in unless that was done. Raises as `call` does."""
        await self._logged_in()

    async def certificate(self) -> Certificate:
        """The certificate of the engine's server, verified unless the profile is insecure.

        Raises EngineUnreachable and EngineCertificateInvalid.
        """
        return await self._in_thread(
            partial(
                read_certificate,
                self.url,
                self._profile.ca_file,
                verify=not self._profile.insecure,
                timeout=self._timeouts.engine_connect,
            )
        )

    async def close(self) -> None:
        """Logs out and closes all connections. Call it when no request is under way."""
        if self._login is not None:
            with contextlib.suppress(ProvisionError):
                await self._login
        token, self._token = self._token, None
        if token is not None:
            await self._in_thread(self._log_out, token)
        while not self._idle.empty():
            self._idle.get_nowait().abandon()
        self._threads.shutdown(wait=False)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        with self._clock.hold():
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token, self._rejected = None, token

    async def _logged_in(self) -> str:
        """The session's token, after a log-in if there is none.

        Whoever comes while one is under way shares it, and its failure, too: with a wrong password a thousand
        callers must not lock the account.
        """
        while self._token is None:
            if self._login is None:
                self._login = asyncio.create_task(self._renew(), name="login")
                self._login.add_done_callback(self._login_ended)
            try:
                await asyncio.shield(self._login)
            except ProvisionError as error:
                # Each caller gets an error of its own, to which it adds what it was doing.
                raise copy.copy(error) from None
        return self._token

    def _login_ended(self, login: asyncio.Task[None]) -> None:
        self._login = None
        if not login.cancelled():
            login.exception()  # all who waited may be gone

    async def _renew(self) -> None:
        try:
            self._token = await self._in_thread(self._log_in)
        except ProvisionError:
            metrics.SESSIONS.labels(self.name, "login-failed").inc()
            raise
        metrics.SESSIONS.labels(self.name, "login").inc()
        log.info("logged in", url=self.url, username=self.username)
        # A token that was rejected may yet stand for a live session, and there is to be one.
        rejected, self._rejected = self._rejected, None
        if rejected is not None:
            await self._in_thread(self._log_out, rejected)

    def _log_out(self, token: str) -> None:
        try:
            self._post_form("/ovirt-engine/services/sso-logout", {"token": token})
            metrics.SESSIONS.labels(self.name, "logout").inc()
        except Exception as error:  # must keep nobody from going on, nor the daemon from ending
            metrics.SESSIONS.labels(self.name, "logout-failed").inc()
            log.warning("logout failed", url=self.url, error=str(error))

    def _log_in(self) -> str:
        # The SDK's own SSO request has no time-out, so it is sent here.
        status, body = self._post_form(
            "/ovirt-engine/sso/oauth/token",
            {
                "grant_type": "password",
                "scope": "ovirt-app-api",
                "username": self._profile.username,
                "password": self._profile.read_password().get_secret_value(),
            },
        )
        try:
            answer = json.loads(body)
        except ValueError:
            raise EngineBroken(
                status=f"HTTP {status}",
                doing="log in",
                engine_says="the SSO service did not answer with JSON",
            ) from None
        token = answer.get("access_token")
        if not token and status >= 500:
            # An engine that starts or falters; whoever insists asks again, as after any other 5xx.
            raise EngineBroken(
                status=f"HTTP {status}",
                doing="log in",
                engine_says=str(answer.get("error", "no reason given")),
            )
        if not token:
            raise EngineLoginFailed(
                url=self.url,
                username=self.username,
                engine_text=str(answer.get("error", answer.get("error_code", ""))),
            )
        return str(token)

    def _post_form(self, path: str, fields: dict[str, str]) -> tuple[int, str]:
        curl, body = pycurl.Curl(), io.BytesIO()
        base = self.url.split("/ovirt-engine/", 1)[0]
        curl.setopt(pycurl.URL, base + path)
        curl.setopt(
            pycurl.HTTPHEADER, ["Accept: application/json", f"User-Agent: ovirt-provision/{__version__}"]
        )
        curl.setopt(pycurl.POSTFIELDS, urlencode(fields))
        curl.setopt(pycurl.WRITEDATA, body)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._timeouts.engine_connect * 1000))
        curl.setopt(pycurl.TIMEOUT_MS, int(self._timeouts.login * 1000))
        if self._profile.insecure:
            curl.setopt(pycurl.SSL_VERIFYPEER, 0)
            curl.setopt(pycurl.SSL_VERIFYHOST, 0)
        elif self._profile.ca_file:
            curl.setopt(pycurl.CAINFO, str(self._profile.ca_file))
        try:
            curl.perform()
            return curl.getinfo(pycurl.RESPONSE_CODE), body.getvalue().decode("utf-8", "replace")
        except pycurl.error as error:
            raise from_curl(error.args[0], error.args[1], self.url) from None
        finally:
            curl.close()

    def _send(
        self, token: str, doing: str, request: Callable[[Any], T], correlation_id: str, once: bool
    ) -> T:
        connection = self._new_connection() if once else self._connection()
        connection.use_token(token)
        connection._headers = {"Correlation-Id": correlation_id} if correlation_id else {}
        reusable = False
        try:
            result = request(connection.system_service())
            reusable = not once
            return result
        except sdk.Error as error:
            failure = from_sdk(
                error, doing=doing, url=self.url, username=self.username, correlation_id=correlation_id
            )
            # One that failed may still hold the broken transfer.
            reusable = not (once or isinstance(failure, EngineUnreachable | EngineCertificateInvalid))
            raise failure from None
        finally:
            connection.unpacked()
            if reusable:
                self._idle.put(connection)
            else:
                connection.abandon()

    def _connection(self) -> _Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._new_connection()

    def _new_connection(self) -> _Connection:
        return _Connection(
            self.name,
            self._unpacking,
            url=self.url,
            token="unused",  # noqa: S106 - the session's own token is set before each request
            insecure=self._profile.insecure,
            ca_file=str(self._profile.ca_file) if self._profile.ca_file else None,
            timeout=int(self._timeouts.engine_request),
        )
