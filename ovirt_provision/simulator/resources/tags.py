"""`/tags`, and the tags of VMs, templates, hosts and users."""

import re
from collections.abc import Callable, Mapping
from typing import Any

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
    reference,
)
from ovirt_provision.simulator.entities import Tag, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()

_OWNERS: Mapping[str, tuple[str, Callable[[World], Mapping[str, Any]]]] = {
    "vms": ("vm", lambda world: world.vms),
    "templates": ("template", lambda world: world.templates),
    "hosts": ("host", lambda world: world.hosts),
}
"""What can have tags: element and table by the name of the collection."""


def with_descendants(world: World, tag: Tag) -> list[Tag]:
    found = [tag]
    for one in found:
        found.extend(child for child in world.tags.values() if child.parent is one)
    return found


def render_tag(tag: Tag, owner: tuple[str, str] | None = None, *, described: bool = True) -> Element:
    """The tag; as one of an owner (collection and id) if given. Reading it there hides the description."""
    path = f"/tags/{tag.id}" if owner is None else f"/{owner[0]}/{owner[1]}/tags/{tag.id}"
    description = tag.description if described else ""
    return node(
        "tag",
        None,
        node("name", tag.name),
        node("description", description) if description is not None else None,
        reference("parent", "/tags", tag.parent.id) if tag.parent is not None else None,
        reference(_OWNERS[owner[0]][0], f"/{owner[0]}", owner[1]) if owner is not None else None,
        href=BASE + path,
        id=tag.id,
    )


@routes.add("GET", "/tags")
def list_tags(request: Request) -> Reply:
    return collection(request, "tags", list(request.world.tags.values()), render_tag)


@routes.add("POST", "/tags")
def add_tag(request: Request) -> Reply:
    world = request.world
    body = request.body("tag", "add")
    name = find_text(body, "name") or ""
    _check_name(world, name)
    tag = Tag(new_id(), name, _parent(world, body) or world.root_tag, find_text(body, "description"))
    world.tags[tag.id] = tag
    return created(render_tag(tag))


@routes.add("GET", "/tags/{tag}")
def show_tag(request: Request, tag: str) -> Reply:
    return Reply(200, render_tag(find_or_404(request.world.tags, tag)))


@routes.add("PUT", "/tags/{tag}")
def update_tag(request: Request, tag: str) -> Reply:
    world = request.world
    found: Tag = find_or_404(world.tags, tag)
    body = request.body("tag", "update")
    name = find_text(body, "name")
    if name is not None and name != found.name:
        _check_name(world, name)
        found.name = name
    parent = _parent(world, body)
    if parent is not None:
        if parent in with_descendants(world, found):
            raise faults.engine_fault("tag loop")
        found.parent = parent
    found.description = find_text(body, "description", found.description)
    return Reply(200, render_tag(found))


@routes.add("DELETE", "/tags/{tag}")
def remove_tag(request: Request, tag: str) -> Reply:
    world = request.world
    for one in with_descendants(world, find_or_404(world.tags, tag)):
        del world.tags[one.id]
        for _, table in _OWNERS.values():
            for owner in table(world).values():
                owner.tags = [kept for kept in owner.tags if kept is not one]
    return complete()


def _add_routes_of(owners: str) -> None:
    """The tags of what is in one collection."""
    _, table = _OWNERS[owners]

    @routes.add("GET", f"/{owners}/{{owner}}/tags")
    def list_assigned(request: Request, owner: str) -> Reply:
        found = table(request.world).get(owner)
        tags = found.tags if found is not None else []
        return collection(
            request, "tags", tags, lambda tag: render_tag(tag, (owners, owner), described=False)
        )

    @routes.add("POST", f"/{owners}/{{owner}}/tags")
    def assign(request: Request, owner: str) -> Reply:
        tag = _named(request.world, request.body("tag", "add"))
        found = table(request.world).get(owner)
        if found is None:
            raise faults.engine_fault("internal")
        if tag not in found.tags:
            found.tags.append(tag)
        return created(render_tag(tag, (owners, owner)))

    @routes.add("GET", f"/{owners}/{{owner}}/tags/{{tag}}")
    def show_assigned(request: Request, owner: str, tag: str) -> Reply:
        tags = {one.id: one for one in find_or_404(table(request.world), owner).tags}
        return Reply(200, render_tag(find_or_404(tags, tag), (owners, owner), described=False))

    @routes.add("DELETE", f"/{owners}/{{owner}}/tags/{{tag}}")
    def unassign(request: Request, owner: str, tag: str) -> Reply:
        tags = find_or_404(table(request.world), owner).tags
        tags.remove(find_or_404({one.id: one for one in tags}, tag))
        return complete()


for _owners in _OWNERS:
    _add_routes_of(_owners)


def _check_name(world: World, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise faults.engine_fault("tag name")
    if any(tag.name == name for tag in world.tags.values()):
        raise faults.engine_fault("tag name in use")


def _named(world: World, element: Element) -> Tag:
    given, name = element.get("id"), find_text(element, "name")
    for tag in world.tags.values():
        if tag.id == given or (not given and tag.name == name):
            return tag
    raise faults.entity_not_found(given or name or "")


def _parent(world: World, body: Element) -> Tag | None:
    element = body.find("parent")
    return _named(world, element) if element is not None else None
