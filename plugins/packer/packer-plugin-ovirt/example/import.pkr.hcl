packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

# An image that another tool has made; in place of null and artifice, the qemu builder is the usual one.
source "null" "elsewhere" {
  communicator = "none"
}

build {
  sources = ["source.null.elsewhere"]

  post-processors {
    post-processor "artifice" {
      files = ["output/debian-12.qcow2"]
    }

    post-processor "ovirt-import" {
      template_name       = "debian-12-{{timestamp}}"
      cluster             = "Default"
      operating_system    = "debian_9"
      memory              = 2048
      keep_input_artifact = true

      network_interface {
        name         = "nic1"
        vnic_profile = "ovirtmgmt"
      }
    }
  }
}
