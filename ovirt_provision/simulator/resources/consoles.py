"""`/vms/{id}/graphicsconsoles`, `/templates/{id}/graphicsconsoles` and the tickets that open them.

Behind the VNC console of a VM that runs is the screen of its guest; of tickets for all else nothing knows.
"""

import secrets
from collections.abc import Sequence

from ovirt_provision.simulator import faults, machine_config, power
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
    perform,
    reference,
)
from ovirt_provision.simulator.entities import Template, Vm
from ovirt_provision.simulator.faults import Fault
from ovirt_provision.simulator.guests.screen import ADDRESS
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["ticket", "proxyticket", "remoteviewerconnectionfile"]
VIEWER = "application/x-virt-viewer"
_EXPIRY = 7200  # seconds
_SPICE_PORT = 5901


def _id(protocol: str) -> str:
    return protocol.encode().hex()


def _path(owner: Vm | Template) -> str:
    return f"/vms/{owner.id}" if isinstance(owner, Vm) else f"/templates/{owner.id}"


def render_console(owner: Vm | Template, protocol: str, *, current: bool = False) -> Element:
    path = f"{_path(owner)}/graphicsconsoles/{_id(protocol)}"
    tag = "vm" if isinstance(owner, Vm) else "template"
    return node(
        "graphics_console",
        None,
        actions(path, ACTIONS) if isinstance(owner, Vm) else None,
        node("address", ADDRESS) if current else None,
        node("port", _port(owner, protocol)) if current else None,
        node("protocol", protocol),
        reference(tag, f"/{tag}s", owner.id),
        href=BASE + path,
        id=_id(protocol),
    )


def _port(owner: Vm | Template, protocol: str) -> int:
    if protocol == "vnc" and isinstance(owner, Vm) and owner.guest is not None:
        return owner.guest.screen.port
    return _SPICE_PORT


def _protocols(owner: Vm | Template) -> Sequence[str]:
    return sorted(machine_config.consoles(owner.config))


def _find(owner: Vm | Template, console: str) -> str:
    return str(find_or_404({_id(protocol): protocol for protocol in _protocols(owner)}, console))


@routes.add("GET", "/vms/{vm}/graphicsconsoles")
def list_consoles(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    current = request.flag("current")
    rows = _protocols(found) if found.running or not current else []
    return collection(
        request, "graphics_consoles", rows, lambda one: render_console(found, one, current=current)
    )


@routes.add("POST", "/vms/{vm}/graphicsconsoles")
def add_console(request: Request, vm: str) -> Reply:
    return _add(request, find_or_404(request.world.vms, vm))


@routes.add("GET", "/vms/{vm}/graphicsconsoles/{console}")
def show_console(request: Request, vm: str, console: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    protocol = _find(found, console)
    if VIEWER in request.accept:
        if not found.running:
            raise Fault(409, None, f"Vm {found.name} is not running.", bare=True)
        return Reply(200, text=(_connection_file(request, found, protocol), VIEWER))
    return Reply(200, render_console(found, protocol, current=request.flag("current") and found.running))


@routes.add("DELETE", "/vms/{vm}/graphicsconsoles/{console}")
def remove_console(request: Request, vm: str, console: str) -> Reply:
    return _remove(find_or_404(request.world.vms, vm), console)


@routes.add("GET", "/templates/{template}/graphicsconsoles")
def list_template_consoles(request: Request, template: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)
    return collection(request, "graphics_consoles", _protocols(found), lambda one: render_console(found, one))


@routes.add("POST", "/templates/{template}/graphicsconsoles")
def add_template_console(request: Request, template: str) -> Reply:
    return _add(request, find_or_404(request.world.templates, template))


@routes.add("GET", "/templates/{template}/graphicsconsoles/{console}")
def show_template_console(request: Request, template: str, console: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)
    return Reply(200, render_console(found, _find(found, console)))


@routes.add("DELETE", "/templates/{template}/graphicsconsoles/{console}")
def remove_template_console(request: Request, template: str, console: str) -> Reply:
    return _remove(find_or_404(request.world.templates, template), console)


def _add(request: Request, owner: Vm | Template) -> Reply:
    protocol = find_text(request.body("graphics_console", "add"), "protocol") or ""
    present = machine_config.consoles(owner.config)
    if protocol in present:
        raise faults.engine_fault("console in use")
    machine_config.set_consoles(owner.config, [*present, protocol])
    return created(render_console(owner, protocol))


def _remove(owner: Vm | Template, console: str) -> Reply:
    protocol = _find(owner, console)
    rest = [one for one in machine_config.consoles(owner.config) if one != protocol]
    machine_config.set_consoles(owner.config, rest)
    return complete()


def _give_ticket(vm: Vm, body: Element) -> Sequence[Element]:
    if vm.status not in ("up", "powering_up", "powering_down", "reboot_in_progress", "paused"):
        # This action answers without its envelope.
        fault = faults.engine_fault("vm status", action="set Virtual Machine Ticket", status=_status(vm))
        fault.bare = True
        raise fault
    value = find_text(body, "ticket/value") or secrets.token_urlsafe(6)
    expiry = find_text(body, "ticket/expiry") or str(_EXPIRY)
    if vm.guest is not None:
        vm.guest.screen.let_in(value, float(expiry))
    return [node("ticket", None, node("expiry", expiry), node("value", value))]


def _status(vm: Vm) -> str:
    return power.STATUS_NAMES[vm.status]


@routes.add("POST", "/vms/{vm}/ticket")
def give_ticket(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    return perform(request, "ticket", lambda body: _give_ticket(found, body))


@routes.add("POST", "/vms/{vm}/graphicsconsoles/{console}/ticket")
def give_console_ticket(request: Request, vm: str, console: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    _find(found, console)
    return perform(request, "ticket", lambda body: _give_ticket(found, body))


@routes.add("POST", "/vms/{vm}/graphicsconsoles/{console}/proxyticket")
def give_proxy_ticket(request: Request, vm: str, console: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    _find(found, console)
    if not found.running:
        raise Fault(
            400, "Graphics console can't be obtained. Is vm ready for connecting to console?", bare=True
        )
    return Reply(
        200, node("action", None, node("proxy_ticket", None, node("value", secrets.token_urlsafe(32))))
    )


@routes.add("POST", "/vms/{vm}/graphicsconsoles/{console}/remoteviewerconnectionfile")
def give_connection_file(request: Request, vm: str, console: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    protocol = _find(found, console)
    if not found.running:
        return Reply(204)
    content = _connection_file(request, found, protocol).decode()
    return Reply(200, node("action", None, node("remote_viewer_connection_file", content)))


def _connection_file(request: Request, vm: Vm, protocol: str) -> bytes:
    """What remote-viewer reads. Its tokens are made up: nothing takes them."""
    world: World = request.world
    certificate = world.ca_certificate.replace("\n", "\\n")
    lines = [
        "[virt-viewer]",
        f"type={protocol}",
        f"host={ADDRESS}",
        f"port={_port(vm, protocol)}",
        f"password={secrets.token_urlsafe(9)}",
        "# Password is valid for 120 seconds.",
        "delete-this-file=1",
        "fullscreen=0",
        f"title={vm.name}:%d",
        "toggle-fullscreen=shift+f11",
        "release-cursor=shift+f12",
        "secure-attention=ctrl+alt+end",
        "versions=rhev-win64:2.0-160;rhev-win32:2.0-160;rhel8:7.0-3;rhel7:2.0-6;rhel6:99.0-1",
        "newer-version-url=http://www.ovirt.org/documentation/admin-guide/virt/console-client-resources",
        "",
        "[ovirt]",
        f"host={request.host}",
        f"vm-guid={vm.id}",
        f"sso-token={secrets.token_urlsafe(64)}",
        "admin=1",
        f"ca={certificate}",
    ]
    return ("\n".join(lines) + "\n").encode()
