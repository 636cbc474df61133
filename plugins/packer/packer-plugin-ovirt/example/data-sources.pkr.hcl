packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

# What is looked up is the same for all builds of this file.
data "ovirt-template" "base" {
  name_regex = "^debian-12"
  tags       = ["approved"]
  latest     = true
}

data "ovirt-network" "build" {
  name        = "ovirtmgmt"
  data_center = "Default"
}

data "ovirt-disk" "drivers" {
  name         = "virtio-win.iso"
  content_type = "iso"
}

source "ovirt-clone" "debian" {
  source_template_id = data.ovirt-template.base.id
  ssh_username       = "packer"
  template_name      = "from-${data.ovirt-template.base.name}-{{timestamp}}"

  network_interface {
    name         = "nic1"
    vnic_profile = "${data.ovirt-network.build.name}/${data.ovirt-network.build.vnic_profiles[0]}"
  }
}

build {
  sources = ["source.ovirt-clone.debian"]

  provisioner "shell-local" {
    inline = [
      "echo 'from version ${data.ovirt-template.base.version}, made ${data.ovirt-template.base.create_time}'",
      "echo 'drivers are on ${join(", ", data.ovirt-disk.drivers.storage_domains)}'",
    ]
  }
}
