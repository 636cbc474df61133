package options

import (
	"errors"
	"slices"
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

var origins = Origins{
	{"spec.template.id", "template_id"},
	{"spec.template", "template"},
	{"spec.cluster", "cluster"},
	{"spec.nics[].vnic_profile", "--profile"},
	{"spec.nics", "nic"},
	{"spec.new_disks[].size_bytes", "disk[].size"},
	{"spec.boot_disk.", "boot_disk."},
	{"start_with.dns_servers", "dns"},
}

func TestRename(t *testing.T) {
	var violations []*pb.FieldViolation
	fields := []string{
		"spec.template.id", "spec.template.version", "spec.cluster", "spec.clusters", "spec.nics[2].vnic_profile", "spec.nics[2].name",
		"start_with.dns_servers[1]", "spec.new_disks[3].size_bytes", "spec.boot_disk.storage_domain", "lease",
	}
	for _, field := range fields {
		violations = append(violations, &pb.FieldViolation{Field: field})
	}
	given := &client.Error{Detail: &pb.Error{Code: 9, Violations: violations}, Typed: true}
	var renamed *client.Error
	if !errors.As(origins.Rename(given), &renamed) || !renamed.Typed || renamed.Detail.GetCode() != 9 {
		t.Fatalf("got %v", renamed)
	}
	var got []string
	for _, violation := range renamed.Detail.GetViolations() {
		got = append(got, violation.GetField())
	}
	want := []string{"template_id", "template", "cluster", "spec.clusters", "--profile", "nic[2].name", "dns[1]", "disk[3].size",
		"boot_disk.storage_domain", "lease"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if given.Detail.GetViolations()[0].GetField() != "spec.template.id" {
		t.Error("the daemon's error was changed")
	}
	other := errors.New("other")
	if !errors.Is(origins.Rename(other), other) {
		t.Error("another error was changed")
	}
}

func TestCheck(t *testing.T) {
	request := &pb.CreateMachineRequest{
		RequestId: "00000000-0000-4000-8000-000000000000", Key: "k",
		Spec: &pb.MachineSpec{
			Template: &pb.TemplateRef{By: &pb.TemplateRef_Name{}},
			Nics:     []*pb.Nic{{VnicProfile: "ovirtmgmt"}},
			Name:     "a b",
		},
		StartWith: &pb.Initialization{DnsServers: []string{"ns"}},
	}
	var got []string
	for _, problem := range origins.Check(request, []error{&Problem{Option: "template", Text: "is known"}}) {
		got = append(got, problem.Error())
	}
	want := []string{
		"spec.name: 'a b': does not match regex pattern `^[A-Za-z0-9._-]*$`", "nic[0].name: is required",
		"dns[0]: 'ns': must be a valid IP address",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// While Packer validates, what comes from a data source is a placeholder that no rule can judge.
func TestCheckLeavesOutWhatIsNotKnownYet(t *testing.T) {
	request := &pb.CreateMachineRequest{
		RequestId: "00000000-0000-4000-8000-000000000000", Key: "a", Spec: &pb.MachineSpec{
			Template: &pb.TemplateRef{By: &pb.TemplateRef_Id{Id: NotKnownYet}}, Name: NotKnownYet,
		},
	}
	if problems := origins.Check(request, nil); len(problems) != 0 {
		t.Errorf("got %v", problems)
	}
	request.Spec.Name = "a b"
	if problems := origins.Check(request, nil); len(problems) != 1 {
		t.Errorf("got %v", problems)
	}
}
