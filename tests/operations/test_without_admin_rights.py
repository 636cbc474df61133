"""A user without admin rights, who sees no jobs and a filtered engine, can run every verb with few roles."""

import dataclasses

import pytest

from ovirt_provision.engine.account import Account
from ovirt_provision.errors import Code, EnginePermissionDenied, ProvisionError
from ovirt_provision.ledger.store import CANCELLED, SUCCEEDED
from ovirt_provision.operations import examination
from ovirt_provision.operations.clean_up import CLEAN_UP
from ovirt_provision.operations.console import sit_down
from ovirt_provision.operations.dispatcher import VERBS
from ovirt_provision.operations.examination import OK, PROBLEM, examine
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.harness import ENGINE, OWNER, TEMPLATE, add_vault, spec, started
from tests.image_files import RAW

USER = "builder"
# What docs/security.md names as enough.
ROLES = (
    ("VmCreator", "data center"),
    ("TemplateCreator", "data center"),
    ("UserTemplateBasedVm", "template"),
)


def give_roles(simulator, roles, user=None):
    """Gives someone these roles; who they are."""
    world = simulator.world
    places = {
        "data center": ("datacenters", next(iter(world.data_centers))),
        "storage domain": ("storagedomains", next(iter(world.domains))),
        "cluster": ("clusters", next(iter(world.clusters))),
        "template": ("templates", world.templates_named(TEMPLATE)[0].id),
    }
    user = user or simulator.add_user(USER, "only of this user")
    for role, place in roles:
        world.give(role, user, places[place])
    return user


@pytest.fixture
def as_user(request, run_virtually, monkeypatch):
    """Runs a scenario on a Site whose account has these roles only, by default without HTTP."""

    async def connected(_engine):
        return [], True

    def run(scenario, roles=ROLES, where="direct_site"):
        site = request.getfixturevalue(where)
        if where == "direct_site":
            monkeypatch.setattr(examination, "_connection", connected)

        async def whole():
            async with site() as s:
                give_roles(s.simulator, roles)
                await s.become(f"{USER}@internal", "only of this user")
                await scenario(s)

        run_virtually(whole())

    return run


async def succeed(s, verb, **fields):
    operation = await s.run(verb, **fields)
    assert (operation.state, operation.error) == (SUCCEEDED, None), verb
    s.called = {*getattr(s, "called", ()), verb}
    machine = s.bridge.ledger.living_machine(OWNER, fields.get("key", ""))
    if verb in ("CreateMachine", "CloneMachine"):
        s.bridge.leases.confirm(machine)
    return operation


def test_new_disks_and_hardware(as_user):
    async def scenario(s):
        wanted = spec(
            new_disks=[resources_pb2.DiskSpec(size_bytes=1 << 30)],
            bios_type=resources_pb2.BIOS_TYPE_Q35_OVMF,
            memory_bytes=2 << 30,
        )
        await succeed(s, "CreateMachine", key="web", spec=wanted, start_with=started())
        await succeed(s, "DestroyMachine", key="web")
        assert (s.vms(), s.disks()) == ([], 1)

    as_user(scenario)


async def import_and_destroy(s):
    checksum = await s.upload(RAW)
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
    wanted = images_pb2.ImportedTemplate(name="imported", machine=machine)
    await succeed(s, "ImportImage", checksum=checksum, template=wanted)
    (made,) = s.simulator.world.templates_named("imported")
    await succeed(s, "DestroyTemplate", id=made.id)


def test_every_verb(as_user):
    async def scenario(s):
        add_vault(s.simulator)
        nics = [
            resources_pb2.Nic(name="nic1", vnic_profile="lab"),
            resources_pb2.Nic(name="nic2", vnic_profile="ovirtmgmt"),
        ]
        await succeed(
            s,
            "CreateMachine",
            key="thin",
            spec=spec(cluster="Default", nics=nics, boot_disk=resources_pb2.DiskSpec(size_bytes=8 << 30)),
            start_with=started(),
        )
        disks = [resources_pb2.DiskSpec(name="data", size_bytes=1 << 30)]
        raw = resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)
        await succeed(s, "CreateMachine", key="full", spec=spec(clone=True, boot_disk=raw, new_disks=disks))
        await succeed(s, "StartMachine", key="full")
        await succeed(s, "RestartMachine", key="full")
        await succeed(s, "CloneMachine", key="copy", source_key="thin", start_with=started())
        for key in ("thin", "full", "copy"):
            await succeed(s, "StopMachine", key=key)
        await succeed(s, "SparsifyDisk", machine_key="full")
        await succeed(s, "CloneMachine", key="again", source_key="full")
        await succeed(s, "CreateTemplate", machine_key="full", name="golden", seal=True)
        await succeed(s, "CreateTemplate", machine_key="copy", name="golden", new_version=True)
        await succeed(
            s, "CreateMachine", key="golden", spec=spec(template=resources_pb2.TemplateRef(name="golden"))
        )
        await succeed(s, "DetachDisk", machine_key="again", name="output")
        (output,) = [disk.id for disk in s.simulator.world.disks.values() if disk.name == "output"]
        census = await s.census()
        assert {finding for finding, _, _ in census} == {"ours"}
        findings = await examine(s.bridge.engine(ENGINE), s.bridge.ledger, s.bridge.installation, s.clock)
        assert [one.name for one in findings if one.severity == PROBLEM] == []
        assert {one.name: one.severity for one in findings}["verbs"] == OK
        assert len(census) == 12, census
        for key in ("thin", "full", "copy", "again", "golden"):
            await succeed(s, "DestroyMachine", key=key)
        versions = s.simulator.world.templates_named("golden")
        for version in versions:
            await succeed(s, "DestroyTemplate", id=version.id)
        for disk in s.simulator.world.disks.values():
            disk.size = min(disk.size, 1 << 20)  # of which all bytes are moved
        (user,) = [one for one in s.simulator.world.users.values() if one.principal.startswith(USER)]
        s.simulator.world.give("DiskCreator", user)  # on everything: image transfers take it
        await succeed(s, "ExportImage", disk_id=output)
        await succeed(s, "DestroyDisk", id=output)
        await import_and_destroy(s)
        base = resources_pb2.TemplateRef(name=TEMPLATE)
        await succeed(s, "CreateBackup", template=base, storage_domain="vault", name="saved")
        saved = resources_pb2.TemplateRef(name="saved")
        await succeed(s, "RestoreBackup", backup=saved, name="restored", storage_domain="data")
        for name in ("saved", "restored"):
            (made,) = s.simulator.world.templates_named(name)
            await succeed(s, "DestroyTemplate", id=made.id)
        # Storage domains the engine lets administrators alone change, and no role of users lets export.
        assert s.called == set(VERBS) - {CLEAN_UP.name, "MarkBackupDomain", "ExportTemplate"}
        assert (s.vms(), s.templates(), s.disks(), await s.census()) == ([], [], 1, [])
        refused = [one for one in s.simulator.requests if one.status in (400, 403)]
        # By the watcher, and by the examination.
        assert [one.operation for one in refused] == ["GET /jobs", "GET /jobs"]

    as_user(scenario, where="site")


def test_what_is_cancelled_or_has_lost_its_client_is_removed(as_user):
    async def scenario(s):
        cancelled = await s.call("CreateMachine", key="cancelled", spec=spec(), start_with=started())
        await s.clock.sleep(5)
        assert s.vms() == ["cancelled"]
        s.bridge.dispatcher.cancel(cancelled, "by its client")
        assert (await s.ended(cancelled)).state == CANCELLED
        assert (s.vms(), s.disks()) == ([], 1)
        await s.run("CreateMachine", key="lost", spec=spec(), start_with=started())
        assert s.vms() == ["lost"]
        await s.clock.sleep(3600)
        assert (s.vms(), s.disks(), await s.census()) == ([], 1, [])

    as_user(scenario)


# One role for each permit, so that one can be missing.
EACH = (
    ("VmCreator", "cluster"),
    ("DiskCreator", "storage domain"),
    ("UserTemplateBasedVm", "template"),
    ("TemplateCreator", "data center"),
)


def without(role, instead=None):
    """The roles but for one, in whose place there may be another."""
    return [(instead if given == role else given, place) for given, place in EACH if given != role or instead]


def lose(world, permit):
    """No role of users permits it any more."""
    for role in list(world.roles.values()):
        if not role.administrative:
            permits = tuple(one for one in role.permits if one != permit)
            world.roles[role.id] = dataclasses.replace(role, permits=permits)


def replace_roles(simulator, user, roles):
    """The user has other roles of those that it was given, and keeps what it has made."""
    world = simulator.world
    kinds = {"clusters", "storagedomains", "datacenters", "templates"}
    for one in list(world.permissions.values()):
        name = world.roles[one.role].name
        if (
            one.user is user
            and one.target[0] in kinds
            and (name, one.target[0]) != ("TemplateOwner", "templates")
        ):
            del world.permissions[one.id]
    give_roles(simulator, roles, user)


async def refused(s, verb, **fields):
    """The error of a call that is refused, at once or by its operation."""
    try:
        operation = await s.run(verb, **fields)
    except ProvisionError as error:
        return error.report()
    assert operation.state != SUCCEEDED
    return dataclasses.make_dataclass("Told", operation.error)(**operation.error)


# The engine's event of a snapshot that is being taken.
_SNAPSHOT_BEGUN = 45
NIC = resources_pb2.Nic(name="nic1", vnic_profile="lab")
CREATE = ("CreateMachine", {"key": "web", "spec": spec()})
CONNECT = ("CreateMachine", {"key": "web", "spec": spec(nics=[NIC])})
GROW = ("CreateMachine", {"key": "web", "spec": spec(boot_disk=resources_pb2.DiskSpec(size_bytes=8 << 30))})
CLONE = ("CloneMachine", {"key": "web", "source_key": "source"})
TEMPLATE_OF = ("CreateTemplate", {"machine_key": "down", "name": "golden"})
ON_SOURCE = {"key": "source"}


@pytest.mark.parametrize(
    ("call", "roles", "lost", "permit", "where", "role"),
    [
        (CREATE, without("VmCreator"), None, "create_vm", "cluster 'Default'", "VmCreator"),
        (CREATE, without("DiskCreator"), None, "create_disk", "storage domain 'data'", "DiskCreator"),
        (
            CREATE,
            without("UserTemplateBasedVm", "UserRole"),
            None,
            "create_vm",
            "template 'debian-12'",
            "UserTemplateBasedVm",
        ),
        (
            CONNECT,
            EACH,
            "configure_vm_network",
            "configure_vm_network",
            "vNIC profile 'lab'",
            "VnicProfileUser",
        ),
        (
            GROW,
            EACH,
            "edit_disk_properties",
            "edit_disk_properties",
            "disk 'debian-12_Disk1'",
            "DiskOperator",
        ),
        (CLONE, without("VmCreator"), None, "create_vm", "cluster 'Default'", "VmCreator"),
        (CLONE, without("DiskCreator"), None, "create_disk", "storage domain 'data'", "DiskCreator"),
        (CLONE, EACH, "manipulate_vm_snapshots", "manipulate_vm_snapshots", "VM 'source'", "UserVmManager"),
        (
            TEMPLATE_OF,
            without("TemplateCreator"),
            None,
            "create_template",
            "data center 'Default'",
            "TemplateCreator",
        ),
        (("StartMachine", {"key": "down"}), EACH, "run_vm", "run_vm", "VM 'down'", "UserVmManager"),
        (("StopMachine", ON_SOURCE), EACH, "shut_down_vm", "shut_down_vm", "VM 'source'", "UserVmManager"),
        (
            ("StopMachine", {**ON_SOURCE, "force": True}),
            EACH,
            "stop_vm",
            "stop_vm",
            "VM 'source'",
            "UserVmManager",
        ),
        (("RestartMachine", ON_SOURCE), EACH, "run_vm", "run_vm", "VM 'source'", "UserVmManager"),
        (("DestroyMachine", ON_SOURCE), EACH, "delete_vm", "delete_vm", "VM 'source'", "UserVmManager"),
        (
            ("DestroyTemplate", {}),
            EACH,
            "delete_template",
            "delete_template",
            "template 'made'",
            "TemplateOwner",
        ),
    ],
)
def test_a_missing_permit_is_told_with_its_object_and_nothing_is_left(
    as_user, call, roles, lost, permit, where, role
):
    verb, fields = call

    async def scenario(s):
        world = s.simulator.world
        user = next(one for one in world.users.values() if one.principal == USER)
        await prepare(s, verb)
        if verb == "DestroyTemplate":
            fields["id"] = world.templates_named("made")[0].id
        replace_roles(s.simulator, user, roles)
        if lost is not None:
            lose(world, lost)
        before, events = state(s), len(world.events)
        error = await refused(s, verb, **fields)
        assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "ENGINE_PERMISSION_DENIED")
        assert f"it lacks the permit {permit} on {where}" in error.message
        assert f"the role {role} on {where}" in error.advice
        assert error.message.count(" and ") == 0, error.message
        assert state(s) == before
        assert _SNAPSHOT_BEGUN not in {event.code for event in world.events[events:]}
        await doctor_says(s, permit, where)
        # What was asked to go is still wanted gone, for when the role is given.
        left = {"ours", "awaiting-engine"} if verb.startswith("Destroy") else {"ours"}
        assert {finding for finding, _, _ in await s.census()} <= left

    as_user(scenario, EACH)


async def doctor_says(s, permit, where):
    """The examination names the same permit, and for what is ours the same object."""
    if permit == "edit_disk_properties":
        return  # it has no Machine left to look at
    findings = await examine(s.bridge.engine(ENGINE), s.bridge.ledger, s.bridge.installation, s.clock)
    told = [finding for finding in findings if finding.severity != OK and permit in finding.summary]
    assert told, findings
    if where.startswith("VM"):
        assert any(where in finding.summary for finding in told)


async def prepare(s, verb):
    """The Machines and the template that the verb is about."""
    if verb in ("CreateTemplate", "StartMachine", "DestroyTemplate"):
        await succeed(s, "CreateMachine", key="down", spec=spec())
    if verb == "DestroyTemplate":
        await succeed(s, "CreateTemplate", machine_key="down", name="made")
    if verb in ("CloneMachine", "StopMachine", "RestartMachine", "DestroyMachine"):
        await succeed(s, "CreateMachine", key="source", spec=spec(), start_with=started())


def state(s):
    """All that the user can have changed."""
    world = s.simulator.world
    vms = sorted((vm.name, vm.status, len(vm.snapshots), len(vm.nics)) for vm in world.vms.values())
    disks = sorted((disk.name, disk.size) for disk in world.disks.values())
    return vms, disks, s.templates()


def test_without_looking_first_a_machine_is_stopped_that_may_not_be_started(as_user, monkeypatch):
    async def nothing(_account, _doing, _needs):
        return

    async def scenario(s):
        await prepare(s, "RestartMachine")
        lose(s.simulator.world, "run_vm")
        monkeypatch.setattr(Account, "insist", nothing)
        error = await refused(s, "RestartMachine", key="source")
        assert "run_vm on VM 'source'" in error.message
        assert [vm.status for vm in s.simulator.world.vms.values()] == ["down"]

    as_user(scenario)


def test_typing_takes_its_permit(as_user):
    async def scenario(s):
        await prepare(s, "RestartMachine")
        engine, row = s.bridge.engine(ENGINE), s.bridge.ledger.living_machine(OWNER, "source")
        typist = await sit_down(s.bridge, engine, row, None)
        await typist.leave()
        lose(s.simulator.world, "connect_to_vm")
        with pytest.raises(EnginePermissionDenied, match="connect_to_vm on VM 'source'"):
            await sit_down(s.bridge, engine, row, None)

    as_user(scenario)


def test_a_role_that_was_given_meanwhile_counts_at_once(as_user):
    async def scenario(s):
        await prepare(s, "CreateTemplate")
        error = await refused(s, "CreateTemplate", machine_key="down", name="golden")
        assert "create_template" in error.message
        user = next(one for one in s.simulator.world.users.values() if one.principal == USER)
        center = next(iter(s.simulator.world.data_centers))
        s.simulator.world.give("TemplateCreator", user, ("datacenters", center))
        await succeed(s, "CreateTemplate", machine_key="down", name="golden")

    as_user(scenario, without("TemplateCreator"))


def test_an_administrator_is_not_asked_what_it_may(site, run_virtually):
    async def scenario():
        async with site() as s:
            await prepare(s, "RestartMachine")
            await succeed(s, "RestartMachine", key="source")
            await succeed(s, "CloneMachine", key="copy", source_key="source")
            await succeed(s, "CreateTemplate", machine_key="copy", name="golden")
            await succeed(s, "DestroyMachine", key="source")
            asked = {one.operation for one in s.simulator.requests if one.in_api}
            assert not [one for one in asked if "permissions" in one or "roles" in one or one == "GET /"]

    run_virtually(scenario())
