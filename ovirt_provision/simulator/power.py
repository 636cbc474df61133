"""A VM's run, from start to power-off: its statuses, events and jobs."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ovirt_provision.simulator import machine_config
from ovirt_provision.simulator.entities import Host, Job, Vm
from ovirt_provision.simulator.guests import Guest, GuestInterface, GuestNic, GuestSpec, GuestState
from ovirt_provision.simulator.markup import Element, find_text
from ovirt_provision.simulator.world import World

STATUS_NAMES: Mapping[str, str] = {
    "up": "Up",
    "down": "Down",
    "powering_up": "Powering Up",
    "powering_down": "Powering Down",
    "wait_for_launch": "Wait for Launch",
    "reboot_in_progress": "Reboot in Progress",
    "paused": "Paused",
    "not_responding": "Not Responding",
    "image_locked": "Image Locked",
    "suspended": "Suspended",
    "saving_state": "Saving State",
    "restoring_state": "Restoring State",
    "migrating": "Migrating",
}
"""How a status is written in faults."""

_TROUBLES = ("start-fails", "vm-crashes", "vm-pauses", "vm-not-responding")
_AGENT_FAULTS = (
    "agent-silent",
    "address-late",
    "address-none",
    "address-flaps",
    "address-docker0",
    "address-link-local",
    "many-interfaces",
)
# What guests with containers, bridges and tunnels report besides; none has the MAC of a NIC.
_OTHER_INTERFACES = (
    GuestInterface("lo", "00:00:00:00:00:00", ["127.0.0.1", "::1"]),
    GuestInterface("docker0", "02:42:ac:11:00:01", ["172.17.0.1"]),
    GuestInterface("br-0f1e2d3c4b5a", "02:42:0f:1e:2d:3c", ["172.18.0.1", "fe80::42:fff:fe1e:2d3c"]),
    GuestInterface("veth1a2b3c4", "de:ad:be:ef:00:01", ["fe80::dcad:beff:feef:1"]),
    GuestInterface("virbr0", "52:54:00:12:34:56", ["192.168.122.1"]),
    GuestInterface("tun0", "", ["10.8.0.2", "fd42::2"]),
)


class _Booted:
    """Waits until a guest has booted, or died."""

    error = None

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    @property
    def done(self) -> bool:
        return self._guest.state is not GuestState.BOOTING


class _Ended:
    """Waits until a guest is off."""

    error = None

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    @property
    def done(self) -> bool:
        return self._guest.state is GuestState.DOWN


def _encrypts_consoles(vm: Vm) -> bool:
    config = vm.cluster.config
    return config is not None and find_text(config, "vnc_encryption") == "true"


def disc_of(vm: Vm, once: Element | None) -> str:
    """What lies in the CD drive at a start: that of a run once, else the VM's own."""
    file = once.find("cdroms/cdrom/file") if once is not None else None
    return (file.get("id") or "" if file is not None else "") or vm.disc


def _spec(
    world: World,
    vm: Vm,
    config_drive: Mapping[str, bytes],
    floppy: Mapping[str, bytes],
    disc: str = "",
    boot_devices: Sequence[str] = ("hd",),
) -> GuestSpec:
    boot_first = sorted(
        (a for a in vm.attachments if a.active), key=lambda attachment: not attachment.bootable
    )
    topology = {
        part: int(find_text(vm.config, f"cpu/topology/{part}") or 1)
        for part in ("cores", "sockets", "threads")
    }
    kind, label, files = machine_config.payload(vm.config)
    if kind == "floppy" and not floppy:
        floppy = files
    return GuestSpec(
        vm_id=vm.id,
        name=vm.name,
        memory=int(find_text(vm.config, "memory") or 0),
        cpus=topology["cores"] * topology["sockets"] * topology["threads"],
        nics=[GuestNic(nic.name, nic.mac) for nic in vm.nics if nic.mac is not None and nic.plugged],
        disks=[attachment.disk.id for attachment in boot_first],
        config_drive=config_drive,
        floppy=floppy,
        # The engine makes one CD-ROM of files at most. Source: `RunVmCommand`.
        payload=files if kind == "cdrom" and not config_drive else {},
        payload_label=label,
        disc=disc,
        boot_devices=tuple(boot_devices),
        certificates=world.certificates if _encrypts_consoles(vm) else None,
    )


def put_up(world: World, vm: Vm, host: Host) -> None:
    """Has a VM run as if it had been started long ago. Raises `OSError` when the guest cannot be started."""
    vm.run += 1
    vm.initialized = True
    vm.status = "up"
    vm.host = host
    vm.started = world.now
    world.run(vm, world.guests.start(_spec(world, vm, {}, {})))


def start(
    world: World,
    vm: Vm,
    host: Host,
    job: Job,
    *,
    run_once: bool,
    config_drive: Mapping[str, bytes],
    floppy: Mapping[str, bytes] = MappingProxyType({}),
    disc: str = "",
    boot_devices: Sequence[str] = ("hd",),
    broken: str = "",
) -> None:
    """Starts a VM that may be started; `job` goes on until the guest is up.

    `broken` is why it is known already that it will not be.
    """
    spec = _spec(world, vm, config_drive, floppy, disc, boot_devices)
    job.in_background = True
    job.starts_vm = True
    trouble, trouble_seconds = _first_fault(world, _TROUBLES)
    agent_fault, agent_seconds = _first_fault(world, _AGENT_FAULTS)
    vm.run += 1
    vm.run_once = run_once
    vm.current_disc = disc
    vm.initialized = True
    vm.stop_reason = None
    vm.status = "wait_for_launch"
    vm.host = host
    vm.started = world.now
    world.log(153, vm=vm, host=host, job=job)
    try:
        if trouble == "start-fails":
            raise OSError("the host was told to refuse")
        if broken:
            raise OSError(broken)
        guest = world.guests.start(spec)
    except OSError as error:
        _fail(world, vm, job, str(error))
        return
    world.run(vm, guest)
    run = vm.run

    def launched(_error: str | None) -> None:
        if vm.run == run and vm.status == "wait_for_launch":
            vm.status = "powering_up"

    def booted(_error: str | None) -> None:
        if vm.run != run or vm.status not in ("wait_for_launch", "powering_up"):
            world.end_job(job, ok=vm.run == run)
            return
        assert vm.guest is not None
        if trouble == "vm-crashes":
            vm.guest.power_off()
            _fail(world, vm, job, "Lost connection with qemu process")
        elif vm.guest.state is GuestState.DOWN:
            _fail(world, vm, job, "the guest ended while it booted")
        elif trouble == "vm-pauses":
            vm.status = "paused"
            world.log(139, vm=vm, host=vm.host, job=None, user=False)
            world.end_job(job)
        else:
            vm.status = "up"
            vm.reports_at = world.monotonic + world.timing.guest_agent
            vm.agent_fault = agent_fault
            vm.agent_fault_until = world.monotonic + (agent_seconds or math.inf)
            world.log(32, vm=vm, host=host, job=job)
            world.end_job(job)
            if trouble == "vm-not-responding":
                _stop_responding(world, vm, trouble_seconds)

    timing, refresh = world.timing, world.timing.vm_refresh
    world.after(timing.launch, launched, grid=refresh)
    world.after(timing.launch + timing.boot, booted, work=_Booted(guest), grid=refresh)


def _first_fault(world: World, names: Sequence[str]) -> tuple[str | None, float]:
    for name in names:
        seconds = world.injections.fires(name)
        if seconds is not None:
            return name, seconds
    return None, 0.0


def _stop_responding(world: World, vm: Vm, seconds: float) -> None:
    run = vm.run

    def respond(_error: str | None) -> None:
        if vm.run == run and vm.status == "not_responding":
            vm.status = "up"

    vm.status = "not_responding"
    world.log(126, vm=vm, host=vm.host, job=None, user=False)
    if seconds:
        world.after(seconds, respond)


def reported(world: World, vm: Vm) -> Sequence[GuestInterface]:
    """What the engine has heard from the guest about its interfaces by now."""
    if vm.guest is None or vm.status != "up" or world.monotonic < vm.reports_at:
        return ()
    interfaces = vm.guest.interfaces
    if vm.agent_fault is None or world.monotonic >= vm.agent_fault_until or not interfaces:
        return interfaces
    if vm.agent_fault == "many-interfaces":
        return [*_OTHER_INTERFACES, *interfaces]
    if vm.agent_fault == "address-none":
        return [GuestInterface(one.name, one.mac, []) for one in interfaces]
    if vm.agent_fault == "address-flaps":
        lease = 1 + int(world.monotonic) % 250
        return [GuestInterface(one.name, one.mac, [f"10.255.255.{lease}"]) for one in interfaces]
    if vm.agent_fault == "address-docker0":
        return [GuestInterface("docker0", "02:42:ac:11:00:01", ["172.17.0.1"]), *interfaces]
    if vm.agent_fault == "address-link-local":
        return [
            GuestInterface(one.name, one.mac, [f"169.254.{number + 1}.7", f"fe80::{number + 1}"])
            for number, one in enumerate(interfaces)
        ]
    return ()


def _fail(world: World, vm: Vm, job: Job, why: str) -> None:
    host = vm.host
    world.vm_down(vm)
    world.log(119, vm=vm, host=host, why=why, job=job, user=False)
    world.end_job(job, ok=False)


def stop(world: World, vm: Vm, job: Job, reason: str) -> None:
    """Pulls the plug. The status stays as it is until the host has noticed."""
    job.in_background = True
    vm.stopping = True
    if vm.guest is not None:
        vm.guest.power_off()
    seconds = world.timing.kill if vm.status == "wait_for_launch" else world.timing.stop
    _go_down(world, vm, job, reason, seconds, 33)


def shutdown(world: World, vm: Vm, job: Job, reason: str) -> None:
    """Presses the power button; a VM that waits for its launch is killed instead."""
    if vm.status == "wait_for_launch" or vm.guest is None:
        world.log(76, vm=vm, host=vm.host, job=job)
        stop(world, vm, job, reason)
        return
    job.in_background = True
    vm.status = "powering_down"
    vm.guest.shutdown()
    world.log(73, vm=vm, host=vm.host, job=job)
    _go_down(world, vm, job, reason, world.timing.shutdown, 61)


def suspend(world: World, vm: Vm, job: Job) -> None:
    """Saves a running VM, in as much time as a shutdown takes. The simulated guest itself goes on."""
    job.in_background = True
    vm.status = "saving_state"
    world.log(501, vm=vm, host=vm.host, job=job)
    run = vm.run

    def saved(_error: str | None) -> None:
        if vm.run == run and vm.status == "saving_state":
            vm.status = "suspended"
            world.log(503, vm=vm, host=vm.host, job=None, user=False)
        world.end_job(job)

    world.after(world.timing.shutdown, saved)


def resume(world: World, vm: Vm, host: Host, job: Job) -> None:
    """Goes on with a suspended VM, in as much time as a launch takes."""
    job.in_background = True
    vm.status = "restoring_state"
    vm.host = host
    world.log(153, vm=vm, host=host, job=job)
    run = vm.run

    def restored(_error: str | None) -> None:
        if vm.run == run and vm.status == "restoring_state":
            vm.status = "up"
            vm.reports_at = world.monotonic + world.timing.guest_agent
            world.log(32, vm=vm, host=host, job=job)
        world.end_job(job)

    world.after(world.timing.launch, restored)


def migrate(world: World, vm: Vm, target: Host, job: Job) -> None:
    """Moves a VM to another host, in as much time as a launch takes. The simulated guest itself goes on."""
    job.in_background = True
    source = vm.host.name if vm.host is not None else ""
    vm.status = "migrating"
    world.log(62, vm=vm, host=vm.host, job=job, source=source, target=target.name)
    run = vm.run

    def moved(_error: str | None) -> None:
        arrived = vm.run == run and vm.status == "migrating"
        if arrived:
            vm.status = "up"
            vm.host = target
            world.log(63, vm=vm, host=target, job=job, source=source, target=target.name)
        world.end_job(job, ok=arrived)

    world.after(world.timing.launch, moved)


def discard(world: World, vm: Vm, job: Job) -> None:
    """Drops what a suspended VM has saved: it is down at once."""
    if vm.guest is not None:
        vm.guest.power_off()
    world.vm_down(vm)
    world.log(111, vm=vm, job=job)


def cold_reboot(world: World, vm: Vm, job: Job) -> None:
    """Shuts the VM down and starts it again, so that what waits for its next run holds.

    Source: `RebootVmCommand` of the engine.
    """
    assert vm.guest is not None
    assert vm.host is not None
    run, host = vm.run, vm.host
    job.in_background = True
    vm.stopping = True
    vm.status = "reboot_in_progress"
    vm.guest.shutdown()
    world.log(157, vm=vm, host=host, job=job)

    def again(_error: str | None) -> None:
        if vm.run == run:
            world.vm_down(vm)
            start(world, vm, host, job, run_once=False, config_drive={}, disc=vm.disc)
        else:
            world.end_job(job)

    world.after(world.timing.shutdown, again, work=_Ended(vm.guest))


def _go_down(world: World, vm: Vm, job: Job, reason: str, seconds: float, code: int) -> None:
    run = vm.run
    vm.stop_reason = reason

    def down(_error: str | None) -> None:
        if vm.run == run:
            host = vm.host
            world.vm_down(vm)
            if code == 61:
                world.log(code, vm=vm, host=host, why=" ", job=None, user=False)
            else:
                world.log(code, vm=vm, host=host, job=job)
        world.end_job(job)

    ended = _Ended(vm.guest) if vm.guest is not None else None
    world.after(seconds, down, work=ended, grid=world.timing.vm_refresh)


def reboot(world: World, vm: Vm, job: Job, *, hard: bool) -> None:
    """Restarts the guest within its run; the simulated guest itself goes on undisturbed."""
    run = vm.run
    world.log(221 if hard else 157, vm=vm, host=vm.host, job=job)
    if hard:
        return
    vm.status = "reboot_in_progress"

    def up(_error: str | None) -> None:
        if vm.run == run and vm.status == "reboot_in_progress":
            vm.status = "up"

    world.after(world.timing.reboot, up, grid=world.timing.vm_refresh)
