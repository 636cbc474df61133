"""Consoles and the tickets for them."""

import asyncio

from ovirtsdk4 import types

VNC = "766e63"


def test_a_console_shows_where_it_is_while_the_vm_runs(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        consoles = lab.vms.vm_service(vm_id).graphics_consoles_service()
        (down,) = await lab.call(consoles.list)
        assert (down.id, down.protocol, down.port) == (VNC, types.GraphicsType.VNC, None)
        assert await lab.call(consoles.list, current=True) == []
        await lab.up(vm_id)
        (running,) = await lab.call(consoles.list, current=True)
        _, greets = await asyncio.open_connection(running.address, running.port)
        greets.close()
        shown = (await lab.call(lab.vms.vm_service(vm_id).get)).display
        assert (shown.address, shown.port) == (running.address, running.port)

    play(scenario)


def test_a_ticket_needs_a_vm_that_is_up(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        for path in (f"/vms/{vm_id}/ticket", f"/vms/{vm_id}/graphicsconsoles/{VNC}/ticket"):
            refused = await lab.request("POST", path, "<action/>")
            assert refused.status == 409
            assert refused.text.count("<action>") == 0
            assert "[Cannot set Virtual Machine Ticket because the VM is in Down status.]" in refused.text
        await lab.up(vm_id)
        service = lab.vms.vm_service(vm_id)
        wanted = types.Ticket(value="secret12", expiry=60)
        given = await lab.call(service.ticket, ticket=wanted)
        assert (given.value, given.expiry) == ("secret12", 60)
        made = await lab.call(service.graphics_consoles_service().console_service(VNC).ticket)
        assert (len(made.value), made.expiry) == (8, 7200)

    play(scenario)


def test_a_viewers_file_comes_by_action_and_by_content_type(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        path = f"/vms/{vm_id}/graphicsconsoles/{VNC}"
        early = await lab.request("GET", path, Accept="application/x-virt-viewer")
        assert (early.status, "Vm web is not running." in early.text) == (409, True)
        assert (await lab.request("POST", f"{path}/remoteviewerconnectionfile", "<action/>")).status == 204
        await lab.up(vm_id)
        file = await lab.request("GET", path, Accept="application/x-virt-viewer")
        assert file.headers["Content-Type"] == "application/x-virt-viewer"
        lines = dict(line.partition("=")[::2] for line in file.text.splitlines() if "=" in line)
        port = str(lab.world.vms[vm_id].guest.screen.port)
        assert (lines["type"], lines["port"], lines["vm-guid"]) == ("vnc", port, vm_id)
        console = lab.vms.vm_service(vm_id).graphics_consoles_service().console_service(VNC)
        assert "type=vnc" in await lab.call(console.remote_viewer_connection_file)
        wrong = await lab.request("GET", f"/vms/{vm_id}", Accept="application/x-virt-viewer")
        assert wrong.status == 406

    play(scenario)


def test_consoles_are_added_and_removed_and_the_display_follows(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        service = lab.vms.vm_service(vm_id)
        consoles = service.graphics_consoles_service()
        spice = types.GraphicsConsole(protocol=types.GraphicsType.SPICE)
        made = await lab.call(consoles.add, spice)
        again = await lab.request(
            "POST",
            f"/vms/{vm_id}/graphicsconsoles",
            "<graphics_console><protocol>spice</protocol></graphics_console>",
        )
        assert (again.status, "more than one device" in again.text) == (400, True)
        assert (await lab.call(service.get)).display.type == types.DisplayType.SPICE
        start = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert "Selected display type is not supported" in start.text
        await lab.call(consoles.console_service(made.id).remove)
        await lab.call(consoles.console_service(VNC).remove)
        assert (await lab.call(service.get)).display is None
        assert (await lab.request("GET", f"/vms/{vm_id}/graphicsconsoles/{VNC}")).status == 404
        await lab.up(vm_id)

    play(scenario)


def test_a_template_has_the_consoles_of_its_vm(play):
    async def scenario(lab):
        display = types.Display(type=types.DisplayType.SPICE)
        await lab.create("web", display=display)
        (vm,) = await lab.call(lab.vms.list, search="name=web")
        templates = lab.system.templates_service()
        made = await lab.call(templates.add, types.Template(name="golden", vm=types.Vm(id=vm.id)))
        consoles = templates.template_service(made.id).graphics_consoles_service()
        assert [one.protocol for one in await lab.call(consoles.list)] == [types.GraphicsType.SPICE]

    play(scenario)
