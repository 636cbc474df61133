"""`/datacenters/{id}/quotas` and their limits of storage. Limits of clusters are kept and not enforced."""

from ovirt_provision.simulator import faults, markup
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    links,
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import DataCenter, Quota, StorageDomain, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()

_PERCENT = {
    "cluster_hard_limit_pct": 20,
    "cluster_soft_limit_pct": 80,
    "storage_hard_limit_pct": 20,
    "storage_soft_limit_pct": 80,
}
_LIMITS = ("quotaclusterlimits", "quotastoragelimits")


def _all(world: World, center: DataCenter) -> dict[str, Quota]:
    """The quotas of a data center; the unlimited one that it came with is among them."""
    default = Quota(center.quota_id, "Default", center, "Default unlimited quota")
    world.quotas.setdefault(default.id, default)
    return {quota.id: quota for quota in world.quotas.values() if quota.data_center is center}


def quota_ids(world: World, center: DataCenter) -> list[str]:
    """Ids of the quotas of a data center."""
    return list(_all(world, center))


def _path(quota: Quota) -> str:
    return f"/datacenters/{quota.data_center.id}/quotas/{quota.id}"


def render_quota(quota: Quota) -> Element:
    return node(
        "quota",
        None,
        node("name", quota.name),
        node("description", quota.description),
        *links(_path(quota), [*_LIMITS, "permissions"]),
        *(node(tag, quota.percent.get(tag, value)) for tag, value in _PERCENT.items()),
        reference("data_center", "/datacenters", quota.data_center.id),
        href=BASE + _path(quota),
        id=quota.id,
    )


def _find(request: Request, center: str, quota: str) -> Quota:
    found = find_or_404(request.world.data_centers, center)
    return find_or_404(_all(request.world, found), quota)  # type: ignore[no-any-return]


@routes.add("GET", "/datacenters/{center}/quotas")
def list_quotas(request: Request, center: str) -> Reply:
    found = find_or_404(request.world.data_centers, center)
    return collection(request, "quotas", list(_all(request.world, found).values()), render_quota)


@routes.add("POST", "/datacenters/{center}/quotas")
def add_quota(request: Request, center: str) -> Reply:
    found = find_or_404(request.world.data_centers, center)
    body = request.body("quota", "add")
    quota = Quota(new_id(), find_text(body, "name") or "", found)
    if any(one.name == quota.name for one in _all(request.world, found).values()):
        raise faults.engine_fault("name in use", action="add Quota", type="Quota")
    _apply(quota, body)
    request.world.quotas[quota.id] = quota
    return created(render_quota(quota))


def _apply(quota: Quota, body: Element) -> None:
    quota.name = find_text(body, "name") or quota.name
    quota.description = find_text(body, "description", quota.description) or ""
    for tag in _PERCENT:
        text = find_text(body, tag)
        if text is not None:
            quota.percent[tag] = int(text)


@routes.add("GET", "/datacenters/{center}/quotas/{quota}")
def show_quota(request: Request, center: str, quota: str) -> Reply:
    return Reply(200, render_quota(_find(request, center, quota)))


@routes.add("PUT", "/datacenters/{center}/quotas/{quota}")
def update_quota(request: Request, center: str, quota: str) -> Reply:
    found = _find(request, center, quota)
    _apply(found, request.body("quota", "update"))
    return Reply(200, render_quota(found))


@routes.add("DELETE", "/datacenters/{center}/quotas/{quota}")
def remove_quota(request: Request, center: str, quota: str) -> Reply:
    found = _find(request, center, quota)
    if found.id == found.data_center.quota_id:
        raise faults.engine_fault("quota default", action="remove Quota")
    del request.world.quotas[quota]
    return complete()


def _render_limit(world: World, quota: Quota, limit_id: str) -> Element:
    """A limit without a domain is about all of the data center; its id is the domain's or the quota's."""
    path = f"{_path(quota)}/quotastoragelimits/{limit_id}"
    domain = world.domains.get(limit_id)
    gibibytes = sum(disk.size for disk in quota.disks(world, domain)) / (1 << 30)
    return node(
        "quota_storage_limit",
        None,
        node("limit", quota.storage[limit_id]),
        node("usage", gibibytes),
        reference("quota", _path(quota).rpartition("/")[0], quota.id),
        reference("storage_domain", "/storagedomains", domain.id) if domain is not None else None,
        href=BASE + path,
        id=limit_id,
    )


@routes.add("GET", "/datacenters/{center}/quotas/{quota}/quotastoragelimits")
def list_limits(request: Request, center: str, quota: str) -> Reply:
    found = _find(request, center, quota)
    rows = list(found.storage)
    return collection(
        request, "quota_storage_limits", rows, lambda one: _render_limit(request.world, found, one)
    )


@routes.add("POST", "/datacenters/{center}/quotas/{quota}/quotastoragelimits")
def add_limit(request: Request, center: str, quota: str) -> Reply:
    """Answers 200, as recorded, though something is made."""
    found = _find(request, center, quota)
    body = request.body("quota_storage_limit", "add")
    given = markup.reference_of(body, "storage_domain")
    limit_id = require_id(given) if given else found.id
    if given and limit_id not in request.world.domains:
        raise faults.engine_fault("domain unknown", action="edit Quota")
    found.storage[limit_id] = request.number(body, "limit", "add") or 0
    return Reply(200, _render_limit(request.world, found, limit_id))


@routes.add("GET", "/datacenters/{center}/quotas/{quota}/quotastoragelimits/{limit}")
def show_limit(request: Request, center: str, quota: str, limit: str) -> Reply:
    found = _find(request, center, quota)
    find_or_404({one: one for one in found.storage}, limit)
    return Reply(200, _render_limit(request.world, found, limit))


@routes.add("DELETE", "/datacenters/{center}/quotas/{quota}/quotastoragelimits/{limit}")
def remove_limit(request: Request, center: str, quota: str, limit: str) -> Reply:
    found = _find(request, center, quota)
    find_or_404({one: one for one in found.storage}, limit)
    del found.storage[limit]
    return complete()


def chosen_quota(world: World, body: Element, domain: StorageDomain, size: int, action: str) -> str:
    """The id of the quota that pays for a new disk: the body's or the default one.

    Where quotas are enforced, one without room for `size` bytes more refuses the disk.
    """
    center = domain.data_center
    given = markup.reference_of(body, "quota")
    quota = _all(world, center).get(require_id(given) if given else center.quota_id)
    if quota is None:
        raise faults.engine_fault("quota missing", action=action)
    if center.quota_mode == "enabled":
        for limit_id, gibibytes in quota.storage.items():
            scope = world.domains.get(limit_id)
            used = sum(disk.size for disk in quota.disks(world, scope))
            if gibibytes >= 0 and scope in (None, domain) and used + size > gibibytes << 30:
                raise faults.engine_fault("quota exceeded", action=action)
    return quota.id
