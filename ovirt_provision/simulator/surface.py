"""All 862 operations of the API, simulated or not. Source: the API model, by `data/api_surface.json`."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.markup import Element
from ovirt_provision.simulator.model import DATA

_Value = TypeVar("_Value")

_OWN_CHECKS = frozenset({"VmsService", "DisksService", "NetworksService", "DiskAttachmentsService"})
"""Services whose `add` the engine checks itself, with faults of their own, as recordings show."""


_ELEMENTS = {"virtual_numa_node": "vm_numa_node"}
"""Names of elements that are not those of their types."""


@dataclass(frozen=True)
class Operation:
    """`path` has its ids as `{id}`; `parameters` are names and types.

    `mandatory` and `variants` hold paths such as `vm.cluster.id|vm.cluster.name`.
    """

    service: str
    name: str
    method: str
    path: str
    parameters: Mapping[str, str]
    mandatory: Sequence[str]
    variants: Mapping[str, Sequence[str]]

    @property
    def place(self) -> tuple[str, str]:
        """Service and method as the engine's documentation names them."""
        return _snake(self.service.removesuffix("Service")), _snake(self.name)

    @property
    def root(self) -> str:
        """The name of the element that a request holds."""
        if self.is_action:
            return "action"
        kind = _snake(next(iter(self.parameters.values())))
        return _ELEMENTS.get(kind, kind)

    @property
    def is_action(self) -> bool:
        return self.method == "POST" and self.name != "Add"

    def check_mandatory(self, body: Element) -> None:
        """Raises the engine's fault for what the body leaves out."""
        if self.service in _OWN_CHECKS:
            return
        if self.variants:
            if not any(all(map(self._holds(body), fields)) for fields in self.variants.values()):
                raise faults.no_signature()
            return
        for text in reversed(self.mandatory):  # of several the engine names the last
            if not self._holds(body)(text):
                raise faults.mandatory(*(re.sub(r"\[COLLECTION\]", "", one) for one in text.split("|")))

    def _holds(self, body: Element) -> Any:
        def holds(text: str) -> bool:
            return any(_has(body, self._below(one)) for one in text.split("|"))

        return holds

    def _below(self, path: str) -> Sequence[str]:
        """A path below the body's root element: that of an entity is named by the parameter."""
        parts = path.split(".")
        return parts if self.is_action else parts[1:]


def _has(element: Element, path: Sequence[str]) -> bool:
    if not path:
        return True
    name, *rest = path
    name = name.lstrip("_")
    if name == "id" and not rest and element.get("id"):
        return True
    if name.endswith("[COLLECTION]"):
        members = element.find(name.removesuffix("[COLLECTION]"))
        return members is not None and len(members) > 0 and all(_has(member, rest) for member in members)
    found = element.find(name)
    return found is not None and (len(rest) > 0 or bool(found.text) or len(found) > 0) and _has(found, rest)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@dataclass
class Paths(Generic[_Value]):
    """What belongs to paths such as `/vms/{vm}/nics`; a segment in braces stands for any."""

    _inner: dict[str, "Paths[_Value]"] = field(default_factory=dict)
    _values: dict[str, tuple[Sequence[str], _Value]] = field(default_factory=dict)

    def add(self, method: str, pattern: str, value: _Value) -> None:
        here, names = self, []
        for part in _parts(pattern):
            if part.startswith("{"):
                names.append(part.strip("{}"))
                part = "{}"
            here = here._inner.setdefault(part, Paths())
        here._values[method] = (names, value)

    def find(self, path: str) -> Mapping[str, tuple[Mapping[str, str], _Value]]:
        """By method: the ids of the path by the pattern's names, and the value. Empty for an unknown path."""
        ids: list[str] = []
        here = self._walk(list(_parts(path)), ids)
        if here is None:
            return {}
        return {
            method: (dict(zip(names, ids, strict=True)), value)
            for method, (names, value) in here._values.items()
        }

    def _walk(self, parts: Sequence[str], ids: list[str]) -> "Paths[_Value] | None":
        if not parts:
            return self if self._values else None
        first, *rest = parts
        named = self._inner.get(first)
        found = named._walk(rest, ids) if named is not None else None
        if found is not None or "{}" not in self._inner:
            return found
        ids.append(first)
        found = self._inner["{}"]._walk(rest, ids)
        if found is None:
            ids.pop()
        return found


def _parts(path: str) -> Iterator[str]:
    return (part for part in path.split("/") if part)


def _read() -> tuple[Sequence[Operation], Paths[Operation]]:
    operations = []
    paths: Paths[Operation] = Paths()
    for row in json.loads((DATA / "api_surface.json").read_text()):
        operation = Operation(
            row["service"],
            row["op"],
            row["method"],
            row["path"],
            {name.lstrip("_"): kind for name, kind in row["params"]},
            row["mandatory"],
            row["variants"],
        )
        operations.append(operation)
        paths.add(operation.method, operation.path, operation)
    return operations, paths


OPERATIONS, PATHS = _read()

_ALIASES = (
    ("/datacenters/{}/clusters/{}", "/clusters/{}"),
    ("/datacenters/{}/networks/{}", "/networks/{}"),
    ("/datacenters/{}/storagedomains/{}/disks", "/storagedomains/{}/disks"),
    ("/storagedomains/{}/disks/{}", "/disks/{}"),
    ("/networks/{}/vnicprofiles/{}", "/vnicprofiles/{}"),
    ("/hosts/{}/nics/{}/networkattachments", "/hosts/{}/networkattachments"),
)


def home(path: str) -> str | None:
    """The path of the same thing at its home, for one that the API also shows below something else."""
    for pattern, target in _ALIASES:
        found = re.match(pattern.replace("{}", "([^/]+)") + "(?=/|$)", "/" + path.strip("/"))
        if found is not None:
            identity = found.group(1 if target.startswith("/hosts") else 2)
            return target.format(identity) + "/" + path.strip("/")[found.end() :].lstrip("/")
    return None
