"""What the simulated engine knows about: plain records, changed by the resources and by transitions only."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ovirt_provision.simulator.guests import Guest
from ovirt_provision.simulator.markup import Element

DEFAULT_FILTER = "d2370ab4-fee3-11e9-a310-8c1645ce738e"
"""The network filter vdsm-no-mac-spoofing, which new vNIC profiles get."""

ZERO_ID = "00000000-0000-0000-0000-000000000000"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def new_id() -> str:
    """A random UUID; `uuid.uuid4` takes three times as long, and ten thousand VMs have fifty thousand ids."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


class Named(Protocol):
    """What can be referred to in events: something with an id and a name."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass
class User:
    """`principal` is the name in the directory, `entry_id` its id there."""

    id: str
    principal: str
    name: str = ""
    last_name: str = ""
    email: str = ""
    entry_id: str = field(default_factory=new_id)


Target = tuple[str, str]
"""An object by the name of its collection and its id."""


@dataclass
class Permission:
    """A role of a user, or of the group of everyone, on one object or, without a target, on everything.

    `role` is the role's id.
    """

    id: str
    role: str
    user: User | None = None
    target: Target | None = None


@dataclass
class DataCenter:
    """`quota_id` is that of its unlimited default quota; `minor` is that of its version, 4.x."""

    id: str
    name: str
    description: str = ""
    local: bool = False
    quota_mode: str = "disabled"
    minor: str = "8"
    quota_id: str = field(default_factory=new_id)


@dataclass
class MacPool:
    """Addresses as numbers. `ranges` holds their first and last ones, both inclusive."""

    id: str
    name: str
    ranges: list[tuple[int, int]]
    default: bool = False
    description: str = ""
    allow_duplicates: bool = False


@dataclass
class Cluster:
    id: str
    name: str
    data_center: DataCenter
    mac_pool: MacPool
    description: str = ""
    comment: str = ""
    networks: list["Network"] = field(default_factory=list)
    cpu_profile_id: str = field(default_factory=new_id)
    config: Element | None = None  # what differs from an ordinary cluster, as elements of the API
    optional: set[str] = field(default_factory=set)  # ids of networks that hosts need not have


@dataclass
class Network:
    id: str
    name: str
    data_center: DataCenter
    description: str = ""
    comment: str = ""
    vlan: str | None = None
    mtu: int = 0
    usages: list[str] = field(default_factory=lambda: ["vm"])


@dataclass
class VnicProfile:
    id: str
    name: str
    network: Network
    description: str = ""
    comment: str = ""
    pass_through: bool = False
    port_mirroring: bool = False
    filter_id: str | None = DEFAULT_FILTER
    migratable: bool = False


@dataclass
class StorageDomain:
    """`available` and `used` are bytes; `status` is the one in its data center."""

    id: str
    name: str
    data_center: DataCenter
    profile_id: str
    description: str = ""
    comment: str = ""
    available: int = 999_653_638_144
    used: int = 99_857_989_632
    backup: bool = False
    master: bool = True
    status: str = "active"
    storage_type: str = "nfs"
    type: str = "data"
    address: str = "127.0.0.1"
    path: str = ""
    exports: dict[str, "Vm | Template"] = field(default_factory=dict)  # copies with own volumes
    files: list[str] = field(default_factory=list)  # names, of an ISO domain

    @property
    def is_block(self) -> bool:
        return self.storage_type in ("iscsi", "fcp")


@dataclass
class Profile:
    """A disk profile of a storage domain, or a CPU profile of a cluster."""

    id: str
    name: str
    owner: StorageDomain | Cluster
    description: str | None = None
    qos_id: str = ""


@dataclass
class Host:
    id: str
    name: str
    cluster: Cluster
    address: str = "127.0.0.1"
    status: str = "up"
    comment: str = ""
    missing: set[str] = field(default_factory=set)  # ids of networks of the cluster that it does not have
    name_servers: dict[str, list[str]] = field(default_factory=dict)  # by network
    tags: list["Tag"] = field(default_factory=list)
    folders: set[str] = field(default_factory=lambda: {"/tmp", "/var/tmp"})  # noqa: S108 - of no real machine
    appliances: dict[str, "Vm | Template"] = field(default_factory=dict)  # OVA files, with own volumes


@dataclass
class Disk:
    """`size` and `actual_size` are bytes; `source` is the template's disk that a thin disk stands on.

    `made` is whether its first task has ended.
    """

    id: str
    name: str
    size: int
    domain: StorageDomain
    description: str = ""
    format: str = "cow"
    sparse: bool = True
    status: str = "ok"
    actual_size: int = 1_048_576
    image_id: str = field(default_factory=new_id)
    shareable: bool = False
    propagate_errors: bool = False
    wipe_after_delete: bool = False
    backup: str = "none"
    content_type: str = "data"
    source: str | None = None
    made: bool = True
    quota_id: str | None = None  # of the quota that pays for it; None is the default one
    copying: str | None = None  # the name of what is being made of it, by a move or a copy
    profile_id: str | None = None  # None is its domain's
    copies: list[StorageDomain] = field(default_factory=list)  # where else a template's disk is
    volume: str = ""  # by which the guests know its content: its own id, for a disk of a snapshot another

    def __post_init__(self) -> None:
        self.volume = self.volume or self.id

    @property
    def domains(self) -> list[StorageDomain]:
        return [self.domain, *self.copies]


@dataclass
class Attachment:
    disk: Disk
    interface: str = "virtio_scsi"
    bootable: bool = False
    active: bool = True
    read_only: bool = False
    pass_discard: bool = False
    uses_scsi_reservation: bool = False
    logical_name: str | None = None


@dataclass
class Nic:
    id: str
    name: str
    mac: str | None
    profile: VnicProfile | None
    interface: str = "virtio"
    linked: bool = True
    plugged: bool = True
    filter_parameters: list[Element] = field(default_factory=list)  # elements of the API, with ids


@dataclass
class Template:
    """`config` holds the elements of the API type `vm_base` that are stored as they were sent."""

    id: str
    name: str
    cluster: Cluster | None
    config: Element
    created: datetime
    base_id: str
    version_number: int = 1
    version_name: str = "base version"
    description: str = ""
    comment: str = ""
    status: str = "ok"
    attachments: list[Attachment] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    cloning: list[str] = field(default_factory=list)  # names of the VMs being made from it as full copies
    removing: bool = False  # then its disks are no longer shown
    tags: list["Tag"] = field(default_factory=list)
    disc: str = ""  # what the drives of its VMs begin with


@dataclass
class Snapshot:
    """A VM as it was. `config` is as in Template; `shown` is the VM as the API showed it at that moment.

    The disks of `attachments` are copies of the VM's: same ids, volumes of their own.
    """

    id: str
    description: str
    created: datetime
    config: Element
    shown: Element
    attachments: list[Attachment]
    nics: list[Nic]
    with_memory: bool = False
    status: str = "locked"
    type: str = "regular"  # or `preview`: the VM as it was before a preview


@dataclass
class VmPool:
    """VMs that are alike; `prestarted` is how many are to wait running, which none does here."""

    id: str
    name: str
    cluster: Cluster
    template: Template
    description: str = ""
    comment: str = ""
    prestarted: int = 0
    max_user_vms: int = 1
    type: str = "automatic"
    stateful: bool = False
    latest: bool = False  # whether its VMs are of the newest version of the template


@dataclass
class Vm:
    """`config` as in Template. `lock` is the key of the fault while something is made of the VM's disks.

    `run` counts the starts: a transition of an earlier run is void. `cloning` is as in Template.
    `stateless_run` is whether the end of this run drops what it changed. `disc` is the id of what lies in the
    CD drive from the next start on, `current_disc` of what a running VM sees there. `watchdogs` and
    `numa_nodes` are elements of the API, with ids.
    """

    id: str
    name: str
    cluster: Cluster
    config: Element
    created: datetime
    template: Template
    original_template: Template
    description: str = ""
    comment: str = ""
    status: str = "down"
    lock: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    creation: dict[str, str] = field(default_factory=dict)
    next_run: Element | None = None
    run: int = 0
    run_once: bool = False
    stateless_run: bool = False
    initialized: bool = False
    stopping: bool = False
    guest: Guest | None = None
    host: Host | None = None
    started: datetime | None = None
    stopped: datetime | None = None
    stop_reason: str | None = None
    reports_at: float = 0.0
    agent_fault: str | None = None
    agent_fault_until: float = 0.0
    tags: list["Tag"] = field(default_factory=list)
    active_snapshot_id: str = field(default_factory=new_id)
    snapshots: list[Snapshot] = field(default_factory=list)
    cloning: list[str] = field(default_factory=list)
    instance_type: str | None = None
    disc: str = ""
    current_disc: str = ""
    watchdogs: list[Element] = field(default_factory=list)
    numa_nodes: list[Element] = field(default_factory=list)
    pool: VmPool | None = None
    quota_id: str | None = None  # None is that of its data center

    @property
    def running(self) -> bool:
        return self.status not in ("down", "image_locked", "suspended")


@dataclass
class Tag:
    id: str
    name: str
    parent: "Tag | None"
    description: str | None = None


def _no_members(*names: str) -> Callable[[], dict[str, list[str]]]:
    return lambda: {name: [] for name in names}


@dataclass
class AffinityGroup:
    """`config` holds its rules and priority; `members` are ids by the name of their list."""

    id: str
    name: str
    cluster: Cluster
    config: Element
    description: str | None = None
    members: dict[str, list[str]] = field(
        default_factory=_no_members("vms", "hosts", "vm_labels", "host_labels")
    )


@dataclass
class AffinityLabel:
    """`implicit` is whether its members are an affinity group, too."""

    id: str
    name: str
    implicit: bool = False
    members: dict[str, list[str]] = field(default_factory=_no_members("vms", "hosts"))


@dataclass
class Quota:
    """`storage` holds limits in GiB, -1 for none, by storage domain or, under the quota's own id, for all."""

    id: str
    name: str
    data_center: DataCenter
    description: str = ""
    percent: dict[str, int] = field(default_factory=dict)
    storage: dict[str, int] = field(default_factory=dict)

    def disks(self, world: "HasDisks", domain: StorageDomain | None) -> list[Disk]:
        """The disks that it pays for, on `domain` if given."""
        return [
            disk
            for disk in world.disks.values()
            if disk.quota_id == self.id and (domain is None or disk.domain is domain)
        ]


class HasDisks(Protocol):
    """A world."""

    disks: dict[str, Disk]


@dataclass
class ImageTransfer:
    """`touched` is when the client was last heard of, in the world's monotonic seconds."""

    id: str
    disk: Disk
    direction: str
    format: str
    ticket: str
    host: Host | None
    correlation_id: str
    inactivity_timeout: int = 60
    timeout_policy: str = "legacy"
    shallow: bool = False
    phase: str = "initializing"
    transferred: int = 0
    touched: float = 0.0
    ended: datetime | None = None


@dataclass
class Step:
    id: str
    description: str
    type: str
    number: int
    started: datetime
    ended: datetime | None = None
    status: str = "started"
    parent: "Step | None" = None
    on_host: bool = False


@dataclass
class Job:
    """One that `hangs` never ends; one that starts a VM does not outlive the engine."""

    id: str
    description: str
    correlation_id: str
    started: datetime
    updated: datetime
    status: str = "started"
    ended: datetime | None = None
    external: bool = False
    auto_cleared: bool = True
    steps: list[Step] = field(default_factory=list)
    in_background: bool = False
    hangs: bool = False
    starts_vm: bool = False


@dataclass
class Event:
    """`visible_at` is in the world's monotonic seconds.

    `refs` maps the element name (`vm`, `template`...) to id and name; without an id the name alone is
    written.
    """

    id: int
    code: int
    severity: str
    description: str
    time: datetime
    correlation_id: str | None
    refs: dict[str, tuple[str | None, str]]
    origin: str = "oVirt"
    custom_id: int = -1
    flood_rate: int = 0
    deleted: bool = False
    visible_at: float = 0.0


MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_MAC_GROUPS = range(40, -8, -8)


def mac_text(number: int) -> str:
    return ":".join(f"{number >> shift & 0xFF:02x}" for shift in _MAC_GROUPS)


def mac_number(text: str) -> int:
    return int(text.replace(":", ""), 16)
