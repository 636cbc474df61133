"""Who may do what: `/permissions`, the permissions of an object or user, and `/roles`."""

from dataclasses import replace

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
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import Permission, User, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.permits import parents
from ovirt_provision.simulator.roles import ADMINISTRATIVE, EVERYONE, PERMITS, Role
from ovirt_provision.simulator.world import World

routes = Routes()

_OBJECTS = {
    "vms": "vm",
    "templates": "template",
    "disks": "disk",
    "clusters": "cluster",
    "datacenters": "data_center",
    "storagedomains": "storage_domain",
}


def render_permission(
    permission: Permission, target: tuple[str, str] | None = None, path: str = ""
) -> Element:
    """As one of `target`, if given, under whose `path` it is then found; that of a group never is."""
    collection_name, target_id = target or permission.target or ("", "")
    user = permission.user
    if user is None:
        path = f"/groups/{EVERYONE}"
    return node(
        "permission",
        None,
        reference("group", "/groups", EVERYONE) if user is None else None,
        reference("role", "/roles", permission.role),
        reference(_OBJECTS[collection_name], f"/{collection_name}", target_id)
        if collection_name in _OBJECTS
        else None,
        reference("user", "/users", user.id) if user is not None else None,
        href=f"{BASE}{path}/permissions/{permission.id}",
        id=permission.id,
    )


@routes.add("GET", "/permissions")
def list_system_permissions(request: Request) -> Reply:
    rows = [one for one in request.world.permissions.values() if one.target is None]
    return collection(request, "permissions", rows, render_permission)


@routes.add("GET", "/groups/{group}/permissions")
def list_permissions_of_group(request: Request, group: str) -> Reply:
    """Only the group of everyone has any."""
    every = request.world.permissions.values()
    rows = [one for one in every if one.user is None] if group == EVERYONE else []
    return collection(request, "permissions", rows, render_permission)


@routes.add("GET", "/groups/{group}/permissions/{permission}")
def show_permission_of_group(request: Request, group: str, permission: str) -> Reply:
    every = request.world.permissions.values()
    own = {one.id: one for one in every if one.user is None and group == EVERYONE}
    return Reply(200, render_permission(find_or_404(own, permission)))


@routes.add("GET", "/users/{user}/roles")
def list_roles_of_user(request: Request, user: str) -> Reply:
    """Those that the user has on everything."""
    find_or_404(request.world.users, user)
    every = request.world.permissions.values()
    own = {one.role for one in every if one.target is None and one.user is not None and one.user.id == user}
    rows = [role for role in request.world.roles.values() if role.id in own]
    return collection(request, "roles", rows, _render_role)


@routes.add("GET", "/users/{user}/permissions")
def list_permissions_of_user(request: Request, user: str) -> Reply:
    """The user's own, and those of everyone."""
    every = request.world.permissions.values()
    own = [one for one in every if one.user is not None and one.user.id == user]
    rows = [*own, *(one for one in every if one.user is None)]
    return collection(request, "permissions", rows, lambda one: render_permission(one, path=f"/users/{user}"))


def _permissions_of(owners: str) -> None:
    """The permissions on the objects of one collection."""
    base = f"/{owners}/{{owner}}/permissions"

    @routes.add("GET", base)
    def list_permissions(request: Request, owner: str) -> Reply:
        """Those on the object, and those on what it lies in; the filtered view has only one's own."""
        target = (owners, owner)
        places = parents(request.world, target)
        rows = [one for one in request.world.permissions.values() if one.target in places]
        if request.view is not None:
            rows = [one for one in rows if one.user in (request.user, None)]
        path = f"/{owners}/{owner}"
        return collection(request, "permissions", rows, lambda one: render_permission(one, target, path))

    @routes.add("POST", base)
    def add_permission(request: Request, owner: str) -> Reply:
        return _add(request, request.body("permission", "add"), (owners, owner))

    @routes.add("GET", base + "/{permission}")
    def show_permission(request: Request, owner: str, permission: str) -> Reply:
        found: Permission = find_or_404(request.world.permissions, permission)
        return Reply(200, render_permission(found, (owners, owner), f"/{owners}/{owner}"))

    @routes.add("DELETE", base + "/{permission}")
    def remove_permission(request: Request, owner: str, permission: str) -> Reply:
        found: Permission = find_or_404(request.world.permissions, permission)
        if found.target != (owners, owner):
            raise faults.not_found()
        del request.world.permissions[permission]
        return complete()


for _owners in (
    *_OBJECTS,
    "hosts",
    "networks",
    "vnicprofiles",
    "macpools",
    "vmpools",
    "diskprofiles",
    "cpuprofiles",
):
    _permissions_of(_owners)


def _add(
    request: Request, body: Element, target: tuple[str, str] | None, user: Element | None = None
) -> Reply:
    """Gives the user, by default that of the body, a role on `target` or on everything."""
    world = request.world
    role = body.find("role")
    user = user if user is not None else body.find("user")
    if role is None or (user is None and body.find("group") is None):
        raise faults.no_signature()
    made = Permission(new_id(), _find_role(world, role).id, _find_user(world, user), target)
    # Who has it already keeps it. Source: the engine's `AddPermissionCommand`.
    same = (
        one
        for one in world.permissions.values()
        if (one.role, one.user, one.target) == (made.role, made.user, made.target)
    )
    made = next(same, made)
    world.permissions[made.id] = made
    path = f"/users/{made.user.id}" if made.user is not None else ""
    return created(render_permission(made, path=path))


@routes.add("POST", "/permissions")
def add_system_permission(request: Request) -> Reply:
    return _add(request, request.body("permission", "add"), None)


@routes.add("POST", "/users/{user}/permissions")
def add_permission_of_user(request: Request, user: str) -> Reply:
    """On the object that the body names, or on everything."""
    find_or_404(request.world.users, user)
    body = request.body("permission", "add")
    named = ((owners, body.find(tag)) for owners, tag in _OBJECTS.items())
    target = next(((owners, one.get("id", "")) for owners, one in named if one is not None), None)
    return _add(request, body, target, node("user", id=user))


@routes.add("GET", "/permissions/{permission}")
def show_system_permission(request: Request, permission: str) -> Reply:
    return Reply(200, render_permission(find_or_404(request.world.permissions, permission)))


@routes.add("DELETE", "/permissions/{permission}")
def remove_system_permission(request: Request, permission: str) -> Reply:
    find_or_404(request.world.permissions, permission)
    del request.world.permissions[permission]
    return complete()


@routes.add("GET", "/users/{user}/permissions/{permission}")
def show_permission_of_user(request: Request, user: str, permission: str) -> Reply:
    return Reply(200, render_permission(_find_of_user(request, user, permission), path=f"/users/{user}"))


@routes.add("DELETE", "/users/{user}/permissions/{permission}")
def remove_permission_of_user(request: Request, user: str, permission: str) -> Reply:
    del request.world.permissions[_find_of_user(request, user, permission).id]
    return complete()


def _find_of_user(request: Request, user: str, permission: str) -> Permission:
    found: Permission = find_or_404(request.world.permissions, permission)
    if found.user is None or found.user.id != user:
        raise faults.not_found()
    return found


def _find_role(world: World, element: Element) -> Role:
    given, name = element.get("id"), find_text(element, "name")
    if given:
        found = world.roles.get(require_id(given))
    else:
        found = next((role for role in world.roles.values() if role.name == name), None)
    if found is None:
        raise faults.engine_fault("role unknown")
    return found


def _find_user(world: World, element: Element | None) -> User | None:
    if element is None:
        return None
    given = element.get("id") or ""
    found = world.users.get(require_id(given))
    if found is None:
        raise faults.entity_not_found(given)
    return found


# Roles


def _render_role(role: Role) -> Element:
    path = f"/roles/{role.id}"
    return node(
        "role",
        None,
        node("name", role.name),
        node("description", role.description),
        *links(path, ["permits"]),
        node("administrative", role.administrative),
        node("mutable", role.mutable),
        href=BASE + path,
        id=role.id,
    )


@routes.add("GET", "/roles")
def list_roles(request: Request) -> Reply:
    return collection(request, "roles", list(request.world.roles.values()), _render_role)


@routes.add("GET", "/roles/{role}")
def show_role(request: Request, role: str) -> Reply:
    return Reply(200, _render_role(find_or_404(request.world.roles, role)))


@routes.add("POST", "/roles")
def add_role(request: Request) -> Reply:
    """Not recorded: the texts of the refusals are judged, here and below."""
    world = request.world
    body = request.body("role", "add")
    name = find_text(body, "name") or ""
    _check_name(world, name, "add Role")
    permits = tuple(dict.fromkeys(_permit(one) for one in body.iterfind("permits/permit")))
    made = Role(
        new_id(),
        name,
        find_text(body, "description") or "",
        find_bool(body, "administrative", False),
        permits if "login" in permits else (*permits, "login"),
        mutable=True,
    )
    world.roles[made.id] = made
    return created(_render_role(made))


def _check_name(world: World, name: str, action: str) -> None:
    if any(role.name == name for role in world.roles.values()):
        raise faults.engine_fault("name in use", action=action, type="Role")


def _permit(element: Element) -> str:
    """The name of the permit that is given by number or name."""
    given, wanted = element.get("id"), find_text(element, "name")
    for name, number in PERMITS.items():
        if str(number) == given or (not given and name == wanted):
            return name
    raise faults.entity_not_found(given or f"Permit: name={wanted}")


def _find_own(request: Request, role: str, action: str) -> Role:
    """A role that is none of the engine's own."""
    found: Role = find_or_404(request.world.roles, role)
    if not found.mutable:
        raise faults.engine_fault("role fixed", action=action)
    return found


@routes.add("PUT", "/roles/{role}")
def update_role(request: Request, role: str) -> Reply:
    world = request.world
    found = _find_own(request, role, "edit Role")
    body = request.body("role", "update")
    name = find_text(body, "name") or found.name
    if name != found.name:
        _check_name(world, name, "edit Role")
    description = find_text(body, "description", found.description) or ""
    world.roles[role] = replace(found, name=name, description=description)
    return Reply(200, _render_role(world.roles[role]))


@routes.add("DELETE", "/roles/{role}")
def remove_role(request: Request, role: str) -> Reply:
    world = request.world
    found = _find_own(request, role, "remove Role")
    if any(one.role == role for one in world.permissions.values()):
        raise faults.engine_fault("role in use", action="remove Role", role=found.name)
    del world.roles[role]
    return complete()


def _render_permit(role: Role, name: str) -> Element:
    number = PERMITS[name]
    return node(
        "permit",
        None,
        node("name", name),
        node("administrative", ADMINISTRATIVE[name]),
        reference("role", "/roles", role.id),
        href=f"{BASE}/roles/{role.id}/permits/{number}",
        id=str(number),
    )


@routes.add("GET", "/roles/{role}/permits")
def list_permits(request: Request, role: str) -> Reply:
    found: Role = find_or_404(request.world.roles, role)
    return collection(request, "permits", list(found.permits), lambda name: _render_permit(found, name))


@routes.add("GET", "/roles/{role}/permits/{permit}")
def show_permit(request: Request, role: str, permit: str) -> Reply:
    found: Role = find_or_404(request.world.roles, role)
    return Reply(200, _render_permit(found, _permit_of(found, permit)))


@routes.add("POST", "/roles/{role}/permits")
def add_permit(request: Request, role: str) -> Reply:
    found = _find_own(request, role, "edit Role")
    name = _permit(request.body("permit", "add"))
    permits = tuple(dict.fromkeys((*found.permits, name)))
    request.world.roles[role] = replace(found, permits=permits)
    return created(_render_permit(found, name))


@routes.add("DELETE", "/roles/{role}/permits/{permit}")
def remove_permit(request: Request, role: str, permit: str) -> Reply:
    found = _find_own(request, role, "edit Role")
    name = _permit_of(found, permit)
    permits = tuple(one for one in found.permits if one != name)
    request.world.roles[role] = replace(found, permits=permits)
    return complete()


def _permit_of(role: Role, permit: str) -> str:
    name: str = find_or_404({str(PERMITS[name]): name for name in role.permits}, permit)
    return name
