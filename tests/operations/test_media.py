"""Machines that begin with nothing: from Blank, with an installer in the drive and a payload beside it."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ovirt_provision.errors import InvalidRequest, ReferencesNotFound
from ovirt_provision.ledger.store import FAILED, SUCCEEDED
from ovirt_provision.simulator.entities import Disk, StorageDomain, Vm, new_id
from ovirt_provision.simulator.guests import GuestSpec
from ovirt_provision.simulator.markup import find_text
from ovirt_provision.v1 import resources_pb2
from tests.harness import Site, spec

GIB = 1 << 30
Media = resources_pb2.Media
CdRom = resources_pb2.CdRom
Payload = resources_pb2.Payload
SECRET = "rootpw --plaintext hunter2"
NO_WAIT = resources_pb2.AddressSelection(do_not_wait=True)


class Stock:
    """ISO images in the engine, and what is made of them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.world = site.simulator.world
        self.data = next(iter(self.world.domains.values()))
        self.cluster = next(iter(self.world.clusters.values()))
        self.iso = self.add_iso("debian.iso")
        files = ["debian.iso", "windows.iso"]
        isos = StorageDomain(new_id(), "isos", self.data.data_center, new_id(), type="iso", files=files)
        self.world.domains[isos.id] = isos

    def add_iso(self, name: str, **fields: Any) -> Disk:
        disk = Disk(new_id(), name, 1 << 20, self.data, content_type="iso", format="raw", **fields)
        self.world.disks[disk.id] = disk
        return disk

    @property
    def vm(self) -> Vm:
        return next(vm for vm in self.world.vms.values() if vm.name == "web")

    @property
    def starts(self) -> list[GuestSpec]:
        specs: list[GuestSpec] = self.world.guests.specs  # type: ignore[attr-defined]
        return specs

    async def install(self, media: resources_pb2.Media, **fields: Any) -> Any:
        """Makes the Machine `web` from nothing, with these media."""
        fields.setdefault("address_selection", NO_WAIT)
        fields.setdefault("start_with", resources_pb2.Initialization())
        fields.setdefault("spec", self.blank())
        operation = await self.site.run("CreateMachine", key="web", start_media=media, **fields)
        assert operation.state == SUCCEEDED, operation.error
        return operation

    def blank(self, **fields: Any) -> resources_pb2.MachineSpec:
        fields.setdefault("cluster", self.cluster.name)
        fields.setdefault("storage_domain", self.data.name)
        fields.setdefault("new_disks", [resources_pb2.DiskSpec(size_bytes=GIB)])
        return spec(template=resources_pb2.TemplateRef(name="Blank"), **fields)


@pytest.fixture
def play(
    direct_site: Callable[..., Any], run_virtually: Callable[[Coroutine[Any, Any, Any]], Any]
) -> Callable[[Callable[[Site, Stock], Coroutine[Any, Any, None]]], None]:
    """Runs a scenario on a site and its stock."""

    def run(scenario: Callable[[Site, Stock], Coroutine[Any, Any, None]]) -> None:
        async def with_site() -> None:
            async with direct_site() as s:
                await scenario(s, Stock(s))

        run_virtually(with_site())

    return run


def payload(**fields: Any) -> resources_pb2.Payload:
    return Payload(files=[resources_pb2.PayloadFile(name="ks.cfg", content=SECRET)], **fields)


def test_a_machine_from_nothing_boots_its_installer_and_then_from_its_disk(play):
    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(
            Media(cd_rom=CdRom(name="debian.iso")), spec=stock.blank(operating_system="rhel_9x64")
        )
        # The operation ended when there was something to type to.
        assert stock.vm.status == "powering_up"
        (first,) = stock.starts
        assert (first.disc, first.boot_devices, first.config_drive) == (stock.iso.id, ("hd", "cdrom"), {})
        (attachment,) = stock.vm.attachments
        assert attachment.bootable
        assert attachment.disk.id == first.disks[0]
        assert find_text(stock.vm.config, "os/type") == "rhel_9x64"
        assert find_text(stock.vm.config, "display/type") == "vnc"

        assert (await s.run("RestartMachine", key="web", force=True, address_selection=NO_WAIT)).state == (
            SUCCEEDED
        )
        assert (stock.starts[-1].disc, stock.starts[-1].boot_devices) == ("", ("hd",))
        assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
        assert stock.iso.id in stock.world.disks
        assert await s.census() == []

    play(scenario)


def test_a_file_of_an_iso_domain_and_an_order_of_ones_own(play):
    async def scenario(_s: Site, stock: Stock) -> None:
        order = [resources_pb2.BOOT_DEVICE_CDROM, resources_pb2.BOOT_DEVICE_NETWORK]
        await stock.install(Media(cd_rom=CdRom(name="windows.iso"), boot_order=order))
        (start,) = stock.starts
        assert (start.disc, start.boot_devices) == ("windows.iso", ("cdrom", "network"))

    play(scenario)


def test_a_disk_of_that_name_goes_before_a_file_and_its_id_names_it_too(play):
    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(Media(cd_rom=CdRom(disk_id=stock.iso.id.upper())))
        assert (await s.run("StopMachine", key="web", force=True)).state == SUCCEEDED
        media = Media(cd_rom=CdRom(name="debian.iso"))
        again = await s.run("StartMachine", key="web", media=media, address_selection=NO_WAIT)
        assert again.state == SUCCEEDED
        assert [start.disc for start in stock.starts] == [stock.iso.id, stock.iso.id]

    play(scenario)


@pytest.mark.parametrize(
    ("kind", "field"), [(Payload.TYPE_UNSPECIFIED, "payload"), (Payload.TYPE_FLOPPY, "floppy")]
)
def test_a_payload_is_there_at_one_start_and_in_no_template(play, kind, field):
    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(Media(payload=payload(type=kind, volume_id="CIDATA")))
        assert getattr(stock.starts[-1], field) == {"ks.cfg": SECRET.encode()}
        assert stock.starts[-1].payload_label == "CIDATA"

        restarted = await s.run("RestartMachine", key="web", force=True, address_selection=NO_WAIT)
        assert restarted.state == SUCCEEDED
        assert getattr(stock.starts[-1], field) == {}
        assert stock.vm.config.find("payloads") is None

    play(scenario)


def test_a_template_has_neither_disc_nor_payload(play):
    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(Media(cd_rom=CdRom(name="debian.iso"), payload=payload()))
        assert (await s.run("StopMachine", key="web", force=True)).state == SUCCEEDED
        # A person has put one in, for all starts.
        stock.vm.disc = stock.iso.id
        made = await s.run("CreateTemplate", machine_key="web", name="golden")
        assert made.state == SUCCEEDED, made.error
        template = next(one for one in stock.world.templates.values() if one.name == "golden")
        assert (stock.vm.config.find("payloads"), stock.vm.disc, template.disc) == (None, "", "")

    play(scenario)


def test_without_emptying_the_drives_a_template_has_the_disc(play, monkeypatch):
    async def nothing(_run: Any) -> None:
        return

    monkeypatch.setattr("ovirt_provision.operations.create_template._empty_drives", nothing)

    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(Media(payload=payload()))
        assert (await s.run("StopMachine", key="web", force=True)).state == SUCCEEDED
        stock.vm.disc = stock.iso.id
        assert (await s.run("CreateTemplate", machine_key="web", name="golden")).state == SUCCEEDED
        template = next(one for one in stock.world.templates.values() if one.name == "golden")
        assert template.disc == stock.iso.id
        assert stock.vm.config.find("payloads") is not None

    play(scenario)


def test_windows_is_not_sealed(play):
    async def scenario(s: Site, stock: Stock) -> None:
        await stock.install(
            Media(cd_rom=CdRom(name="windows.iso")), spec=stock.blank(operating_system="windows_2022")
        )
        assert (await s.run("StopMachine", key="web", force=True)).state == SUCCEEDED
        with pytest.raises(InvalidRequest, match="seal: the engine cannot seal Windows"):
            await s.call("CreateTemplate", machine_key="web", name="golden", seal=True)
        assert (await s.run("CreateTemplate", machine_key="web", name="golden")).state == SUCCEEDED

    play(scenario)


def test_what_cannot_be_is_told_at_once_and_nothing_is_made(play):
    async def scenario(s: Site, stock: Stock) -> None:
        stock.add_iso("half.iso", status="locked")
        stock.add_iso("twice.iso")
        stock.add_iso("twice.iso")
        blank = stock.blank(operating_system="rhel_9x46", new_disks=[])
        told = resources_pb2.Initialization(user_name="builder")
        for media, field, words in (
            (Media(cd_rom=CdRom(name="debain.iso")), "start_media.cd_rom.name", "did you mean 'debian.iso'"),
            (Media(cd_rom=CdRom(name="half.iso")), "start_media.cd_rom.name", "is locked, not ok"),
            (Media(cd_rom=CdRom(name="twice.iso")), "start_media.cd_rom.name", "give the disk_id of one"),
            (Media(cd_rom=CdRom(disk_id=new_id())), "start_media.cd_rom.disk_id", "no ISO image with the id"),
            (Media(payload=payload()), "start_media.payload.type", "would be lost"),
        ):
            with pytest.raises(InvalidRequest) as refused:
                await s.call("CreateMachine", key="web", spec=blank, start_with=told, start_media=media)
            said = {one.field: one.description for one in refused.value.violations}
            assert words in said[field]
            assert "did you mean 'rhel_9x64'" in said["spec.operating_system"]
            assert SECRET not in str(refused.value)
        sysprep = resources_pb2.Initialization(sysprep=resources_pb2.Sysprep(organization="us"))
        with pytest.raises(InvalidRequest, match="does not go with sysprep"):
            await s.call(
                "CreateMachine",
                key="web",
                spec=stock.blank(operating_system="windows_2022"),
                start_with=sysprep,
                start_media=Media(payload=payload(type=Payload.TYPE_FLOPPY)),
            )
        with pytest.raises(ReferencesNotFound, match=r"spec.cluster: is needed"):
            await s.call("CreateMachine", key="web", spec=stock.blank(cluster=""))
        assert s.vms() == []

    play(scenario)


def test_only_the_first_new_disk_of_a_vm_without_another_boots_by_itself(play):
    async def scenario(s: Site, stock: Stock) -> None:
        plain, boots = (
            resources_pb2.DiskSpec(size_bytes=GIB),
            resources_pb2.DiskSpec(size_bytes=GIB, bootable=True),
        )
        never = resources_pb2.DiskSpec(size_bytes=GIB, bootable=False)
        for key, wanted, expected in (
            ("one", stock.blank(new_disks=[plain, plain]), [True, False]),
            ("second", stock.blank(new_disks=[plain, boots]), [False, True]),
            ("none", stock.blank(new_disks=[never, plain]), [False, False]),
            ("template", spec(new_disks=[plain]), [True, False]),
        ):
            made = await s.run("CreateMachine", key=key, spec=wanted)
            assert made.state == SUCCEEDED, made.error
            vm = next(vm for vm in stock.world.vms.values() if vm.name == key)
            assert [one.bootable for one in sorted(vm.attachments, key=lambda a: a.disk.name)] == expected

    play(scenario)


def test_an_engine_that_refuses_the_payload_leaves_nothing(play, monkeypatch):
    """Such as one whose PayloadSize somebody has made smaller."""

    async def scenario(s: Site, stock: Stock) -> None:
        monkeypatch.setattr("ovirt_provision.simulator.machine_config._PAYLOAD_SIZE", 8)
        operation = await s.run(
            "CreateMachine",
            key="web",
            spec=stock.blank(),
            start_with=resources_pb2.Initialization(),
            start_media=Media(payload=payload()),
        )
        assert operation.state == FAILED
        assert "Payload is limited to" in operation.error["engine_text"]
        assert s.vms() == []
        assert await s.census() == []

    play(scenario)
