"""`ovirt-provision machine`."""

import contextlib
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ovirt_provision.cli import hardware, keys, options, output
from ovirt_provision.cli.autostart import DaemonNotStarted
from ovirt_provision.cli.client import Daemon, DaemonUnreachable, Interrupted, Interrupts, Verb
from ovirt_provision.cli.options import (
    EngineOption,
    KeyArgument,
    NoWaitOption,
    OutputOption,
    OwnerOption,
    RequestIdOption,
)
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.verbs import SIGTERM_EXIT, run_verb
from ovirt_provision.v1 import consoles_pb2, machines_pb2, resources_pb2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make, start, stop and destroy Machines: the VMs that the bridge made and owns, or has adopted.",
)

NameOption = Annotated[
    str, typer.Option(metavar="NAME", help="Name of the VM in the engine. Default: the key.")
]
StartOption = Annotated[bool, typer.Option("--start", help="Start it and wait for its address.")]
HoldOption = Annotated[
    bool,
    typer.Option(
        "--hold", help="Throw-away Machine: stay, and let it be destroyed some minutes after Ctrl-C."
    ),
]
TtlOption = Annotated[
    str,
    typer.Option(
        "--ttl",
        metavar="TIME",
        help="Destroy it after so long, such as 90s, 30m, 8h or 2d. Default: it stays.",
    ),
]


class OnFailure(StrEnum):
    DESTROY = "destroy"
    STOP = "stop"
    KEEP = "keep"


_ON_FAILURE = {
    OnFailure.DESTROY: resources_pb2.ON_FAILURE_DESTROY,
    OnFailure.STOP: resources_pb2.ON_FAILURE_STOP,
    OnFailure.KEEP: resources_pb2.ON_FAILURE_KEEP,
}
OnFailureOption = Annotated[
    OnFailure,
    typer.Option(
        "--on-failure",
        help="What becomes of a Machine that stands but fails, say to boot: destroy it, shut it down and "
        "keep it, or keep it as it is. An interrupted one is always destroyed.",
    ),
]
UserOption = Annotated[str, typer.Option(metavar="NAME", help="Account to make in the guest, with sudo.")]
SshKeyOption = Annotated[
    list[Path], typer.Option(metavar="FILE", help="File with public keys for that account. Repeatable.")
]
HostnameOption = Annotated[str, typer.Option(metavar="NAME", help="Host name of the guest, without domain.")]
DhcpOption = Annotated[
    list[str],
    typer.Option(metavar="IFACE", help="Interface of the guest that uses DHCP, such as eth0. Repeatable."),
]
AddressOption = Annotated[
    list[str],
    typer.Option(
        metavar="IFACE=ADDRESS/PREFIX[,GATEWAY]",
        help="Static IPv4 or IPv6 address, such as eth0=10.11.0.5/24,10.11.0.1, or the first free IPv4 one "
        "of a range, such as eth0=10.11.0.50-10.11.0.99/24. Repeatable.",
    ),
]
TimeZoneOption = Annotated[
    str, typer.Option(metavar="ZONE", help="Time zone of the guest, such as Europe/Berlin.")
]
DnsServerOption = Annotated[list[str], typer.Option(metavar="IP", help="DNS server. Repeatable.")]
DnsSearchOption = Annotated[list[str], typer.Option(metavar="DOMAIN", help="Search domain. Repeatable.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Power off at once instead of a shutdown first.")]
UserDataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="More for the guest to do: a #cloud-config (write_files, runcmd and the rest) or a #! script.",
    ),
]
IgnitionOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Ignition configuration, for CoreOS: --user, --ssh-key, --hostname go into it."
    ),
]
SysprepOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Answer file (unattend.xml), for Windows, in which $ComputerName$ is --hostname."
    ),
]
AddressNicOption = Annotated[
    list[str],
    typer.Option(
        metavar="NIC", help="NIC of the VM whose addresses count, such as nic1; default: all. Repeatable."
    ),
]
AddressInOption = Annotated[
    list[str],
    typer.Option(metavar="NETWORK", help="Network whose addresses count, such as 10.11.0.0/16. Repeatable."),
]
NoAddressOption = Annotated[
    bool, typer.Option("--no-address", help="Wait for no address of the guest, now and at later starts.")
]
# Fields of Initialization and the options that fill them.
_GUEST_OPTIONS = {
    "user_name": "--user",
    "authorized_ssh_keys": "--ssh-key",
    "host_name": "--hostname",
    "time_zone": "--time-zone",
    "nic_configurations": "--dhcp or --address",
    "dns_servers": "--dns-server",
    "dns_search_domains": "--dns-search",
    "user_data": "--user-data",
    "ignition": "--ignition",
}


@app.command(
    epilog="""Examples:

    ovirt-provision machine create web --template debian-12 --start --user me --ssh-key key.pub --dhcp eth0

    ovirt-provision machine create db --template debian-12:3 --clone --memory 4GiB --nic nic1=ovirtmgmt \\
        --boot-disk-size 20GiB --new-disk 100GiB,name=data,storage-domain=fast,interface=virtio"""
)
def create(
    key: Annotated[str, typer.Argument(help="Name for the Machine, unique among yours.")],
    template: Annotated[
        str,
        typer.Option(metavar="NAME[:VERSION]", help="Template to make it from; without version the newest."),
    ],
    name: NameOption = "",
    cluster: Annotated[str, typer.Option(metavar="NAME", help="Cluster. Default: the template's.")] = "",
    clone: Annotated[
        bool, typer.Option("--clone", help="Copy the disks whole, independent of the template.")
    ] = False,
    cpu_sockets: Annotated[
        int, typer.Option(metavar="N", help="0: as the template.", show_default=False)
    ] = 0,
    cpu_cores: Annotated[
        int, typer.Option(metavar="N", help="Per socket. 0: as the template.", show_default=False)
    ] = 0,
    cpu_threads: Annotated[
        int, typer.Option(metavar="N", help="Per core. 0: as the template.", show_default=False)
    ] = 0,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Such as 2GiB. Default: as the template.")] = "",
    boot_disk_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Grow the boot disk to it, such as 20GiB.")
    ] = "",
    boot_disk: hardware.BootDiskOption = "",
    template_disk: hardware.TemplateDiskOption = [],  # noqa: B006
    new_disk: hardware.NewDiskOption = [],  # noqa: B006
    attach_disk: hardware.AttachDiskOption = [],  # noqa: B006
    nic: hardware.NicOption = [],  # noqa: B006
    storage_domain: hardware.StorageDomainOption = "",
    guaranteed_memory: hardware.GuaranteedMemoryOption = "",
    instance_type: hardware.InstanceTypeOption = "",
    bios: hardware.BiosOption = "",
    tpm: hardware.TpmOption = None,
    virtio_scsi: hardware.VirtioScsiOption = None,
    virtio_scsi_multi_queues: hardware.VirtioScsiQueuesOption = None,
    nic_multi_queues: hardware.NicQueuesOption = None,
    host: hardware.HostOption = [],  # noqa: B006
    affinity: hardware.AffinityOption = "",
    affinity_group: hardware.AffinityGroupOption = [],  # noqa: B006
    affinity_label: hardware.AffinityLabelOption = [],  # noqa: B006
    quota: hardware.QuotaOption = "",
    custom_property: hardware.PropertyOption = [],  # noqa: B006
    tag: hardware.TagOption = [],  # noqa: B006
    os: hardware.OsOption = "",
    vnc: hardware.VncOption = False,
    iso: hardware.IsoOption = "",
    boot_from: hardware.BootFromOption = "",
    payload: hardware.PayloadOption = [],  # noqa: B006
    payload_type: hardware.PayloadTypeOption = "",
    payload_label: hardware.PayloadLabelOption = "",
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="Description of the VM in the engine.")
    ] = "",
    start: StartOption = False,
    user: UserOption = "",
    ssh_key: SshKeyOption = [],  # noqa: B006 # typer copies it
    hostname: HostnameOption = "",
    dhcp: DhcpOption = [],  # noqa: B006
    address: AddressOption = [],  # noqa: B006
    dns_server: DnsServerOption = [],  # noqa: B006
    dns_search: DnsSearchOption = [],  # noqa: B006
    time_zone: TimeZoneOption = "",
    user_data: UserDataOption = None,
    ignition: IgnitionOption = None,
    sysprep: SysprepOption = None,
    address_nic: AddressNicOption = [],  # noqa: B006
    address_in: AddressInOption = [],  # noqa: B006
    no_address: NoAddressOption = False,
    hold: HoldOption = False,
    ttl: TtlOption = "",
    on_failure: OnFailureOption = OnFailure.DESTROY,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make a Machine from a template.

    All or nothing: a create that fails or is interrupted leaves nothing behind. Once it stands it is yours
    until `machine destroy`; with `--hold` only as long as this command runs, and with `--no-wait` until some
    minutes later, unless you call `machine confirm`.
    """
    initialization = _initialization(
        user=user,
        ssh_key=ssh_key,
        hostname=hostname,
        dhcp=dhcp,
        address=address,
        dns_server=dns_server,
        dns_search=dns_search,
        time_zone=time_zone,
        user_data=user_data,
        ignition=ignition,
        sysprep=sysprep,
    )
    seconds = _check(initialization, start=start, hold=hold, no_wait=no_wait, ttl=ttl)
    template_name, version = options.template(template)
    request = machines_pb2.CreateMachineRequest(
        request_id=request_id,
        key=key,
        spec=resources_pb2.MachineSpec(
            template=resources_pb2.TemplateRef(name=template_name, version=version),
            name=name,
            cluster=cluster,
            clone=clone,
            memory_bytes=options.size(memory) if memory else 0,
            guaranteed_memory_bytes=options.size(guaranteed_memory) if guaranteed_memory else 0,
            instance_type=instance_type,
            storage_domain=storage_domain,
            tpm=tpm,
            virtio_scsi=virtio_scsi,
            virtio_scsi_multi_queues=virtio_scsi_multi_queues,
            nic_multi_queues=nic_multi_queues,
            affinity_groups=affinity_group,
            affinity_labels=affinity_label,
            quota=quota,
            tags=tag,
            description=description,
            operating_system=os,
            vnc_console=vnc,
        ),
        on_failure=_ON_FAILURE[on_failure],
        address_selection=_selection(address_nic, address_in, no_address),
    )
    if cpu_sockets or cpu_cores or cpu_threads:
        request.spec.cpu.CopyFrom(
            resources_pb2.Cpu(sockets=cpu_sockets, cores=cpu_cores, threads=cpu_threads)
        )
    hardware.set_disks(
        request.spec,
        boot_disk=boot_disk,
        boot_disk_size=boot_disk_size,
        template_disks=template_disk,
        new_disks=new_disk,
        attached_disks=attach_disk,
    )
    hardware.set_nics(request.spec, nic)
    hardware.set_properties(request.spec, custom_property)
    if bios:
        bios_type = hardware.enum_value(resources_pb2.BiosType.DESCRIPTOR, bios, "--bios")
        request.spec.bios_type = resources_pb2.BiosType.ValueType(bios_type)
    if host:
        request.spec.placement.hosts.extend(host)
    if affinity:
        kind = hardware.enum_value(resources_pb2.Placement.Affinity.DESCRIPTOR, affinity, "--affinity")
        request.spec.placement.affinity = resources_pb2.Placement.Affinity.ValueType(kind)
    media = resources_pb2.Media()
    hardware.set_media(
        media,
        iso=iso,
        boot_from=boot_from,
        payload=payload,
        payload_type=payload_type,
        payload_label=payload_label,
    )
    if media.ByteSize() and not start:
        raise typer.BadParameter("--iso, --boot-from and --payload are for the start: they take --start")
    if start:
        request.start_with.CopyFrom(initialization)
    if media.ByteSize():
        request.start_media.CopyFrom(media)
    daemon = Daemon(engine)
    request.engine.CopyFrom(daemon.engine)
    make(
        daemon,
        daemon.machines.CreateMachine,
        request,
        hold=hold,
        ttl=seconds,
        no_wait=no_wait,
        output_format=output_format,
    )


@app.command(
    epilog="""Example:

    ovirt-provision machine clone web web-copy --start --hostname web-copy"""
)
def clone(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Key of the Machine to copy; it must be up or down.")
    ],
    key: Annotated[str, typer.Argument(help="Name for the new Machine, unique among yours.")],
    name: NameOption = "",
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="Description in the engine. Default: that of SOURCE.")
    ] = "",
    start: StartOption = False,
    user: UserOption = "",
    ssh_key: SshKeyOption = [],  # noqa: B006
    hostname: HostnameOption = "",
    dhcp: DhcpOption = [],  # noqa: B006
    address: AddressOption = [],  # noqa: B006
    dns_server: DnsServerOption = [],  # noqa: B006
    dns_search: DnsSearchOption = [],  # noqa: B006
    time_zone: TimeZoneOption = "",
    user_data: UserDataOption = None,
    ignition: IgnitionOption = None,
    sysprep: SysprepOption = None,
    address_nic: AddressNicOption = [],  # noqa: B006
    address_in: AddressInOption = [],  # noqa: B006
    no_address: NoAddressOption = False,
    hold: HoldOption = False,
    ttl: TtlOption = "",
    on_failure: OnFailureOption = OnFailure.DESTROY,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Copy a Machine, running or not, with its disks as they are now.

    The copy gets MAC addresses of its own; all else, such as host keys and machine-id, is the same in both.
    It lives as one of `machine create` does, and an interrupted copy leaves nothing behind.
    """
    initialization = _initialization(
        user=user,
        ssh_key=ssh_key,
        hostname=hostname,
        dhcp=dhcp,
        address=address,
        dns_server=dns_server,
        dns_search=dns_search,
        time_zone=time_zone,
        user_data=user_data,
        ignition=ignition,
        sysprep=sysprep,
    )
    seconds = _check(initialization, start=start, hold=hold, no_wait=no_wait, ttl=ttl)
    daemon = Daemon(engine)
    request = machines_pb2.CloneMachineRequest(
        engine=daemon.engine,
        request_id=request_id,
        source_key=source,
        key=key,
        name=name,
        description=description,
        on_failure=_ON_FAILURE[on_failure],
        address_selection=_selection(address_nic, address_in, no_address),
    )
    if start:
        request.start_with.CopyFrom(initialization)
    make(
        daemon,
        daemon.machines.CloneMachine,
        request,
        hold=hold,
        ttl=seconds,
        no_wait=no_wait,
        output_format=output_format,
    )


@app.command()
def start(
    key: KeyArgument,
    user: UserOption = "",
    ssh_key: SshKeyOption = [],  # noqa: B006
    hostname: HostnameOption = "",
    dhcp: DhcpOption = [],  # noqa: B006
    address: AddressOption = [],  # noqa: B006
    dns_server: DnsServerOption = [],  # noqa: B006
    dns_search: DnsSearchOption = [],  # noqa: B006
    time_zone: TimeZoneOption = "",
    user_data: UserDataOption = None,
    ignition: IgnitionOption = None,
    sysprep: SysprepOption = None,
    address_nic: AddressNicOption = [],  # noqa: B006
    address_in: AddressInOption = [],  # noqa: B006
    no_address: NoAddressOption = False,
    iso: hardware.IsoOption = "",
    boot_from: hardware.BootFromOption = "",
    payload: hardware.PayloadOption = [],  # noqa: B006
    payload_type: hardware.PayloadTypeOption = "",
    payload_label: hardware.PayloadLabelOption = "",
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Start a Machine and wait for its address. Starting one that is up succeeds.

    With one of the options for the guest, from --user to --sysprep, it gets a first-boot configuration
    for this start alone.
    """
    daemon = Daemon(engine)
    request = machines_pb2.StartMachineRequest(
        engine=daemon.engine,
        request_id=request_id,
        key=key,
        address_selection=_selection(address_nic, address_in, no_address),
    )
    initialization = _initialization(
        user=user,
        ssh_key=ssh_key,
        hostname=hostname,
        dhcp=dhcp,
        address=address,
        dns_server=dns_server,
        dns_search=dns_search,
        time_zone=time_zone,
        user_data=user_data,
        ignition=ignition,
        sysprep=sysprep,
    )
    if initialization.ByteSize():
        request.initialization.CopyFrom(initialization)
    hardware.set_media(
        request.media,
        iso=iso,
        boot_from=boot_from,
        payload=payload,
        payload_type=payload_type,
        payload_label=payload_label,
    )
    if not request.media.ByteSize():
        request.ClearField("media")
    run_verb(output_format, daemon, daemon.machines.StartMachine, request, wait=not no_wait)


@app.command()
def adopt(
    key: Annotated[str, typer.Argument(help="Name for the Machine, unique among yours.")],
    vm_id: Annotated[str, typer.Option("--vm-id", metavar="ID", help="Id of the VM in the engine.")],
    address_nic: AddressNicOption = [],  # noqa: B006
    address_in: AddressInOption = [],  # noqa: B006
    no_address: NoAddressOption = False,
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Adopt a VM that somebody else made, to start, stop and restart it by the key.

    Nothing else is ever done to it: it is not changed, and `machine destroy` only forgets it.
    """
    daemon = Daemon(engine)
    request = machines_pb2.AdoptMachineRequest(
        engine=daemon.engine,
        key=key,
        vm_id=vm_id,
        address_selection=_selection(address_nic, address_in, no_address),
    )
    machine = daemon.call(daemon.machines.AdoptMachine, request).machine
    confirm = machines_pb2.ConfirmMachineRequest(engine=daemon.engine, key=key)
    machine.lease.CopyFrom(daemon.call(daemon.machines.ConfirmMachine, confirm).machine.lease)
    output.emit(machine, output_format, output.print_machine)


@app.command()
def stop(
    key: KeyArgument,
    force: ForceOption = False,
    keep_running: Annotated[
        bool,
        typer.Option("--keep-running", help="Fail, instead of powering off, when the guest does not obey."),
    ] = False,
    engine: EngineOption = "",
    owner: OwnerOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Shut a Machine down; power it off when the guest does not obey. Stopping one that is down succeeds."""
    daemon = Daemon(engine)
    request = machines_pb2.StopMachineRequest(
        engine=daemon.engine,
        request_id=request_id,
        key=key,
        force=force,
        owner=owner,
        keep_running=keep_running,
    )
    run_verb(output_format, daemon, daemon.machines.StopMachine, request, wait=not no_wait)


@app.command()
def restart(
    key: KeyArgument,
    force: ForceOption = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Shut a Machine down, start it again and wait for its address."""
    daemon = Daemon(engine)
    request = machines_pb2.RestartMachineRequest(
        engine=daemon.engine, request_id=request_id, key=key, force=force
    )
    run_verb(output_format, daemon, daemon.machines.RestartMachine, request, wait=not no_wait)


@app.command(
    "type",
    epilog="""Example:

    ovirt-provision machine type web '<esc><wait>install auto=true url=http://10.0.0.1/preseed.cfg<enter>'""",
)
def type_(
    key: KeyArgument,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="What to type, with keys such as <enter>, <f10>, <leftCtrlOn>c<leftCtrlOff>, with <wait5> "
            "to wait for 5 s, and <lt> for <.",
        ),
    ],
    interval: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="From one key to the next. Default: the daemon's.")
    ] = None,
    engine: EngineOption = "",
    owner: OwnerOption = "",
) -> None:
    """Type into the VNC console of a Machine that runs, or is about to."""
    given = keys.steps(text)
    daemon = Daemon(engine)
    opening = consoles_pb2.OpenConsole(engine=daemon.engine, key=key, owner=owner)
    if interval is not None:
        opening.key_interval.FromNanoseconds(int(interval * 1_000_000_000))
    keys.type_keys(daemon, opening, given)


@app.command()
def confirm(
    key: KeyArgument,
    ttl: TtlOption = "",
    engine: EngineOption = "",
    owner: OwnerOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Keep a Machine: from now on it lives without any client, until it is destroyed or its --ttl is over.

    Once more counts the --ttl anew; without --ttl it lives for ever.
    """
    seconds = options.duration(ttl) if ttl else 0
    daemon = Daemon(engine)
    request = machines_pb2.ConfirmMachineRequest(engine=daemon.engine, key=key, owner=owner)
    if seconds:
        request.ttl.seconds = seconds
    machine = daemon.call(daemon.machines.ConfirmMachine, request).machine
    output.emit(machine, output_format, output.print_machine)


@app.command()
def destroy(
    key: KeyArgument,
    engine: EngineOption = "",
    owner: OwnerOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Stop and remove a Machine with its disks. Destroying what is gone succeeds.

    One that was adopted is forgotten, and stays as it is.
    """
    daemon = Daemon(engine)
    request = machines_pb2.DestroyMachineRequest(
        engine=daemon.engine, request_id=request_id, key=key, owner=owner
    )
    run_verb(
        output_format,
        daemon,
        daemon.machines.DestroyMachine,
        request,
        wait=not no_wait,
        show_result=lambda _: output.note(f"Machine '{key}' is gone."),
    )


@app.command()
def get(
    key: KeyArgument,
    engine: EngineOption = "",
    owner: OwnerOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Show a Machine."""
    daemon = Daemon(engine)
    request = machines_pb2.GetMachineRequest(engine=daemon.engine, key=key, owner=owner)
    machine = daemon.call(daemon.machines.GetMachine, request).machine
    output.emit(machine, output_format, output.print_machine)


@app.command("list")
def list_machines(
    engine: EngineOption = "", owner: OwnerOption = "", output_format: OutputOption = Format.TABLE
) -> None:
    """List your Machines."""
    daemon = Daemon(engine)
    request = machines_pb2.ListMachinesRequest(engine=daemon.engine, owner=owner)
    listed = daemon.list_all(daemon.machines.ListMachines, request)
    output.emit(listed, output_format, output.print_machines)


@app.command()
def renew(
    key: KeyArgument,
    engine: EngineOption = "",
    owner: OwnerOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Renew the lease of a Machine once: say that it is still needed."""
    daemon = Daemon(engine)
    renewed = daemon.call(
        daemon.machines.RenewLease, machines_pb2.RenewLeaseRequest(engine=daemon.engine, key=key, owner=owner)
    )
    output.emit(renewed, output_format, output.print_renewed)


def _initialization(
    *,
    user: str,
    ssh_key: list[Path],
    hostname: str,
    dhcp: list[str],
    address: list[str],
    dns_server: list[str],
    dns_search: list[str],
    time_zone: str,
    user_data: Path | None,
    ignition: Path | None,
    sysprep: Path | None,
) -> resources_pb2.Initialization:
    initialization = resources_pb2.Initialization(
        user_name=user,
        authorized_ssh_keys=options.public_keys(ssh_key),
        host_name=hostname,
        nic_configurations=options.nic_configurations(dhcp, address),
        dns_servers=dns_server,
        dns_search_domains=dns_search,
        time_zone=time_zone,
        user_data=_text(user_data, "--user-data"),
        ignition=_text(ignition, "--ignition"),
    )
    if sysprep:
        initialization.sysprep.unattend_xml = _text(sysprep, "--sysprep")
    return initialization


def _text(file: Path | None, option: str) -> str:
    if file is None:
        return ""
    try:
        return file.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint=option) from None


def _selection(
    nics: list[str], networks: list[str], no_address: bool
) -> resources_pb2.AddressSelection | None:
    """Which addresses count; None where nothing is said about it."""
    selection = resources_pb2.AddressSelection(nics=nics, cidrs=networks, do_not_wait=no_address)
    return selection if selection.ByteSize() else None


def _check(
    initialization: resources_pb2.Initialization, *, start: bool, hold: bool, no_wait: bool, ttl: str
) -> int:
    """Checks options against each other; returns the seconds of `--ttl`, 0 without one."""
    given = [option for field, option in _GUEST_OPTIONS.items() if getattr(initialization, field)]
    given += ["--sysprep"] if initialization.HasField("sysprep") else []
    if given and not start:
        raise typer.BadParameter(
            f"{', '.join(given)}: only with --start, because the guest is told at its start"
        )
    if hold and no_wait:
        raise typer.BadParameter("--hold needs the Machine, so it does not go with --no-wait")
    if ttl and (hold or no_wait):
        other = "--hold" if hold else "--no-wait"
        raise typer.BadParameter(
            f"--ttl counts from the moment the Machine is kept, so it does not go with {other}"
        )
    return options.duration(ttl) if ttl else 0


def make(
    daemon: Daemon,
    verb: Verb,
    request: machines_pb2.CreateMachineRequest | machines_pb2.CloneMachineRequest,
    *,
    hold: bool = False,
    ttl: int = 0,
    no_wait: bool,
    output_format: Format,
) -> None:
    """Runs a verb that makes a Machine, and keeps the Machine unless it is only held."""

    def keep(operation: resources_pb2.Operation) -> None:
        if not hold:
            confirm = machines_pb2.ConfirmMachineRequest(engine=daemon.engine, key=request.key)
            if ttl:
                confirm.ttl.seconds = ttl
            confirmed = daemon.call(daemon.machines.ConfirmMachine, confirm).machine
            operation.machine.lease.CopyFrom(confirmed.lease)

    run_verb(output_format, daemon, verb, request, wait=not no_wait, on_success=keep)
    if hold:
        _hold(daemon, request.key)
    elif no_wait:
        output.note(f"To keep the Machine, once it stands: ovirt-provision machine confirm {request.key}")


def _hold(daemon: Daemon, key: str) -> None:
    output.note("Renewing the Machine's lease until Ctrl-C.")
    request = machines_pb2.RenewLeaseRequest(engine=daemon.engine, key=key)
    renewed = daemon.call(daemon.machines.RenewLease, request)
    code = 0
    try:
        with Interrupts() as interrupts:
            interrupts.arm()
            while not threading.Event().wait(renewed.renew_interval.ToNanoseconds() / 1e9):
                try:
                    renewed = daemon.call(daemon.machines.RenewLease, request)
                except DaemonUnreachable as error:
                    # The lease outlives several intervals; one that is over the daemon tells of.
                    output.note(f"Not renewed this time: {error}")
                    with contextlib.suppress(DaemonNotStarted):
                        daemon.connect()
    except Interrupted:
        code = SIGTERM_EXIT
    except KeyboardInterrupt:
        pass
    output.note(
        f"No longer renewed: the Machine is destroyed at {output.moment(renewed.lease.expire_time)} "
        f"unless you call: ovirt-provision machine renew {key}"
    )
    if code:
        raise typer.Exit(code)
