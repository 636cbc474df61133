"""The world in which a recording began, made of what the recording shows of it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from ovirt_provision.simulator import defaults, machine_config, markup
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Attachment,
    Cluster,
    DataCenter,
    Disk,
    Event,
    Host,
    Job,
    MacPool,
    Network,
    Nic,
    StorageDomain,
    Tag,
    Template,
    User,
    Vm,
    VnicProfile,
    is_uuid,
    mac_number,
    new_id,
)
from ovirt_provision.simulator.guests import GuestSpec
from ovirt_provision.simulator.markup import Element, find_bool, find_text
from ovirt_provision.simulator.world import World
from tests.conformance.findings import NAMED_ANEW, Findings, is_stub, read_time

_EVENT_NUMBERS = ("code", "custom_id", "flood_rate")


def build(world: World, findings: Findings) -> None:
    """Puts what was there into `world`, in place of what it starts with."""
    Builder(world, findings).build()


def recorded_ids(world: World, findings: Findings) -> set[str]:
    """The ids that the recording and `world` have in common from the start."""
    ours = {identity for table in vars(world).values() if isinstance(table, dict) for identity in table}
    ours |= {nic.id for holder in (*world.vms.values(), *world.templates.values()) for nic in holder.nics}
    return {ZERO_ID, *(one for table in findings.seen.values() for one in table if one in ours)}


class Builder:
    """Makes entities of elements. What a recording refers to without showing it gets a name and defaults."""

    def __init__(self, world: World, findings: Findings) -> None:
        self._world = world
        self._findings = findings

    def build(self) -> None:
        world = self._world
        for table in (
            world.data_centers,
            world.clusters,
            world.networks,
            world.profiles,
            world.mac_pools,
            world.domains,
            world.hosts,
            world.templates,
            world.vms,
            world.disks,
        ):
            table.clear()
        world.base_disk_ids.clear()
        self._all("datacenters", self._data_center, "Default")
        self._all("macpools", self._mac_pool, "Default")
        self._all("clusters", self._cluster, "Default")
        self._all("hosts", self._host, "" if self._findings.makes_hosts else "host1")
        # Where hosts are, is not always known; those of which it is, are tried first.
        world.hosts = dict(
            sorted(world.hosts.items(), key=lambda item: item[0] not in self._findings.clusters)
        )
        centers = self._elements("datacenters").values()
        empty = any(find_text(one, "status") == "uninitialized" for one in centers)
        self._all("storagedomains", self._domain, "" if empty else "data")
        self._all("networks", self._network, "ovirtmgmt")
        filters = self._elements("networkfilters")
        names = {key: find_text(one, "name") for key, one in filters.items() if not is_stub(one)}
        world.network_filters = {key: name for key, name in names.items() if name} or world.network_filters
        self._all("vnicprofiles", self._profile, "ovirtmgmt")
        world.add_blank_template()
        self._all("disks", self._disk)
        self._all("templates", self._template)
        self._all("vms", self._vm)
        self._all("tags", self._tag)
        self._users()
        self._history()

    # What to make of what was found

    def _elements(self, collection: str) -> dict[str, Element]:
        found = self._findings.seen.get(collection, {})
        return {
            identity: element
            for identity, element in found.items()
            if is_uuid(identity) and identity not in self._findings.made
        }

    def _all(self, collection: str, make: Callable[[str, str, Element], None], default: str = "") -> None:
        """Makes what was found; with a `default` name there is at least one."""
        elements = self._elements(collection)
        shown = {find_text(element, "name") for element in elements.values()}
        shown |= {self._findings.names.get(identity) for identity in elements}
        # Names that requests used and that no element shows belong to those of which only the id is known.
        new = self._findings.made_names if collection in NAMED_ANEW else set()
        named = self._findings.named.get(collection, ())
        spare = [name for name in named if name not in shown and name not in new]
        if default and default not in (*shown, *spare):
            spare.append(default)
        for identity, element in elements.items():
            name = find_text(element, "name") or find_text(element, "alias")
            name = name or self._findings.names.get(identity)
            if not name:
                name = (
                    "Blank" if identity == ZERO_ID else spare.pop(0) if spare else f"unnamed-{identity[:8]}"
                )
            try:
                make(identity, name, element)
            except (
                ValueError,
                TypeError,
            ):  # a number that is none: nobody promised that recordings are right
                make(identity, name, markup.node("stub"))
        if default:
            for name in spare:
                if name != default or not elements:
                    make(new_id(), name, markup.node("stub"))

    def _data_center(self, identity: str, name: str, element: Element) -> None:
        center = DataCenter(identity, name, find_text(element, "description") or "")
        self._world.data_centers[identity] = center

    def _mac_pool(self, identity: str, name: str, element: Element) -> None:
        first = find_text(element, "ranges/range/from") or "56:6f:ab:cd:00:00"
        last = find_text(element, "ranges/range/to") or "56:6f:ab:cd:ff:ff"
        default = find_bool(element, "default_pool", not self._world.mac_pools)
        ranges = [(mac_number(first), mac_number(last))]
        self._world.mac_pools[identity] = MacPool(
            identity, name, ranges, default, find_text(element, "description") or ""
        )

    def _cluster(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        center = world.data_centers.get(self._findings.centers.get(identity, ""))
        center = center or self._of(element, "data_center", world.data_centers)
        quota = self._findings.quotas.get(identity)
        center.quota_id = quota or center.quota_id
        pool = self._of(element, "mac_pool", world.mac_pools)
        cluster = Cluster(identity, name, center, pool)
        self._describe(cluster, element)
        profile = element.find("cpu_profile")
        if profile is not None and profile.get("id"):
            cluster.cpu_profile_id = str(profile.get("id"))
        world.clusters[identity] = cluster

    def _host(self, identity: str, name: str, element: Element) -> None:
        cluster = self._world.clusters.get(self._findings.clusters.get(identity, ""))
        cluster = cluster or self._of(element, "cluster", self._world.clusters)
        host = Host(identity, name, cluster)
        host.comment = find_text(element, "comment") or ""
        host.status = find_text(element, "status") or "up"
        self._world.hosts[identity] = host

    def _domain(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        center = self._of(element, "data_center", world.data_centers)
        center = world.data_centers.get(self._findings.centers.get(identity, "")) or center
        inner = element.find("data_centers/data_center")
        if inner is not None and inner.get("id") in world.data_centers:
            center = world.data_centers[str(inner.get("id"))]
        domain = StorageDomain(identity, name, center, new_id())
        self._describe(domain, element)
        for tag in ("available", "used"):
            text = find_text(element, tag)
            if text and text.isdigit():
                setattr(domain, tag, int(text))
        domain.backup = find_bool(element, "backup", False)
        kind = find_text(element, "storage/type")
        domain.storage_type = kind or ("fcp" if name in self._findings.block_domains else "nfs")
        domain.master = find_bool(element, "master", not world.domains)
        domain.status = find_text(element, "status") or "active"
        world.domains[identity] = domain

    def _network(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        network = Network(identity, name, self._of(element, "data_center", world.data_centers))
        self._describe(network, element)
        vlan = element.find("vlan")
        network.vlan = vlan.get("id") if vlan is not None else None
        network.mtu = int(find_text(element, "mtu") or 0)
        usages = [usage.text or "" for usage in element.iterfind("usages/usage")]
        if name == "ovirtmgmt":  # lists show less than there is
            network.usages = ["management", "display", "migration", "vm", "default_route"]
        elif usages:
            network.usages = usages
        world.networks[identity] = network
        for cluster in world.clusters.values():
            members = self._findings.inner.get((cluster.id, "networks"))
            in_center = cluster.data_center is network.data_center and "management" in network.usages
            if identity in (members or {}) or (members is None and in_center):
                cluster.networks.append(network)

    def _profile(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        profile = VnicProfile(identity, name, self._of(element, "network", world.networks))
        self._describe(profile, element)
        profile.pass_through = find_text(element, "pass_through/mode") == "enabled"
        profile.port_mirroring = find_bool(element, "port_mirroring", False)
        if not is_stub(element):
            profile.filter_id = markup.reference_of(element, "network_filter") or None
        world.profiles[identity] = profile

    def _disk(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        holder = element.find("storage_domains")
        domain = self._of(holder if holder is not None else element, "storage_domain", world.domains)
        size = int(find_text(element, "provisioned_size") or 1 << 30)
        disk = Disk(identity, find_text(element, "alias") or name, size, domain)
        disk.description = find_text(element, "description") or ""
        disk.format = find_text(element, "format") or disk.format
        disk.sparse = find_bool(element, "sparse", disk.sparse)
        disk.status = find_text(element, "status") or "ok"
        if identity in self._findings.touched:
            disk.status = "ok"  # what it is at its first showing, the recording's own requests made it
        disk.actual_size = int(find_text(element, "actual_size") or disk.actual_size)
        disk.image_id = find_text(element, "image_id") or disk.image_id
        disk.shareable = find_bool(element, "shareable", False)
        disk.propagate_errors = find_bool(element, "propagate_errors", False)
        disk.wipe_after_delete = find_bool(element, "wipe_after_delete", False)
        disk.backup = find_text(element, "backup") or disk.backup
        disk.content_type = find_text(element, "content_type") or disk.content_type
        world.disks[identity] = disk

    def _template(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        if identity == ZERO_ID:
            blank = world.templates[ZERO_ID]
            blank.name = name
            self._describe(blank, element)
            if element.find("memory") is not None:
                blank.config = self._config(element)
            return
        base = element.find("version/base_template")
        # What a VM that was made of it has, it has, too.
        offspring, has_disks = self._findings.offspring.get(identity, (element, False))
        template = Template(
            identity,
            name,
            self._of(element, "cluster", world.clusters),
            self._config(element if element.find("memory") is not None else offspring),
            self._created(element),
            str(base.get("id")) if base is not None else identity,
            int(find_text(element, "version/version_number") or 1),
            find_text(element, "version/version_name") or "",
        )
        self._describe(template, element)
        template.status = find_text(element, "status") or "ok"
        template.attachments = self._attachments(identity)
        if has_disks and not template.attachments:
            template.attachments.append(Attachment(world.add_disk(f"{name}_Disk1"), bootable=True))
        template.nics = self._nics(identity)
        world.templates[identity] = template

    def _vm(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        blank = world.templates[ZERO_ID]
        vm = Vm(
            identity,
            name,
            self._of(element, "cluster", world.clusters),
            self._config(element),
            self._created(element),
            self._of(element, "template", world.templates, blank),
            self._of(element, "original_template", world.templates, blank),
        )
        self._describe(vm, element)
        vm.status = find_text(element, "status") or "down"
        first = self._findings.first_actions.get(identity)
        if first is not None:
            vm.status = "down" if first == "start" else "up"
        vm.stop_reason = find_text(element, "stop_reason")
        vm.stopped = read_time(find_text(element, "stop_time"))
        vm.attachments = self._attachments(identity)
        if identity in self._findings.started and not vm.attachments:
            vm.attachments.append(Attachment(world.add_disk(f"{name}_Disk1"), bootable=True))
        vm.nics = self._nics(identity)
        vm.initialized = find_text(element, "start_time") is not None
        if vm.running:
            vm.host = next(iter(world.hosts.values()))
            vm.started = read_time(find_text(element, "start_time"))
            vm.run_once = find_bool(element, "run_once", False)
            memory = int(find_text(vm.config, "memory") or 1 << 30)
            world.run(vm, world.guests.start(GuestSpec(vm.id, name, memory, 1, [], [], {})))
        world.vms[identity] = vm

    def _users(self) -> None:
        world = self._world
        elements = self._elements("users").items()
        found = [self._user(*item) for item in elements if item[0] != ZERO_ID]
        for user in found:
            if user.id != self._findings.administrator:
                world.users[user.id] = user
        admin = next((user for user in found if user.principal == "admin"), None)
        if admin is None and self._findings.administrator:
            admin = User(self._findings.administrator, "admin")
        if admin is not None:
            del world.users[world.admin.id]
            world.admin.id = admin.id
            world.admin.entry_id = admin.entry_id
            world.users = {admin.id: world.admin, **world.users}
            world.users[admin.id] = world.admin
        for element in self._findings.added_users:
            user = self._user(new_id(), element)
            world.directory[user.principal] = user

    @staticmethod
    def _user(identity: str, element: Element) -> User:
        fields = ("principal", "name", "last_name", "email")
        user = User(identity, *(find_text(element, tag) or "" for tag in fields))
        entry = find_text(element, "domain_entry_id")
        if entry:
            user.entry_id = bytes.fromhex(entry).decode(errors="replace")
        return user

    def _history(self) -> None:
        """Events and jobs from before the recording began."""
        world, seen = self._world, self._findings.seen
        began = self._findings.began or datetime.max.replace(tzinfo=UTC)
        events = [self._event(element) for element in seen.get("events", {}).values()]
        for event in sorted((one for one in events if one is not None), key=lambda one: one.id):
            if event.time < began:
                world.recall_event(event)
        for identity, element in seen.get("jobs", {}).items():
            started = read_time(find_text(element, "start_time"))
            if started is not None and started < began:
                world.jobs[identity] = self._job(identity, element, started)

    @staticmethod
    def _event(element: Element) -> Event | None:
        """None for one without a time or with a number that is none."""
        time = read_time(find_text(element, "time"))
        numbers = [element.get("id") or "", *(find_text(element, tag) or "0" for tag in _EVENT_NUMBERS)]
        if time is None or not all(re.fullmatch(r"-?\d+", number) for number in numbers):
            return None
        refs = {
            child.tag: (child.get("id"), find_text(child, "name") or "")
            for child in element
            if child.get("id") or child.find("name") is not None
        }
        return Event(
            int(element.get("id") or 0),
            int(find_text(element, "code") or 0),
            find_text(element, "severity") or "normal",
            find_text(element, "description") or "",
            time,
            find_text(element, "correlation_id"),
            refs,
            find_text(element, "origin") or "oVirt",
            int(find_text(element, "custom_id") or -1),
            int(find_text(element, "flood_rate") or 0),
        )

    @staticmethod
    def _job(identity: str, element: Element, started: datetime) -> Job:
        return Job(
            identity,
            find_text(element, "description") or "",
            "",
            started,
            read_time(find_text(element, "last_updated")) or started,
            find_text(element, "status") or "finished",
            read_time(find_text(element, "end_time")),
            find_bool(element, "external", False),
            find_bool(element, "auto_cleared", True),
        )

    def _tag(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        if identity == ZERO_ID:
            return
        tag = Tag(identity, name, world.root_tag, find_text(element, "description") or "")
        world.tags[identity] = tag

    # What several need

    def _of(self, element: Element, tag: str, table: dict[str, object], default: object = None) -> object:
        """The entity that `element` refers to, or the first there is."""
        found = element.find(tag)
        identity = found.get("id") if found is not None else None
        if identity in table:
            return table[identity]
        return default if default is not None else next(iter(table.values()))

    @staticmethod
    def _describe(entity: object, element: Element) -> None:
        for tag in ("description", "comment"):
            text = find_text(element, tag)
            if text is not None and hasattr(entity, tag):
                setattr(entity, tag, text)

    @staticmethod
    def _config(element: Element) -> Element:
        if element.find("memory") is None:
            return defaults.vm_config(memory=1 << 30, cpus=1)
        config = markup.node(
            "config", None, *(child for child in element if child.tag in machine_config.STORED)
        )
        for initialization in config.findall("initialization"):
            ovf = initialization.find("configuration")
            if ovf is not None:
                initialization.remove(ovf)  # of the engine's own making
            if not len(initialization):
                config.remove(initialization)
        return config

    def _created(self, element: Element) -> datetime:
        return read_time(find_text(element, "creation_time")) or self._world.now

    def _attachments(self, holder: str) -> list[Attachment]:
        found = []
        for identity, element in self._findings.inner.get((holder, "diskattachments"), {}).items():
            disk = self._world.disks.get(identity)
            if disk is None:
                self._disk(identity, f"disk-{identity[:8]}", markup.node("stub"))
                disk = self._world.disks[identity]
            found.append(
                Attachment(
                    disk,
                    find_text(element, "interface") or "virtio_scsi",
                    find_bool(element, "bootable", False),
                    find_bool(element, "active", True),
                    find_bool(element, "read_only", False),
                    find_bool(element, "pass_discard", False),
                    find_bool(element, "uses_scsi_reservation", False),
                )
            )
        return found

    def _nics(self, holder: str) -> list[Nic]:
        found = []
        for identity, element in self._findings.inner.get((holder, "nics"), {}).items():
            profile = element.find("vnic_profile")
            default = next(iter(self._world.profiles.values())) if is_stub(element) else None
            found.append(
                Nic(
                    identity,
                    find_text(element, "name") or "nic1",
                    find_text(element, "mac/address"),
                    self._world.profiles.get(str(profile.get("id"))) if profile is not None else default,
                    find_text(element, "interface") or "virtio",
                    find_bool(element, "linked", True),
                    find_bool(element, "plugged", True),
                )
            )
        return found
