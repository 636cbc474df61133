"""A user without admin rights, who sees no jobs and a filtered engine, can run every verb with few roles."""

import pytest

from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.v1 import resources_pb2
from tests.harness import OWNER, TEMPLATE, spec, started

USER = "builder"
# What docs/security.md names as enough.
ROLES = (
    ("VmCreator", "data center"),
    ("TemplateCreator", "data center"),
    ("UserTemplateBasedVm", "template"),
)


def give_roles(simulator, roles=ROLES):
    """Someone with these roles; who they are."""
    world = simulator.world
    places = {
        "data center": ("datacenters", next(iter(world.data_centers))),
        "storage domain": ("storagedomains", next(iter(world.domains))),
        "cluster": ("clusters", next(iter(world.clusters))),
        "template": ("templates", world.templates_named(TEMPLATE)[0].id),
    }
    user = simulator.add_user(USER, "secret")
    for role, place in roles:
        world.give(role, user, places[place])
    return user


@pytest.fixture
def as_user(site, run_virtually):
    """Runs a scenario on a Site whose account has these roles only."""

    def run(scenario, roles=ROLES, **options):
        async def whole():
            async with site(**options) as s:
                give_roles(s.simulator, roles)
                await s.become(f"{USER}@internal", "secret")
                await scenario(s)

        run_virtually(whole())

    return run


async def succeed(s, verb, **fields):
    operation = await s.run(verb, **fields)
    assert (operation.state, operation.error) == (SUCCEEDED, None), verb
    machine = s.bridge.ledger.living_machine(OWNER, fields.get("key", ""))
    if verb in ("CreateMachine", "CloneMachine"):
        s.bridge.leases.confirm(machine)
    return operation


def test_every_verb(as_user):
    async def scenario(s):
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
        await succeed(s, "CreateMachine", key="full", spec=spec(clone=True))
        await succeed(s, "StartMachine", key="full")
        await succeed(s, "RestartMachine", key="full")
        await succeed(s, "CloneMachine", key="copy", source_key="thin", start_with=started())
        for key in ("thin", "full", "copy"):
            await succeed(s, "StopMachine", key=key)
        await succeed(s, "CloneMachine", key="again", source_key="full")
        await succeed(s, "CreateTemplate", machine_key="full", name="golden", seal=True)
        await succeed(s, "CreateTemplate", machine_key="copy", name="golden", new_version=True)
        await succeed(
            s, "CreateMachine", key="golden", spec=spec(template=resources_pb2.TemplateRef(name="golden"))
        )
        census = await s.census()
        assert {finding for finding, _, _ in census} == {"ours"}
        assert len(census) == 12, census
        for key in ("thin", "full", "copy", "again", "golden"):
            await succeed(s, "DestroyMachine", key=key)
        versions = s.simulator.world.templates_named("golden")
        for version in versions:
            await succeed(s, "DestroyTemplate", id=version.id)
        assert (s.vms(), s.templates(), s.disks(), await s.census()) == ([], [], 1, [])
        refused = [one for one in s.simulator.requests if one.status in (400, 403)]
        assert [one.operation for one in refused] == ["GET /jobs"]

    as_user(scenario)
