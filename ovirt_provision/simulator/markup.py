"""The engine's XML and JSON: reading requests, building replies."""

import copy
import functools
import html
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lxml import etree

from ovirt_provision.simulator.model import ENUMERATIONS, TYPES

Element = etree._Element

# A document of a stranger: no external DTD, no huge text; `parse` refuses what could define an entity.
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)


# So many children are cheaper to sort before they are in the document than by `arrange`.
_MANY = 20


def node(tag: str, content: object = None, *children: Element | None, **attributes: str) -> Element:
    """An element with text or children; `None` children are left out, `_` in attribute names stays."""
    made = etree.Element(tag, attributes)
    if isinstance(content, etree._Element):
        made.append(content)
    elif content is not None:
        made.text = text_of(content)
    given = [child for child in children if child is not None]
    if len(given) > _MANY and tag in TYPES:
        given = _sorted(given, tag)
    made.extend(given)
    return made


def text_of(value: object) -> str:
    """A value as the engine writes it: `true`, whole numbers, times in UTC with milliseconds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return str(value)


def parse(document: bytes) -> Element:
    """Reads an XML document; raises `ValueError` when it is none or has a document type."""
    try:
        root = etree.fromstring(document, _PARSER)
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("a document type is not allowed")
    for element in root.iter():
        element.tail = None
        if len(element) and element.text and not element.text.strip():
            element.text = None
    return root


def parse_json(document: bytes, root: str) -> Element:
    """Reads a JSON document into the same elements; `root` is the name of the element that it stands for.

    Raises `ValueError` when it is not a JSON object.
    """
    try:
        value = json.loads(document)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return _from_json(root, value)


def _from_json(tag: str, value: Any) -> Element:
    made = etree.Element(tag)
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("id", "href", "rel") and not isinstance(inner, dict | list):
                made.set(name, str(inner))
            elif isinstance(inner, list):
                made.extend(_from_json(name, item) for item in inner)
            else:
                made.append(_from_json(name, inner))
    elif value is not None:
        made.text = text_of(value)
    return made


def merge(target: Element, changes: Element) -> None:
    """Lays `changes` over `target` as an update does: structures by field, lists and values as a whole."""
    for change in changes:
        present = target.find(change.tag)
        if present is None:
            target.append(copy.deepcopy(change))
        elif len(change) and not _is_list(change) and not change.get("id"):
            merge(present, change)
        else:
            target.replace(present, copy.deepcopy(change))


def _is_list(element: Element) -> bool:
    tags = {child.tag for child in element}
    return len(tags) == 1 and element.tag in {tag + "s" for tag in tags}


def arrange(element: Element, kind: str | None = None) -> Element:
    """Puts the children of `element`, and of those below it, into the order of the API model.

    `kind` is the type of `element`, by default the one that has its name.
    """
    kind = kind or str(element.tag)
    if kind in TYPES:
        inner = TYPES[kind]
        children = list(element)
        ordered = _sorted(children, kind)
        if ordered is not children:
            element[:] = ordered
        for child in children:
            if len(child):
                arrange(child, inner.get(child.tag))
    else:
        item = kind.removesuffix("[]") if kind.endswith("[]") else None
        for child in element:
            if len(child):
                arrange(child, item)
    return element


def _sorted(children: list[Element], kind: str) -> list[Element]:
    """The children of an element of that type in their order: the same list when they are in it."""
    places = _places(kind)
    last = len(places)
    found = [places.get(child.tag, last) for child in children]
    if not any(map(operator.gt, found, found[1:])):
        return children
    return [child for _, child in sorted(zip(found, children, strict=True), key=_PLACE)]


_PLACE: Callable[[tuple[int, Element]], int] = operator.itemgetter(0)


@functools.cache
def _places(kind: str) -> Mapping[str, int]:
    return {tag: place for place, tag in enumerate(TYPES[kind])}


class UnknownContent(ValueError):
    """An element that the API does not have, or text that is not of its type."""


class UnknownValue(ValueError):
    """`text` is not one of the `values` of the enumeration `name`."""

    def __init__(self, text: str, name: str, values: Sequence[str]) -> None:
        super().__init__(text)
        self.text = text
        self.name = name
        self.values = values


def check(element: Element, kind: str) -> None:
    """Checks that a document is of a type of the API; raises UnknownContent and UnknownValue."""
    if kind.endswith("[]"):
        for child in element:
            check(child, kind.removesuffix("[]"))
    elif kind in TYPES:
        for child in element:
            inner = TYPES[kind].get(child.tag)
            if inner is None:
                raise UnknownContent(child.tag)
            check(child, inner)
    elif kind in ENUMERATIONS:
        name, values = ENUMERATIONS[kind]
        if (element.text or "") not in values:
            raise UnknownValue(element.text or "", name, values)
    elif kind == "Integer" and not _INTEGER.fullmatch(element.text or ""):
        raise UnknownContent(element.tag)


_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


XML_TYPE = "application/xml;charset=UTF-8"
_HEAD = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_INDENT = "    "


def to_xml(element: Element) -> bytes:
    etree.indent(element, space=_INDENT)
    return _HEAD + etree.tostring(element, encoding="utf-8") + b"\n"


def member_xml(element: Element) -> str:
    """The part of `to_xml` of a list that shows this member."""
    etree.indent(element, space=_INDENT, level=1)
    return etree.tostring(element, encoding="unicode")


def list_xml(tag: str, members: Iterable[str]) -> bytes:
    """`to_xml` of a list of such members."""
    inner = "".join(f"\n{_INDENT}{member}" for member in members)
    return _HEAD + (f"<{tag}>{inner}\n</{tag}>\n" if inner else f"<{tag}/>\n").encode()


def escape(text: str) -> str:
    """A text as it stands in XML."""
    return html.escape(text, quote=False).replace("\r", "&#13;")


def to_json(element: Element) -> bytes:
    """JSON as the engine writes it: booleans and numbers are strings, times milliseconds of the epoch."""
    text = json.dumps(_to_json(element), indent=2, separators=(",", " : "), ensure_ascii=False)
    return text.replace(" : {}", " : { }").encode() if text != "{}" else b"{ }"


_LISTS = frozenset({"link", "nic_configuration", "detailed_link"})


def _to_json(element: Element) -> Any:
    made: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    for child in element:
        value = _to_json(child)
        if child.tag in _LISTS or element.tag == child.tag + "s":
            lists.setdefault(child.tag, []).append(value)
        else:
            made[child.tag] = value
    made.update(lists)
    made.update((str(name), str(value)) for name, value in element.attrib.items())
    if made or element.text is None:
        return made
    return _milliseconds(element.text)


def _milliseconds(text: str) -> object:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return text
    return round(moment.timestamp() * 1000)


def find_text(element: Element, path: str, default: str | None = None) -> str | None:
    """The text of the element at `path`; an empty element has the text ``."""
    found = element.find(path)
    return default if found is None else (found.text or "")


def required(element: Element, tag: str) -> Element:
    """The child of this name, which the checks of the API model have seen."""
    found = element.find(tag)
    assert found is not None, tag
    return found


def reference_of(element: Element, path: str) -> str:
    """The id of the element at `path`; an empty text when there is none."""
    found = element.find(path)
    return "" if found is None else found.get("id", "")


def find_bool(element: Element, path: str, default: bool) -> bool:
    text = find_text(element, path)
    return default if text is None else text.strip().lower() == "true"


def set_text(element: Element, path: str, value: object) -> None:
    """Sets the text at `path`, making what is missing on the way."""
    for tag in path.split("/"):
        found = element.find(tag)
        if found is None:
            found = etree.SubElement(element, tag)
        element = found
    element.text = text_of(value)


def without(element: Element, tags: Iterable[str]) -> Element:
    """A copy of `element` without the children of these names."""
    made = copy.deepcopy(element)
    for tag in tags:
        for child in made.findall(tag):
            made.remove(child)
    return made


def without_addresses(element: Element) -> Element:
    """`element` itself, in which no element has an `href` any more."""
    for inner in element.iter():
        inner.attrib.pop("href", "")
    return element
