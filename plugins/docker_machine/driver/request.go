package driver

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// origins say which flag a field of CreateMachineRequest comes from.
var origins = options.Origins{
	{Field: "engine.profile", Option: "--" + flagEngine},
	{Field: "spec.template.id", Option: "--" + flagTemplateID},
	{Field: "spec.template.version", Option: "--" + flagTemplateVersion},
	{Field: "spec.template", Option: "--" + flagTemplate},
	{Field: "spec.name", Option: "--" + flagVMName},
	{Field: "spec.description", Option: "--" + flagDescription},
	{Field: "spec.cluster", Option: "--" + flagCluster},
	{Field: "spec.cpu.sockets", Option: "--" + flagCPUSockets},
	{Field: "spec.cpu.cores", Option: "--" + flagCPUCores},
	{Field: "spec.cpu.threads", Option: "--" + flagCPUThreads},
	{Field: "spec.memory_bytes", Option: "--" + flagMemory},
	{Field: "spec.boot_disk", Option: "--" + flagDiskSize},
	{Field: "spec.nics[].vnic_profile", Option: "--" + flagVnicProfile},
	{Field: "spec.nics", Option: "--" + flagVnicProfile},
	{Field: "start_with.user_name", Option: "--" + flagSSHUser},
	{Field: "start_with.host_name", Option: "--" + flagHostname},
	{Field: "start_with.nic_configurations[0].name", Option: "--" + flagInterface},
	{Field: "start_with.nic_configurations[0].gateway", Option: "--" + flagGateway},
	{Field: "start_with.nic_configurations[0]", Option: "--" + flagStaticAddress},
	{Field: "start_with.user_data", Option: "--" + flagUserData},
	{Field: "start_with.dns_servers", Option: "--" + flagDNSServer},
	{Field: "start_with.dns_search_domains", Option: "--" + flagDNSSearchDomain},
}

// createMachine is the request that the options make. publicKey, in OpenSSH format, may be empty for a check. The error
// is that of the file with user data.
func (d *Driver) createMachine(engine *pb.EngineRef, requestID, publicKey string) (*pb.CreateMachineRequest, error) {
	chosen := &d.Options
	template := &pb.TemplateRef{Version: options.ToInt32(chosen.TemplateVersion)}
	if chosen.TemplateID != "" {
		template.By = &pb.TemplateRef_Id{Id: chosen.TemplateID}
	} else {
		template.By = &pb.TemplateRef_Name{Name: chosen.Template}
	}
	spec := &pb.MachineSpec{
		Template:    template,
		Name:        chosen.VMName,
		Cluster:     chosen.Cluster,
		Clone:       chosen.FullClone,
		MemoryBytes: int64(chosen.Memory) * mebibyte,
		Description: chosen.Description,
	}
	if spec.Name == "" {
		spec.Name = d.MachineName
	}
	if chosen.CPUSockets != 0 || chosen.CPUCores != 0 || chosen.CPUThreads != 0 {
		spec.Cpu = &pb.Cpu{
			Sockets: options.ToInt32(chosen.CPUSockets),
			Cores:   options.ToInt32(chosen.CPUCores),
			Threads: options.ToInt32(chosen.CPUThreads),
		}
	}
	if chosen.DiskSize != 0 {
		spec.BootDisk = &pb.DiskSpec{SizeBytes: int64(chosen.DiskSize) * gibibyte}
	}
	for i, profile := range chosen.VnicProfiles {
		spec.Nics = append(spec.Nics, &pb.Nic{Name: fmt.Sprintf("nic%d", i+1), VnicProfile: profile})
	}
	initialization, err := d.initialization(publicKey)
	return &pb.CreateMachineRequest{
		Engine: engine, RequestId: requestID, Key: d.Key, Spec: spec, StartWith: initialization,
	}, err
}

// nameOfHost is a host name without domain, as the schema has it.
var nameOfHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func (d *Driver) initialization(publicKey string) (*pb.Initialization, error) {
	chosen := &d.Options
	nic := &pb.NicConfiguration{
		Name:          chosen.Interface,
		BootProtocol:  pb.NicConfiguration_BOOT_PROTOCOL_DHCP,
		StaticAddress: chosen.StaticAddress,
		Gateway:       chosen.Gateway,
	}
	if nic.StaticAddress != "" {
		nic.BootProtocol = pb.NicConfiguration_BOOT_PROTOCOL_STATIC
	}
	initialization := &pb.Initialization{
		UserName:          d.SSHUser,
		HostName:          chosen.Hostname,
		NicConfigurations: []*pb.NicConfiguration{nic},
		DnsServers:        chosen.DNSServers,
		DnsSearchDomains:  chosen.DNSSearchDomains,
	}
	// Another name of the host is set by the provisioner of docker-machine, over SSH.
	if initialization.HostName == "" && nameOfHost.MatchString(d.MachineName) {
		initialization.HostName = d.MachineName
	}
	if publicKey != "" {
		initialization.AuthorizedSshKeys = []string{publicKey}
	}
	var err error
	initialization.UserData, err = userData(chosen.UserDataFile)
	return initialization, err
}

// userData reads more cloud-config from a file; none, where there is no file.
func userData(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", &options.Problem{Option: "--" + flagUserData, Text: fmt.Sprintf("the file cannot be read: %s", err)}
	}
	first, rest, _ := strings.Cut(string(content), "\n")
	if strings.TrimSpace(first) != "#cloud-config" {
		return "", &options.Problem{Option: "--" + flagUserData, Text: fmt.Sprintf(
			"%s begins with '%.40s', but must be cloud-config, whose first line is '#cloud-config'", file, first)}
	}
	return rest, nil
}
