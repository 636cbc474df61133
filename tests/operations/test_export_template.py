"""Templates that the engine writes to an OVA file on a host, or copies to an export domain."""

import pytest

from ovirt_provision.engine.events import Events
from ovirt_provision.errors import (
    DeadlineExceeded,
    EngineRefused,
    InvalidRequest,
    MachineBusy,
    ProvisionError,
    ReferencesNotFound,
)
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Operation
from ovirt_provision.v1 import resources_pb2, templates_pb2
from tests.harness import TEMPLATE, Site, add_export_domain, spec

BASE = resources_pb2.TemplateRef(name=TEMPLATE)
Wanted = templates_pb2.ExportTemplateRequest


def ova(**fields: object) -> Wanted.Ova:
    return Wanted.Ova(**({"host": "host1", "directory": "/var/tmp"} | fields))


def to_shelf(**fields: object) -> Wanted.ExportDomain:
    return Wanted.ExportDomain(**({"storage_domain": "shelf"} | fields))


def appliances(site: Site) -> dict[str, str]:
    """Names of the templates in the OVA files of the host, by path."""
    (host,) = site.simulator.world.hosts.values()
    return {path: exported.name for path, exported in host.appliances.items()}


def exports(site: Site) -> int:
    """How many commands to export the engine has been given, also those that it refused."""
    return len([job for job in site.simulator.world.jobs.values() if "Export" in job.description])


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, f"/var/tmp/{TEMPLATE}.ova"),
        ({"directory": "/tmp/", "file_name": "golden.ova"}, "/tmp/golden.ova"),
    ],
)
def test_a_template_goes_to_a_file_on_a_host(direct_site, run_virtually, fields, path):
    async def scenario() -> None:
        async with direct_site() as s:
            before = s.clock.monotonic()
            ended = await s.run("ExportTemplate", template=BASE, ova=ova(**fields))
            assert ended.state == SUCCEEDED, ended.error
            assert appliances(s) == {path: TEMPLATE}
            assert s.clock.monotonic() - before >= s.simulator.world.timing.copy_disk
            assert (exports(s), s.templates(), s.disks(), await s.census()) == (1, [], 1, [])

    run_virtually(scenario())


def test_a_template_goes_to_an_export_domain_and_is_replaced_there_if_that_is_asked_for(
    direct_site, run_virtually
):
    async def scenario() -> None:
        async with direct_site() as s:
            shelf = add_export_domain(s.simulator)
            ended = await s.run("ExportTemplate", template=BASE, export_domain=to_shelf())
            assert ended.state == SUCCEEDED, ended.error
            (first,) = shelf.exports.values()
            assert first.name == TEMPLATE
            with pytest.raises(InvalidRequest, match="has a copy of template 'debian-12' already"):
                await s.call("ExportTemplate", template=BASE, export_domain=to_shelf())
            assert exports(s) == 1
            ended = await s.run("ExportTemplate", template=BASE, export_domain=to_shelf(replace=True))
            assert ended.state == SUCCEEDED, ended.error
            (second,) = shelf.exports.values()
            assert second is not first
            assert await s.census() == []

    run_virtually(scenario())


def test_what_cannot_be_exported_is_refused_before_the_first_effect(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            shelf = add_export_domain(s.simulator)
            (host,) = s.simulator.world.hosts.values()

            async def refused(error: type[ProvisionError], **fields: object) -> dict[str, str]:
                with pytest.raises(error) as told:
                    await s.call("ExportTemplate", **({"template": BASE} | fields))
                return {one.field: one.description for one in told.value.violations}

            absent = resources_pb2.TemplateRef(name="debian-13")
            told = await refused(ReferencesNotFound, template=absent, ova=ova(host="host2"))
            assert "did you mean 'debian-12'?" in told["template.name"]
            assert told["ova.host"] == "no host 'host2'; did you mean 'host1'?"
            told = await refused(ReferencesNotFound, export_domain=to_shelf(storage_domain="shelv"))
            assert "did you mean 'shelf'?" in told["export_domain.storage_domain"]
            told = await refused(InvalidRequest, export_domain=to_shelf(storage_domain="data"))
            assert "'data' is one of type data, not export" in told["export_domain.storage_domain"]
            shelf.status = "maintenance"
            s.bridge.engine("sim").inventory._domains.clear()
            told = await refused(InvalidRequest, export_domain=to_shelf())
            assert "'shelf' is maintenance, not active" in told["export_domain.storage_domain"]
            host.status = "maintenance"
            told = await refused(InvalidRequest, ova=ova())
            assert told == {"ova.host": "host 'host1' is maintenance, not up"}
            blank = resources_pb2.TemplateRef(name="Blank")
            told = await refused(InvalidRequest, template=blank, export_domain=to_shelf())
            assert told == {"template": "template 'Blank' has no disk"}
            assert exports(s) == 0

    run_virtually(scenario())


def test_a_folder_that_the_host_has_not_is_told_in_the_engines_words(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(engine_lock=1) as s:
            ended = await s.run("ExportTemplate", template=BASE, ova=ova(directory="/none"))
            assert (ended.state, ended.error["reason"]) == (FAILED, EngineRefused.reason)
            assert "Invalid target folder: /none on Host host1." in ended.error["message"]
            assert appliances(s) == {}

    run_virtually(scenario())


@pytest.mark.parametrize("to_host", [True, False])
def test_what_fails_on_the_way_is_told_with_the_engines_reason(direct_site, run_virtually, to_host):
    async def scenario() -> None:
        async with direct_site() as s:
            shelf = add_export_domain(s.simulator)
            s.simulator.world.injections.arm("export-fails")
            target = {"ova": ova()} if to_host else {"export_domain": to_shelf()}
            ended = await s.run("ExportTemplate", template=BASE, **target)
            assert (ended.state, ended.cleanup, exports(s)) == (FAILED, "done", 1)
            assert f"Failed to export Template {TEMPLATE}" in ended.error["message"]
            assert (appliances(s), shelf.exports) == ({}, {})

    run_virtually(scenario())


async def golden(site: Site) -> str:
    """A template of ours; its id."""
    await site.run("CreateMachine", key="build", spec=spec())
    await site.run("CreateTemplate", machine_key="build", name="golden")
    (template,) = site.simulator.world.templates_named("golden")
    return template.id


def test_a_cancelled_export_is_waited_for_and_so_is_its_template(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            template_id = await golden(s)
            wanted = resources_pb2.TemplateRef(id=template_id)
            exporting = await s.call("ExportTemplate", template=wanted, ova=ova())
            with pytest.raises(MachineBusy, match="ExportTemplate"):
                await s.call("ExportTemplate", template=wanted, ova=ova(file_name="other.ova"))
            await s.clock.sleep(5)
            destroyed = await s.run("DestroyTemplate", id=template_id)
            assert destroyed.state == SUCCEEDED, destroyed.error
            assert (await s.ended(exporting)).state == CANCELLED
            assert (appliances(s), s.templates()) == ({"/var/tmp/golden.ova": "golden"}, [])

    run_virtually(scenario())


def test_an_export_that_takes_too_long_says_so(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(export_template=2) as s:
            ended = await s.run("ExportTemplate", template=BASE, ova=ova())
            assert (ended.state, ended.error["reason"]) == (FAILED, DeadlineExceeded.reason)
            assert "export_template" in ended.error["message"]
            (template,) = s.simulator.world.templates_named(TEMPLATE)
            assert template.status == "ok"

    run_virtually(scenario())


@pytest.mark.parametrize("defended", [True, False])
def test_an_answer_that_is_lost_costs_no_second_export(site, run_virtually, monkeypatch, defended):
    """Without the look at the engine's log, what it does already is taken for a refusal, or done twice."""
    if not defended:

        async def nothing(*_):
            return []

        monkeypatch.setattr("ovirt_provision.operations.export_template._has_begun", nothing)

    async def scenario() -> tuple[Operation, int]:
        async with site(engine_lock=1) as s:
            s.simulator.world.injections.arm("drop-reply", method="POST", path="/templates/[^/]+/export")
            return await s.run("ExportTemplate", template=BASE, ova=ova()), exports(s)

    ended, count = run_virtually(scenario())
    assert (ended.state == SUCCEEDED and count == 1) == defended


def test_who_sees_no_events_of_an_export_yet_looks_at_its_job(site, run_virtually, monkeypatch):
    """The engine has a job before it logs anything: while it looks whether it may."""
    codes = Events._codes_of_all
    blind = True

    async def hidden(self, ids):
        return dict.fromkeys(ids, frozenset()) if blind else await codes(self, ids)

    monkeypatch.setattr(Events, "_codes_of_all", hidden)

    async def scenario() -> None:
        nonlocal blind
        async with site() as s:
            s.simulator.world.injections.arm("drop-reply", method="POST", path="/templates/[^/]+/export")
            exporting = await s.call("ExportTemplate", template=BASE, ova=ova())
            await s.clock.sleep(10)
            blind = False
            assert (await s.ended(exporting)).state == SUCCEEDED
            assert exports(s) == 1

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("role", "where", "to_host", "lacks"),
    [
        ("VmImporterExporter", "template", True, ""),
        ("VmImporterExporter", "storage domain", True, "import_export_vm on template 'debian-12'"),
        ("VmImporterExporter", "storage domain", False, ""),
        ("VmImporterExporter", "template", False, "import_export_vm on storage domain 'shelf'"),
    ],
)
def test_who_is_no_superuser_needs_the_permit_where_it_goes(
    direct_site, run_virtually, role, where, to_host, lacks
):
    async def scenario() -> None:
        async with direct_site() as s:
            world = s.simulator.world
            shelf = add_export_domain(s.simulator)
            places = {
                "template": ("templates", world.templates_named(TEMPLATE)[0].id),
                "storage domain": ("storagedomains", shelf.id),
            }
            user = s.simulator.add_user("exporter", "only of this user")
            world.give("UserTemplateBasedVm", user, places["template"])
            world.give(role, user, places[where])
            await s.become("exporter@internal", "only of this user")
            target = {"ova": ova()} if to_host else {"export_domain": to_shelf()}
            ended = await s.run("ExportTemplate", template=BASE, **target)
            assert ended.state == (FAILED if lacks else SUCCEEDED), ended.error
            assert lacks in (ended.error["message"] if lacks else "")
            assert (len(appliances(s)), len(shelf.exports)) == (
                int(to_host and not lacks),
                int(not to_host and not lacks),
            )

    run_virtually(scenario())
