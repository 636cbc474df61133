package clone

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// problem is one thing that is wrong with the configuration.
type problem struct {
	option string
	text   string
}

func (p *problem) Error() string {
	return p.option + ": " + p.text
}

// fieldOption says which option of the user a field of a request comes from. A field that is a prefix comes after the
// fields below it.
type fieldOption struct {
	field  string
	option string
}

var machineOptions = []fieldOption{
	{"engine.profile", "engine"},
	{"spec.template.id", "source_template_id"},
	{"spec.template.version", "source_template_version"},
	{"spec.template", "source_template_name"},
	{"spec.name", "vm_name"},
	{"spec.description", "vm_description"},
	{"spec.cluster", "cluster"},
	{"spec.cpu.sockets", "cpu_sockets"},
	{"spec.cpu.cores", "cpu_cores"},
	{"spec.cpu.threads", "cpu_threads"},
	{"spec.memory_bytes", "memory"},
	{"spec.nics", "network_interface"},
	{"start_with.user_name", "ssh_username"},
	{"start_with.host_name", "host_name"},
	{"start_with.nic_configurations", "nic_configuration"},
	{"start_with.custom_script", "custom_script"},
}

var templateOptions = []fieldOption{
	{"engine.profile", "engine"},
	{"name", "template_name"},
	{"description", "template_description"},
	{"seal", "template_seal"},
}

// optionOf names the option that a field comes from; a field that no option sets keeps its name.
func optionOf(field string, options []fieldOption) string {
	for _, known := range options {
		rest, below := strings.CutPrefix(field, known.field)
		switch {
		case below && (rest == "" || rest[0] == '['):
			return known.option + rest
		case below && rest[0] == '.':
			return known.option
		}
	}
	return field
}

// schemaProblems holds the requests that the configuration makes against the rules of the schema. Options that have a
// problem already are left out.
func schemaProblems(c *Config, known []error) []error {
	const anyUUID, anyKey = "00000000-0000-4000-8000-000000000000", "packer"
	engine := &pb.EngineRef{Profile: c.Engine}
	var problems []error
	for _, check := range []struct {
		request proto.Message
		options []fieldOption
	}{
		{c.createMachine(engine, anyUUID, anyKey, ""), machineOptions},
		{c.createTemplate(nil, anyUUID, anyKey), templateOptions},
	} {
		err := protovalidate.Validate(check.request)
		var invalid *protovalidate.ValidationError
		if err == nil {
			continue
		}
		if !errors.As(err, &invalid) {
			problems = append(problems, fmt.Errorf("the schema's rules cannot be checked: %w", err))
			continue
		}
		for _, violation := range invalid.Violations {
			found := schemaProblem(violation, check.options)
			if !slices.ContainsFunc(known, func(err error) bool {
				var other *problem
				return errors.As(err, &other) && other.option == found.option
			}) {
				problems = append(problems, found)
			}
		}
	}
	return problems
}

func schemaProblem(violation *protovalidate.Violation, options []fieldOption) *problem {
	found := &problem{
		option: optionOf(protovalidate.FieldPathString(violation.Proto.GetField()), options),
		text:   violation.Proto.GetMessage(),
	}
	if !violation.FieldValue.IsValid() {
		return found
	}
	switch value := violation.FieldValue.Interface().(type) {
	case string:
		if value == "" {
			found.text = "is required"
		} else {
			found.text = fmt.Sprintf("'%s': %s", value, found.text)
		}
	case int32, int64:
		found.text = fmt.Sprintf("%d: %s", value, found.text)
	}
	return found
}

// inOptions renames the fields that an error of the daemon speaks of to the options of the user.
func inOptions(err error, options []fieldOption) error {
	var refused *client.Error
	if !errors.As(err, &refused) || len(refused.Detail.GetViolations()) == 0 {
		return err
	}
	renamed := proto.CloneOf(refused.Detail)
	for _, violation := range renamed.Violations {
		violation.Field = optionOf(violation.Field, options)
	}
	return &client.Error{Detail: renamed, Typed: refused.Typed}
}
