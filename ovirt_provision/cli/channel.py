"""The channel to the daemon: in the clear over a unix socket, with TLS and proof of who calls over TCP."""

import os
from collections.abc import Mapping
from pathlib import Path

import grpc

from ovirt_provision import paths
from ovirt_provision.errors import Code, ProvisionError

# What every client reads when OVIRT_PROVISION_ADDRESS is `host:port`; docs/security.md has more of them.
CA_FILE = "OVIRT_PROVISION_CA_FILE"
CERT_FILE = "OVIRT_PROVISION_CERT_FILE"
KEY_FILE = "OVIRT_PROVISION_KEY_FILE"
TOKEN_FILE = "OVIRT_PROVISION_TOKEN_FILE"  # noqa: S105  # a variable's name

_OPTIONS = [("grpc.enable_http_proxy", 0)]


class PlainTcpRefused(ProvisionError):
    """The address is on TCP, and what TLS takes is missing or contradicts itself."""

    code = Code.INVALID_ARGUMENT
    reason = "PLAIN_TCP_REFUSED"
    message = "{source} is '{address}', and TCP takes TLS: {problem}"
    advice = (
        f"Set {CA_FILE}, and either {CERT_FILE} with {KEY_FILE} or {TOKEN_FILE}; or forward the daemon's "
        "socket, as in `ssh -L /path/daemon.sock:/path/daemon.sock host`."
    )


class CredentialUnreadable(ProvisionError):
    """A file that proves who calls, or who answers, cannot be used."""

    code = Code.INVALID_ARGUMENT
    reason = "CREDENTIAL_UNREADABLE"
    message = "{variable}: {path} {problem}"


def open_channel(address: paths.Address, environ: Mapping[str, str] | None = None) -> grpc.Channel:
    """A channel to the daemon. Raises PlainTcpRefused and CredentialUnreadable."""
    if address.socket is not None:
        return grpc.insecure_channel(address.target, options=_OPTIONS)
    variables = os.environ if environ is None else environ
    given = {name for name in (CA_FILE, CERT_FILE, KEY_FILE, TOKEN_FILE) if variables.get(name)}
    problem = ""
    if CA_FILE not in given:
        problem = f"{CA_FILE} is not set"
    elif (CERT_FILE in given) != (KEY_FILE in given):
        problem = f"{CERT_FILE} and {KEY_FILE} go together"
    elif (CERT_FILE in given) == (TOKEN_FILE in given):
        problem = f"either {CERT_FILE} or {TOKEN_FILE} must be set"
    if problem:
        raise PlainTcpRefused(source=address.source, address=address.target, problem=problem)
    content = {name: _read(variables, name) for name in given}
    credentials = grpc.ssl_channel_credentials(
        content[CA_FILE], content.get(KEY_FILE), content.get(CERT_FILE)
    )
    if TOKEN_FILE in given:
        token = grpc.access_token_call_credentials(content[TOKEN_FILE].decode("ascii", "replace").strip())
        credentials = grpc.composite_channel_credentials(credentials, token)
    return grpc.secure_channel(address.target, credentials, options=_OPTIONS)


def _read(variables: Mapping[str, str], name: str) -> bytes:
    path = Path(variables[name]).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CredentialUnreadable(
            variable=name, path=path, problem=f"cannot be read: {error.strerror}"
        ) from None
    expected = {CA_FILE: b"CERTIFICATE-----", CERT_FILE: b"CERTIFICATE-----", KEY_FILE: b"PRIVATE KEY-----"}
    if name == TOKEN_FILE and not (content.strip() and content.strip().isascii()):
        raise CredentialUnreadable(variable=name, path=path, problem="holds no token")
    if name in expected and expected[name] not in content:
        kind = expected[name].decode().removesuffix("-----").lower()
        raise CredentialUnreadable(variable=name, path=path, problem=f"holds no {kind} in PEM format")
    return content
