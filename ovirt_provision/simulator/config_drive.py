"""What the engine gives a VM at a start with a configuration: a config drive for cloud-init and Ignition,
label `config-2`, or an answer file for Windows.

Source: the engine's `CloudInitHandler` and `VmInitToOpenStackMetadataAdapter`. What surprises: keys are in
`meta_data.json` alone, as a list; the uuid is new at every start; `user_data` is a YAML mapping to which the
custom script is appended as raw text, so a script is YAML too and a second `runcmd:` in it replaces the
engine's.

Ignition gets the custom script as it is, where nothing is to be added to it (`IgnitionHandler`), Windows an
answer file whose placeholders are filled in (`SysprepHandler`).
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

# `MaxVmNameLengthSysprep` of the engine's configuration.
_LONGEST_COMPUTER_NAME = 15
_ANSWER_FILE = """<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend">
  <settings pass="specialize">
    <component name="Microsoft-Windows-Shell-Setup">
      <ComputerName><![CDATA[$ComputerName$]]></ComputerName>
      <ProductKey><![CDATA[$ProductKey$]]></ProductKey>
    </component>
    <component name="Microsoft-Windows-UnattendedJoin">
      <Identification><JoinDomain><![CDATA[$JoinDomain$]]></JoinDomain></Identification>
    </component>
  </settings>
  <settings pass="oobeSystem">
    <component name="Microsoft-Windows-International-Core">
      <InputLocale><![CDATA[$InputLocale$]]></InputLocale>
      <SystemLocale><![CDATA[$SystemLocale$]]></SystemLocale>
      <UILanguage><![CDATA[$UILanguage$]]></UILanguage>
      <UserLocale><![CDATA[$UserLocale$]]></UserLocale>
    </component>
    <component name="Microsoft-Windows-Shell-Setup">
      <UserAccounts><AdministratorPassword>
        <Value><![CDATA[$AdminPassword$]]></Value><PlainText>true</PlainText>
      </AdministratorPassword></UserAccounts>
      <RegisteredOrganization><![CDATA[$OrgName$]]></RegisteredOrganization>
      <TimeZone><![CDATA[$TimeZone$]]></TimeZone>
    </component>
  </settings>
</unattend>
"""


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
    """The API type `initialization`."""

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
    domain: str = ""
    org_name: str = ""
    input_locale: str = ""
    ui_language: str = ""
    system_locale: str = ""
    user_locale: str = ""


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
        domain=text("domain"),
        org_name=text("org_name"),
        input_locale=text("input_locale"),
        ui_language=text("ui_language"),
        system_locale=text("system_locale"),
        user_locale=text("user_locale"),
    )


def config_drive(initialization: Initialization | None) -> Mapping[str, bytes]:
    """The drive's files by path. Without an initialization the drive still has the engine's own defaults."""
    init = initialization or Initialization()
    return _drive(init, _user_data(init), network=initialization is not None)


def ignition_drive(initialization: Initialization | None) -> Mapping[str, bytes]:
    """The drive's files by path. Raises ValueError for what the engine fails with: no JSON, or an account
    without a password."""
    init = initialization or Initialization()
    script = json.loads(init.custom_script or "{}")
    changed = not init.custom_script
    if "version" not in script.setdefault("ignition", {}):
        script["ignition"]["version"] = "2.2.0"
        changed = True
    if init.host_name:
        file = {"filesystem": "root", "path": "/etc/hostname", "mode": 420}
        file["contents"] = {"source": f"data:,{init.host_name}"}
        script.setdefault("storage", {}).setdefault("files", []).append(file)
        changed = True
    if init.user_name:
        if not init.root_password:
            raise ValueError("Failed to build ignition data: an account takes a password")
        user = {"name": init.user_name, "passwordHash": init.root_password}
        script.setdefault("passwd", {}).setdefault("users", []).append(user)
        changed = True
    text = json.dumps(script, separators=(",", ":")) if changed else init.custom_script or ""
    return _drive(init, text.encode(), network=initialization is not None)


def answer_file(initialization: Initialization | None, vm_name: str) -> Mapping[str, bytes]:
    """The one file, by its name, on the floppy or CD that Windows is given."""
    init = initialization or Initialization()
    text = init.custom_script or re.sub("<ProductKey>.*?</ProductKey>", "", _ANSWER_FILE)
    for placeholder, value in {
        "$ComputerName$": (init.host_name or vm_name)[:_LONGEST_COMPUTER_NAME],
        "$TimeZone$": init.timezone or "GMT Standard Time",
        "$AdminPassword$": init.root_password,
        "$OrgName$": init.org_name or "oVirt",
        "$JoinDomain$": init.domain,
        "$InputLocale$": init.input_locale or "en_US",
        "$UILanguage$": init.ui_language or "en_US",
        "$SetupUiLanguageUiLanguage$": init.ui_language or "en_US",
        "$SystemLocale$": init.system_locale or "en_US",
        "$UserLocale$": init.user_locale or "en_US",
    }.items():
        text = text.replace(placeholder, value)
    return {"Unattend.xml": text.encode()}


def _drive(init: Initialization, user_data: bytes, *, network: bool) -> Mapping[str, bytes]:
    files: dict[str, bytes] = {}
    meta_data: dict[str, Any] = {}
    if init.host_name:
        meta_data["hostname"] = init.host_name
        meta_data["name"] = init.host_name
    if init.authorized_ssh_keys:
        meta_data["public_keys"] = [key for key in re.split(r"[\r\n]+", init.authorized_ssh_keys) if key]
    network_data = None
    if network:
        if init.network_protocol == "eni":
            _add_interfaces(init, meta_data, files)
        else:
            network_data = _network_data(init)
    meta_data["uuid"] = str(uuid.uuid4())
    meta_data["meta"] = {"dsmode": "local", "essential": "false", "role": "server"}
    meta_data["launch_index"] = "0"
    meta_data["availability_zone"] = "nova"
    files["openstack/latest/meta_data.json"] = _json(meta_data)
    files["openstack/latest/user_data"] = user_data
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
