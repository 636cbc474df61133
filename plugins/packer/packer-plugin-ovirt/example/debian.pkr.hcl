packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "template_name" {
  type    = string
  default = "debian-12-nginx-{{timestamp}}"
}

# The simulator forwards SSH to port 2222 of each guest's own address; a real guest listens on 22.
variable "ssh_port" {
  type    = number
  default = 22
}

source "ovirt-clone" "debian" {
  source_template_name = "debian-12"
  cluster              = "Default"
  memory               = 512

  network_interface {
    name         = "nic1"
    vnic_profile = "ovirtmgmt"
  }

  host_name    = "packer-build"
  ssh_username = "packer"
  ssh_port     = var.ssh_port

  template_name        = var.template_name
  template_description = "Debian 12, made by Packer"
}

build {
  sources = ["source.ovirt-clone.debian"]

  provisioner "shell" {
    inline = [
      "echo 'built on virtual machine ${build.VMName} (${build.VMID})' | sudo tee /etc/packer-build",
    ]
  }

  post-processor "manifest" {
    output = "manifest.json"
    custom_data = {
      template_id = build.TemplateID
    }
  }
}
