package driver

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
)

// Options are what the user chose at `create`.
type Options struct {
	// Engine is a profile of the daemon.
	Engine          string
	Template        string
	TemplateID      string
	TemplateVersion int
	FullClone       bool
	Cluster         string
	VMName          string
	Description     string
	CPUSockets      int
	CPUCores        int
	CPUThreads      int
	// Memory is in MiB.
	Memory int
	// DiskSize is in GiB.
	DiskSize     int
	VnicProfiles []string
	Hostname     string
	// UserDataFile is an absolute path.
	UserDataFile     string
	Interface        string
	StaticAddress    string
	Gateway          string
	DNSServers       []string
	DNSSearchDomains []string
	// SSHTimeout is in seconds.
	SSHTimeout int
}

// Names of flags. Hosts take a flag whose name contains `user-data` for the path of a file.
const (
	flagEngine          = "ovirt-engine"
	flagTemplate        = "ovirt-template"
	flagTemplateID      = "ovirt-template-id"
	flagTemplateVersion = "ovirt-template-version"
	flagFullClone       = "ovirt-full-clone"
	flagCluster         = "ovirt-cluster"
	flagVMName          = "ovirt-vm-name"
	flagDescription     = "ovirt-description"
	flagCPUSockets      = "ovirt-cpu-sockets"
	flagCPUCores        = "ovirt-cpu-cores"
	flagCPUThreads      = "ovirt-cpu-threads"
	flagMemory          = "ovirt-memory"
	flagDiskSize        = "ovirt-disk-size"
	flagVnicProfile     = "ovirt-vnic-profile"
	flagHostname        = "ovirt-hostname"
	flagUserData        = "ovirt-user-data"
	flagInterface       = "ovirt-interface"
	flagStaticAddress   = "ovirt-static-address"
	flagGateway         = "ovirt-gateway"
	flagDNSServer       = "ovirt-dns-server"
	flagDNSSearchDomain = "ovirt-dns-search-domain"
	flagSSHUser         = "ovirt-ssh-user"
	flagSSHPort         = "ovirt-ssh-port"
	flagSSHTimeout      = "ovirt-ssh-timeout"
	flagDockerPort      = "ovirt-docker-port"
)

// Defaults of flags. The user is none that an image with Docker may have as a group already.
const (
	defaultInterface  = "eth0"
	defaultSSHUser    = "machine"
	defaultSSHPort    = 22
	defaultSSHTimeout = 300
	defaultDockerPort = 2376
)

// GetCreateFlags are the flags of `create`. The engine and its password are not among them: they are the daemon's.
func (d *Driver) GetCreateFlags() []wire.Flag {
	return append([]wire.Flag{
		&wire.StringFlag{Name: flagEngine, EnvVar: "OVIRT_ENGINE", Usage: "engine profile of the ovirt-provision daemon " +
			"(default: the daemon's default, which is the engine of OVIRT_URL when the daemon is started from here)"},
		&wire.StringFlag{Name: flagTemplate, EnvVar: "OVIRT_TEMPLATE", Usage: "name of the template (this or the id is required)"},
		&wire.StringFlag{Name: flagTemplateID, EnvVar: "OVIRT_TEMPLATE_ID", Usage: "id of the template version"},
		&wire.IntFlag{Name: flagTemplateVersion, EnvVar: "OVIRT_TEMPLATE_VERSION", Usage: "version of the named template (0: the newest)"},
		&wire.BoolFlag{Name: flagFullClone, EnvVar: "OVIRT_FULL_CLONE", Usage: "copy the template's disks instead of layering thin disks on them"},
		&wire.StringFlag{Name: flagCluster, EnvVar: "OVIRT_CLUSTER", Usage: "name of the cluster (default: the template's)"},
		&wire.StringFlag{Name: flagVMName, EnvVar: "OVIRT_VM_NAME", Usage: "name of the VM in the engine (default: the host's)"},
		&wire.StringFlag{Name: flagDescription, EnvVar: "OVIRT_DESCRIPTION", Usage: "description of the VM in the engine"},
		&wire.IntFlag{Name: flagCPUSockets, EnvVar: "OVIRT_CPU_SOCKETS", Usage: "CPU sockets (0: as the template)"},
		&wire.IntFlag{Name: flagCPUCores, EnvVar: "OVIRT_CPU_CORES", Usage: "cores of each CPU socket (0: as the template)"},
		&wire.IntFlag{Name: flagCPUThreads, EnvVar: "OVIRT_CPU_THREADS", Usage: "threads of each CPU core (0: as the template)"},
		&wire.IntFlag{Name: flagMemory, EnvVar: "OVIRT_MEMORY", Usage: "memory in MiB (0: as the template)"},
		&wire.IntFlag{Name: flagDiskSize, EnvVar: "OVIRT_DISK_SIZE", Usage: "size of the boot disk in GiB, at least the template's (0: as the template)"},
		&wire.StringSliceFlag{Name: flagVnicProfile, EnvVar: "OVIRT_VNIC_PROFILE", Usage: "vNIC profile, or network/profile, of nic1, nic2 and so on; " +
			"may be repeated (default: the template's)"},
		&wire.StringFlag{Name: flagHostname, EnvVar: "OVIRT_HOSTNAME", Usage: "host name of the guest at first boot (default: the host's name)"},
		&wire.StringFlag{Name: flagUserData, EnvVar: "OVIRT_USER_DATA", Usage: "file with more cloud-config for the first boot"},
		&wire.StringFlag{Name: flagInterface, EnvVar: "OVIRT_INTERFACE", Value: defaultInterface, Usage: "network interface of the guest to configure, by DHCP or with the static address"},
		&wire.StringFlag{Name: flagStaticAddress, EnvVar: "OVIRT_STATIC_ADDRESS", Usage: "IPv4 address with prefix length, such as 10.11.0.5/24"},
		&wire.StringFlag{Name: flagGateway, EnvVar: "OVIRT_GATEWAY", Usage: "default gateway, with a static address"},
		&wire.StringSliceFlag{Name: flagDNSServer, EnvVar: "OVIRT_DNS_SERVER", Usage: "address of a DNS server; may be repeated"},
		&wire.StringSliceFlag{Name: flagDNSSearchDomain, EnvVar: "OVIRT_DNS_SEARCH_DOMAIN", Usage: "domain in which names are searched; may be repeated"},
		&wire.StringFlag{Name: flagSSHUser, EnvVar: "OVIRT_SSH_USER", Value: defaultSSHUser, Usage: "account that the first boot makes, with sudo"},
		&wire.IntFlag{Name: flagSSHPort, EnvVar: "OVIRT_SSH_PORT", Value: defaultSSHPort, Usage: "port of the guest's SSH server"},
		&wire.IntFlag{Name: flagSSHTimeout, EnvVar: "OVIRT_SSH_TIMEOUT", Value: defaultSSHTimeout, Usage: "seconds until a login over SSH succeeds and the first boot has ended, or the VM is removed again (0: do not wait)"},
		&wire.IntFlag{Name: flagDockerPort, EnvVar: "OVIRT_DOCKER_PORT", Value: defaultDockerPort, Usage: "port of the Docker daemon"},
	}, credentialFlags()...)
}

// SetConfigFromFlags takes what the user chose, and fixes the key of the Machine.
func (d *Driver) SetConfigFromFlags(given wire.Options) error {
	if err := checkCredential(given); err != nil {
		return err
	}
	d.Options = Options{
		Engine:           given.String(flagEngine),
		Template:         given.String(flagTemplate),
		TemplateID:       given.String(flagTemplateID),
		TemplateVersion:  given.Int(flagTemplateVersion),
		FullClone:        given.Bool(flagFullClone),
		Cluster:          given.String(flagCluster),
		VMName:           given.String(flagVMName),
		Description:      given.String(flagDescription),
		CPUSockets:       given.Int(flagCPUSockets),
		CPUCores:         given.Int(flagCPUCores),
		CPUThreads:       given.Int(flagCPUThreads),
		Memory:           given.Int(flagMemory),
		DiskSize:         given.Int(flagDiskSize),
		VnicProfiles:     given.StringSlice(flagVnicProfile),
		Hostname:         given.String(flagHostname),
		Interface:        given.String(flagInterface),
		StaticAddress:    given.String(flagStaticAddress),
		Gateway:          given.String(flagGateway),
		DNSServers:       given.StringSlice(flagDNSServer),
		DNSSearchDomains: given.StringSlice(flagDNSSearchDomain),
		SSHTimeout:       given.Int(flagSSHTimeout),
	}
	d.SSHUser = given.String(flagSSHUser)
	d.SSHPort = given.Int(flagSSHPort)
	d.DockerPort = given.Int(flagDockerPort)
	if d.MachineName == "" {
		return errors.New("the host has no name")
	}
	if file := given.String(flagUserData); file != "" {
		absolute, err := filepath.Abs(file)
		if err != nil {
			return fmt.Errorf("--%s: %w", flagUserData, err)
		}
		d.Options.UserDataFile = absolute
	}
	d.SSHKeyPath = d.inStore("id_ed25519")
	if d.Key == "" {
		d.Key = fmt.Sprintf("docker-machine-%s-%s", d.MachineName, d.newID())
	}
	return nil
}
