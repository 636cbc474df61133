"""The stored configuration of VMs and templates: reading it from requests, checking it, showing it."""

import copy
import re
from collections.abc import Sequence

from ovirt_provision.simulator import defaults, faults, markup
from ovirt_provision.simulator.api import BASE
from ovirt_provision.simulator.entities import Template, Vm
from ovirt_provision.simulator.markup import Element, find_text, node, set_text

STORED = frozenset(
    [
        "auto_pinning_policy",
        "bios",
        "console",
        "cpu",
        "cpu_pinning_policy",
        "cpu_shares",
        "custom_compatibility_version",
        "custom_cpu_model",
        "custom_emulated_machine",
        "custom_properties",
        "delete_protected",
        "display",
        "domain",
        "high_availability",
        "initialization",
        "io",
        "lease",
        "memory",
        "memory_policy",
        "migration",
        "migration_downtime",
        "multi_queues_enabled",
        "origin",
        "os",
        "payloads",
        "placement_policy",
        "rng_device",
        "serial_number",
        "soundcard_enabled",
        "sso",
        "start_paused",
        "stateless",
        "storage_error_resume_behaviour",
        "time_zone",
        "tpm_enabled",
        "tunnel_migration",
        "type",
        "usb",
        "use_latest_template_version",
        "virtio_scsi",
        "virtio_scsi_multi_queues_enabled",
    ]
)
"""The elements of a VM or template that are stored as they come."""

MEBIBYTE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
# What is not an operating system of the engine's list becomes `other`, without a word.
_OS = re.compile(r"(other(_linux)?|(rhel|rhcos|sles|ubuntu|debian|windows|freebsd)_\w+)(_ppc64|_s390x)?")
_PAYLOAD_SIZE = 8192  # characters of a file
_REFERENCES = {"placement_policy/hosts/host": "hosts", "lease/storage_domain": "storagedomains"}
"""What refers to entities, by the names of their collections."""
CUSTOM_PROPERTIES = {
    "extra_cpu_flags": r"[+-]?[a-zA-Z0-9_-]+(,[+-]?[a-zA-Z0-9_-]+)*",
    "hugepages": r"[0-9]+",
    "nvram_template": r".*",
    "sap_agent": r"true|false",
    "scsi_hostdev": r"scsi_generic|scsi_block|scsi_hd|virtio_blk_pci",
    "sndbuf": r"[0-9]+",
    "vhost": r"[a-zA-Z0-9_-]*:(true|false)(,[a-zA-Z0-9_-]*:(true|false))*",
    "viodiskcache": r"none|writeback|writethrough",
}
"""What may stand in each. Source: `PredefinedVMProperties` of the engine's configuration."""


def check_name(name: str, action: str) -> None:
    if len(name) > 255:
        raise faults.engine_fault("name size")
    if not _NAME.fullmatch(name):
        raise faults.engine_fault("special characters", action=action)


def apply(config: Element, body: Element, action: str, *, creates: bool) -> None:
    """Lays what the body says over `config`; raises the engine's faults for what cannot be.

    `creates` is whether memory without a policy sets the policy too, as it does for a new VM.
    """
    _check_custom_properties(body, action)
    changes = node("config", None, *(copy.deepcopy(child) for child in body if child.tag in STORED))
    _normalise(changes)
    memory = find_text(changes, "memory")
    if memory is not None and creates:
        if changes.find("memory_policy/guaranteed") is None:
            set_text(config, "memory_policy/guaranteed", memory)
        if changes.find("memory_policy/max") is None:
            set_text(config, "memory_policy/max", 4 * int(memory))
    if changes.find("custom_properties") is not None:
        for old in config.findall("custom_properties"):
            config.remove(old)  # those that are given stand in for all
    if changes.find("payloads") is not None:
        _check_payloads(changes)
        for old in config.findall("payloads"):
            config.remove(old)
    markup.merge(config, changes)
    for payloads in config.findall("payloads"):
        if not len(payloads):
            config.remove(payloads)
    protocol = find_text(changes, "display/type")
    if protocol is not None:
        set_consoles(config, [protocol])
        if creates and changes.find("display/video_type") is None:
            set_text(config, "display/video_type", "bochs" if protocol == "vnc" else "qxl")
    if not _OS.fullmatch(find_text(config, "os/type") or ""):
        set_text(config, "os/type", "other")
    _check_memory(config, action, creates=creates)


def _check_payloads(changes: Element) -> None:
    """Source: `checkPayload` of `VmCommand`, and the default of its `PayloadSize`."""
    if find_text(changes, "payloads/payload/type") not in (None, "cdrom", "floppy"):
        raise faults.engine_fault("payload type")
    for file in changes.iterfind("payloads/payload/files/file"):
        if len(find_text(file, "content") or "") > _PAYLOAD_SIZE:
            raise faults.engine_fault("payload size", size=2 * _PAYLOAD_SIZE // 1024)


def payload(config: Element) -> tuple[str, str, dict[str, bytes]]:
    """Type, volume id and files of what a VM finds on a medium of its own at each start; no files without."""
    found = config.find("payloads/payload")
    if found is None:
        return "", "", {}
    files = {
        find_text(file, "name") or "": (find_text(file, "content") or "").encode()
        for file in found.iterfind("files/file")
    }
    return find_text(found, "type") or "cdrom", find_text(found, "volume_id") or "", files


def _check_memory(config: Element, action: str, *, creates: bool) -> None:
    memory, guaranteed, maximum = (
        int(find_text(config, path) or 0) // MEBIBYTE
        for path in ("memory", "memory_policy/guaranteed", "memory_policy/max")
    )
    if memory < 1:
        raise faults.engine_fault("memory minimum", "memory minimum")
    if maximum > 2**31 - 1:
        raise faults.engine_fault("max memory minimum")
    if guaranteed > memory:
        raise faults.engine_fault("guaranteed memory", action=action)
    if memory > maximum and not creates:
        raise faults.engine_fault("memory above maximum", action=action, size=memory, maximum=maximum)


def _check_custom_properties(body: Element, action: str) -> None:
    given = {
        find_text(one, "name") or "": find_text(one, "value") or ""
        for one in body.iterfind("custom_properties/custom_property")
    }
    unknown = [name for name in given if name not in CUSTOM_PROPERTIES]
    if unknown:
        raise faults.engine_fault("custom property unknown", action=action, keys=", ".join(unknown))
    wrong = [name for name, value in given.items() if not re.fullmatch(CUSTOM_PROPERTIES[name], value)]
    if wrong:
        raise faults.engine_fault("custom property value", action=action, keys=", ".join(wrong))


def _normalise(element: Element) -> None:
    """Sorts structures by the names of their fields, as the API model does; lists stay as they are."""
    for child in element:
        tags = [inner.tag for inner in child]
        if len(set(tags)) == len(tags):
            child[:] = sorted(child, key=lambda inner: inner.tag)
        _normalise(child)


def consoles(config: Element) -> Sequence[str]:
    """The protocols of the graphics consoles."""
    stored = config.find("graphics_consoles")
    if stored is None:
        return [find_text(config, "display/type") or "vnc"]
    return [protocol.text or "" for protocol in stored]


def set_consoles(config: Element, protocols: Sequence[str]) -> None:
    for old in config.findall("graphics_consoles"):
        config.remove(old)
    config.append(node("graphics_consoles", None, *(node("protocol", one) for one in protocols)))


def shown(
    config: Element, *, all_content: bool, running: bool, certificate: str, console_port: int = 0
) -> list[Element]:
    """The elements of `config` as a reply shows them. `certificate` is the CA's, for the display of a running
    VM, which is at `console_port`.
    """
    elements = {child.tag: child for child in copy.deepcopy(config) if child.tag != "graphics_consoles"}
    protocols = consoles(config)
    if protocols and "display" in elements:
        set_text(elements["display"], "type", "spice" if "spice" in protocols else protocols[0])
    elif not running:
        elements.pop("display", None)
    elif "display" in elements:  # a run keeps what it began with
        elements["display"] = markup.without(elements["display"], ["video_type"])
    if all_content:
        elements = {child.tag: child for child in defaults.all_content()} | elements
    else:
        for tag in (*defaults.ALL_CONTENT, "payloads"):
            elements.pop(tag, None)
    for path, collection in _REFERENCES.items():
        tag, below = path.split("/", 1)
        for element in elements[tag].iterfind(below) if tag in elements else ():
            element.set("href", f"{BASE}/{collection}/{element.get('id')}")
    if find_text(config, "stateless") != "true":
        elements.pop("use_latest_template_version", None)
    initialization = elements.get("initialization")
    if initialization is not None:
        _show_initialization(initialization)
        if not len(initialization):
            del elements["initialization"]
    if running and protocols:
        display = elements["display"]
        set_text(display, "address", "127.0.0.1")
        display.append(
            node(
                "certificate",
                None,
                node("content", certificate),
                node("organization", "oVirt"),
                node("subject", "O=oVirt,CN=127.0.0.1"),
            )
        )
        set_text(display, "port", console_port)
        display[:] = sorted(display, key=lambda child: child.tag)
    elements["large_icon"] = _icon("large_icon", defaults.LARGE_ICON)
    elements["small_icon"] = _icon("small_icon", defaults.SMALL_ICON)
    return list(elements.values())


def _show_initialization(initialization: Element) -> None:
    if find_text(initialization, "root_password"):
        set_text(initialization, "root_password", "******")
    for nic in initialization.iterfind("nic_configurations/nic_configuration"):
        if nic.find("ipv6") is None:
            nic.append(node("ipv6"))
        if nic.find("ipv6_boot_protocol") is None:
            nic.append(node("ipv6_boot_protocol", "none"))
        nic[:] = sorted(nic, key=lambda child: child.tag)


def _icon(tag: str, icon: str) -> Element:
    return node(tag, href=f"{BASE}/icons/{icon}", id=icon)


def ovf(vm: Vm) -> Element:
    """The VM's OVF as `initialization/configuration`: shortened to what identifies the VM."""
    memory = int(find_text(vm.config, "memory") or 0) // MEBIBYTE
    data = (
        '<?xml version="1.0" encoding="UTF-8"?><ovf:Envelope '
        'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/" '
        'ovf:version="4.4.0.0"><Content ovf:id="out">'
        f"<Name>{vm.name}</Name><TemplateId>{vm.template.id}</TemplateId><ClusterName>{vm.cluster.name}</ClusterName>"
        f'<Section ovf:id="{vm.id}"><Info>{memory} Memory</Info></Section></Content></ovf:Envelope>'
    )
    return node("configuration", None, node("data", data), node("type", "ovf"))


def of_cluster(cluster_id: str, cpu_profile_id: str, quota_id: str) -> list[Element]:
    """The links that a VM or template has through its cluster."""
    return [
        node("cluster", href=f"{BASE}/clusters/{cluster_id}", id=cluster_id),
        node("cpu_profile", href=f"{BASE}/cpuprofiles/{cpu_profile_id}", id=cpu_profile_id),
        node("quota", id=quota_id),
    ]


def copy_config(source: Template | Vm) -> Element:
    """The configuration that something made from `source` starts with; the initialization leaks, as in the
    engine, and the payload does not (source: `copyVmDevices`).
    """
    config = copy.deepcopy(source.config)
    for payloads in config.findall("payloads"):
        config.remove(payloads)
    return config
