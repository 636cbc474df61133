"""Who may do what: `/permissions`, the permissions of an object or user, and `/roles`."""

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
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.roles import ADMINISTRATIVE, EVERYONE, PERMITS, ROLES, Role, role_named
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
        """Those on the object, and those on everything."""
        target = (owners, owner)
        rows = [one for one in request.world.permissions.values() if one.target in (None, target)]
        path = f"/{owners}/{owner}"
        return collection(request, "permissions", rows, lambda one: render_permission(one, target, path))

    @routes.add("POST", base)
    def add_permission(request: Request, owner: str) -> Reply:
        world = request.world
        body = request.body("permission", "add")
        role, user = body.find("role"), body.find("user")
        if role is None or (user is None and body.find("group") is None):
            raise faults.no_signature()
        made = Permission(new_id(), _find_role(role).id, _find_user(world, user), (owners, owner))
        world.permissions[made.id] = made
        path = f"/users/{made.user.id}" if made.user is not None else ""
        return created(render_permission(made, path=path))

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


for _owners in (*_OBJECTS, "hosts", "networks", "vnicprofiles", "macpools", "vmpools"):
    _permissions_of(_owners)


def _find_role(element: Element) -> Role:
    given = element.get("id")
    found = ROLES.get(require_id(given)) if given else role_named(find_text(element, "name") or "")
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
        node("mutable", "false"),
        href=BASE + path,
        id=role.id,
    )


@routes.add("GET", "/roles")
def list_roles(request: Request) -> Reply:
    return collection(request, "roles", list(ROLES.values()), _render_role)


@routes.add("GET", "/roles/{role}")
def show_role(_request: Request, role: str) -> Reply:
    return Reply(200, _render_role(find_or_404(ROLES, role)))


@routes.add("GET", "/roles/{role}/permits")
def list_permits(request: Request, role: str) -> Reply:
    found = find_or_404(ROLES, role)
    path = f"/roles/{found.id}"

    def render(name: str) -> Element:
        number = PERMITS[name]
        return node(
            "permit",
            None,
            node("name", name),
            node("administrative", ADMINISTRATIVE[name]),
            reference("role", "/roles", found.id),
            href=f"{BASE}{path}/permits/{number}",
            id=str(number),
        )

    return collection(request, "permits", list(found.permits), render)
