packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

# packer build -force -on-error=cleanup -var branch=$BRANCH ci.pkr.hcl
#
# With -force the template of the branch is replaced: the new one is made under another name, and takes the place of the old one once it
# is whole and has booted. The old one is refused before anything is made when it is not ours or a virtual machine uses it.
variable "branch" {
  type    = string
  default = "main"
}

locals {
  name = "app-${regex_replace(var.branch, "[^A-Za-z0-9_.-]", "-")}"
}

source "ovirt-clone" "app" {
  source_template_name = "debian-12"
  ssh_username         = "packer"
  ssh_timeout          = "5m"

  template_name        = local.name
  template_description = "Of branch ${var.branch}, ${timestamp()}"
  boot_test            = true
  cleanup_timeout      = "5m"
}

build {
  sources = ["source.ovirt-clone.app"]

  provisioner "shell" {
    inline = ["sudo apt-get update", "sudo apt-get install -y nginx"]
  }

  post-processor "manifest" {
    output = "manifest.json"
  }
}
