package driver

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// PreCreateCheck reports all that is wrong with the options at once, and notes the daemon and the engine. Nothing is made.
func (d *Driver) PreCreateCheck() error {
	ctx := context.Background()
	problems := d.problems()
	daemon, err := d.connect(ctx)
	if err == nil {
		defer daemon.Close()
		err = d.checkEngine(ctx, daemon, len(problems) > 0)
	}
	if err != nil {
		problems = append(problems, origins.Rename(err))
	}
	if len(problems) == 0 {
		return nil
	}
	texts := make([]string, len(problems))
	for i, problem := range problems {
		texts[i] = lineBreaks.ReplaceAllString(problem.Error(), "; ")
	}
	// Hosts show this error as a quoted string, in which a line break would be a backslash and an n.
	return errors.New(strings.Join(texts, "; "))
}

var lineBreaks = regexp.MustCompile(`:?\s*\n\s*(\* )?`)

// problems are what is wrong without asking anybody: the little that the request cannot express, and what the schema
// says about the request.
func (d *Driver) problems() []error {
	var problems []error
	report := func(flag, format string, values ...any) {
		problems = append(problems, &options.Problem{Option: "--" + flag, Text: fmt.Sprintf(format, values...)})
	}
	chosen := &d.Options
	switch {
	case chosen.Template == "" && chosen.TemplateID == "":
		report(flagTemplate, "either it or --%s is required", flagTemplateID)
	case chosen.Template != "" && chosen.TemplateID != "":
		report(flagTemplateID, "'%s' is given next to --%s '%s'; give one of them", chosen.TemplateID, flagTemplate, chosen.Template)
	}
	for _, port := range []struct {
		flag  string
		value int
	}{{flagSSHPort, d.SSHPort}, {flagDockerPort, d.DockerPort}} {
		if port.value < 1 || port.value > 65535 {
			report(port.flag, "%d is no port; ports are 1 to 65535", port.value)
		}
	}
	if chosen.Memory < 0 {
		report(flagMemory, "%d is negative; give MiB, or leave it out for the memory of the template", chosen.Memory)
	}
	if chosen.DiskSize < 0 {
		report(flagDiskSize, "%d is negative; give GiB, or leave it out for the size of the template", chosen.DiskSize)
	}
	for _, profile := range chosen.VnicProfiles {
		if profile == "" {
			report(flagVnicProfile, "is required")
			break
		}
	}
	if chosen.SSHTimeout < 0 {
		report(flagSSHTimeout, "%d is negative; give seconds, or 0 not to wait", chosen.SSHTimeout)
	}
	if d.SSHUser == "" {
		report(flagSSHUser, "is required")
	}
	if chosen.Gateway != "" && chosen.StaticAddress == "" {
		report(flagGateway, "'%s' goes with --%s, which is not given", chosen.Gateway, flagStaticAddress)
		report(flagStaticAddress, "is required with --%s", flagGateway)
	}
	const anyUUID = "00000000-0000-4000-8000-000000000000"
	request, err := d.createMachine(&pb.EngineRef{Profile: chosen.Engine}, anyUUID, "")
	if err != nil {
		problems = append(problems, err)
	}
	return append(problems, origins.Check(request, problems)...)
}

// checkEngine logs in to the engine, and has the daemon look up all that the options name. Of options with problems of
// their own it looks up only the names.
func (d *Driver) checkEngine(ctx context.Context, daemon *client.Client, onlyNames bool) error {
	reply, err := daemon.Engines.GetEngine(ctx, &pb.GetEngineRequest{Engine: daemon.Engine})
	if err != nil {
		return err
	}
	engines, err := daemon.Engines.ListEngines(ctx, &pb.ListEnginesRequest{})
	if err != nil {
		return err
	}
	d.EngineURL, d.Installation = reply.GetEngine().GetUrl(), engines.GetDaemon().GetInstallation()
	request, err := d.createMachine(daemon.Engine, d.newID(), "")
	if onlyNames {
		spec := request.GetSpec()
		request.Spec = &pb.MachineSpec{Template: spec.GetTemplate(), Cluster: spec.GetCluster(), Nics: spec.GetNics()}
		request.StartWith, err = nil, nil
		if len(origins.Check(request, nil)) > 0 {
			return nil
		}
	}
	if err != nil {
		return err
	}
	request.ValidateOnly = true
	_, err = daemon.Machines.CreateMachine(ctx, request)
	return err
}
