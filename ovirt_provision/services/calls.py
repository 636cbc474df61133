"""What every servicer starts a call with: who calls, and which engine is meant."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from ovirt_provision.config import Config, Owner
from ovirt_provision.engine import Engine
from ovirt_provision.errors import NotAllowed, NotAnAdmin, did_you_mean
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.verb import Verb
from ovirt_provision.services.messages import operation_message
from ovirt_provision.v1 import resources_pb2

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the transport proves it; no field of a request says so."""

    owner: str
    limits: Owner

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to `owner` exists for this caller."""
        return owner == self.owner or self.limits.is_admin


# Set by the interceptor before a servicer sees the call.
calling: ContextVar[Caller] = ContextVar("calling")


def caller_of(_context: Context) -> Caller:
    """Who calls. Raises LookupError where nobody was authenticated."""
    return calling.get()


def owner_of(context: Context) -> str:
    """The name of the caller, under which its Machines are kept."""
    return caller_of(context).owner


def owner_meant(request: Any, context: Context) -> str:
    """Whose Machines a request is about: its `owner`, if it has that field, else the caller.

    Raises NotAnAdmin, whether there is such an owner or not.
    """
    caller = caller_of(context)
    named: str = getattr(request, "owner", "") or caller.owner
    if not caller.may_see(named):
        raise NotAnAdmin(caller=caller.owner, owner=named)
    return named


def engine_of(bridge: Bridge, reference: resources_pb2.EngineRef, context: Context) -> Engine:
    """The engine that a call means.

    Raises NotAllowed, also for one that does not exist, EngineProfileNotFound and EngineMismatch.
    """
    caller = caller_of(context)
    name = reference.profile or bridge.config.default_engine
    if not caller.limits.may_use("engines", name):
        allowed = engines_for(caller, bridge.config)
        raise NotAllowed(
            owner=caller.owner,
            what="engines",
            given=f"engine '{name}'",
            allowed=", ".join(allowed) or "none",
            near=did_you_mean(name, allowed),
        )
    name, _ = bridge.config.engine(reference.profile, reference.fingerprint)
    return bridge.engine(name)


async def run_verb(
    bridge: Bridge, verb: Verb, request: Any, context: Context
) -> resources_pb2.Operation | None:
    """The operation that does what is asked for; None where that was only to be validated.

    Raises what the verb raises for a request that cannot be accepted.
    """
    engine, owner = engine_of(bridge, request.engine, context), owner_meant(request, context)
    if getattr(request, "validate_only", False):
        await bridge.dispatcher.validate(verb, owner, engine.name, request)
        return None
    operation = await bridge.dispatcher.call(verb, owner, engine.name, request)
    return operation_message(bridge, operation)


def engines_for(caller: Caller, config: Config) -> list[str]:
    """The engine profiles that a caller may use."""
    return [name for name in sorted(config.engines) if caller.limits.may_use("engines", name)]
