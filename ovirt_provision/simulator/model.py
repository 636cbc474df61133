"""The types of the API: their elements in order, the values of enumerations. Source: the API model.

`data/api_types.json` is made by `tools/api-types` from a checkout of the API model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = Path(__file__).parent / "data"

# The type `action` is not in the API model: its elements are the parameters of all actions.
_ACTION = """
    actions name description comment creation_status link activate:Boolean allow_partial_import:Boolean
    async:Boolean attach_wgt:Boolean auto_pinning_policy check_connectivity:Boolean clone:Boolean
    clone_permissions:Boolean collapse_snapshots:Boolean commit_on_success:Boolean
    connectivity_timeout:Integer correlation_id deploy_hosted_engine:Boolean directory
    discard_snapshots:Boolean discovered_targets:iscsi_details[] disk:disk exclusive:Boolean fault
    fence_type filename filter:Boolean fix_layout:Boolean follow force:Boolean grace_period host:host image
    import_as_template:Boolean is_attached iscsi:iscsi_details iscsi_targets job:job
    lease:storage_domain_lease logical_units:logical_unit[] maintenance_after_restart:Boolean
    maintenance_enabled:Boolean migrate_vms_in_affinity_closure:Boolean
    modified_network_attachments:network_attachment[] optimize_cpu_settings:Boolean option:option
    pause:Boolean power_management:power_management proxy_ticket:proxy_ticket reason
    reassign_bad_macs:Boolean reboot:Boolean registration_configuration:registration_configuration
    remote_viewer_connection_file resolution_type restore_memory:Boolean root_password seal:Boolean status
    stop_gluster_service:Boolean succeeded:Boolean ticket:ticket timeout:Integer
    undeploy_hosted_engine:Boolean upgrade_action:cluster_upgrade_action upgrade_percent_complete:Integer
    use_cloud_init:Boolean use_ignition:Boolean use_initialization:Boolean use_sysprep:Boolean
    virtual_functions_configuration:host_nic_virtual_functions_configuration
    vnic_profile_mappings:vnic_profile_mapping[] volatile:Boolean attachment:disk_attachment
    authorized_key:authorized_key bricks:gluster_brick[] certificates:certificate[] cluster:cluster
    connection:storage_connection data_center:data_center details disk_profile:disk_profile disks:disk[]
    image_transfer:image_transfer modified_bonds:host_nic[] modified_labels:network_label[]
    permission:permission quota:quota removed_bonds:host_nic[] removed_labels:network_label[]
    removed_network_attachments:network_attachment[] snapshot:snapshot source_host:host ssh:ssh
    storage_domain:storage_domain storage_domains:storage_domain[]
    synchronized_network_attachments:network_attachment[] template:template vm:vm
"""


def _read() -> tuple[Mapping[str, Mapping[str, str]], Mapping[str, tuple[str, Sequence[str]]]]:
    document = json.loads((DATA / "api_types.json").read_text())
    types: dict[str, Mapping[str, str]] = document["types"]
    pairs = (text.partition(":") for text in _ACTION.split())
    types["action"] = {name: kind or "String" for name, _, kind in pairs}
    types["vm_numa_node"] = types["virtual_numa_node"]
    types["creation"] = {"status": "String", "fault": "fault"}
    enumerations = {
        name: (entry["name"], entry["values"]) for name, entry in document["enumerations"].items()
    }
    return types, enumerations


TYPES, ENUMERATIONS = _read()
"""`TYPES` maps types to their elements, in order, and these to their own types (a list ends in `[]`; plain
ones have capitals, as `String`). `ENUMERATIONS` maps enumerations to their names in faults and to their
values.
"""
