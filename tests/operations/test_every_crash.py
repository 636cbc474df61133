"""A daemon that dies at any boundary: the next one ends what was begun, once, and nothing is left over.

By default it dies after every second commit of the ledger, or of many fewer, and around every second request
that changes the engine: with the effect done and the reply lost, or with the request done only when the next
daemon is at work. All other moments leave one of the same states behind; `OVIRT_PROVISION_CRASHES=all`
explores each and all of them.
"""

import hashlib
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from ovirt_provision.ledger.store import CANCELLED, GONE, LATE, PRESENT, REMOVING, SUCCEEDED, Operation
from ovirt_provision.operations.adopt_machine import adopt_machine
from ovirt_provision.v1 import images_pb2, machines_pb2, resources_pb2, templates_pb2
from tests.crashes import (
    AFTER_COMMIT,
    BEFORE_CHANGE,
    BEFORE_READING,
    LATE_CHANGE,
    LATER_CHANGE,
    LOST_REPLY,
    MOMENTS,
    Crashes,
)
from tests.harness import ENGINE, OWNER, TEMPLATE, Site, add_export_domain, add_vault, spec, started
from tests.image_files import RAW

# What is destroyed is looked up for so long, in seconds.
TOMBSTONE = {"late_create_grace": 30}
BACKUP: dict[str, Any] = {
    "template": resources_pb2.TemplateRef(name=TEMPLATE),
    "storage_domain": "vault",
    "name": "saved",
}
RESTORED: dict[str, Any] = {
    "backup": resources_pb2.TemplateRef(name="saved"),
    "storage_domain": "data",
    "name": "restored",
}
_SWEPT = 60 + 30 + 2 * 60


@dataclass(frozen=True)
class Scenario:
    """What a client does, how it has to end, and how many boundaries of each sort it passes at most.

    The first `known` commits and changes are as in another scenario, and of the rest every `stride`-th is
    tried, unless all moments are.
    """

    client: Callable[[Site], Awaitable[Operation]]
    prepare: Callable[[Site], Awaitable[object]] | None = None
    state: str = SUCCEEDED
    vms: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    disks: int = 0
    commits: int = 0
    changes: int = 0
    readings: int = 0
    known: tuple[int, int] = (0, 0)
    stride: int = 1


def request_id(verb: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, verb))


async def call(site: Site, verb: str, **fields: object) -> Operation:
    return await site.call(verb, request_id=request_id(verb), **fields)


async def create_and_start(site: Site) -> Operation:
    creating = await call(
        site,
        "CreateMachine",
        key="web",
        spec=spec(),
        start_with=started(user_data="runcmd: [id]"),
        address_selection=resources_pb2.AddressSelection(nics=["nic1"]),
    )
    return await site.ended(creating)


async def create_full_clone(site: Site) -> Operation:
    return await site.ended(await call(site, "CreateMachine", key="web", spec=spec(clone=True)))


async def create_and_cancel(site: Site) -> Operation:
    creating = await call(site, "CreateMachine", key="web", spec=spec(), start_with=started())
    async for seen in site.bridge.dispatcher.runner.watch(creating.id):
        if seen.phase == "booting":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def copy_and_start(site: Site) -> Operation:
    copying = await call(site, "CloneMachine", source_key="web", key="copy", start_with=started())
    ended = await site.ended(copying)
    keep(site, "copy")
    return ended


async def copy_and_cancel(site: Site) -> Operation:
    copying = await call(site, "CloneMachine", source_key="web", key="copy")
    async for seen in site.bridge.dispatcher.runner.watch(copying.id):
        if seen.phase == "cloning":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


def keep(site: Site, key: str) -> None:
    site.bridge.leases.confirm(site.bridge.ledger.living_machine(OWNER, key))


async def running(site: Site) -> None:
    await site.run("CreateMachine", key="web", spec=spec(), start_with=started())
    keep(site, "web")


async def stopped(site: Site) -> None:
    await site.run("CreateMachine", key="web", spec=spec())
    keep(site, "web")


async def seal(site: Site) -> Operation:
    return await site.ended(await call(site, "CreateTemplate", machine_key="build", name="golden", seal=True))


async def build(site: Site) -> None:
    await site.run("CreateMachine", key="build", spec=spec())
    keep(site, "build")


async def build_and_golden(site: Site) -> None:
    await build(site)
    await site.run("CreateTemplate", machine_key="build", name="golden")


async def add_version(site: Site) -> Operation:
    return await site.ended(
        await call(site, "CreateTemplate", machine_key="build", name="golden", new_version=True)
    )


async def add_version_and_cancel(site: Site) -> Operation:
    making = await call(site, "CreateTemplate", machine_key="build", name="golden", new_version=True)
    async for seen in site.bridge.dispatcher.runner.watch(making.id):
        if seen.phase == "copying-disks":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def seal_and_cancel(site: Site) -> Operation:
    making = await call(site, "CreateTemplate", machine_key="build", name="golden", seal=True)
    async for seen in site.bridge.dispatcher.runner.watch(making.id):
        if seen.phase == "sealing":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def replace(site: Site) -> Operation:
    return await site.ended(
        await call(
            site,
            "CreateTemplate",
            machine_key="build",
            name="golden",
            replace=True,
            boot_test=templates_pb2.BootTest(initialization=started(user_data="runcmd: [id]")),
        )
    )


async def cancel_the_boot_test(site: Site) -> Operation:
    site.ssh.silent = "Connection refused"
    making = await call(
        site, "CreateTemplate", machine_key="build", name="golden", boot_test=templates_pb2.BootTest()
    )
    async for seen in site.bridge.dispatcher.runner.watch(making.id):
        if seen.phase == "reaching-ssh":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def add_version_and_keep_one(site: Site) -> Operation:
    return await site.ended(
        await call(
            site,
            "CreateTemplate",
            machine_key="build",
            name="golden",
            new_version=True,
            keep_versions=1,
            tags=["linux"],
        )
    )


async def build_and_golden_and_tag(site: Site) -> None:
    await build_and_golden(site)
    site.simulator.call("POST", "/tags", "<tag><name>linux</name></tag>")


async def detach(site: Site) -> Operation:
    return await site.ended(await call(site, "DetachDisk", machine_key="build", name="golden"))


async def build_in_full(site: Site) -> None:
    await site.run("CreateMachine", key="build", spec=spec(clone=True))
    keep(site, "build")


async def build_raw(site: Site) -> None:
    raw = resources_pb2.DiskSpec(format=resources_pb2.DISK_FORMAT_RAW)
    await site.run("CreateMachine", key="build", spec=spec(clone=True, boot_disk=raw))
    keep(site, "build")
    for disk in site.simulator.world.disks.values():
        disk.actual_size = 5 << 30


async def sparsify(site: Site) -> Operation:
    ended = await site.ended(await call(site, "SparsifyDisk", machine_key="build"))
    assert [(one["bytes_before"], one["bytes_after"]) for one in ended.plan["sparsified"]] == [
        (5 << 30, 1 << 20)
    ]
    return ended


async def vault(site: Site) -> None:
    add_vault(site.simulator)


async def bare_vault(site: Site) -> None:
    add_vault(site.simulator, backup=False)


async def back_up(site: Site) -> Operation:
    return await site.ended(await call(site, "CreateBackup", **BACKUP))


async def back_up_and_cancel(site: Site) -> Operation:
    saving = await call(site, "CreateBackup", **BACKUP)
    async for seen in site.bridge.dispatcher.runner.watch(saving.id):
        if seen.phase == "copying-disks":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def mark_vault(site: Site) -> Operation:
    (vault,) = [one for one in site.simulator.world.domains.values() if one.name == "vault"]
    ended = await site.ended(await call(site, "MarkBackupDomain", id=vault.id, backup=True))
    assert vault.backup
    return ended


async def backed_up(site: Site) -> None:
    await vault(site)
    await site.run("CreateBackup", **BACKUP)


async def restore(site: Site) -> Operation:
    return await site.ended(await call(site, "RestoreBackup", **RESTORED))


async def imported(site: Site) -> None:
    disk = images_pb2.ImportedDisk(name="golden")
    await site.run("ImportImage", checksum=await site.upload(RAW), disk=disk)


async def export(site: Site) -> Operation:
    (disk,) = [one.id for one in site.simulator.world.disks.values() if one.name == "golden"]
    fields = {"disk_id": disk, "format": resources_pb2.Image.FORMAT_RAW}
    ended = await site.ended(await call(site, "ExportImage", **fields))
    assert site.bridge.images.path(OWNER, ended.plan["image"]["checksum"]).read_bytes() == RAW
    assert all(one.ended for one in site.simulator.world.transfers.values())
    assert not site.bridge.images.scratched()
    return ended


async def to_a_host(site: Site) -> Operation:
    ova = templates_pb2.ExportTemplateRequest.Ova(host="host1", directory="/var/tmp")
    ended = await site.ended(
        await call(site, "ExportTemplate", template=resources_pb2.TemplateRef(name=TEMPLATE), ova=ova)
    )
    (host,) = site.simulator.world.hosts.values()
    assert list(host.appliances) == [f"/var/tmp/{TEMPLATE}.ova"]
    return ended


async def shelf(site: Site) -> None:
    add_export_domain(site.simulator)


async def to_the_shelf_and_cancel(site: Site) -> Operation:
    wanted = templates_pb2.ExportTemplateRequest.ExportDomain(storage_domain="shelf")
    exporting = await call(
        site, "ExportTemplate", template=resources_pb2.TemplateRef(name=TEMPLATE), export_domain=wanted
    )
    await site.clock.sleep(3)
    site.bridge.dispatcher.cancel(exporting, "by its client")
    return await site.ended(exporting)


async def drop_disk(site: Site) -> Operation:
    rows = site.bridge.ledger.list_objects(PRESENT, REMOVING, GONE)
    disk = next(row for row in rows if row.kind == "disk" and row.parent_id is None)
    return await site.ended(await call(site, "DestroyDisk", id=disk.known_id))


async def detached(site: Site) -> None:
    await build_in_full(site)
    await site.run("DetachDisk", machine_key="build", name="golden")


async def destroy(site: Site) -> Operation:
    return await site.ended(await call(site, "DestroyMachine", key="web"))


async def wait_for_guest(site: Site) -> Operation:
    stopping = await call(site, "StopMachine", key="web", wait_only=True)
    (vm,) = site.simulator.world.vms.values()
    if vm.guest is not None:
        vm.guest.shutdown()
    return await site.ended(stopping)


async def theirs(site: Site) -> None:
    """A VM that somebody else has made."""
    site.simulator.call(
        "POST",
        "/vms",
        "<vm><name>theirs</name><cluster><name>Default</name></cluster>"
        "<template><name>debian-12</name></template></vm>",
    )
    await site.clock.sleep(120)


async def adopt_and_start(site: Site) -> Operation:
    (vm,) = site.simulator.world.vms.values()
    request = machines_pb2.AdoptMachineRequest(key="web", vm_id=vm.id)
    await adopt_machine(site.bridge.dispatcher.make_call(OWNER, ENGINE, request))
    ended = await site.ended(await call(site, "StartMachine", key="web"))
    keep(site, "web")
    assert (vm.status, vm.comment) == ("up", "")
    assert [row.known_id for row in site.bridge.ledger.list_machines(OWNER, ENGINE)] == [vm.id]
    return ended


async def adopted(site: Site) -> None:
    """A Machine `web` that somebody else has made."""
    await theirs(site)
    await adopt_and_start(site)


async def restart(site: Site) -> Operation:
    return await site.ended(await call(site, "RestartMachine", key="web"))


async def stock(site: Site) -> None:
    """What an equipped Machine asks for: a tag, and a disk of somebody else."""
    site.simulator.call("POST", "/tags", "<tag><name>ci</name></tag>")
    site.simulator.world.add_disk("precious")


def equipped(site: Site) -> resources_pb2.MachineSpec:
    (precious,) = (disk for disk in site.simulator.world.disks.values() if disk.name == "precious")
    return spec(
        boot_disk=resources_pb2.DiskSpec(size_bytes=20 << 30),
        new_disks=[resources_pb2.DiskSpec(name=name, size_bytes=1 << 30) for name in ("a", "b")],
        attached_disks=[resources_pb2.AttachedDisk(id=precious.id)],
        nics=[resources_pb2.Nic(name="nic2", vnic_profile="ovirtmgmt")],
        tags=["ci"],
    )


async def equip(site: Site) -> Operation:
    return await site.ended(await call(site, "CreateMachine", key="web", spec=equipped(site)))


async def equip_and_cancel(site: Site) -> Operation:
    creating = await call(site, "CreateMachine", key="web", spec=equipped(site))
    async for seen in site.bridge.dispatcher.runner.watch(creating.id):
        if seen.phase == "connecting-nics":
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def with_image(site: Site) -> None:
    await site.upload(RAW)


def golden_image() -> dict[str, object]:
    """What an import is asked for; converted, so that it has a file of its own besides."""
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default")
    return {
        "checksum": f"sha256:{hashlib.sha256(RAW).hexdigest()}",
        "template": images_pb2.ImportedTemplate(
            name="golden", machine=machine, disk_format=resources_pb2.DISK_FORMAT_COW
        ),
    }


async def import_golden(site: Site) -> Operation:
    return await site.ended(await call(site, "ImportImage", **golden_image()))


async def import_and_cancel(site: Site) -> Operation:
    importing = await call(site, "ImportImage", **golden_image())
    async for seen in site.bridge.dispatcher.runner.watch(importing.id):
        if seen.phase == "transferring" and site.hosts.moved:
            site.bridge.dispatcher.cancel(seen, "by its client")
    return seen


async def stocked_and_equipped(site: Site) -> None:
    await stock(site)
    await site.run("CreateMachine", key="web", spec=equipped(site))
    keep(site, "web")


async def iso(site: Site) -> None:
    site.simulator.world.add_disk("installer").content_type = "iso"


async def install(site: Site) -> Operation:
    """A Machine from nothing, which boots an installer with a payload."""
    (domain,) = (one.name for one in site.simulator.world.domains.values())
    files = [resources_pb2.PayloadFile(name="ks.cfg", content="rootpw --plaintext hunter2")]
    ended = await site.ended(
        await call(
            site,
            "CreateMachine",
            key="web",
            spec=spec(
                template=resources_pb2.TemplateRef(name="Blank"),
                cluster="Default",
                storage_domain=domain,
                new_disks=[resources_pb2.DiskSpec(size_bytes=1 << 30)],
            ),
            start_with=resources_pb2.Initialization(),
            start_media=resources_pb2.Media(
                cd_rom=resources_pb2.CdRom(name="installer"), payload=resources_pb2.Payload(files=files)
            ),
            address_selection=resources_pb2.AddressSelection(do_not_wait=True),
        )
    )
    (vm,) = site.simulator.world.vms.values()
    assert vm.current_disc
    assert vm.config.find("payloads") is not None
    return ended


async def installed(site: Site) -> None:
    await iso(site)
    await install(site)
    keep(site, "web")
    await site.run("StopMachine", key="web", force=True)


async def template_of_installed(site: Site) -> Operation:
    ended = await site.ended(await call(site, "CreateTemplate", machine_key="web", name="golden"))
    (vm,) = site.simulator.world.vms.values()
    assert vm.config.find("payloads") is None
    return ended


# These are many: by default some of their boundaries are tried, and all talk to the engine without HTTP.
_EACH_OF_EQUIPPED = 1 if os.environ.get("OVIRT_PROVISION_CRASHES") == "all" else 11
EQUIPPED = {
    "equip": Scenario(equip, prepare=stock, vms=("web",), disks=4, commits=26, changes=10, readings=60),
    "equip-cancel": Scenario(
        equip_and_cancel, prepare=stock, state=CANCELLED, disks=1, commits=30, changes=9, readings=72
    ),
    "equip-destroy": Scenario(
        destroy, prepare=stocked_and_equipped, disks=1, commits=11, changes=2, readings=16
    ),
    "import": Scenario(
        import_golden,
        prepare=with_image,
        templates=("golden",),
        disks=1,
        commits=45,
        changes=7,
        readings=112,
        stride=3,
    ),
    "import-cancel": Scenario(
        import_and_cancel,
        prepare=with_image,
        state=CANCELLED,
        commits=24,
        changes=4,
        readings=46,
        stride=3,
    ),
    "install": Scenario(install, prepare=iso, vms=("web",), disks=2, commits=24, changes=5, readings=36),
    "install-template": Scenario(
        template_of_installed,
        prepare=installed,
        vms=("web",),
        templates=("golden",),
        disks=3,
        commits=10,
        changes=2,
        readings=53,
    ),
    "restore": Scenario(
        restore,
        prepare=backed_up,
        templates=("restored", "saved"),
        disks=2,
        commits=22,
        changes=3,
        readings=99,
    ),
}

SCENARIOS = {
    "create": Scenario(create_and_start, vms=("web",), disks=1, commits=18, changes=2, readings=68),
    "clone": Scenario(create_full_clone, vms=("web",), disks=1, commits=13, changes=1, readings=64),
    "cancel": Scenario(create_and_cancel, state=CANCELLED, commits=20, changes=2, readings=42),
    "copy": Scenario(
        copy_and_start, prepare=running, vms=("copy", "web"), disks=2, commits=24, changes=4, readings=136
    ),
    "copy-cancel": Scenario(
        copy_and_cancel,
        prepare=stopped,
        state=CANCELLED,
        vms=("web",),
        disks=1,
        commits=20,
        changes=5,
        readings=100,
        stride=2,
    ),
    "template": Scenario(
        seal,
        prepare=build,
        vms=("build",),
        templates=("golden",),
        disks=2,
        commits=10,
        changes=1,
        readings=80,
    ),
    "template-cancel": Scenario(
        seal_and_cancel,
        prepare=build,
        state=CANCELLED,
        vms=("build",),
        disks=1,
        commits=14,
        changes=2,
        readings=94,
        stride=2,
    ),
    "version": Scenario(
        add_version,
        prepare=build_and_golden,
        vms=("build",),
        templates=("golden", "golden"),
        disks=3,
        commits=9,
        changes=1,
        readings=70,
    ),
    "version-cancel": Scenario(
        add_version_and_cancel,
        prepare=build_and_golden,
        state=CANCELLED,
        vms=("build",),
        templates=("golden",),
        disks=2,
        commits=12,
        changes=2,
        readings=80,
        stride=2,
    ),
    "goes-down": Scenario(
        wait_for_guest, prepare=running, vms=("web",), disks=1, commits=5, changes=0, readings=12
    ),
    "replace": Scenario(
        replace,
        prepare=build_and_golden,
        vms=("build",),
        templates=("golden",),
        disks=2,
        commits=34,
        changes=7,
        readings=177,
        known=(9, 1),
        stride=3,
    ),
    "test-cancel": Scenario(
        cancel_the_boot_test,
        prepare=build,
        state=CANCELLED,
        vms=("build",),
        disks=1,
        commits=28,
        changes=6,
        readings=155,
        known=(18, 3),
        stride=3,
    ),
    "keep-versions": Scenario(
        add_version_and_keep_one,
        prepare=build_and_golden_and_tag,
        vms=("build",),
        templates=("golden",),
        disks=2,
        commits=16,
        changes=3,
        readings=94,
        known=(9, 1),
        stride=2,
    ),
    "detach": Scenario(detach, prepare=build_in_full, disks=1, commits=10, changes=3, readings=17, stride=2),
    "sparsify": Scenario(
        sparsify, prepare=build_raw, vms=("build",), disks=1, commits=6, changes=1, readings=22
    ),
    "backup": Scenario(
        back_up, prepare=vault, templates=("saved",), disks=1, commits=22, changes=3, readings=99, stride=2
    ),
    "backup-cancel": Scenario(
        back_up_and_cancel, prepare=vault, state=CANCELLED, commits=22, changes=4, readings=107, stride=3
    ),
    "mark-backup": Scenario(mark_vault, prepare=bare_vault, commits=4, changes=1, readings=12, stride=2),
    "export": Scenario(export, prepare=imported, disks=1, commits=16, changes=2, readings=7, stride=2),
    "export-template": Scenario(to_a_host, commits=4, changes=1, readings=50, stride=2),
    "export-template-cancel": Scenario(
        to_the_shelf_and_cancel, prepare=shelf, state=CANCELLED, commits=6, changes=1, readings=50, stride=2
    ),
    "destroy-disk": Scenario(drop_disk, prepare=detached, commits=8, changes=1, readings=26, stride=2),
    "adopt": Scenario(
        adopt_and_start, prepare=theirs, vms=("theirs",), disks=1, commits=9, changes=1, readings=40, stride=4
    ),
    "adopted-restart": Scenario(
        restart, prepare=adopted, vms=("theirs",), disks=1, commits=12, changes=2, readings=53, stride=6
    ),
    "adopted-forget": Scenario(
        destroy, prepare=adopted, vms=("theirs",), disks=1, commits=7, changes=0, readings=2, stride=3
    ),
    "destroy": Scenario(
        destroy,
        prepare=lambda site: site.run("CreateMachine", key="web", spec=spec(), start_with=started()),
        commits=10,
        changes=2,
        readings=22,
    ),
}


def boundaries(scenarios: Mapping[str, Scenario]) -> list[tuple[str, str, int]]:
    """(scenario, moment, number) of every crash to try."""
    all_moments = os.environ.get("OVIRT_PROVISION_CRASHES") == "all"
    moments = MOMENTS if all_moments else (AFTER_COMMIT, LOST_REPLY, LATE_CHANGE, LATER_CHANGE)
    return [
        (name, moment, number)
        for name, scenario in scenarios.items()
        for moment in moments
        for number in (
            range(1, most(scenario, moment) + 1) if all_moments else _worth_trying(scenario, moment)
        )
    ]


def _worth_trying(scenario: Scenario, moment: str) -> range:
    commits, changes = scenario.known
    known = commits if moment.endswith("commit") else changes
    return range(known + 1, most(scenario, moment) + 1, 2 * scenario.stride)


def most(scenario: Scenario, moment: str) -> int:
    if moment.endswith("commit"):
        return scenario.commits
    return scenario.readings if moment.endswith("reading") else scenario.changes


async def play(
    site: Site,
    crashes: Crashes,
    scenario: Scenario,
    moment: str = "",
    number: int = 0,
    *,
    every: bool = False,
    lose: Callable[[], None] | None = None,
) -> None:
    """Plays a scenario, dying as `crashes.arm` says, and holds what is left against what has to be there.

    `lose` is called before the client begins, to arm what its requests suffer; then something may be left to
    the janitor.
    """
    if scenario.prepare:
        await scenario.prepare(site)
    crashes.arm(moment, number, every=every)
    if lose is not None:
        lose()

    ended = await crashes.play(lambda: scenario.client(site))
    assert lose is not None or not site.simulator.world.injections.armed, "what was to come late came at once"

    assert ended.state == scenario.state, ended.error
    assert ended.cleanup == "done" or lose is not None
    left = (tuple(site.vms()), tuple(site.templates()), site.disks() - 1)
    assert left == (scenario.vms, scenario.templates, scenario.disks)
    await site.clock.sleep(_SWEPT)
    left = (tuple(site.vms()), tuple(site.templates()), site.disks() - 1)
    assert left == (scenario.vms, scenario.templates, scenario.disks), "what came late was swept"
    assert not site.snapshots()
    assert {finding for finding, _, _ in await site.census()} <= {"ours", "adopted"}
    ledger = site.bridge.ledger
    assert not ledger.unended_operations()
    assert not ledger.list_objects(REMOVING, LATE)
    if ledger.tombstones():
        await site.clock.sleep(_SWEPT)  # one that was needed is set up anew
    assert not ledger.tombstones()
    assert ledger.operation_or_fail(ended.id).cleanup == "done"
    assert not site.bridge.dispatcher._secrets.operations()


@pytest.mark.parametrize(
    ("name", "moment", "number"), boundaries(SCENARIOS), ids=lambda part: str(part) if part != "" else None
)
def test_a_crash_leaves_one_effect_and_nothing_else(
    direct_site, run_virtually, monkeypatch, name, moment, number
):
    async def scenario() -> None:
        async with direct_site(**TOMBSTONE) as s:
            await play(s, Crashes(s, monkeypatch), SCENARIOS[name], moment, number)

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("name", "moment", "number"),
    boundaries(EQUIPPED)[::_EACH_OF_EQUIPPED],
    ids=lambda part: str(part) if part != "" else None,
)
def test_a_crash_while_a_machine_is_equipped_leaves_one_effect_and_nothing_else(
    direct_site, run_virtually, monkeypatch, name, moment, number
):
    async def scenario() -> None:
        async with direct_site(**TOMBSTONE) as s:
            await play(s, Crashes(s, monkeypatch), EQUIPPED[name], moment, number)

    run_virtually(scenario())


@pytest.mark.parametrize("name", EQUIPPED)
def test_daemons_that_die_one_after_the_other_equip_a_machine(direct_site, run_virtually, monkeypatch, name):
    async def scenario() -> int:
        async with direct_site(**TOMBSTONE) as s:
            crashes = Crashes(s, monkeypatch)
            await play(s, crashes, EQUIPPED[name], AFTER_COMMIT, 5, every=True)
            return crashes.deaths

    assert run_virtually(scenario()) > 0


@pytest.mark.parametrize("name", EQUIPPED)
def test_every_boundary_of_an_equipped_machine_is_in_the_list(direct_site, run_virtually, monkeypatch, name):
    async def scenario() -> dict[str, int]:
        async with direct_site(**TOMBSTONE) as s:
            crashes = Crashes(s, monkeypatch)
            await play(s, crashes, EQUIPPED[name])
            return crashes.counts

    counts = run_virtually(scenario())

    print(f"{name}: {counts}")
    for moment in (AFTER_COMMIT, BEFORE_CHANGE, BEFORE_READING):
        assert counts[moment] <= most(EQUIPPED[name], moment), f"raise the number for {name}"


@pytest.mark.parametrize(
    ("over", "commits"),
    [("site", 4), ("site", 5), ("site", 7)]
    if os.environ.get("OVIRT_PROVISION_CRASHES") == "all"
    else [("site", 4), ("direct_site", 7)],
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_daemons_that_die_one_after_the_other_get_there(
    request, run_virtually, monkeypatch, name, over, commits
):
    site = request.getfixturevalue(over)

    async def scenario() -> int:
        async with site(**TOMBSTONE) as s:
            crashes = Crashes(s, monkeypatch)
            await play(s, crashes, SCENARIOS[name], AFTER_COMMIT, commits, every=True)
            return crashes.deaths

    assert run_virtually(scenario()) > 0 or SCENARIOS[name].commits < commits


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_boundary_is_in_the_list(direct_site, run_virtually, monkeypatch, name):
    async def scenario() -> dict[str, int]:
        async with direct_site(**TOMBSTONE) as s:
            crashes = Crashes(s, monkeypatch)
            await play(s, crashes, SCENARIOS[name])
            return crashes.counts

    counts = run_virtually(scenario())

    print(f"{name}: {counts}")
    for moment in (AFTER_COMMIT, BEFORE_CHANGE, BEFORE_READING):
        assert counts.get(moment, 0) <= most(SCENARIOS[name], moment), f"raise the number for {name}"
