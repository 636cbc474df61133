"""The whole API: all operations of all resources."""

import functools
from collections.abc import Sequence

from ovirt_provision.simulator import surface
from ovirt_provision.simulator.api import Router
from ovirt_provision.simulator.resources import (
    affinity,
    catalogue,
    clusters,
    consoles,
    datacenters,
    devices,
    disk_actions,
    diskattachments,
    disks,
    events,
    exports,
    hosts,
    imagetransfers,
    jobs,
    macpools,
    networks,
    nics,
    permissions,
    profiles,
    quotas,
    records,
    root,
    snapshots,
    statistics,
    storagedomains,
    tags,
    templates,
    users,
    vm_actions,
    vmpools,
    vms,
    vnicprofiles,
)
from ovirt_provision.simulator.surface import Operation

_RESOURCES = (
    root,
    vms,
    vm_actions,
    snapshots,
    consoles,
    nics,
    devices,
    users,
    permissions,
    diskattachments,
    disks,
    disk_actions,
    templates,
    clusters,
    datacenters,
    storagedomains,
    networks,
    vnicprofiles,
    macpools,
    hosts,
    tags,
    affinity,
    jobs,
    events,
    profiles,
    catalogue,
    records,
    statistics,
    imagetransfers,
    quotas,
    exports,
    vmpools,
)


@functools.cache
def make_router() -> Router:
    """All operations that are simulated; it holds no state, so that all simulators of a process share it."""
    return Router(module.routes for module in _RESOURCES)


def coverage() -> Sequence[tuple[Operation, bool]]:
    """All operations of the API, and whether they are simulated."""
    router = make_router()
    return [(operation, router.simulates(operation)) for operation in surface.OPERATIONS]
