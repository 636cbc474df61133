"""What the engine lets our account do: which permits a request takes, and which of them the account lacks.

Who has no role of administrators gets the filtered view: it shows neither jobs nor the placement of VMs nor a
summary of the engine, and of the permissions on an object only the account's own, inherited ones included.
Source: the engine's `isFiltered`, `removeRestrictedInfo`, `BackendApiResource` and
`GetPermissionsTreeByEntityId`; only the jobs are recorded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovirtsdk4 import types

from ovirt_provision.clock import Clock
from ovirt_provision.errors import EnginePermissionDenied, Lack, ProvisionError

if TYPE_CHECKING:
    from ovirt_provision.engine.session import Session

# For how many seconds a permit that was there is taken to be there still: the engine looks for itself anyway.
_KNOWN = 60.0

_COLLECTIONS = {
    "VM": "vms",
    "template": "templates",
    "cluster": "clusters",
    "data center": "datacenters",
    "storage domain": "storagedomains",
    "disk": "disks",
    "vNIC profile": "vnicprofiles",
}

# The role of users that permits it, without being that of who made the object.
_ROLES = {
    ("create_vm", "cluster"): "VmCreator",
    ("create_vm", "template"): "UserTemplateBasedVm",
    ("create_disk", "storage domain"): "DiskCreator",
    ("create_template", "data center"): "TemplateCreator",
    ("configure_vm_network", "vNIC profile"): "VnicProfileUser",
}
_ROLES_OF_MAKERS = {"VM": "UserVmManager", "template": "TemplateOwner", "disk": "DiskOperator"}


def role_for(permit: str, kind: str) -> str:
    """The least of the predefined roles that has a permit, to be given on an object of that kind."""
    return _ROLES.get((permit, kind)) or _ROLES_OF_MAKERS.get(kind, "ClusterAdmin")


@dataclass(frozen=True)
class Need:
    """A permit that the engine asks for, such as create_vm, and the object that it asks it on.

    `kind` is VM, template, cluster, data center, storage domain, disk or vNIC profile. Without a `name` it is
    read when it has to be told. A data center may be given by a cluster in it, `cluster_id`.
    """

    permit: str
    kind: str
    id: str
    name: str = ""
    cluster_id: str = ""


class Account:
    """What one account may do; it changes nothing, and asks the engine for nothing before it has to know.

    `filtered` is whether the engine shows the account the filtered view; None as long as that is not known.
    """

    def __init__(self, session: "Session", clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._user_id = ""
        self._permits_of_roles: dict[str, frozenset[str]] = {}
        self._known: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}
        self.filtered: bool | None = None

    def saw(self, vm: types.Vm) -> None:
        """Learns of any VM that is read whether the view is the filtered one."""
        self.filtered = vm.placement_policy is None

    async def insist(self, doing: str, needs: Sequence[Need]) -> None:
        """Raises EnginePermissionDenied with all that the account lacks for something (an infinitive).

        Nothing is looked up for an administrator: there the request itself tells. What cannot be looked up is
        not taken to be lacking.
        """
        if self.filtered is False:
            return
        try:
            if self.filtered is None:
                await self._read_self()
            lacking = await self._lacking(needs, fresh=False) if self.filtered else []
            if lacking:
                lacks = await self._named(lacking)
        except ProvisionError:
            return
        if lacking:
            raise EnginePermissionDenied(username=self._session.username, doing=doing, lacks=lacks)

    async def explain(self, error: EnginePermissionDenied) -> EnginePermissionDenied:
        """The engine's refusal with what the account lacks; without, where that cannot be looked up."""
        try:
            lacks = await self._named(await self._lacking(error.needs, fresh=True))
        except ProvisionError:
            lacks = ()
        return error.because(lacks)

    async def _read_self(self) -> None:
        api = await self._session.call("read who we are", lambda system: system.get())
        self._user_id = (api.authenticated_user.id or "") if api.authenticated_user else ""
        self.filtered = api.summary is None

    async def _lacking(self, needs: Iterable[Need], *, fresh: bool) -> list[Need]:
        placed = [await self._placed(need) for need in dict.fromkeys(needs)]
        return [need for need in placed if not await self._has(need, fresh=fresh)]

    async def _placed(self, need: Need) -> Need:
        if need.id:
            return need
        cluster = await self._session.call(
            "read the cluster",
            lambda system: system.clusters_service().cluster_service(need.cluster_id).get(),
        )
        return replace(need, id=cluster.data_center.id)

    async def _has(self, need: Need, *, fresh: bool) -> bool:
        """Whether a role of the account, or of a group that may be its own, permits it there."""
        key = (need.kind, need.id)
        now = self._clock.monotonic()
        read_at, permits = self._known.get(key, (float("-inf"), frozenset()))
        if not fresh and now - read_at < _KNOWN and need.permit in permits:
            return True
        if not self._user_id:
            await self._read_self()
        found = await self._session.call(
            f"read the permissions on {need.kind} {need.name or need.id}",
            lambda system: system.service(f"{_path(need)}/permissions").list(),
        )
        roles = {one.role.id for one in found if one.role and (not one.user or one.user.id == self._user_id)}
        permits = frozenset[str]().union(*[await self._permits_of(role) for role in roles])
        self._known[key] = (now, permits)
        return need.permit in permits

    async def _permits_of(self, role_id: str) -> frozenset[str]:
        if role_id not in self._permits_of_roles:
            permits = await self._session.call(
                "read the permits of a role",
                lambda system: system.roles_service().role_service(role_id).permits_service().list(),
            )
            self._permits_of_roles[role_id] = frozenset(permit.name.lower() for permit in permits)
        return self._permits_of_roles[role_id]

    async def _named(self, needs: Sequence[Need]) -> Sequence[Lack]:
        lacks = []
        for need in needs:
            name = need.name or await self._name(need)
            lacks.append(Lack(need.permit, f"{need.kind} '{name}'", role_for(need.permit, need.kind)))
        return lacks

    async def _name(self, need: Need) -> str:
        found = await self._session.call(
            f"read {need.kind} {need.id}", lambda system: system.service(_path(need)).get()
        )
        return found.name or need.id


def _path(need: Need) -> str:
    return f"{_COLLECTIONS[need.kind]}/{need.id}"
