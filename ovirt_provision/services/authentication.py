"""Who calls: the user of the unix socket, or the owner in a client's certificate or token over TLS."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import structlog

from ovirt_provision.config import LOCAL_OWNER, Owner, Tls, local_owner
from ovirt_provision.errors import Code, ProvisionError
from ovirt_provision.services.calls import Caller
from ovirt_provision.tokens import TokenFileUnusable, Tokens

_log = structlog.get_logger(__name__)
# gRPC's properties with the subject alternative names, in the order in which they count.
_NAMES = {"peer_uri": "URI", "peer_email": "e-mail address", "peer_dns": "DNS name"}
_BEARER = "bearer "


class NotAuthenticated(ProvisionError):
    """Nothing proves who calls."""

    code = Code.UNAUTHENTICATED
    reason = "NOT_AUTHENTICATED"
    message = "the call is refused: {problem}"
    advice = "{remedy}"


class OwnerUnknown(ProvisionError):
    """Certificate or token are good, but their owner is not let in."""

    code = Code.PERMISSION_DENIED
    reason = "OWNER_UNKNOWN"
    message = "'{owner}' is not among the owners of this daemon"
    advice = (
        "Have it named under `owners` in the daemon's configuration, or use another certificate or token."
    )


class AuthenticationDown(ProvisionError):
    """The daemon cannot tell at the moment who calls; its log says why."""

    code = Code.UNAVAILABLE
    reason = "AUTHENTICATION_DOWN"
    message = "the daemon cannot check tokens at the moment"
    advice = "The daemon's log says what is wrong with its token file."


class Authenticator:
    """Names the caller of each call. `owners` is who may call over TLS."""

    def __init__(self, tls: Tls | None, owners: Mapping[str, Owner], limits: Callable[[str], Owner]) -> None:
        self._owners = owners
        self._limits = limits
        self._tokens = Tokens(tls.token_file) if tls is not None and tls.token_file is not None else None

    def caller(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller:
        """Raises NotAuthenticated, OwnerUnknown and AuthenticationDown."""
        proof = context.auth_context()
        if proof.get("transport_security_type") == [b"ssl"]:
            owner = (
                self._owner_of_token(context) if self._tokens is not None else _owner_of_certificate(proof)
            )
            if owner.startswith(LOCAL_OWNER) or owner not in self._owners:
                raise OwnerUnknown(owner=owner)
        elif context.peer().startswith("unix:"):
            # 0600 in a 0700 folder: it lets in nobody but the user that the daemon runs as.
            owner = local_owner()
        else:
            raise NotAuthenticated(problem="it came in the clear", remedy="Use TLS.")
        return Caller(owner, self._limits(owner))

    def _owner_of_token(self, context: "grpc.aio.ServicerContext[Any, Any]") -> str:
        assert self._tokens is not None
        given = [str(value) for name, value in context.invocation_metadata() or () if name == "authorization"]
        if len(given) != 1 or not given[0].lower().startswith(_BEARER):
            raise NotAuthenticated(
                problem="it carries no bearer token",
                remedy="Name the file with your token in OVIRT_PROVISION_TOKEN_FILE.",
            )
        try:
            owner = self._tokens.owner_of(given[0][len(_BEARER) :].strip())
        except TokenFileUnusable as error:
            _log.error("nobody is let in over TLS", problem=str(error))
            raise AuthenticationDown from None
        if owner is None:
            raise NotAuthenticated(
                problem="its bearer token is not known",
                remedy="Have the token's hash added to the daemon's token file, or use another token.",
            )
        return owner


def _owner_of_certificate(proof: Mapping[str, Any]) -> str:
    for name, kind in _NAMES.items():
        found = [bytes(value).decode(errors="replace") for value in proof.get(name, ())]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotAuthenticated(
                problem=f"its certificate has {len(found)} subject alternative names of the kind {kind}, and "
                "does not tell which of them is the owner",
                remedy="Use a certificate with one.",
            )
    raise NotAuthenticated(
        problem="its certificate has no subject alternative name that could be its owner",
        remedy="Use a certificate with a URI, an e-mail address or a DNS name there.",
    )
