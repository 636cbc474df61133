"""What every servicer starts a call with: who calls, and which engine is meant."""

import os
from typing import Any

import grpc

from ovirt_provision.engine import Engine
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.v1 import resources_pb2

Context = grpc.aio.ServicerContext[Any, Any]


def owner_of(_context: Context) -> str:
    """The caller. The unix socket (0600 in a 0700 folder) lets in nobody but the user that the daemon runs
    as."""
    return f"uid:{os.getuid()}"


def engine_of(bridge: Bridge, reference: resources_pb2.EngineRef) -> Engine:
    """The engine that a call means. Raises EngineProfileNotFound and EngineMismatch."""
    name, _ = bridge.config.engine(reference.profile, reference.fingerprint)
    return bridge.engine(name)
