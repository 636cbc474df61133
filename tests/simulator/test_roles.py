"""What a user may do: its permissions, their roles, and what these permit."""

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
