"""Each request is held against the permits of who asks, and who is no administrator is shown a part."""

import re

import aiohttp
import pytest

from ovirt_provision.simulator.world_file import WorldFile

BUILDER = {
    "users": [
        {
            "name": "builder",
            "password": "secret",
            "permissions": [
                {"role": "VmCreator", "data_center": "Default"},
                {"role": "UserTemplateBasedVm", "template": "debian-12"},
            ],
        },
        {"name": "auditor", "password": "secret", "permissions": [{"role": "ReadOnlyAdmin"}]},
        {
            "name": "operator",
            "password": "secret",
            "permissions": [{"role": "starter", "cluster": "Default"}],
        },
    ],
    "roles": [{"name": "starter", "permits": ["run_vm"]}],
    "vms": [{"name": "strange"}],
}


def by(name):
    return {"Authorization": aiohttp.encode_basic_auth(f"{name}@internal", "secret")}


def vm(name, template="debian-12"):
    return (
        f"<vm><name>{name}</name><cluster><name>Default</name></cluster>"
        f"<template><name>{template}</name></template></vm>"
    )


@pytest.fixture
def play_with(play):
    return lambda scenario: play(scenario, data=WorldFile.model_validate(BUILDER))


async def named(lab, path, **headers):
    """Names in a list."""
    text = (await lab.request("GET", path, **headers)).text
    return set(re.findall(r"<name>([^<]+)</name>", text)) - {"Etc/GMT"}


def test_who_makes_a_vm_has_it_and_its_disks_for_their_own(play_with):
    async def scenario(lab):
        assert (await lab.request("POST", "/vms", vm("mine"), **by("builder"))).status == 202
        mine = lab.world.vm_named("mine")
        await lab.ready(mine.id)
        assert await named(lab, "/vms", **by("builder")) == {"mine"}
        (disk,) = [one.disk for one in mine.attachments]
        assert disk.name in await named(lab, "/disks", **by("builder"))
        for method, path, body in (
            ("PUT", f"/vms/{mine.id}", "<vm><comment>x</comment></vm>"),
            ("POST", f"/vms/{mine.id}/start", "<action/>"),
            ("POST", f"/vms/{mine.id}/stop", "<action/>"),
        ):
            assert (await lab.request(method, path, body, **by("builder"))).status == 200, path
        await lab.ready(mine.id)
        roles = {
            (lab.world.roles[one.role].name, one.target[0])
            for one in lab.world.permissions.values()
            if one.user is not None and one.user.principal == "builder" and one.target
        }
        assert {("UserVmManager", "vms"), ("DiskOperator", "disks")} <= roles
        assert (await lab.request("DELETE", f"/vms/{mine.id}", **by("builder"))).status == 200
        await lab.wait(lambda: disk.id in lab.world.disks, False)
        kinds = [one.target[0] for one in lab.world.permissions.values() if one.target]
        assert "vms" not in kinds
        assert "disks" not in kinds

    play_with(scenario)


@pytest.mark.parametrize(
    ("grants", "status"),
    [
        ([], 404),  # the template is not to be seen
        ([("UserTemplateBasedVm", "templates")], 403),
        ([("UserTemplateBasedVm", "templates"), ("VmCreator", "clusters")], 403),
        ([("UserTemplateBasedVm", "templates"), ("DiskCreator", "storagedomains")], 403),
        (
            [
                ("UserTemplateBasedVm", "templates"),
                ("VmCreator", "clusters"),
                ("DiskCreator", "storagedomains"),
            ],
            202,
        ),
    ],
)
def test_a_vm_takes_permits_on_cluster_template_and_storage(play, grants, status):
    async def scenario(lab):
        world = lab.world
        places = {
            "clusters": next(iter(world.clusters)),
            "storagedomains": next(iter(world.domains)),
            "templates": world.templates_named("debian-12")[0].id,
        }
        user = lab.simulator.add_user("builder", "secret")
        world.give("DiskCreator", user, ("storagedomains", "another"))
        for role, kind in grants:
            world.give(role, user, (kind, places[kind]))
        reply = await lab.request("POST", "/vms", vm("mine"), **by("builder"))
        assert reply.status == status
        assert ("[User is not authorized to perform this action.]" in reply.text) == (status == 403)
        assert (world.vm_named("mine") is not None) == (status == 202)

    play(scenario)


def test_a_role_below_its_object_holds_and_no_other_permit(play_with):
    async def scenario(lab):
        strange = lab.world.vm_named("strange")
        assert (await lab.request("GET", f"/vms/{strange.id}", **by("operator"))).status == 404
        lab.world.give(
            "UserRole",
            next(one for one in lab.world.users.values() if one.principal == "operator"),
            ("vms", strange.id),
        )
        assert (
            await lab.request("POST", f"/vms/{strange.id}/start", "<action/>", **by("operator"))
        ).status == 200
        refused = await lab.request("DELETE", f"/vms/{strange.id}", **by("operator"))
        assert (refused.status, strange.id in lab.world.vms) == (403, True)

    play_with(scenario)


def test_an_administrator_who_may_only_read_sees_all_and_changes_nothing(play_with):
    async def scenario(lab):
        assert await named(lab, "/vms", **by("auditor")) == {"strange"}
        assert (await lab.request("GET", "/jobs", **by("auditor"))).status == 200
        for method, path, body in (
            ("POST", "/vms", vm("mine")),
            (
                "POST",
                "/clusters",
                "<cluster><name>c</name><data_center><name>Default</name></data_center></cluster>",
            ),
            ("DELETE", f"/vms/{lab.world.vm_named('strange').id}", ""),
        ):
            assert (await lab.request(method, path, body, **by("auditor"))).status == 403, path
        assert lab.world.vm_named("strange") is not None

    play_with(scenario)


def test_who_is_no_administrator_is_not_shown_hosts_jobs_tags_and_strange_events(play_with):
    async def scenario(lab):
        await lab.request("POST", "/vms", vm("mine"), **by("builder"))
        mine = lab.world.vm_named("mine")
        await lab.ready(mine.id)
        await lab.request("POST", f"/vms/{mine.id}/start", "<action/>", **by("builder"))
        await lab.wait(lambda: mine.status, "up")
        whole, part = [
            (await lab.request("GET", f"/vms/{mine.id}", **one)).text for one in ({}, by("builder"))
        ]
        for tag in ("<host ", "<placement_policy>"):
            assert (tag in whole, tag in part) == (True, False)
        for path in ("/jobs", f"/vms/{mine.id}/tags", "/events/1"):
            refused = await lab.request("GET", path, **by("builder"))
            assert (refused.status, "insufficient permissions" in refused.text) == (400, True), path
        assert "<summary>" not in (await lab.request("GET", "/", **by("builder"))).text
        # VmCreator on the data center shows the events of all that lies in it, and no others.
        events = (await lab.request("GET", "/events", **by("builder"))).text
        assert ("VM mine" in events, "logged in" in events) == (True, False)
        told = [
            (await lab.request("GET", f"/events?max=1&from=0{more}", **by("builder"))).text.count("<event ")
            for more in ("", "&search=")
        ]
        assert told == [events.count("<event "), 1]

    play_with(scenario)
