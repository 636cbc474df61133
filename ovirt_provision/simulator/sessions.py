"""Logging in and out: tokens of the SSO, Basic, and the session cookie."""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ovirt_provision.clock import Clock
from ovirt_provision.simulator import faults

IDLE_LIMIT = 30 * 60.0
"""Seconds without a request after which a session is dead, whatever its token's `exp` says."""

EXPIRED = "invalid_grant: The provided authorization grant for the auth code has expired."
_LIFETIME = 7 * 24 * 3600
_SCOPE = (
    "ovirt-app-api ovirt-ext=token-info:authz-search ovirt-ext=token-info:public-authz-search "
    "ovirt-ext=token-info:validate ovirt-ext=token:password-access"
)


class LoginRefused(Exception):
    """`code` and `text` as the SSO says them; `slow` when it takes its time to say so."""

    def __init__(self, code: str, text: str, *, slow: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.slow = slow


class LoginRedirected(Exception):
    """A login by Kerberos or a certificate, of which there is none here."""


@dataclass
class Session:
    token: str
    id: str
    used: float
    username: str
    seen_by_api: bool = False
    cookie: str | None = None


class Sessions:
    """The live sessions, and who may have one: `username`, who may do everything, and added accounts."""

    def __init__(self, clock: Clock, username: str, password: str) -> None:
        self._clock = clock
        self._username = username
        self._passwords = {username: password}
        self._sessions: dict[str, Session] = {}

    def add_account(self, username: str, password: str) -> None:
        """Someone else in the directory, as `name@profile`; the profile is that of `username`."""
        self._passwords[username] = password

    def log_in(self, username: str, password: str) -> Session:
        """A new session; raises `LoginRefused`."""
        user, at, profile = username.rpartition("@")
        if not at:
            raise _denied(f"{username}@N/A", "no profile")
        if profile != self._username.rpartition("@")[2]:
            raise _denied(username, "no profile")
        known = self._passwords.get(username, "")
        if not secrets.compare_digest(password.encode(), known.encode()) or not known or not user:
            raise _denied(username, "password")
        session = Session(
            secrets.token_urlsafe(64),
            base64.b64encode(secrets.token_bytes(64)).decode(),
            self._now,
            username,
        )
        self._sessions[session.token] = session
        return session

    def token_reply(self, form: Mapping[str, str], accept: str) -> Mapping[str, str]:
        """The reply of `/sso/oauth/token`; raises `LoginRefused`."""
        if "application/json" not in accept:
            raise LoginRefused("invalid_request", "Missing parameter: 'Accept Header'")
        grant = form.get("grant_type", "")
        if grant == "urn:ovirt:params:oauth:grant-type:http":
            raise LoginRedirected
        if grant != "password":
            raise LoginRefused(
                "unsupported_grant_type",
                "The authorization grant type is not supported by the authorization server.",
            )
        for name in ("username", "password"):
            if name not in form:
                raise LoginRefused("invalid_request", f"Missing parameter: '{name}'")
        session = self.log_in(form["username"], form["password"])
        scope = form.get("scope", "")
        return {
            "access_token": session.token,
            "scope": _SCOPE if scope == "ovirt-app-api" else scope,
            "exp": str(int(self._clock.time() + _LIFETIME) * 1000),
            "token_type": "bearer",
        }

    def authenticate(self, authorization: str | None, cookie: str | None) -> Session:
        """The session of an API request; raises the engine's 401.

        `authorization` is the header, `cookie` the value of JSESSIONID.
        """
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            return self._touch(self._sessions.get(credentials.strip()))
        if scheme.lower() == "basic":
            return self._basic(credentials)
        if cookie is not None:
            session = next((s for s in self._sessions.values() if s.cookie == cookie), None)
            if session is not None:
                return self._touch(session)
        raise faults.unauthorized()

    def _basic(self, credentials: str) -> Session:
        try:
            username, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            username, colon, password = "", "", ""
        try:
            if not colon:
                raise LoginRefused(
                    "access_denied", "Cannot authenticate user '@N/A': No user name found in credentials.."
                )
            session = self.log_in(username, password)
        except LoginRefused as refused:
            raise faults.unauthorized(f"{refused.code}: {refused.text}") from None
        del self._sessions[session.token]
        return session

    def _touch(self, session: Session | None) -> Session:
        if session is None or self._now - session.used > IDLE_LIMIT:
            if session is not None:
                del self._sessions[session.token]
            raise faults.unauthorized(EXPIRED)
        session.used = self._now
        return session

    def __len__(self) -> int:
        """How many are alive."""
        return len(self._sessions)

    def log_out(self, token: str) -> Session | None:
        return self._sessions.pop(token, None)

    def revoke_all(self) -> None:
        """Kills every session, as a restart of the engine does."""
        self._sessions.clear()

    @property
    def _now(self) -> float:
        return self._clock.monotonic()


def _denied(username: str, why: str) -> LoginRefused:
    if why == "password":
        text = "Unable to log in. Verify your login information or contact the system administrator.."
        return LoginRefused("access_denied", f"Cannot authenticate user '{username}': {text}", slow=True)
    return LoginRefused(
        "access_denied", f"Cannot authenticate user '{username}': No valid profile found in credentials.."
    )


def refusal_json(refused: LoginRefused) -> bytes:
    return json.dumps({"error_code": refused.code, "error": refused.text}, separators=(",", ":")).encode()
