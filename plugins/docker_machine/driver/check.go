package driver

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
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
	return inOneLine(problems)
}

// inOneLine joins problems. Hosts show this error as a quoted string, in which a line break would be a backslash and an n.
func inOneLine(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	texts := make([]string, len(problems))
	for i, problem := range problems {
		texts[i] = lineBreaks.ReplaceAllString(problem.Error(), "; ")
	}
	return errors.New(strings.Join(texts, "; "))
}

var lineBreaks = regexp.MustCompile(`:?\s*\n\s*(\* )?`)

// problems are what is wrong without asking anybody: the little that the requests cannot express, and what the schema
// says about them.
func (d *Driver) problems() []error {
	problems := append(d.sourceProblems(), d.numberProblems()...)
	problems = append(problems, d.keyProblems()...)
	if d.SSHUser == "" {
		problems = append(problems, problem(flagSSHUser, "is required"))
	}
	const anyUUID = "00000000-0000-4000-8000-000000000000"
	engine := &pb.EngineRef{Profile: d.Options.Engine}
	confirm, wrong := d.confirmMachine(engine)
	problems = append(problems, wrong...)
	problems = append(problems, origins.Check(confirm, problems)...)
	if d.Options.Adopt != "" {
		adopt, wrong := d.adoptMachine(engine)
		problems = append(problems, wrong...)
		return append(problems, origins.Check(adopt, problems)...)
	}
	create, wrong := d.createMachine(engine, anyUUID, "")
	problems = append(problems, wrong...)
	return append(problems, origins.Check(create, problems)...)
}

// sourceProblems are what is wrong with the choice of a template, or of a VM to adopt.
func (d *Driver) sourceProblems() []error {
	chosen := &d.Options
	var problems []error
	switch {
	case chosen.Adopt != "":
		for _, name := range d.making {
			problems = append(problems, problem(name, "does not go with --%s: a VM that is adopted is never changed", flagAdopt))
		}
	case chosen.Template == "" && chosen.TemplateID == "":
		problems = append(problems, problem(flagTemplate, "either it or --%s is required, or --%s", flagTemplateID, flagAdopt))
	case chosen.Template != "" && chosen.TemplateID != "":
		problems = append(problems, problem(flagTemplateID, "'%s' is given next to --%s '%s'; give one of them",
			chosen.TemplateID, flagTemplate, chosen.Template))
	}
	return problems
}

func (d *Driver) numberProblems() []error {
	chosen := &d.Options
	var problems []error
	for _, port := range []struct {
		flag  string
		value int
	}{{flagSSHPort, d.SSHPort}, {flagDockerPort, d.DockerPort}} {
		if port.value < 1 || port.value > 65535 {
			problems = append(problems, problem(port.flag, "%d is no port; ports are 1 to 65535", port.value))
		}
	}
	for _, number := range []struct {
		flag  string
		value int
		means string
	}{
		{flagMemory, chosen.Memory, "MiB, or leave it out for the memory of the template"},
		{flagMemoryGuaranteed, chosen.MemoryGuaranteed, "MiB, or leave it out for that of the template"},
		{flagDiskSize, chosen.DiskSize, "GiB, or leave it out for the size of the template"},
		{flagSSHTimeout, chosen.SSHTimeout, "seconds, or 0 not to wait"},
		{flagStopTimeout, chosen.StopTimeout, "seconds, or leave it out for the daemon's time-out"},
	} {
		if number.value < 0 {
			problems = append(problems, problem(number.flag, "%d is negative; give %s", number.value, number.means))
		}
	}
	return problems
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
	if d.Options.Adopt != "" {
		return d.checkAdoption(ctx, daemon)
	}
	request, _ := d.createMachine(daemon.Engine, d.newID(), "")
	if onlyNames {
		spec := request.GetSpec()
		request.Spec = &pb.MachineSpec{
			Template: spec.GetTemplate(), Cluster: spec.GetCluster(), Nics: spec.GetNics(), StorageDomain: spec.GetStorageDomain(),
			InstanceType: spec.GetInstanceType(), AffinityGroups: spec.GetAffinityGroups(), Placement: spec.GetPlacement(), Tags: spec.GetTags(),
		}
		request.StartWith, request.AddressSelection, request.Timeouts = nil, nil, nil
		if len(origins.Check(request, nil)) > 0 {
			return nil
		}
	}
	request.ValidateOnly = true
	checked, err := daemon.Machines.CreateMachine(ctx, request)
	if err != nil {
		return err
	}
	if told := doubt(checked.GetTemplate()); told != "" {
		d.say("Warning: " + told)
	}
	return nil
}

func (d *Driver) checkAdoption(ctx context.Context, daemon *client.Client) error {
	request, _ := d.adoptMachine(daemon.Engine)
	request.ValidateOnly = true
	if len(origins.Check(request, nil)) > 0 {
		return nil
	}
	_, err := daemon.Machines.AdoptMachine(ctx, request)
	return err
}
