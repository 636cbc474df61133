"""What the API asks of every request, simulated or not: what is mandatory, what values there are."""

import pytest

from ovirt_provision.simulator.router import coverage


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("/tags", "<tag/>", "Parameter 'tag.name' is mandatory but was not provided."),
        ("/templates", "<template><name>t</name></template>", "No matching signature found, make sure"),
    ],
)
def test_what_is_left_out_is_named(play, path, body, fault):
    async def scenario(lab):
        disk = next(iter(lab.world.disks))
        reply = await lab.request("POST", path.format(disk=disk), body)
        assert (reply.status, "Input validation failed." in reply.text) == (400, True)
        assert fault in reply.text

    play(scenario)


@pytest.mark.parametrize(
    ("method", "path", "body", "fault"),
    [
        (
            "POST",
            "/vms",
            "<vm><name>v</name><type>bogus</type></vm>",
            "'VmType' enumerated type. Valid values are: 'desktop', 'server', 'high_performance'.",
        ),
        (
            "POST",
            "/vms",
            "<vm><cpu><architecture>z80</architecture></cpu></vm>",
            "The string 'z80' isn't a valid value for the 'Architecture'",
        ),
        (
            "PUT",
            "/vms/{vm}",
            "<vm><os><boot><devices><device>hd</device><device>tape</device></devices></boot></os></vm>",
            "The string 'tape' isn't a valid value for the 'BootDevice'",
        ),
        (
            "POST",
            "/vms",
            "<vm><cpu><topology><cores>two</cores></topology></cpu></vm>",
            "For correct usage, see",
        ),
        ("POST", "/vms", "<vm><cpu><legs>2</legs></cpu></vm>", "For correct usage"),
    ],
)
def test_what_the_api_does_not_have_is_refused_however_deep(play, method, path, body, fault):
    async def scenario(lab):
        vm_id = await lab.create("web")
        reply = await lab.request(method, path.format(vm=vm_id), body)
        assert reply.status == 400
        assert fault in reply.text

    play(scenario)


def test_an_operation_that_is_not_simulated_is_named(play):
    async def scenario(lab):
        reply = await lab.request("GET", "/katelloerrata")
        assert reply.status == 501
        assert "EngineKatelloErrataService.List (GET /katelloerrata) is not simulated" in reply.text

    play(scenario)


def test_the_coverage_is_what_is_answered(play):
    operations = coverage()
    assert len(operations) == 862

    async def scenario(lab):
        lists = [one for one in operations if one[0].method == "GET" and "{" not in one[0].path]
        for operation, simulated in lists:
            reply = await lab.request("GET", operation.path)
            assert (reply.status != 501) is simulated, operation.path

    play(scenario)
