"""The engine's names of what the schema has in enumerations. What a request leaves unspecified has none."""

from ovirt_provision.v1 import resources_pb2

DISK_FORMATS: dict[int, str] = {
    resources_pb2.DISK_FORMAT_COW: "cow",
    resources_pb2.DISK_FORMAT_RAW: "raw",
}
DISK_INTERFACES = {
    resources_pb2.DISK_INTERFACE_VIRTIO_SCSI: "virtio_scsi",
    resources_pb2.DISK_INTERFACE_VIRTIO: "virtio",
    resources_pb2.DISK_INTERFACE_SATA: "sata",
    resources_pb2.DISK_INTERFACE_IDE: "ide",
}
NIC_INTERFACES = {
    resources_pb2.NIC_INTERFACE_VIRTIO: "virtio",
    resources_pb2.NIC_INTERFACE_E1000: "e1000",
    resources_pb2.NIC_INTERFACE_E1000E: "e1000e",
    resources_pb2.NIC_INTERFACE_RTL8139: "rtl8139",
    resources_pb2.NIC_INTERFACE_PCI_PASSTHROUGH: "pci_passthrough",
}
BIOS_TYPES = {
    resources_pb2.BIOS_TYPE_CLUSTER_DEFAULT: "cluster_default",
    resources_pb2.BIOS_TYPE_I440FX_SEA_BIOS: "i440fx_sea_bios",
    resources_pb2.BIOS_TYPE_Q35_SEA_BIOS: "q35_sea_bios",
    resources_pb2.BIOS_TYPE_Q35_OVMF: "q35_ovmf",
    resources_pb2.BIOS_TYPE_Q35_SECURE_BOOT: "q35_secure_boot",
}
AFFINITIES = {
    resources_pb2.Placement.AFFINITY_MIGRATABLE: "migratable",
    resources_pb2.Placement.AFFINITY_USER_MIGRATABLE: "user_migratable",
    resources_pb2.Placement.AFFINITY_PINNED: "pinned",
}
BOOT_DEVICES = {
    resources_pb2.BOOT_DEVICE_HD: "hd",
    resources_pb2.BOOT_DEVICE_CDROM: "cdrom",
    resources_pb2.BOOT_DEVICE_NETWORK: "network",
}
PAYLOAD_TYPES = {
    resources_pb2.Payload.TYPE_FLOPPY: "floppy",
    resources_pb2.Payload.TYPE_CDROM: "cdrom",
}
