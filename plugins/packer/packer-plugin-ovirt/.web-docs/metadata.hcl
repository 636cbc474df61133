# For full specification on the configuration of this file visit:
# https://github.com/hashicorp/integration-template#metadata-configuration
integration {
  name        = "oVirt"
  description = "Builds templates and disks on oVirt, Oracle Linux Virtualization Manager and Red Hat Virtualization."
  identifier  = "packer/ovirt-provision/ovirt"
  flags       = ["hcp-ready"]
  docs {
    process_docs    = true
    readme_location = "./README.md"
    external_url    = "https://github.com/ovirt-provision/ovirt-provision"
  }
  license {
    type = "Apache-2.0"
    url  = "https://github.com/ovirt-provision/ovirt-provision/blob/main/LICENSE"
  }
  component {
    type = "builder"
    name = "oVirt clone"
    slug = "clone"
  }
  component {
    type = "builder"
    name = "oVirt image"
    slug = "image"
  }
  component {
    type = "builder"
    name = "oVirt ISO"
    slug = "iso"
  }
  component {
    type = "post-processor"
    name = "oVirt import"
    slug = "import"
  }
  component {
    type = "post-processor"
    name = "oVirt export"
    slug = "export"
  }
  component {
    type = "data-source"
    name = "oVirt template"
    slug = "template"
  }
  component {
    type = "data-source"
    name = "oVirt disk"
    slug = "disk"
  }
  component {
    type = "data-source"
    name = "oVirt network"
    slug = "network"
  }
}
