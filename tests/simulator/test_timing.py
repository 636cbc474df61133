"""What takes how long on the engine's own profile, and profiles of one's own."""

import asyncio

import ovirtsdk4
import pytest
from ovirtsdk4 import types

from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.documents import DocumentError
from ovirt_provision.simulator.timing import ENGINE, FAST, find_profile

CREATE = (
    "<vm><name>{}</name><cluster><name>Default</name></cluster>"
    "<template><name>debian-12</name></template></vm>"
)
TENTH = 0.11  # seconds: how coarsely the tests look


def test_a_task_of_storage_is_noticed_on_the_grid_and_its_command_at_a_callback(play):
    async def scenario(lab):
        await lab.clock.sleep(1.5 - lab.clock.monotonic() % 10 % 1.5)
        begin = lab.clock.monotonic()
        made = lab.simulator.call("POST", "/vms", CREATE.format("web"), correlation_id="web")
        creation = made.element.find("link[@rel='creation_status']").get("href").partition("/api")[2]

        complete = await lab.wait(lambda: text(lab, creation, "status"), "complete")
        down = complete + await lab.wait(lambda: lab.world.vm_named("web").status, "down")
        disk = lab.world.vm_named("web").attachments[0].disk
        disk_ok = down + await lab.wait(lambda: disk.status, "ok")
        ended = disk_ok + await lab.wait(lambda: next(iter(lab.world.jobs.values())).status, "finished")

        noticed = 10 - begin % 10  # the host needs 2 s; the engine looks at 10, 20, …
        looks = [1, 3, 7, 15, 25]  # seconds after the start: 1, doubled up to 10
        assert down == pytest.approx(min(look for look in looks if look >= noticed + 2), abs=TENTH)
        assert down - complete == pytest.approx(2, abs=TENTH)
        assert (disk_ok - down, ended - disk_ok) == pytest.approx((1, 1), abs=TENTH)

    play(scenario)


def text(lab, path, tag):
    return lab.simulator.call("GET", path).element.findtext(tag)


def test_the_state_of_a_vm_is_looked_at_every_three_seconds(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        await lab.clock.sleep(1)
        await lab.call(lab.vms.vm_service(vm_id).start)
        for status in ("powering_up", "up"):
            await lab.wait(lambda status=status: lab.world.vms[vm_id].status, status)
            assert lab.clock.monotonic() % 3 == pytest.approx(0, abs=TENTH)

    play(scenario)


def test_finished_jobs_are_seen_for_ten_minutes_and_failed_ones_for_sixty(play):
    async def scenario(lab):
        refused = CREATE.format("web").replace("<name>web</name>", "<name>web!</name>")
        for name, body in (("good", "<vm><description>x</description></vm>"), ("bad", refused)):
            path = f"/vms/{lab.world.add_vm('made').id}" if name == "good" else "/vms"
            lab.simulator.call("PUT" if name == "good" else "POST", path, body, correlation_id=name)
        for minutes, seen in ((9, {"good", "bad"}), (2, {"bad"}), (48, {"bad"}), (2, set())):
            await lab.clock.sleep(60 * minutes)
            jobs = await lab.call(lab.system.jobs_service().list)
            assert {job.status for job in jobs} == {
                {"good": types.JobStatus.FINISHED, "bad": types.JobStatus.FAILED}[name] for name in seen
            }

    play(scenario)


@pytest.mark.parametrize("verb", ["create", "start", "remove"])
def test_of_many_clients_in_threads_one_wins(play, verb):
    async def scenario(lab):
        vm_id = await lab.create("made")

        def attempt(connection):
            vms = connection.system_service().vms_service()
            try:
                if verb == "create":
                    template, cluster = types.Template(name="debian-12"), types.Cluster(name="Default")
                    vms.add(types.Vm(name="web", template=template, cluster=cluster))
                else:
                    getattr(vms.vm_service(vm_id), verb)()
            except ovirtsdk4.Error as error:
                return error.code
            return 0

        options = {name: getattr(lab.simulator, name) for name in ("url", "username", "password", "ca_file")}
        connections = [ovirtsdk4.Connection(**options) for _ in range(8)]
        try:
            codes = await asyncio.gather(*(lab.call(attempt, connection) for connection in connections))
        finally:
            for connection in connections:
                await lab.call(connection.close)
        assert codes.count(0) == 1
        assert set(codes) <= {0, 404, 409}

    play(scenario)


def test_many_lifecycles_at_once_leave_nothing(virtual_clock, run_virtually):

    simulator = Simulator(clock=virtual_clock, profile="engine")

    async def lifecycle(name):
        made = simulator.call("POST", "/vms", CREATE.format(name))
        path = f"/vms/{made.element.get('id')}"
        vm = simulator.world.vms[made.element.get("id")]
        while simulator.call("POST", f"{path}/start", "<action/>").status != 200:
            await virtual_clock.sleep(5)
        while vm.status != "up":
            await virtual_clock.sleep(5)
            simulator.world.settle()
        simulator.call("POST", f"{path}/stop", "<action/>")
        while simulator.call("DELETE", path).status != 200:
            await virtual_clock.sleep(5)

    async def scenario():
        await asyncio.gather(*(lifecycle(f"vm{number}") for number in range(50)))
        await virtual_clock.sleep(60)
        simulator.world.settle()

    run_virtually(scenario())
    assert not simulator.world.vms
    assert {job.status for job in simulator.world.jobs.values()} == {"finished", "failed"}


def test_a_profile_of_ones_own_changes_what_it_names(tmp_path):
    file = tmp_path / "slow.yaml"
    file.write_text("boot: 300\n")
    assert find_profile(str(file)) == ENGINE.model_copy(update={"boot": 300})
    file.write_text("base: fast\nboot: 300\n")
    assert find_profile(str(file)) == FAST.model_copy(update={"boot": 300})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("bot: 300", "bot: is not a known key; did you mean 'boot'?"),
        ("boot: -1", "boot: must be greater than or equal to 0, not -1"),
        ("boot: soon", "boot: must be a valid number"),
        ("base: quick", "base: must be 'engine', 'recorded' or 'fast'"),
        ("[", "not valid YAML"),
    ],
)
def test_a_profile_that_is_none_is_told_by_field(tmp_path, written, said):
    file = tmp_path / "profile.yaml"
    file.write_text(written)
    with pytest.raises(DocumentError) as refused:
        find_profile(str(file))
    assert refused.value.problems[0].startswith(said)
    assert str(refused.value).startswith(str(file))


def test_an_unknown_profile_is_told_with_its_near_miss(tmp_path):
    with pytest.raises(DocumentError, match="there is no timing profile 'engin'; did you mean 'engine'"):
        find_profile("engin")
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        find_profile(str(tmp_path / "no.yaml"))
