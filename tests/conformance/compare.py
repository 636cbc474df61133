"""Whether two replies say the same: the recorded one and the simulator's."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

HEADERS = ("Content-Type", "Location", "WWW-Authenticate", "Allow", "Link")
"""The headers that a client acts on. `Correlation-Id` is compared where the client sent one."""

HOST_FACTS = frozenset(
    f"{entity}/{name}"
    for entity, names in {
        # What the host, its hardware and the guests on it are like; the recordings' host was a fake.
        "host": """address auto_numa_status certificate cpu device_passthrough hardware_information
            hosted_engine iscsi kdump_status ksm libvirt_version max_scheduling_memory memory numa_supported
            os ovn_configured port protocol reinstallation_required se_linux ssh summary
            transparent_hugepages update_available version vgpu_placement""",
        "vm": "fqdn guest_operating_system guest_time_zone dynamic_cpu",
        "reported_device": "ips",
        "display": "address port secure_port certificate",
        "graphics_console": "address port tls_port",
        "cpu": "level type",
        "disk": "actual_size total_size initial_size qcow_version",
        "storage_domain": "available used committed",
        "statistic": "values",
        "host_nic": "bonding boot_protocol bridged custom_configuration ip ipv6 properties speed status",
        "network_attachment": "ip_address_assignments reported_configurations",
        "configuration": "data",
    }.items()
    for name in names.split()
)
"""Elements, by the element that holds them, of which neither presence nor content is compared."""

_ORDERED = frozenset({"device", "name_server"})
"""Elements of lists of texts in which the order means something."""

_ID = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # of an entity
    r"|(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"  # of a NIC
    r"|(?<=/events/)\d+"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)|\b1[5-9]\d{11}\b")
_HOST = re.compile(r"https://[^/\s<>]+(?=/)")
_LOGIN = re.compile(r"from '[^']*' using session '[^']*'")


class Ids:
    """Which id of the simulator stands for which of the recording; so, too, MACs and numbers of events."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._recorded: dict[str, str] = {}

    def learn(self, recorded: str, ours: str) -> bool:
        """Takes the two for the same thing; false when either is known to be another."""
        recorded, ours = recorded.lower(), ours.lower()
        if recorded in self._ours or ours in self._recorded:
            return self._ours.get(recorded) == ours
        self._ours[recorded] = ours
        self._recorded[ours] = recorded
        return True

    def ours(self, recorded: str) -> str | None:
        return self._ours.get(recorded.lower())

    def translate(self, text: str) -> str:
        """A recorded text with our ids for those that are known."""
        return _ID.sub(lambda found: self.ours(found.group()) or found.group(), text)


@dataclass
class Part:
    """An element of XML, or an object of JSON, with what is in it."""

    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    children: list["Part"] = field(default_factory=list)


def compare_text(expected: str, got: str, ids: Ids) -> str | None:
    """What differs, None if nothing does; ids that are seen for the first time are learnt."""
    plain_expected, plain_got = _plain(expected), _plain(got)
    if _ID.sub("<id>", plain_expected) != _ID.sub("<id>", plain_got):
        return " / ".join(_shown(text) for text in _from_first_difference(expected, got))
    for recorded, ours in zip(_ID.findall(plain_expected), _ID.findall(plain_got), strict=True):
        if not ids.learn(recorded, ours):
            return f"id {recorded} (ours: {ids.ours(recorded)}) / id {ours}"
    return None


def compare_headers(
    sent: Mapping[str, str], expected: Mapping[str, str], got: Mapping[str, str], ids: Ids
) -> Iterator[str]:
    """Yields each difference; names of headers are in title case, as in `Content-Type`."""
    names = [*HEADERS, "Correlation-Id"] if "Correlation-Id" in sent else HEADERS
    for name in names:
        name = name.title()
        if (name in expected) != (name in got):
            yield f"header {name}: {_shown(expected.get(name))} / {_shown(got.get(name))}"
        elif name in expected:
            left, right = expected[name], got[name]
            if name == "Content-Type":
                left, right = (value.lower().replace(" ", "") for value in (left, right))
            difference = compare_text(left, right, ids)
            if difference is not None:
                yield f"header {name}: {difference}"
    # A correlation id of the engine's own making is only looked for.
    if "Correlation-Id" in expected and "Correlation-Id" not in got:
        yield "header Correlation-Id: missing"
    if "JSESSIONID=" in expected.get("Set-Cookie", "") and "JSESSIONID=" not in got.get("Set-Cookie", ""):
        yield "header Set-Cookie: no JSESSIONID"


def compare_bodies(expected: str, got: str, ids: Ids, *, ordered: bool = False) -> Iterator[str]:
    """Yields each difference between two bodies: XML and JSON by their parts, other text as a whole.

    `ordered` is whether a list was asked for in a certain order.
    """
    left, right = parse(expected), parse(got)
    if left is None or right is None:
        left_text, right_text = _pages(expected, got)
        difference = compare_text(left_text, right_text, ids)
        if difference is not None:
            yield f"body: {difference}"
        return
    if left.tag != right.tag:
        yield f"{left.tag} / {right.tag}"
        return
    _learn_root(left, right, ids)
    yield from _compare(left, right, left.tag, ids)
    if ordered and not _in_order(left, right, ids):
        yield f"{left.tag}: in another order"


def _in_order(left: Part, right: Part, ids: Ids) -> bool:
    pairs = [pair for pair in _pair(left.children, right.children, ids) if None not in pair]
    places = [next(n for n, one in enumerate(right.children) if one is got) for _, got in pairs]
    return places == sorted(places)


def parse(body: str) -> Part | None:
    """The parts of an XML or JSON body, None for anything else."""
    text = body.strip()
    try:
        if text.startswith("<") and not text[:100].lower().startswith(("<html", "<!doctype")):
            return _from_xml(etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False)))
        if text.startswith("{"):
            return _from_json("object", json.loads(text))
    except (etree.XMLSyntaxError, ValueError):
        return None
    return None


def _from_xml(element: etree._Element) -> Part:
    children = [_from_xml(child) for child in element if isinstance(child.tag, str)]
    text = "" if children else (element.text or "").strip()
    attributes = {str(name): str(value) for name, value in element.attrib.items()}
    return Part(str(element.tag), attributes, text, children)


def _from_json(tag: str, value: Any) -> Part:
    if isinstance(value, dict):
        attributes = {name: str(value[name]) for name in ("id", "href", "rel") if name in value}
        children = []
        for name, inner in value.items():
            if name not in attributes:
                several = inner if isinstance(inner, list) else [inner]
                children += [_from_json(name, one) for one in several]
        return Part(tag, attributes, "", children)
    if isinstance(value, list):
        return Part(tag, {}, "", [_from_json(tag, inner) for inner in value])
    # As JSON, so that "true" and true, "1" and 1 differ.
    return Part(tag, {}, json.dumps(value))


def _learn_root(left: Part, right: Part, ids: Ids) -> None:
    """What was made, first: what is in it refers to it."""
    if left.attributes.get("id") and right.attributes.get("id") and _ID.fullmatch(left.attributes["id"]):
        ids.learn(left.attributes["id"], right.attributes["id"])


def _compare(left: Part, right: Part, where: str, ids: Ids) -> Iterator[str]:
    for name in sorted({*left.attributes, *right.attributes}):
        expected, got = left.attributes.get(name), right.attributes.get(name)
        if expected is None or got is None:
            yield f"{where}@{name}: {_shown(expected)} / {_shown(got)}"
        elif not (name == "id" and expected.isdigit() and got.isdigit()):
            difference = compare_text(expected, got, ids)
            if difference is not None:
                yield f"{where}@{name}: {difference}"
    if not left.children and not right.children:
        if not _is_generated(where, left, right):
            difference = compare_text(left.text, right.text, ids)
            if difference is not None:
                yield f"{where}: {difference}"
        return
    for tag in dict.fromkeys(child.tag for child in (*left.children, *right.children)):
        if f"{left.tag}/{tag}" in HOST_FACTS:
            continue
        ours = [child for child in right.children if child.tag == tag]
        theirs = [child for child in left.children if child.tag == tag]
        pairs = _pair(theirs, ours, ids)
        if tag in _ORDERED and sorted(one.text for one in theirs) == sorted(one.text for one in ours):
            pairs = iter(zip(theirs, ours, strict=True))
        for expected_part, got_part in pairs:
            place = f"{where}/{tag}{_name_of(expected_part or got_part)}"
            if expected_part is None:
                yield f"{place}: none / {_summary(got_part)}"
            elif got_part is None:
                yield f"{place}: {_summary(expected_part)} / none"
            else:
                yield from _compare(expected_part, got_part, place, ids)


_GENERATED = {
    "/index": r"\d+",
    "/correlation_id": r"[0-9a-f]{8}(-[0-9a-f-]{27})?",
    "/vdsm_name": r"on[0-9a-f]{13}",
    "ticket/value": r"[\w+/-]{8}",
}
"""What the engine makes up, by the end of its place: numbers of events, correlation ids, names of networks
on hosts, tickets."""


def _is_generated(where: str, left: Part, right: Part) -> bool:
    pattern = next((pattern for end, pattern in _GENERATED.items() if where.endswith(end)), None)
    return pattern is not None and all(re.fullmatch(pattern, part.text.strip('"')) for part in (left, right))


def _pair(left: list[Part], right: list[Part], ids: Ids) -> Iterator[tuple[Part | None, Part | None]]:
    """What belongs together in two lists: by id, by name, then by order. Order itself is not compared."""
    if len(left) == len(right) == 1:
        yield left[0], right[0]
        return
    rest = list(right)
    unpaired = []
    for expected in left:
        key = expected.attributes.get("id", "")
        known = ids.ours(key)
        found = next((one for one in rest if known and one.attributes.get("id", "").lower() == known), None)
        unpaired.append((expected, found))
        if found is not None:
            rest.remove(found)
    for expected, match in unpaired:
        found = match
        if found is None:
            key = _key(expected)
            alike = [one for one in rest if _key(one) == key]
            found = min(alike, key=lambda one: _distance(expected, one, ids)) if alike else None
            if found is not None:
                rest.remove(found)
        yield expected, found
    for got in rest:
        yield None, got


def _distance(left: Part, right: Part, ids: Ids) -> int:
    """How much differs, at first sight."""
    return sum(1 for _ in _compare(left, right, "", copy.deepcopy(ids)))


def _key(part: Part) -> str | None:
    """What tells the members of a list apart but their ids."""
    if part.attributes.get("rel"):
        return part.attributes["rel"]
    for tag in ("name", "user_name", "description"):
        for child in part.children:
            if child.tag == tag and child.text:
                return _ID.sub("<id>", _plain(child.text))
    if not part.attributes and not part.children and part.text:
        return part.text
    return None


def _name_of(part: Part | None) -> str:
    key = _key(part) if part is not None else None
    return f"[{key}]" if key is not None and part is not None and (part.children or part.attributes) else ""


def _from_first_difference(left: str, right: str) -> tuple[str, str]:
    """Long texts without most of what they have in common."""
    same = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    start = max(0, same - 40) if max(len(left), len(right)) > _SHOWN else 0
    return left[start:], right[start:]


def _plain(text: str) -> str:
    text = _HOST.sub("https://<host>", text)
    text = _LOGIN.sub("from <address> using session <session>", text)
    return _TIME.sub("<time>", text)


_STACK_TRACE = 1000
_SHOWN = 160


def _pages(expected: str, got: str) -> tuple[str, str]:
    """Pages for people by their titles where the recorded one is long: then it holds a stack trace."""
    pages = (expected.strip(), got.strip())
    titles = [re.search(r"<title>(.*?)</title>", page, re.DOTALL | re.IGNORECASE) for page in pages]
    if len(expected) > _STACK_TRACE and titles[0] is not None and titles[1] is not None:
        return titles[0].group(1).strip(), titles[1].group(1).strip()
    if all("BEGIN CERTIFICATE" in page for page in pages):
        return "certificate", "certificate"
    return pages


def _summary(part: Part | None) -> str:
    if part is None:
        return "none"
    if part.children:
        return f"<{part.tag}> with {', '.join(dict.fromkeys(child.tag for child in part.children))}"[:100]
    return _shown(part.text or part.attributes.get("href", ""))


def _shown(text: str | None) -> str:
    if text is None:
        return "none"
    line = " ".join(text.split())
    return f"'{line}'" if len(line) <= _SHOWN else f"'{line[: _SHOWN - 1]}…'"
