"""Watchdogs, virtual NUMA nodes and the CD drive of a VM, and the filter parameters of its NICs.

Source: the engine's resources and their mappers; none of this is recorded.
"""

from collections.abc import Callable

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
    reference,
)
from ovirt_provision.simulator.entities import ZERO_ID, Nic, Template, Vm, new_id
from ovirt_provision.simulator.markup import Element, find_text, node, reference_of

routes = Routes()

_Parts = list[Element]


def _show(part: Element, path: str, owner: Element) -> Element:
    return node(
        str(part.tag),
        None,
        owner,
        *markup.without(part, ()),
        href=f"{BASE}{path}/{part.get('id')}",
        id=part.get("id", ""),
    )


def _find(parts: _Parts, part_id: str) -> Element:
    found: Element = find_or_404({one.get("id", ""): one for one in parts}, part_id)
    return found


def _add_routes_of(
    path: str,
    tag: str,
    owner_tag: str,
    find: Callable[..., tuple[str, _Parts]],
    check: Callable[[Request, _Parts, Element, str], None],
) -> None:
    """The parts at `path`, elements `tag` that are kept as they were sent.

    `find` takes the request and the ids of the path and returns the owner's path and its parts; `check`
    raises the engine's faults for a part that is added or changed.
    """
    name = path.rsplit("/", 1)[1]

    def show(part: Element, owner: str) -> Element:
        return _show(part, f"{owner}/{name}", reference(owner_tag, *owner.rsplit("/", 1)))

    @routes.add("GET", path)
    def list_parts(request: Request, **ids: str) -> Reply:
        owner, parts = find(request, **ids)
        return collection(request, f"{tag}s", parts, lambda part: show(part, owner))

    @routes.add("POST", path)
    def add_part(request: Request, **ids: str) -> Reply:
        owner, parts = find(request, **ids)
        part = markup.without(request.body(tag, "add"), ())
        part.set("id", new_id())
        check(request, parts, part, ids["vm"])
        parts.append(part)
        return created(show(part, owner))

    @routes.add("GET", f"{path}/{{part}}")
    def show_part(request: Request, part: str, **ids: str) -> Reply:
        owner, parts = find(request, **ids)
        return Reply(200, show(_find(parts, part), owner))

    @routes.add("PUT", f"{path}/{{part}}")
    def update_part(request: Request, part: str, **ids: str) -> Reply:
        owner, parts = find(request, **ids)
        present = _find(parts, part)
        changed = markup.without(present, ())
        markup.merge(changed, request.body(tag, "update"))
        check(request, [one for one in parts if one is not present], changed, ids["vm"])
        parts[parts.index(present)] = changed
        return Reply(200, show(changed, owner))

    @routes.add("DELETE", f"{path}/{{part}}")
    def remove_part(request: Request, part: str, **ids: str) -> Reply:
        _, parts = find(request, **ids)
        parts.remove(_find(parts, part))
        return complete()


def _of_vm(attribute: str) -> Callable[..., tuple[str, _Parts]]:
    def find(request: Request, vm: str) -> tuple[str, _Parts]:
        return f"/vms/{vm}", getattr(find_or_404(request.world.vms, vm), attribute)

    return find


def _of_nic(request: Request, vm: str, nic: str) -> tuple[str, _Parts]:
    found: Vm = find_or_404(request.world.vms, vm)
    one: Nic = find_or_404({one.id: one for one in found.nics}, nic)
    return f"/vms/{vm}/nics/{nic}", one.filter_parameters


def _check_watchdog(_request: Request, others: _Parts, _watchdog: Element, _vm: str) -> None:
    if others:
        raise faults.engine_fault("watchdog present")


def _check_numa_node(request: Request, others: _Parts, part: Element, vm: str) -> None:
    index = find_text(part, "index")
    if any(find_text(one, "index") == index for one in others):
        raise faults.engine_fault("numa index in use", index=index)
    config = request.world.vms[vm].config
    memory = int(find_text(config, "memory") or 0) >> 20
    wanted = sum(int(find_text(one, "memory") or 0) for one in [*others, part])
    if wanted > memory:
        raise faults.engine_fault("numa memory", wanted=wanted, memory=memory)


def _check_nothing(_request: Request, _others: _Parts, _part: Element, _vm: str) -> None:
    return


_add_routes_of("/vms/{vm}/watchdogs", "watchdog", "vm", _of_vm("watchdogs"), _check_watchdog)
_add_routes_of("/vms/{vm}/numanodes", "vm_numa_node", "vm", _of_vm("numa_nodes"), _check_numa_node)
_add_routes_of(
    "/vms/{vm}/nics/{nic}/networkfilterparameters",
    "network_filter_parameter",
    "nic",
    _of_nic,
    _check_nothing,
)


# The CD drive: every VM has one, with an id of zeros


def _render_drive(request: Request, vm: Vm) -> Element:
    """What is in the drive; with `current` what the running VM sees there."""
    disc = vm.current_disc if request.flag("current") else vm.disc
    return node(
        "cdrom",
        None,
        node("file", id=disc) if disc else None,
        reference("vm", "/vms", vm.id),
        href=f"{BASE}/vms/{vm.id}/cdroms/{ZERO_ID}",
        id=ZERO_ID,
    )


@routes.add("GET", "/vms/{vm}/cdroms")
def list_drives(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    return collection(request, "cdroms", [found], lambda one: _render_drive(request, one))


@routes.add("GET", "/templates/{template}/cdroms")
def list_template_drives(request: Request, template: str) -> Reply:
    found: Template = find_or_404(request.world.templates, template)

    def render(one: Template) -> Element:
        return node(
            "cdrom",
            None,
            node("file", id=one.disc) if one.disc else None,
            reference("template", "/templates", one.id),
            href=f"{BASE}/templates/{one.id}/cdroms/{ZERO_ID}",
            id=ZERO_ID,
        )

    return collection(request, "cdroms", [found], render)


@routes.add("POST", "/vms/{vm}/cdroms")
def fill_drive(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    found.disc = reference_of(request.body("cdrom", "add"), "file")
    return created(_render_drive(request, found))


@routes.add("GET", "/vms/{vm}/cdroms/{drive}")
def show_drive(request: Request, vm: str, **_ids: str) -> Reply:
    return Reply(200, _render_drive(request, find_or_404(request.world.vms, vm)))


@routes.add("PUT", "/vms/{vm}/cdroms/{drive}")
def change_disc(request: Request, vm: str, **_ids: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    disc = reference_of(request.body("cdrom", "update"), "file")
    if not request.flag("current"):
        found.disc = disc
    elif found.running:
        found.current_disc = disc
    else:
        raise faults.engine_fault("vm not running", action="change CD")
    return Reply(200, _render_drive(request, found))
