"""What a user may do: its permissions, their roles, and what these permit."""

import aiohttp
import ovirtsdk4
import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator.entities import User
from ovirt_provision.simulator.roles import PERMITS


def test_the_permissions_of_the_user_lead_to_permits(play):
    async def scenario(lab):
        system = lab.system
        user = (await lab.call(system.get)).authenticated_user
        permissions = await lab.call(system.users_service().user_service(user.id).permissions_service().list)
        service = system.roles_service().role_service(permissions[0].role.id)
        role = await lab.call(service.get)
        assert (role.name, role.administrative) == ("SuperUser", True)
        assert {permit.name for permit in await lab.call(service.permits_service().list)} == set(PERMITS)

        lab.world.role = "UserRole"
        permissions = await lab.call(system.users_service().user_service(user.id).permissions_service().list)
        service = system.roles_service().role_service(permissions[0].role.id)
        assert not (await lab.call(service.get)).administrative
        assert "create_vm" not in {permit.name for permit in await lab.call(service.permits_service().list)}

    play(scenario)


def test_roles_are_listed_and_an_unknown_one_is_not_there(play):
    async def scenario(lab):
        names = {role.name for role in await lab.call(lab.system.roles_service().list)}
        assert {"SuperUser", "UserRole", "PowerUserRole", "TemplateOwner"} <= names
        reply = await lab.request("GET", "/roles/00000000-0000-4000-8000-000000000009/permits")
        assert (reply.status, reply.content) == (404, b"")

    play(scenario)


def test_who_has_no_role_of_administrators_sees_and_does_what_is_permitted(play):
    async def scenario(lab):
        mine, other = lab.world.add_vm("mine"), lab.world.add_vm("other")
        limited = User("aaaaaaaa-0000-4000-8000-000000000001", "limited")
        lab.world.directory["limited"] = limited
        lab.simulator.sessions.add_account("limited@internal", "secret")
        them = {"Authorization": aiohttp.encode_basic_auth("limited@internal", "secret")}

        reply = await lab.request("GET", "/vms", **them)
        assert reply.status == 401
        assert (
            "limited@internal-authz with profile [internal] is not authorized to perform login" in reply.text
        )

        permission = f'<permission><role><name>UserRole</name></role><user id="{limited.id}"/></permission>'
        assert (await lab.request("POST", f"/vms/{mine.id}/permissions", permission)).status == 201
        shown = (await lab.request("GET", "/vms", **them)).text
        assert ("<name>mine</name>" in shown, "<name>other</name>" in shown) == (True, False)
        assert (await lab.request("GET", f"/vms/{mine.id}", **them)).status == 200
        hidden = await lab.request("GET", f"/vms/{other.id}", **them)
        assert (hidden.status, hidden.content) == (404, b"")
        refused = await lab.request("POST", f"/vms/{other.id}/start", "<action/>", **them)
        assert (refused.status, "[User is not authorized to perform this action.]" in refused.text) == (
            403,
            True,
        )
        assert (await lab.request("POST", "/disks", "<disk/>", **them)).status == 403
        jobs = await lab.request("GET", "/jobs", **them)
        assert (jobs.status, "insufficient permissions" in jobs.text) == (400, True)

    play(scenario)


def test_the_filtered_view_of_an_administrator_shows_only_what_it_was_given(play):
    async def scenario(lab):
        lab.world.add_vm("web")
        assert "web" in (await lab.request("GET", "/vms")).text
        assert "web" not in (await lab.request("GET", "/vms", Filter="true")).text
        assert "web" not in (await lab.request("GET", "/vms?filter=true")).text

    play(scenario)


def test_a_role_of_ones_own_is_made_given_and_removed(play):
    async def scenario(lab):
        service = lab.system.roles_service()
        permits = [types.Permit(id="1"), types.Permit(id=str(PERMITS["create_vm"]))]
        with pytest.raises(ovirtsdk4.Error, match="permits"):
            await lab.call(service.add, types.Role(name="maker"))
        role = await lab.call(service.add, types.Role(name="maker", permits=permits, description="makes"))
        assert (role.mutable, role.administrative, role.description) == (True, False, "makes")
        own = service.role_service(role.id)
        names = {permit.name for permit in await lab.call(own.permits_service().list)}
        assert {"create_vm", "login"} <= names
        await lab.call(own.permits_service().add, types.Permit(name="run_vm"))
        (added,) = [one for one in await lab.call(own.permits_service().list) if one.name == "run_vm"]
        await lab.call(own.permits_service().permit_service(added.id).remove)
        assert {permit.name for permit in await lab.call(own.permits_service().list)} == names

        user = lab.world.admin.id
        of_user = lab.system.users_service().user_service(user).permissions_service()
        vm = lab.world.add_vm("web")
        given = await lab.call(
            of_user.add, types.Permission(role=types.Role(name="maker"), vm=types.Vm(id=vm.id))
        )
        assert lab.world.permissions[given.id].target == ("vms", vm.id)
        kept = await lab.request("DELETE", f"/roles/{role.id}")
        assert (kept.status, "The Role maker is assigned to users." in kept.text) == (409, True)
        await lab.call(of_user.permission_service(given.id).remove)
        await lab.call(own.remove)
        assert "maker" not in {one.name for one in await lab.call(service.list)}
        (super_user,) = [one for one in await lab.call(service.list) if one.name == "SuperUser"]
        fixed = await lab.request("DELETE", f"/roles/{super_user.id}")
        assert (fixed.status, "A predefined Role cannot be changed." in fixed.text) == (409, True)

    play(scenario)
