"""The engine's predefined roles, what they permit, and who has them from the start."""

from collections.abc import Mapping
from dataclasses import dataclass

from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import ZERO_ID, Permission, Target, User, new_id

EVERYONE = "eee00000-0000-0000-0000-123456789eee"
"""The group of all users."""

PERMITS: Mapping[str, int] = {name: number for number, name, _ in load("permits")}
"""The engine's number of each permit."""

ADMINISTRATIVE: Mapping[str, bool] = {name: administrative for _, name, administrative in load("permits")}
"""Whether a permit is one of administrators."""


@dataclass(frozen=True)
class Role:
    """`permits` are names of PERMITS. `shows_children` is whether it shows what lies below its object."""

    id: str
    name: str
    description: str
    administrative: bool
    permits: tuple[str, ...]
    mutable: bool = False
    shows_children: bool = False


_PERMITS_OF = {
    name: (shows_children, tuple(PERMITS) if permits == ["all"] else tuple(permits))
    for name, shows_children, permits in load("role_permits")
}

ROLES: Mapping[str, Role] = {
    identity: Role(
        identity,
        name,
        description,
        administrative,
        permits=_PERMITS_OF[name][1],
        shows_children=_PERMITS_OF[name][0],
    )
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


def _permission(role: str, user: User | None = None, target: Target | None = None) -> Permission:
    found = role_named(role)
    assert found is not None
    return Permission(new_id(), found.id, user, target)
