"""`/macpools`."""

from ovirt_provision.simulator import faults
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
)
from ovirt_provision.simulator.entities import MAC, MacPool, mac_number, mac_text, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node

routes = Routes()


def render_pool(pool: MacPool) -> Element:
    path = f"/macpools/{pool.id}"
    ranges = [node("range", None, node("from", mac_text(a)), node("to", mac_text(b))) for a, b in pool.ranges]
    return node(
        "mac_pool",
        None,
        node("name", pool.name),
        node("description", pool.description) if pool.description else None,
        *links(path, ["permissions"]),
        node("allow_duplicates", pool.allow_duplicates),
        node("default_pool", pool.default),
        node("ranges", None, *ranges),
        href=BASE + path,
        id=pool.id,
    )


@routes.add("GET", "/macpools")
def list_pools(request: Request) -> Reply:
    return collection(request, "mac_pools", list(request.world.mac_pools.values()), render_pool)


@routes.add("POST", "/macpools")
def add_pool(request: Request) -> Reply:
    world = request.world
    body = request.body("mac_pool", "add")
    name = find_text(body, "name") or ""
    if any(pool.name == name for pool in world.mac_pools.values()):
        raise faults.engine_fault("mac pool name used", action="add MAC Pool")
    pool = MacPool(
        new_id(),
        name,
        _ranges(body),
        description=find_text(body, "description") or "",
        allow_duplicates=find_bool(body, "allow_duplicates", False),
    )
    world.mac_pools[pool.id] = pool
    return created(render_pool(pool))


def _ranges(body: Element) -> list[tuple[int, int]]:
    ranges = []
    for number, one in enumerate(body.iterfind("ranges/range")):
        ends = [find_text(one, tag) or "" for tag in ("from", "to")]
        bad = [end for end in ends if not MAC.fullmatch(end)]
        if bad:
            # The engine names the beginning of the range for its end, too.
            text = ("range format", {"number": number})
            raise faults.engine_fault(*[text for _ in bad])
        ranges.append((mac_number(ends[0]), mac_number(ends[1])))
    return ranges


@routes.add("GET", "/macpools/{pool}")
def show_pool(request: Request, pool: str) -> Reply:
    return Reply(200, render_pool(find_or_404(request.world.mac_pools, pool)))


@routes.add("PUT", "/macpools/{pool}")
def update_pool(request: Request, pool: str) -> Reply:
    found: MacPool = find_or_404(request.world.mac_pools, pool)
    body = request.body("mac_pool", "update")
    if body.find("ranges") is not None:
        found.ranges = _ranges(body)
    found.name = find_text(body, "name") or found.name
    found.description = find_text(body, "description", found.description) or ""
    found.allow_duplicates = find_bool(body, "allow_duplicates", found.allow_duplicates)
    return Reply(200, render_pool(found))


@routes.add("DELETE", "/macpools/{pool}")
def remove_pool(request: Request, pool: str) -> Reply:
    world = request.world
    found: MacPool = find_or_404(world.mac_pools, pool)
    action = "remove MAC Pool"
    if found.default:
        raise faults.engine_fault("mac pool default", action=action)
    users = [cluster.name for cluster in world.clusters.values() if cluster.mac_pool is found]
    if users:
        clusters = "".join(f"\t{user}\n" for user in users)
        raise faults.engine_fault("mac pool in use", action=action, count=len(users), clusters=clusters)
    del world.mac_pools[pool]
    return complete()
