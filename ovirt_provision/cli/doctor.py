"""`ovirt-provision doctor`: what would keep Machines from being made, from this terminal to the engine.

The daemon examines the engine; what comes before the daemon is examined here, so that there is an answer also
where no daemon can be started.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from ovirt_provision import __version__, paths
from ovirt_provision.cli import autostart, client, output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.exit_codes import ExitCode
from ovirt_provision.cli.options import EngineOption, OutputOption
from ovirt_provision.cli.output import Format
from ovirt_provision.errors import Code, ProvisionError
from ovirt_provision.v1 import engines_pb2, resources_pb2
from ovirt_provision.v1.engines_pb2 import ExamineEngineResponse, Finding, ListEnginesResponse

if TYPE_CHECKING:
    from ovirt_provision.config import Config

OK = Finding.SEVERITY_OK
WARNING = Finding.SEVERITY_WARNING
PROBLEM = Finding.SEVERITY_PROBLEM


def doctor(engine: EngineOption = "", output_format: OutputOption = Format.TABLE) -> None:
    """Look for what would keep Machines from being made, with advice. Changes nothing.

    Examines the configuration, the daemon (which is started if none runs), connection, certificate and
    log-in, what the account may do, and what the engine lacks. Exit code 1 when there is a problem; warnings
    do not count.
    """
    found = _examine(engine)
    problems = sum(finding.severity == PROBLEM for finding in found)
    warnings = sum(finding.severity == WARNING for finding in found)
    now = Timestamp()
    now.GetCurrentTime()
    output.emit(ExamineEngineResponse(findings=found, examine_time=now), output_format, output.print_findings)
    output.note(f"{problems} {_plural('problem', problems)}, {warnings} {_plural('warning', warnings)}")
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _examine(profile: str) -> list[Finding]:
    try:
        address = paths.daemon_address()
    except paths.AddressInvalid as error:
        chosen = bool(os.environ.get(paths.ADDRESS_VARIABLE))
        return [_configuration(chosen=chosen)[0], _failed("daemon", error)]
    configuration, config = _configuration(chosen=address.chosen)
    found = [configuration]
    listening = address.socket is not None and autostart.is_listening(address.socket)
    if config is None and not address.chosen and not listening:
        text = "none runs, and none can be started with this configuration"
        return [*found, _finding("daemon", PROBLEM, text, "Mend the configuration first.")]
    try:
        daemon = Daemon(profile)
        listed = daemon.call(daemon.engines.ListEngines, engines_pb2.ListEnginesRequest())
    except ProvisionError as error:
        found.append(_failed("daemon", error))
        return found + (_engine_without_daemon(config, profile) if config else [])
    found.append(_daemon(address, listed))
    try:
        reference = daemon.engine
        examined = daemon.call(
            daemon.engines.ExamineEngine, engines_pb2.ExamineEngineRequest(engine=reference)
        )
    except ProvisionError as error:
        if error.report().code == Code.DEADLINE_EXCEEDED:
            text = f"its examination did not end within {client.CALL_TIMEOUT:g} s"
            advice = "The engine answers some requests too slowly, or not at all: look at its log and load."
            return [*found, _finding("engine", PROBLEM, text, advice)]
        return [*found, _failed("engine", error)]
    return [*found, _engine(reference, listed), *examined.findings]


def _configuration(*, chosen: bool) -> tuple[Finding, "Config | None"]:
    """What a daemon started here would use, None where it would refuse. `chosen`: another one is used."""
    # Imported here, as in client.py: it is slow.
    from ovirt_provision import config

    file = paths.config_file()
    try:
        loaded = config.load(file, os.environ, folder=Path.cwd())
    except config.NoEngine as error:
        if chosen:
            text = f"{file} names no engine and OVIRT_URL is not set: the daemon has its own configuration"
            return _finding("configuration", OK, text), None
        return _failed("configuration", error), None
    except ProvisionError as error:
        finding = _failed("configuration", error)
        if any(v.field == "OVIRT_CAFILE" or v.field.endswith(".ca_file") for v in error.violations):
            finding.advice += " `ovirt-provision engine trust` fetches an engine's CA."
        return finding, None
    sources = [str(file)] if file.exists() else []
    sources += ["the OVIRT_* variables"] if os.environ.get("OVIRT_URL") else []
    names = [
        f"{name} (default)" if name == loaded.default_engine else name for name in sorted(loaded.engines)
    ]
    text = f"from {' and '.join(sources)}: {', '.join(names)}"
    idle = [name for name in config.ENVIRONMENT_VARIABLES if os.environ.get(name)]
    if idle and not os.environ.get("OVIRT_URL"):
        text += f"; {', '.join(idle)} {'is' if len(idle) == 1 else 'are'} not used without OVIRT_URL"
        return _finding("configuration", WARNING, text, f"Set OVIRT_URL, or unset {', '.join(idle)}."), loaded
    return _finding("configuration", OK, text), loaded


def _daemon(address: paths.Address, listed: ListEnginesResponse) -> Finding:
    told = listed.daemon
    text = f"answers at {address}"
    if told.version != __version__:
        return _finding(
            "daemon",
            WARNING,
            f"{text}, but its version is {told.version or 'older'}, and of this command {__version__}",
            "Restart the daemon: it takes up what was under way.",
        )
    return _finding("daemon", OK, f"{text}, version {told.version}, state in {told.state_folder}")


def _engine(reference: resources_pb2.EngineRef, listed: ListEnginesResponse) -> Finding:
    meant = next(
        (
            engine
            for engine in listed.engines
            if (reference.profile and reference.profile == engine.profile)
            or (reference.fingerprint and reference.fingerprint == engine.fingerprint)
        ),
        next((engine for engine in listed.engines if engine.is_default), resources_pb2.Engine()),
    )
    return _finding("engine", OK, f"{meant.profile}: {meant.url} as {meant.username}")


def _engine_without_daemon(config: "Config", profile: str) -> list[Finding]:
    """What can be found out from here: whether the engine answers, with a certificate that verifies."""
    # Imported here: it brings `requests`.
    from ovirt_provision.cli import trust

    try:
        name, engine = config.engine(profile)
    except ProvisionError as error:
        return [_failed("engine", error)]
    found = [_finding("engine", OK, f"{name}: {engine.url} as {engine.username}")]
    if engine.insecure:
        return found
    try:
        health = trust.check_health(trust.base_url(engine.url), engine.ca_file)
    except trust.CaDoesNotFit as error:
        text = f"the certificate of {engine.url} cannot be verified: {error.fields['detail']}"
        advice = "Fetch the engine's CA with `ovirt-provision engine trust`."
        return [*found, _finding("certificate", PROBLEM, text, advice)]
    except ProvisionError as error:
        return [*found, _failed("connection", error)]
    return [*found, _finding("connection", OK, f"{engine.url} answers: {health}")]


def _failed(name: str, error: ProvisionError) -> Finding:
    report = error.report()
    text = report.message
    if report.engine_text and report.engine_text not in text:
        text += f" ({report.engine_text})"
    return _finding(name, PROBLEM, text, report.advice or "See docs/cli.md and docs/configuration.md.")


def _finding(name: str, severity: Finding.Severity.ValueType, summary: str, advice: str = "") -> Finding:
    return Finding(name=name, severity=severity, summary=summary, advice=advice)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
