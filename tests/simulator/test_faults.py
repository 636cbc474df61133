"""Faults by name, races, and a guest that has a will of its own."""

import asyncio

import aiohttp
import pytest
from lxml import etree
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


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [("unavailable", 503, "Service Unavailable"), ("unauthorized", 401, "Unauthorized")],
)
def test_a_refused_request_has_no_effect_and_html(play, fault, status, text):
    async def scenario(lab):
        lab.world.injections.arm(fault, path="/vms", times=2)
        for _ in range(2):
            reply = await lab.request("POST", "/vms", CREATE)
            assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (status, "text/html")
            assert text in reply.text
        assert not lab.world.vms
        assert (await lab.request("POST", "/vms", CREATE)).status == 202

    play(scenario)


def test_a_reset_connection_leaves_no_effect(play):
    async def scenario(lab):
        lab.world.injections.arm("reset", method="POST", path="/vms")
        with pytest.raises(aiohttp.ClientConnectionError):
            await lab.request("POST", "/vms", CREATE)
        assert not lab.world.vms
        assert (await lab.request("POST", "/vms", CREATE)).status == 202

    play(scenario)


def test_a_reply_can_come_later_than_its_client_waits(play):
    async def scenario(lab):
        lab.world.injections.arm("delay", seconds=600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await lab.request("POST", "/vms", CREATE)
        assert lab.world.vm_named("web") is not None

    play(scenario)


def test_a_revoked_session_is_dead_and_others_are_not(play):
    async def scenario(lab):
        one, other = [f"Bearer {lab.log_in().token}" for _ in range(2)]
        lab.world.injections.arm("session-revoked")
        for _ in range(2):
            refused = await lab.request("GET", "/vms", Authorization=one)
            assert (refused.status, "invalid_grant" in refused.text) == (401, True)
        assert (await lab.request("GET", "/vms", Authorization=other)).status == 200

    play(scenario)


def test_a_401_can_pass_by_itself(play):
    async def scenario(lab):
        token = f"Bearer {lab.log_in().token}"
        lab.world.injections.arm("unauthorized")
        statuses = [(await lab.request("GET", "/vms", Authorization=token)).status for _ in range(2)]
        assert statuses == [401, 200]

    play(scenario)


def test_an_engine_restarts_while_jobs_run(play):
    async def scenario(lab):
        vm_id = await lab.create("starts")
        await lab.request("POST", f"/vms/{vm_id}/start", "<action/>", Correlation_Id="start")
        await lab.request("POST", "/vms", CREATE, Correlation_Id="create")
        token = f"Bearer {lab.log_in().token}"
        lab.world.injections.arm("engine-restart", seconds=40)

        with pytest.raises(aiohttp.ClientConnectionError):
            await lab.request("GET", "/vms")
        await lab.clock.sleep(39)
        with pytest.raises(aiohttp.ClientConnectorError):
            await lab.request("GET", "/vms")
        assert lab.world.vm_named("web").status == "image_locked"
        await lab.clock.sleep(2)

        assert (await lab.request("GET", "/vms", Authorization=token)).status == 401
        assert await jobs(lab, "start") == []
        assert await jobs(lab, "create") == ["started"]
        await lab.wait(lambda: lab.world.vm_named("web").status, "down")
        await lab.clock.sleep(60)
        assert await jobs(lab, "create") == ["finished"]
        assert lab.world.vms[vm_id].status == "up"

    play(scenario)


async def jobs(lab, correlation_id):
    reply = await lab.request("GET", f"/jobs?search=correlation_id%3D{correlation_id}")
    return [job.findtext("status") for job in etree.fromstring(reply.content)]


def test_a_lost_host_is_a_400_that_passes(play):
    async def scenario(lab):
        vm_id = await lab.create("made")
        lab.world.injections.arm("host-lost", seconds=0, times=2)
        for path, body in (("/vms", CREATE), (f"/vms/{vm_id}/start", "<action/>")):
            refused = await lab.request("POST", path, body, Correlation_Id="lost")
            assert refused.status == 400
            assert "[Network error during communication with the Host.]" in refused.text
            assert etree.fromstring(refused.content).tag == ("fault" if path == "/vms" else "action")
        assert lab.world.vm_named("web") is None
        assert await jobs(lab, "lost") == ["failed", "failed"]
        await lab.up(vm_id)

    play(scenario)


def test_a_lost_host_is_connecting_for_a_while(play):
    async def scenario(lab):
        vm_id = await lab.create("made")
        lab.world.injections.arm("host-lost", seconds=0.05)
        assert (await lab.request("POST", "/vms", CREATE)).status == 400
        hosts = lab.system.hosts_service()
        assert [one.status for one in await lab.call(hosts.list)] == [types.HostStatus.CONNECTING]
        refused = await lab.request("POST", f"/vms/{vm_id}/start", "<action/>")
        assert (refused.status, "There is no host that satisfies" in refused.text) == (409, True)
        await lab.wait(lambda: next(iter(lab.world.hosts.values())).status, "up")
        assert {9027, 13} <= {event.code for event in lab.world.events}
        await lab.up(vm_id)

    play(scenario)


def test_a_lost_host_is_given_up_after_a_while_only(play):
    async def scenario(lab):
        lab.world.injections.arm("host-lost", seconds=600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await lab.request("POST", "/vms", CREATE)

    play(scenario)


DISK = (
    "<disk_attachment><interface>virtio</interface><disk><name>data</name><format>cow</format><provisioned_size>"
    "1073741824</provisioned_size><storage_domains><storage_domain><name>data</name></storage_domain>"
    "</storage_domains></disk></disk_attachment>"
)


@pytest.mark.parametrize(
    ("fault", "path", "body", "text"),
    [
        (
            "mac-pool-empty",
            "/vms",
            CREATE,
            "[Cannot add VM. Not enough MAC addresses left in MAC Address Pool.]",
        ),
        (
            "mac-pool-empty",
            "/vms/{vm}/nics",
            "<nic><name>nic2</name></nic>",
            "[Cannot add Interface. Not enough MAC addresses left in MAC Address Pool.]",
        ),
        (
            "quota-exceeded",
            "/vms/{vm}/diskattachments",
            DISK,
            "[Cannot add Virtual Disk. Quota has insufficient storage resources.]",
        ),
        ("quota-exceeded", "/vms", CREATE, "[Cannot add VM. Quota has insufficient storage resources.]"),
        (
            "storage-full",
            "/vms/{vm}/diskattachments",
            DISK,
            "[Cannot add Virtual Disk. Low disk space on Storage Domain data.]",
        ),
        ("storage-full", "/vms", CREATE, "[Cannot add VM. Low disk space on Storage Domain data.]"),
        (
            "storage-full",
            "/templates",
            "<template><name>t</name><vm><name>made</name></vm></template>",
            "[Cannot add Template. Low disk space on Storage Domain data.]",
        ),
    ],
)
def test_the_engine_can_be_out_of_something(play, fault, path, body, text):
    async def scenario(lab):
        vm_id = await lab.create("made")
        lab.world.injections.arm(fault)
        path_of_vm = path.format(vm=vm_id)
        refused = await lab.request("POST", path_of_vm, body)
        assert (refused.status, etree.fromstring(refused.content).findtext("detail")) == (409, text)
        assert (await lab.request("POST", path_of_vm, body)).status in (201, 202)

    play(scenario)


def test_a_disk_that_fails_vanishes_with_its_attachment(play):
    async def scenario(lab):
        vm_id = await lab.create("made")
        lab.world.injections.arm("disk-fails")
        made = await lab.request("POST", f"/vms/{vm_id}/diskattachments", DISK, Correlation_Id="disk")
        path = f"/disks/{etree.fromstring(made.content).get('id')}"
        assert (await lab.request("GET", path)).status == 200
        await lab.clock.sleep(60)
        assert (await lab.request("GET", path)).status == 404
        assert await jobs(lab, "disk") == ["failed"]
        attached = await lab.request("GET", f"/vms/{vm_id}/diskattachments")
        assert len(etree.fromstring(attached.content)) == 1

    play(scenario)


def test_a_vm_with_an_illegal_disk_cannot_be_used(play):
    async def scenario(lab):
        lab.world.injections.arm("disk-illegal")
        await lab.request("POST", "/vms", CREATE)
        vm = lab.world.vm_named("web")
        await lab.wait(lambda: vm.attachments[0].disk.status, "illegal")
        assert "<status>illegal</status>" in (await lab.request("GET", "/disks?search=vm.name%3Dweb")).text
        refused = await lab.request("POST", f"/vms/{vm.id}/start", "<action/>")
        assert (refused.status, "are in ILLEGAL status: debian-12_Disk1 - please" in refused.text) == (
            409,
            True,
        )

    play(scenario)


def test_a_vm_may_stop_responding_and_come_back(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        lab.world.injections.arm("vm-not-responding", seconds=90)
        service = lab.vms.vm_service(vm_id)
        await lab.call(service.start)
        await lab.wait(lambda: lab.world.vms[vm_id].status, "not_responding")
        assert (await lab.call(service.get)).status == types.VmStatus.NOT_RESPONDING
        (event,) = await lab.call(lab.system.events_service().list, search="type=126")
        assert event.description == "VM web is not responding."
        assert await lab.wait(lambda: lab.world.vms[vm_id].status, "up") == pytest.approx(90, abs=0.2)

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "seconds", "first", "later"),
    [
        ("agent-silent", None, {}, {}),
        ("address-late", 300, {}, {"eth0": ["10.11.0.1"]}),
        (
            "address-docker0",
            None,
            {"docker0": ["172.17.0.1"], "eth0": ["10.11.0.1"]},
            {"docker0": ["172.17.0.1"], "eth0": ["10.11.0.1"]},
        ),
        ("address-none", 300, {"eth0": []}, {"eth0": ["10.11.0.1"]}),
        ("address-link-local", 300, {"eth0": ["169.254.1.7", "fe80::1"]}, {"eth0": ["10.11.0.1"]}),
        (
            "address-link-local",
            None,
            {"eth0": ["169.254.1.7", "fe80::1"]},
            {"eth0": ["169.254.1.7", "fe80::1"]},
        ),
    ],
)
def test_a_guest_may_report_wrong_addresses_or_none(play, fault, seconds, first, later):
    async def scenario(lab):
        vm_id = await lab.create("web")
        lab.world.injections.arm(fault, seconds=seconds)
        await lab.up(vm_id)
        service = lab.vms.vm_service(vm_id).reported_devices_service()
        for expected in (first, later):
            await lab.clock.sleep(280)
            devices = await lab.call(service.list)
            assert {one.name: [ip.address for ip in one.ips or ()] for one in devices} == expected

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
            screen = guest.screen
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
        await lab.wait(lambda: lab.world.vms[vm_id].status, "up", seconds=lab.world.timing.vm_refresh)
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
