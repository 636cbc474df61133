"""The statistics of VMs, disks, NICs and hosts: what is there is told, what is measured is 0."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, collection, find_or_404, reference
from ovirt_provision.simulator.entities import Vm
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()

_Row = tuple[str, str, str, str]

_GUEST: Sequence[_Row] = (
    ("memory.installed", "Total memory configured", "gauge", "bytes"),
    ("memory.used", "Memory used (agent)", "gauge", "bytes"),
    ("cpu.current.guest", "CPU used by guest", "gauge", "percent"),
    ("cpu.current.hypervisor", "CPU overhead", "gauge", "percent"),
    ("cpu.current.total", "Total CPU used", "gauge", "percent"),
    ("migration.progress", "Migration Progress", "gauge", "percent"),
    ("elapsed.time", "Elapsed VM runtime", "gauge", "seconds"),
    ("network.current.total", "Total network used", "gauge", "percent"),
)
_DISK: Sequence[_Row] = (
    ("data.current.read", "Read data rate", "gauge", "bytes_per_second"),
    ("data.current.write", "Write data rate", "gauge", "bytes_per_second"),
    ("disk.read.latency", "Read latency", "gauge", "seconds"),
    ("disk.write.latency", "Write latency", "gauge", "seconds"),
    ("disk.flush.latency", "Flush latency", "gauge", "seconds"),
)
_NIC: Sequence[_Row] = (
    ("data.current.rx", "Receive data rate", "gauge", "bytes_per_second"),
    ("data.current.tx", "Transmit data rate", "gauge", "bytes_per_second"),
    ("data.total.rx", "Total received data", "counter", "bytes"),
    ("data.total.tx", "Total transmitted data", "counter", "bytes"),
    ("errors.total.rx", "Total Receive errors", "counter", "none"),
    ("errors.total.tx", "Total transmit errors", "counter", "none"),
)
_HOST: Sequence[_Row] = (
    ("memory.total", "Total memory", "gauge", "bytes"),
    ("memory.used", "Used memory", "gauge", "bytes"),
    ("memory.free", "Free memory", "gauge", "bytes"),
    ("cpu.current.user", "User CPU usage", "gauge", "percent"),
    ("cpu.current.system", "System CPU usage", "gauge", "percent"),
    ("cpu.current.idle", "Idle CPU usage", "gauge", "percent"),
)


def _measured(world: World, element: str, owner: Any, name: str) -> int:
    if element == "vm":
        vm: Vm = owner
        if name == "memory.installed":
            return int(find_text(vm.config, "memory") or 0)
        if name == "elapsed.time" and vm.running and vm.started is not None:
            return round((world.now - vm.started).total_seconds())
    return 0


def _render(world: World, path: str, element: str, owner: Any, row: _Row) -> Element:
    name, description, kind, unit = row
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    datum = node("value", None, node("datum", _measured(world, element, owner, name)))
    return node(
        "statistic",
        None,
        node("name", name),
        node("description", description),
        node("kind", kind),
        node("type", "integer"),
        node("unit", unit),
        node("values", None, datum),
        reference(element, path.rpartition("/")[0], path.rpartition("/")[2]),
        href=f"{BASE}{path}/statistics/{identity}",
        id=identity,
    )


def _nics(world: World, vm: str) -> Mapping[str, Any]:
    found = world.vms.get(vm)
    return {nic.id: nic for nic in found.nics} if found is not None else {}


def _add(pattern: str, element: str, rows: Sequence[_Row], table: Callable[..., Mapping[str, Any]]) -> None:
    """The statistics of what is at `pattern`, whose last id is one of the table."""

    def _owner(request: Request, ids: Mapping[str, str]) -> tuple[str, Any]:
        *above, own = [value for name, value in ids.items() if name != "statistic"]
        found = table(request.world, *above).get(own)
        if found is None:
            raise faults.entity_not_found(own)
        parts = request.path.strip("/").split("/")
        return "/" + "/".join(parts[: parts.index("statistics")]), found

    def _all(request: Request, ids: Mapping[str, str]) -> list[Element]:
        path, found = _owner(request, ids)
        return [_render(request.world, path, element, found, row) for row in rows]

    @routes.add("GET", f"{pattern}/statistics")
    def list_statistics(request: Request, **ids: str) -> Reply:
        return collection(request, "statistics", _all(request, ids), lambda one: one)

    @routes.add("GET", f"{pattern}/statistics/{{statistic}}")
    def show_statistic(request: Request, **ids: str) -> Reply:
        rendered = {one.get("id", ""): one for one in _all(request, ids)}
        return Reply(200, find_or_404(rendered, ids["statistic"]))


_add("/vms/{vm}", "vm", _GUEST, lambda world: world.vms)
_add("/vms/{vm}/nics/{nic}", "nic", _NIC, _nics)
_add("/disks/{disk}", "disk", _DISK, lambda world: world.disks)
_add("/hosts/{host}", "host", _HOST, lambda world: world.hosts)
