"""`/tags`, and the tags of a VM."""

import re

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
from ovirt_provision.simulator.entities import Tag, Vm, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()


def with_descendants(world: World, tag: Tag) -> list[Tag]:
    found = [tag]
    for one in found:
        found.extend(child for child in world.tags.values() if child.parent is one)
    return found


def render_tag(tag: Tag, vm: Vm | None = None) -> Element:
    """The tag; as one of `vm` if given, then without its description, as the engine does."""
    path = f"/tags/{tag.id}" if vm is None else f"/vms/{vm.id}/tags/{tag.id}"
    return node(
        "tag",
        None,
        node("name", tag.name),
        node("description", tag.description if vm is None else ""),
        reference("parent", "/tags", tag.parent.id) if tag.parent is not None else None,
        reference("vm", "/vms", vm.id) if vm is not None else None,
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
    tag = Tag(new_id(), name, _parent(world, body) or world.root_tag, find_text(body, "description") or "")
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
    found.description = find_text(body, "description", found.description) or ""
    return Reply(200, render_tag(found))


@routes.add("DELETE", "/tags/{tag}")
def remove_tag(request: Request, tag: str) -> Reply:
    world = request.world
    for one in with_descendants(world, find_or_404(world.tags, tag)):
        del world.tags[one.id]
        for vm in world.vms.values():
            vm.tags = [kept for kept in vm.tags if kept is not one]
    return complete()


@routes.add("GET", "/vms/{vm}/tags")
def list_tags_of_vm(request: Request, vm: str) -> Reply:
    found: Vm | None = request.world.vms.get(vm)
    return collection(
        request, "tags", found.tags if found is not None else [], lambda tag: render_tag(tag, found)
    )


@routes.add("POST", "/vms/{vm}/tags")
def assign_tag(request: Request, vm: str) -> Reply:
    world = request.world
    body = request.body("tag", "add")
    name, given = find_text(body, "name"), body.get("id")
    if not name and not given:
        raise faults.incomplete("Tag", ["id|name"])
    tag = next((one for one in world.tags.values() if one.id == given or one.name == name), None)
    if tag is None:
        raise faults.entity_not_found(given or name or "")
    found = world.vms.get(vm)
    if found is None:
        raise faults.engine_fault("internal")
    if tag not in found.tags:
        found.tags.append(tag)
    return created(render_tag(tag, found))


@routes.add("DELETE", "/vms/{vm}/tags/{tag}")
def unassign_tag(request: Request, vm: str, tag: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    kept = [one for one in found.tags if one.id != tag]
    if len(kept) == len(found.tags):
        raise faults.not_found()
    found.tags = kept
    return complete()


def _check_name(world: World, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise faults.engine_fault("tag name")
    if any(tag.name == name for tag in world.tags.values()):
        raise faults.engine_fault("tag name in use")


def _parent(world: World, body: Element) -> Tag | None:
    element = body.find("parent")
    if element is None:
        return None
    given, name = element.get("id"), find_text(element, "name")
    found = next((tag for tag in world.tags.values() if tag.id == given or tag.name == name), None)
    if found is None:
        raise faults.entity_not_found(given or name or "")
    return found
