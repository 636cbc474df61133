"""`/macpools`."""

from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, collection, find_or_404, links
from ovirt_provision.simulator.entities import MacPool, mac_text
from ovirt_provision.simulator.markup import Element, node

routes = Routes()


def render_pool(pool: MacPool) -> Element:
    path = f"/macpools/{pool.id}"
    return node(
        "mac_pool",
        None,
        node("name", pool.name),
        node("description", "Default MAC pool") if pool.default else None,
        *links(path, ["permissions"]),
        node("allow_duplicates", "false"),
        node("default_pool", pool.default),
        node(
            "ranges",
            None,
            node("range", None, node("from", mac_text(pool.first)), node("to", mac_text(pool.last))),
        ),
        href=BASE + path,
        id=pool.id,
    )


@routes.add("GET", "/macpools")
def list_pools(request: Request) -> Reply:
    return collection(request, "mac_pools", list(request.world.mac_pools.values()), render_pool)


@routes.add("GET", "/macpools/{pool}")
def show_pool(request: Request, pool: str) -> Reply:
    return Reply(200, render_pool(find_or_404(request.world.mac_pools, pool)))
