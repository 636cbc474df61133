"""The state of the simulated engine, and the passing of its time."""

import contextlib
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from ovirt_provision.clock import Clock
from ovirt_provision.simulator import defaults, roles
from ovirt_provision.simulator.audit import EVENTS
from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import (
    DEFAULT_FILTER,
    ZERO_ID,
    AffinityGroup,
    AffinityLabel,
    Attachment,
    Cluster,
    DataCenter,
    Disk,
    Event,
    Host,
    ImageTransfer,
    Job,
    MacPool,
    Network,
    Nic,
    Permission,
    Profile,
    Quota,
    Step,
    StorageDomain,
    Tag,
    Target,
    Template,
    User,
    Vm,
    VmPool,
    VnicProfile,
    mac_number,
    mac_text,
    new_id,
)
from ovirt_provision.simulator.faults import Fault, engine_fault
from ovirt_provision.simulator.guests import Guest, Guests, GuestState, Work
from ovirt_provision.simulator.images import Images
from ovirt_provision.simulator.injection import Injections
from ovirt_provision.simulator.markup import Element, node, set_text
from ovirt_provision.simulator.timing import Timing

log = logging.getLogger(__name__)

USER = "admin@internal-authz"
"""How the one user is written in events."""

_Entity = TypeVar("_Entity")


@dataclass(order=True)
class _Transition:
    due: float
    number: int
    apply: Callable[[str | None], None] = field(compare=False)
    work: Work | None = field(compare=False, default=None)
    grid: float = field(compare=False, default=0.0)


class AllWork:
    """Several pieces of work as one."""

    def __init__(self, parts: Sequence[Work]) -> None:
        self._parts = parts

    @property
    def done(self) -> bool:
        return all(part.done for part in self._parts)

    @property
    def error(self) -> str | None:
        return next((part.error for part in self._parts if part.error), None)


class DoneWork:
    """Work for which nobody has to wait."""

    done = True
    error: str | None = None


class FailedWork:
    """Work that has failed before it began."""

    def __init__(self, error: str) -> None:
        self.done = True
        self.error: str | None = error


class World:
    """Tables of entities by id, and the transitions that are under way.

    Nothing happens by itself: `settle` applies, in the order of their times, all transitions that are due.
    Whoever looks at the tables calls it first. All of it belongs to one thread.
    """

    def __init__(self, clock: Clock, timing: Timing, guests: Guests) -> None:
        self.clock = clock
        self.timing = timing
        self.guests = guests
        self.injections = Injections()
        self.instance_id = new_id()
        self.ca_certificate = ""
        self.certificates: Path | None = None  # the folder of ca.pem and server.pem
        self.base_disk_ids: set[str] = set()  # what the guests cannot remove
        self.admin = User(new_id(), "admin", "admin", email="admin@localhost")
        self.users: dict[str, User] = {self.admin.id: self.admin}
        self.directory: dict[str, User] = {}  # who could be added as a user, by principal
        self.permissions: dict[str, Permission] = roles.start_permissions(self.admin)
        self.data_centers: dict[str, DataCenter] = {}
        self.clusters: dict[str, Cluster] = {}
        self.networks: dict[str, Network] = {}
        self.profiles: dict[str, VnicProfile] = {}
        self.own_profiles: dict[str, Profile] = {}  # disk and CPU profiles that somebody added or changed
        self.network_filters = {
            DEFAULT_FILTER if name == "vdsm-no-mac-spoofing" else new_id(): name
            for name, _ in load("network_filters")
        }
        self.mac_pools: dict[str, MacPool] = {}
        self.domains: dict[str, StorageDomain] = {}
        self.hosts: dict[str, Host] = {}
        self.templates: dict[str, Template] = {}
        self.instance_types = _start_instance_types()
        self.vms: dict[str, Vm] = {}
        self.disks: dict[str, Disk] = {}
        self.tags: dict[str, Tag] = {}
        self.affinity_groups: dict[str, AffinityGroup] = {}
        self.affinity_labels: dict[str, AffinityLabel] = {}
        self.transfers: dict[str, ImageTransfer] = {}
        self.images = Images()
        self.quotas: dict[str, Quota] = {}
        self.pools: dict[str, VmPool] = {}
        self.roles = dict(roles.ROLES)
        everyone = node("group", None, node("name", "Everyone"), node("namespace", "*"), id=roles.EVERYONE)
        self.records: dict[str, dict[str, Element]] = {"/groups": {roles.EVERYONE: everyone}}
        """Of `resources/records.py`, by path and id."""
        self.jobs: dict[str, Job] = {}
        self.events: list[Event] = []
        self.locks: set[tuple[str, str]] = set()
        self._running: dict[str, tuple[Vm, Guest]] = {}
        self._event_ids = itertools.count(1)
        self._transitions: list[_Transition] = []
        self._numbers = itertools.count()
        self._instant = clock.monotonic()
        self._epoch = clock.time() - clock.monotonic()
        self.root_tag = Tag(ZERO_ID, "root", None, "root")
        self.tags[ZERO_ID] = self.root_tag

    @property
    def user_id(self) -> str:
        """The id of the one user who can log in."""
        return self.admin.id

    @property
    def role(self) -> str:
        """The name of that user's role on everything."""
        return self.roles[self._admin_permission.role].name

    @role.setter
    def role(self, name: str) -> None:
        self._admin_permission.role = next(role.id for role in self.roles.values() if role.name == name)

    @property
    def _admin_permission(self) -> Permission:
        return next(one for one in self.permissions.values() if one.user is self.admin and one.target is None)

    def is_administrator(self, user: User) -> bool:
        """Whether one of the user's roles is one of administrators."""
        every = self.permissions.values()
        return any(one.user is user and self.roles[one.role].administrative for one in every)

    def rules(self, user: User) -> bool:
        """Whether the user may do everything."""
        every = self.permissions.values()
        return any(
            one.user is user and one.target is None and self.roles[one.role].name == "SuperUser"
            for one in every
        )

    def add_user(self, principal: str) -> User:
        """Someone of the directory, who is a user from now on."""
        user = User(new_id(), principal, principal, email=f"{principal}@localhost")
        self.directory[principal] = user
        self.users[user.id] = user
        return user

    def give(self, role: str, user: User, target: Target | None = None) -> Permission:
        """Gives a user the role of that name on an object, or on everything."""
        found = next(one for one in self.roles.values() if one.name == role)
        made = Permission(new_id(), found.id, user, target)
        self.permissions[made.id] = made
        return made

    def forget_permissions(self, target: Target) -> None:
        """Drops the permissions on what is gone."""
        for one in [one for one in self.permissions.values() if one.target == target]:
            del self.permissions[one.id]

    def see_user(self, principal: str) -> None:
        """Someone of the directory who tries to log in becomes a user, with or without permissions."""
        if not any(user.principal == principal for user in self.users.values()):
            user = self.directory.get(principal) or User(new_id(), principal)
            self.users[user.id] = user

    # Time

    @property
    def monotonic(self) -> float:
        """The instant of what is being applied, in seconds of the clock's monotonic time."""
        return self._instant

    @property
    def now(self) -> datetime:
        """The same as a date."""
        return datetime.fromtimestamp(self._epoch + self._instant, UTC)

    def after(
        self,
        seconds: float,
        apply: Callable[[str | None], None],
        *,
        work: Work | None = None,
        grid: float = 0.0,
    ) -> None:
        """Has `apply(error)` called when the seconds have passed and `work`, if any, has ended.

        With `grid` the engine looks only every so many seconds.
        """
        self._push(self._instant + seconds, apply, work, grid)

    def _push(self, due: float, apply: Callable[[str | None], None], work: Work | None, grid: float) -> None:
        if grid:
            due = -(-due // grid) * grid
        heapq.heappush(self._transitions, _Transition(due, next(self._numbers), apply, work, grid))

    def settle(self) -> None:
        """Brings the world to the present."""
        now = self.clock.monotonic()
        waiting = []
        while self._transitions and self._transitions[0].due <= now:
            transition = heapq.heappop(self._transitions)
            if transition.work is not None and not transition.work.done:
                waiting.append(transition)
                continue
            self._instant = max(self._instant, transition.due)
            transition.apply(transition.work.error if transition.work is not None else None)
        self._instant = max(self._instant, now)
        for transition in waiting:
            # Not done now, so not done at any earlier look either: the next look is the first after now.
            due = now if not transition.grid else (now // transition.grid + 1) * transition.grid
            heapq.heappush(
                self._transitions,
                _Transition(due, next(self._numbers), transition.apply, transition.work, transition.grid),
            )
        for vm in [vm for vm, guest in self._running.values() if guest.state is GuestState.DOWN]:
            if not vm.stopping and vm.status != "powering_down":
                self.vm_down(vm)
                self.log(61, vm=vm, host=vm.host, why=" ", job=None, user=False)

    def run(self, vm: Vm, guest: Guest) -> None:
        """The VM's process runs from now on."""
        vm.guest = guest
        self._running[vm.id] = (vm, guest)

    def vm_down(self, vm: Vm) -> None:
        """The VM's process has ended."""
        self._running.pop(vm.id, None)
        vm.status = "down"
        vm.stopping = False
        vm.guest = None
        vm.run += 1
        vm.run_once = False
        vm.current_disc = ""
        vm.started = None
        vm.stopped = self.now
        if vm.next_run is not None:
            vm.config = vm.next_run
            vm.next_run = None
        if vm.stateless_run:
            vm.stateless_run = False
            self._drop_stateless_changes(vm)

    def _drop_stateless_changes(self, vm: Vm) -> None:
        """The engine goes back to the snapshot of the start; meanwhile the VM is locked."""
        lock = ("vm", vm.id)
        self.locks.add(lock)
        self.after(
            2 * self.timing.create_disk + self.timing.storage_end, lambda _error: self.locks.discard(lock)
        )

    # Events and jobs

    def log(
        self,
        code: int,
        *,
        job: Job | None,
        user: bool = True,
        correlation_id: str | None = None,
        vm: Vm | None = None,
        template: Template | None = None,
        disk: Disk | None = None,
        host: Host | None = None,
        domain: StorageDomain | None = None,
        **fields: str,
    ) -> Event:
        """Writes an event of the table in `audit.py`; what it is about is linked as the engine does."""
        severity, text = EVENTS[code]
        refs: dict[str, tuple[str | None, str]] = {}
        cluster = vm.cluster if vm is not None else template.cluster if template is not None else None
        data_center = (
            cluster.data_center if cluster is not None else domain.data_center if domain is not None else None
        )
        if template is None and vm is not None:
            template = vm.template
        for name, entity in (
            ("cluster", cluster),
            ("data_center", data_center),
            ("host", host),
            ("storage_domain", domain),
            ("template", template),
            ("vm", vm),
        ):
            if entity is not None:
                refs[name] = (entity.id, entity.name)
                fields.setdefault(name, entity.name)
        # A template whose making fails without a VM is written as its own source.
        fields.setdefault("vm", fields.get("template", ""))
        if disk is not None:
            fields.setdefault("disk", disk.name)
        if user:
            refs["user"] = (self.user_id, USER)
        correlation_id = correlation_id or (job.correlation_id if job is not None else None)
        return self.add_event(code, severity, text.format(user=USER, **fields), correlation_id, refs)

    def add_event(
        self,
        code: int,
        severity: str,
        description: str,
        correlation_id: str | None,
        refs: Mapping[str, tuple[str | None, str]],
    ) -> Event:
        time = self.now
        if self.events and time <= self.events[-1].time:
            time = self.events[-1].time + timedelta(microseconds=1)
        event = Event(next(self._event_ids), code, severity, description, time, correlation_id, dict(refs))
        late = self.injections.fires("late-event")
        if late is not None:
            event.visible_at = self._instant + late
        self.events.append(event)
        return event

    def recall_event(self, event: Event) -> None:
        """Takes in an event of earlier times; those that follow have higher ids."""
        self.events.append(event)
        self._event_ids = itertools.count(event.id + 1)

    def start_job(self, description: str, correlation_id: str) -> Job:
        job = Job(new_id(), description, correlation_id, self.now, self.now)
        job.hangs = self.injections.fires("job-hangs") is not None
        job.steps = [
            Step(new_id(), "Validating", "validating", 0, self.now),
        ]
        self.jobs[job.id] = job
        return job

    def execute_job(self, job: Job) -> None:
        """The job's validation has passed; raises a `Fault` when the host cannot be reached for the rest."""
        lost = self.injections.fires("host-lost")
        if lost is not None:
            self._lose_host(2 * lost)
            raise engine_fault("host lost", wait=lost)
        self._execute(job)

    def _lose_host(self, seconds: float) -> None:
        """A host is `connecting` for a while. Source: `VdsManager.handleNetworkException` of the engine."""
        host = next((host for host in self.hosts.values() if host.status == "up"), None)
        if host is not None:
            host.status = "connecting"
            self.log(9027, host=host, job=None, user=False)
            self.after(seconds, lambda _error: self.host_up(host, "connecting"))

    def host_up(self, host: Host, before: str) -> None:
        """The host has come up, if it still is in the status `before`."""
        if host.status == before:
            host.status = "up"
            self.log(13, host=host, job=None, user=False)

    def _execute(self, job: Job) -> None:
        self._end_step(job.steps[0], "finished")
        job.steps.append(Step(new_id(), "Executing", "executing", 1, self.now))
        job.updated = self.now

    def add_step(self, job: Job, description: str, *, on_host: bool = True) -> Step:
        """A step under the job's executing step, `on_host` as one of VDSM."""
        executing = job.steps[1]
        number = sum(1 for step in job.steps if step.parent is executing)
        step = Step(new_id(), description, "unknown", number, self.now, parent=executing, on_host=on_host)
        job.steps.append(step)
        job.updated = self.now
        return step

    def end_step(self, job: Job, step: Step, ok: bool = True, *, finalizes: bool = True) -> None:
        self._end_step(step, "finished" if ok else "failed")
        if not finalizes:
            return
        final = Step(new_id(), "Finalizing", "finalizing", 0, self.now, parent=step)
        self._end_step(final, "finished")
        job.steps.append(final)
        job.updated = self.now

    def _end_step(self, step: Step, status: str) -> None:
        step.status = status
        step.ended = self.now

    def end_job(self, job: Job, ok: bool = True) -> None:
        if job.hangs or job.status != "started":
            return
        job.status = "finished" if ok else "failed"
        job.ended = job.updated = self.now
        for step in job.steps:
            if step.ended is None:
                self._end_step(step, job.status)
        if ok and any(step.on_host for step in job.steps):
            final = Step(new_id(), "Finalizing", "finalizing", 2, self.now)
            self._end_step(final, "finished")
            job.steps.append(final)

    @contextlib.contextmanager
    def command(self, description: str, correlation_id: str) -> Iterator[Job]:
        """A command of the engine as a job: failed when a fault leaves the block, finished at its end, unless
        the block said that it goes on in the background."""
        job = self.start_job(description, correlation_id)
        try:
            yield job
        except Fault:
            self.end_job(job, ok=False)
            raise
        if len(job.steps) == 1:
            self._execute(job)
        if not job.in_background and job.status == "started":
            self.end_job(job)

    def until_callback(self, job: Job) -> float:
        """Seconds until the engine next looks at the command of a job, and can end it."""
        first, longest = self.timing.callback_first, self.timing.callback_longest
        if not first:
            return 0.0
        passed = (self.now - job.started).total_seconds()
        look, step = first, first
        # The clock of dates has microseconds: a look that is due now counts.
        while look < passed - 1e-5:
            step = min(2 * step, longest)
            look += step
        return max(0.0, look - passed)

    def forget_jobs(self) -> None:
        """Drops the jobs that the engine no longer shows."""
        finished = timedelta(seconds=self.timing.finished_job)
        failed = timedelta(seconds=self.timing.failed_job)
        for job in list(self.jobs.values()):
            kept = finished if job.status == "finished" else failed
            if job.ended is not None and job.ended + kept < self.now:
                del self.jobs[job.id]

    def restart(self, seconds: float) -> None:
        """The engine ends now and is back after `seconds`: what the host has done by then is noticed then.

        Source: `JobRepositoryImpl.finalizeJobs` of the engine.
        """
        self.settle()
        back = self._instant + seconds
        for transition in self._transitions:
            transition.due = max(transition.due, back)
        heapq.heapify(self._transitions)
        for job in list(self.jobs.values()):
            if job.status != "started" or any(step.on_host for step in job.steps):
                continue
            if job.starts_vm:
                del self.jobs[job.id]
                continue
            job.status = "unknown"
            job.ended = job.updated = self.now
            for step in job.steps:
                if step.ended is None:
                    self._end_step(step, "unknown")

    # Looking things up

    def name_of(self, key: str) -> str | None:
        """The name of what has this id, None if nothing has."""
        for table in (self.vms, self.disks, self.templates, self.hosts, self.domains, self.clusters):
            found = table.get(key)
            if found is not None:
                return str(found.name)
        return None

    def vm_named(self, name: str) -> Vm | None:
        return next((vm for vm in self.vms.values() if vm.name == name), None)

    def templates_named(self, name: str) -> list[Template]:
        """All versions, the newest first."""
        found = [template for template in self.templates.values() if template.name == name]
        return sorted(found, key=lambda template: -template.version_number)

    def holders(self, disk: Disk) -> list[Vm]:
        """The VMs to which the disk is attached."""
        return [vm for vm in self.vms.values() if any(a.disk is disk for a in vm.attachments)]

    def template_of(self, disk: Disk) -> Template | None:
        return next((t for t in self.templates.values() if any(a.disk is disk for a in t.attachments)), None)

    def macs(self) -> dict[str, Vm]:
        """The addresses in use."""
        return {nic.mac: vm for vm in self.vms.values() for nic in vm.nics if nic.mac is not None}

    def new_mac(self, pool: MacPool, action: str, taken: Iterable[str] = ()) -> str:
        """The lowest free address of the pool, other than those in `taken`."""
        mac = next(self.free_macs(pool, taken), None)
        if mac is None or self.injections.fires("mac-pool-empty") is not None:
            raise engine_fault("mac pool empty", action=action)
        return mac

    def free_macs(self, pool: MacPool, taken: Iterable[str] = ()) -> Iterator[str]:
        """The addresses of the pool that are free now, the lowest first, other than those in `taken`."""
        used = {mac_number(mac) for mac in (*self.macs(), *taken)}
        numbers = itertools.chain.from_iterable(range(first, last + 1) for first, last in pool.ranges)
        return (mac_text(number) for number in numbers if number not in used)

    # A world to start with, and what tests add to it

    def add_data_center(self, name: str = "Default", description: str = "") -> DataCenter:
        return self._add(self.data_centers, DataCenter(new_id(), name, description))

    def add_mac_pool(
        self,
        name: str = "Default",
        first: str = "56:6f:ab:cd:00:00",
        last: str = "56:6f:ab:cd:ff:ff",
        *,
        default: bool = True,
    ) -> MacPool:
        return self._add(
            self.mac_pools,
            MacPool(
                new_id(),
                name,
                [(mac_number(first), mac_number(last))],
                default,
                "Default MAC pool" if default else "",
            ),
        )

    def add_cluster(
        self, data_center: DataCenter, name: str = "Default", pool: MacPool | None = None
    ) -> Cluster:
        pool = pool or next(pool for pool in self.mac_pools.values() if pool.default)
        return self._add(self.clusters, Cluster(new_id(), name, data_center, pool))

    def add_host(self, cluster: Cluster, name: str = "host1") -> Host:
        return self._add(self.hosts, Host(new_id(), name, cluster))

    def add_storage_domain(self, data_center: DataCenter, name: str = "data") -> StorageDomain:
        return self._add(self.domains, StorageDomain(new_id(), name, data_center, new_id()))

    def add_network(self, cluster: Cluster, name: str) -> VnicProfile:
        """A network of the cluster with a vNIC profile of the same name, which is returned."""
        network = self._add(self.networks, Network(new_id(), name, cluster.data_center))
        cluster.networks.append(network)
        return self.add_vnic_profile(network, name)

    def add_vnic_profile(self, network: Network, name: str) -> VnicProfile:
        return self._add(self.profiles, VnicProfile(new_id(), name, network))

    def add_disk(self, name: str, *, disk_id: str | None = None, size: int = 4 << 30) -> Disk:
        """A floating disk, of `size` bytes, on the first storage domain."""
        domain = next(iter(self.domains.values()))
        return self._add(self.disks, Disk(disk_id or new_id(), name, size, domain))

    def add_blank_template(self) -> Template:
        """The template with the all-zero id that every engine has."""
        created = datetime(2008, 3, 31, 21, tzinfo=UTC)
        blank = Template(
            ZERO_ID,
            "Blank",
            None,
            defaults.blank_config(),
            created,
            ZERO_ID,
            version_number=0,
            version_name="",
        )
        blank.description = "Blank template"
        return self._add(self.templates, blank)

    def add_template(
        self,
        name: str,
        *,
        disk_id: str | None = None,
        disk_size: int = 4 << 30,
        memory: int = 1 << 30,
        cpus: int = 1,
        profile: VnicProfile | None = None,
        cluster: Cluster | None = None,
    ) -> Template:
        """A template with one bootable disk and a NIC `nic1`; sizes are bytes.

        The next version if the name exists.
        """
        cluster = cluster or next(iter(self.clusters.values()))
        profile = profile or next(iter(self.profiles.values()))
        config = defaults.vm_config(memory=memory, cpus=cpus)
        versions = self.templates_named(name)
        template_id = new_id()
        template = Template(
            template_id, name, cluster, config, self.now, versions[-1].id if versions else template_id
        )
        if versions:
            template.version_number = versions[0].version_number + 1
            template.version_name = ""
        disk = self.add_disk(f"{name}_Disk1", disk_id=disk_id, size=disk_size)
        template.attachments.append(Attachment(disk, bootable=True))
        template.nics.append(Nic(new_id(), "nic1", None, profile))
        return self._add(self.templates, template)

    def add_vm(
        self,
        name: str,
        *,
        vm_id: str | None = None,
        template: Template | None = None,
        comment: str = "",
        memory: int = 1 << 30,
        mac: str | None = None,
    ) -> Vm:
        """A VM that is down, with one bootable disk and a NIC `nic1`; without `mac` the pool gives one."""
        blank = self.templates[ZERO_ID]
        cluster = next(iter(self.clusters.values()))
        source = template or blank
        vm = Vm(
            vm_id or new_id(),
            name,
            cluster,
            defaults.vm_config(memory=memory, cpus=1),
            self.now,
            source,
            source,
        )
        vm.comment = comment
        vm.stopped = self.now
        disk = self.add_disk(f"{name}_Disk1")
        if template is not None and template.attachments:
            disk.source = template.attachments[0].disk.id
            disk.size = template.attachments[0].disk.size
        vm.attachments.append(Attachment(disk, bootable=True))
        profile = next(iter(self.profiles.values()))
        vm.nics.append(Nic(new_id(), "nic1", mac or self.new_mac(cluster.mac_pool, "add VM"), profile))
        return self._add(self.vms, vm)

    def _add(self, table: dict[str, _Entity], entity: _Entity) -> _Entity:
        table[entity.id] = entity  # type: ignore[attr-defined]
        return entity


def instance_type_config(memory: int, cpus: int) -> Element:
    """That of an instance type with so many bytes and sockets, beside which it says little."""
    config = defaults.vm_config(memory=memory, cpus=cpus)
    for place, text in (("display/type", "spice"), ("io/threads", "0")):
        set_text(config, place, text)
    for parent, tag in (("cpu", "architecture"), ("os", "type")):
        element = config.find(parent)
        if element is not None:
            element[:] = [child for child in element if child.tag != tag]
    return config


def _start_instance_types() -> dict[str, Template]:
    made = datetime(2014, 5, 4, 21, tzinfo=UTC)
    return {
        key: Template(
            key, name, None, instance_type_config(size << 20, sockets), made, key, description=description
        )
        for key, name, description, size, sockets in load("instance_types")
    }


@dataclass(frozen=True)
class BaseTemplate:
    """A template that is there from the start; `memory` and `disk_size` are in bytes."""

    name: str
    description: str
    disk_id: str
    disk_size: int = 4 << 30
    memory: int = 1 << 30
    cpus: int = 1


def debian_template() -> BaseTemplate:
    """The template that every simulator has."""
    return BaseTemplate("debian-12", "Debian 12 with cloud-init", new_id())


def start_world(clock: Clock, timing: Timing, guests: Guests, *, templates: Sequence[BaseTemplate]) -> World:
    """The world that a new simulator shows: one of everything, and `templates`."""
    world = World(clock, timing, guests)
    data_center = world.add_data_center("Default", description="The default Data Center")
    world.add_mac_pool()
    cluster = world.add_cluster(data_center)
    cluster.description = "The default server cluster"
    world.add_host(cluster)
    world.add_storage_domain(data_center, "data")
    profile = world.add_network(cluster, "ovirtmgmt")
    profile.network.usages = ["management", "display", "migration", "vm", "default_route"]
    world.add_network(cluster, "lab")
    world.add_blank_template()
    for base in templates:
        template = world.add_template(
            base.name,
            disk_id=base.disk_id,
            disk_size=base.disk_size,
            memory=base.memory,
            cpus=base.cpus,
            profile=profile,
        )
        template.description = base.description
        set_text(template.config, "os/type", "debian_9")
        world.base_disk_ids.add(base.disk_id)
    return world
