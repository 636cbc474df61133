package driver

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
)

//go:generate go run ./document

// Options are what the user chose at `create`, as far as the driver needs it later; see the flags for what each is.
type Options struct {
	// Engine is a profile of the daemon.
	Engine string
	// Adopt is the id of a VM that is there already.
	Adopt      string
	Template   string
	TemplateID string
	// Version of the named template: a number, or latest.
	Version        string
	FullClone      bool
	Cluster        string
	StorageDomain  string
	InstanceType   string
	AffinityGroups []string
	Hosts          []string
	Tags           []string
	VMName         string
	Description    string
	CPUSockets     int
	CPUCores       int
	CPUThreads     int
	// Memory and MemoryGuaranteed are in MiB.
	Memory           int
	MemoryGuaranteed int
	// DiskSize is in GiB.
	DiskSize   int
	ExtraDisks []string
	Networks   []string
	Interfaces []string
	// NetworkDataFile and the other files are absolute paths.
	NetworkDataFile  string
	DNSServers       []string
	DNSSearchDomains []string
	AddressFamily    string
	AddressCIDRs     []string
	Hostname         string
	UserDataFile     string
	SSHKeyFile       string
	SSHKeyType       string
	AuthorizedKeys   []string
	// SSHTimeout and StopTimeout are in seconds.
	SSHTimeout    int
	StopTimeout   int
	StopPowerOff  bool
	Timeouts      []string
	LeaseTTL      string
	KeepOnFailure bool
}

// Names of flags. Hosts take the first flag whose name contains `user-data` for the path of a file, and one that ends in
// `-os` for an operating system.
const (
	flagEngine           = "ovirt-engine"
	flagTemplate         = "ovirt-template"
	flagTemplateID       = "ovirt-template-id"
	flagTemplateVersion  = "ovirt-template-version"
	flagAdopt            = "ovirt-adopt"
	flagFullClone        = "ovirt-full-clone"
	flagCluster          = "ovirt-cluster"
	flagStorageDomain    = "ovirt-storage-domain"
	flagHost             = "ovirt-host"
	flagAffinityGroup    = "ovirt-affinity-group"
	flagTag              = "ovirt-tag"
	flagVMName           = "ovirt-vm-name"
	flagDescription      = "ovirt-description"
	flagInstanceType     = "ovirt-instance-type"
	flagCPUSockets       = "ovirt-cpu-sockets"
	flagCPUCores         = "ovirt-cpu-cores"
	flagCPUThreads       = "ovirt-cpu-threads"
	flagMemory           = "ovirt-memory"
	flagMemoryGuaranteed = "ovirt-memory-guaranteed"
	flagDiskSize         = "ovirt-disk-size"
	flagExtraDisk        = "ovirt-extra-disk"
	flagNetwork          = "ovirt-network"
	flagInterface        = "ovirt-interface"
	flagDNSServer        = "ovirt-dns-server"
	flagDNSSearchDomain  = "ovirt-dns-search-domain"
	flagNetworkData      = "ovirt-network-data"
	flagAddressFamily    = "ovirt-address-family"
	flagAddressCIDR      = "ovirt-address-cidr"
	flagHostname         = "ovirt-hostname"
	flagUserData         = "ovirt-user-data"
	flagSSHUser          = "ovirt-ssh-user"
	flagSSHPort          = "ovirt-ssh-port"
	flagSSHKey           = "ovirt-ssh-key"
	flagSSHKeyType       = "ovirt-ssh-key-type"
	flagAuthorizedKey    = "ovirt-ssh-authorized-key"
	flagSSHTimeout       = "ovirt-ssh-timeout"
	flagDockerPort       = "ovirt-docker-port"
	flagStopTimeout      = "ovirt-stop-timeout"
	flagStopPowerOff     = "ovirt-stop-power-off"
	flagLeaseTTL         = "ovirt-lease-ttl"
	flagTimeout          = "ovirt-timeout"
	flagKeepOnFailure    = "ovirt-keep-on-failure"
)

// Defaults of flags. The user is none that an image with Docker may have as a group already.
const (
	latest            = "latest"
	defaultSSHUser    = "machine"
	defaultSSHPort    = 22
	defaultSSHTimeout = 300
	defaultDockerPort = 2376
)

// section is a part of the flags, by what they are about.
type section struct {
	title string
	// making is true for what shapes a VM that is made, and has no meaning for one that is adopted.
	making bool
	flags  []flag
}

// flag is a flag of `create`; its variable follows from its name. value is its default, and says its type: of a nil list
// the flag may be repeated.
type flag struct {
	name  string
	value any
	usage string
}

var repeated []string

// sections are all flags. The engine and its password are not among them: they are the daemon's.
var sections = []section{
	{"The engine and what to make the VM from", false, []flag{
		{flagEngine, "", "engine profile of the ovirt-provision daemon (default: the daemon's default, which is the engine of " +
			"OVIRT_URL when the daemon is started from here)"},
		{flagAdopt, "", "id of a VM that is there already, instead of a template: it is started and stopped, never changed, and `rm` " +
			"only forgets it; takes --" + flagSSHKey},
	}},
	{"The template", true, []flag{
		{flagTemplate, "", "name of the template (this, its id or a VM to adopt is required)"},
		{flagTemplateVersion, latest, "version of the named template: a number, or `latest` for the newest that is ready"},
		{flagTemplateID, "", "id of the template version, instead of a name"},
		{flagFullClone, false, "copy the template's disks, so that the VM does not depend on it, instead of layering thin disks on them"},
	}},
	{"Where the VM is", true, []flag{
		{flagCluster, "", "name of the cluster (default: the template's)"},
		{flagStorageDomain, "", "name of the storage domain of its disks; with thin disks one that the template is on (default: the template's)"},
		{flagHost, repeated, "name of a host that it may run on; may be repeated (default: as the template)"},
		{flagAffinityGroup, repeated, "name of an affinity group of the cluster that it joins; may be repeated"},
		{flagTag, repeated, "name of a tag that it gets, which the engine has to have; may be repeated"},
		{flagVMName, "", "name of the VM in the engine (default: the host's)"},
		{flagDescription, "", "description of the VM in the engine"},
	}},
	{"Size", true, []flag{
		{flagInstanceType, "", "name of an instance type, which CPUs and memory given here override"},
		{flagCPUSockets, 0, "CPU sockets (0: as the template)"},
		{flagCPUCores, 0, "cores of each CPU socket (0: as the template)"},
		{flagCPUThreads, 0, "threads of each CPU core (0: as the template)"},
		{flagMemory, 0, "memory in MiB (0: as the template)"},
		{flagMemoryGuaranteed, 0, "memory in MiB that the host keeps for the VM alone (0: as the template)"},
		{flagDiskSize, 0, "size of the boot disk in GiB; it only grows (0: as the template)"},
		{flagExtraDisk, repeated, "blank disk besides, as SIZE[:STORAGE-DOMAIN] with the size in GiB, such as 100:fast; may be repeated"},
	}},
	{"Network", true, []flag{
		{flagNetwork, repeated, "vNIC profile of nic1, nic2 and so on, as PROFILE[:ADDRESS/PREFIX[:GATEWAY]], such as " +
			"ovirtmgmt:10.11.0.5/24:10.11.0.1; PROFILE may be network/profile, or empty for the template's; without an address by DHCP; " +
			"IPv6 in brackets; FIRST-LAST/PREFIX is the first free address of a range; may be repeated (default: the template's NICs)"},
		{flagInterface, repeated, "the guest's name of the interface of each network, in their order; may be repeated (default: eth0, eth1 and so on)"},
		{flagDNSServer, repeated, "address of a DNS server; may be repeated"},
		{flagDNSSearchDomain, repeated, "domain in which names are searched; may be repeated"},
		{flagNetworkData, "", "file with a network configuration of cloud-init, version 2, instead of addresses in --" + flagNetwork + ", interfaces and DNS"},
	}},
	{"The address of the host", false, []flag{
		{flagAddressFamily, "", "ipv4 or ipv6: which addresses of the guest count (default: IPv4, or else IPv6)"},
		{flagAddressCIDR, repeated, "network that an address of the guest must be in to count, such as 10.11.0.0/16; may be repeated (default: any)"},
	}},
	{"First boot", true, []flag{
		{flagUserData, "", "file with more cloud-config, or a #! script, for the first boot; it is read at the create and not kept"},
		{flagHostname, "", "host name of the guest (default: the host's name)"},
		{flagSSHKeyType, "", "type of the key that is generated for the host: ed25519 or ecdsa (default: ed25519)"},
		{flagAuthorizedKey, repeated, "another public key, in OpenSSH format, that may log in; may be repeated"},
	}},
	{"SSH and Docker", false, []flag{
		{flagSSHUser, defaultSSHUser, "account that the first boot makes, with sudo, or that an adopted VM has"},
		{flagSSHPort, defaultSSHPort, "port of the guest's SSH server"},
		{flagSSHKey, "", "file of an existing private key without passphrase, which is copied into the host's folder (default: one is generated)"},
		{flagSSHTimeout, defaultSSHTimeout, "seconds until a login over SSH succeeds and the first boot has ended, or the VM is removed again (0: do not wait)"},
		{flagDockerPort, defaultDockerPort, "port of the Docker daemon"},
	}},
	{"Life and end", false, []flag{
		{flagStopTimeout, 0, "seconds that `stop` gives the guest to shut down (0: as the daemon's time-out `shutdown`)"},
		{flagStopPowerOff, false, "have `stop` power the VM off when the guest does not obey; otherwise it fails, and `kill` powers off"},
		{flagLeaseTTL, "", "how long the VM lives whatever becomes of this computer, such as 90m, 12h or 7d, counted from the end of the create " +
			"(default: until `rm`)"},
		{flagTimeout, repeated, "a time-out of the daemon for this host, as NAME=TIME, such as address=15m; may be repeated"},
		{flagKeepOnFailure, false, "keep the VM when the create fails, to look at it; `rm` removes it (an interrupted create is always undone)"},
	}},
	credential,
}

func (f flag) variable() string {
	return strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))
}

func (f flag) asSent() wire.Flag {
	switch value := f.value.(type) {
	case string:
		return &wire.StringFlag{Name: f.name, EnvVar: f.variable(), Usage: f.usage, Value: value}
	case int:
		return &wire.IntFlag{Name: f.name, EnvVar: f.variable(), Usage: f.usage, Value: value}
	case bool:
		return &wire.BoolFlag{Name: f.name, EnvVar: f.variable(), Usage: f.usage}
	default:
		return &wire.StringSliceFlag{Name: f.name, EnvVar: f.variable(), Usage: f.usage}
	}
}

// given says whether the user gave a flag another value than its default.
func (f flag) given(options wire.Options) bool {
	switch value := f.value.(type) {
	case string:
		chosen := options.String(f.name)
		return chosen != "" && chosen != value
	case int:
		return options.Int(f.name) != value
	case bool:
		return options.Bool(f.name)
	default:
		return len(options.StringSlice(f.name)) > 0
	}
}

// GetCreateFlags are the flags of `create`.
func (d *Driver) GetCreateFlags() []wire.Flag {
	var sent []wire.Flag
	for _, part := range sections {
		for _, one := range part.flags {
			sent = append(sent, one.asSent())
		}
	}
	return sent
}

// SetConfigFromFlags takes what the user chose, and fixes the key of the Machine.
func (d *Driver) SetConfigFromFlags(given wire.Options) error {
	if err := checkCredential(given); err != nil {
		return err
	}
	d.Options = Options{
		Engine:           given.String(flagEngine),
		Adopt:            given.String(flagAdopt),
		Template:         given.String(flagTemplate),
		TemplateID:       given.String(flagTemplateID),
		Version:          given.String(flagTemplateVersion),
		FullClone:        given.Bool(flagFullClone),
		Cluster:          given.String(flagCluster),
		StorageDomain:    given.String(flagStorageDomain),
		InstanceType:     given.String(flagInstanceType),
		AffinityGroups:   given.StringSlice(flagAffinityGroup),
		Hosts:            given.StringSlice(flagHost),
		Tags:             given.StringSlice(flagTag),
		VMName:           given.String(flagVMName),
		Description:      given.String(flagDescription),
		CPUSockets:       given.Int(flagCPUSockets),
		CPUCores:         given.Int(flagCPUCores),
		CPUThreads:       given.Int(flagCPUThreads),
		Memory:           given.Int(flagMemory),
		MemoryGuaranteed: given.Int(flagMemoryGuaranteed),
		DiskSize:         given.Int(flagDiskSize),
		ExtraDisks:       given.StringSlice(flagExtraDisk),
		Networks:         given.StringSlice(flagNetwork),
		Interfaces:       given.StringSlice(flagInterface),
		DNSServers:       given.StringSlice(flagDNSServer),
		DNSSearchDomains: given.StringSlice(flagDNSSearchDomain),
		AddressFamily:    given.String(flagAddressFamily),
		AddressCIDRs:     given.StringSlice(flagAddressCIDR),
		Hostname:         given.String(flagHostname),
		SSHKeyType:       given.String(flagSSHKeyType),
		AuthorizedKeys:   given.StringSlice(flagAuthorizedKey),
		SSHTimeout:       given.Int(flagSSHTimeout),
		StopTimeout:      given.Int(flagStopTimeout),
		StopPowerOff:     given.Bool(flagStopPowerOff),
		Timeouts:         given.StringSlice(flagTimeout),
		LeaseTTL:         given.String(flagLeaseTTL),
		KeepOnFailure:    given.Bool(flagKeepOnFailure),
	}
	d.SSHUser = given.String(flagSSHUser)
	d.SSHPort = given.Int(flagSSHPort)
	d.DockerPort = given.Int(flagDockerPort)
	if d.MachineName == "" {
		return errors.New("the host has no name")
	}
	for name, file := range map[string]*string{
		flagUserData:    &d.Options.UserDataFile,
		flagNetworkData: &d.Options.NetworkDataFile,
		flagSSHKey:      &d.Options.SSHKeyFile,
	} {
		if chosen := given.String(name); chosen != "" {
			absolute, err := filepath.Abs(chosen)
			if err != nil {
				return fmt.Errorf("--%s: %w", name, err)
			}
			*file = absolute
		}
	}
	d.making = nil
	for _, part := range sections {
		for _, one := range part.flags {
			if part.making && one.given(given) {
				d.making = append(d.making, one.name)
			}
		}
	}
	d.SSHKeyPath = d.inStore(d.keyFile())
	if d.Key == "" {
		d.Key = fmt.Sprintf("docker-machine-%s-%s", d.MachineName, d.newID())
	}
	return nil
}

// FlagTables are the flags for the documentation, as a table in Markdown for each section.
func FlagTables() string {
	var text strings.Builder
	for _, part := range sections {
		fmt.Fprintf(&text, "### %s\n\n| flag | default | what it is |\n| --- | --- | --- |\n", part.title)
		for _, one := range part.flags {
			shown := ""
			if one.value != "" && one.value != 0 && one.value != false && one.value != nil {
				if _, many := one.value.([]string); !many {
					shown = fmt.Sprintf("`%v`", one.value)
				}
			}
			usage := strings.ReplaceAll(strings.ToUpper(one.usage[:1])+one.usage[1:], "|", `\|`)
			fmt.Fprintf(&text, "| `--%s` | %s | %s. |\n", one.name, shown, usage)
		}
		text.WriteString("\n")
	}
	return text.String()
}
