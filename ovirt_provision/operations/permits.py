"""Which permits of the engine it takes to make a Machine, looked at before its first effect."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template
from ovirt_provision.errors import EnginePermissionDenied, EngineRefused
from ovirt_provision.operations.verb import Call

T = TypeVar("T")


def needs_of_machine(
    template_id: str, cluster_id: str, hardware: Mapping[str, Any], storage_domain_ids: Sequence[str]
) -> Sequence[Need]:
    """What making the VM takes, and what is done to it afterwards takes beyond being its maker.

    `hardware` is the plan of `hardware.py`. Hosts and affinity the engine ignores without a word when who
    asks is no administrator, so they take the permit that it asks of one. Source: `AddVmCommand`,
    `AddDiskCommand`, `AttachDiskToVmCommand`, `AddVmInterfaceCommand`, `BackendVmsResource`.
    """
    vm = hardware["vm"]
    domains = dict.fromkeys(
        [one["domain_id"] for one in vm["template_disks"]] or storage_domain_ids
    ) | dict.fromkeys(one["disk"]["domain_id"] for one in hardware["new_disks"])
    profiles = dict.fromkeys(one["vnic_profile_id"] for one in hardware["nics"])
    return [
        Need("create_vm", "cluster", cluster_id),
        Need("create_vm", "template", template_id),
        *(Need("create_disk", "storage domain", one) for one in domains if one),
        *(Need("attach_disk", "disk", one["id"], one["name"]) for one in hardware["attached_disks"]),
        *(Need("configure_vm_network", "vNIC profile", one) for one in profiles if one),
        *(
            Need(permit, "cluster", cluster_id)
            for permit, told in (
                ("change_vm_custom_properties", vm.get("custom_properties")),
                ("edit_admin_vm_properties", vm.get("host_ids") or vm.get("affinity")),
            )
            if told
        ),
    ]


async def visible(reading: Awaitable[T], otherwise: T) -> T:
    """What the account may read; else what the engine knows, and refuses, is left to it."""
    try:
        return await reading
    except (EnginePermissionDenied, EngineNotFound, EngineRefused):
        return otherwise


async def insist_on_making(
    call: Call, name: str, template: Template, cluster_id: str, hardware: Mapping[str, Any]
) -> None:
    """Raises EnginePermissionDenied for a Machine that the account may not make.

    The create itself is refused without an effect. So it is looked only where something else may be refused
    once the VM stands, or where it is known that it is no administrator who asks.
    """
    later = (
        hardware["nics"]
        or hardware["new_disks"]
        or hardware["attached_disks"]
        or hardware["vm"].keys()
        & {
            "custom_properties",
            "host_ids",
            "affinity",
        }
    )
    if later or call.engine.account.filtered:
        needs = needs_of_machine(template.id, cluster_id, hardware, storage_domains_of(template))
        await call.engine.account.insist(f"create VM {name}", needs)


def storage_domains_of(template: Template) -> Sequence[str]:
    """Ids of the storage domains that copies of a template's disks go to unless it is said."""
    return sorted({disk.domain_ids[0] for disk in template.disks if disk.domain_ids})
