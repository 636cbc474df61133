"""Templates: their making, sealing, versions and end."""

import pytest
from ovirtsdk4 import types


def body(name, vm_id, rest=""):
    return f'<template><name>{name}</name><vm id="{vm_id}"/>{rest}</template>'


def test_a_sealed_template_comes_up_and_frees_its_source(play):
    async def scenario(lab):
        vm_id = await lab.create("web", comment="mark")
        templates = lab.system.templates_service()
        template = types.Template(name="golden", vm=types.Vm(id=vm_id))
        made = await lab.call(templates.add, template, seal=True, headers={"Correlation-Id": "make-golden"})
        assert (made.status, made.comment) == (types.TemplateStatus.LOCKED, "mark")
        assert lab.world.vms[vm_id].status == "image_locked"
        started = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert "[Cannot run VM. Template is being created from this VM.]" in started.text
        await lab.wait(lambda: lab.world.templates[made.id].status, "ok")
        assert lab.world.vms[vm_id].status == "down"
        read = await lab.call(templates.template_service(made.id).get, follow="disk_attachments.disk,nics")
        assert [one.disk.status for one in read.disk_attachments] == [types.DiskStatus.LOCKED]
        assert [nic.name for nic in read.nics] == ["nic1"]
        events = await lab.call(lab.system.events_service().list, search="correlation_id=make-golden")
        assert [event.code for event in events] == [51, 48]

    play(scenario)


@pytest.mark.parametrize(("fault", "code"), [("template-fails", 1322), ("seal-fails", 1324)])
def test_a_template_that_fails_vanishes_and_an_event_says_why(play, fault, code):
    async def scenario(lab):
        vm_id = await lab.create("web")
        lab.world.injections.arm(fault)
        disks = set(lab.world.disks)
        reply = await lab.request(
            "POST", "/templates?seal=true", body("golden", vm_id), Correlation_Id="fails"
        )
        assert reply.status == 201
        (template,) = lab.world.templates_named("golden")
        await lab.wait(lambda: template.id in lab.world.templates, False)
        assert (await lab.request("GET", f"/templates/{template.id}")).status == 404
        assert lab.world.vms[vm_id].status == "down"
        assert set(lab.world.disks) == disks
        events = await lab.call(lab.system.events_service().list, search="correlation_id=fails")
        assert (events[0].code, events[0].severity) == (code, types.LogSeverity.ERROR)
        (job,) = await lab.call(lab.system.jobs_service().list, search="correlation_id=fails")
        assert job.status == types.JobStatus.FAILED

    play(scenario)


def test_a_name_means_the_newest_version(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        base = lab.world.add_template("golden")
        version = f'<version><base_template id="{base.id}"/><version_name>v2</version_name></version>'
        reply = await lab.request("POST", "/templates", body("golden", vm_id, version))
        assert "<version_number>2</version_number>" in reply.text
        newest = lab.world.templates_named("golden")[0]
        await lab.wait(lambda: newest.status, "ok")
        made = await lab.request(
            "POST",
            "/vms",
            "<vm><name>next</name><cluster><name>Default</name></cluster>"
            "<template><name>golden</name></template></vm>",
        )
        assert f'<template href="/ovirt-engine/api/templates/{newest.id}"' in made.text

    play(scenario)


def test_a_template_with_vms_stays(play):
    async def scenario(lab):
        await lab.create("b")
        await lab.create("a")
        (template,) = lab.world.templates_named("debian-12")
        reply = await lab.request("DELETE", f"/templates/{template.id}")
        assert reply.status == 409
        assert "[Cannot delete Template. Template is being used by the following VMs: a,b.]" in reply.text

    play(scenario)


def test_an_unused_template_is_locked_then_gone_with_its_disk(play):
    async def scenario(lab):
        template = lab.world.add_template("old")
        disk_id = template.attachments[0].disk.id
        assert (await lab.request("DELETE", f"/templates/{template.id}")).status == 200
        assert "<status>locked</status>" in (await lab.request("GET", f"/templates/{template.id}")).text
        await lab.wait(lambda: template.id in lab.world.templates, False)
        assert disk_id not in lab.world.disks

    play(scenario)


def test_an_id_of_ones_own_makes_a_template_that_never_ends(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        chosen = "4ab34bed-bc2c-4f17-95eb-69dc4a6834b4"
        reply = await lab.request(
            "POST", "/templates", body("golden", vm_id).replace(">", f' id="{chosen}">', 1)
        )
        assert reply.status == 201
        (template,) = lab.world.templates_named("golden")
        assert template.id != chosen
        await lab.clock.sleep(3600)
        read = await lab.request("GET", f"/templates/{template.id}?follow=disk_attachments")
        assert ("<status>locked</status>" in read.text, "<disk_attachments/>" in read.text) == (True, True)
        other = await lab.request(
            "POST", "/templates", body("silver", vm_id).replace(">", f' id="{template.id}">', 1)
        )
        assert other.status == 201
        await lab.clock.sleep(30)
        events = await lab.call(lab.system.events_service().list, search="type=1322")
        assert [event.description for event in events] == [
            "Failed to create Template silver or its disks from VM silver."
        ] * len(events)
        assert len(events) == 3

    play(scenario)


def test_the_nics_of_a_template_are_what_its_vms_get(play):
    async def scenario(lab):
        (template,) = [one for one in lab.world.templates.values() if one.attachments]
        service = lab.system.templates_service().template_service(template.id).nics_service()
        before = len(await lab.call(service.list))
        made = await lab.call(service.add, types.Nic(name="extra", interface=types.NicInterface.E1000))
        assert (made.name, made.mac) == ("extra", None)
        again = await lab.request("POST", f"/templates/{template.id}/nics", "<nic><name>extra</name></nic>")
        assert again.status == 409
        await lab.call(service.nic_service(made.id).update, types.Nic(name="more"))
        vm_id = await lab.create("web")
        nics = await lab.call(lab.vms.vm_service(vm_id).nics_service().list)
        assert [nic.interface for nic in nics if nic.name == "more"] == [types.NicInterface.E1000]
        await lab.call(service.nic_service(made.id).remove)
        assert len(await lab.call(service.list)) == before

    play(scenario)
