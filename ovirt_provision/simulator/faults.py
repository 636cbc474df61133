"""Every way in which the engine says no: texts, statuses and shapes.

Source of the texts: `AppErrors.properties` of the engine and recorded replies. Some are sent with their
placeholders unresolved (`${TemplateName}`); that is how the engine sends them.
"""

from collections.abc import Mapping, Sequence

from lxml import etree

from ovirt_provision.simulator import markup


class Refusal(Exception):
    """A reply other than the one asked for; `body` is ready to be sent."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = dict(headers or {})


class Fault(Exception):
    """A refusal with a `<fault>`. In reply to an action it is wrapped into the `<action>` unless `bare`.

    `wait` is how many real seconds it takes the engine to say so.
    """

    def __init__(
        self,
        status: int,
        detail: str | None,
        reason: str = "Operation Failed",
        *,
        bare: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.reason = reason
        self.bare = bare
        self.wait = wait

    def element(self) -> etree._Element:
        fault = markup.node("fault")
        if self.detail is not None:
            fault.append(markup.node("detail", self.detail))
        fault.append(markup.node("reason", self.reason))
        return fault


_TEXTS: Mapping[str, tuple[int, str]] = {
    "name in use": (
        409,
        "Cannot {action}. The {type} name is already in use, please choose a unique name and try again.",
    ),
    "object locked": (
        409,
        "Cannot {action}. Related operation is currently in progress. Please try again later.",
    ),
    "id in use": (400, "Cannot {action}. {type} with the given Id already exists in the system."),
    "internal": (400, "Internal Engine Error"),
    "host lost": (400, "Network error during communication with the Host."),
    "quota exceeded": (409, "Cannot {action}. Quota has insufficient storage resources."),
    "disks illegal": (
        409,
        "Cannot {action}. The following attached disks are in ILLEGAL status: {disks} - please remove them "
        "and try again.",
    ),
    "special characters": (
        400,
        "Can not {action}. The given name contains special characters. Only lower-case and upper-case "
        "letters, "
        "numbers, '_', '-', '.' are allowed., Attribute: vmStatic.name",
    ),
    "name size": (400, "size must be between 1 and 255, Attribute: vmStatic.name"),
    "memory minimum": (400, "must be greater than or equal to 1, Attribute: vmStatic.memSizeMb"),
    "max memory minimum": (400, "must be greater than or equal to 1, Attribute: vmStatic.maxMemorySizeMb"),
    "guaranteed memory": (400, "Cannot {action}. Physical Memory Guaranteed cannot exceed Memory Size."),
    "memory waits for next run": (
        400,
        "Cannot hot change memory because memory next run configuration already exists.",
    ),
    "memory above maximum": (
        409,
        "Cannot {action}. Memory size ({size}MB) cannot exceed maximum memory size ({maximum}MB).",
    ),
    "template missing": (400, "Cannot {action}. The relevant Template doesn't exist."),
    "cluster missing": (400, "Cannot {action}. The relevant Cluster doesn't exist."),
    "quota default": (400, "Cannot {action}. The default quota cannot be removed."),
    "disks without domain": (
        409,
        "Cannot {action}. One or more provided storage domains are either not in active status or of an "
        "illegal type for the requested operation",
    ),
    "template elsewhere": (
        409,
        "Cannot {action}. The selected Storage Domain does not contain the VM Template.",
    ),
    "thin disk raw": (409, "Cannot {action}. Thin provisioned template disks can not be defined as RAW."),
    "host elsewhere": (
        409,
        "Cannot {action}. VM is pinned to a specific host. The host's cluster must be the same as the "
        "selected VM cluster.",
    ),
    "tpm unsupported": (
        409,
        "Cannot {action}. TPM device is not supported by the platform, guest OS or BIOS type.",
    ),
    "virtio-scsi disabled": (409, "Cannot {action}. VirtIO-SCSI is disabled for the VM."),
    "detach of template's": (
        409,
        "Cannot {action} with detaching disks, VM is based from template.",
    ),
    "quota missing": (400, "Cannot {action}. Quota doesn't exist."),
    "vm running": (409, "Cannot {action}. VM is running."),
    "vm locked": (409, "Cannot {action}: VM is locked. Please try again in a few minutes."),
    "vm suspended": (409, "Cannot remove VM that its state is not down.\n-Please stop the VM first."),
    "vm not up": (409, "Cannot {action}. VM is not up."),
    "vm stateless": (409, "Cannot suspend VM, VM is stateless."),
    "vm status": (409, "Cannot {action} because the VM is in {status} status."),
    "vm not running": (409, "Cannot {action}. VM is not running."),
    "vm templated": (409, "Cannot {action}. Template is being created from this VM."),
    "vm cloned": (409, "Cannot {action}. VM is being cloned."),
    "vm snapshotted": (409, "Cannot {action}. Snapshot is currently being created for VM {vm}."),
    "vm during snapshot": (
        409,
        "Cannot {action}. The VM is performing an operation on a Snapshot. Please wait for the operation to "
        "finish, and try again.",
    ),
    "vm not down": (409, "Cannot {action}. At least one of the VMs is not down."),
    "snapshot not regular": (409, "Cannot {action}. The operation is only allowed for regular snapshots."),
    "delete protection": (
        409,
        "Cannot {action}. Delete protection is enabled. In order to delete, disable Delete protection first.",
    ),
    "no boot disk": (
        409,
        "Cannot run VM without at least one bootable disk.\nAlternatives:\n- Create a disk for this VM, "
        "and rerun the "
        "VM.\n- Change the boot sequence using the Edit VM command (Boot Option Sub-Tab).\n- Use the 'Run "
        "Once' command "
        "to select a different boot option and rerun the VM.",
    ),
    "no host": (
        409,
        "Cannot {action}. There is no host that satisfies current scheduling constraints. See below for "
        "details:",
    ),
    "host filtered": (409, "The host {host} did not satisfy internal filter {filter} because {why}"),
    "disks locked": (
        409,
        "Cannot {action}: The following disks are locked: {disks}. Please try again in a few minutes.",
    ),
    "disks locked unnamed": (
        409,
        "Cannot {action}: The following disks are locked: ${{diskAliases}}. Please try again in a few "
        "minutes.",
    ),
    "disk missing": (400, "Cannot {action}. The specified disk does not exist."),
    "disk id in use": (
        409,
        "Cannot {action}. The selected disk ID: {id} is already used by the following existing disk: {disk}.",
    ),
    "disk attached": (409, "Cannot {action}. The disk is not shareable and is already attached to a VM."),
    "disk attached here": (409, "Cannot {action}. The disk is already attached to VM."),
    "disk of running vm": (409, "Cannot {action}. At least one of the VMs is not down."),
    "disk of template": (409, "Cannot {action}. Disk is used by a template."),
    "disk size zero": (400, "Cannot {action}. Disk's provisioned size has to be greater than 0."),
    "disk shrinks": (400, "Cannot {action}. New disk size must be larger than the current disk size."),
    "disk configuration": (
        409,
        "Cannot {action}. Disk configuration ({what}) is incompatible with the storage domain type.",
    ),
    "disk not shareable": (409, "Cannot {action}. Disk's volume format is not supported for shareable disk."),
    "second boot disk": (409, "Cannot {action}. Disk {disk} in VM {vm} is already marked as boot."),
    "disk in use": (409, "Cannot {action}. This disk is currently in use to create VM {vm}."),
    "disk moved or copied": (409, "Cannot {action}. Disk {disk} is being moved or copied."),
    "disk is there": (409, "Cannot {action}. One of the Template Images already exists."),
    "copy of no domain": (
        409,
        "Cannot {action}. A storage domain must be specified when deleting one of a template's disk's "
        "copies.",
    ),
    "copy elsewhere": (
        409,
        "Cannot {action}. Provided wrong storage domain, which is not related to disk.",
    ),
    "last copy": (409, "Cannot {action}. The image is the only remaining copy of a Template disk."),
    "disk of no vm": (409, "Cannot {action}. The following disk(s) are not attached to any VM: {disks}."),
    "profile name in use": (409, "Cannot {action}. Profile name is in use."),
    "profile elsewhere": (
        409,
        "Cannot {action}. Disk Profile {profile} with id {id} is not assigned to Storage Domain {domain}.",
    ),
    "profile unknown": (400, "Cannot {action}. Disk Profile wasn't found."),
    "profile used": (
        409,
        "Cannot {action}. Several disks ({count}) are using this Profile:\n{disks}\n - Please remove it from "
        "all disks that are using it and try again.",
    ),
    "last profile": (409, "Cannot {action}. Cannot remove last {kind} in {owner}."),
    "same domain": (400, "Cannot {action}. The source and target storage domains are the same."),
    "sparsify qcow2": (400, "Cannot {action}. Sparsifying is not supported for QCOW2 disk {disk}."),
    "sparsify preallocated": (
        400,
        "Cannot {action}. Sparsifying is not supported for preallocated disk {disk}.",
    ),
    "disk has snapshots": (409, "Cannot {action}. Disks with snapshots are not supported."),
    "disk has derived": (409, "Cannot {action}. The following Disk(s) are based on it: \n {disks}."),
    "disk plugged to running": (409, "Cannot {action}. The disk {disk} is plugged to non-Down VMs: {vms}"),
    "reduce on files": (
        400,
        "Cannot ${{action}} Storage. Reduce image isn't required for file based domains.",
    ),
    "interface required": (400, "Interface is required, Attribute: diskVmElement.diskInterface"),
    "interface unsupported": (
        400,
        "Cannot {action}: The disk interface is not supported by the VM OS: {os}.",
    ),
    "read-only interface": (400, "Cannot {action}. {interface} disks can't be read-only."),
    "domain missing": (400, "Cannot {action}. Storage Domain hasn't been specified."),
    "domain unknown": (400, "Cannot {action}. Storage Domain doesn't exist."),
    "backup domain": (
        400,
        "Cannot {action}. Running VM can not contain disks which are stored on a backup storage domain.",
    ),
    "low space": (409, "Cannot {action}. Low disk space on Storage Domain {domain}."),
    "template name used": (409, "Cannot {action}. Template name ${{TemplateName}} already used."),
    "template being created": (409, "Cannot {action}. Template ${{TemplateName}} is being created."),
    "template locked": (409, "Template is currently locked (temporarily)."),
    "template source busy": (
        409,
        "Cannot {action}. VM is locked or still running, try again once VM is in the Down state.",
    ),
    "template used": (409, "Cannot delete Template. Template is being used by the following VMs: {vms}."),
    "template has disks on it": (409, "Cannot {action}. The following Disk(s) are based on it: \n {disks}."),
    "template in use": (409, "Cannot {action}. This template is currently in use to create VM {vm}."),
    "nic name in use": (409, "Network interface name is already in use"),
    "nic profile missing": (
        400,
        "Cannot {action}. The specified VM network interface profile doesn't exist.",
    ),
    "network not in cluster": (409, "The specified Logical Network doesn't exist in the current Cluster."),
    "nic plugged": (409, "Cannot {action}. The VM Network Interface is plugged to a running VM."),
    "mac format": (
        400,
        'MAC address must be in format "HH:HH:HH:HH:HH:HH" where H is a hexadecimal character (either a '
        "digit or A-F, "
        "case is insignificant)., Attribute: nic.macAddress",
    ),
    "mac in use": (409, "MAC Address {mac} is already in use by VM or snapshot: {vm}."),
    "mac multicast": (400, "Multi-cast MAC address is not allowed., Attribute: nic.macAddress"),
    "range format": (
        400,
        'MAC address must be in format "HH:HH:HH:HH:HH:HH" where H is a hexadecimal character (either a '
        "digit or A-F, "
        "case is insignificant)., Attribute: macPool.ranges[{number}].macFrom",
    ),
    "mac pool name used": (
        409,
        "Cannot {action}. The MAC Pool name is already in use, please choose a unique name and try again.",
    ),
    "mac pool default": (409, "Cannot {action}. Default MAC Pool cannot be removed."),
    "mac pool in use": (
        409,
        "Cannot {action}. Several Clusters ({count}) are using this MAC Pool:\n{clusters} - Please remove it "
        "from all Clusters that are using it and try again.",
    ),
    "cluster name used": (
        409,
        "Cannot {action}. The Cluster name is already in use, please choose a unique name and try again.",
    ),
    "cluster has hosts": (409, "Cannot {action}. Cluster contains one or more Hosts"),
    "cluster has vms": (409, "Cannot {action}. One or more VMs are still assigned to the Cluster"),
    "cluster has templates": (
        409,
        "Cannot {action}. One or more Template(s) are still associated with the Cluster",
    ),
    "network attached": (409, "Cannot {action}. The specified Logical Network is already attached."),
    "management network": (
        400,
        "Cannot {action}. The Management Network ('{network}') is mandatory and cannot be removed.",
    ),
    "mac pool empty": (409, "Cannot {action}. Not enough MAC addresses left in MAC Address Pool."),
    "pass-through mismatch": (
        409,
        "Cannot {action}. The network interface type doesn't match the profile. Virtual machine interface "
        "of type "
        "'PCI Passthrough' should have 'Passthrough' profile and vice versa.",
    ),
    "profile in use": (
        409,
        "Cannot {action}. This VM network interface profile is used by virtual machine:  \t{vms}.\n - "
        "Please remove it "
        "from this virtual machine and try again.",
    ),
    "network name used": (
        409,
        "Cannot {action}. The name of the logical network '{name}' is already used by an existing logical "
        "network in the "
        "same data-center.\n-Please choose a different name.",
    ),
    "profile name used": (
        409,
        "Cannot {action}. The VM network interface profile's name is already used by an existing profile "
        "for the same "
        "network.\n-Please choose a different name.",
    ),
    "network in use": (
        409,
        "Cannot {action}. This logical network is used by virtual machine: {vms}\n - Please remove it from "
        "this virtual "
        "machine and try again.",
    ),
    "custom property unknown": (
        400,
        "Cannot {action} if some of the specified custom properties are not configured by the system. The "
        "keys are: "
        "{keys}",
    ),
    "custom property value": (
        400,
        "Cannot {action} if some of the specified custom properties have illegal values. The keys are: "
        "{keys}",
    ),
    "job not external": (
        400,
        "Cannot {action} External Job. External steps can be added only to external jobs or steps.",
    ),
    "role unknown": (400, "Cannot add permission, invalid Role id"),
    "not authorized": (403, "User is not authorized to perform this action."),
    "console in use": (
        400,
        "Cannot ${{action}} ${{type}}. One VM can not contain more than one device with the same graphics "
        "type.",
    ),
    "display unsupported": (
        400,
        "Cannot {action}. Selected display type is not supported by the operating system.",
    ),
    "affinity group name used": (400, "Cannot {action}. Affinity Group name already exists."),
    "affinity member twice": (400, "Cannot {action}. Duplicate {kind}."),
    "affinity member missing": (400, "The selected {kind} does not exist."),
    "affinity member invalid": (400, "Cannot {action}. Provided {kind} is invalid (does not exist)."),
    "affinity label name used": (409, "Cannot add affinity label with a conflicting NAME."),
    "affinity label in use": (409, "Cannot delete affinity label, remove it from all entities first."),
    "host name used": (
        409,
        "Cannot {action}. The Host name is already in use, please choose a unique name and try again.",
    ),
    "host up": (409, "Cannot {action}. Host in Up status."),
    "host in maintenance": (409, "Cannot {action}. Host is already in Maintenance mode."),
    "host operational": (
        409,
        "Cannot {action}. Host is operational. Please switch Host to Maintenance mode first.",
    ),
    "host has tasks": (
        409,
        "Cannot {action}. Host has asynchronous running tasks, wait for operation to complete and retry.",
    ),
    "host cannot be emptied": (
        409,
        "The following Hosts have running VMs and cannot be switched to maintenance mode: {hosts}. Please "
        "ensure that the following Clusters have at least one Host in UP state: {clusters}.",
    ),
    "no updates": (409, "Cannot {action}. There are no available updates for the host."),
    "host nic missing": (
        400,
        "Cannot setup Networks. The host network interface (id {id}, name {name}) does not exist.",
    ),
    "name servers": (
        400,
        "size must be between 1 and 3, Attribute: networkAttachment.dnsResolverConfiguration.nameServers",
    ),
    "name server format": (
        400,
        'IPv4 or IPv6 address should be provided, supplied "{server}" is neither., Attribute: '
        "networkAttachment.dnsResolverConfiguration.nameServers[{number}].address",
    ),
    "data center name used": (
        409,
        "Cannot {action}. The Data Center name is already in use, please choose a unique name and try again.",
    ),
    "data center active": (409, "Cannot {action} an active Data Center."),
    "domain name used": (409, "Cannot {action}. The Storage Domain name is already in use."),
    "no export domain": (409, "Cannot {action}. The specified Storage Domain is not an Export Domain."),
    "host not up": (409, "Cannot {action}. Operation can be performed only when Host status is Up."),
    "no folder": (400, "Invalid target folder: {folder} on Host {host}."),
    "vm exported": (409, "Cannot {action}: VM is being exported now. Please try again in a few minutes."),
    "same identifier": (409, "Cannot {action}. {type} with the same identifier already exists."),
    "template not exported": (
        409,
        "Cannot {action}. The following Template does not exist in the Export Domain: {template}.",
    ),
    "import lacks template": (409, "Cannot import VM. The Template {template} does not exist."),
    "pool shrinks": (409, "Cannot {action}. The number of VMs of a VM Pool cannot be decreased."),
    "pool in use": (409, "Cannot {action}. Not all VMs of the VM Pool are down: {vms}."),
    "pool empty": (409, "Cannot {action}. There are no available VMs in the VM Pool."),
    "vm in pool": (409, "Cannot {action}. The VM is attached to a VM Pool."),
    "vm without pool": (409, "Cannot {action}. The VM is not attached to a VM Pool."),
    "not migrating": (409, "Cannot cancel migration. VM is not migrating."),
    "vm in preview": (409, "Cannot {action}. VM is previewing a Snapshot."),
    "vm not in preview": (409, "Cannot {action}. VM is not previewing a Snapshot."),
    "role fixed": (409, "Cannot {action}. A predefined Role cannot be changed."),
    "role in use": (409, "Cannot {action}. The Role {role} is assigned to users."),
    "domain status": (409, "Cannot {action}. The relevant Storage Domain's status is {status}."),
    "domain in use": (
        409,
        "Cannot {action}. The storage domain contains disks which are attached to running VMs or VMs with "
        "leases.",
    ),
    "domain has running vms": (
        409,
        'Cannot {action}. VMs in a state other than "Down" or "Suspended" were detected.\n-Please ensure all '
        "VMs associated with this Storage Domain are stopped and in the Down or Suspended state first.",
    ),
    "general": (500, "General command validation failure."),
    "no host up": (409, "Cannot {action}. There are no available running Hosts in the Data Center."),
    "disk transferred": (409, "Cannot {action}. Disk {disk} is being transferred."),
    "transfer not paused": (409, "Cannot resume image transfer as it's not in a paused state."),
    "tag name": (
        400,
        "Invalid tag name. Only letters, numbers, '-', and '_' are valid characters., Attribute: _tag.name",
    ),
    "tag name in use": (409, "The specified Tag name already exists."),
    "watchdog present": (409, "WATCHDOG_ALREADY_EXISTS"),  # the engine has no text for it
    "payload type": (400, "VM Payload only supported in CDROM or Floppy devices"),
    "payload size": (409, "Payload is limited to {size}K"),
    "iso path": (400, "Invalid ISO image path"),
    "iso status": (409, "Cannot run VM. The CDROM ISO image is in {status} status."),
    "numa index in use": (400, "NUMA node with index {index} exists at least twice."),
    "numa memory": (
        400,
        "The NUMA nodes' total memory of {wanted} exceeds the VM's total memory of {memory}.",
    ),
    "tag loop": (409, "Operation canceled, recursive Tag hierarchy cannot be defined."),
}


def engine_fault(
    *texts: str | tuple[str, Mapping[str, object]], wait: float = 0.0, **fields: object
) -> Fault:
    """A fault of the engine's validation: one or more texts of the table, joined in square brackets.

    Of several texts 400 beats 409 beats 500 beats 403, as in the engine.
    """
    statuses, messages = [], []
    for text in texts:
        key, own = (text, fields) if isinstance(text, str) else text
        status, template = _TEXTS[key]
        statuses.append(status)
        messages.append(template.format(**own))
    return Fault(
        next(status for status in (400, 409, 500, 403) if status in statuses),
        "[" + ", ".join(messages) + "]",
        wait=wait,
    )


def not_found() -> Refusal:
    """The id of the path names nothing: 404 with an empty body."""
    return Refusal(404)


def entity_not_found(what: str) -> Fault:
    """Something that the body refers to does not exist."""
    return Fault(404, f"Entity not found: {what}")


def invalid_uuid(text: str) -> Fault:
    return Fault(400, f"Invalid UUID string: {text}", "Operation failed")


def incomplete(type_name: str, fields: Sequence[str], method: str = "add") -> Fault:
    return Fault(400, f"{type_name} [{', '.join(fields)}] required for {method}", "Incomplete parameters")


def mandatory(*parameters: str) -> Fault:
    """One of these has to be given."""
    if len(parameters) == 1:
        detail = f"Parameter '{parameters[0]}' is mandatory but was not provided."
    else:
        names = " or ".join(f"'{name}'" for name in parameters)
        detail = f"Parameters {names} are mandatory but both were not provided."
    return Fault(400, detail, "Input validation failed.", bare=True)


def no_signature() -> Fault:
    return Fault(
        400,
        "No matching signature found, make sure that mandatory attributes are provided.",
        "Input validation failed.",
        bare=True,
    )


def bad_syntax(host: str, service: str, method: str) -> Fault:
    detail = f"For correct usage, see: https://{host}/ovirt-engine/apidoc#services/{service}/methods/{method}"
    return Fault(400, detail, "Request syntactically incorrect.", bare=True)


def bad_value(value: str, enumeration: str, values: Sequence[str]) -> Fault:
    allowed = ", ".join(f"'{value}'" for value in values)
    return Fault(
        400,
        f"The string '{value}' isn't a valid value for the '{enumeration}' enumerated type. "
        f"Valid values are: {allowed}.",
        "Invalid value",
        bare=True,
    )


def forbidden(path: str) -> Fault:
    """What an account without the permission is told; jobs have an answer of their own."""
    if path == "/jobs":
        return insufficient_permissions()
    return engine_fault("not authorized")


def insufficient_permissions() -> Fault:
    """What a query answers who may not make it."""
    return Fault(400, "query execution failed due to insufficient permissions.")


def html(status: int, text: str, headers: Mapping[str, str] | None = None) -> Refusal:
    body = f"<html><head><title>Error</title></head><body>{text}</body></html>"
    return Refusal(status, body.encode(), "text/html;charset=UTF-8", headers)


def unauthorized(text: str = "Unauthorized") -> Refusal:
    return html(401, text, {"WWW-Authenticate": 'Basic realm="RESTAPI"'})


def no_such_resource(url: str) -> Refusal:
    """No such collection: 404 with a text of the REST framework."""
    return Refusal(
        404,
        f"RESTEASY003210: Could not find resource for full path: {url}".encode(),
        "text/html;charset=UTF-8",
    )


def server_error(text: str) -> Refusal:
    """The big HTML page that the engine answers to an unknown `follow`, among others."""
    page = (
        "<html><head><title>ERROR</title></head><body><h1>Error processing request</h1>"
        f"<pre>{text}</pre></body></html>"
    )
    return Refusal(500, page.encode(), "text/html;charset=UTF-8")


def not_simulated(operation: str, where: str) -> Fault:
    return Fault(501, f"{operation} ({where}) is not simulated", "Not simulated", bare=True)
