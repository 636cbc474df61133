packer {
  required_plugins {
    ovirt = {
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }
  }
}

variable "administrator_password" {
  type      = string
  sensitive = true
  default   = ""
}

# The source template is generalized, and its answer file lets WinRM in: see the documentation of Windows images for Packer.
source "ovirt-clone" "windows" {
  source_template_name = "windows-2022"
  cpu_cores            = 4
  memory               = 8192

  host_name = "packer-windows"
  time_zone = "W. Europe Standard Time"
  sysprep {
    admin_password = var.administrator_password
    organization   = "Example"
    input_locale   = "de-DE"
    ui_language    = "en-US"
    system_locale  = "de-DE"
    user_locale    = "de-DE"
  }

  communicator   = "winrm"
  winrm_username = "Administrator"
  winrm_password = var.administrator_password
  winrm_use_ssl  = true
  winrm_insecure = true
  winrm_timeout  = "30m"

  # Generalizes the guest, which then shuts itself down.
  shutdown_command = "C:\\Windows\\System32\\Sysprep\\sysprep.exe /generalize /oobe /shutdown /quiet"
  shutdown_timeout = "30m"

  template_name = "windows-2022-iis-{{timestamp}}"
}

build {
  sources = ["source.ovirt-clone.windows"]

  provisioner "powershell" {
    inline = ["Install-WindowsFeature -Name Web-Server"]
  }
}
