"""`/vmpools`, and how a VM is taken from a pool and leaves it.

Sources: the API model. Not recorded, so judged: the texts of the refusals, and that an allocated VM runs
statelessly unless its pool is stateful.
"""

from ovirt_provision.simulator import faults, machine_config
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
    perform,
    reference,
)
from ovirt_provision.simulator.entities import Vm, VmPool, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.lookups import find_cluster, find_template
from ovirt_provision.simulator.resources.vm_actions import start
from ovirt_provision.simulator.resources.vms import add_vm, remove_vm
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

FIELDS: Fields = {
    "name": Field(lambda pool: pool.name, free_text=True),
    "description": Field(lambda pool: pool.description, free_text=True),
    "comment": Field(lambda pool: pool.comment, free_text=True),
    "id": Field(lambda pool: pool.id, Kind.ID),
    "cluster": Field(lambda pool: pool.cluster.name),
    "datacenter": Field(lambda pool: pool.cluster.data_center.name),
}


def _members(world: World, pool: VmPool) -> list[Vm]:
    return sorted((vm for vm in world.vms.values() if vm.pool is pool), key=lambda vm: vm.name)


def render_pool(world: World, pool: VmPool) -> Element:
    path = f"/vmpools/{pool.id}"
    return node(
        "vm_pool",
        None,
        actions(path, ["allocatevm"]),
        node("name", pool.name),
        node("description", pool.description),
        node("comment", pool.comment),
        *links(path, ["permissions"]),
        node("max_user_vms", pool.max_user_vms),
        node("prestarted_vms", pool.prestarted),
        node("size", len(_members(world, pool))),
        node("stateful", pool.stateful),
        node("type", pool.type),
        node("use_latest_template_version", pool.latest),
        reference("cluster", "/clusters", pool.cluster.id),
        reference("template", "/templates", pool.template.id),
        href=BASE + path,
        id=pool.id,
    )


@routes.add("GET", "/vmpools")
def list_pools(request: Request) -> Reply:
    world = request.world
    rows = sorted(world.pools.values(), key=lambda pool: pool.name)
    return collection(request, "vm_pools", rows, lambda one: render_pool(world, one), FIELDS)


@routes.add("GET", "/vmpools/{pool}")
def show_pool(request: Request, pool: str) -> Reply:
    return Reply(200, render_pool(request.world, find_or_404(request.world.pools, pool)))


@routes.add("POST", "/vmpools")
def add_pool(request: Request) -> Reply:
    world = request.world
    body = request.body("vm_pool", "add")
    action = "add VM Pool"
    name = find_text(body, "name") or ""
    cluster, template = body.find("cluster"), body.find("template")
    assert cluster is not None  # it and the template are mandatory
    assert template is not None
    pool = VmPool(
        new_id(),
        name,
        find_cluster(world, cluster),
        find_template(world, template),
        find_text(body, "description") or "",
        find_text(body, "comment") or "",
        prestarted=request.number(body, "prestarted_vms", "add") or 0,
        max_user_vms=request.number(body, "max_user_vms", "add") or 1,
        type=find_text(body, "type") or "automatic",
        stateful=find_bool(body, "stateful", False),
        latest=find_bool(body, "use_latest_template_version", False),
    )
    machine_config.check_name(name.replace("?", "1"), action)
    _check_name(world, name, action)
    world.pools[pool.id] = pool
    _grow(request, pool, request.number(body, "size", "add") or 0)
    return created(render_pool(world, pool))


def _check_name(world: World, name: str, action: str) -> None:
    if any(one.name == name for one in world.pools.values()):
        raise faults.engine_fault("name in use", action=action, type="VM Pool")


def _grow(request: Request, pool: VmPool, size: int) -> None:
    """Adds VMs to the pool, named with its name and a number."""
    world = request.world
    number = 0
    while len(_members(world, pool)) < size:
        number += 1
        name = pool.name.replace("?", str(number)) if "?" in pool.name else f"{pool.name}-{number}"
        if world.vm_named(name) is not None:
            continue
        body = node(
            "vm",
            None,
            node("name", name),
            node("use_latest_template_version", pool.latest),
            reference("cluster", "/clusters", pool.cluster.id),
            reference("template", "/templates", pool.template.id),
        )
        add_vm(request.inner("POST", "/vms", body))
        vm = world.vm_named(name)
        assert vm is not None
        vm.pool = pool


@routes.add("PUT", "/vmpools/{pool}")
def update_pool(request: Request, pool: str) -> Reply:
    """A pool only grows: its VMs are detached one by one."""
    world = request.world
    found: VmPool = find_or_404(world.pools, pool)
    body = request.body("vm_pool", "update")
    action = "edit VM Pool"
    name = find_text(body, "name") or found.name
    if name != found.name:
        _check_name(world, name, action)
    size = request.number(body, "size", "update")
    if size is not None and size < len(_members(world, found)):
        raise faults.engine_fault("pool shrinks", action=action)
    found.name = name
    found.description = find_text(body, "description", found.description) or ""
    found.comment = find_text(body, "comment", found.comment) or ""
    prestarted = request.number(body, "prestarted_vms", "update")
    found.prestarted = found.prestarted if prestarted is None else prestarted
    found.max_user_vms = request.number(body, "max_user_vms", "update") or found.max_user_vms
    found.type = find_text(body, "type") or found.type
    _grow(request, found, size or 0)
    return Reply(200, render_pool(world, found))


@routes.add("DELETE", "/vmpools/{pool}")
def remove_pool(request: Request, pool: str) -> Reply:
    """Its VMs go with it; refused while one runs or is being made."""
    world = request.world
    found: VmPool = find_or_404(world.pools, pool)
    members = _members(world, found)
    busy = [vm.name for vm in members if vm.status != "down"]
    if busy:
        raise faults.engine_fault("pool in use", action="remove VM Pool", vms=", ".join(busy))
    del world.pools[pool]
    for vm in members:
        vm.pool = None
        remove_vm(request.inner("DELETE", f"/vms/{vm.id}"), vm.id)
    return complete()


@routes.add("POST", "/vmpools/{pool}/allocatevm")
def allocate_vm(request: Request, pool: str) -> Reply:
    """Starts a VM of the pool and tells which."""
    world = request.world
    found: VmPool = find_or_404(world.pools, pool)

    def allocate(_body: Element) -> list[Element]:
        down = [vm for vm in _members(world, found) if vm.status == "down"]
        free = next((vm for vm in down if ("vm", vm.id) not in world.locks), None)
        if free is None:
            raise faults.engine_fault("pool empty", action="allocate VM from VM Pool")
        once = node("vm", None, node("stateless", "true")) if not found.stateful else None
        start(request, free, node("action", None, once))
        return [reference("vm", "/vms", free.id)]

    return perform(request, "allocatevm", allocate)


@routes.add("POST", "/vms/{vm}/detach")
def detach_vm(request: Request, vm: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)

    def detach(_body: Element) -> list[Element]:
        action = "detach VM from VM Pool"
        if found.pool is None:
            raise faults.engine_fault("vm without pool", action=action)
        if found.running:
            raise faults.engine_fault("vm running", action=action)
        found.pool = None
        return []

    return perform(request, "detach", detach)
