"""The engine's CA: fetched from the engine itself, shown, and kept once somebody has said that it is right.

The first request cannot verify the engine, because what it would be verified with is what is fetched. So the
fingerprint is what everything hangs on: a person compares it with the engine's own, or a script brings it.
"""

import re
import ssl
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ovirt_provision import __version__, paths
from ovirt_provision.errors import Code, ProvisionError

# Where every engine serves them, without a log-in.
CA_PATH = "/ovirt-engine/services/pki-resource?resource=ca-certificate&format=X509-PEM-CA"
HEALTH_PATH = "/ovirt-engine/services/health"
# Seconds for the connection, and for each part of an answer.
TIMEOUT = 10.0
_MAX_BYTES = 1 << 20


class UrlInvalid(ProvisionError):
    """What was given is no engine's URL."""

    code = Code.INVALID_ARGUMENT
    reason = "ENGINE_URL_INVALID"
    message = "'{given}' {problem}"
    advice = "Give the engine's name, or its URL such as https://engine.example.com/ovirt-engine/api."


class EngineDown(ProvisionError):
    """Nothing answers where the engine should be."""

    code = Code.UNAVAILABLE
    reason = "ENGINE_UNREACHABLE"
    message = "the engine at {url} cannot be reached: {detail}"
    advice = "Check the URL, the network, and that the engine runs."


class NoCa(ProvisionError):
    """The engine answers, but not with the certificate of a CA."""

    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_CA_MISSING"
    message = "{url} does not serve an engine's CA: {detail}"
    advice = "Check that this is the URL of an oVirt engine, and not of a host or of a proxy."


class CaDoesNotFit(ProvisionError):
    """The certificate that the engine's server shows does not verify with the CA that it serves."""

    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_CERTIFICATE_INVALID"
    message = "the certificate of {url} does not verify with the CA that it serves: {detail}"
    advice = (
        "Use the name that the certificate is for. Where the engine's web server was given a certificate of "
        "another CA, set OVIRT_CAFILE to that CA, or leave it unset if this system trusts it; otherwise "
        "somebody may stand between you and the engine."
    )


class FingerprintDiffers(ProvisionError):
    """The CA is not the one that --fingerprint names."""

    code = Code.FAILED_PRECONDITION
    reason = "FINGERPRINT_DIFFERS"
    message = "the CA of {url} has the SHA-256 fingerprint {found}, not {wanted}"
    advice = "Nothing was written. Compare with the engine's own: {check}"


class FingerprintInvalid(ProvisionError):
    """What --fingerprint says is no SHA-256 fingerprint."""

    code = Code.INVALID_ARGUMENT
    reason = "FINGERPRINT_INVALID"
    message = (
        "--fingerprint: '{given}' is no SHA-256 fingerprint, which has 64 hexadecimal digits, with or "
        "without colons"
    )
    advice = "Read it on the engine's machine with: {check}"


class CaNotWritten(ProvisionError):
    """The file for the CA cannot be written."""

    code = Code.FAILED_PRECONDITION
    reason = "CA_NOT_WRITTEN"
    message = "{file} cannot be written: {problem}"
    advice = "Choose another file with --output-file."


class NobodyToAsk(ProvisionError):
    """Standard input is no terminal, and no fingerprint was given."""

    code = Code.INVALID_ARGUMENT
    reason = "NOBODY_TO_ASK"
    message = "there is nobody to ask whether {fingerprint} is the fingerprint of the CA of {url}"
    advice = "Read it on the engine's machine with `{check}`, then call again with --fingerprint."


# Run on the engine's machine.
CHECK_COMMAND = "openssl x509 -noout -fingerprint -sha256 -in /etc/pki/ovirt-engine/ca.pem"


@dataclass(frozen=True)
class Ca:
    """A CA as an engine serves it.

    `url` is the engine's address without a path, `fingerprint` SHA-256 as openssl writes it, `health` what
    the engine's health page says.
    """

    url: str
    pem: bytes
    subject: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    health: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def base_url(given: str) -> str:
    """`https://host[:port]` of a host's name, or of the URL of an engine or its API. Raises UrlInvalid."""
    url = given if "://" in given else f"https://{given}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UrlInvalid(given=given, problem=f"is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not shown: it may be a password.
        raise UrlInvalid(given=parts.hostname, problem="came with a user or a password, which are not needed")
    if not host:
        raise UrlInvalid(given=given, problem="names no host")
    if parts.scheme != "https":
        raise UrlInvalid(given=given, problem="must begin with https://, since http has no certificate")
    return f"https://{parts.netloc}"


def fetch(given: str) -> Ca:
    """Fetches the CA, and verifies with it the server that it came from.

    Raises UrlInvalid, EngineDown, NoCa and CaDoesNotFit.
    """
    url = base_url(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        status, content = _get(url + CA_PATH, verify=False)
    if status != 200:
        raise NoCa(url=url, detail=f"HTTP {status}")
    try:
        # The first alone: only its fingerprint is shown, so whatever comes after it is not trusted.
        ca = x509.load_pem_x509_certificates(content)[0]
    except ValueError:
        raise NoCa(url=url, detail="the answer is no certificate in PEM format") from None
    if not _may_sign(ca):
        raise NoCa(url=url, detail=f"the certificate of {ca.subject.rfc4514_string()} is not one of a CA")
    pem = ca.public_bytes(serialization.Encoding.PEM)
    with TemporaryDirectory(prefix="ovirt-provision-") as folder:
        file = Path(folder) / "ca.pem"
        file.write_bytes(pem)
        health = check_health(url, file)
    return Ca(
        url=url,
        pem=pem,
        subject=ca.subject.rfc4514_string(),
        not_before=ca.not_valid_before_utc,
        not_after=ca.not_valid_after_utc,
        fingerprint=fingerprint(ca),
        health=health,
    )


def check_health(url: str, ca_file: Path | None) -> str:
    """What the health page says, from a server that verifies with `ca_file`, or with the system's own CAs.

    `url` is as of `base_url`. Raises EngineDown and CaDoesNotFit.
    """
    system = ssl.get_default_verify_paths()
    verify = str(ca_file) if ca_file else system.cafile or system.capath or True
    status, content = _get(url + HEALTH_PATH, verify=verify)
    text = " ".join(re.sub(r"<[^>]*>", " ", content.decode(errors="replace")).split())[:200]
    return text if status == 200 else f"HTTP {status} {text}".strip()


def write(ca: Ca, file: Path) -> None:
    """Writes the CA for everybody to read, 0644; its folder is made if it is absent. Raises CaNotWritten."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.write_whole(file, ca.pem, mode=0o644)
    except OSError as error:
        raise CaNotWritten(file=file, problem=error.strerror) from None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as openssl writes it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def fingerprint_of_file(file: Path) -> str | None:
    """The fingerprint of the first certificate in a file; None if there is no file, or none in it."""
    try:
        return fingerprint(x509.load_pem_x509_certificates(file.read_bytes())[0])
    except (OSError, ValueError):
        return None


def read_fingerprint(given: str) -> str:
    """A fingerprint as a person gives it, in the form of `fingerprint`. Raises FingerprintInvalid."""
    digits = re.sub(r"^.*=|^sha-?256:|[:\s]", "", given.strip(), flags=re.IGNORECASE)
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise FingerprintInvalid(given=given, check=CHECK_COMMAND)
    return bytes.fromhex(digits).hex(":").upper()


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _get(url: str, *, verify: bool | str) -> tuple[int, bytes]:
    """Status and body. Redirects are not followed: they could lead to another server."""
    base = url.partition("/ovirt-engine/")[0]
    with requests.Session() as session:
        # Otherwise ~/.netrc would send a password to a server that is not known yet.
        session.trust_env = False
        session.headers["User-Agent"] = f"ovirt-provision/{__version__}"
        try:
            with session.get(
                url, verify=verify, timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as reply:
                content = b""
                for chunk in reply.iter_content(_MAX_BYTES):
                    content += chunk
                    if len(content) > _MAX_BYTES:
                        raise NoCa(url=base, detail=f"the answer is longer than {_MAX_BYTES} bytes")
                return reply.status_code, content
        except requests.exceptions.SSLError as error:
            raise CaDoesNotFit(url=base, detail=_reason(error)) from None
        except requests.exceptions.RequestException as error:
            raise EngineDown(url=base, detail=_reason(error)) from None


def _reason(error: BaseException) -> str:
    """The innermost words of an error, which urllib3 and requests wrap in several of their own."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None:
            break
        error = inner
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return re.sub(r"^\w+\([^)]*\): ", "", text)
