package clone

import (
	"math"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// createMachine is the request that the configuration makes. publicKey is what the first boot authorizes, in OpenSSH
// format; empty where Packer logs in otherwise.
func (c *Config) createMachine(engine *pb.EngineRef, requestID, key, publicKey string) *pb.CreateMachineRequest {
	template := &pb.TemplateRef{Version: toInt32(c.SourceTemplateVersion)}
	if c.SourceTemplateID != "" {
		template.By = &pb.TemplateRef_Id{Id: c.SourceTemplateID}
	} else {
		template.By = &pb.TemplateRef_Name{Name: c.SourceTemplateName}
	}
	spec := &pb.MachineSpec{
		Template:    template,
		Name:        c.VMName,
		Cluster:     c.Cluster,
		Clone:       c.FullClone,
		MemoryBytes: max(0, int64(c.Memory)) * mebibyte,
		Description: c.VMDescription,
	}
	if c.CPUSockets != 0 || c.CPUCores != 0 || c.CPUThreads != 0 {
		spec.Cpu = &pb.Cpu{
			Sockets: toInt32(c.CPUSockets),
			Cores:   toInt32(c.CPUCores),
			Threads: toInt32(c.CPUThreads),
		}
	}
	for _, nic := range c.NetworkInterfaces {
		spec.Nics = append(spec.Nics, &pb.Nic{Name: nic.Name, VnicProfile: nic.VnicProfile})
	}
	request := &pb.CreateMachineRequest{Engine: engine, RequestId: requestID, Key: key, Spec: spec}
	if c.starts() {
		request.StartWith = c.initialization(publicKey)
	}
	return request
}

func (c *Config) initialization(publicKey string) *pb.Initialization {
	initialization := &pb.Initialization{HostName: c.HostName, UserData: c.CustomScript}
	if c.usesKey() {
		initialization.UserName = c.Comm.SSHUsername
	}
	if publicKey != "" {
		initialization.AuthorizedSshKeys = []string{publicKey}
	}
	for _, nic := range c.NicConfigurations {
		initialization.NicConfigurations = append(initialization.NicConfigurations, &pb.NicConfiguration{
			Name:         nic.Name,
			BootProtocol: bootProtocols[nic.BootProtocol],
		})
	}
	return initialization
}

func (c *Config) createTemplate(engine *pb.EngineRef, requestID, machineKey string) *pb.CreateTemplateRequest {
	return &pb.CreateTemplateRequest{
		Engine:      engine,
		RequestId:   requestID,
		MachineKey:  machineKey,
		Name:        c.TemplateName,
		Description: c.TemplateDescription,
		Seal:        c.TemplateSeal.True(),
	}
}

// toInt32 keeps what does not fit out of range instead of wrapping it around, so that the schema's rules refuse it.
func toInt32(value int) int32 {
	return int32(min(max(value, math.MinInt32), math.MaxInt32))
}
