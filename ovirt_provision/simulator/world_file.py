"""The world in a YAML file: what there is in the engine when the simulator starts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ByteSize, ConfigDict, Field, StringConstraints

from ovirt_provision.simulator import power
from ovirt_provision.simulator.documents import DocumentError, did_you_mean, read_yaml
from ovirt_provision.simulator.entities import Named, Tag, Vm, mac_number, new_id
from ovirt_provision.simulator.injection import FaultRule
from ovirt_provision.simulator.markup import set_text
from ovirt_provision.simulator.roles import PERMITS, Role
from ovirt_provision.simulator.world import World

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=255)]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", to_lower=True)]

_Named = TypeVar("_Named", bound=Named)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _NamedEntry(_Entry):
    name: Name


class DataCenterEntry(_NamedEntry):
    """A data center."""

    description: str = ""


class MacPoolEntry(_NamedEntry):
    """A MAC pool from `first` to `last`, both inclusive."""

    first: Mac
    last: Mac


class ClusterEntry(_NamedEntry):
    """A cluster with the network `ovirtmgmt`; by default in the first data center, with the default pool."""

    data_center: str | None = None
    mac_pool: str | None = None
    description: str = ""


class HostEntry(_NamedEntry):
    """A host; by default in the first cluster. It can export to `/tmp`, `/var/tmp` and `folders`."""

    cluster: str | None = None
    address: str = "127.0.0.1"
    status: Literal["up", "maintenance", "non_responsive", "non_operational"] = "up"
    folders: list[Annotated[str, StringConstraints(pattern=r"^/.*[^/]$")]] = []


class StorageDomainEntry(_NamedEntry):
    """A data domain; by default in the first data center."""

    data_center: str | None = None
    available: ByteSize | None = None
    used: ByteSize | None = None
    backup: bool = False
    status: Literal["active", "maintenance", "inactive"] = "active"


class NetworkEntry(_NamedEntry):
    """A network with a vNIC profile of its name; by default in the first cluster."""

    clusters: list[str] | None = None
    vlan: Annotated[int, Field(ge=0, le=4094)] | None = None
    vnic_profiles: list[Name] = []


class TemplateEntry(_NamedEntry):
    """A template with one disk and a NIC `nic1`; a name that is there makes the next version of it."""

    cluster: str | None = None
    description: str = ""
    memory: ByteSize = ByteSize(1 << 30)
    cpus: Annotated[int, Field(ge=1, le=710)] = 1
    disk: ByteSize = ByteSize(4 << 30)
    network: str | None = None
    os: str = "other_linux"


class VmEntry(_NamedEntry):
    """A VM with one disk and a NIC `nic1`; by default in the first cluster. With `count` so many: `name-1`
    and so on.
    """

    count: Annotated[int, Field(ge=1, le=100_000)] | None = None
    id: UUID | None = None
    template: str = "Blank"
    cluster: str | None = None
    description: str = ""
    comment: str = ""
    memory: ByteSize = ByteSize(1 << 30)
    status: Literal["down", "up"] = "down"
    tags: list[str] = []


class DiskEntry(_NamedEntry):
    """A floating disk; by default on the first storage domain."""

    id: UUID | None = None
    size: ByteSize = ByteSize(4 << 30)
    storage_domain: str | None = None
    status: Literal["ok", "locked", "illegal"] = "ok"


class TagEntry(_NamedEntry):
    """A tag; by default below the root."""

    parent: str | None = None


class RoleEntry(_NamedEntry):
    """A role of one's own, with what it permits beside `login`."""

    permits: list[str] = []


class PermissionEntry(_Entry):
    """A role on one object, or without one on everything; of the versions of a template on the newest."""

    role: str
    data_center: str | None = None
    cluster: str | None = None
    storage_domain: str | None = None
    network: str | None = None
    vnic_profile: str | None = None
    template: str | None = None
    vm: str | None = None


class UserEntry(_NamedEntry):
    """Someone who logs in as `name@internal`, and may do what these roles permit."""

    password: Annotated[str, Field(min_length=1, repr=False)]
    permissions: list[PermissionEntry] = []


class WorldFile(_Entry):
    """What there is beside the world that every simulator starts with: a data center, cluster and MAC pool
    `Default`, a host `host1`, a storage domain `data`, networks `ovirtmgmt` and `lab`, templates `Blank` and
    `debian-12`. An entry with the name of something that is there changes it, but for templates, VMs and
    disks.
    """

    password: Annotated[str, Field(min_length=1)] | None = Field(None, repr=False)
    data_centers: list[DataCenterEntry] = []
    mac_pools: list[MacPoolEntry] = []
    clusters: list[ClusterEntry] = []
    hosts: list[HostEntry] = []
    storage_domains: list[StorageDomainEntry] = []
    networks: list[NetworkEntry] = []
    tags: list[TagEntry] = []
    templates: list[TemplateEntry] = []
    vms: list[VmEntry] = []
    disks: list[DiskEntry] = []
    roles: list[RoleEntry] = []
    users: list[UserEntry] = []
    faults: list[FaultRule] = []


def read(file: Path) -> WorldFile:
    """Raises `DocumentError` for a file that cannot be used."""
    return read_yaml(file, WorldFile)


def build(world: World, file: WorldFile, source: str) -> None:
    """Puts into a world what the file says; `source` is its name for errors.

    Raises `DocumentError` with all references to what there is not, and all names and ids that are taken.
    """
    builder = _Builder(world)
    for kind in (
        "data_centers",
        "mac_pools",
        "clusters",
        "hosts",
        "storage_domains",
        "networks",
        "tags",
        "templates",
        "vms",
        "disks",
        "roles",
        "users",
    ):
        for index, entry in enumerate(getattr(file, kind)):
            builder.place = f"{kind}[{index}]"
            getattr(builder, f"add_{kind}")(entry)
    if builder.problems:
        raise DocumentError(source, builder.problems)
    for rule in file.faults:
        world.injections.arm(rule)


class _Builder:
    def __init__(self, world: World) -> None:
        self._world = world
        self.place = ""
        self.problems: list[str] = []
        self._macs = self._free_macs()
        self._vm_names = {vm.name for vm in world.vms.values()}

    def _free_macs(self) -> Iterator[str]:
        return self._world.free_macs(next(pool for pool in self._world.mac_pools.values() if pool.default))

    def _refuse(self, field: str, problem: str) -> None:
        self.problems.append(f"{self.place}.{field}: {problem}")

    def _find(self, table: Mapping[str, _Named], name: str | None, field: str, kind: str) -> _Named:
        """What has that name; the first of its kind for None, and in place of one that there is not."""
        named = {one.name: one for one in table.values()}
        if name is None:
            return next(iter(table.values()))
        if name not in named:
            known = "; there are: " + ", ".join(named)
            self._refuse(field, f"there is no {kind} '{name}'{did_you_mean(name, named) or known}")
            return next(iter(table.values()))
        return named[name]

    @staticmethod
    def _named(table: Mapping[str, _Named], name: str) -> _Named | None:
        return next((one for one in table.values() if one.name == name), None)

    @staticmethod
    def _change(entity: object, entry: BaseModel, fields: Iterable[str]) -> None:
        for field in fields:
            if field in entry.model_fields_set:
                setattr(entity, field, getattr(entry, field))

    def add_data_centers(self, entry: DataCenterEntry) -> None:
        table = self._world.data_centers
        found = self._named(table, entry.name) or self._world.add_data_center(entry.name)
        self._change(found, entry, ["description"])

    def add_mac_pools(self, entry: MacPoolEntry) -> None:
        if mac_number(entry.first) > mac_number(entry.last):
            self._refuse("last", f"{entry.last} is before {entry.first}")
        found = self._named(self._world.mac_pools, entry.name)
        if found is None:
            self._world.add_mac_pool(entry.name, entry.first, entry.last, default=False)
        else:
            found.ranges = [(mac_number(entry.first), mac_number(entry.last))]
            self._macs = self._free_macs()

    def add_clusters(self, entry: ClusterEntry) -> None:
        world = self._world
        found = self._named(world.clusters, entry.name)
        if found is None:
            center = self._find(world.data_centers, entry.data_center, "data_center", "data center")
            found = world.add_cluster(center, entry.name)
            found.networks.extend(
                network for network in world.networks.values() if network.name == "ovirtmgmt"
            )
        if entry.mac_pool is not None:
            found.mac_pool = self._find(world.mac_pools, entry.mac_pool, "mac_pool", "MAC pool")
        self._change(found, entry, ["description"])

    def add_hosts(self, entry: HostEntry) -> None:
        world = self._world
        cluster = self._find(world.clusters, entry.cluster, "cluster", "cluster")
        found = self._named(world.hosts, entry.name) or world.add_host(cluster, entry.name)
        if entry.cluster is not None:
            found.cluster = cluster
        self._change(found, entry, ["address", "status"])
        found.folders |= set(entry.folders)

    def add_storage_domains(self, entry: StorageDomainEntry) -> None:
        world = self._world
        center = self._find(world.data_centers, entry.data_center, "data_center", "data center")
        found = self._named(world.domains, entry.name)
        if found is None:
            found = world.add_storage_domain(center, entry.name)
            found.master = False
        self._change(found, entry, ["available", "used", "backup", "status"])

    def add_networks(self, entry: NetworkEntry) -> None:
        world = self._world
        clusters = [
            self._find(world.clusters, name, f"clusters[{index}]", "cluster")
            for index, name in enumerate(entry.clusters or [None])
        ]
        found = self._named(world.networks, entry.name)
        if found is None:
            found = world.add_network(clusters[0], entry.name).network
        for cluster in clusters:
            if found not in cluster.networks:
                cluster.networks.append(found)
        if entry.vlan is not None:
            found.vlan = str(entry.vlan)
        for name in entry.vnic_profiles:
            world.add_vnic_profile(found, name)

    def add_tags(self, entry: TagEntry) -> None:
        parent = self._find(self._world.tags, entry.parent, "parent", "tag")
        found = self._named(self._world.tags, entry.name)
        if found is None:
            found = Tag(new_id(), entry.name, parent)
            self._world.tags[found.id] = found
        else:
            found.parent = parent

    def add_templates(self, entry: TemplateEntry) -> None:
        world = self._world
        template = world.add_template(
            entry.name,
            disk_size=entry.disk,
            memory=entry.memory,
            cpus=entry.cpus,
            profile=self._find(world.profiles, entry.network, "network", "vNIC profile"),
            cluster=self._find(world.clusters, entry.cluster, "cluster", "cluster"),
        )
        template.description = entry.description
        set_text(template.config, "os/type", entry.os)

    def add_vms(self, entry: VmEntry) -> None:
        world = self._world
        template = self._find(world.templates, entry.template, "template", "template")
        if template.attachments:
            template = world.templates_named(template.name)[0]
        cluster = self._find(world.clusters, entry.cluster, "cluster", "cluster")
        tags = [
            self._find(world.tags, name, f"tags[{index}]", "tag") for index, name in enumerate(entry.tags)
        ]
        if entry.count is not None and entry.id is not None:
            self._refuse("id", "is for one VM, not for a `count`")
        if entry.id is not None and str(entry.id) in world.vms:
            self._refuse("id", f"{entry.id} is that of VM '{world.vms[str(entry.id)].name}' already")
        names = [entry.name]
        if entry.count is not None:
            names = [f"{entry.name}-{number}" for number in range(1, entry.count + 1)]
        for name in names:
            if name in self._vm_names:
                self._refuse("name", f"there is a VM '{name}' already")
                return
            mac = next(self._macs, None)
            if mac is None:
                self._refuse("count", "the default MAC pool has not so many addresses")
                return
            self._vm_names.add(name)
            vm = world.add_vm(
                name,
                vm_id=str(entry.id) if entry.id is not None else None,
                template=template if template.attachments else None,
                comment=entry.comment,
                memory=entry.memory,
                mac=mac,
            )
            vm.description = entry.description
            vm.cluster = cluster
            vm.tags.extend(tags)
            if entry.status == "up":
                self._run(vm)

    def _run(self, vm: Vm) -> None:
        hosts = self._world.hosts.values()
        host = next((host for host in hosts if host.status == "up" and host.cluster is vm.cluster), None)
        if host is None:
            self._refuse("status", f"cluster '{vm.cluster.name}' has no host that is up")
        else:
            power.put_up(self._world, vm, host)

    def add_disks(self, entry: DiskEntry) -> None:
        world = self._world
        domain = self._find(world.domains, entry.storage_domain, "storage_domain", "storage domain")
        if entry.id is not None and str(entry.id) in world.disks:
            self._refuse("id", f"{entry.id} is that of disk '{world.disks[str(entry.id)].name}' already")
        disk = world.add_disk(
            entry.name, disk_id=str(entry.id) if entry.id is not None else None, size=entry.size
        )
        disk.domain = domain
        disk.status = entry.status

    def add_roles(self, entry: RoleEntry) -> None:
        for index, permit in enumerate(entry.permits):
            if permit not in PERMITS:
                self._refuse(
                    f"permits[{index}]", f"there is no permit '{permit}'{did_you_mean(permit, PERMITS)}"
                )
        if self._named(self._world.roles, entry.name) is not None:
            self._refuse("name", f"there is a role '{entry.name}' already")
        permits = tuple(dict.fromkeys([*entry.permits, "login"]))
        made = Role(new_id(), entry.name, "", False, permits, mutable=True)
        self._world.roles[made.id] = made

    def add_users(self, entry: UserEntry) -> None:
        world = self._world
        user = world.directory[entry.name]
        for index, one in enumerate(entry.permissions):
            place = f"permissions[{index}]"
            role = self._find(world.roles, one.role, f"{place}.role", "role")
            named = [field for field in _OBJECTS if getattr(one, field) is not None]
            if len(named) > 1:
                self._refuse(place, f"is on one object, not on {', '.join(named)}")
            target = None
            for field in named:
                kind, table = _OBJECTS[field]
                name, what = getattr(one, field), field.replace("_", " ")
                # Of the versions of a template the newest was made last.
                found = [each.id for each in table(world).values() if each.name == name]
                target = (kind, found[-1]) if found else None
                if not found:
                    near = did_you_mean(name, [each.name for each in table(world).values()])
                    self._refuse(f"{place}.{field}", f"there is no {what} '{name}'{near}")
            world.give(role.name, user, target)


_OBJECTS: Mapping[str, tuple[str, Callable[[World], Mapping[str, Named]]]] = {
    "data_center": ("datacenters", lambda world: world.data_centers),
    "cluster": ("clusters", lambda world: world.clusters),
    "storage_domain": ("storagedomains", lambda world: world.domains),
    "network": ("networks", lambda world: world.networks),
    "vnic_profile": ("vnicprofiles", lambda world: world.profiles),
    "template": ("templates", lambda world: world.templates),
    "vm": ("vms", lambda world: world.vms),
}
"""What a permission can be on: the collection of each, and where they are."""
