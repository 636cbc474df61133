"""Everything that an engine can do wrong, one at a time, and what the user is told of it.

`python -m tests.faults` prints the table as Markdown.
"""

import asyncio
import logging
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ovirt_provision.clock import VirtualClock
from ovirt_provision.errors import Code
from ovirt_provision.ledger.store import SUCCEEDED, Operation
from ovirt_provision.simulator import Simulator
from ovirt_provision.v1 import resources_pb2, templates_pb2
from tests.harness import OWNER, Site, spec, started

VM = "/vms"
A_VM = "/vms/[^/]+"
TEMPLATE = "/templates"
A_TEMPLATE = "/templates/[^/]+"

# Short, since nothing is learnt from longer ones.
TIMEOUTS = {
    "create_machine": 30.0,
    "create_version": 30.0,
    "machine_ready": 90.0,
    "disk_ready": 60.0,
    "start": 60.0,
    "address": 30.0,
    "create_template": 90.0,
    "seal": 120.0,
    "sparsify": 60.0,
    "export_template": 60.0,
    "create_snapshot": 60.0,
    "destroy": 40.0,
    "undo": 60.0,
    "engine_lock": 4.0,
    "watch_interval": 3.0,
}
_HEAD = """\
# What users read of each fault

Made by `make faults`: each row is a fault of the [simulator](simulator.md) at the requests named, without
end, and the error of the operation that met it. The code is that of gRPC.
"""
_FOREVER = 100_000

Act = Callable[[Site, str], Awaitable[Operation]]


async def _create(site: Site, key: str, **fields: Any) -> Operation:
    return await site.run("CreateMachine", key=key, spec=spec(**fields), start_with=started())


async def _create_with_nic(site: Site, key: str) -> Operation:
    return await _create(site, key, nics=[resources_pb2.Nic(name="nic2", vnic_profile="ovirtmgmt")])


async def _create_grown(site: Site, key: str) -> Operation:
    return await _create(site, key, boot_disk=resources_pb2.DiskSpec(size_bytes=64 << 30))


async def _create_with_disk(site: Site, key: str) -> Operation:
    return await _create(site, key, new_disks=[resources_pb2.DiskSpec(size_bytes=1 << 30)])


async def _clone(site: Site, key: str) -> Operation:
    return await site.run("CloneMachine", key=key, source_key="source")


async def _template(site: Site, key: str) -> Operation:
    return await site.run("CreateTemplate", machine_key="source", name=key)


async def _sparsified(site: Site, key: str) -> Operation:
    return await site.run(
        "CreateTemplate",
        machine_key="source",
        name=key,
        sparsify=True,
        disk_format=resources_pb2.DISK_FORMAT_RAW,
    )


async def _exported(site: Site, key: str) -> Operation:
    return await site.run(
        "ExportTemplate",
        template=resources_pb2.TemplateRef(name="golden"),
        ova=templates_pb2.ExportTemplateRequest.Ova(host="host1", directory="/tmp", file_name=f"{key}.ova"),
    )


async def _sealed(site: Site, key: str) -> Operation:
    return await site.run("CreateTemplate", machine_key="source", name=key, seal=True)


async def _version(site: Site, key: str) -> Operation:
    return await site.run("CreateTemplate", machine_key="source", name="golden", new_version=True)


async def _start(site: Site, key: str) -> Operation:
    return await site.run("StartMachine", key=key)


async def _stop(site: Site, key: str) -> Operation:
    return await site.run("StopMachine", key=key)


async def _restart(site: Site, key: str) -> Operation:
    return await site.run("RestartMachine", key=key)


async def _destroy(site: Site, key: str) -> Operation:
    return await site.run("DestroyMachine", key=key)


async def _destroy_template(site: Site, key: str) -> Operation:
    (found,) = [t for t in site.simulator.world.templates.values() if t.name == key]
    return await site.run("DestroyTemplate", id=found.id)


@dataclass(frozen=True)
class Case:
    """A fault of the simulator at the requests that match, and what becomes of the operation.

    `says` are words of the engine, or of whatever is between us and it; `by_engine` where they come from its
    log or its answer, and therefore are the error's engine text. `needs` is what there has to be before.
    """

    fault: str
    act: Act
    phase: str
    code: Code
    says: str
    method: str | None = None
    path: str | None = None
    seconds: float | None = None
    times: int = _FOREVER
    by_engine: bool = True
    needs: str = ""

    @property
    def verb(self) -> str:
        return {
            _create: "CreateMachine",
            _create_with_nic: "CreateMachine",
            _create_grown: "CreateMachine",
            _create_with_disk: "CreateMachine",
            _clone: "CloneMachine",
            _template: "CreateTemplate",
            _sealed: "CreateTemplate",
            _sparsified: "CreateTemplate",
            _version: "CreateTemplate",
            _exported: "ExportTemplate",
            _start: "StartMachine",
            _stop: "StopMachine",
            _restart: "RestartMachine",
            _destroy: "DestroyMachine",
            _destroy_template: "DestroyTemplate",
        }[self.act]

    @property
    def name(self) -> str:
        where = f"-{self.method}-{self.path}" if self.path else ""
        return f"{self.fault}{where}-{self.act.__name__.lstrip('_')}"


@dataclass(frozen=True)
class Told:
    """The end of an operation under a fault, and what the engine's log says of its failure."""

    case: Case
    operation: Operation
    engine_logged: tuple[str, ...]


_PRECONDITION, _ABORTED, _DENIED = Code.FAILED_PRECONDITION, Code.ABORTED, Code.PERMISSION_DENIED
_UNAVAILABLE, _DEADLINE = Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED
_DENIAL = "User is not authorized to perform this action."
_NETWORK = "Network error during communication with the Host."
_SPACE = "Low disk space on Storage Domain"
_QUOTA = "Quota has insufficient storage resources."
_MACS = "Not enough MAC addresses left in MAC Address Pool."


def _refused(
    fault: str, act: Act, phase: str, says: str, method: str, path: str, needs: str = "", **fields: Any
) -> Case:
    code = _DENIED if fault == "forbidden" else _PRECONDITION
    return Case(fault, act, phase, code, says, method, path, needs=needs, **fields)


def _host(act: Act, phase: str, method: str, path: str, needs: str = "") -> Case:
    return _refused("host-lost", act, phase, _NETWORK, method, path, needs, seconds=0)


def _forbidden(act: Act, phase: str, method: str, path: str, needs: str = "") -> Case:
    return _refused("forbidden", act, phase, _DENIAL, method, path, needs)


def _wire(fault: str, act: Act, phase: str, says: str, method: str, path: str, needs: str = "") -> Case:
    return Case(fault, act, phase, _UNAVAILABLE, says, method, path, by_engine=False, needs=needs)


CASES = (
    # Refused
    _refused("storage-full", _create, "creating", _SPACE, "POST", VM),
    _refused("storage-full", _template, "creating-template", _SPACE, "POST", TEMPLATE),
    _refused("storage-full", _version, "creating-template", _SPACE, "POST", TEMPLATE),
    _refused("quota-exceeded", _create, "creating", _QUOTA, "POST", VM),
    _refused("quota-exceeded", _template, "creating-template", _QUOTA, "POST", TEMPLATE),
    _refused("mac-pool-empty", _create, "creating", _MACS, "POST", VM),
    _refused("mac-pool-empty", _clone, "creating", _MACS, "POST", VM),
    _refused("mac-pool-empty", _create_with_nic, "connecting-nics", _MACS, "POST", f"{A_VM}/nics"),
    _host(_create, "creating", "POST", VM),
    _refused("storage-full", _create_with_disk, "creating-disks", _SPACE, "POST", "/disks"),
    _host(_create_grown, "changing-disks", "PUT", f"{A_VM}/diskattachments/.*"),
    _host(_clone, "taking-snapshot", "POST", f"{A_VM}/snapshots"),
    _host(_clone, "creating", "POST", VM),
    _host(_template, "creating-template", "POST", TEMPLATE),
    _host(_version, "creating-template", "POST", TEMPLATE),
    _host(_start, "booting", "POST", f"{A_VM}/start", "down"),
    _host(_stop, "shutting-down", "POST", f"{A_VM}/shutdown", "up"),
    _host(_destroy, "destroying", "DELETE", A_VM, "down"),
    _host(_destroy_template, "destroying", "DELETE", A_TEMPLATE, "template"),
    _forbidden(_create, "creating", "POST", VM),
    _forbidden(_create_with_nic, "connecting-nics", "POST", f"{A_VM}/nics"),
    _forbidden(_create_grown, "changing-disks", "PUT", f"{A_VM}/diskattachments/.*"),
    _forbidden(_create_with_disk, "attaching-disks", "POST", f"{A_VM}/diskattachments"),
    _forbidden(_clone, "taking-snapshot", "POST", f"{A_VM}/snapshots"),
    _forbidden(_clone, "creating", "POST", VM),
    _forbidden(_template, "creating-template", "POST", TEMPLATE),
    _forbidden(_sparsified, "sparsifying", "POST", "/disks/.*/sparsify"),
    _forbidden(_exported, "exporting", "POST", f"{A_TEMPLATE}/export"),
    _forbidden(_start, "booting", "POST", f"{A_VM}/start", "down"),
    _forbidden(_stop, "shutting-down", "POST", f"{A_VM}/shutdown", "up"),
    _forbidden(_restart, "shutting-down", "POST", f"{A_VM}/shutdown", "up"),
    _forbidden(_destroy, "destroying", "DELETE", A_VM, "down"),
    _forbidden(_destroy_template, "destroying", "DELETE", A_TEMPLATE, "template"),
    # Failed in the background
    Case("vm-fails", _create, "cloning", _ABORTED, "Failed to complete VM", times=1),
    Case("disk-fails", _create_with_disk, "attaching-disks", _ABORTED, "Add-Disk operation failed", times=1),
    Case("vm-fails", _clone, "cloning", _ABORTED, "Failed to complete VM", "POST", VM, times=1),
    Case("snapshot-fails", _clone, "taking-snapshot", _ABORTED, "Failed to complete snapshot", times=1),
    Case("template-fails", _template, "copying-disks", _ABORTED, "or its disks from VM"),
    Case("template-fails", _version, "copying-disks", _ABORTED, "or its disks from VM"),
    Case("seal-fails", _sealed, "sealing", _ABORTED, "Failed to seal Template"),
    Case("sparsify-fails", _sparsified, "sparsifying", _ABORTED, "Failed to sparsify"),
    Case("export-fails", _exported, "exporting", _ABORTED, "Failed to export Template"),
    Case("disk-stays-locked", _create, "cloning", _DEADLINE, "is not ok", "POST", VM, by_engine=False),
    Case("disk-illegal", _create, "cloning", _ABORTED, "is illegal", "POST", VM, by_engine=False),
    # A VM that starts
    Case("start-fails", _start, "booting", _ABORTED, "is down with error", needs="down"),
    Case("start-fails", _create, "booting", _ABORTED, "is down with error"),
    Case("start-fails", _restart, "booting", _ABORTED, "is down with error", needs="up"),
    Case("vm-crashes", _start, "booting", _ABORTED, "is down with error", needs="down"),
    Case("vm-crashes", _create, "booting", _ABORTED, "is down with error"),
    Case("vm-pauses", _start, "booting", _ABORTED, "paused", needs="down", by_engine=False),
    Case("vm-pauses", _create, "booting", _ABORTED, "paused", by_engine=False),
    Case("agent-silent", _start, "waiting-for-address", _DEADLINE, "agent", needs="down", by_engine=False),
    Case(
        "address-link-local",
        _start,
        "waiting-for-address",
        _DEADLINE,
        "only 169.254.1.7 of eth0 (link-local)",
        needs="down",
        by_engine=False,
    ),
    # Not answered
    _wire("unavailable", _create, "creating", "is not its API's", "POST", VM),
    _wire("unavailable", _start, "booting", "is not its API's", "POST", f"{A_VM}/start", "down"),
    _wire("unavailable", _destroy, "destroying", "is not its API's", "DELETE", A_VM, "down"),
    _wire("reset", _create, "creating", "cannot be reached", "POST", VM),
    _wire("reset", _clone, "taking-snapshot", "cannot be reached", "POST", f"{A_VM}/snapshots"),
    _wire("reset", _stop, "shutting-down", "cannot be reached", "POST", f"{A_VM}/shutdown", "up"),
    _wire("unauthorized", _create, "creating", "session", "POST", VM),
    _wire("unauthorized", _template, "creating-template", "session", "POST", TEMPLATE),
    _wire("session-revoked", _start, "booting", "session", "POST", f"{A_VM}/start", "down"),
)


async def _prepare(site: Site) -> None:
    for key in ("source", "golden"):
        made = await site.run("CreateMachine", key=key, spec=spec())
        assert made.state == SUCCEEDED, made.error
        _keep(site, key)
    made = await site.run("CreateTemplate", machine_key="golden", name="golden")
    assert made.state == SUCCEEDED, made.error


def _keep(site: Site, key: str) -> None:
    row = site.bridge.ledger.living_machine(OWNER, key)
    assert row is not None
    site.bridge.leases.confirm(row)


async def _play(site: Site, case: Case, key: str) -> Told:
    world = site.simulator.world
    if case.needs == "template":
        made = await site.run("CreateTemplate", machine_key="source", name=key)
        assert made.state == SUCCEEDED, made.error
    elif case.needs:
        boot = {"start_with": started()} if case.needs == "up" else {}
        made = await site.run("CreateMachine", key=key, spec=spec(), **boot)
        assert made.state == SUCCEEDED, made.error
        _keep(site, key)
    rule: dict[str, Any] = {
        "method": case.method,
        "path": case.path,
        "seconds": case.seconds,
        "times": case.times,
    }
    world.injections.arm(case.fault, **{name: value for name, value in rule.items() if value is not None})
    operation = await case.act(site, key)
    world.injections.disarm()
    logged = tuple(
        event.description
        for event in world.events
        if event.correlation_id == operation.id and event.severity in ("error", "alert")
    )
    return Told(case, operation, logged)


def play(folder: Path, cases: tuple[Case, ...] = CASES) -> list[Told]:
    """Plays the cases on one engine, one after the other."""
    folder.chmod(0o700)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    clock = VirtualClock()

    async def scenario() -> list[Told]:
        (folder / "state").mkdir(mode=0o700)
        async with Simulator(clock=clock, profile="engine", state_dir=folder / "simulator") as simulator:
            simulator.world.timing = simulator.world.timing.model_copy(update={"command": 0.0})
            site = Site(simulator, folder / "state", clock, **TIMEOUTS)
            site.bridge.start()
            try:
                await _prepare(site)
                return [await _play(site, case, f"web-{number}") for number, case in enumerate(cases)]
            finally:
                await site.bridge.close()

    try:
        with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
            return runner.run(scenario())
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def main() -> None:
    """Prints what users read of each fault."""
    print(_HEAD)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print("| fault | verb | code | phase | what the user reads | advice |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for told in play(Path(folder)):
            case, error = told.case, told.operation.error
            assert error is not None, case.name
            at = f" at `{case.method} {case.path.replace('[^/]+', '{id}')}`" if case.path else ""
            text = str(error["message"])
            if error["engine_text"] and error["engine_text"] not in text:
                text += f" (engine: {error['engine_text']})"
            text = re.sub(r"\bweb-[0-9]+", "web", text)
            text = re.sub(r"https://127.0.0.1:[0-9]+", "https://engine.example.com", text)
            text = re.sub(r"ovirt-provision/1 snapshot [^']*", "ovirt-provision/1 snapshot …", text)
            row = (
                f"`{case.fault}`{at}",
                case.verb,
                Code(error["code"]).name,
                error["phase"],
                text.replace("|", "\\|"),
                error["advice"],
            )
            print(f"| {' | '.join(' '.join(cell.split()) for cell in row)} |")


if __name__ == "__main__":
    sys.exit(main())
