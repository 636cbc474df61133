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

// TemplateConfig is what a template is called and who gets it.
type TemplateConfig struct {
	// Name of the template to make. Required unless the build makes a
	// `detached_disk` or nothing. Unless `new_version` is set it must not exist
	// yet, or `packer build -force` must be used, which replaces it.
	TemplateName string `mapstructure:"template_name" required:"false"`
	// Description of the template to make.
	TemplateDescription string `mapstructure:"template_description" required:"false"`
	// Names of tags, which the engine must have, that the template gets.
	TemplateTags []string `mapstructure:"template_tags" required:"false"`
	// Roles that users and groups get on the template, as blocks that may be
	// repeated. See [Output](#output).
	TemplatePermissions []Permission `mapstructure:"template_permission" required:"false"`
	// Name of the storage domain for all disks of the template. By default where
	// the virtual machine has them.
	TemplateStorageDomain string `mapstructure:"template_storage_domain" required:"false"`
	// `cow` or `raw` for all disks of the template. By default as the virtual
	// machine has them.
	TemplateDiskFormat string `mapstructure:"template_disk_format" required:"false"`
	// Make the next version of the template `template_name`, which must exist,
	// instead of a new template. Defaults to `false`.
	NewVersion bool `mapstructure:"new_version" required:"false"`
	// Name of the version, which need not be unique. Only with `new_version`.
	VersionName string `mapstructure:"version_name" required:"false"`
	// How many versions remain, the new one counted: older ones are removed if
	// the daemon made them and no virtual machine uses them. By default all
	// remain. Only with `new_version`.
	KeepVersions int `mapstructure:"keep_versions" required:"false"`
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
		Replace:          c.Replaces(c.PackerForce),
		Tags:             c.TemplateTags,
		Permissions:      Permissions(c.TemplatePermissions),
		Sparsify:         c.Sparsify,
		ClonePermissions: c.TemplateClonePermissions,
		StorageDomain:    c.TemplateStorageDomain,
		DiskFormat:       DiskFormats[c.TemplateDiskFormat],
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
		Permissions: Permissions(c.DetachedDisk.Permissions),
	}
}

// Replaces says whether an old template of the new one's name goes, given `packer build -force` or not.
func (c *TemplateConfig) Replaces(force bool) bool {
	return force && !c.NewVersion
}

// RemovesTemplates says whether older templates go, so that the new one has to stay.
func (c *TemplateConfig) RemovesTemplates(force bool) bool {
	return c.Replaces(force) || c.KeepVersions > 0
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

// Permissions puts permissions into a request.
func Permissions(given []Permission) []*pb.Permission {
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

// Problems reports what the request cannot express.
func (c *TemplateConfig) Problems(report Reporter) {
	DiskFormats.Check(report, "template_disk_format", c.TemplateDiskFormat)
	reportBothHolders(report, "template_permission", c.TemplatePermissions)
}

func reportBothHolders(report Reporter, option string, given []Permission) {
	for i, one := range given {
		if one.User != "" && one.Group != "" {
			report(indexed(option, i)+".group", "'%s' is given next to user '%s'; give one of them", one.Group, one.User)
		}
	}
}

// outputProblems are those that the requests cannot express.
func (c *Config) outputProblems(report Reporter) {
	reportBothHolders(report, "detached_disk.permission", c.DetachedDisk.Permissions)
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
