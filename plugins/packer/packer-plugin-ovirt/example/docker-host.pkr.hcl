packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

# packer build -force docker-host.pkr.hcl
#
# A template for `docker-machine create --driver ovirt --ovirt-template debian-12-docker`, and for Rancher. With Docker in it, a create
# downloads nothing but package lists.
source "ovirt-clone" "docker" {
  source_template_name = "debian-12"
  ssh_username         = "packer"

  template_name        = "debian-12-docker"
  template_description = "Debian 12 with Docker, for docker-machine"
}

build {
  sources = ["source.ovirt-clone.docker"]

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    script          = "${path.root}/docker-host.sh"
  }
}
