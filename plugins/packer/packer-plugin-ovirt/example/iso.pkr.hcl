packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "password" {
  type      = string
  sensitive = true
  default   = "changed-by-you"
}

# An ISO image that the engine has; iso_url and iso_checksum have one imported.
source "ovirt-iso" "debian" {
  iso_name         = "debian-12.11.0-amd64-netinst.iso"
  cluster          = "Default"
  storage_domain   = "data"
  operating_system = "debian_9"
  cpu_cores        = 2
  memory           = 2048

  disk {
    size   = 10
    format = "raw"
    sparse = true
  }

  network_interface {
    name         = "nic1"
    vnic_profile = "ovirtmgmt"
  }

  # Installs qemu-guest-agent, too, so that the engine learns the address.
  http_content = {
    "/preseed.cfg" = <<-EOF
      d-i passwd/root-login boolean true
      d-i passwd/root-password password ${var.password}
      d-i passwd/root-password-again password ${var.password}
      d-i pkgsel/include string openssh-server qemu-guest-agent
      d-i preseed/late_command string in-target sed -i '$aPermitRootLogin yes' /etc/ssh/sshd_config
    EOF
  }
  boot_wait    = "5s"
  boot_command = ["<esc><wait>auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg hostname={{ .Name }}<enter>"]

  ip_wait_timeout = "1h"
  ssh_username    = "root"
  ssh_password    = var.password

  template_name = "debian-12-{{timestamp}}"
  sparsify      = true
}

# The engine gives the setup a volume with Autounattend.xml. Windows takes names of at most 15 characters.
source "ovirt-iso" "windows" {
  iso_name         = "windows-server-2022.iso"
  cluster          = "Default"
  storage_domain   = "data"
  operating_system = "windows_2022"
  bios_type        = "q35_sea_bios"
  cpu_cores        = 4
  memory           = 8192

  disk {
    size      = 60
    interface = "sata"
  }

  network_interface {
    name         = "nic1"
    vnic_profile = "ovirtmgmt"
    interface    = "e1000e"
  }

  floppy_content = {
    "Autounattend.xml" = "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"/>"
  }
  boot_wait    = "3s"
  boot_command = ["<spacebar>"]

  communicator     = "winrm"
  ip_wait_timeout  = "2h"
  winrm_username   = "Administrator"
  winrm_password   = var.password
  shutdown_command = "C:\\Windows\\System32\\Sysprep\\sysprep.exe /generalize /oobe /shutdown /quiet"
  shutdown_timeout = "30m"

  template_name = "windows-2022-{{timestamp}}"
}

build {
  sources = ["source.ovirt-iso.debian", "source.ovirt-iso.windows"]
}
