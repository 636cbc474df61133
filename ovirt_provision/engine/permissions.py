"""Who may do what: roles, users and groups by name, and the permissions on what we make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.engine.session import Session

# The engine writes a user with the name of the directory, `jane@internal-authz`; people log in with that of
# the profile, `jane@internal`.
_DIRECTORY = "-authz"


@dataclass(frozen=True)
class Principal:
    """A user or a group of the engine; `kind` says which."""

    kind: str
    id: str
    name: str


class Permissions:
    """The roles, users and groups of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def roles(self) -> dict[str, str]:
        """Ids of the roles by name."""
        found = await self._session.call("read the roles", lambda system: system.roles_service().list())
        return {role.name: role.id for role in found}

    async def users(self) -> Sequence[Principal]:
        """The users that the engine knows; those of its directories who never came are not among them."""
        found = await self._session.call("read the users", lambda system: system.users_service().list())
        return [Principal("user", user.id, user.user_name or user.principal or "") for user in found]

    async def groups(self) -> Sequence[Principal]:
        """The groups that the engine knows."""
        found = await self._session.call("read the groups", lambda system: system.groups_service().list())
        return [Principal("group", group.id, group.name or "") for group in found]

    async def grant(
        self, kind: str, object_id: str, role_id: str, to: Principal, *, correlation_id: str
    ) -> None:
        """Gives a role on a `template` or `disk`. Who has it already keeps it: the engine adds no second one
        (read in its `AddPermissionCommand`)."""
        permission = types.Permission(role=types.Role(id=role_id))
        if to.kind == "user":
            permission.user = types.User(id=to.id)
        else:
            permission.group = types.Group(id=to.id)
        await self._session.call(
            f"give {to.name} a role on {kind} {object_id}",
            lambda system: _service(system, kind, object_id).permissions_service().add(permission),
            correlation_id=correlation_id,
        )


def same_user(given: str, known: str) -> bool:
    """Whether a user as people write him is the one that the engine knows under that name."""
    return known in (given, given + _DIRECTORY)


def _service(system: Any, kind: str, object_id: str) -> Any:
    if kind == "template":
        return system.templates_service().template_service(object_id)
    return system.disks_service().disk_service(object_id)
