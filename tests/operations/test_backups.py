"""Storage domains for backups: marked by admins alone, given copies of templates and Machines."""

import uuid
from typing import Any, cast

import pytest

from ovirt_provision.errors import (
    AdminsOnly,
    InvalidRequest,
    MachineNotDown,
    NameInUse,
    ReferencesNotFound,
    StorageDomainInUse,
    TemplateExists,
)
from ovirt_provision.ledger.store import CANCELLED, FAILED, SUCCEEDED, Operation
from ovirt_provision.operations.backups import list_backups
from ovirt_provision.services.backup_service import BackupServicer
from ovirt_provision.services.calls import Caller, Context, calling
from ovirt_provision.services.messages import operation_message
from ovirt_provision.simulator.entities import Template
from ovirt_provision.v1 import backups_pb2, resources_pb2
from tests.harness import ENGINE, OWNER, TEMPLATE, Site, add_vault, spec, started

BASE = resources_pb2.TemplateRef(name=TEMPLATE)


async def web(site: Site, **fields: object) -> None:
    made = await site.run("CreateMachine", key="web", spec=spec(), **fields)
    assert made.state == SUCCEEDED, made.error
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, "web"))


def made_of(site: Site, operation: Operation) -> Template:
    assert operation.state == SUCCEEDED, operation.error
    return site.simulator.world.templates[operation_message(site.bridge, operation).template.id]


def where(template: Template) -> set[str]:
    return {one.disk.domain.name for one in template.attachments}


def kinds_of(template: Template) -> list[tuple[int, str, bool]]:
    return [(one.disk.size, one.disk.format, one.disk.sparse) for one in template.attachments]


async def listed(site: Site, domain: str = "") -> list[str]:
    found = await list_backups(site.bridge.engine(ENGINE), domain, may_see=lambda _: True)
    return [template.name for template in found]


def commands(site: Site) -> int:
    return len(site.simulator.world.jobs)


def test_an_admin_marks_a_domain_and_takes_the_mark_away(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(owners={OWNER: {"role": "admin"}}) as s:
            domain = add_vault(s.simulator, backup=False)
            for backup in (True, True, False):
                marked = await s.run("MarkBackupDomain", id=domain.id, backup=backup)
                assert marked.state == SUCCEEDED, marked.error
                assert domain.backup == backup

    run_virtually(scenario())


def test_nobody_else_marks_one_and_only_where_nothing_runs(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site(owners={OWNER: {"role": "user"}}) as s:
            with pytest.raises(AdminsOnly):
                await s.call("MarkBackupDomain", id=add_vault(s.simulator, backup=False).id, backup=True)
        async with direct_site("second", owners={OWNER: {"role": "admin"}}) as s:
            await web(s, start_with=started())
            data = next(one for one in s.simulator.world.domains.values() if one.name == "data")
            before = commands(s)
            with pytest.raises(StorageDomainInUse, match="web"):
                await s.call("MarkBackupDomain", id=data.id, backup=True)
            with pytest.raises(ReferencesNotFound):
                await s.call("MarkBackupDomain", id=data.id.replace(data.id[:4], "0000"), backup=True)
            data.type = "export"
            with pytest.raises(InvalidRequest, match="of type export"):
                await s.call("MarkBackupDomain", id=data.id, backup=True)
            data.type = "data"
            assert (commands(s), data.backup) == (before, False)

    run_virtually(scenario())


def test_what_runs_meanwhile_the_engine_refuses_in_its_own_words(direct_site, run_virtually, monkeypatch):
    """The defence off: nobody looks beforehand."""

    async def scenario() -> None:
        async with direct_site(owners={OWNER: {"role": "admin"}}, engine_lock=1) as s:
            await web(s, start_with=started())
            data = next(one for one in s.simulator.world.domains.values() if one.name == "data")

            async def nobody(*_: object, **__: object) -> list[object]:
                return []

            monkeypatch.setattr(s.bridge.engine(ENGINE).machines, "search", nobody)
            marked = await s.run("MarkBackupDomain", id=data.id, backup=True)
            assert marked.state == FAILED
            assert "attached to running VMs" in marked.error["engine_text"]
            assert not data.backup

    run_virtually(scenario())


def test_a_template_is_backed_up_survives_its_source_and_is_restored(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            add_vault(s.simulator)
            await web(s)
            source = made_of(s, await s.run("CreateTemplate", machine_key="web", name="golden"))
            kinds = kinds_of(source)
            saving = await s.run(
                "CreateBackup",
                template=resources_pb2.TemplateRef(name="golden"),
                storage_domain="vault",
                name="saved",
                description="as of spring",
            )
            saved = made_of(s, saving)
            assert (saved.name, saved.status, saved.description) == ("saved", "ok", "as of spring")
            assert where(saved) == {"vault"}
            assert s.vms() == ["web"]
            assert (await s.run("DestroyTemplate", id=source.id)).state == SUCCEEDED

            assert await listed(s) == await listed(s, "vault") == ["saved"]
            with pytest.raises(ReferencesNotFound, match="did you mean 'vault'"):
                await listed(s, "valut")

            restoring = await s.run(
                "RestoreBackup",
                backup=resources_pb2.TemplateRef(name="saved"),
                name="golden",
                storage_domain="data",
            )
            restored = made_of(s, restoring)
            assert (restored.name, where(restored)) == ("golden", {"data"})
            assert kinds_of(restored) == kinds
            used = await s.run(
                "CreateMachine",
                key="again",
                spec=spec(template=resources_pb2.TemplateRef(name="golden")),
                start_with=started(),
            )
            assert used.state == SUCCEEDED, used.error
            assert await listed(s) == ["saved"], "the backup stays"
            assert {finding for finding, _, _ in await s.census()} == {"ours"}

    run_virtually(scenario())


def test_a_machine_is_backed_up_and_comes_back_as_one(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            add_vault(s.simulator)
            await web(s)
            saved = made_of(s, await s.run("CreateBackup", machine_key="web", storage_domain="vault"))
            assert saved.name.startswith("web.backup-")
            assert where(saved) == {"vault"}
            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            reference = resources_pb2.TemplateRef(name=saved.name)
            with pytest.raises(InvalidRequest, match="a backup domain"):
                await s.call("CreateMachine", key="web", spec=spec(template=reference))
            back = await s.run(
                "CreateMachine",
                key="web",
                spec=spec(template=reference, clone=True, storage_domain="data"),
                start_with=started(),
            )
            assert back.state == SUCCEEDED, back.error
            assert (await s.run("DestroyTemplate", id=saved.id)).state == SUCCEEDED
            assert await listed(s) == []

    run_virtually(scenario())


def test_what_is_wrong_is_refused_before_the_first_effect(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            domain = add_vault(s.simulator, backup=False)
            await web(s, start_with=started())
            before = commands(s)
            with pytest.raises(InvalidRequest, match="'vault' is not marked as backup"):
                await s.call("CreateBackup", template=BASE, storage_domain="vault")
            domain.backup = True
            with pytest.raises(ReferencesNotFound, match="did you mean 'vault'"):
                await s.call("CreateBackup", template=BASE, storage_domain="valut")
            with pytest.raises(NameInUse):
                await s.call("CreateBackup", template=BASE, storage_domain="vault", name=TEMPLATE)
            with pytest.raises(MachineNotDown):
                await s.call("CreateBackup", machine_key="web", storage_domain="vault")
            with pytest.raises(InvalidRequest, match="is no backup: its disks are on data"):
                await s.call("RestoreBackup", backup=BASE, name="golden", storage_domain="data")
            assert commands(s) == before
            saved = made_of(s, await s.run("CreateBackup", template=BASE, storage_domain="vault"))
            again = resources_pb2.TemplateRef(id=saved.id)
            with pytest.raises(InvalidRequest, match="no VM can run with a disk there"):
                await s.call("RestoreBackup", backup=again, name="golden", storage_domain="vault")
            with pytest.raises(TemplateExists):
                await s.call("RestoreBackup", backup=again, name=saved.name, storage_domain="data")

    run_virtually(scenario())


def test_a_call_that_only_validates_tells_what_is_wrong_and_makes_nothing(direct_site, run_virtually):
    async def scenario() -> None:
        async with direct_site() as s:
            add_vault(s.simulator)
            saved = made_of(s, await s.run("CreateBackup", template=BASE, storage_domain="vault"))
            calling.set(Caller(OWNER, s.bridge.config.limits(OWNER)))
            service, context = BackupServicer(lambda: s.bridge), cast(Context, None)
            ids: dict[str, Any] = {"request_id": str(uuid.uuid4()), "validate_only": True}
            create = backups_pb2.CreateBackupRequest(template=BASE, storage_domain="vault", **ids)
            restore = backups_pb2.RestoreBackupRequest(
                backup=resources_pb2.TemplateRef(id=saved.id), name="golden", storage_domain="data", **ids
            )
            before = commands(s)

            assert not (await service.CreateBackup(create, context)).HasField("operation")
            assert not (await service.RestoreBackup(restore, context)).HasField("operation")
            create.storage_domain, restore.name = "data", saved.name
            with pytest.raises(InvalidRequest, match="'data' is not marked as backup"):
                await service.CreateBackup(create, context)
            with pytest.raises(TemplateExists):
                await service.RestoreBackup(restore, context)

            assert commands(s) == before
            assert s.bridge.ledger.operation_of_request(OWNER, ids["request_id"]) is None

    run_virtually(scenario())


@pytest.mark.parametrize("phase", ["creating-vm", "creating-template", "copying-disks", "removing-vm"])
def test_a_backup_that_is_cancelled_leaves_nothing(direct_site, run_virtually, phase):
    async def scenario() -> None:
        async with direct_site() as s:
            add_vault(s.simulator)
            saving = await s.call("CreateBackup", template=BASE, storage_domain="vault")
            async for seen in s.bridge.dispatcher.runner.watch(saving.id):
                if seen.phase == phase:
                    s.bridge.dispatcher.cancel(seen, "by its client")
            assert (seen.state, seen.cleanup) == (CANCELLED, "done")
            assert (s.vms(), s.templates(), s.disks()) == ([], [], 1)
            assert await s.census() == []

    run_virtually(scenario())
