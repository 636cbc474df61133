"""The certificate that the engine's server shows."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from ovirt_provision.errors import EngineCertificateInvalid, EngineUnreachable


@dataclass(frozen=True)
class Certificate:
    """A server's certificate. `seconds_left` until it expires count by the machine's clock, as in TLS."""

    subject: str
    issuer: str
    seconds_left: float


def read_certificate(url: str, ca_file: Path | None, *, verify: bool, timeout: float) -> Certificate:
    """Connects to the server of an https URL and verifies its certificate, unless `verify` is false.

    Without `ca_file` the system's own CAs count. `timeout` in seconds is for connection and handshake.
    Raises EngineUnreachable and EngineCertificateInvalid.
    """
    # Imported late: only examinations need it.
    from cryptography import x509

    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise EngineCertificateInvalid(url=url, detail=f"{ca_file}: {error.strerror or error}") from None
    # Later Pythons set it; the engine's own CA makes certificates that do not pass, and curl takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            content = secure.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError as error:
        raise EngineCertificateInvalid(url=url, detail=error.verify_message) from None
    except (OSError, UnicodeError) as error:
        raise EngineUnreachable(url=url, detail=getattr(error, "strerror", None) or str(error)) from None
    certificate = x509.load_der_x509_certificate(content)
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        seconds_left=(certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds(),
    )
