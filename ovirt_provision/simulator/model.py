"""The order of the elements of each type, which is also the list of the elements that the engine accepts.

Source: the API model (own attributes in alphabetical order, then links, base types first), checked against
recorded replies.
"""

from collections.abc import Mapping, Sequence

_ELEMENTS = {
    "action": """
        actions name description comment creation_status link activate allow_partial_import async
        attach_wgt auto_pinning_policy check_connectivity clone clone_permissions collapse_snapshots
        commit_on_success connectivity_timeout correlation_id deploy_hosted_engine directory
        discard_snapshots discovered_targets disk exclusive fault fence_type filename filter fix_layout
        follow force grace_period host image import_as_template is_attached iscsi iscsi_targets job
        lease logical_units maintenance_after_restart maintenance_enabled
        migrate_vms_in_affinity_closure modified_network_attachments optimize_cpu_settings option pause
        power_management proxy_ticket reason reassign_bad_macs reboot registration_configuration
        remote_viewer_connection_file resolution_type restore_memory root_password seal status
        stop_gluster_service succeeded ticket timeout undeploy_hosted_engine upgrade_action
        upgrade_percent_complete use_cloud_init use_ignition use_initialization use_sysprep
        virtual_functions_configuration vnic_profile_mappings volatile attachment authorized_key bricks
        certificates cluster connection data_center details disk_profile disks image_transfer
        modified_bonds modified_labels permission quota removed_bonds removed_labels
        removed_network_attachments snapshot source_host ssh storage_domain storage_domains
        synchronized_network_attachments template vm
    """,
    "cluster": """
        actions name description comment creation_status link ballooning_enabled bios_type cpu
        custom_scheduling_policy_properties display error_handling fencing_policy fips_mode
        firewall_type gluster_service gluster_tuned_profile ha_reservation ksm
        log_max_memory_used_threshold log_max_memory_used_threshold_type maintenance_reason_required
        memory_policy migration optional_reason required_rng_sources serial_number switch_type
        threads_as_cores trusted_service tunnel_migration upgrade_correlation_id upgrade_in_progress
        upgrade_percent_complete version virt_service vnc_encryption affinity_groups cpu_profiles
        data_center enabled_features external_network_providers gluster_hooks gluster_volumes mac_pool
        management_network network_filters networks permissions scheduling_policy supported_versions
    """,
    "creation": """
        id status fault
    """,
    "data_center": """
        actions name description comment creation_status link local quota_mode status storage_format
        supported_versions version clusters iscsi_bonds mac_pool networks permissions qoss quotas
        storage_domains
    """,
    "disk": """
        actions name description comment creation_status link instance_type template vm vms active
        actual_size alias backup backup_mode bootable content_type external_disk format image_id
        initial_size interface logical_name lun_storage propagate_errors provisioned_size qcow_version
        read_only sgio shareable sparse status storage_type total_size uses_scsi_reservation
        wipe_after_delete disk_profile disk_snapshots openstack_volume_type permissions quota snapshot
        statistics storage_domain storage_domains
    """,
    "disk_attachment": """
        actions name description comment creation_status link active bootable interface logical_name
        pass_discard read_only uses_scsi_reservation disk template vm
    """,
    "event": """
        actions name description comment creation_status link code correlation_id custom_data custom_id
        flood_rate index log_on_host origin severity time cluster data_center host storage_domain
        template user vm
    """,
    "host": """
        actions name description comment creation_status link address auto_numa_status certificate cpu
        device_passthrough display external_status hardware_information hosted_engine iscsi kdump_status
        ksm libvirt_version max_scheduling_memory memory network_operation_in_progress numa_supported os
        override_iptables ovn_configured port power_management protocol reinstallation_required
        root_password se_linux spm ssh status status_detail summary transparent_hugepages type
        update_available version vgpu_placement affinity_labels agents cluster cpu_units devices
        external_host_provider external_network_provider_configurations hooks host_numa_nodes
        katello_errata network_attachments nics permissions statistics storage_connection_extensions
        storages tags unmanaged_networks
    """,
    "initialization": """
        actions creation_status link active_directory_ou authorized_ssh_keys cloud_init
        cloud_init_network_protocol configuration custom_script dns_search dns_servers domain host_name
        input_locale nic_configurations org_name regenerate_ids regenerate_ssh_keys root_password
        system_locale timezone ui_language user_locale user_name windows_license_key
    """,
    "ip": """
        actions creation_status link address gateway netmask version
    """,
    "job": """
        actions name description comment creation_status link auto_cleared end_time external
        last_updated start_time status owner steps
    """,
    "mac_pool": """
        actions name description comment creation_status link allow_duplicates default_pool ranges
        permissions
    """,
    "network": """
        actions name description comment creation_status link display dns_resolver_configuration ip mtu
        port_isolation profile_required required status stp usages vdsm_name vlan cluster data_center
        external_provider external_provider_physical_network network_labels permissions qos
        vnic_profiles
    """,
    "nic": """
        actions name description comment creation_status link instance_type template vm vms
        boot_protocol interface linked mac on_boot plugged synced network network_attachments
        network_filter_parameters network_labels reported_devices statistics
        virtual_function_allowed_labels virtual_function_allowed_networks vnic_profile
    """,
    "nic_configuration": """
        actions creation_status link boot_protocol ip ipv6 ipv6_boot_protocol name on_boot
    """,
    "permission": """
        actions name description comment creation_status link cluster data_center disk group host role
        storage_domain template user vm vm_pool
    """,
    "reported_device": """
        actions name description comment creation_status link ips mac type vm
    """,
    "snapshot": """
        actions name description comment creation_status link auto_pinning_policy bios console cpu
        cpu_pinning_policy cpu_shares creation_time custom_cpu_model custom_emulated_machine
        custom_properties delete_protected display high_availability initialization io lease memory
        memory_policy migration migration_downtime multi_queues_enabled origin os placement_policy
        rng_device serial_number soundcard_enabled sso start_paused stateless
        storage_error_resume_behaviour time_zone tpm_enabled tunnel_migration type usb virtio_scsi
        virtio_scsi_multi_queues virtio_scsi_multi_queues_enabled cluster cpu_profile
        custom_compatibility_version domain large_icon quota small_icon storage_domain dynamic_cpu fqdn
        guest_operating_system guest_time_zone has_illegal_images next_run_configuration_exists
        numa_tune_mode payloads run_once start_time status status_detail stop_reason stop_time
        use_latest_template_version affinity_labels applications cdroms disk_attachments
        external_host_provider floppies graphics_consoles host host_devices host_numa_nodes
        instance_type katello_errata mediated_devices nics original_template permissions
        reported_devices sessions snapshots statistics tags template vm_pool watchdogs date
        persist_memorystate snapshot_status snapshot_type disks vm
    """,
    "step": """
        actions name description comment creation_status link end_time external external_type number
        progress start_time status type execution_host job parent_step statistics
    """,
    "storage_domain": """
        actions name description comment creation_status link available backup block_size committed
        critical_space_action_blocker discard_after_delete external_status import master status storage
        storage_format supports_discard supports_discard_zeroes_data type used
        warning_low_space_indicator wipe_after_delete data_center data_centers disk_profiles
        disk_snapshots disks files host images permissions storage_connections templates vms
    """,
    "tag": """
        actions name description comment creation_status link group host parent template user vm
    """,
    "template": """
        actions name description comment creation_status link auto_pinning_policy bios console cpu
        cpu_pinning_policy cpu_shares creation_time custom_cpu_model custom_emulated_machine
        custom_properties delete_protected display high_availability initialization io large_icon lease
        memory memory_policy migration migration_downtime multi_queues_enabled origin os
        placement_policy rng_device serial_number small_icon soundcard_enabled sso start_paused
        stateless storage_error_resume_behaviour time_zone tpm_enabled tunnel_migration type usb
        virtio_scsi virtio_scsi_multi_queues virtio_scsi_multi_queues_enabled cluster cpu_profile
        custom_compatibility_version domain quota storage_domain status version cdroms disk_attachments
        graphics_consoles mediated_devices nics permissions tags vm watchdogs
    """,
    "vm": """
        actions name description comment creation_status link auto_pinning_policy bios console cpu
        cpu_pinning_policy cpu_shares creation_time custom_cpu_model custom_emulated_machine
        custom_properties delete_protected display high_availability initialization io large_icon lease
        memory memory_policy migration migration_downtime multi_queues_enabled origin os
        placement_policy rng_device serial_number small_icon soundcard_enabled sso start_paused
        stateless storage_error_resume_behaviour time_zone tpm_enabled tunnel_migration type usb
        virtio_scsi virtio_scsi_multi_queues virtio_scsi_multi_queues_enabled cluster cpu_profile
        custom_compatibility_version domain quota storage_domain dynamic_cpu fqdn guest_operating_system
        guest_time_zone has_illegal_images next_run_configuration_exists numa_tune_mode payloads
        run_once start_time status status_detail stop_reason stop_time use_latest_template_version
        affinity_labels applications cdroms disk_attachments external_host_provider floppies
        graphics_consoles host host_devices host_numa_nodes instance_type katello_errata
        mediated_devices nics original_template permissions reported_devices sessions snapshots
        statistics tags template vm_pool watchdogs
    """,
    "vnic_profile": """
        actions name description comment creation_status link custom_properties migratable pass_through
        port_mirroring failover network network_filter permissions qos
    """,
}

ORDER: Mapping[str, Sequence[str]] = {name: text.split() for name, text in _ELEMENTS.items()}
"""Names of elements, in order, by the name of the element that holds them."""
