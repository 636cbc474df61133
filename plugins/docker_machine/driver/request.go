package driver

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// origins say which flag a field of a request comes from.
var origins = options.Origins{
	{Field: "engine.profile", Option: "--" + flagEngine},
	{Field: "vm_id", Option: "--" + flagAdopt},
	{Field: "spec.template.id", Option: "--" + flagTemplateID},
	{Field: "spec.template.version", Option: "--" + flagTemplateVersion},
	{Field: "spec.template", Option: "--" + flagTemplate},
	{Field: "spec.name", Option: "--" + flagVMName},
	{Field: "spec.description", Option: "--" + flagDescription},
	{Field: "spec.clone", Option: "--" + flagFullClone},
	{Field: "spec.cluster", Option: "--" + flagCluster},
	{Field: "spec.storage_domain", Option: "--" + flagStorageDomain},
	{Field: "spec.instance_type", Option: "--" + flagInstanceType},
	{Field: "spec.affinity_groups", Option: "--" + flagAffinityGroup},
	{Field: "spec.placement.hosts", Option: "--" + flagHost},
	{Field: "spec.tags", Option: "--" + flagTag},
	{Field: "spec.cpu.sockets", Option: "--" + flagCPUSockets},
	{Field: "spec.cpu.cores", Option: "--" + flagCPUCores},
	{Field: "spec.cpu.threads", Option: "--" + flagCPUThreads},
	{Field: "spec.memory_bytes", Option: "--" + flagMemory},
	{Field: "spec.guaranteed_memory_bytes", Option: "--" + flagMemoryGuaranteed},
	{Field: "spec.boot_disk", Option: "--" + flagDiskSize},
	{Field: "spec.new_disks[].size_bytes", Option: "--" + flagExtraDisk + "[]"},
	{Field: "spec.new_disks[].storage_domain", Option: "--" + flagExtraDisk + "[]"},
	{Field: "spec.new_disks", Option: "--" + flagExtraDisk},
	{Field: "spec.nics[].vnic_profile", Option: "--" + flagNetwork},
	{Field: "spec.nics", Option: "--" + flagNetwork},
	{Field: "start_with.user_name", Option: "--" + flagSSHUser},
	{Field: "start_with.authorized_ssh_keys", Option: "--" + flagAuthorizedKey},
	{Field: "start_with.host_name", Option: "--" + flagHostname},
	{Field: "start_with.nic_configurations[].name", Option: "--" + flagInterface},
	{Field: "start_with.nic_configurations", Option: "--" + flagNetwork},
	{Field: "start_with.user_data", Option: "--" + flagUserData},
	{Field: "start_with.dns_servers", Option: "--" + flagDNSServer},
	{Field: "start_with.dns_search_domains", Option: "--" + flagDNSSearchDomain},
	{Field: "address_selection.cidrs", Option: "--" + flagAddressCIDR},
	{Field: "address_selection", Option: "--" + flagAddressFamily},
	{Field: "timeouts", Option: "--" + flagTimeout},
	{Field: "ttl", Option: "--" + flagLeaseTTL},
}

// createMachine is the request that the flags make, and what is wrong with them as far as it takes no schema to tell.
// publicKey, in OpenSSH format, may be empty for a check.
func (d *Driver) createMachine(engine *pb.EngineRef, requestID, publicKey string) (*pb.CreateMachineRequest, []error) {
	spec, problems := d.spec()
	nics, configurations, wrong := d.networks()
	spec.Nics, problems = nics, append(problems, wrong...)
	initialization, wrong := d.initialization(publicKey, configurations)
	problems = append(problems, wrong...)
	selection, wrong := d.addressSelection()
	problems = append(problems, wrong...)
	timeouts, wrong := d.timeouts()
	request := &pb.CreateMachineRequest{
		Engine: engine, RequestId: requestID, Key: d.Key, Spec: spec, StartWith: initialization,
		AddressSelection: selection, Timeouts: timeouts,
	}
	if d.Options.KeepOnFailure {
		request.OnFailure = pb.OnFailure_ON_FAILURE_KEEP
	}
	return request, append(problems, wrong...)
}

// adoptMachine is the request for a VM that is there already.
func (d *Driver) adoptMachine(engine *pb.EngineRef) (*pb.AdoptMachineRequest, []error) {
	selection, problems := d.addressSelection()
	return &pb.AdoptMachineRequest{
		Engine: engine, Key: d.Key, VmId: d.Options.Adopt, AddressSelection: selection,
	}, problems
}

func (d *Driver) spec() (*pb.MachineSpec, []error) {
	chosen := &d.Options
	var problems []error
	template := &pb.TemplateRef{}
	if version := chosen.Version; version != "" && version != latest {
		number, err := strconv.Atoi(version)
		if err != nil || number < 0 {
			problems = append(problems, problem(flagTemplateVersion, "'%s' is neither a number nor `%s`", version, latest))
		}
		template.Version = options.ToInt32(number)
	}
	if chosen.TemplateID != "" {
		template.By = &pb.TemplateRef_Id{Id: chosen.TemplateID}
	} else {
		template.By = &pb.TemplateRef_Name{Name: chosen.Template}
	}
	spec := &pb.MachineSpec{
		Template:              template,
		Name:                  chosen.VMName,
		Cluster:               chosen.Cluster,
		Clone:                 chosen.FullClone,
		MemoryBytes:           int64(chosen.Memory) * mebibyte,
		GuaranteedMemoryBytes: int64(chosen.MemoryGuaranteed) * mebibyte,
		Description:           chosen.Description,
		StorageDomain:         chosen.StorageDomain,
		InstanceType:          chosen.InstanceType,
		AffinityGroups:        chosen.AffinityGroups,
		Tags:                  chosen.Tags,
	}
	if spec.Name == "" {
		spec.Name = d.MachineName
	}
	if len(chosen.Hosts) > 0 {
		spec.Placement = &pb.Placement{Hosts: chosen.Hosts}
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
	for _, text := range chosen.ExtraDisks {
		size, domain, _ := strings.Cut(text, ":")
		gib, err := strconv.Atoi(size)
		if err != nil || gib < 1 {
			problems = append(problems, problem(flagExtraDisk, "'%s' does not begin with a size in GiB; it is written SIZE[:STORAGE-DOMAIN], such as 100:fast", text))
			continue
		}
		spec.NewDisks = append(spec.NewDisks, &pb.DiskSpec{SizeBytes: int64(gib) * gibibyte, StorageDomain: domain})
	}
	return spec, problems
}

// nameOfHost is a host name without domain, as the schema has it.
var nameOfHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// initialization is what the guest is told at its first boot.
func (d *Driver) initialization(publicKey string, nics []*pb.NicConfiguration) (*pb.Initialization, []error) {
	chosen := &d.Options
	var problems []error
	told := &pb.Initialization{
		UserName:          d.SSHUser,
		HostName:          chosen.Hostname,
		NicConfigurations: nics,
		DnsServers:        chosen.DNSServers,
		DnsSearchDomains:  chosen.DNSSearchDomains,
	}
	// Another name of the host is set by the provisioner of docker-machine, over SSH.
	if told.HostName == "" && nameOfHost.MatchString(d.MachineName) {
		told.HostName = d.MachineName
	}
	if publicKey != "" {
		told.AuthorizedSshKeys = []string{publicKey}
	}
	keys, wrong := authorizedKeys(chosen.AuthorizedKeys)
	told.AuthorizedSshKeys, problems = append(told.AuthorizedSshKeys, keys...), append(problems, wrong...)
	if chosen.NetworkDataFile != "" {
		for flag, given := range map[string][]string{
			flagInterface: chosen.Interfaces, flagDNSServer: chosen.DNSServers, flagDNSSearchDomain: chosen.DNSSearchDomains,
		} {
			if len(given) > 0 {
				problems = append(problems, problem(flag, "'%s' is for --%s to say; give one of them", strings.Join(given, " "), flagNetworkData))
			}
		}
		if err := readNetworkData(chosen.NetworkDataFile, told); err != nil {
			problems = append(problems, err)
		}
	}
	var err error
	if told.UserData, err = userData(chosen.UserDataFile); err != nil {
		problems = append(problems, err)
	}
	return told, problems
}

// userData reads more cloud-config, or a script, from a file; none, where there is no file.
func userData(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", problem(flagUserData, "the file cannot be read: %s", err)
	}
	text := string(content)
	first, _, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(first) != "#cloud-config" && !strings.HasPrefix(first, "#!") {
		return "", problem(flagUserData, "%s begins with '%.40s', but must be cloud-config, whose first line is '#cloud-config', or a script, "+
			"which begins with '#!'", file, first)
	}
	return text, nil
}

// timeouts are the daemon's time-outs that the user chose, by name.
func (d *Driver) timeouts() (map[string]*durationpb.Duration, []error) {
	var chosen map[string]*durationpb.Duration
	var problems []error
	for _, text := range d.Options.Timeouts {
		name, value, _ := strings.Cut(text, "=")
		length, err := parseTime(value)
		if err != nil || name == "" {
			problems = append(problems, problem(flagTimeout, "'%s' is not written NAME=TIME, such as address=15m", text))
			continue
		}
		if chosen == nil {
			chosen = map[string]*durationpb.Duration{}
		}
		chosen[name] = durationpb.New(length)
	}
	return chosen, problems
}

// confirmMachine is the request that ends the session of the Machine.
func (d *Driver) confirmMachine(engine *pb.EngineRef) (*pb.ConfirmMachineRequest, []error) {
	request := &pb.ConfirmMachineRequest{Engine: engine, Key: d.Key}
	if d.Options.LeaseTTL == "" {
		return request, nil
	}
	length, err := parseTime(d.Options.LeaseTTL)
	if err != nil {
		return request, []error{problem(flagLeaseTTL, "'%s' is no time, such as 90m, 12h or 7d", d.Options.LeaseTTL)}
	}
	request.Ttl = durationpb.New(length)
	return request, nil
}

// parseTime reads a time such as 90s, 15m, 12h or 7d.
func parseTime(text string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		number, err := strconv.Atoi(days)
		if err != nil || number > 36500 {
			return 0, fmt.Errorf("'%s' is no number of days", text)
		}
		return time.Duration(number) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}
