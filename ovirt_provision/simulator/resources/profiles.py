"""`/diskprofiles` and `/cpuprofiles`: each storage domain and each cluster has one at least.

Source: `ProfileValidator` and what inherits from it in the engine; not recorded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
)
from ovirt_provision.simulator.entities import Cluster, Profile, StorageDomain, new_id
from ovirt_provision.simulator.markup import Element, find_text, node, reference_of, required
from ovirt_provision.simulator.world import World

routes = Routes()


@dataclass(frozen=True)
class Kind:
    """Disk profiles or CPU profiles.

    `field` is where an owner has the id of the profile for what names none.
    """

    tag: str
    title: str
    owner_tag: str
    owner_title: str
    owners: str
    field: str

    @property
    def path(self) -> str:
        return f"/{self.tag.replace('_', '')}s"

    def owners_in(self, world: World) -> Iterable[StorageDomain | Cluster]:
        return world.domains.values() if self.owners == "storagedomains" else world.clusters.values()

    def all(self, world: World, owner_id: str | None = None) -> dict[str, Profile]:
        """By id, those of one owner if given."""
        found = {}
        for owner in self.owners_in(world):
            if owner_id in (None, owner.id):
                first = str(getattr(owner, self.field))
                found[first] = world.own_profiles.get(first) or Profile(first, owner.name, owner)
                found |= {one.id: one for one in world.own_profiles.values() if one.owner is owner}
        return found

    def render(self, profile: Profile) -> Element:
        path = f"/{self.owners}/{profile.owner.id}{self.path}/{profile.id}"
        return node(
            self.tag,
            None,
            node("name", profile.name),
            node("description", profile.description) if profile.description is not None else None,
            *links(path, ["permissions"]),
            reference("qos", f"/datacenters/{profile.owner.data_center.id}/qoss", profile.qos_id)
            if profile.qos_id
            else None,
            reference(self.owner_tag, f"/{self.owners}", profile.owner.id),
            href=BASE + path,
            id=profile.id,
        )

    def check_name(self, world: World, profile: Profile, action: str) -> None:
        for one in self.all(world, profile.owner.id).values():
            if one.name == profile.name and one.id != profile.id:
                raise faults.engine_fault("profile name in use", action=f"{action} {self.title}")


def _routes_of(kind: Kind) -> None:
    below = f"/{kind.owners}/{{owner}}{kind.path}"

    @routes.add("GET", kind.path)
    def list_all(request: Request) -> Reply:
        return collection(request, f"{kind.tag}s", list(kind.all(request.world).values()), kind.render)

    @routes.add("GET", below)
    def list_of_owner(request: Request, owner: str) -> Reply:
        return collection(request, f"{kind.tag}s", list(kind.all(request.world, owner).values()), kind.render)

    @routes.add("GET", kind.path + "/{profile}")
    def show(request: Request, profile: str) -> Reply:
        return Reply(200, kind.render(find_or_404(kind.all(request.world), profile)))

    @routes.add("GET", below + "/{profile}")
    def show_of_owner(request: Request, owner: str, profile: str) -> Reply:
        return Reply(200, kind.render(find_or_404(kind.all(request.world, owner), profile)))

    @routes.add("POST", kind.path)
    def add(request: Request) -> Reply:
        given = required(request.body(kind.tag, "add"), kind.owner_tag).get("id", "")
        return _add(request, given)

    @routes.add("POST", below)
    def add_to_owner(request: Request, owner: str) -> Reply:
        return _add(request, owner)

    def _add(request: Request, owner_id: str) -> Reply:
        world = request.world
        owner = next((one for one in kind.owners_in(world) if one.id == owner_id), None)
        if owner is None:
            raise faults.entity_not_found(f"{kind.owner_tag.replace('_', '')}: id={owner_id}")
        body = request.body(kind.tag, "add")
        made = Profile(
            new_id(),
            find_text(body, "name") or "",
            owner,
            find_text(body, "description"),
            reference_of(body, "qos"),
        )
        kind.check_name(world, made, "add")
        world.own_profiles[made.id] = made
        return created(kind.render(made))

    @routes.add("PUT", kind.path + "/{profile}")
    def update(request: Request, profile: str) -> Reply:
        found: Profile = find_or_404(kind.all(request.world), profile)
        body = request.body(kind.tag, "update")
        changed = replace(
            found,
            name=find_text(body, "name") or found.name,
            description=find_text(body, "description", found.description),
            qos_id=found.qos_id if body.find("qos") is None else reference_of(body, "qos"),
        )
        kind.check_name(request.world, changed, "edit")
        request.world.own_profiles[found.id] = changed
        return Reply(200, kind.render(changed))

    @routes.add("DELETE", kind.path + "/{profile}")
    def remove(request: Request, profile: str) -> Reply:
        return _remove(request, find_or_404(kind.all(request.world), profile))

    @routes.add("DELETE", below + "/{profile}")
    def remove_from_owner(request: Request, owner: str, profile: str) -> Reply:
        return _remove(request, find_or_404(kind.all(request.world, owner), profile))

    def _remove(request: Request, found: Profile) -> Reply:
        world = request.world
        others = [one for one in kind.all(world, found.owner.id) if one != found.id]
        action = f"remove {kind.title}"
        if not others:
            last = kind.title.replace("Profile", "profile")
            raise faults.engine_fault("last profile", action=action, kind=last, owner=kind.owner_title)
        users = [disk.name for disk in world.disks.values() if disk.profile_id == found.id]
        if users:
            raise faults.engine_fault("profile used", action=action, count=len(users), disks="\n".join(users))
        world.own_profiles.pop(found.id, None)
        if getattr(found.owner, kind.field) == found.id:
            setattr(found.owner, kind.field, others[0])
        return complete()


DISK_PROFILES = Kind(
    "disk_profile", "Disk Profile", "storage_domain", "Storage Domain", "storagedomains", "profile_id"
)
CPU_PROFILES = Kind("cpu_profile", "CPU Profile", "cluster", "Cluster", "clusters", "cpu_profile_id")
_routes_of(DISK_PROFILES)
_routes_of(CPU_PROFILES)
