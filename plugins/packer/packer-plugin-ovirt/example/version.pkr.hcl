packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

# Builds a version of golden upon the one before: each starts from the latest. The template itself has to be there.
source "ovirt-clone" "golden" {
  source_template_name = "golden"
  ssh_username         = "packer"

  template_name = "golden"
  new_version   = true
  version_name  = formatdate("YYYY-MM", timestamp())
  # The new one and the two before it. What a virtual machine still uses stays, and the build says so.
  keep_versions = 3

  # A clone of the new version has to boot and answer by SSH before the version counts.
  boot_test = true
}

build {
  sources = ["source.ovirt-clone.golden"]

  provisioner "shell" {
    inline = ["sudo apt-get update", "sudo apt-get -y upgrade"]
  }

  post-processor "shell-local" {
    inline = ["echo '${build.TemplateName} has version ${build.TemplateVersion} (${build.TemplateID})'"]
  }
}
