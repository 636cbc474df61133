packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

source "ovirt-clone" "debian" {
  source_template_name = "debian-12"
  ssh_username         = "packer"
  template_name        = "debian-12-nginx-{{timestamp}}"
}

build {
  sources = ["source.ovirt-clone.debian"]

  provisioner "shell" {
    inline = ["sudo apt-get update", "sudo apt-get install -y nginx"]
  }

  # A file on this host, which ovirt-image can build from elsewhere.
  post-processor "ovirt-export" {
    output = "output/debian-12-nginx.qcow2"
  }

  # An OVA file on a host of the engine.
  post-processor "ovirt-export" {
    ova {
      host      = "host1"
      directory = "/var/tmp"
    }
  }
}
