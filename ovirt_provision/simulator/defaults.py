"""What a VM's configuration holds when nobody says otherwise: the elements of the API type `vm_base`."""

import copy
import functools

from ovirt_provision.simulator import markup
from ovirt_provision.simulator.markup import Element

LARGE_ICON = "6ca4506b-e5ad-4ab0-96dd-43350dd2572c"
SMALL_ICON = "d3f4f37e-b903-4c99-8c16-958af3ca9b6e"

_BLANK = b"""
<config>
  <auto_pinning_policy>disabled</auto_pinning_policy>
  <bios><boot_menu><enabled>false</enabled></boot_menu></bios>
  <cpu>
    <architecture>undefined</architecture>
    <topology><cores>1</cores><sockets>1</sockets><threads>1</threads></topology>
  </cpu>
  <cpu_pinning_policy>none</cpu_pinning_policy>
  <cpu_shares>0</cpu_shares>
  <delete_protected>false</delete_protected>
  <display>
    <allow_override>false</allow_override>
    <copy_paste_enabled>true</copy_paste_enabled>
    <disconnect_action>LOCK_SCREEN</disconnect_action>
    <disconnect_action_delay>0</disconnect_action_delay>
    <file_transfer_enabled>true</file_transfer_enabled>
    <monitors>1</monitors>
    <smartcard_enabled>false</smartcard_enabled>
    <type>vnc</type>
    <video_type>vga</video_type>
  </display>
  <high_availability><enabled>false</enabled><priority>0</priority></high_availability>
  <io><threads>1</threads></io>
  <memory>1073741824</memory>
  <memory_policy>
    <ballooning>true</ballooning>
    <guaranteed>1073741824</guaranteed>
    <max>4294967296</max>
  </memory_policy>
  <migration>
    <auto_converge>inherit</auto_converge>
    <compressed>inherit</compressed>
    <encrypted>inherit</encrypted>
    <parallel_migrations_policy>inherit</parallel_migrations_policy>
  </migration>
  <migration_downtime>-1</migration_downtime>
  <multi_queues_enabled>true</multi_queues_enabled>
  <origin>ovirt</origin>
  <os><boot><devices><device>hd</device></devices></boot><type>other</type></os>
  <placement_policy><affinity>migratable</affinity></placement_policy>
  <sso><methods><method id="guest_agent"/></methods></sso>
  <start_paused>false</start_paused>
  <stateless>false</stateless>
  <storage_error_resume_behaviour>auto_resume</storage_error_resume_behaviour>
  <time_zone><name>Etc/GMT</name></time_zone>
  <type>server</type>
  <usb><enabled>false</enabled></usb>
  <virtio_scsi_multi_queues_enabled>false</virtio_scsi_multi_queues_enabled>
</config>
"""

_ALL_CONTENT = b"""
<content>
  <console><enabled>false</enabled></console>
  <rng_device><source>urandom</source></rng_device>
  <soundcard_enabled>true</soundcard_enabled>
  <tpm_enabled>false</tpm_enabled>
  <virtio_scsi><enabled>true</enabled></virtio_scsi>
</content>
"""


def blank_config() -> Element:
    """The configuration of the template Blank."""
    return markup.parse(_BLANK.strip())


def vm_config(*, memory: int, cpus: int) -> Element:
    """The configuration of an ordinary VM; `memory` is in bytes."""
    return copy.deepcopy(_vm_config(memory, cpus))


@functools.cache
def _vm_config(memory: int, cpus: int) -> Element:
    config = blank_config()
    settle_in_cluster(config)
    markup.set_text(config, "memory", memory)
    markup.set_text(config, "memory_policy/guaranteed", memory)
    markup.set_text(config, "memory_policy/max", 4 * memory)
    markup.set_text(config, "cpu/topology/sockets", cpus)
    return config


def settle_in_cluster(config: Element) -> None:
    """Fills in what a VM takes from its cluster."""
    if markup.find_text(config, "cpu/architecture") == "undefined":
        markup.set_text(config, "cpu/architecture", "x86_64")
    if config.find("bios/type") is None:
        markup.set_text(config, "bios/type", "q35_ovmf")


def all_content() -> Element:
    """What only replies to a create and requests with `all_content` show; a stored value wins."""
    return markup.parse(_ALL_CONTENT.strip())


ALL_CONTENT = frozenset(str(child.tag) for child in all_content())
"""The names of these elements."""
