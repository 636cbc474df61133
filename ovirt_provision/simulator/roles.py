"""The engine's predefined roles, what they permit, and who has them from the start."""

from collections.abc import Mapping
from dataclasses import dataclass

from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import ZERO_ID, Permission, User, new_id

EVERYONE = "eee00000-0000-0000-0000-123456789eee"
"""The group of all users."""

PERMITS: Mapping[str, int] = {name: number for number, name, _ in load("permits")}
"""The engine's number of each permit."""

ADMINISTRATIVE: Mapping[str, bool] = {name: administrative for _, name, administrative in load("permits")}
"""Whether a permit is one of administrators."""


@dataclass(frozen=True)
class Role:
    """`permits` are names of PERMITS."""

    id: str
    name: str
    description: str
    administrative: bool
    permits: tuple[str, ...]
    mutable: bool = False


# Of the roles that people provision with; of any other role only `login` is known here.
_PERMITS_OF = {
    "SuperUser": tuple(PERMITS),
    "UserRole": (
        "change_vm_cd",
        "connect_to_vm",
        "reboot_vm",
        "stop_vm",
        "shut_down_vm",
        "run_vm",
        "login",
    ),
    "PowerUserRole": ("create_vm", "create_instance", "create_template", "create_disk", "login"),
}

ROLES: Mapping[str, Role] = {
    identity: Role(identity, name, description, administrative, _PERMITS_OF.get(name, ("login",)))
    for identity, name, administrative, description in load("roles")
}

# What everyone may use: Blank and the instance types, which the engine keeps as templates, and the default
# object of these collections.
_TEMPLATES = (ZERO_ID, *(template_id for template_id, *_ in load("instance_types")))
_OBJECTS = {
    "vnicprofiles": "VnicProfileUser",
    "cpuprofiles": "CpuProfileOperator",
    "macpools": "MacPoolUser",
    "diskprofiles": "DiskProfileUser",
}


def role_named(name: str) -> Role | None:
    return next((role for role in ROLES.values() if role.name == name), None)


def start_permissions(admin: User) -> dict[str, Permission]:
    """Those of a new engine."""
    made = [_permission("SuperUser", admin), _permission("UserProfileEditor")]
    made += [_permission("UserTemplateBasedVm", target=("templates", one)) for one in _TEMPLATES]
    made += [_permission(role, target=(collection, "")) for collection, role in _OBJECTS.items()]
    return {permission.id: permission for permission in made}


def template_permissions(template_id: str, owner: User) -> list[Permission]:
    """Those that who makes a template gets on it."""
    target = ("templates", template_id)
    return [_permission(role, owner, target) for role in ("TemplateOwner", "UserTemplateBasedVm")]


def _permission(role: str, user: User | None = None, target: tuple[str, str] | None = None) -> Permission:
    found = role_named(role)
    assert found is not None
    return Permission(new_id(), found.id, user, target)
