"""Which disks a MachineSpec asks for, held against template and storage domains before the first effect."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ovirt_provision.engine.inventory import StorageDomain
from ovirt_provision.engine.model import Disk, Template
from ovirt_provision.errors import did_you_mean, there_is
from ovirt_provision.ledger.store import GONE
from ovirt_provision.operations.allowance import is_callers
from ovirt_provision.operations.enumerations import DISK_FORMATS, DISK_INTERFACES
from ovirt_provision.operations.permits import visible
from ovirt_provision.operations.spec_resolver import SpecResolver
from ovirt_provision.v1 import resources_pb2

_NEVER_READ_ONLY = ("sata", "ide")
# The fields of a DiskSpec that are told to the engine about a disk that stands, by our names of them.
_Attribute = Literal[
    "bootable",
    "read_only",
    "pass_discard",
    "wipe_after_delete",
    "propagate_errors",
    "incremental_backup",
]
_OF_ATTACHMENT: Sequence[_Attribute] = ("bootable", "read_only", "pass_discard")
_OF_DISK: Sequence[_Attribute] = ("wipe_after_delete", "propagate_errors", "incremental_backup")


@dataclass(frozen=True)
class _Boot:
    """A disk that is to be bootable; `field` is empty where the template says so."""

    field: str
    name: str


def disk_specs(spec: resources_pb2.MachineSpec) -> list[tuple[str, resources_pb2.DiskSpec]]:
    """All that is said about disks of the Machine's own, with the paths of the fields."""
    told = [("spec.boot_disk", spec.boot_disk)] if spec.HasField("boot_disk") else []
    told += [(f"spec.template_disks[{n}]", disk) for n, disk in enumerate(spec.template_disks)]
    return told + [(f"spec.new_disks[{n}]", disk) for n, disk in enumerate(spec.new_disks)]


class DiskResolver(SpecResolver):
    """Looks up the disks."""

    _domains: Mapping[str, StorageDomain]
    _quotas: Mapping[str, str]
    _bootable: list[_Boot]

    async def resolve(self, vm_name: str, quotas: Mapping[str, str]) -> dict[str, Any]:
        """The plan: `template_disks`, `changed_disks`, `new_disks` and `attached_disks`. `quotas` are the ids
        of those that there are, by name."""
        self._domains, self._quotas, self._bootable = {}, quotas, []
        if self._cluster is not None:
            domains = self._inventory.storage_domains_of(self._cluster.data_center_id)
            self._domains = {domain.id: domain for domain in await visible(domains, ())}
        plan = self._disks(vm_name)
        plan["attached_disks"] = await self._attached_disks()
        self._check_bootable()
        self._check_virtio_scsi(plan)
        return plan

    def _disks(self, vm_name: str) -> dict[str, Any]:
        template = self._template
        # Also where no disk is made that would go there.
        self._domain("spec", resources_pb2.DiskSpec())
        if template is None:
            for path, told_of in disk_specs(self._spec):
                self._domain(path, told_of)
                self._quota(path, told_of)
            return {"template_disks": [], "changed_disks": [], "new_disks": []}
        specs = self._of_template(template)
        plain = resources_pb2.DiskSpec()
        made, changed, told = [], [], False
        boot_domain, boot_interface = "", "virtio_scsi"
        for disk in template.disks:
            path, wanted = specs.get(disk.id, ("", plain))
            request = self._template_disk(path, wanted, disk)
            told = told or request.pop("told")
            made.append(request)
            changes = self._changes(path, wanted, disk)
            if changes:
                changed.append({"name": disk.name, "boot": disk.bootable, "changes": changes})
            if disk.bootable:
                boot_domain, boot_interface = request["domain_id"], changes.get("interface", disk.interface)
        names = {disk.name for disk in template.disks}
        new = [
            self._new_disk(n, one, len(template.disks) + n + 1, vm_name, names, boot_domain, boot_interface)
            for n, one in enumerate(self._spec.new_disks)
        ]
        # The engine takes all of the template's disks or none. Source: `buildAndCheckDestStorageDomains`.
        return {"template_disks": made if told else [], "changed_disks": changed, "new_disks": new}

    def _of_template(self, template: Template) -> dict[str, tuple[str, resources_pb2.DiskSpec]]:
        """What is said about each disk of the template, by its id."""
        found: dict[str, tuple[str, resources_pb2.DiskSpec]] = {}
        names = [disk.name for disk in template.disks]
        if self._spec.HasField("boot_disk"):
            boot = next((disk for disk in template.disks if disk.bootable), None)
            if boot is None:
                self._wrong("spec.boot_disk", f"template '{template.name}' has no bootable disk to change")
            else:
                found[boot.id] = ("spec.boot_disk", self._spec.boot_disk)
        for n, wanted in enumerate(self._spec.template_disks):
            path = f"spec.template_disks[{n}]"
            named = [disk for disk in template.disks if disk.name == wanted.name]
            if not named:
                has = f"it has {', '.join(names)}" if names else "it has none"
                self._missing(
                    f"{path}.name",
                    f"template '{template.name}' has no disk '{wanted.name}'; {has}"
                    f"{did_you_mean(wanted.name, names)}",
                )
            elif len(named) > 1:
                self._wrong(
                    f"{path}.name",
                    f"template '{template.name}' has several disks of the name '{wanted.name}'",
                )
            elif named[0].id in found:
                self._wrong(
                    f"{path}.name", f"'{wanted.name}' is the boot disk, which boot_disk changes already"
                )
            else:
                found[named[0].id] = (path, wanted)
        return found

    def _template_disk(self, path: str, wanted: resources_pb2.DiskSpec, disk: Disk) -> dict[str, Any]:
        """What the create request says about a disk of the template; `told` is whether it has to."""
        clone = self._spec.clone
        named = self._domain(path, wanted)
        domain = named or self._inherited_domain(path, disk)
        if named is not None and not clone and named.id not in disk.domain_ids:
            has = ", ".join(self._domains[one].name for one in disk.domain_ids if one in self._domains)
            self._wrong(
                self._domain_field(path, wanted),
                f"the template has disk '{disk.name}' on {has or 'other storage domains'}, not on "
                f"'{named.name}', and a thin disk can only be where the template's is; choose that, or clone",
            )
        disk_format = DISK_FORMATS.get(wanted.format, disk.format)
        sparse = wanted.sparse if wanted.HasField("sparse") else None
        if not clone:
            for name in ("format", "sparse"):
                if wanted.format if name == "format" else wanted.HasField("sparse"):
                    self._wrong(f"{path}.{name}", "takes clone: thin disks of a template are COW and sparse")
            disk_format, sparse = "cow", True
        elif sparse is None:
            sparse = disk_format == "cow" or (disk.sparse and not (domain is not None and domain.block))
        self._check_storage(path, disk_format, sparse, domain, incremental=self._incremental(wanted, disk))
        quota = self._quota(path, wanted)
        moved = domain is not None and domain.id != (disk.domain_ids or ("",))[0]
        converted = clone and (disk_format, sparse) != (disk.format, disk.sparse)
        return {
            "id": disk.id,
            "domain_id": domain.id if domain is not None else (disk.domain_ids or ("",))[0],
            "format": disk_format,
            "sparse": sparse,
            "quota_id": quota,
            "told": bool(named or moved or converted or quota),
        }

    def _inherited_domain(self, path: str, disk: Disk) -> StorageDomain | None:
        """Where a disk goes of which nobody says anything: not to a backup domain, from which no VM runs."""
        known = [self._domains[one] for one in disk.domain_ids if one in self._domains]
        usable = [domain for domain in known if not domain.backup]
        if known and not usable:
            self._wrong(
                f"{path}.storage_domain" if path else "spec.storage_domain",
                f"the template has disk '{disk.name}' only on '{known[0].name}', a backup domain, and no VM "
                "can run with a disk there; name another storage domain, and clone",
            )
        return usable[0] if usable else None

    def _changes(self, path: str, wanted: resources_pb2.DiskSpec, disk: Disk) -> dict[str, Any]:
        """What is to be changed of a copy of the template's disk once it stands."""
        changes: dict[str, Any] = {}
        if wanted.size_bytes and wanted.size_bytes < disk.size:
            self._wrong(
                f"{path}.size_bytes",
                f"{wanted.size_bytes} is less than the {disk.size} bytes of the template's disk, and a disk "
                "never shrinks",
            )
        elif wanted.size_bytes > disk.size:
            changes["size"] = wanted.size_bytes
        if wanted.interface and DISK_INTERFACES[wanted.interface] != disk.interface:
            changes["interface"] = DISK_INTERFACES[wanted.interface]
        for name in (*_OF_ATTACHMENT, *_OF_DISK):
            if wanted.HasField(name) and getattr(wanted, name) != getattr(disk, name):
                changes[name] = getattr(wanted, name)
        if changes.get("bootable", disk.bootable):
            self._bootable.append(_Boot(f"{path}.bootable" if "bootable" in changes else "", disk.name))
        interface = changes.get("interface", disk.interface)
        if changes.get("read_only", disk.read_only) and interface in _NEVER_READ_ONLY:
            self._wrong(f"{path}.read_only", f"a disk with the interface {interface} cannot be read-only")
        return changes

    def _new_disk(
        self,
        index: int,
        wanted: resources_pb2.DiskSpec,
        number: int,
        vm_name: str,
        taken: Iterable[str],
        boot_domain: str,
        boot_interface: str,
    ) -> dict[str, Any]:
        path = f"spec.new_disks[{index}]"
        domain = self._domain(path, wanted)
        if domain is None and not (wanted.storage_domain or self._spec.storage_domain):
            domain = self._domains.get(boot_domain)
            if domain is None and not boot_domain:
                self._wrong(
                    f"{path}.storage_domain", "is needed: the template has no bootable disk to take it from"
                )
        name = wanted.name or f"{vm_name}_Disk{number}"
        if wanted.name in taken:
            self._wrong(
                f"{path}.name", f"the template has a disk '{name}'; to change that, use template_disks"
            )
        disk_format = DISK_FORMATS.get(wanted.format, "cow")
        sparse = disk_format == "cow" or not (domain is not None and domain.block)
        if wanted.HasField("sparse"):
            sparse = wanted.sparse
        self._check_storage(path, disk_format, sparse, domain, incremental=wanted.incremental_backup)
        interface = DISK_INTERFACES.get(wanted.interface, boot_interface)
        if wanted.read_only and interface in _NEVER_READ_ONLY:
            self._wrong(f"{path}.read_only", f"a disk with the interface {interface} cannot be read-only")
        boots = wanted.bootable
        if index == 0 and not wanted.HasField("bootable"):
            boots = not self._has_other_bootable()
        if boots:
            self._bootable.append(_Boot(f"{path}.bootable", name))
        return {
            "name": name,
            "disk": {
                "size": wanted.size_bytes,
                "domain_id": domain.id if domain is not None else boot_domain,
                "format": disk_format,
                "sparse": sparse,
                "quota_id": self._quota(path, wanted),
                **{name: getattr(wanted, name) for name in _OF_DISK},
            },
            "attachment": {
                "interface": interface,
                **{name: getattr(wanted, name) for name in _OF_ATTACHMENT},
                "bootable": boots,
            },
        }

    def _has_other_bootable(self) -> bool:
        """Whether another disk than the first new one is bootable; of the template's it is known already."""
        spec = self._spec
        return (
            bool(self._bootable)
            or any(disk.bootable for disk in spec.new_disks[1:])
            or any(disk.bootable for disk in spec.attached_disks)
        )

    def _incremental(self, wanted: resources_pb2.DiskSpec, disk: Disk) -> bool:
        given = wanted.HasField("incremental_backup")
        return wanted.incremental_backup if given else disk.incremental_backup

    def _check_storage(
        self, path: str, disk_format: str, sparse: bool, domain: StorageDomain | None, *, incremental: bool
    ) -> None:
        """Source: the engine's matrix of formats and storage (behaviour.md 51)."""
        if disk_format == "cow" and not sparse:
            self._wrong(f"{path}.sparse", "a COW disk is always sparse; preallocated ones are RAW")
        if disk_format == "raw" and incremental:
            self._wrong(f"{path}.incremental_backup", "takes a COW disk, and this one is RAW")
        if disk_format == "raw" and sparse and domain is not None and domain.block:
            self._wrong(
                f"{path}.sparse", f"'{domain.name}' is block storage, where a RAW disk is preallocated"
            )

    def _domain_field(self, path: str, wanted: resources_pb2.DiskSpec) -> str:
        return f"{path}.storage_domain" if wanted.storage_domain else "spec.storage_domain"

    def _domain(self, path: str, wanted: resources_pb2.DiskSpec) -> StorageDomain | None:
        """The storage domain that is named for a disk, if it can have disks of a VM that runs."""
        name = wanted.storage_domain or self._spec.storage_domain
        if not name or self._cluster is None:
            return None
        field = self._domain_field(path, wanted)
        domain = next((one for one in self._domains.values() if one.name == name), None)
        if domain is None:
            has = there_is(name, [one.name for one in self._domains.values() if not one.unfit])
            self._missing(
                field,
                f"the data center of cluster '{self._cluster.name}' has no storage domain '{name}'{has}",
            )
        elif domain.unfit:
            self._wrong(field, f"storage domain '{name}' {domain.unfit}")
        else:
            return domain
        return None

    def _quota(self, path: str, wanted: resources_pb2.DiskSpec) -> str:
        if not wanted.quota:
            return self._quotas.get(self._spec.quota, "") if self._spec.quota else ""
        if self._cluster is None:
            return ""
        return self._problems.id_of(f"{path}.quota", "quota", wanted.quota, self._quotas)

    async def _attached_disks(self) -> list[dict[str, Any]]:
        """Checks that those which are to be attached are free, whole and neither a Machine's own nor another
        owner's, of which the caller does not know."""
        wanted = self._spec.attached_disks
        if not wanted:
            return []
        engine, ledger = self._call.engine, self._call.ledger
        found = await engine.disks.find([disk.id.lower() for disk in wanted])
        living = ledger.living_machine(self._call.owner, self._call.request.key)
        held = living.details.get("attached", ()) if living is not None else ()
        plans = []
        for n, one in enumerate(wanted):
            path, disk = f"spec.attached_disks[{n}]", found.get(one.id.lower())
            row = ledger.object_in_engine(engine.name, "disk", one.id.lower())
            ours = row if row is not None and row.state != GONE else None
            if disk is None or (ours and ours.parent_id is None and not is_callers(self._call, ours)):
                self._missing(f"{path}.id", f"the engine has no disk with the id {one.id}")
                continue
            if ours and ours.parent_id is not None and ledger.object(ours.parent_id).state != GONE:
                self._wrong(f"{path}.id", f"disk '{disk.name}' belongs to a Machine")
            elif disk.content_type != "data":
                self._wrong(f"{path}.id", f"disk '{disk.name}' is for {disk.content_type}, not for data")
            elif disk.status != "ok":
                self._wrong(f"{path}.id", f"disk '{disk.name}' is {disk.status}, not ok")
            elif not disk.shareable and disk.id not in held and await engine.disks.is_attached(disk.id):
                self._wrong(
                    f"{path}.id", f"disk '{disk.name}' is attached to a VM already, and is not shareable"
                )
            self._check_place(path, disk)
            if one.bootable:
                self._bootable.append(_Boot(f"{path}.bootable", disk.name))
            plans.append(
                {
                    "id": disk.id,
                    "name": disk.name,
                    "attachment": {
                        "interface": DISK_INTERFACES.get(one.interface, self._boot_interface()),
                        "bootable": one.bootable,
                        "read_only": one.read_only,
                        "pass_discard": one.pass_discard,
                    },
                }
            )
        return plans

    def _boot_interface(self) -> str:
        """That of the template's boot disk."""
        disks = self._template.disks if self._template is not None else ()
        return next((disk.interface for disk in disks if disk.bootable), "virtio_scsi")

    def _check_place(self, path: str, disk: Disk) -> None:
        known = [self._domains[one] for one in disk.domain_ids if one in self._domains]
        if self._domains and disk.domain_ids and not known and self._cluster is not None:
            self._wrong(
                f"{path}.id",
                f"disk '{disk.name}' is not in the data center of cluster '{self._cluster.name}'",
            )
        elif known and all(domain.backup for domain in known):
            self._wrong(
                f"{path}.id",
                f"disk '{disk.name}' is on '{known[0].name}', a backup domain, and no VM can run with a disk "
                "there",
            )

    def _check_bootable(self) -> None:
        if len(self._bootable) < 2:
            return
        names = " and ".join(f"'{one.name}'" for one in self._bootable)
        inherited = next((one.name for one in self._bootable if not one.field), None)
        advice = f"; of '{inherited}' say bootable: false" if inherited is not None else ""
        field = next(one.field for one in reversed(self._bootable) if one.field or one is self._bootable[0])
        self._wrong(field, f"one disk of a VM can be bootable, and {names} would be{advice}")

    def _check_virtio_scsi(self, plan: Mapping[str, Any]) -> None:
        if not self._spec.HasField("virtio_scsi") or self._spec.virtio_scsi:
            return
        changed = {one["name"]: one["changes"].get("interface") for one in plan["changed_disks"]}
        disks = self._template.disks if self._template is not None else ()
        need = [one.name for one in disks if (changed.get(one.name) or one.interface) == "virtio_scsi"]
        need += [
            one["name"]
            for one in (*plan["new_disks"], *plan["attached_disks"])
            if one["attachment"]["interface"] == "virtio_scsi"
        ]
        if need:
            self._wrong(
                "spec.virtio_scsi",
                f"cannot be false: {', '.join(need)} is on that controller; give it another interface",
            )
