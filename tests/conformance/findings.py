"""What a recording shows of the world in which it began: what is read before it is made."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lxml import etree

from ovirt_provision.simulator import markup
from ovirt_provision.simulator.entities import ZERO_ID, is_uuid
from ovirt_provision.simulator.markup import Element, find_text
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
NAMED_ANEW = ("vms", "templates", "disks", "tags", "networks", "vnicprofiles", "macpools", "clusters")
"""Collections of entities that requests name when they make them."""
_UNFIT_HOST = re.compile(r"The host (\S+) did not satisfy")
_POWER = ("start", "stop", "shutdown", "suspend", "reboot", "reset")
_SUPER_USER = "00000000-0000-0000-0000-000000000001"
_MOST_SECONDS = 1e9  # what is longer, is no time since the start of a recording
_LINKS_ONLY = frozenset({"actions", "link"})


@dataclass
class Findings:
    """What a recording shows of what was there.

    `seen` maps collections to ids to the first full element, `inner` does so for what belongs to an entity
    (by the entity's id and the name of its collection). `named` are names that requests used with success,
    `names` those by which events call an id, `made_names` those that requests gave. `clusters` are those
    of hosts, `centers` the data centers of clusters and storage domains, `quotas` the quotas of VMs by the
    ids of their clusters.
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
    clusters: dict[str, str] = field(default_factory=dict)
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
        moment = read_time(found)
        if moment is not None and abs(now) < _MOST_SECONDS:
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
        host, domain = (markup.reference_of(element, tag) for tag in ("host", "storage_domain"))
        if element.tag == "disk":
            domain = markup.reference_of(element, "storage_domains/storage_domain")
            href = element.find("quota")
            place = re.search(
                r"/datacenters/([^/]+)/quotas/", href.get("href", "") if href is not None else ""
            )
            center = place.group(1) if place is not None else center
        for member in (cluster, domain):
            if member and center:
                findings.centers.setdefault(member, center)
        if host and cluster:
            findings.clusters.setdefault(host, cluster)
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
    return identity not in findings.made and all(is_stub(element) for element in shown)


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
        fresh = not known and name in made_names and collection in NAMED_ANEW
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


def is_stub(element: Element) -> bool:
    """Whether an element only says who it is."""
    return not _tags(element)


def read_time(text: str | None) -> datetime | None:
    """A time of the API; None if it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
