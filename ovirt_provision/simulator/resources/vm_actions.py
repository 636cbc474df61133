"""Actions on a VM: start, stop, shutdown, suspend, reboot, reset, clone."""

import copy
from collections.abc import Callable, Mapping

from ovirt_provision.simulator import config_drive, faults, machine_config, power, storage
from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, actions, links, perform
from ovirt_provision.simulator.entities import ZERO_ID, Host, Job, Vm
from ovirt_provision.simulator.faults import Fault
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.disks import check_legal, check_unlocked, copy_disks
from ovirt_provision.simulator.resources.snapshots import new_snapshot
from ovirt_provision.simulator.resources.vms import (
    ACTIONS,
    LINKS,
    check_idle,
    check_not_busy,
    give_nics,
    new_vm,
)
from ovirt_provision.simulator.world import World

routes = Routes()


def _act(request: Request, vm: str, method: str, run: Callable[[Vm, Element], Job]) -> Reply:
    """An action on a VM, which comes back with the job and the VM."""

    def act(body: Element) -> list[Element]:
        found = request.world.vms.get(vm)
        if found is None:
            raise Fault(
                500,
                "java.lang.NullPointerException: Cannot invoke "
                '"org.ovirt.engine.core.common.businessentities.VM.getStatus()" because the return value of '
                '"org.ovirt.engine.core.bll.RunVmCommand.getVm()" is null',
            )
        job = run(found, body)
        path = f"/vms/{found.id}"
        shown = node("vm", None, actions(path, ACTIONS), *links(path, LINKS), href=BASE + path, id=found.id)
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id), shown]

    return perform(request, method, act)


@routes.add("POST", "/vms/{vm}/start")
def start_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "start", lambda found, body: start(request, found, body))


def start(request: Request, vm: Vm, body: Element) -> Job:
    """Starts a VM as the action says; raises `Fault`."""
    world = request.world
    _resolve_hosts(world, body)
    tags = ("use_cloud_init", "use_sysprep", "use_ignition")
    if sum(find_bool(body, tag, False) for tag in tags) > 1:
        raise Fault(
            409, None, "Cannot use multiple initialization tags simultaneously when running VM.", bare=True
        )
    once = body.find("vm")
    run_once = (once is not None and len(once) > 0) or find_bool(body, "pause", False)
    description = f"Launching VM {vm.name}{' in run-once mode' if run_once else ''}"
    with world.command(description, request.correlation_id) as job:
        try:
            request.hold("vm", vm.id, "run VM")
            _check_start(world, vm, once)
            host = _choose_host(world, vm, once)
        except Fault as fault:
            world.log(54, vm=vm, job=job, fault=fault.detail or "")
            raise
        world.execute_job(job)
        if vm.status == "suspended":
            power.resume(world, vm, host, job)
            return job
        drive: Mapping[str, bytes] = {}
        floppy: Mapping[str, bytes] = {}
        broken = ""
        try:
            drive, floppy = _first_boot(vm, body, once)
        except ValueError as error:
            broken = str(error)

        def launch(_error: str | None = None) -> None:
            power.start(
                world,
                vm,
                host,
                job,
                run_once=run_once,
                config_drive=drive,
                floppy=floppy,
                disc=power.disc_of(vm, once),
                boot_devices=boot_devices(vm, once),
                broken=broken,
            )

        stateless = find_bool(vm.config, "stateless", False)
        if find_bool(once, "stateless", stateless) if once is not None else stateless:
            _snapshot_first(request, vm, job, launch)
        else:
            launch()
    return job


def _snapshot_first(request: Request, vm: Vm, job: Job, start: Callable[[], None]) -> None:
    """A stateless VM is started from a snapshot; while that is made, the VM is `down` and locked."""
    world = request.world
    job.in_background = True
    request.keep("vm", vm.id)

    def made(_error: str | None) -> None:
        world.locks.discard(("vm", vm.id))
        vm.stateless_run = True
        start()

    # Two tasks of the host, one after the other: as long as recorded.
    world.after(2 * world.timing.create_disk + world.timing.storage_end, made)


def _check_start(world: World, vm: Vm, once: Element | None) -> None:
    action = "run VM"
    check_not_busy(vm, action)
    if vm.status == "image_locked":
        raise faults.engine_fault("vm locked", action=action)
    if vm.status not in ("down", "suspended"):
        raise faults.engine_fault("vm status", action=action, status=power.STATUS_NAMES[vm.status])
    check_unlocked(vm, action)
    check_legal(vm, action)
    if "spice" in machine_config.consoles(vm.config):
        raise faults.engine_fault("display unsupported", action=action)
    devices = boot_devices(vm, once)
    _check_disc(world, vm, power.disc_of(vm, once))
    bootable = any(attachment.active for attachment in vm.attachments)
    if not bootable and not {"cdrom", "network"} & set(devices):
        raise faults.engine_fault("no boot disk")
    if any(attachment.disk.domain.backup for attachment in vm.attachments):
        raise faults.engine_fault("backup domain", action=action)
    for host in world.hosts.values():
        lacking = sorted(
            {
                nic.profile.network.name
                for nic in vm.nics
                if nic.profile is not None and nic.plugged and nic.profile.network.id in host.missing
            }
        )
        if lacking and host.cluster is vm.cluster:
            why = f"network(s) {', '.join(lacking)} are missing."
            reason = {"host": host.name, "filter": "Network", "why": why}
            raise faults.engine_fault(("no host", {"action": action}), ("host filtered", reason))
    properties = {
        find_text(one, "name"): find_text(one, "value")
        for one in vm.config.iterfind("custom_properties/custom_property")
    }
    for host in world.hosts.values():
        if properties.get("sap_agent") == "true":
            why = "the host does not contain required VDS hook 50_vhostmd."
            filtered = {"host": host.name, "filter": "Host-hooks", "why": why}
            raise faults.engine_fault(("no host", {"action": action}), ("host filtered", filtered))


def boot_devices(vm: Vm, once: Element | None) -> list[str]:
    """From where a start boots: the order of a run once, else the VM's own."""
    for config in (once, vm.config):
        if config is not None:
            found = [device.text or "" for device in config.iterfind("os/boot/devices/device")]
            if found:
                return found
    return []


def _check_disc(world: World, vm: Vm, disc: str) -> None:
    """Source: `validateIsoPath` of `RunVmValidator`."""
    if not disc:
        return
    center = vm.cluster.data_center
    files = [
        name
        for domain in world.domains.values()
        if domain.data_center is center and domain.type == "iso"
        for name in domain.files
    ]
    disk = world.disks.get(disc.lower())
    if disk is None or disk.content_type != "iso":
        if disc in files:
            return
        raise faults.engine_fault("iso path")
    if disk.status != "ok":
        raise faults.engine_fault("iso status", status=disk.status.upper())


def _resolve_hosts(world: World, body: Element) -> None:
    """Gives hosts that are named their ids, which the reply then shows."""
    for wanted in body.iterfind("vm/placement_policy/hosts/host"):
        name = find_text(wanted, "name")
        host = next((host for host in world.hosts.values() if host.name == name), None)
        if host is not None and not wanted.get("id"):
            wanted.set("id", host.id)


def _choose_host(world: World, vm: Vm, once: Element | None) -> Host:
    wanted = once.find("placement_policy/hosts/host") if once is not None else None
    up = [host for host in world.hosts.values() if host.cluster is vm.cluster and host.status == "up"]
    if wanted is not None:
        given, name = wanted.get("id"), find_text(wanted, "name")
        up = [host for host in up if host.id == given or host.name == name]
    kept_off = {host.id: why for host in up if (why := _affinity_against(world, vm, host))}
    suitable = [host for host in up if host.id not in kept_off]
    if not suitable:
        filtered = [
            ("host filtered", {"host": host.name, "filter": "VmAffinityGroups", "why": kept_off[host.id]})
            for host in up
        ]
        raise faults.engine_fault(("no host", {"action": "run VM"}), *filtered)
    return suitable[0]


def _affinity_against(world: World, vm: Vm, host: Host) -> str:
    """Why affinity groups that enforce their rule for VMs keep the VM off a host; empty if they do not.

    The engine names no rules there. Source: `VmAffinityFilterPolicyUnit`.
    """
    for group in world.affinity_groups.values():
        rule = group.config.find("vms_rule")
        if rule is None or vm.id not in group.members["vms"]:
            continue
        if not (find_bool(rule, "enabled", False) and find_bool(rule, "enforcing", False)):
            continue
        others = [world.vms[one] for one in group.members["vms"] if one != vm.id and one in world.vms]
        hosts = [one.host for one in others if one.running]
        if find_bool(rule, "positive", False):
            if hosts and host not in hosts:
                return "it did not match positive affinity rules ."
        elif host in hosts:
            return "it matched negative affinity rules ."
    return ""


# What the engine has for an operating system, by how its name begins, and cloud-init for all others.
_KINDS = {"windows": "use_sysprep", "rhcos": "use_ignition"}


def _first_boot(
    vm: Vm, body: Element, once: Element | None
) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
    """The config drive and the floppy of a start with a configuration: asked for by the request, or the first
    start of a VM with a stored initialization.

    Where the VM's operating system has another kind than is asked for, there is neither. Source:
    `BackendVmResource` and `RunVmCommand`. Raises ValueError for what no drive can be made of.
    """
    given = once.find("initialization") if once is not None else None
    stored = vm.config.find("initialization")
    os_type = find_text(vm.config, "os/type") or ""
    takes = next((kind for begin, kind in _KINDS.items() if os_type.startswith(begin)), "use_cloud_init")
    asked = [
        kind for kind in ("use_cloud_init", "use_sysprep", "use_ignition") if find_bool(body, kind, False)
    ]
    unasked = not asked and not find_bool(body, "use_initialization", False)
    if unasked and (given is not None or stored is None or vm.initialized):
        return {}, {}
    if (asked or [takes])[0] != takes:
        return {}, {}
    element = given if given is not None else stored
    wanted = config_drive.read_initialization(element) if element is not None else None
    if takes == "use_sysprep":
        return {}, config_drive.answer_file(wanted, vm.name)
    if takes == "use_ignition":
        return config_drive.ignition_drive(wanted), {}
    return config_drive.config_drive(wanted), {}


@routes.add("POST", "/vms/{vm}/stop")
def stop_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "stop", lambda found, body: _end(request, found, body, hard=True))


@routes.add("POST", "/vms/{vm}/shutdown")
def shutdown_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "shutdown", lambda found, body: _end(request, found, body, hard=False))


def _end(request: Request, vm: Vm, body: Element, *, hard: bool) -> Job:
    world = request.world
    action = "stop VM" if hard else "shutdown VM"
    title = "Stopping VM" if hard else "Shutting down VM"
    with world.command(f"{title} {vm.name}", request.correlation_id) as job:
        request.hold("vm", vm.id, action)
        if vm.status == "down":
            name = "Stop VM" if hard else "Shutdown VM"
            world.log(254, vm=vm, job=job, status="Down", action=name)
            return job
        if vm.status == "image_locked":
            raise faults.engine_fault("vm not running", action=action)
        world.execute_job(job)
        if vm.status == "suspended":
            power.discard(world, vm, job)
            return job
        reason = find_text(body, "reason") or ""
        if vm.stopping:
            return job
        if hard:
            power.stop(world, vm, job, reason)
        else:
            power.shutdown(world, vm, job, reason)
    return job


@routes.add("POST", "/vms/{vm}/reboot")
def reboot_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "reboot", lambda found, _body: _reboot(request, found, hard=False))


@routes.add("POST", "/vms/{vm}/reset")
def reset_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "reset", lambda found, _body: _reboot(request, found, hard=True))


def _reboot(request: Request, vm: Vm, *, hard: bool) -> Job:
    world = request.world
    action = "reset VM" if hard else "reboot VM"
    allowed = ("up", "powering_up", "reboot_in_progress") if hard else ("up", "powering_up")
    title = "Resetting VM" if hard else "Rebooting VM"
    with world.command(f"{title} {vm.name}", request.correlation_id) as job:
        request.hold("vm", vm.id, action)
        if vm.status not in allowed:
            raise faults.engine_fault("vm status", action=action, status=power.STATUS_NAMES[vm.status])
        world.execute_job(job)
        if vm.next_run is not None and not hard:
            power.cold_reboot(world, vm, job)
        else:
            power.reboot(world, vm, job, hard=hard)
    return job


@routes.add("POST", "/vms/{vm}/suspend")
def suspend_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "suspend", lambda found, _body: _suspend(request, found))


def _suspend(request: Request, vm: Vm) -> Job:
    world = request.world
    action = "hibernate VM"
    with world.command(f"Performing Hibernate action on VM {vm.name}", request.correlation_id) as job:
        request.hold("vm", vm.id, action)
        if vm.status in ("wait_for_launch", "not_responding"):
            raise faults.engine_fault("vm status", action=action, status=power.STATUS_NAMES[vm.status])
        if vm.status != "up":
            raise faults.engine_fault("vm not up", action=action)
        if vm.stateless_run:
            raise faults.engine_fault("vm stateless")
        world.execute_job(job)
        power.suspend(world, vm, job)
    return job


@routes.add("POST", "/vms/{vm}/clone")
def clone_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "clone", lambda found, body: _clone(request, found, body))


def _clone(request: Request, vm: Vm, body: Element) -> Job:
    """Recorded: the clone of a VM that is down and has no disks is there at once, of another after the
    snapshot was made."""
    world = request.world
    wanted = body.find("vm")
    assert wanted is not None  # it is mandatory
    name = find_text(wanted, "name") or ""
    action = "add VM"
    with world.command(f"Creating VM {name} as a clone of VM {vm.name}", request.correlation_id) as job:
        if vm.cloning and vm.attachments:
            raise faults.engine_fault("disk in use", action=action, vm=vm.cloning[0])
        request.hold("vm name", name, action)
        machine_config.check_name(name, action)
        if world.vm_named(name) is not None:
            raise faults.engine_fault("name in use", action=action, type="VM")
        check_idle(vm, action)
        clone = new_vm(
            world,
            wanted,
            ZERO_ID,
            vm.cluster,
            machine_config.copy_config(vm),
            vm.template if not vm.attachments else world.templates[ZERO_ID],
            vm.original_template,
        )
        clone.description = clone.description or vm.description
        give_nics(world, clone, vm.nics, action)
        world.execute_job(job)
        world.log(34, vm=clone, job=job)
        snapshot = new_snapshot(request, vm, "Auto-generated for Clone VM")
        if not snapshot.attachments and not vm.running:
            world.vms[clone.id] = clone
            world.log(53, vm=clone, job=job)
            return job
        domain = body.find("storage_domain")
        overrides = {}
        if domain is not None:
            everywhere = node("disk", None, node("storage_domains", None, copy.deepcopy(domain)))
            overrides = {one.disk.id: everywhere for one in snapshot.attachments}
        copy_disks(world, clone, snapshot.attachments, overrides, suffix=f"_{clone.name}")
        request.keep("vm name", name)
        storage.clone_vm(world, vm, clone, snapshot, job)
    return job


@routes.add("POST", "/vms/{vm}/migrate")
def migrate_vm(request: Request, vm: str) -> Reply:
    return _act(request, vm, "migrate", lambda found, body: _migrate(request, found, body))


def _migrate(request: Request, vm: Vm, body: Element) -> Job:
    world = request.world
    action = "migrate VM"
    with world.command(f"Migrating VM {vm.name}", request.correlation_id) as job:
        request.hold("vm", vm.id, action)
        if vm.status != "up":
            raise faults.engine_fault("vm status", action=action, status=power.STATUS_NAMES[vm.status])
        wanted = body.find("host")
        hosts = [
            host
            for host in world.hosts.values()
            if host.cluster is vm.cluster and host.status == "up" and host is not vm.host
        ]
        if wanted is not None:
            given, name = wanted.get("id"), find_text(wanted, "name")
            hosts = [host for host in hosts if host.id == given or host.name == name]
        if not hosts:
            raise faults.engine_fault("no host", action=action)
        world.execute_job(job)
        power.migrate(world, vm, hosts[0], job)
    return job


@routes.add("POST", "/vms/{vm}/cancelmigration")
def cancel_migration(request: Request, vm: str) -> Reply:
    return _act(request, vm, "cancelmigration", lambda found, _body: _cancel_migration(request, found))


def _cancel_migration(request: Request, vm: Vm) -> Job:
    with request.world.command(f"Canceling migration of VM {vm.name}", request.correlation_id) as job:
        if vm.status != "migrating":
            raise faults.engine_fault("not migrating")
        vm.status = "up"
    return job


def _quiet(name: str) -> None:
    """An action on the files of a running guest, of which nothing is seen."""

    @routes.add("POST", f"/vms/{{vm}}/{name}")
    def act(request: Request, vm: str) -> Reply:
        def check(found: Vm, _body: Element) -> Job:
            action = f"{name.removesuffix('filesystems')} VM"
            with request.world.command(
                f"{name.capitalize()} of VM {found.name}", request.correlation_id
            ) as job:
                if found.status != "up":
                    raise faults.engine_fault("vm not up", action=action)
            return job

        return _act(request, vm, name, check)


_quiet("freezefilesystems")
_quiet("thawfilesystems")
