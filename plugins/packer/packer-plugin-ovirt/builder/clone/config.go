//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config
//go:generate go tool packer-sdc struct-markdown

package clone

import (
	"fmt"
	"strconv"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// latest is the word for the newest version of a template.
const latest = "latest"

// Config is the configuration of the builder, as the user writes it.
type Config struct {
	common.Config      `mapstructure:",squash"`
	common.CloneConfig `mapstructure:",squash"`

	// Name of the template to start from. Either this or `source_template_id`
	// is required.
	SourceTemplateName string `mapstructure:"source_template_name" required:"false"`
	// Number of the version of `source_template_name`, or `latest`, the default:
	// the newest that is ready.
	SourceTemplateVersion string `mapstructure:"source_template_version" required:"false"`
	// ID of the template version to start from, in place of
	// `source_template_name`.
	SourceTemplateID string `mapstructure:"source_template_id" required:"false"`
}

var _ common.Source = (*Config)(nil)

// Prepare implements common.Source.
func (c *Config) Prepare(report common.Reporter) {
	switch {
	case c.SourceTemplateName == "" && c.SourceTemplateID == "":
		report("source_template_name", "either it or source_template_id is required")
	case c.SourceTemplateName != "" && c.SourceTemplateID != "":
		report("source_template_id", "'%s' is given next to source_template_name '%s'; give one of them",
			c.SourceTemplateID, c.SourceTemplateName)
	}
	if version := c.SourceTemplateVersion; version != "" && version != latest && version != options.NotKnownYet {
		if number, err := strconv.Atoi(version); err != nil || number < 1 {
			report("source_template_version", "'%s' is neither '%s' nor a number from 1 on", version, latest)
		}
	}
}

// Put implements common.Source.
func (c *Config) Put(request *pb.CreateMachineRequest, _ multistep.StateBag) {
	from := &pb.TemplateRef{Version: c.version()}
	if c.SourceTemplateID != "" {
		from.By = &pb.TemplateRef_Id{Id: c.SourceTemplateID}
	} else {
		from.By = &pb.TemplateRef_Name{Name: c.SourceTemplateName}
	}
	request.Spec.Template = from
}

// Origins implements common.Source.
func (c *Config) Origins() options.Origins {
	return options.Origins{
		{Field: "spec.template.id", Option: "source_template_id"},
		{Field: "spec.template.version", Option: "source_template_version"},
		{Field: "spec.template", Option: "source_template_name"},
	}
}

// Steps implements common.Source: the template stands already.
func (c *Config) Steps(func() string) []multistep.Step { return nil }

// String is the template to start from, as the user named it.
func (c *Config) String() string {
	switch {
	case c.SourceTemplateID != "":
		return "template " + c.SourceTemplateID
	case c.version() != 0:
		return fmt.Sprintf("template %s version %d", c.SourceTemplateName, c.version())
	default:
		return "template " + c.SourceTemplateName + ", newest version"
	}
}

// version is the number of the version to start from; 0 means the newest.
func (c *Config) version() int32 {
	number, _ := strconv.Atoi(c.SourceTemplateVersion)
	return options.ToInt32(number)
}
