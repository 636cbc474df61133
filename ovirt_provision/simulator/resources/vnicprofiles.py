"""`/vnicprofiles`, also below networks."""

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
from ovirt_provision.simulator.entities import Network, VnicProfile, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node

routes = Routes()

DEFAULT_FILTER = "d2370ab4-fee3-11e9-a310-8c1645ce738e"  # vdsm-no-mac-spoofing, the default


def render_profile(profile: VnicProfile, below: str = "") -> Element:
    """`below` is the path of the network when the profile was reached through it."""
    path = f"{below}/vnicprofiles/{profile.id}"
    return node(
        "vnic_profile",
        None,
        node("name", profile.name),
        node("description", profile.description) if profile.description else None,
        *links(path, ["permissions"]),
        node("pass_through", None, node("mode", "enabled" if profile.pass_through else "disabled")),
        node("port_mirroring", profile.port_mirroring),
        reference("network", "/networks", profile.network.id),
        reference("network_filter", "/networkfilters", DEFAULT_FILTER) if profile.filtered else None,
        href=BASE + path,
        id=profile.id,
    )


@routes.add("GET", "/vnicprofiles")
def list_profiles(request: Request) -> Reply:
    rows = sorted(request.world.profiles.values(), key=lambda profile: profile.name.lower())
    return collection(request, "vnic_profiles", rows, render_profile)


@routes.add("POST", "/vnicprofiles")
def add_profile(request: Request) -> Reply:
    body = request.body("vnic_profile", "add")
    element = body.find("network")
    if element is None or not element.get("id"):
        raise faults.mandatory("profile.network.id")
    network = request.world.networks.get(require_id(element.get("id", "")))
    if network is None:
        raise faults.engine_fault("internal")
    return _add(request, body, network)


@routes.add("GET", "/networks/{network}/vnicprofiles")
def list_profiles_of_network(request: Request, network: str) -> Reply:
    rows = [profile for profile in request.world.profiles.values() if profile.network.id == network]
    return collection(
        request, "vnic_profiles", rows, lambda profile: render_profile(profile, f"/networks/{network}")
    )


@routes.add("POST", "/networks/{network}/vnicprofiles")
def add_profile_to_network(request: Request, network: str) -> Reply:
    return _add(request, request.body("vnic_profile", "add"), find_or_404(request.world.networks, network))


def _add(request: Request, body: Element, network: Network) -> Reply:
    world = request.world
    name = find_text(body, "name")
    if not name:
        raise faults.mandatory("profile.name")
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
        filtered=not passes,
    )
    world.profiles[profile.id] = profile
    return created(render_profile(profile, f"/networks/{network.id}"))


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
