"""What a MachineSpec asks of the hardware: made as asked, else inherited, and refused all at once."""

from collections.abc import Callable
from typing import Any

import pytest

from ovirt_provision.engine.inventory import Inventory
from ovirt_provision.engine.machines import Machines
from ovirt_provision.errors import InvalidRequest, ReferencesNotFound
from ovirt_provision.ledger.store import FAILED, SUCCEEDED
from ovirt_provision.operations import removal
from ovirt_provision.services.messages import machine_message
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.entities import (
    AffinityLabel,
    Attachment,
    Disk,
    Nic,
    Quota,
    StorageDomain,
    Tag,
    Template,
    Vm,
    VnicProfile,
    new_id,
)
from ovirt_provision.simulator.markup import find_text, node, set_text
from ovirt_provision.v1 import resources_pb2
from tests.harness import ENGINE, TEMPLATE, Site, spec, started

GIB = 1 << 30
DiskSpec = resources_pb2.DiskSpec


class Stock:
    """What there is in the engine besides the usual, to be asked for."""

    def __init__(self, site: Site) -> None:
        self.world = world = site.simulator.world
        self.template: Template = next(t for t in world.templates.values() if t.name == TEMPLATE)
        self.data = next(iter(world.domains.values()))
        self.cluster = next(iter(world.clusters.values()))
        center = self.data.data_center
        self.fast = self._domain("fast", storage_type="fcp")
        self.backup = self._domain("vault", backup=True)
        self.gone = self._domain("attic", status="maintenance")
        self.quota = Quota(new_id(), "team", center)
        world.quotas[self.quota.id] = self.quota
        for name in ("gold", "ci"):
            tag = Tag(new_id(), name, world.root_tag)
            world.tags[tag.id] = tag
        self.label = AffinityLabel(new_id(), "ssd")
        world.affinity_labels[self.label.id] = self.label
        site.simulator.call(
            "POST",
            f"/clusters/{self.cluster.id}/affinitygroups",
            "<affinity_group><name>together</name></affinity_group>",
        )
        (self.group,) = world.affinity_groups.values()
        self.host = next(host for host in world.hosts.values() if host.cluster is self.cluster)

    def _domain(self, name: str, **options: Any) -> StorageDomain:
        made = StorageDomain(new_id(), name, self.data.data_center, new_id(), master=False, **options)
        # Less than the usual one, so that it stays the default.
        made.available = 100 * GIB
        self.world.domains[made.id] = made
        return made

    def give_second_disk(self, **options: Any) -> Disk:
        """The template gets a disk `second` that is not bootable."""
        disk = Disk(new_id(), "second", 2 * GIB, options.pop("domain", self.data), **options)
        self.world.disks[disk.id] = disk
        self.template.attachments.append(Attachment(disk, "virtio"))
        return disk


def machine(site: Site) -> Vm:
    (vm,) = site.simulator.world.vms.values()
    return vm


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that were to change something, in order, with ids left out."""
    told: list[str] = []
    call = Simulator.call

    def noted(simulator: Simulator, method: str, path: str, *args: Any, **options: Any) -> Any:
        if method != "GET":
            parts = ["{id}" if len(part) == 36 else part for part in path.split("/")]
            told.append(f"{method} {'/'.join(parts)}")
        return call(simulator, method, path, *args, **options)

    monkeypatch.setattr(Simulator, "call", noted)
    return told


def _player(
    make: Callable[..., Any], run_virtually: Callable[..., Any], asked: list[str]
) -> Callable[..., None]:
    def run(scenario: Callable[[Site, Stock], Any], **options: Any) -> None:
        async def inside() -> None:
            async with make(**options) as s:
                stock = Stock(s)
                asked.clear()
                await scenario(s, stock)

        run_virtually(inside())

    return run


@pytest.fixture
def play(direct_site: Any, run_virtually: Any, asked: list[str]) -> Callable[..., None]:
    """Runs `scenario(site, stock)`."""
    return _player(direct_site, run_virtually, asked)


@pytest.fixture
def play_over_http(site: Any, run_virtually: Any) -> Callable[..., None]:
    """The same for faults of the wire."""
    return _player(site, run_virtually, [])


def test_what_the_create_can_carry_goes_into_it_and_all_else_costs_one_request_each(play, asked):
    async def scenario(s: Site, stock: Stock) -> None:
        set_text(stock.template.config, "os/type", "rhel_9x64")
        stock.template.config.append(
            node(
                "custom_properties",
                None,
                node("custom_property", None, node("name", "sndbuf"), node("value", "10")),
                node("custom_property", None, node("name", "vhost"), node("value", "a:true")),
            )
        )
        wanted = spec(
            clone=True,
            cpu=resources_pb2.Cpu(sockets=2, cores=2, threads=2),
            memory_bytes=4 * GIB,
            guaranteed_memory_bytes=2 * GIB,
            bios_type=resources_pb2.BIOS_TYPE_Q35_SECURE_BOOT,
            tpm=True,
            virtio_scsi=True,
            virtio_scsi_multi_queues=True,
            nic_multi_queues=False,
            placement=resources_pb2.Placement(
                hosts=[stock.host.name], affinity=resources_pb2.Placement.AFFINITY_PINNED
            ),
            storage_domain="fast",
            quota="team",
            custom_properties={"sndbuf": "20", "vhost": "", "hugepages": "2048"},
            description="to be built on",
            boot_disk=DiskSpec(
                format=resources_pb2.DISK_FORMAT_RAW,
                size_bytes=20 * GIB,
                interface=resources_pb2.DISK_INTERFACE_VIRTIO,
                propagate_errors=True,
            ),
            tags=["gold", "ci"],
            affinity_groups=["together"],
            affinity_labels=["ssd"],
        )

        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        assert asked == [
            "POST /vms",
            "PUT /vms/{id}/diskattachments/{id}",
            *["POST /vms/{id}/tags"] * 2,
            "POST /vms/{id}/affinitylabels",
            "POST /clusters/{id}/affinitygroups/{id}/vms",
        ]
        vm = machine(s)
        shown = {
            path: find_text(vm.config, path)
            for path in (
                "memory",
                "memory_policy/guaranteed",
                "memory_policy/max",
                "bios/type",
                "tpm_enabled",
                "virtio_scsi/enabled",
                "virtio_scsi_multi_queues_enabled",
                "multi_queues_enabled",
                "placement_policy/affinity",
                "cpu/topology/threads",
            )
        }
        assert list(shown.values()) == [
            str(4 * GIB),
            str(2 * GIB),
            str(16 * GIB),
            "q35_secure_boot",
            "true",
            "true",
            "true",
            "false",
            "pinned",
            "2",
        ]
        properties = {
            find_text(one, "name"): find_text(one, "value")
            for one in vm.config.iterfind("custom_properties/custom_property")
        }
        assert properties == {"sndbuf": "20", "hugepages": "2048"}, "vhost was taken away, the rest merged"
        assert (vm.description, vm.quota_id) == ("to be built on", stock.quota.id)
        (attachment,) = vm.attachments
        disk = attachment.disk
        assert (disk.domain, disk.format, disk.sparse) == (stock.fast, "raw", False)
        assert (disk.size, disk.quota_id, disk.propagate_errors) == (20 * GIB, stock.quota.id, True)
        assert (attachment.interface, attachment.bootable) == ("virtio", True)
        assert [tag.name for tag in vm.tags] == ["gold", "ci"]
        assert vm.id in stock.group.members["vms"]
        assert vm.id in stock.label.members["vms"]

        assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
        assert (s.vms(), s.disks()) == ([], 1)

    play(scenario)


def test_what_is_not_given_is_inherited(play, asked):
    async def scenario(s: Site, stock: Stock) -> None:
        config = stock.template.config
        for path, text in (
            ("bios/type", "q35_sea_bios"),
            ("cpu/topology/cores", "3"),
            ("multi_queues_enabled", "false"),
            ("placement_policy/affinity", "user_migratable"),
            ("memory_policy/guaranteed", str(GIB // 2)),
        ):
            set_text(config, path, text)
        config.find("placement_policy").append(node("hosts", None, node("host", id=stock.host.id)))
        second = stock.give_second_disk(wipe_after_delete=True)
        nic = stock.template.nics[0]
        nic.interface, nic.linked = "e1000", False

        wanted = spec(
            cpu=resources_pb2.Cpu(sockets=2),
            placement=resources_pb2.Placement(affinity=resources_pb2.Placement.AFFINITY_PINNED),
            template_disks=[DiskSpec(name="second", bootable=False)],
            nics=[resources_pb2.Nic(name="nic1", mac="02:00:00:00:00:0A")],
        )
        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        assert asked == ["POST /vms", "PUT /vms/{id}/nics/{id}"], "the disk was so already"
        vm = machine(s)
        assert find_text(vm.config, "bios/type") == "q35_sea_bios"
        assert find_text(vm.config, "cpu/topology/cores") == "3"
        assert find_text(vm.config, "cpu/topology/sockets") == "2"
        assert find_text(vm.config, "multi_queues_enabled") == "false"
        assert find_text(vm.config, "memory_policy/guaranteed") == str(GIB // 2)
        assert [one.get("id") for one in vm.config.iterfind("placement_policy/hosts/host")] == [stock.host.id]
        assert [a.disk.name for a in vm.attachments] == ["debian-12_Disk1", "second"]
        assert vm.attachments[1].disk.wipe_after_delete is second.wipe_after_delete is True
        (own,) = vm.nics
        assert (own.mac, own.interface, own.linked) == ("02:00:00:00:00:0a", "e1000", False)
        assert own.profile is nic.profile

    play(scenario)


def test_an_instance_type_stands_in_for_the_template_and_what_is_given_for_both(play):
    async def scenario(s: Site, stock: Stock) -> None:
        large = next(one for one in stock.world.instance_types.values() if one.name == "Large")
        wanted = spec(instance_type="Large", cpu=resources_pb2.Cpu(threads=2))
        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        vm = machine(s)
        assert vm.instance_type == large.id
        assert find_text(vm.config, "memory") == find_text(large.config, "memory")
        assert find_text(vm.config, "cpu/topology/threads") == "2"

    play(scenario)


def test_new_disks_are_made_under_ids_of_ours_and_go_with_the_machine(play, asked):
    async def scenario(s: Site, stock: Stock) -> None:
        raw = DiskSpec(
            name="data",
            size_bytes=7 * GIB,
            storage_domain="fast",
            format=resources_pb2.DISK_FORMAT_RAW,
            interface=resources_pb2.DISK_INTERFACE_VIRTIO,
            read_only=True,
            pass_discard=True,
            wipe_after_delete=True,
            propagate_errors=True,
            quota="team",
        )
        plain = DiskSpec(size_bytes=5 * GIB, incremental_backup=True)
        made = await s.run(
            "CreateMachine", key="web", spec=spec(new_disks=[plain, raw]), start_with=started()
        )

        assert made.state == SUCCEEDED, made.error
        vm = machine(s)
        shown = [(a.disk.name, a.disk.size, a.interface, a.bootable, a.active) for a in vm.attachments]
        assert shown[1:] == [
            ("web_Disk2", 5 * GIB, "virtio_scsi", False, True),
            ("data", 7 * GIB, "virtio", False, True),
        ]
        one, two = (a.disk for a in vm.attachments[1:])
        assert (one.format, one.sparse, one.backup, one.domain) == ("cow", True, "incremental", stock.data)
        assert (two.format, two.sparse, two.domain, two.quota_id) == (
            "raw",
            False,
            stock.fast,
            stock.quota.id,
        )
        assert (two.wipe_after_delete, two.propagate_errors) == (True, True)
        data = vm.attachments[2]
        assert (data.read_only, data.pass_discard) == (True, True)
        assert asked == [
            "POST /vms",
            *["POST /disks"] * 2,
            *["POST /vms/{id}/diskattachments"] * 2,
            "POST /vms/{id}/start",
        ]
        assert sorted(await s.census()) == [
            *[("ours", "disk", n) for n in sorted(["debian-12_Disk1", "web_Disk2", "data"])],
            ("ours", "vm", "web"),
        ]

        assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
        assert (s.vms(), s.disks()) == ([], 1)
        assert await s.census() == []

    play(scenario)


def test_a_machine_boots_from_a_new_disk_when_the_template_s_is_not_to_be_bootable(play):
    async def scenario(s: Site, stock: Stock) -> None:
        stock.give_second_disk()
        wanted = spec(
            boot_disk=DiskSpec(bootable=False),
            template_disks=[DiskSpec(name="second", bootable=True, size_bytes=4 * GIB)],
        )
        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        assert [(a.disk.name, a.bootable) for a in machine(s).attachments] == [
            ("debian-12_Disk1", False),
            ("second", True),
        ]

    play(scenario)


def lend(s: Site, **options: Any) -> Disk:
    """A disk of somebody else."""
    disk = s.simulator.world.add_disk("precious")
    for name, value in options.items():
        setattr(disk, name, value)
    return disk


def borrowing(disk: Disk, **options: Any) -> resources_pb2.MachineSpec:
    return spec(attached_disks=[resources_pb2.AttachedDisk(id=disk.id, **options)])


def test_a_disk_of_others_is_attached_and_outlives_the_machine(play):
    async def scenario(s: Site, stock: Stock) -> None:
        disk = lend(s)
        before = vars(disk).copy()
        wanted = borrowing(disk, read_only=True, interface=resources_pb2.DISK_INTERFACE_VIRTIO)
        made = await s.run("CreateMachine", key="web", spec=wanted, start_with=started())

        assert made.state == SUCCEEDED, made.error
        attachment = machine(s).attachments[1]
        assert (attachment.disk, attachment.read_only, attachment.interface) == (disk, True, "virtio")
        again = await s.call("CreateMachine", key="web", spec=wanted, start_with=started())
        assert again.id == made.id, "that it is attached to this very Machine refuses nothing"

        assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
        assert (s.vms(), vars(disk)) == ([], before)
        assert s.disks() == 2

    play(scenario)


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_disk_that_is_attached_late_does_not_go_with_the_machine(play_over_http, monkeypatch, defence):
    """An attach that was not answered may be carried out at the worst moment: when the VM has just been
    looked at for the last time."""
    if defence == "off":

        async def never(*_: object) -> bool:
            return False

        monkeypatch.setattr(removal, "_attach_may_come", never)

    async def scenario(s: Site, stock: Stock) -> None:
        disk = lend(s)
        may_come_until = s.clock.time() + 120
        remove = Machines.remove

        async def attached_before(self: Machines, vm_id: str, name: str, *, correlation_id: str) -> None:
            if s.clock.time() < may_come_until:
                s.simulator.world.vms[vm_id].attachments.append(Attachment(disk, "virtio"))
            await remove(self, vm_id, name, correlation_id=correlation_id)

        monkeypatch.setattr(Machines, "remove", attached_before)
        path = r"/vms/[^/]+/diskattachments"
        s.simulator.world.injections.arm("unavailable", method="POST", path=path, times=1000)
        creating = await s.call("CreateMachine", key="web", spec=borrowing(disk))
        async for seen in s.bridge.dispatcher.runner.watch(creating.id):
            if seen.phase == "attaching-disks" and not seen.cancelled_by:
                await s.clock.sleep(5)
                s.bridge.dispatcher.cancel(seen, "by its client")
        await s.clock.sleep(3600)

        assert s.vms() == []
        assert (disk.id in s.simulator.world.disks) == (defence == "on")
        assert s.disks() == (2 if defence == "on" else 1)

    play_over_http(scenario, late_create_grace=200)


def said(raised: pytest.ExceptionInfo[InvalidRequest]) -> dict[str, str]:
    told: dict[str, str] = {}
    for violation in raised.value.violations:
        told[violation.field] = f"{told.get(violation.field, '')} {violation.description}"
    return told


def test_all_that_is_wrong_is_told_at_once_with_near_misses_and_nothing_is_made(play, asked):
    async def scenario(s: Site, stock: Stock) -> None:
        stock.give_second_disk()
        busy = lend(s)
        holder = Vm(
            new_id(), "theirs", stock.cluster, node("config"), stock.world.now, stock.template, stock.template
        )
        holder.attachments.append(Attachment(busy))
        stock.world.vms[holder.id] = holder
        vaulted = lend(s, domain=stock.backup)
        nobody = new_id()
        with pytest.raises(ReferencesNotFound) as first:
            await s.call("CreateMachine", key="web", spec=spec(cluster="Defualt"))
        assert "did you mean 'Default'" in said(first)["spec.cluster"]

        wanted = spec(
            storage_domain="fats",
            boot_disk=DiskSpec(size_bytes=1 * GIB, format=resources_pb2.DISK_FORMAT_RAW),
            template_disks=[DiskSpec(name="secnd"), DiskSpec(name="second", bootable=True)],
            new_disks=[
                DiskSpec(size_bytes=GIB, storage_domain="vault"),
                DiskSpec(size_bytes=GIB, storage_domain="attic", name="second"),
                DiskSpec(
                    size_bytes=GIB, storage_domain="fast", format=resources_pb2.DISK_FORMAT_RAW, sparse=True
                ),
                DiskSpec(size_bytes=GIB, storage_domain="data", bootable=True, quota="taem"),
            ],
            attached_disks=[
                resources_pb2.AttachedDisk(id=busy.id),
                resources_pb2.AttachedDisk(id=vaulted.id),
                resources_pb2.AttachedDisk(id=nobody),
            ],
            nics=[
                resources_pb2.Nic(name="nic1", vnic_profile="ovirtmgnt"),
                resources_pb2.Nic(name="nci1"),
                resources_pb2.Nic(name="nic3", network="lba"),
                resources_pb2.Nic(
                    name="nic4",
                    vnic_profile="ovirtmgmt",
                    interface=resources_pb2.NIC_INTERFACE_PCI_PASSTHROUGH,
                ),
            ],
            guaranteed_memory_bytes=64 * GIB,
            instance_type="Lareg",
            virtio_scsi=False,
            bios_type=resources_pb2.BIOS_TYPE_Q35_SEA_BIOS,
            tpm=True,
            placement=resources_pb2.Placement(hosts=["hots1"]),
            affinity_groups=["togehter"],
            affinity_labels=["sdd"],
            quota="taem",
            custom_properties={"hugepage": "1", "sndbuf": "many"},
            tags=["glod"],
        )
        with pytest.raises(InvalidRequest) as refused:
            await s.call("CreateMachine", key="web", spec=wanted)

        told = said(refused)
        for field, words in {
            "spec.storage_domain": "did you mean 'fast'",
            "spec.boot_disk.size_bytes": "never shrinks",
            "spec.boot_disk.format": "takes clone",
            "spec.template_disks[0].name": "did you mean 'second'",
            "spec.new_disks[0].storage_domain": "backup domain",
            "spec.new_disks[1].storage_domain": "is maintenance",
            "spec.new_disks[1].name": "use template_disks",
            "spec.new_disks[2].sparse": "block storage",
            "spec.new_disks[3].quota": "did you mean 'team'",
            "spec.new_disks[3].bootable": "can be bootable, and 'debian-12_Disk1' and 'second'",
            "spec.attached_disks[0].id": "attached to a VM already",
            "spec.attached_disks[1].id": "backup domain",
            "spec.attached_disks[2].id": "no disk with the id",
            "spec.nics[0].vnic_profile": "did you mean 'ovirtmgmt'",
            "spec.nics[1].vnic_profile": "did you mean 'nic1'",
            "spec.nics[2].network": "did you mean 'lab'",
            "spec.nics[3].interface": "does not pass through",
            "spec.guaranteed_memory_bytes": "is more than",
            "spec.instance_type": "did you mean 'Large'",
            "spec.virtio_scsi": "is on that controller",
            "spec.tpm": "it is Q35_SEA_BIOS, given the operating system of the template, debian_9, can have",
            "spec.placement.hosts[0]": "did you mean 'host1'",
            "spec.affinity_groups[0]": "did you mean 'together'",
            "spec.affinity_labels[0]": "did you mean 'ssd'",
            "spec.quota": "did you mean 'team'",
            "spec.custom_properties.hugepage": "did you mean 'hugepages'",
            "spec.custom_properties.sndbuf": "has to match",
            "spec.tags[0]": "did you mean 'gold'",
        }.items():
            assert words in told.pop(field, "nothing"), field
        assert told == {}
        assert asked == []
        assert s.bridge.ledger.living_machine("uid:1000", "web") is None

    play(scenario)


@pytest.mark.parametrize("clone", [False, True])
def test_a_template_on_a_backup_domain_is_refused_unless_it_is_cloned_away(play, clone):
    async def scenario(s: Site, stock: Stock) -> None:
        stock.data.backup = True
        with pytest.raises(InvalidRequest, match="backup domain, and no VM can run"):
            await s.call("CreateMachine", key="web", spec=spec(clone=clone))
        if not clone:
            with pytest.raises(InvalidRequest, match="thin disk can only be where the template's is"):
                await s.call("CreateMachine", key="web", spec=spec(storage_domain="fast"))
            return
        made = await s.run("CreateMachine", key="web", spec=spec(clone=True, storage_domain="fast"))
        assert made.state == SUCCEEDED, made.error
        assert machine(s).attachments[0].disk.domain is stock.fast

    play(scenario)


def test_of_several_copies_of_a_template_s_disk_the_one_on_a_backup_domain_is_not_used(play):
    async def scenario(s: Site, stock: Stock) -> None:
        disk = stock.template.attachments[0].disk
        disk.domain, disk.copies = stock.backup, [stock.fast]
        made = await s.run("CreateMachine", key="web", spec=spec(), start_with=started())

        assert made.state == SUCCEEDED, made.error
        assert machine(s).attachments[0].disk.domain is stock.fast

    play(scenario)


def test_a_nic_may_name_its_network_and_gets_what_its_profile_takes(play):
    async def scenario(s: Site, stock: Stock) -> None:
        lab = next(one for one in stock.world.networks.values() if one.name == "lab")
        direct = VnicProfile(new_id(), "direct", lab, pass_through=True)
        stock.world.profiles[direct.id] = direct
        wanted = spec(
            nics=[
                resources_pb2.Nic(name="nic2", network="lab", linked=False),
                resources_pb2.Nic(name="nic3", vnic_profile="direct"),
            ]
        )
        if lab not in stock.cluster.networks:
            stock.cluster.networks.append(lab)
        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        nics: dict[str, Nic] = {nic.name: nic for nic in machine(s).nics}
        assert sorted(nics) == ["nic2", "nic3"], "the template's nic1 was not named"
        assert (nics["nic2"].profile.name, nics["nic2"].linked) == ("lab", False)
        assert nics["nic3"].interface == "pci_passthrough"

    play(scenario)


def test_a_disk_that_fails_ends_the_create_with_the_engine_s_reason_and_leaves_nothing(play):
    async def scenario(s: Site, stock: Stock) -> None:
        s.simulator.world.injections.arm("disk-fails", method="POST", path="/disks")
        made = await s.run("CreateMachine", key="web", spec=spec(new_disks=[DiskSpec(size_bytes=GIB)]))

        assert (made.state, made.cleanup) == (FAILED, "done")
        assert made.error["phase"] == "attaching-disks"
        assert "Add-Disk operation failed" in made.error["engine_text"]
        assert (s.vms(), s.disks()) == ([], 1)

    play(scenario)


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_new_disk_that_the_engine_makes_after_the_undo_is_swept(play_over_http, monkeypatch, defence):
    if defence == "off":
        monkeypatch.setattr(removal, "bury_if_unanswered", lambda run, row: None)

    async def scenario(s: Site, stock: Stock) -> None:
        s.simulator.world.injections.arm("late-effect", method="POST", path="/disks", seconds=100, times=9)
        creating = await s.call("CreateMachine", key="web", spec=spec(new_disks=[DiskSpec(size_bytes=GIB)]))
        async for seen in s.bridge.dispatcher.runner.watch(creating.id):
            if seen.phase == "creating-disks":
                await s.clock.sleep(3)
                s.bridge.dispatcher.cancel(seen, "by its client")
        assert s.disks() == 1
        await s.clock.sleep(400)
        assert (s.vms(), s.disks()) == ([], 1 if defence == "on" else 2)

    play_over_http(scenario)


def test_what_the_engine_did_without_an_answer_is_not_done_twice(play_over_http):
    async def scenario(s: Site, stock: Stock) -> None:
        for path in ("/disks", "/vms/[^/]+/diskattachments", "/clusters/.*/vms", "/vms/[^/]+/tags"):
            s.simulator.world.injections.arm("drop-reply", method="POST", path=path)
        wanted = spec(new_disks=[DiskSpec(size_bytes=GIB)], affinity_groups=["together"], tags=["ci"])
        made = await s.run("CreateMachine", key="web", spec=wanted)

        assert made.state == SUCCEEDED, made.error
        vm = machine(s)
        assert [a.disk.name for a in vm.attachments] == ["debian-12_Disk1", "web_Disk2"]
        assert s.disks() == 3
        assert stock.group.members["vms"] == [vm.id]
        assert [tag.name for tag in vm.tags] == ["ci"]

    play_over_http(scenario)


def test_what_a_machine_consists_of_is_shown(play):
    async def scenario(s: Site, stock: Stock) -> None:
        disk = lend(s)
        await s.run(
            "CreateMachine",
            key="web",
            spec=spec(
                new_disks=[DiskSpec(name="data", size_bytes=GIB)],
                attached_disks=[resources_pb2.AttachedDisk(id=disk.id)],
            ),
        )
        row = s.bridge.ledger.living_machine("uid:1000", "web")
        vm = await s.bridge.engine(ENGINE).machines.get(row.engine_id, follow="nics,disk_attachments.disk")
        told = machine_message(s.bridge, row, vm)

        assert [(one.name, one.size_bytes, one.bootable, one.ours) for one in told.disks] == [
            ("debian-12_Disk1", 4 * GIB, True, True),
            ("data", GIB, False, True),
            ("precious", disk.size, False, False),
        ]
        assert [(nic.name, bool(nic.mac), nic.linked) for nic in told.nics] == [("nic1", True, True)]
        assert told.memory_bytes > 0
        assert told.cpu.cores > 0

    play(scenario)


def test_what_operating_systems_there_are_is_asked_once(play, monkeypatch):
    read, asked = Inventory.operating_systems, []

    async def noted(inventory: Inventory) -> dict[str, str]:
        asked.append(1)
        return await read(inventory)

    monkeypatch.setattr(Inventory, "operating_systems", noted)

    async def scenario(s: Site, stock: Stock) -> None:
        await s.validate("CreateMachine", key="web", spec=spec())
        assert asked == []
        wanted = spec(
            operating_system="rhel_9x64", tpm=True, bios_type=resources_pb2.BIOS_TYPE_Q35_SECURE_BOOT
        )
        await s.validate("CreateMachine", key="web", spec=wanted)
        assert asked == [1]

    play(scenario)
