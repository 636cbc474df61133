"""`/vms/{id}/nics`, `/templates/{id}/nics`, and what guests report about their interfaces."""

import uuid

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    complete,
    created,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.entities import MAC, Nic, Template, Vm, VnicProfile, new_id
from ovirt_provision.simulator.guests import GuestInterface
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.power import reported
from ovirt_provision.simulator.resources.lookups import find_profile
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["activate", "deactivate"]
LINKS = ["networkfilterparameters", "reporteddevices", "statistics"]


def render_nic(nic: Nic, vm_id: str) -> Element:
    path = f"/vms/{vm_id}/nics/{nic.id}"
    return node(
        "nic",
        None,
        actions(path, ACTIONS),
        node("name", nic.name),
        *links(path, LINKS),
        reference("vm", "/vms", vm_id),
        node("interface", nic.interface),
        node("linked", nic.linked),
        node("mac", None, node("address", nic.mac)) if nic.mac is not None else None,
        node("plugged", nic.plugged),
        node("synced", "true"),
        reference("vnic_profile", "/vnicprofiles", nic.profile.id) if nic.profile is not None else None,
        href=BASE + path,
        id=nic.id,
    )


def render_template_nic(nic: Nic, template_id: str) -> Element:
    return node(
        "nic",
        None,
        node("name", nic.name),
        reference("template", "/templates", template_id),
        reference("vm", "/vms", template_id),
        node("interface", nic.interface),
        node("linked", nic.linked),
        node("plugged", nic.plugged),
        node("synced", "true"),
        reference("vnic_profile", "/vnicprofiles", nic.profile.id) if nic.profile is not None else None,
        href=f"{BASE}/templates/{template_id}/nics/{nic.id}",
        id=nic.id,
    )


def render_device(vm: Vm, interface: GuestInterface) -> Element:
    # The engine derives the id from the interface's name and address: the bytes of `eth056:6f:...`.
    device_id = str(uuid.UUID(bytes=(interface.name + interface.mac).encode()[:16].ljust(16, b"\0")))
    return node(
        "reported_device",
        None,
        node("name", interface.name),
        node("description", "guest reported data"),
        node(
            "ips",
            None,
            *(
                node("ip", None, node("address", address), node("version", "v6" if ":" in address else "v4"))
                for address in interface.addresses
            ),
        )
        if interface.addresses
        else None,
        node("mac", None, node("address", interface.mac)),
        node("type", "network"),
        reference("vm", "/vms", vm.id),
        href=f"{BASE}/vms/{vm.id}/reporteddevices/{device_id}",
        id=device_id,
    )


@routes.add("GET", "/vms/{vm}/reporteddevices")
def list_devices(request: Request, vm: str) -> Reply:
    found: Vm | None = request.world.vms.get(vm)
    rows = reported(request.world, found) if found is not None else ()
    return collection(
        request, "reported_devices", rows, lambda one: render_device(request.world.vms[vm], one)
    )


@routes.add("GET", "/vms/{vm}/reporteddevices/{device}")
def show_device(request: Request, vm: str, device: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    rendered = [render_device(found, one) for one in reported(request.world, found)]
    return Reply(200, find_or_404({one.get("id", ""): one for one in rendered}, device))


@routes.add("GET", "/vms/{vm}/nics/{nic}/reporteddevices")
def list_devices_of_nic(request: Request, vm: str, nic: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    mac = next((one.mac for one in found.nics if one.id == nic), None)
    rows = [one for one in reported(request.world, found) if one.mac == mac]
    return collection(request, "reported_devices", rows, lambda one: render_device(found, one))


@routes.add("GET", "/vms/{vm}/nics")
def list_nics(request: Request, vm: str) -> Reply:
    found: Vm | None = request.world.vms.get(vm)
    rows = sorted(found.nics, key=lambda nic: nic.name) if found is not None else []
    return collection(request, "nics", rows, lambda nic: render_nic(nic, vm))


@routes.add("GET", "/templates/{template}/nics")
def list_template_nics(request: Request, template: str) -> Reply:
    found = request.world.templates.get(template)
    rows = sorted(found.nics, key=lambda nic: nic.name) if found is not None else []
    return collection(request, "nics", rows, lambda nic: render_template_nic(nic, template))


@routes.add("GET", "/templates/{template}/nics/{nic}")
def show_template_nic(request: Request, template: str, nic: str) -> Reply:
    found = find_or_404(request.world.templates, template)
    return Reply(200, render_template_nic(find_or_404({one.id: one for one in found.nics}, nic), template))


@routes.add("POST", "/templates/{template}/nics")
def add_template_nic(request: Request, template: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)
    body = request.body("nic", "add")
    nic = Nic(new_id(), "", None, None)
    _change_template_nic(request, found, nic, body, "add Interface")
    found.nics.append(nic)
    return created(render_template_nic(nic, template))


@routes.add("PUT", "/templates/{template}/nics/{nic}")
def update_template_nic(request: Request, template: str, nic: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)
    one: Nic = find_or_404({each.id: each for each in found.nics}, nic)
    _change_template_nic(request, found, one, request.body("nic", "update"), "edit Interface")
    return Reply(200, render_template_nic(one, template))


@routes.add("DELETE", "/templates/{template}/nics/{nic}")
def remove_template_nic(request: Request, template: str, nic: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)
    found.nics.remove(find_or_404({each.id: each for each in found.nics}, nic))
    return complete()


def _change_template_nic(request: Request, template: Template, nic: Nic, body: Element, action: str) -> None:
    """A template's NIC has no address."""
    name = find_text(body, "name") or nic.name
    profile = nic.profile
    if body.find("vnic_profile") is not None:
        profile = find_profile(request.world, body, action)
    if any(other.name == name and other is not nic for other in template.nics):
        raise faults.engine_fault("nic name in use")
    nic.name, nic.profile = name, profile
    nic.interface = find_text(body, "interface") or nic.interface
    nic.linked = find_bool(body, "linked", nic.linked)
    nic.plugged = find_bool(body, "plugged", nic.plugged)


@routes.add("POST", "/vms/{vm}/nics")
def add_nic(request: Request, vm: str) -> Reply:
    world = request.world
    body = request.body("nic", "add")
    name = find_text(body, "name") or ""
    found: Vm = find_or_404(world.vms, vm)
    action = "add Interface"
    interface = find_text(body, "interface") or "virtio"
    profile = find_profile(world, body, action)
    mac = find_text(body, "mac/address")
    if mac is not None:
        _check_mac(world, mac)
    if any(nic.name == name for nic in found.nics):
        raise faults.engine_fault("nic name in use")
    _check_profile(found, profile, interface, action)
    nic = Nic(
        new_id(),
        name,
        mac.lower() if mac is not None else world.new_mac(found.cluster.mac_pool, action),
        profile,
        interface,
        find_bool(body, "linked", True),
        find_bool(body, "plugged", True),
    )
    found.nics.append(nic)
    world.log(1012, vm=found, job=None, correlation_id=request.correlation_id, nic=name)
    world.log(932, vm=found, job=None, correlation_id=request.correlation_id, nic=name)
    return created(render_nic(nic, vm))


def _check_mac(world: World, mac: str, own: str | None = None) -> None:
    if not MAC.fullmatch(mac):
        raise faults.engine_fault("mac format")
    if int(mac[:2], 16) & 1:
        raise faults.engine_fault("mac multicast")
    holder = world.macs().get(mac.lower())
    if holder is not None and mac.lower() != own:
        raise faults.engine_fault("mac in use", mac=mac.lower(), vm=holder.name)


def _check_profile(vm: Vm, profile: VnicProfile | None, interface: str, action: str) -> None:
    if profile is None:
        return
    if profile.network not in vm.cluster.networks:
        raise faults.engine_fault("network not in cluster")
    if profile.pass_through != (interface == "pci_passthrough"):
        raise faults.engine_fault("pass-through mismatch", action=action)


def _find(request: Request, vm: str, nic: str) -> tuple[Vm, Nic]:
    found: Vm = find_or_404(request.world.vms, vm)
    return found, find_or_404({one.id: one for one in found.nics}, nic)


@routes.add("GET", "/vms/{vm}/nics/{nic}")
def show_nic(request: Request, vm: str, nic: str) -> Reply:
    return Reply(200, render_nic(_find(request, vm, nic)[1], vm))


@routes.add("PUT", "/vms/{vm}/nics/{nic}")
def update_nic(request: Request, vm: str, nic: str) -> Reply:
    world = request.world
    found, one = _find(request, vm, nic)
    body = request.body("nic", "update")
    action = "edit Interface"
    interface = find_text(body, "interface") or one.interface
    profile = one.profile
    if body.find("vnic_profile") is not None:
        profile = find_profile(world, body, action)
    mac = find_text(body, "mac/address")
    if mac is not None:
        _check_mac(world, mac, own=one.mac)
    name = find_text(body, "name") or one.name
    if any(other.name == name and other is not one for other in found.nics):
        raise faults.engine_fault("nic name in use")
    _check_profile(found, profile, interface, action)
    one.name, one.interface, one.profile = name, interface, profile
    one.mac = mac.lower() if mac is not None else one.mac
    one.linked = find_bool(body, "linked", one.linked)
    one.plugged = find_bool(body, "plugged", one.plugged)
    world.log(934, vm=found, job=None, correlation_id=request.correlation_id, nic=name)
    return Reply(200, render_nic(one, vm))


@routes.add("DELETE", "/vms/{vm}/nics/{nic}")
def remove_nic(request: Request, vm: str, nic: str) -> Reply:
    found, one = _find(request, vm, nic)
    if found.running and one.plugged:
        raise faults.engine_fault("nic plugged", action="remove Interface")
    found.nics.remove(one)
    request.world.log(930, vm=found, job=None, correlation_id=request.correlation_id, nic=one.name)
    return complete()


@routes.add("POST", "/vms/{vm}/nics/{nic}/activate")
def activate_nic(request: Request, vm: str, nic: str) -> Reply:
    _find(request, vm, nic)[1].plugged = True
    return complete()


@routes.add("POST", "/vms/{vm}/nics/{nic}/deactivate")
def deactivate_nic(request: Request, vm: str, nic: str) -> Reply:
    _find(request, vm, nic)[1].plugged = False
    return complete()
