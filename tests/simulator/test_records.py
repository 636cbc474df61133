"""What the engine keeps for clients, and what simulated hosts and guests do not have."""

import uuid

import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator.resources.records import EMPTY


def test_a_watchdog_is_kept_changed_and_removed(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        watchdogs = lab.vms.vm_service(vm_id).watchdogs_service()
        dog = types.Watchdog(model=types.WatchdogModel.I6300ESB, action=types.WatchdogAction.RESET)
        made = await lab.call(watchdogs.add, dog)
        assert (made.model, made.vm.id) == (types.WatchdogModel.I6300ESB, vm_id)
        service = watchdogs.watchdog_service(made.id)
        changed = await lab.call(service.update, types.Watchdog(action=types.WatchdogAction.POWEROFF))
        assert (changed.action, changed.model) == (types.WatchdogAction.POWEROFF, made.model)
        assert [one.id for one in await lab.call(watchdogs.list)] == [made.id]
        await lab.call(service.remove)
        assert await lab.call(watchdogs.list) == []
        assert (await lab.request("GET", f"/vms/{vm_id}/watchdogs/{made.id}")).status == 404
        lacking = await lab.request("POST", f"/vms/{vm_id}/watchdogs", "<watchdog/>")
        assert "Parameter 'watchdog.model' is mandatory but was not provided." in lacking.text
        nobodys = await lab.request(
            "POST",
            f"/vms/{uuid.uuid4()}/watchdogs",
            "<watchdog><model>i6300esb</model><action>reset</action></watchdog>",
        )
        assert nobodys.status == 404

    play(scenario)


def test_a_name_is_kept_once(play):
    async def scenario(lab):
        bookmark = "<bookmark><name>mine</name><value>Vms: status = up</value></bookmark>"
        assert (await lab.request("POST", "/bookmarks", bookmark)).status == 201
        again = await lab.request("POST", "/bookmarks", bookmark)
        assert (again.status, "name is already in use" in again.text) == (409, True)

    play(scenario)


@pytest.mark.parametrize("path", EMPTY)
def test_what_is_not_there_is_an_empty_list(play, path):
    async def scenario(lab):
        reply = await lab.request("GET", path.replace("{id}", str(uuid.uuid4())))
        assert reply.status == 200
        assert reply.text.splitlines()[1] == f"<{EMPTY[path]}/>"

    play(scenario)


def test_statistics_tell_what_there_is(play):
    async def scenario(lab):
        vm_id = await lab.create("web", memory=2 << 30)
        service = lab.vms.vm_service(vm_id).statistics_service()
        values = {one.name: one.values[0].datum for one in await lab.call(service.list)}
        assert (values["memory.installed"], values["cpu.current.total"]) == (2 << 30, 0)
        unknown = uuid.uuid4()
        missing = await lab.request("GET", f"/vms/{vm_id}/nics/{unknown}/statistics")
        assert (missing.status, f"Entity not found: {unknown}" in missing.text) == (404, True)

    play(scenario)


def test_a_thing_is_found_below_what_it_belongs_to(play):
    async def scenario(lab):
        center, cluster = next(iter(lab.world.data_centers)), next(iter(lab.world.clusters))
        reply = await lab.request("GET", f"/datacenters/{center}/clusters/{cluster}/affinitygroups")
        assert (reply.status, "<affinity_groups/>" in reply.text) == (200, True)
        domain, disk = next(iter(lab.world.domains)), next(iter(lab.world.disks))
        reply = await lab.request("GET", f"/storagedomains/{domain}/disks/{disk}")
        assert (reply.status, disk in reply.text) == (200, True)

    play(scenario)


def test_there_is_the_group_of_everyone(play):
    async def scenario(lab):
        (group,) = await lab.call(lab.system.groups_service().list)
        assert group.name == "Everyone"
        blank = lab.system.templates_service().template_service(str(uuid.UUID(int=0)))
        permissions = await lab.call(blank.permissions_service().list)
        granted = [one.group for one in permissions if one.group is not None]
        assert {one.id for one in granted} == {group.id}
        assert (await lab.call(lab.connection.follow_link, granted[0])).name == "Everyone"

    play(scenario)


def test_an_external_job_has_the_steps_that_clients_give_it(play):
    async def scenario(lab):
        jobs = lab.system.jobs_service()
        job = await lab.call(jobs.add, types.Job(description="tests"))
        steps = jobs.job_service(job.id).steps_service()
        given = types.Step(description="first", type=types.StepEnum.EXECUTING)
        step = await lab.call(steps.add, given)
        assert (step.number, step.status, step.job.id) == (0, types.StepStatus.STARTED, job.id)
        await lab.call(steps.step_service(step.id).end, succeeded=False)
        (shown,) = await lab.call(steps.list)
        assert (shown.description, shown.status) == ("first", types.StepStatus.FAILED)
        assert (await lab.call(jobs.job_service(job.id).get)).status == types.JobStatus.STARTED

        await lab.create("web")
        own = next(one for one in await lab.call(jobs.list) if not one.external)
        reply = await lab.request("POST", f"/jobs/{own.id}/steps", "<step><type>executing</type></step>")
        assert (reply.status, "step.description" in reply.text) == (400, True)
        body = "<step><type>executing</type><description>x</description></step>"
        refused = await lab.request("POST", f"/jobs/{own.id}/steps", body)
        assert (refused.status, "only to external jobs" in refused.text) == (400, True)

    play(scenario)
