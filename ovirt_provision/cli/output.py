"""What `ovirt-provision` prints: results on stdout as a table or JSON, errors on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ovirt_provision.errors import ErrorReport
from ovirt_provision.v1.backups_pb2 import ListBackupsResponse
from ovirt_provision.v1.disks_pb2 import ListDisksResponse
from ovirt_provision.v1.engines_pb2 import (
    CensusEntry,
    ExamineEngineResponse,
    Finding,
    ListEnginesResponse,
    TakeCensusResponse,
)
from ovirt_provision.v1.images_pb2 import ListImagesResponse
from ovirt_provision.v1.machines_pb2 import ListMachinesResponse, RenewLeaseResponse
from ovirt_provision.v1.networks_pb2 import ListNetworksResponse
from ovirt_provision.v1.operations_pb2 import ListOperationsResponse
from ovirt_provision.v1.resources_pb2 import (
    DiskInfo,
    Engine,
    Image,
    Lease,
    Machine,
    MachineDisk,
    Network,
    Operation,
    Template,
)
from ovirt_provision.v1.templates_pb2 import ListTemplatesResponse

Shown = TypeVar("Shown", bound=Message)

# Wide enough that a log or a pipe gets every row on one line.
_WIDTH_OF_A_FILE = 250


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def console(*, stderr: bool) -> Console:
    """Where to print: as wide as the terminal, or as a file is for our tables."""
    file = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if file.isatty() else _WIDTH_OF_A_FILE)


def _say(text: Text) -> None:
    errors = console(stderr=True)
    errors.print(text, soft_wrap=not errors.is_terminal)


def note(text: str) -> None:
    """One line for people, on stderr."""
    _say(Text(text))


def print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def print_message(message: Message) -> None:
    """A message of the schema as JSON, with the schema's own field names, and with fields that are empty."""
    print_json(
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def emit(message: Shown, output_format: Format, table: Callable[[Shown], None]) -> None:
    """Prints a message as JSON, or through `table` for people."""
    if output_format is Format.JSON:
        print_message(message)
    else:
        table(message)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console(stderr=False).print(table)


def print_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    """One thing, a field a line; empty fields are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value:
            table.add_row(name, value if isinstance(value, Text) else Text(value))
    console(stderr=False).print(table)


def print_error(error: ErrorReport, output_format: Format) -> None:
    """An error for people on stderr, and for programs as `{"error": {...}}` on stdout."""
    listed = list(error.violations)
    message = error.message
    if listed and all(violation.description in message for violation in listed):
        # The message is all of them in one line, which one can read when there is one.
        message, listed = (message, []) if len(listed) == 1 else (f"{len(listed)} things are wrong:", listed)
    text = Text.assemble(("error: ", "bold red"), message)
    for violation in listed:
        text.append(
            f"\n  {violation.field}: {violation.description}"
            if violation.field
            else f"\n  {violation.description}"
        )
    for name, value in (
        ("phase", error.phase),
        ("the engine says", error.engine_text if error.engine_text not in error.message else ""),
        ("correlation id", error.correlation_id),
        ("what to do", error.advice),
    ):
        if value:
            text.append(f"\n  {name}: ", "bold").append(value)
    _say(text)
    if output_format is Format.JSON:
        print_json(
            {
                "error": {
                    "code": error.code,
                    "reason": error.reason,
                    "message": error.message,
                    "phase": error.phase,
                    "engine_text": error.engine_text,
                    "correlation_id": error.correlation_id,
                    "advice": error.advice,
                    "violations": [
                        {"field": violation.field, "description": violation.description}
                        for violation in error.violations
                    ],
                }
            }
        )


def word(enum_name: str) -> str:
    """An enum value's name for people: `STATUS_UP` is `up`."""
    return enum_name.partition("_")[2].lower().replace("_", "-")


def moment(timestamp: Timestamp) -> str:
    """Date and time of day where this machine is; empty when it is not set."""
    if not timestamp.seconds:
        return ""
    return datetime.fromtimestamp(timestamp.seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def lease(lease: Lease) -> str:
    kind = word(Lease.Kind.Name(lease.kind)) if lease.kind else ""
    return f"{kind} until {moment(lease.expire_time)}" if lease.HasField("expire_time") else kind


def addresses(machine: Machine) -> str:
    return ", ".join(address.ip for address in machine.addresses)


def print_machines(listed: ListMachinesResponse) -> None:
    print_table(
        ("KEY", "STATUS", "ADDRESS", "NAME", "CLUSTER", "LEASE", "ID"),
        (
            (
                m.key,
                word(Machine.Status.Name(m.status)),
                addresses(m),
                m.name,
                m.cluster,
                lease(m.lease),
                m.id,
            )
            for m in listed.machines
        ),
    )


def size(given: int) -> str:
    """Bytes for people, such as `10 GiB`."""
    return f"{given / 2**30:g} GiB" if given >= 2**30 else f"{given / 2**20:g} MiB"


def _disk(disk: MachineDisk) -> str:
    marks = [*(["bootable"] if disk.bootable else []), *([] if disk.ours else ["not its own"])]
    return ", ".join((f"{disk.name} {size(disk.size_bytes)}", *marks, disk.id))


def print_machine(machine: Machine) -> None:
    print_fields(
        [
            ("key", machine.key),
            ("status", word(Machine.Status.Name(machine.status))),
            ("addresses", addresses(machine)),
            ("name", machine.name),
            ("id", machine.id),
            ("engine", machine.engine),
            ("cluster", machine.cluster),
            ("template id", machine.template_id),
            ("cpus", " × ".join(map(str, (machine.cpu.sockets, machine.cpu.cores, machine.cpu.threads)))),
            ("memory", size(machine.memory_bytes)),
            *(("disk", _disk(disk)) for disk in machine.disks),
            *(("nic", f"{nic.name} {nic.mac}{'' if nic.linked else ', unlinked'}") for nic in machine.nics),
            ("lease", lease(machine.lease)),
            ("owner", machine.owner),
            ("generation", str(machine.generation)),
            *([("adopted", "yes: only started, stopped and restarted")] if machine.adopted else []),
            ("created", moment(machine.create_time)),
        ]
    )


def print_templates(listed: ListTemplatesResponse) -> None:
    print_table(
        ("NAME", "VERSION", "VERSION NAME", "STATUS", "OURS", "ID", "CREATED", "DESCRIPTION"),
        (
            (
                t.name,
                str(t.version),
                t.version_name,
                word(Template.Status.Name(t.status)),
                "yes" if t.ours else "",
                t.id,
                moment(t.create_time),
                t.description,
            )
            for t in listed.templates
        ),
    )


def print_backups(listed: ListBackupsResponse) -> None:
    print_table(
        ("NAME", "VERSION", "DOMAIN", "SIZE", "STATUS", "OURS", "ID", "CREATED", "DESCRIPTION"),
        (
            (
                one.template.name,
                str(one.template.version),
                ", ".join(one.storage_domains),
                size(one.size_bytes),
                word(Template.Status.Name(one.template.status)),
                "yes" if one.template.ours else "",
                one.template.id,
                moment(one.template.create_time),
                one.template.description,
            )
            for one in listed.backups
        ),
    )


def print_template(template: Template) -> None:
    print_fields(
        [
            ("name", template.name),
            ("version", str(template.version)),
            ("version name", template.version_name),
            ("status", word(Template.Status.Name(template.status))),
            ("id", template.id),
            ("ours", "yes" if template.ours else "no"),
            ("engine", template.engine),
            ("owner", template.owner),
            ("description", template.description),
            ("created", moment(template.create_time)),
            ("operating system", template.os),
            ("cluster", template.cluster),
            ("tags", ", ".join(template.tags)),
            ("disks", ", ".join(f"{disk.name} ({size(disk.size_bytes)})" for disk in template.disks)),
        ]
    )


def print_disks(listed: ListDisksResponse) -> None:
    print_table(
        ("NAME", "SIZE", "STATUS", "FORMAT", "CONTENT", "OURS", "ID", "STORAGE", "DESCRIPTION"),
        (
            (
                d.name,
                size(d.size_bytes),
                d.status,
                d.format,
                d.content_type,
                "yes" if d.ours else "",
                d.id,
                ", ".join(d.storage_domains),
                d.description,
            )
            for d in listed.disks
        ),
    )


def print_disk(disk: DiskInfo) -> None:
    print_fields(
        [
            ("name", disk.name),
            ("size", size(disk.size_bytes)),
            ("status", disk.status),
            ("id", disk.id),
            ("format", disk.format),
            ("content", disk.content_type),
            ("storage", ", ".join(disk.storage_domains)),
            ("ours", "yes" if disk.ours else "no"),
            ("engine", disk.engine),
            ("owner", disk.owner),
            ("description", disk.description),
            ("created", moment(disk.create_time)),
        ]
    )


def print_images(listed: ListImagesResponse) -> None:
    print_table(
        ("CHECKSUM", "FORMAT", "SIZE", "DISK", "SINCE"),
        (
            (
                image.checksum,
                word(Image.Format.Name(image.format)),
                size(image.size_bytes),
                size(image.virtual_size_bytes),
                moment(image.create_time),
            )
            for image in listed.images
        ),
    )


def print_networks(listed: ListNetworksResponse) -> None:
    print_table(
        ("NAME", "DATA CENTER", "VLAN", "VNIC PROFILES", "ID", "DESCRIPTION"),
        (
            (
                n.name,
                n.data_center,
                str(n.vlan_id or ""),
                ", ".join(f"{n.name}/{profile}" for profile in n.vnic_profiles),
                n.id,
                n.description,
            )
            for n in listed.networks
        ),
    )


def print_network(network: Network) -> None:
    print_fields(
        [
            ("name", network.name),
            ("data center", network.data_center),
            ("id", network.id),
            ("VLAN", str(network.vlan_id or "")),
            ("MTU", str(network.mtu or "")),
            ("vNIC profiles", ", ".join(f"{network.name}/{profile}" for profile in network.vnic_profiles)),
            ("engine", network.engine),
            ("description", network.description),
        ]
    )


def print_operations(listed: ListOperationsResponse) -> None:
    print_table(
        ("ID", "VERB", "STATE", "PHASE", "%", "MACHINE", "BEGUN"),
        (
            (
                o.id,
                o.verb,
                word(Operation.State.Name(o.state)),
                o.phase,
                str(o.percent),
                o.key,
                moment(o.create_time),
            )
            for o in listed.operations
        ),
    )


def print_operation(operation: Operation) -> None:
    phases = [
        f"{phase.name} {phase.end_time.ToNanoseconds() / 1e9 - phase.start_time.ToNanoseconds() / 1e9:.1f} s"
        if phase.HasField("end_time")
        else f"{phase.name} since {moment(phase.start_time)}"
        for phase in operation.phases
    ]
    print_fields(
        [
            ("id", operation.id),
            ("verb", operation.verb),
            ("state", word(Operation.State.Name(operation.state))),
            ("cleanup", word(Operation.Cleanup.Name(operation.cleanup)) if operation.cleanup else ""),
            ("machine", operation.key),
            ("template", operation.template.name if operation.HasField("template") else ""),
            ("percent", str(operation.percent)),
            ("doing", operation.progress),
            ("phases", ", ".join(phases)),
            ("engine", operation.engine),
            ("owner", operation.owner),
            ("request id", operation.request_id),
            ("correlation id", operation.correlation_id),
            ("begun", moment(operation.create_time)),
            ("ended", moment(operation.end_time)),
            ("error", operation.error.message if operation.HasField("error") else ""),
            ("warnings", "; ".join(operation.warnings)),
        ]
    )


def print_result(operation: Operation) -> None:
    """What an operation has made: its Machine, Template or Disk, else the operation itself."""
    for warning in operation.warnings:
        note(f"warning: {warning}")
    for disk in operation.sparsified:
        note(f"disk {disk.name} took {size(disk.bytes_before)}, and takes {size(disk.bytes_after)} now")
    if operation.HasField("machine"):
        print_machine(operation.machine)
    elif operation.HasField("template"):
        print_template(operation.template)
    elif operation.HasField("disk"):
        print_disk(operation.disk)
    elif operation.HasField("image"):
        print_images(ListImagesResponse(images=[operation.image]))
    else:
        print_operation(operation)


def print_sparsified(operation: Operation) -> None:
    print_table(
        ("DISK", "BEFORE", "AFTER", "ID"),
        ((one.name, size(one.bytes_before), size(one.bytes_after), one.id) for one in operation.sparsified),
    )


def print_engines(listed: ListEnginesResponse) -> None:
    print_table(
        ("PROFILE", "DEFAULT", "URL", "USER"),
        ((e.profile, "yes" if e.is_default else "", e.url, e.username) for e in listed.engines),
    )


def print_engine(engine: Engine) -> None:
    print_fields(
        [
            ("profile", engine.profile),
            ("url", engine.url),
            ("user", engine.username),
            ("version", engine.version),
            ("default", "yes" if engine.is_default else "no"),
            ("fingerprint", engine.fingerprint),
        ]
    )


def print_renewed(renewed: RenewLeaseResponse) -> None:
    print_fields([("lease", lease(renewed.lease)), ("renew every", f"{renewed.renew_interval.seconds} s")])


def print_census(taken: TakeCensusResponse) -> None:
    print_table(
        ("FINDING", "KIND", "NAME", "ID", "MACHINE", "OWNER", "DETAIL"),
        (
            (word(CensusEntry.Finding.Name(e.finding)), e.kind, e.name, e.id, e.key, e.owner, e.detail)
            for e in taken.entries
        ),
    )


def print_findings(examined: ExamineEngineResponse) -> None:
    styles = {
        Finding.SEVERITY_OK: "green",
        Finding.SEVERITY_WARNING: "yellow",
        Finding.SEVERITY_PROBLEM: "bold red",
    }
    print_table(
        ("CHECK", "RESULT", ""),
        (
            (
                f.name,
                Text(word(Finding.Severity.Name(f.severity)), styles.get(f.severity, "")),
                f.summary + (f"\n→ {f.advice}" if f.advice else ""),
            )
            for f in examined.findings
        ),
    )
