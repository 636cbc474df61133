"""The files of the config drive that the engine gives a VM at a start with cloud-init; label `config-2`.

Source: the engine's `CloudInitHandler` and `VmInitToOpenStackMetadataAdapter`. What surprises: keys are in
`meta_data.json` alone, as a list; the uuid is new at every start; `user_data` is a YAML mapping to which the
custom script is appended as raw text, so a script is YAML too and a second `runcmd:` in it replaces the
engine's.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ovirt_provision.simulator.markup import Element, find_bool, find_text

# Keeps cloud-init from asking metadata servers at the next boot.
_DATASOURCES = (
    "sed -i '/^datasource_list: /d' /etc/cloud/cloud.cfg; "
    'echo \'datasource_list: ["NoCloud", "ConfigDrive"]\' >> /etc/cloud/cloud.cfg'
)


@dataclass(frozen=True)
class NicConfiguration:
    """A NIC as the guest is to configure it; an empty protocol is `none`."""

    name: str
    on_boot: bool = True
    boot_protocol: str = "none"
    address: str = ""
    netmask: str = ""
    gateway: str = ""
    ipv6_boot_protocol: str = "none"
    ipv6_address: str = ""
    ipv6_prefix: str = ""
    ipv6_gateway: str = ""


@dataclass(frozen=True)
class Initialization:
    """The API type `initialization`, as far as cloud-init uses it."""

    host_name: str = ""
    user_name: str = ""
    root_password: str = ""
    authorized_ssh_keys: str = ""
    regenerate_ssh_keys: bool | None = None
    timezone: str | None = None
    dns_servers: str = ""
    dns_search: str = ""
    custom_script: str | None = None
    network_protocol: str = "openstack_metadata"
    nics: Sequence[NicConfiguration] = field(default_factory=tuple)


def read_initialization(element: Element) -> Initialization:
    """Reads `<initialization>` as it comes in a request."""

    def text(path: str, of: Element = element) -> str:
        return find_text(of, path) or ""

    return Initialization(
        host_name=text("host_name"),
        user_name=text("user_name"),
        root_password=text("root_password"),
        authorized_ssh_keys=text("authorized_ssh_keys"),
        regenerate_ssh_keys=(
            find_bool(element, "regenerate_ssh_keys", False)
            if element.find("regenerate_ssh_keys") is not None
            else None
        ),
        timezone=find_text(element, "timezone"),
        dns_servers=text("dns_servers"),
        dns_search=text("dns_search"),
        custom_script=find_text(element, "custom_script"),
        network_protocol=text("cloud_init_network_protocol") or "openstack_metadata",
        nics=[
            NicConfiguration(
                name=text("name", nic),
                on_boot=find_bool(nic, "on_boot", False),
                boot_protocol=text("boot_protocol", nic) or "none",
                address=text("ip/address", nic),
                netmask=text("ip/netmask", nic),
                gateway=text("ip/gateway", nic),
                ipv6_boot_protocol=text("ipv6_boot_protocol", nic) or "none",
                ipv6_address=text("ipv6/address", nic),
                ipv6_prefix=text("ipv6/netmask", nic),
                ipv6_gateway=text("ipv6/gateway", nic),
            )
            for nic in element.iterfind("nic_configurations/nic_configuration")
        ],
    )


def config_drive(initialization: Initialization | None) -> Mapping[str, bytes]:
    """The drive's files by path. Without an initialization the drive still has the engine's own defaults."""
    init = initialization or Initialization()
    files: dict[str, bytes] = {}
    meta_data: dict[str, Any] = {}
    if init.host_name:
        meta_data["hostname"] = init.host_name
        meta_data["name"] = init.host_name
    if init.authorized_ssh_keys:
        meta_data["public_keys"] = [key for key in re.split(r"[\r\n]+", init.authorized_ssh_keys) if key]
    network_data = None
    if initialization is not None:
        if init.network_protocol == "eni":
            _add_interfaces(init, meta_data, files)
        else:
            network_data = _network_data(init)
    meta_data["uuid"] = str(uuid.uuid4())
    meta_data["meta"] = {"dsmode": "local", "essential": "false", "role": "server"}
    meta_data["launch_index"] = "0"
    meta_data["availability_zone"] = "nova"
    files["openstack/latest/meta_data.json"] = _json(meta_data)
    files["openstack/latest/user_data"] = _user_data(init)
    if network_data:
        files["openstack/latest/network_data.json"] = _json(network_data)
    return files


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, separators=(",", " : ")).encode()


def _user_data(init: Initialization) -> bytes:
    data: dict[str, Any] = {}
    if init.regenerate_ssh_keys is not None:
        data["ssh_deletekeys"] = init.regenerate_ssh_keys
    if init.timezone is not None:
        data["timezone"] = init.timezone
    if init.root_password:
        data["password"] = init.root_password
    if init.user_name:
        data["user"] = init.user_name
    data["disable_root"] = False
    data["output"] = {"all": ">> /var/log/cloud-init-output.log"}
    data["runcmd"] = [_DATASOURCES]
    data["chpasswd"] = {"expire": False}
    data["ssh_pwauth"] = True
    text = yaml.safe_dump(data, default_flow_style=False, sort_keys=False, allow_unicode=True, width=4096)
    return ("#cloud-config\n" + text + (init.custom_script or "")).encode()


def _network_data(init: Initialization) -> Mapping[str, Any]:
    dns: dict[str, Any] = {}
    if init.dns_servers:
        dns["dns_nameservers"] = init.dns_servers.split(" ")
    if init.dns_search:
        dns["dns_search"] = init.dns_search.split(" ")
    links, networks = [], []
    for nic in init.nics:
        stacks = []
        if nic.boot_protocol != "none":
            stacks.append(
                _network(nic.name, "ipv4", nic.boot_protocol, nic.address, nic.netmask, nic.gateway) | dns
            )
        if nic.ipv6_boot_protocol != "none":
            stacks.append(
                _network(
                    nic.name,
                    "ipv6",
                    nic.ipv6_boot_protocol,
                    nic.ipv6_address,
                    nic.ipv6_prefix,
                    nic.ipv6_gateway,
                )
                | dns
            )
        if stacks:
            networks += stacks
            links.append({"id": nic.name, "name": nic.name, "type": "vif"})
    services = [{"type": "dns", "address": server} for server in dns.get("dns_nameservers", ())]
    parts = {"links": links, "networks": networks, "services": services}
    return {name: part for name, part in parts.items() if part}


def _network(
    name: str, stack: str, protocol: str, address: str, netmask: str, gateway: str
) -> dict[str, Any]:
    network: dict[str, Any] = {"id": name, "link": name}
    if protocol == "dhcp":
        network["type"] = f"{stack}_dhcp"
    elif protocol == "static":
        network |= {"type": stack, "ip_address": address}
        network |= {key: value for key, value in (("netmask", netmask), ("gateway", gateway)) if value}
    return network


def _add_interfaces(init: Initialization, meta_data: dict[str, Any], files: dict[str, bytes]) -> None:
    lines = []
    for nic in init.nics:
        if nic.on_boot:
            lines.append(f"auto {nic.name}")
        lines.append(f"iface {nic.name} inet {nic.boot_protocol}")
        for name, value in (("address", nic.address), ("netmask", nic.netmask), ("gateway", nic.gateway)):
            if value:
                lines.append(f"  {name} {value}")
        if init.dns_servers:
            lines.append(f"  dns-nameservers {init.dns_servers}")
        if init.dns_search:
            lines.append(f"  dns-search {init.dns_search}")
    if not lines:
        return
    interfaces = "\n".join(lines) + "\n"
    meta_data["network-interfaces"] = interfaces
    meta_data["network_config"] = {"content_path": "/content/0000", "path": "/etc/network/interfaces"}
    files["openstack/content/0000"] = interfaces.encode()
