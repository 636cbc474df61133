"""The permissions of an object or user: the one that the one user has on everything; and `/roles`."""

from dataclasses import dataclass

from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.markup import Element, node

routes = Routes()


PERMITS = {
    "create_vm": 1,
    "delete_vm": 2,
    "edit_vm_properties": 3,
    "change_vm_cd": 5,
    "connect_to_vm": 7,
    "configure_vm_network": 9,
    "configure_vm_storage": 10,
    "manipulate_vm_snapshots": 12,
    "create_instance": 16,
    "reboot_vm": 17,
    "stop_vm": 18,
    "shut_down_vm": 19,
    "hibernate_vm": 21,
    "run_vm": 22,
    "create_template": 200,
    "edit_template_properties": 201,
    "delete_template": 202,
    "copy_template": 203,
    "create_disk": 1100,
    "attach_disk": 1101,
    "edit_disk_properties": 1102,
    "delete_disk": 1104,
    "login": 1300,
}
"""The engine's number of each permit that matters to VMs, templates and disks."""


@dataclass(frozen=True)
class Role:
    """`permits` are names of PERMITS."""

    id: str
    name: str
    description: str
    administrative: bool
    permits: tuple[str, ...]


ROLES = {
    role.id: role
    for role in (
        Role(
            "00000000-0000-0000-0000-000000000001",
            "SuperUser",
            "Roles management administrator",
            True,
            tuple(PERMITS),
        ),
        Role(
            "00000000-0000-0000-0001-000000000001",
            "UserRole",
            "Standard User Role",
            False,
            ("change_vm_cd", "connect_to_vm", "reboot_vm", "stop_vm", "shut_down_vm", "run_vm", "login"),
        ),
        Role(
            "00000000-0000-0000-0001-000000000002",
            "PowerUserRole",
            "User Role, allowed to create VMs, Templates and Disks",
            False,
            ("create_vm", "create_instance", "create_template", "create_disk", "login"),
        ),
    )
}
_OWNERS = {
    "vms": "vm",
    "templates": "template",
    "disks": "disk",
    "clusters": "cluster",
    "datacenters": "data_center",
    "storagedomains": "storage_domain",
}


@routes.add("GET", "/{owners}/{owner}/permissions")
def list_permissions(request: Request, owners: str, owner: str) -> Reply:
    user = request.world.user_id
    role = next(role.id for role in ROLES.values() if role.name == request.world.role)
    path = f"/{owners}/{owner}/permissions"
    permission = node(
        "permission",
        None,
        reference("role", "/roles", role),
        reference(_OWNERS[owners], f"/{owners}", owner) if owners in _OWNERS else None,
        reference("user", "/users", user),
        href=f"{BASE}{path}/{user}",
        id=user,
    )
    return Reply(200, node("permissions", None, permission))


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
            node("administrative", "false"),
            reference("role", "/roles", found.id),
            href=f"{BASE}{path}/permits/{number}",
            id=str(number),
        )

    return collection(request, "permits", list(found.permits), render)
