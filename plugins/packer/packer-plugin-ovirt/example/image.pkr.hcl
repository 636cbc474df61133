packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "checksum" {
  type        = string
  description = "Of the image, as SHA512SUMS beside it has it; `file:` and the URL of that file does as well."
  default     = "sha512:00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
}

# The daemon fetches the image, once: builds that come later start from the template that it became.
source "ovirt-image" "debian" {
  image_url        = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
  image_checksum   = var.checksum
  cluster          = "Default"
  operating_system = "debian_9"
  memory           = 2048

  boot_disk {
    size = 10
  }

  network_interface {
    name         = "nic1"
    vnic_profile = "ovirtmgmt"
  }

  ssh_username  = "packer"
  template_name = "debian-12-{{timestamp}}"
}

build {
  sources = ["source.ovirt-image.debian"]

  provisioner "shell" {
    inline = ["sudo apt-get update", "sudo apt-get install -y qemu-guest-agent"]
  }
}
