"""Faults by name, races, and a guest that has a will of its own."""

import asyncio

import aiohttp
import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator.guests import GuestState
from ovirt_provision.simulator.guests.none import NoGuests

CREATE = (
    "<vm><name>web</name><cluster><name>Default</name></cluster>"
    "<template><name>debian-12</name></template></vm>"
)


def test_a_dropped_reply_leaves_the_effect(play):
    async def scenario(lab):
        lab.world.injections.arm("drop-reply", method="POST", path="/vms")
        with pytest.raises(aiohttp.ClientError):
            await lab.request("POST", "/vms", CREATE)
        assert lab.world.vm_named("web") is not None
        assert (await lab.request("POST", "/vms", CREATE)).status == 409

    play(scenario)


def test_a_late_effect_comes_after_its_client_has_lost_the_connection(play):
    async def scenario(lab):
        lab.world.injections.arm("late-effect", method="POST", path="/vms", seconds=30)
        with pytest.raises(aiohttp.ClientError):
            await lab.request("POST", "/vms", CREATE)
        assert lab.world.vm_named("web") is None
        await lab.wait(lambda: lab.world.vm_named("web") is not None, True)

    play(scenario)


def test_what_an_account_may_not_do_is_403_but_jobs_are_400(play):
    async def scenario(lab):
        lab.world.injections.arm("forbidden", times=2)
        refused = await lab.request("POST", "/vms", CREATE)
        assert (refused.status, "[User is not authorized to perform this action.]" in refused.text) == (
            403,
            True,
        )
        jobs = await lab.request("GET", "/jobs")
        assert (jobs.status, "insufficient permissions" in jobs.text) == (400, True)

    play(scenario)


def test_an_event_can_become_visible_after_a_later_one(play):
    async def scenario(lab):
        lab.world.injections.arm("late-event", seconds=5)
        late, soon = (lab.world.log(34, vm=lab.world.add_vm(name), job=None) for name in ("a", "b"))
        read = lab.system.events_service().list
        seen = [event.index for event in await lab.call(read, search="type=34")]
        assert seen == [soon.id]
        await lab.clock.sleep(5)
        assert [event.index for event in await lab.call(read, search="type=34")] == [soon.id, late.id]

    play(scenario)


def test_a_job_can_hang_though_its_vm_is_down(play):
    async def scenario(lab):
        lab.world.injections.arm("job-hangs")
        await lab.request("POST", "/vms", CREATE)
        await lab.wait(lambda: lab.world.vm_named("web").status, "down")
        await lab.clock.sleep(24 * 3600)
        (job,) = await lab.call(lab.system.jobs_service().list)
        assert job.status == types.JobStatus.STARTED

    play(scenario)


@pytest.mark.parametrize(("fault", "status"), [("unavailable", 503), ("unauthorized", 401)])
def test_a_refused_request_has_no_effect_and_html(play, fault, status):
    async def scenario(lab):
        lab.world.injections.arm(fault, path="/vms", times=2)
        for _ in range(2):
            reply = await lab.request("POST", "/vms", CREATE)
            assert (reply.status, reply.headers["Content-Type"]) == (status, "text/html;charset=UTF-8")
        assert not lab.world.vms
        assert (await lab.request("POST", "/vms", CREATE)).status == 202

    play(scenario)


def test_an_unknown_fault_is_refused_by_name(play):
    async def scenario(lab):
        with pytest.raises(ValueError, match="no fault 'drop'; there are: drop-reply"):
            lab.world.injections.arm("drop")

    play(scenario)


def test_a_vm_whose_disks_fail_vanishes(play):
    async def scenario(lab):
        lab.world.injections.arm("vm-fails")
        disks = set(lab.world.disks)
        assert (await lab.request("POST", "/vms", CREATE, Correlation_Id="fails")).status == 202
        await lab.wait(lambda: lab.world.vm_named("web"), None)
        assert set(lab.world.disks) == disks
        assert (await lab.request("POST", "/vms", CREATE)).status == 202
        events = await lab.call(lab.system.events_service().list, search="correlation_id=fails")
        assert [event.code for event in events] == [60, 37]

    play(scenario)


def test_a_disk_can_stay_locked_for_ever(play):
    async def scenario(lab):
        lab.world.injections.arm("disk-stays-locked")
        await lab.request("POST", "/vms", CREATE)
        vm = lab.world.vm_named("web")
        await lab.wait(lambda: vm.status, "down")
        await lab.clock.sleep(3600)
        assert "disks are locked" in (await lab.request("POST", f"/vms/{vm.id}/start", "<action/>")).text

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "status"), [("vm-pauses", "paused"), ("vm-crashes", "down"), ("start-fails", "down")]
)
def test_a_vm_that_does_not_come_up(play, fault, status):
    async def scenario(lab):
        vm_id = await lab.create("web")
        lab.world.injections.arm(fault)
        await lab.call(lab.vms.vm_service(vm_id).start)
        await lab.wait(lambda: lab.world.vms[vm_id].status, status)
        await lab.clock.sleep(60)
        assert (await lab.call(lab.vms.vm_service(vm_id).get)).status == types.VmStatus(status)

    play(scenario)


def test_of_several_creates_of_one_name_at_once_one_wins(play):
    async def scenario(lab):
        replies = await asyncio.gather(*(lab.request("POST", "/vms", CREATE) for _ in range(5)))
        assert sorted(reply.status for reply in replies) == [202, 409, 409, 409, 409]
        losers = [reply for reply in replies if reply.status == 409]
        assert all("Related operation is currently in progress" in loser.text for loser in losers)

    play(scenario)


def test_of_several_deletes_at_once_one_wins(play):
    async def scenario(lab):
        vm = lab.world.add_vm("web")
        replies = await asyncio.gather(*(lab.request("DELETE", f"/vms/{vm.id}") for _ in range(3)))
        assert sorted(reply.status for reply in replies) == [200, 404, 404]

    play(scenario)


def test_a_guest_that_goes_down_by_itself_takes_its_vm_down(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.up(vm_id)
        lab.world.vms[vm_id].guest.power_off()
        assert (await lab.call(lab.vms.vm_service(vm_id).get)).status == types.VmStatus.DOWN
        (event,) = await lab.call(lab.system.events_service().list, search="type=61")
        assert event.vm.id == vm_id

    play(scenario)


class SlowGuests(NoGuests):
    """Guests that boot when they are told to, and ignore the power button."""

    booted = False

    def start(self, spec):
        guest = super().start(spec)
        slow = self

        class Slow:
            interfaces = guest.interfaces
            ended = False

            @property
            def state(self):
                if self.ended:
                    return GuestState.DOWN
                return GuestState.UP if slow.booted else GuestState.BOOTING

            def shutdown(self):
                pass

            def power_off(self):
                self.ended = True

        return Slow()


def test_a_vm_is_up_and_down_only_when_its_guest_is(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        service = lab.vms.vm_service(vm_id)
        await lab.call(service.start)
        await lab.clock.sleep(3600)
        assert (await lab.call(service.get)).status == types.VmStatus.POWERING_UP
        lab.world.guests.booted = True
        assert (await lab.call(service.get)).status == types.VmStatus.UP
        await lab.call(service.shutdown)
        await lab.clock.sleep(3600)
        assert (await lab.call(service.get)).status == types.VmStatus.POWERING_DOWN
        await lab.call(service.stop)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "down", seconds=10)

    play(scenario, guests=SlowGuests())


def test_two_reads_of_one_instant_are_the_same(play):
    async def scenario(lab):
        await lab.create("web")
        first, second = [await lab.request("GET", "/vms?follow=disk_attachments.disk,nics") for _ in range(2)]
        assert first.content == second.content

    play(scenario)
