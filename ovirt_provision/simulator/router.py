"""The whole API: all operations of all resources."""

from ovirt_provision.simulator.api import Router
from ovirt_provision.simulator.resources import (
    clusters,
    datacenters,
    diskattachments,
    disks,
    events,
    hosts,
    jobs,
    macpools,
    networks,
    nics,
    permissions,
    root,
    snapshots,
    storagedomains,
    tags,
    templates,
    vm_actions,
    vms,
    vnicprofiles,
)

_RESOURCES = (
    root,
    vms,
    vm_actions,
    snapshots,
    nics,
    permissions,
    diskattachments,
    disks,
    templates,
    clusters,
    datacenters,
    storagedomains,
    networks,
    vnicprofiles,
    macpools,
    hosts,
    tags,
    jobs,
    events,
)


def make_router() -> Router:
    """All operations that are simulated."""
    known = {name.partition("/")[0] for name in root.COLLECTIONS}
    for rels in (
        vms.ACTIONS,
        vms.LINKS,
        templates.LINKS,
        templates.ACTIONS,
        disks.ACTIONS,
        disks.LINKS,
        clusters.ACTIONS,
        clusters.LINKS,
        datacenters.ACTIONS,
        datacenters.LINKS,
        storagedomains.ACTIONS,
        storagedomains.LINKS,
        hosts.ACTIONS,
        hosts.LINKS,
        nics.LINKS,
        snapshots.ACTIONS,
        snapshots.LINKS,
        nics.ACTIONS,
        ("options",),
    ):
        known.update(rels)
    return Router((module.routes for module in _RESOURCES), known)
