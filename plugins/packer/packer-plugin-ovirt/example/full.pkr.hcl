packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "registry_password" {
  type      = string
  sensitive = true
  default   = ""
}

source "ovirt-clone" "database" {
  source_template_name    = "debian-12"
  source_template_version = "latest"
  full_clone              = true
  cluster                 = "Default"
  storage_domain          = "data"

  vm_name        = "packer-database-{{timestamp}}"
  vm_description = "Built by Packer, and gone soon"

  # What is not given is as in the source template.
  cpu_sockets       = 2
  cpu_cores         = 2
  memory            = 4096
  guaranteed_memory = 2048
  bios_type         = "q35_ovmf"
  tpm               = true

  placement_hosts    = ["host1", "host2"]
  placement_affinity = "migratable"
  affinity_labels    = ["fast-storage"]

  boot_disk {
    size = 20
  }
  disk {
    name              = "database"
    size              = 100
    format            = "raw"
    sparse            = false
    wipe_after_delete = true
  }
  disk {
    name               = "backup"
    size               = 50
    interface          = "virtio"
    incremental_backup = true
  }

  network_interface {
    name    = "nic1"
    network = "ovirtmgmt"
  }
  network_interface {
    name         = "nic2"
    vnic_profile = "storage/jumbo"
    interface    = "virtio"
  }

  host_name = "packer-database"
  time_zone = "Europe/Berlin"
  nic_configuration {
    name           = "eth0"
    static_address = "10.11.0.5/24"
    gateway        = "10.11.0.1"
  }
  nic_configuration {
    name               = "eth1"
    boot_protocol      = "none"
    ipv6_boot_protocol = "dhcp"
  }
  dns_servers        = ["10.11.0.2"]
  dns_search_domains = ["example.com"]

  # Merged with the network, the account and the key of the build.
  user_data = <<-END
    #cloud-config
    package_update: true
    runcmd:
      - curl -o /root/motd http://{{ .HTTPIP }}:{{ .HTTPPort }}/motd
  END
  http_content = {
    "/motd" = "Built by Packer\n"
  }
  http_port_min = 8300
  http_port_max = 8310

  # In the guest below /run/media/packer, for the build alone.
  cd_label = "packer"
  cd_content = {
    "registry.json" = jsonencode({ password = var.registry_password })
  }

  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_timeout          = "10m"
  ip_wait_timeout      = "15m"
  ip_wait_address      = "10.11.0.0/24"
  ip_ignored_addresses = ["172.17.0.0/16"]
  shutdown_command     = "sudo shutdown -h now"
  shutdown_timeout     = "5m"

  template_name        = "database-{{timestamp}}"
  template_description = "PostgreSQL on Debian 12"
  template_tags        = ["approved"]
  template_permission {
    role  = "UserTemplateBasedVm"
    group = "Everyone"
  }
  template_permission {
    role = "TemplateAdmin"
    user = "jane@internal"
  }
}

build {
  sources = ["source.ovirt-clone.database"]

  provisioner "shell" {
    environment_vars = ["BUILT_ON=${build.VMName} ${build.VMID} ${build.VMAddress}"]
    inline = [
      "sudo apt-get install -y postgresql",
      "echo \"$BUILT_ON\" | sudo tee /etc/packer-build",
    ]
  }

  post-processor "manifest" {
    output = "manifest.json"
    custom_data = {
      source_template_id = build.SourceTemplateID
      template_id        = build.TemplateID
    }
  }
}
