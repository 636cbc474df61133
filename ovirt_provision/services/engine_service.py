"""EngineService: calls in, messages out."""

from collections.abc import Callable

from ovirt_provision import __version__
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.census import (
    ADOPTED,
    AWAITING_ENGINE,
    FOREIGN,
    LEAKED,
    MISSING,
    OURS,
    take_census,
)
from ovirt_provision.operations.examination import OK, PROBLEM, WARNING, examine
from ovirt_provision.services.calls import Context, caller_of, engine_of, engines_for
from ovirt_provision.services.messages import timestamp
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc, resources_pb2

_FINDINGS = {
    OURS: engines_pb2.CensusEntry.FINDING_OURS,
    FOREIGN: engines_pb2.CensusEntry.FINDING_FOREIGN,
    AWAITING_ENGINE: engines_pb2.CensusEntry.FINDING_AWAITING_ENGINE,
    LEAKED: engines_pb2.CensusEntry.FINDING_LEAKED,
    MISSING: engines_pb2.CensusEntry.FINDING_MISSING,
    ADOPTED: engines_pb2.CensusEntry.FINDING_ADOPTED,
}
_SEVERITIES = {
    OK: engines_pb2.Finding.SEVERITY_OK,
    WARNING: engines_pb2.Finding.SEVERITY_WARNING,
    PROBLEM: engines_pb2.Finding.SEVERITY_PROBLEM,
}


class EngineServicer(engines_pb2_grpc.EngineServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    def _engine(self, name: str) -> resources_pb2.Engine:
        config = self._bridge().config
        profile = config.engines[name]
        return resources_pb2.Engine(
            profile=name,
            url=profile.url,
            username=profile.username,
            fingerprint=profile.fingerprint(),
            is_default=name == config.default_engine,
        )

    async def ListEngines(
        self, request: engines_pb2.ListEnginesRequest, context: Context
    ) -> engines_pb2.ListEnginesResponse:
        bridge = self._bridge()
        return engines_pb2.ListEnginesResponse(
            engines=[self._engine(name) for name in engines_for(caller_of(context), bridge.config)],
            daemon=engines_pb2.Daemon(
                version=__version__, state_folder=str(bridge.state), installation=bridge.installation
            ),
        )

    async def GetEngine(
        self, request: engines_pb2.GetEngineRequest, context: Context
    ) -> engines_pb2.GetEngineResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        message = self._engine(engine.name)
        message.version = await engine.version()
        return engines_pb2.GetEngineResponse(engine=message)

    async def TakeCensus(
        self, request: engines_pb2.TakeCensusRequest, context: Context
    ) -> engines_pb2.TakeCensusResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        caller = caller_of(context)
        entries = await take_census(engine, bridge.ledger, bridge.installation)
        return engines_pb2.TakeCensusResponse(
            entries=[
                engines_pb2.CensusEntry(
                    finding=_FINDINGS[entry.finding],
                    kind=entry.kind,
                    id=entry.id,
                    name=entry.name,
                    key=entry.key,
                    owner=entry.owner,
                    detail=entry.detail,
                )
                for entry in entries
                if caller.may_see(entry.owner)
            ],
            take_time=timestamp(bridge.clock.time()),
        )

    async def ExamineEngine(
        self, request: engines_pb2.ExamineEngineRequest, context: Context
    ) -> engines_pb2.ExamineEngineResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        findings = await examine(engine, bridge.ledger, bridge.installation, bridge.clock)
        return engines_pb2.ExamineEngineResponse(
            findings=[
                engines_pb2.Finding(
                    name=finding.name,
                    severity=_SEVERITIES[finding.severity],
                    summary=finding.summary,
                    advice=finding.advice,
                )
                for finding in findings
            ],
            examine_time=timestamp(bridge.clock.time()),
        )
