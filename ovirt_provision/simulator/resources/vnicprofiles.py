"""`/vnicprofiles`, also below networks."""

from ovirt_provision.simulator import faults, markup
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
from ovirt_provision.simulator.data import load
from ovirt_provision.simulator.entities import DEFAULT_FILTER, Network, VnicProfile, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()


def render_profile(profile: VnicProfile, below: str = "") -> Element:
    """`below` is the path of the network when the profile was reached through it."""
    path = f"{below}/vnicprofiles/{profile.id}"
    return node(
        "vnic_profile",
        None,
        node("name", profile.name),
        node("description", profile.description) if profile.description else None,
        *links(path, ["permissions"]),
        node("migratable", profile.migratable) if profile.pass_through else None,
        node("pass_through", None, node("mode", "enabled" if profile.pass_through else "disabled")),
        node("port_mirroring", profile.port_mirroring),
        reference("network", "/networks", profile.network.id),
        reference("network_filter", "/networkfilters", profile.filter_id)
        if profile.filter_id is not None
        else None,
        href=BASE + path,
        id=profile.id,
    )


@routes.add("GET", "/vnicprofiles")
def list_profiles(request: Request) -> Reply:
    rows = sorted(request.world.profiles.values(), key=lambda profile: profile.name)
    return collection(request, "vnic_profiles", rows, render_profile)


@routes.add("POST", "/vnicprofiles")
def add_profile(request: Request) -> Reply:
    body = request.body("vnic_profile", "add")
    network = request.world.networks.get(require_id(markup.reference_of(body, "network")))
    if network is None:
        raise faults.engine_fault("internal")
    return _add(request, body, network)


@routes.add("GET", "/networks/{network}/vnicprofiles")
def list_profiles_of_network(request: Request, network: str) -> Reply:
    rows = [profile for profile in request.world.profiles.values() if profile.network.id == network]
    return collection(request, "vnic_profiles", rows, render_profile)


@routes.add("POST", "/networks/{network}/vnicprofiles")
def add_profile_to_network(request: Request, network: str) -> Reply:
    return _add(request, request.body("vnic_profile", "add"), find_or_404(request.world.networks, network))


def _add(request: Request, body: Element, network: Network) -> Reply:
    world = request.world
    name = find_text(body, "name") or ""
    if any(profile.name == name and profile.network is network for profile in world.profiles.values()):
        raise faults.engine_fault("profile name used", action="add VM network interface profile")
    passes = find_text(body, "pass_through/mode") == "enabled"
    profile = VnicProfile(
        new_id(),
        name,
        network,
        find_text(body, "description") or "",
        pass_through=passes,
        port_mirroring=find_bool(body, "port_mirroring", False),
        filter_id=_filter(world, body, None if passes else DEFAULT_FILTER),
        migratable=find_bool(body, "migratable", False),
    )
    world.profiles[profile.id] = profile
    return created(render_profile(profile, f"/networks/{network.id}"))


def _filter(world: World, body: Element, default: str | None) -> str | None:
    """An empty element means none."""
    element = body.find("network_filter")
    if element is None:
        return default
    given = element.get("id")
    if not given:
        return None
    if require_id(given) not in world.network_filters:
        raise faults.engine_fault("internal")
    return given.lower()


@routes.add("GET", "/networkfilters")
def list_filters(request: Request) -> Reply:
    rows = list(request.world.network_filters.items())
    return collection(request, "network_filters", rows, lambda one: _render_filter(*one))


@routes.add("GET", "/networkfilters/{network_filter}")
def show_filter(request: Request, network_filter: str) -> Reply:
    name = find_or_404(request.world.network_filters, network_filter)
    return Reply(200, _render_filter(network_filter, name))


def _render_filter(filter_id: str, name: str) -> Element:
    major, minor = dict(load("network_filters"))[name].split(".")
    version = node("version", None, node("major", major), node("minor", minor))
    path = f"{BASE}/networkfilters/{filter_id}"
    return node("network_filter", None, node("name", name), version, href=path, id=filter_id)


@routes.add("PUT", "/vnicprofiles/{profile}")
def update_profile(request: Request, profile: str) -> Reply:
    world = request.world
    found: VnicProfile = find_or_404(world.profiles, profile)
    body = request.body("vnic_profile", "update")
    found.name = find_text(body, "name") or found.name
    found.description = find_text(body, "description", found.description) or ""
    found.comment = find_text(body, "comment", found.comment) or ""
    found.port_mirroring = find_bool(body, "port_mirroring", found.port_mirroring)
    found.filter_id = _filter(world, body, found.filter_id)
    return Reply(200, render_profile(found))


@routes.add("GET", "/vnicprofiles/{profile}")
def show_profile(request: Request, profile: str) -> Reply:
    return Reply(200, render_profile(find_or_404(request.world.profiles, profile)))


@routes.add("DELETE", "/vnicprofiles/{profile}")
def remove_profile(request: Request, profile: str) -> Reply:
    world = request.world
    found = find_or_404(world.profiles, profile)
    users = [vm.name for vm in world.vms.values() if any(nic.profile is found for nic in vm.nics)]
    if users:
        raise faults.engine_fault(
            "profile in use", action="remove VM network interface profile", vms=", ".join(users)
        )
    del world.profiles[profile]
    return complete()
