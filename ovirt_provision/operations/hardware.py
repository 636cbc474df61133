"""What a MachineSpec asks of a VM's hardware, held against template and engine before the first effect.

All that is wrong is told at once. What is found goes by its ids into the operation's plan, by which the
phases of `equip_machine.py` work.
"""

import re
from collections.abc import Mapping
from typing import Any

from ovirt_provision.operations.disks import DiskResolver, disk_specs
from ovirt_provision.operations.enumerations import (
    AFFINITIES,
    BIOS_TYPES,
)
from ovirt_provision.operations.nics import NicResolver
from ovirt_provision.operations.permits import visible
from ovirt_provision.operations.spec_resolver import SpecResolver

_UEFI = ("q35_ovmf", "q35_secure_boot")
_X86 = "x86_64"


class HardwareResolver(SpecResolver):
    """Looks up all of a VM's hardware."""

    async def resolve(self, vm_name: str) -> dict[str, Any]:
        """The plan: what `equip_machine.py` and the create request need, by ids. Complete only without
        problems."""
        spec, cluster = self._spec, self._cluster
        vm: dict[str, Any] = {}
        quotas: Mapping[str, str] = {}
        if cluster is not None and (spec.quota or any(disk.quota for _, disk in disk_specs(spec))):
            quotas = await visible(self._inventory.quotas(cluster.data_center_id), {})
        looked_at = (self._call, spec, self._template, cluster, self._problems)
        plan = await DiskResolver(*looked_at).resolve(vm_name, quotas)
        plan |= {"vm": vm, "nics": await NicResolver(*looked_at).resolve()}
        systems: Mapping[str, str] = {}
        if spec.operating_system or spec.HasField("tpm"):
            systems = await visible(self._inventory.operating_systems(), {})
        self._operating_system(vm, systems)
        vm["template_disks"] = plan.pop("template_disks")
        if spec.quota:
            vm["quota_id"] = self._named("spec.quota", "quota", spec.quota, quotas)
        await self._memory(vm)
        self._firmware(systems)
        await self._placement(vm)
        await self._custom_properties(vm)
        await self._groups(plan)
        return plan

    async def _memory(self, vm: dict[str, Any]) -> None:
        spec = self._spec
        memory, whose = (self._template.memory, "the template") if self._template is not None else (0, "")
        if spec.instance_type:
            types = await self._inventory.instance_types()
            found = next((one for one in types if one.name == spec.instance_type), None)
            if found is None:
                self._unknown(
                    "spec.instance_type", "instance type", spec.instance_type, [t.name for t in types]
                )
            else:
                vm["instance_type_id"] = found.id
                memory, whose = found.memory, f"instance type '{found.name}'"
        if not spec.memory_bytes and memory and spec.guaranteed_memory_bytes > memory:
            self._wrong(
                "spec.guaranteed_memory_bytes",
                f"{spec.guaranteed_memory_bytes} is more than the {memory} bytes of memory that {whose} has; "
                "give memory_bytes, too",
            )

    def _firmware(self, systems: Mapping[str, str]) -> None:
        """`systems` as of `Inventory.operating_systems`. Source: `isTpmDeviceSupported` of VmDeviceUtils and
        `isBiosTypeSupported` of VmValidator."""
        spec, cluster, template = self._spec, self._cluster, self._template
        other = cluster is not None and cluster.architecture not in ("", "undefined", _X86)
        if spec.bios_type and other and cluster is not None:
            self._wrong(
                "spec.bios_type",
                f"can be chosen only with {_X86}; the CPUs of cluster '{cluster.name}' are "
                f"{cluster.architecture}",
            )
        if not spec.HasField("tpm") or template is None or cluster is None:
            return
        bios, whose = BIOS_TYPES.get(spec.bios_type, template.bios_type), "the template's"
        if spec.bios_type:
            whose = "given"
        if bios in ("", "cluster_default"):
            bios, whose = cluster.bios_type, f"that of cluster '{cluster.name}'"
        os_type, system = template.os_type, "operating system of the template"
        if spec.operating_system:
            os_type, system = spec.operating_system, "operating system"
        if spec.tpm and not other and bios and bios not in _UEFI:
            self._wrong(
                "spec.tpm",
                f"takes UEFI: bios_type must be Q35_OVMF or Q35_SECURE_BOOT; it is {bios.upper()}, {whose}",
            )
        support = systems.get(os_type, "")
        if spec.tpm and support == "unsupported":
            self._wrong("spec.tpm", f"the {system}, {os_type}, can have no TPM")
        elif not spec.tpm and support == "required":
            self._wrong("spec.tpm", f"the {system}, {os_type}, has to have a TPM")

    def _operating_system(self, vm: dict[str, Any], systems: Mapping[str, str]) -> None:
        """What the engine does not know becomes `other` without a word, so it is looked at here."""
        name = self._spec.operating_system
        if not name:
            return
        vm["os_type"] = name
        if systems and name not in systems:
            self._unknown("spec.operating_system", "operating system", name, systems)

    async def _placement(self, vm: dict[str, Any]) -> None:
        wanted = self._spec.placement
        if wanted.affinity:
            vm["affinity"] = AFFINITIES[wanted.affinity]
            # Without hosts in the request the engine takes those of the template away.
            vm["host_ids"] = list(self._template.host_ids) if self._template is not None else []
        if not wanted.hosts:
            return
        hosts = await visible(self._inventory.hosts(), ())
        ours = [host for host in hosts if self._cluster is None or host.cluster_id == self._cluster.id]
        vm["host_ids"] = []
        for n, name in enumerate(wanted.hosts):
            host = next((one for one in ours if one.name == name), None)
            if host is not None:
                vm["host_ids"].append(host.id)
            elif any(one.name == name for one in hosts) and self._cluster is not None:
                self._wrong(
                    f"spec.placement.hosts[{n}]", f"host '{name}' is not in cluster '{self._cluster.name}'"
                )
            else:
                self._unknown(f"spec.placement.hosts[{n}]", "host", name, [one.name for one in ours])

    async def _custom_properties(self, vm: dict[str, Any]) -> None:
        """What is sent stands in for all of the template's, so these are sent as well."""
        wanted = self._spec.custom_properties
        if not wanted or self._cluster is None:
            return
        inherited = dict(self._template.custom_properties if self._template is not None else ())
        vm["custom_properties"] = {
            name: value for name, value in {**inherited, **dict(wanted)}.items() if value
        }
        allowed = await visible(self._inventory.vm_properties(self._cluster.version), {})
        for name, value in sorted(wanted.items()):
            field = f"spec.custom_properties.{name}"
            if not allowed or (not value and name in inherited):
                continue
            if name not in allowed:
                self._unknown(field, "custom property", name, allowed)
            elif value and not _fits(value, allowed[name]):
                self._wrong(field, f"'{value}' is not allowed; it has to match {allowed[name]}")

    async def _groups(self, plan: dict[str, Any]) -> None:
        spec, inventory, cluster = self._spec, self._inventory, self._cluster
        for name, kind, wanted, read in (
            ("tags", "tag", spec.tags, inventory.tags),
            ("affinity_labels", "affinity label", spec.affinity_labels, inventory.affinity_labels),
        ):
            known = await read() if wanted else {}
            plan[name] = [self._named(f"spec.{name}[{n}]", kind, one, known) for n, one in enumerate(wanted)]
        plan["affinity_groups"] = []
        if spec.affinity_groups and cluster is not None:
            known = await inventory.affinity_groups(cluster.id)
            kind = f"affinity group of cluster '{cluster.name}'"
            plan["affinity_groups"] = [
                self._named(f"spec.affinity_groups[{n}]", kind, one, known)
                for n, one in enumerate(spec.affinity_groups)
            ]

    def _named(self, field: str, kind: str, name: str, known: Mapping[str, str]) -> str:
        """The id of a name; without a cluster it is not known what names there are."""
        return self._problems.id_of(field, kind, name, known) if self._cluster is not None else ""


def _fits(value: str, pattern: str) -> bool:
    """Whether a value matches the engine's pattern; true for one that only Java understands."""
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return True
