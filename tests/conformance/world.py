"""The world in which a recording began, read from the recording itself: what is read before it is made."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lxml import etree

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
from tests.conformance.recording import Exchange

_API = "/ovirt-engine/api"
_COLLECTIONS = {
    "cluster": "clusters",
    "data_center": "datacenters",
    "disk": "disks",
    "host": "hosts",
    "mac_pool": "macpools",
    "network": "networks",
    "storage_domain": "storagedomains",
    "tag": "tags",
    "template": "templates",
    "vm": "vms",
    "vnic_profile": "vnicprofiles",
}
_NAMED_ANEW = ("vms", "templates", "disks", "tags", "networks", "vnicprofiles", "macpools", "clusters")
_UNFIT_HOST = re.compile(r"The host (\S+) did not satisfy")
_POWER = ("start", "stop", "shutdown", "suspend", "reboot", "reset")
_SUPER_USER = "00000000-0000-0000-0000-000000000001"
_LINKS_ONLY = frozenset({"actions", "link"})


@dataclass
class Findings:
    """What a recording shows of what was there.

    `seen` maps collections to ids to the first full element, `inner` does so for what belongs to an entity
    (by the entity's id and the name of its collection). `named` are names that requests used with success,
    `names` those by which events call an id, `made_names` those that requests gave. `centers` are the data
    centers of clusters and `quotas` the quotas of VMs in them, by the ids of the clusters.
    `block_domains` are the names of storage domains that refuse what only those of files can have.
    `added_users` are whom a request added, `administrator` is the id of who asked. `touched` are ids that
    requests changed before they were shown, `first_actions` what was done to VMs before that, `started` the
    VMs that could be started. `offspring` are the first VM made of a template, and whether disks were made
    for it, by the id of the template. `began` is when the recording's time was 0.
    """

    seen: dict[str, dict[str, Element]] = field(default_factory=dict)
    inner: dict[tuple[str, str], dict[str, Element]] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    added_users: list[Element] = field(default_factory=list)
    made_names: set[str] = field(default_factory=set)
    block_domains: set[str] = field(default_factory=set)
    makes_hosts: bool = False
    centers: dict[str, str] = field(default_factory=dict)
    quotas: dict[str, str] = field(default_factory=dict)
    administrator: str = ""
    touched: set[str] = field(default_factory=set)
    first_actions: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    offspring: dict[str, tuple[Element, bool]] = field(default_factory=dict)
    began: datetime | None = None


def find(exchanges: Iterable[Exchange]) -> Findings:
    """Goes through a recording once."""
    exchanges = list(exchanges)
    findings = Findings(began=_began(exchanges))
    made_names = findings.made_names
    for exchange in exchanges:
        findings.named.setdefault("hosts", []).extend(
            name for name in _UNFIT_HOST.findall(exchange.body) if name not in findings.named["hosts"]
        )
        if exchange.status < 300 or exchange.status == 409:
            _note_path(findings, exchange)
        asked = _parse(exchange.request_body)
        if asked is not None and "(RAW Sparse backup-None) is incompatible with the storage" in exchange.body:
            findings.block_domains.add(str(asked.findtext("storage_domains/storage_domain/name")))
        if exchange.status >= 300:
            continue
        body = _parse(exchange.body)
        if asked is not None:
            _note_names(findings, asked)
            made_names.update(text for text in _made_names(asked) if text)
        if body is None:
            continue
        if exchange.method == "POST" and body.tag != "action":
            findings.makes_hosts |= body.tag == "host"
            if body.tag == "user":
                findings.added_users.append(body)  # whoever can be added is in the directory
            _note_made(findings, asked, body)
            source = markup.reference_of(body, "original_template")
            if body.tag == "vm" and source:
                has_disks = exchange.status == 202 or find_text(body, "status") == "image_locked"
                findings.offspring.setdefault(source, (body, has_disks))
        job = markup.reference_of(body, "job") if body.tag == "action" else None
        if job:
            findings.made.add(job)
        if exchange.method == "PUT" and asked is not None:
            body = markup.without(body, {child.tag for child in asked})  # what it was before, is not known
        _walk(findings, body, made_names, in_made=False)
        _note_relations(findings, body)
    return findings


def _began(exchanges: Iterable[Exchange]) -> datetime | None:
    """When the recording's time was 0, by the first time in a reply that says what now is."""
    jobs: dict[str, float] = {}
    for exchange in exchanges:
        body = _parse(exchange.body) if exchange.status < 300 else None
        if body is None:
            continue
        now = exchange.time + exchange.duration
        found = None
        if body.tag == "api":
            found = find_text(body, "time")
        elif exchange.method == "POST" and body.tag in ("vm", "template"):
            found = find_text(body, "creation_time")
        elif body.tag == "action":
            jobs.setdefault(markup.reference_of(body, "job") or "", now)
        for job in body.iter("job"):
            if found is None and job.get("id") in jobs:
                found, now = find_text(job, "start_time"), jobs[str(job.get("id"))]
        moment = _time(found)
        if moment is not None:
            return datetime.fromtimestamp(moment.timestamp() - now, UTC)
    return None


def _parse(body: str | None) -> Element | None:
    if not body or not body.lstrip().startswith("<"):
        return None
    try:
        return markup.parse(body.encode())
    except (ValueError, etree.LxmlError):
        return None


def _made_names(asked: Element) -> Iterable[str | None]:
    yield find_text(asked, "name")
    for inner in asked.iter("vm", "disk") if asked.tag in ("action", "disk_attachment", "vm") else ():
        if not inner.get("id"):
            yield find_text(inner, "name")


def _note_names(findings: Findings, asked: Element) -> None:
    for element in asked.iter():
        name = find_text(element, "name")
        known = element.get("id")
        # A disk in a request for a VM is one of the template; elsewhere it is one to attach.
        if element is asked or element.tag not in _COLLECTIONS:
            continue
        if known and (element.tag != "disk" or asked.tag == "disk_attachment"):
            _note_reference(findings, _COLLECTIONS[element.tag], known)
        if name and not known:
            names = findings.named.setdefault(_COLLECTIONS[element.tag], [])
            if name not in names:
                names.append(name)


def _note_relations(findings: Findings, body: Element) -> None:
    for element in body.iter():
        cluster, center, quota = (
            markup.reference_of(element, tag) for tag in ("cluster", "data_center", "quota")
        )
        if cluster and center:
            findings.centers.setdefault(cluster, center)
        if cluster and quota:
            findings.quotas.setdefault(cluster, quota)


def _note_path(findings: Findings, exchange: Exchange) -> None:
    """Whom a request names in its path, is there; but every collection of an unknown VM is just empty."""
    parts = exchange.path.partition("?")[0].removeprefix(_API).strip("/").split("/")
    if len(parts) != 2 and (len(parts) < 2 or exchange.method == "GET"):
        return
    _note_reference(findings, parts[0], parts[1])
    if parts[1] in findings.made:
        return
    if len(parts) >= 4 and parts[2] in ("nics", "diskattachments") and parts[3] not in findings.made:
        inner = findings.inner.setdefault((parts[1], parts[2]), {})
        inner.setdefault(parts[3], markup.node("stub"))
    if exchange.method != "GET" and exchange.status < 300 and len(parts) in (2, 3, 4):
        findings.touched.update(one for one in parts[1::2] if _is_unshown(findings, one))
    if parts[0] == "vms" and len(parts) == 3 and parts[2] in _POWER and exchange.status < 300:
        if _is_unshown(findings, parts[1]):
            findings.first_actions.setdefault(parts[1], parts[2])
        if parts[2] == "start":
            findings.started.add(parts[1])


def _is_unshown(findings: Findings, identity: str) -> bool:
    shown = [table[identity] for table in findings.seen.values() if identity in table]
    return identity not in findings.made and all(_is_stub(element) for element in shown)


def _note_reference(findings: Findings, collection: str, identity: str) -> None:
    if is_uuid(identity) and identity not in findings.made:
        findings.seen.setdefault(collection, {}).setdefault(identity, markup.node("stub"))


def _note_made(findings: Findings, asked: Element | None, body: Element) -> None:
    identity, collection = body.get("id"), _place(body)
    attached = asked is not None and markup.reference_of(asked, "disk")
    if identity is None or collection is None or attached:
        return
    if identity not in findings.seen.get(collection[-1], {}):
        findings.made.add(identity)


def _place(element: Element) -> list[str] | None:
    """The path of an element's href in parts, its own id left out; None if it is not one of an entity."""
    href, identity = element.get("href") or "", element.get("id")
    if identity is None or not href.startswith(f"{_API}/") or not href.endswith(f"/{identity}"):
        return None
    return href.removeprefix(f"{_API}/").removeprefix("v4/").split("/")[:-1]


def _walk(findings: Findings, element: Element, made_names: set[str], *, in_made: bool) -> None:
    identity, place = element.get("id"), _place(element)
    if identity is not None and place is not None:
        collection = place[-1]
        known = identity in findings.seen.get(collection, {})
        in_new = not known and any(part in findings.made for part in place)
        mine = identity in findings.made or in_new
        name = find_text(element, "name") or ""
        fresh = not known and name in made_names and collection in _NAMED_ANEW
        owned = not known and in_made and collection == "disks"
        if mine or fresh or owned:
            findings.made.add(identity)
            in_made = True
        else:
            _note(findings, element, place, identity)
            in_made = False
        if len(place) == 3:
            _note_reference(findings, place[0], place[1])
    if element.tag in ("authenticated_user", "owner") and identity != ZERO_ID:
        findings.administrator = findings.administrator or str(identity)
    if element.tag == "permission" and markup.reference_of(element, "role") == _SUPER_USER:
        findings.administrator = findings.administrator or markup.reference_of(element, "user")
    if element.tag in ("event", "permission"):
        for child in element:
            name, known = find_text(child, "name"), str(child.get("id") or "")
            if child.tag == "user" and (name or "").startswith("admin@"):
                findings.administrator = findings.administrator or known
            if name and known:
                findings.names.setdefault(known, name)
            if known and child.tag in ("data_center", "cluster", "host", "storage_domain"):
                _note_reference(findings, _COLLECTIONS[child.tag], known)
        return  # what it is about may be gone, or be no entity of its own
    for child in element:
        if child.tag not in _LINKS_ONLY:
            _walk(findings, child, made_names, in_made=in_made)


def _note(findings: Findings, element: Element, place: list[str], identity: str) -> None:
    collection = place[-1]
    tables = [findings.seen.setdefault(collection, {})]
    if len(place) == 3:
        tables.append(findings.inner.setdefault((place[1], collection), {}))
    for table in tables:
        present = table.get(identity)
        if present is None or len(_tags(element)) > 2 * len(_tags(present)):
            table[identity] = element


def _tags(element: Element) -> set[str]:
    return {child.tag for child in element} - _LINKS_ONLY


def _is_stub(element: Element) -> bool:
    return not _tags(element)


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
        centers = self._elements("datacenters").values()
        empty = any(find_text(one, "status") == "uninitialized" for one in centers)
        self._all("storagedomains", self._domain, "" if empty else "data")
        self._all("networks", self._network, "ovirtmgmt")
        filters = self._elements("networkfilters")
        names = {key: find_text(one, "name") for key, one in filters.items() if not _is_stub(one)}
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
        new = self._findings.made_names if collection in _NAMED_ANEW else set()
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
        cluster = self._of(element, "cluster", self._world.clusters)
        host = Host(identity, name, cluster)
        host.comment = find_text(element, "comment") or ""
        host.status = find_text(element, "status") or "up"
        self._world.hosts[identity] = host

    def _domain(self, identity: str, name: str, element: Element) -> None:
        world = self._world
        center = self._of(element, "data_center", world.data_centers)
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
        if not _is_stub(element):
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
        vm.stopped = _time(find_text(element, "stop_time"))
        vm.attachments = self._attachments(identity)
        if identity in self._findings.started and not vm.attachments:
            vm.attachments.append(Attachment(world.add_disk(f"{name}_Disk1"), bootable=True))
        vm.nics = self._nics(identity)
        vm.initialized = find_text(element, "start_time") is not None
        if vm.running:
            vm.host = next(iter(world.hosts.values()))
            vm.started = _time(find_text(element, "start_time"))
            vm.run_once = find_bool(element, "run_once", False)
            memory = int(find_text(vm.config, "memory") or 1 << 30)
            vm.guest = world.guests.start(GuestSpec(vm.id, name, memory, 1, [], [], {}))
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
        for _, element in sorted(seen.get("events", {}).items(), key=lambda item: int(item[0])):
            time = _time(find_text(element, "time"))
            if time is not None and time < began:
                world.recall_event(self._event(element, time))
        for identity, element in seen.get("jobs", {}).items():
            started = _time(find_text(element, "start_time"))
            if started is not None and started < began:
                world.jobs[identity] = self._job(identity, element, started)

    @staticmethod
    def _event(element: Element, time: datetime) -> Event:
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
            _time(find_text(element, "last_updated")) or started,
            find_text(element, "status") or "finished",
            _time(find_text(element, "end_time")),
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
        return _time(find_text(element, "creation_time")) or self._world.now

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
            default = next(iter(self._world.profiles.values())) if _is_stub(element) else None
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


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
