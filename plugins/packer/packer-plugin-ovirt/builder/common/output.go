//go:generate go tool packer-sdc struct-markdown

package common

import (
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Permission is a role that somebody gets on what is made.
type Permission struct {
	// Name of the role, such as `UserTemplateBasedVm`.
	Role string `mapstructure:"role" required:"true"`
	// The user who gets it, with the domain: `jane@internal`. Either this or
	// `group` is required.
	User string `mapstructure:"user" required:"false"`
	// The group that gets it, such as `Everyone`.
	Group string `mapstructure:"group" required:"false"`
}

// DetachedDisk is a disk as the output of a build, in place of a template.
type DetachedDisk struct {
	// Name of the disk in the engine, where it need not be unique.
	Name string `mapstructure:"name" required:"true"`
	// Description of the disk.
	Description string `mapstructure:"description" required:"false"`
	// Roles that users and groups get on the disk, as blocks that may be
	// repeated.
	Permissions []Permission `mapstructure:"permission" required:"false"`
}

// output is what a build leaves.
type output int

const (
	outputTemplate output = iota
	outputDisk
	outputNothing
)

func (c *Config) output() output {
	switch {
	case c.SkipCreateArtifact:
		return outputNothing
	case c.DetachedDisk.Name != "" || c.DetachedDisk.Description != "" || len(c.DetachedDisk.Permissions) > 0:
		return outputDisk
	default:
		return outputTemplate
	}
}

// createTemplate is the request that the configuration makes.
func (c *Config) createTemplate(engine *pb.EngineRef, requestID, machineKey string) *pb.CreateTemplateRequest {
	request := &pb.CreateTemplateRequest{
		Engine:           engine,
		RequestId:        requestID,
		MachineKey:       machineKey,
		Name:             c.TemplateName,
		Description:      c.TemplateDescription,
		Seal:             c.TemplateSeal.True(),
		NewVersion:       c.NewVersion,
		VersionName:      c.VersionName,
		KeepVersions:     options.ToInt32(c.KeepVersions),
		Replace:          c.replaces(),
		Tags:             c.TemplateTags,
		Permissions:      permissions(c.TemplatePermissions),
		ClonePermissions: c.TemplateClonePermissions,
		StorageDomain:    c.TemplateStorageDomain,
		DiskFormat:       diskFormats[c.TemplateDiskFormat],
	}
	if c.BootTest {
		request.BootTest = &pb.BootTest{
			Initialization:   c.testInitialization(),
			SshPort:          c.testPort(),
			AddressOnly:      c.BootTestAddressOnly,
			AddressSelection: c.selectedAddresses(),
		}
	}
	return request
}

// detachDisk is the request that the configuration makes.
func (c *Config) detachDisk(engine *pb.EngineRef, requestID, machineKey string) *pb.DetachDiskRequest {
	return &pb.DetachDiskRequest{
		Engine:      engine,
		RequestId:   requestID,
		MachineKey:  machineKey,
		Name:        c.DetachedDisk.Name,
		Description: c.DetachedDisk.Description,
		Permissions: permissions(c.DetachedDisk.Permissions),
	}
}

// replaces says whether an old template of the new one's name goes.
func (c *Config) replaces() bool {
	return c.PackerForce && !c.NewVersion
}

// removesTemplates says whether older templates go, so that the new one has to stay.
func (c *Config) removesTemplates() bool {
	return c.replaces() || c.KeepVersions > 0
}

// testPort is where the boot test knocks: where the build itself does, if it does by SSH.
func (c *Config) testPort() uint32 {
	switch {
	case c.BootTestAddressOnly:
		return 0
	case c.BootTestSSHPort != 0:
		return uint32(options.ToInt32(c.BootTestSSHPort))
	case c.Comm.Type == "ssh":
		return uint32(options.ToInt32(c.Comm.SSHPort))
	default:
		return 0
	}
}

func permissions(given []Permission) []*pb.Permission {
	var made []*pb.Permission
	for _, one := range given {
		permission := &pb.Permission{Role: one.Role}
		switch {
		case one.User != "":
			permission.To = &pb.Permission_User{User: one.User}
		case one.Group != "":
			permission.To = &pb.Permission_Group{Group: one.Group}
		}
		made = append(made, permission)
	}
	return made
}

// outputProblems are those that the requests cannot express.
func (c *Config) outputProblems(report Reporter) {
	diskFormats.check(report, "template_disk_format", c.TemplateDiskFormat)
	reportBoth := func(option string, given []Permission) {
		for i, one := range given {
			if one.User != "" && one.Group != "" {
				report(indexed(option, i)+".group", "'%s' is given next to user '%s'; give one of them", one.Group, one.User)
			}
		}
	}
	reportBoth("template_permission", c.TemplatePermissions)
	reportBoth("detached_disk.permission", c.DetachedDisk.Permissions)
	if c.output() == outputTemplate && len(c.AttachedDisks) > 0 {
		report("attached_disk", "does not go with a template: the engine makes one of all disks of a virtual machine, and these are not "+
			"the build's; make a detached_disk, or nothing with skip_create_artifact")
	}
	if c.output() == outputDisk {
		if c.TemplateName != "" {
			report("detached_disk", "is given next to template_name '%s'; a build makes one of them", c.TemplateName)
		}
		if clone := c.source.Clone(); clone != nil && !clone.FullClone {
			report("full_clone", "is required with detached_disk: the disk of a thin clone cannot live without its template")
		}
	}
	if c.BootTest && c.Comm.Type == "winrm" && !c.BootTestAddressOnly {
		report("boot_test_address_only", "is required with communicator 'winrm': the test knocks at SSH alone")
	}
	if c.BootTestSSHPort != 0 && c.BootTestAddressOnly {
		report("boot_test_ssh_port", "does not go with boot_test_address_only, which tries no port")
	}
	if !c.BootTest && (c.BootTestSSHPort != 0 || c.BootTestAddressOnly) {
		report("boot_test", "must be true for the options of the boot test to mean something")
	}
}
