packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "template_name" {
  type = string
}

variable "ssh_port" {
  description = "Where the simulated guests answer SSH."
  type        = number
}

variable "key_copy" {
  description = "Where a copy of Packer's temporary key goes, for the proof that it lets nobody in later."
  type        = string
}

source "ovirt-clone" "demo" {
  source_template_name = "debian-12-docker"
  host_name            = "build-machine"
  ssh_username         = "packer"
  ssh_port             = var.ssh_port
  template_name        = var.template_name
  template_description = "Made by `make demo`"
}

build {
  sources = ["source.ovirt-clone.demo"]

  provisioner "shell-local" {
    environment_vars = ["KEY=${build.SSHPrivateKey}"]
    inline           = ["umask 077; printf '%s\\n' \"$KEY\" >'${var.key_copy}'"]
  }

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    script          = "${path.root}/../plugins/packer/packer-plugin-ovirt/example/docker-host.sh"
  }

  provisioner "shell" {
    inline = [
      "echo \"Packer was here, on $(hostname)\" | sudo tee /etc/packer-build",
      "{ hostname; cat /etc/machine-id; cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub; } | sudo tee /etc/packer-build-identity >/dev/null",
    ]
  }
}
