"""What an engine has, and what our account may do with it: read as a whole, for an examination and for what
requests name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.session import Session

_GIB = 1 << 30
_MOST_IMAGES = 10_000
_BLOCK = (types.StorageType.ISCSI, types.StorageType.FCP)
# What a permission can be on; without any of these it is on the whole system.
_SCOPES = ("data_center", "cluster", "storage_domain", "host", "template", "vm", "vm_pool", "disk")


@dataclass(frozen=True)
class About:
    """`time` is the engine's clock in seconds since the epoch."""

    version: str
    time: float
    user_id: str


@dataclass(frozen=True)
class Host:
    """`status` as the engine names it: up, maintenance, non_responsive…"""

    id: str
    name: str
    status: str
    cluster_id: str


@dataclass(frozen=True)
class StorageDomain:
    """A storage domain as a place for disks; `type` is data, iso or export.

    `block` is whether its disks are volumes on block devices, and not files.
    """

    id: str
    name: str
    type: str
    status: str
    backup: bool
    block: bool

    @property
    def unfit(self) -> str:
        """Why a VM that runs can have no disks there, to follow its name; empty where it can."""
        if self.type != "data":
            return f"is one of type {self.type}, and disks take one of type data"
        return "is a backup domain, and no VM can run with a disk there" if self.backup else self.inactive

    @property
    def unfit_for_backups(self) -> str:
        """Why no template can be kept there that nothing is to run from; empty where it can."""
        if not self.backup:
            return "is not marked as backup; an admin can mark it (MarkBackupDomain)"
        return self.inactive

    @property
    def inactive(self) -> str:
        """That nothing can be done with it now; empty where it can."""
        return f"is {self.status}, not active" if self.status != "active" else ""


@dataclass(frozen=True)
class DataDomain(StorageDomain):
    """A storage domain of type data with its data center and its space, in bytes.

    `low_space_percent` is where the engine begins to warn, `critical_space` where it refuses new disks.
    """

    data_center: str
    data_center_id: str
    available: int
    used: int
    low_space_percent: int
    critical_space: int


@dataclass(frozen=True)
class InstanceType:
    """`memory` is in bytes."""

    id: str
    name: str
    memory: int


@dataclass(frozen=True)
class IsoImage:
    """What can lie in a CD-ROM drive: a disk or a file, by the id that the drive takes; `status` as of a
    disk."""

    id: str
    name: str
    status: str
    is_disk: bool


@dataclass(frozen=True)
class Grant:
    """What a role permits, and on what: `scope` is one of the kinds above, or system, and `object_id` which.

    The engine does not tell the object of those on vNIC profiles, networks and others: they seem to be on the
    system (recorded in 12). `permits` are the engine's names, such as create_vm.
    """

    role: str
    administrative: bool
    permits: frozenset[str]
    scope: str
    object_id: str = ""


class Inventory:
    """Reads of one engine that change nothing. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session, clock: Clock, recent: float) -> None:
        """`recent` is for how many seconds the storage domains of a data center are taken to be as they were
        read: the engine refuses what is asked of one that is not."""
        self._session = session
        self._clock = clock
        self._recent = recent
        self._domains_read: Batch[Sequence[StorageDomain]] = Batch(self._read_storage_domains)
        self._domains: dict[str, tuple[float, Sequence[StorageDomain]]] = {}

    async def about(self) -> About:
        """The engine's version and clock, and who we are to it."""
        api = await self._session.call("read the engine's version", lambda system: system.get())
        version = api.product_info.version
        user = api.authenticated_user
        return About(
            version=f"{version.major}.{version.minor}.{version.build}",
            time=api.time.timestamp() if api.time else 0.0,
            user_id=(user.id or "") if user else "",
        )

    async def grants(self, user_id: str) -> list[Grant]:
        """The permissions of a user and of the groups that it belongs to."""
        permissions = await self._session.call(
            "read the account's permissions",
            lambda system: system.users_service().user_service(user_id).permissions_service().list(),
        )
        roles = {}
        for role_id in {permission.role.id for permission in permissions if permission.role}:
            roles[role_id] = await self._role(role_id)
        return [
            _grant(permission, *roles[permission.role.id]) for permission in permissions if permission.role
        ]

    async def _role(self, role_id: str) -> tuple[str, bool, frozenset[str]]:
        def read(system: Any) -> tuple[str, bool, frozenset[str]]:
            service = system.roles_service().role_service(role_id)
            role = service.get()
            permits = frozenset(permit.name.lower() for permit in service.permits_service().list())
            return role.name, bool(role.administrative), permits

        return await self._session.call("read the account's roles", read)

    async def clusters(self) -> dict[str, str]:
        """Names of the clusters by id."""
        found = await self._list("clusters", lambda system: system.clusters_service().list())
        return {cluster.id: cluster.name for cluster in found}

    async def vnic_profiles(self) -> list[str]:
        """Names of the vNIC profiles."""
        found = await self._list("vNIC profiles", lambda system: system.vnic_profiles_service().list())
        return [profile.name for profile in found]

    async def newest_event(self) -> int:
        """Id of the newest event, 0 where there is none to be seen."""
        found = await self._list("events", lambda system: system.events_service().list(max=1))
        return max((int(event.id) for event in found), default=0)

    async def jobs(self) -> int:
        """How many jobs there are to be seen, at most one."""
        return len(await self._list("jobs", lambda system: system.jobs_service().list(max=1)))

    async def hosts(self) -> list[Host]:
        """The hosts that we may see."""
        found = await self._list("hosts", lambda system: system.hosts_service().list())
        return [
            Host(host.id, host.name, host.status.value if host.status else "unknown", host.cluster.id)
            for host in found
        ]

    async def data_domains(self) -> list[DataDomain]:
        """The data domains of every data center. Only there does the engine give their status."""

        def read(system: Any) -> list[DataDomain]:
            centers = system.data_centers_service()
            return [
                _data_domain(domain, center)
                for center in centers.list()
                for domain in centers.data_center_service(center.id).storage_domains_service().list()
                if domain.type == types.StorageDomainType.DATA
            ]

        return await self._list("storage domains", read)

    async def storage_domains_of(self, data_center_id: str) -> Sequence[StorageDomain]:
        """The storage domains of a data center, maybe from a moment ago."""
        read_at, domains = self._domains.get(data_center_id, (float("-inf"), ()))
        if self._clock.monotonic() - read_at < self._recent:
            return domains
        read_at = self._clock.monotonic()
        domains = await self._domains_read.get(data_center_id)
        self._domains[data_center_id] = (read_at, domains)
        return domains

    async def _read_storage_domains(self, ids: Sequence[str]) -> dict[str, Sequence[StorageDomain]]:
        """Those of some data centers, each read once for all who ask at the same time; there are few."""
        found: dict[str, Sequence[StorageDomain]] = {}
        for center_id in ids:
            domains = await self._list(
                "storage domains of the data center",
                lambda system, center_id=center_id: (  # type: ignore[misc]
                    system.data_centers_service()
                    .data_center_service(center_id)
                    .storage_domains_service()
                    .list()
                ),
            )
            found[center_id] = tuple(storage_domain(domain) for domain in domains)
        return found

    async def quotas(self, data_center_id: str) -> dict[str, str]:
        """Ids of the quotas of a data center by name."""
        return self._ids_by_name(
            await self._list(
                "quotas",
                lambda system: (
                    system.data_centers_service().data_center_service(data_center_id).quotas_service().list()
                ),
            )
        )

    async def tags(self) -> dict[str, str]:
        """Ids of the tags by name."""
        return self._ids_by_name(await self._list("tags", lambda system: system.tags_service().list()))

    async def affinity_groups(self, cluster_id: str) -> dict[str, str]:
        """Ids of the affinity groups of a cluster by name."""
        return self._ids_by_name(
            await self._list(
                "affinity groups",
                lambda system: (
                    system.clusters_service().cluster_service(cluster_id).affinity_groups_service().list()
                ),
            )
        )

    async def affinity_labels(self) -> dict[str, str]:
        """Ids of the affinity labels by name."""
        return self._ids_by_name(
            await self._list("affinity labels", lambda system: system.affinity_labels_service().list())
        )

    async def instance_types(self) -> list[InstanceType]:
        """The instance types."""
        found = await self._list("instance types", lambda system: system.instance_types_service().list())
        return [InstanceType(one.id, one.name, one.memory or 0) for one in found]

    async def operating_systems(self) -> dict[str, str]:
        """What each operating system says of a TPM: unsupported, supported or required; empty where the
        engine says nothing. By its name."""
        found = await self._list(
            "operating systems", lambda system: system.operating_systems_service().list()
        )
        return {one.name: one.tpm_support.value if one.tpm_support is not None else "" for one in found}

    async def iso_images(self, data_center_id: str) -> list[IsoImage]:
        """The ISO images of a data center: disks of its data domains, and files of its ISO domain."""
        domains = await self.storage_domains_of(data_center_id)
        data = {domain.id for domain in domains if domain.type == "data"}
        found = await self._list(
            "ISO images",
            lambda system: system.disks_service().list(search="disk_content_type=iso", max=_MOST_IMAGES),
        )
        images = [
            IsoImage(disk.id, disk.alias or disk.name or "", disk.status.value if disk.status else "ok", True)
            for disk in found
            # A broken search finds nothing or everything (behaviour.md 30).
            if disk.content_type == types.DiskContentType.ISO
            and any(domain.id in data for domain in disk.storage_domains or ())
        ]
        for domain in domains:
            if domain.type == "iso" and domain.status == "active":
                files = await self._list(
                    "files of the ISO domain",
                    lambda system, domain_id=domain.id: (  # type: ignore[misc]
                        system.storage_domains_service()
                        .storage_domain_service(domain_id)
                        .files_service()
                        .list()
                    ),
                )
                images += [
                    IsoImage(file.id, file.name or file.id, "ok", False)
                    for file in files
                    if file.type in (None, "iso", "ISO")
                ]
        return images

    async def vm_properties(self, version: str) -> dict[str, str]:
        """The custom properties that VMs of clusters of a compatibility version may have, with the patterns
        that their values match. Source: `PredefinedVMProperties` and `UserDefinedVMProperties` of the engine.
        """

        def read(system: Any) -> list[Any]:
            options = system.options_service()
            return [
                value.value or ""
                for name in ("PredefinedVMProperties", "UserDefinedVMProperties")
                for value in options.option_service(name).get(version=version).values or ()
            ]

        texts = await self._list("custom properties of VMs", read)
        pairs = (pair.partition("=") for text in texts for pair in text.split(";"))
        return {name.strip(): pattern for name, _, pattern in pairs if name.strip()}

    @staticmethod
    def _ids_by_name(found: Sequence[Any]) -> dict[str, str]:
        return {one.name: one.id for one in found}

    async def storage_domain_names(self) -> dict[str, str]:
        """Names of all storage domains by id."""
        found = await self._list("storage domains", lambda system: system.storage_domains_service().list())
        return {domain.id: domain.name for domain in found}

    async def data_center_of(self, cluster_id: str) -> str:
        """Id of the data center of a cluster."""
        cluster = await self._session.call(
            "read the cluster of the Machine",
            lambda system: system.clusters_service().cluster_service(cluster_id).get(),
        )
        return cluster.data_center.id if cluster.data_center else ""

    async def _list(self, what: str, read: Callable[[Any], Sequence[Any]]) -> list[Any]:
        return list(await self._session.call(f"read the {what}", read))


def storage_domain(domain: types.StorageDomain) -> StorageDomain:
    """What the engine tells of a storage domain."""
    return StorageDomain(
        id=domain.id,
        name=domain.name,
        type=domain.type.value if domain.type else "data",
        status=domain.status.value if domain.status else "unknown",
        backup=bool(domain.backup),
        block=domain.storage is not None and domain.storage.type in _BLOCK,
    )


def _data_domain(domain: types.StorageDomain, center: types.DataCenter) -> DataDomain:
    return DataDomain(
        **vars(storage_domain(domain)),
        data_center=center.name,
        data_center_id=center.id,
        available=domain.available or 0,
        used=domain.used or 0,
        low_space_percent=domain.warning_low_space_indicator or 0,
        critical_space=(domain.critical_space_action_blocker or 0) * _GIB,
    )


def _grant(permission: types.Permission, role: str, administrative: bool, permits: frozenset[str]) -> Grant:
    scope = next((scope for scope in _SCOPES if getattr(permission, scope) is not None), "system")
    target = getattr(permission, scope) if scope != "system" else None
    return Grant(role, administrative, permits, scope, target.id if target is not None else "")
