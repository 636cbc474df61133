"""From what the SDK raises to our errors.

The SDK hides curl's error code in the text of a plain `Error`, and gives a non-XML body (the engine's HTML
401, a proxy's 503) no code of its own; this is the one place that reads those texts.
"""

import re
from typing import Any

import ovirtsdk4 as sdk
import pycurl

from ovirt_provision import logs
from ovirt_provision.errors import (
    Code,
    EngineBroken,
    EngineCertificateInvalid,
    EngineNotConnected,
    EnginePermissionDenied,
    EngineRefused,
    EngineSessionExpired,
    EngineUnreachable,
    ProvisionError,
)

_CURL_ERROR = re.compile(r", (\d+), '(.*?)'\)")
_HTTP_STATUS = re.compile(r"HTTP response code is (\d+)")
_CERTIFICATE_ERRORS = {
    pycurl.E_SSL_CACERT,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
}
_NOT_CONNECTED = {
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
}


class EngineNotFound(ProvisionError):
    """404 for an id. Empty when the object itself is unknown, with a fault when it refers to something
    unknown."""

    reason = "ENGINE_NOT_FOUND"
    code = Code.NOT_FOUND
    message = "the engine does not know what was named to {doing}: {engine_says}"
    advice = "Somebody may have removed it meanwhile; look it up again and call again."


def from_curl(code: int, text: str, url: str) -> ProvisionError:
    """The error for a failed transfer; `code` is curl's."""
    if code in _CERTIFICATE_ERRORS:
        return EngineCertificateInvalid(url=url, detail=text)
    failure = EngineNotConnected if code in _NOT_CONNECTED else EngineUnreachable
    return failure(url=url, detail=text)


def from_sdk(error: sdk.Error, *, doing: str, url: str, username: str, correlation_id: str) -> ProvisionError:
    """The error for what the SDK raised while `doing` (an infinitive, such as `create VM web-1`)."""
    text = logs.redact(str(error))
    curl = _CURL_ERROR.search(text)
    if curl:
        return from_curl(int(curl[1]), curl[2], url)
    status = error.code
    if status is None:
        written = _HTTP_STATUS.search(text)
        status = int(written[1]) if written else 0
    # A fault may repeat what it was sent.
    engine_says = logs.redact(_fault_text(error))
    common: dict[str, Any] = {"engine_text": engine_says, "correlation_id": correlation_id, "doing": doing}
    if status == 401:
        return EngineSessionExpired(url=url, **common)
    if status == 403:
        return EnginePermissionDenied(username=username, **common)
    if status == 404:
        return EngineNotFound(engine_says=engine_says or "not found", **common)
    if status in (400, 409):
        return EngineRefused(status=status, engine_says=engine_says or text, **common)
    answer = (
        f"HTTP {status}" if status else "with a page that is not its API's (a proxy's, or it is starting)"
    )
    return EngineBroken(status=answer, engine_says=engine_says or text, **common)


def _fault_text(error: sdk.Error) -> str:
    """The engine's own words: the detail of a fault without its square brackets, else the reason."""
    if error.fault is None:
        return ""
    detail = (error.fault.detail or "").strip()
    if detail.startswith("[") and detail.endswith("]"):
        detail = detail[1:-1]
    return detail or (error.fault.reason or "")
