package clone

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// What each build asks of the daemon, exactly: this is also its cost.
func TestRequestsOfABuild(t *testing.T) {
	watch := func(n string) string {
		return `WatchOperation {"id":"44444444-4444-4444-8444-00000000000` + n + `"}`
	}
	key := "packer-debian-" + id(1)
	for _, test := range []struct {
		name    string
		options map[string]any
		calls   []string
	}{
		{
			"nothing but the required options",
			minimal(),
			[]string{
				`GetEngine {"engine":{}}`,
				`ListTemplates {"engine":{},"name":"golden","pageSize":1}`,
				`CreateMachine {"engine":{},"requestId":"` + id(2) + `","key":"` + key + `","spec":{"template":{"name":"debian-12"}}}`,
				watch("1"),
				`CreateTemplate {"engine":{},"requestId":"` + id(3) + `","machineKey":"` + key + `","name":"golden","seal":true}`,
				watch("2"),
				`DestroyMachine {"engine":{},"requestId":"` + id(4) + `","key":"` + key + `"}`,
				watch("3"),
				`GetTemplate {"engine":{},"id":"` + fakedaemon.TemplateID + `"}`,
			},
		},
		{
			"every option",
			with(minimal(), map[string]any{
				"engine":                  "production",
				"source_template_version": 3,
				"vm_name":                 "build-vm",
				"vm_description":          "being built",
				"cluster":                 "Second",
				"full_clone":              true,
				"cpu_sockets":             1,
				"cpu_cores":               2,
				"cpu_threads":             1,
				"memory":                  512,
				"network_interface": []map[string]any{
					{"name": "nic1", "vnic_profile": "ovirtmgmt"},
					{"name": "nic2", "vnic_profile": "storage/profile"},
				},
				"host_name":            "builder",
				"nic_configuration":    []map[string]any{{"name": "ens3"}, {"name": "ens4", "boot_protocol": "none"}},
				"custom_script":        "runcmd: [[echo, '{{build_name}}']]",
				"template_description": "golden image",
				"template_seal":        false,
			}),
			[]string{
				`GetEngine {"engine":{"profile":"production"}}`,
				`ListTemplates {"engine":{"profile":"production"},"name":"golden","pageSize":1}`,
				`CreateMachine {"engine":{"profile":"production"},"requestId":"` + id(2) + `","key":"` + key + `","spec":{` +
					`"template":{"name":"debian-12","version":3},"name":"build-vm","cluster":"Second","clone":true,` +
					`"cpu":{"sockets":1,"cores":2,"threads":1},"memoryBytes":"536870912","nics":[` +
					`{"name":"nic1","vnicProfile":"ovirtmgmt"},{"name":"nic2","vnicProfile":"storage/profile"}],` +
					`"description":"being built"},"startWith":{"hostName":"builder","nicConfigurations":[` +
					`{"name":"ens3","bootProtocol":"BOOT_PROTOCOL_DHCP"},{"name":"ens4","bootProtocol":"BOOT_PROTOCOL_NONE"}],` +
					`"userData":"runcmd: [[echo, 'debian']]"}}`,
				watch("1"),
				`StopMachine {"engine":{"profile":"production"},"requestId":"` + id(3) + `","key":"` + key + `"}`,
				watch("2"),
				`CreateTemplate {"engine":{"profile":"production"},"requestId":"` + id(4) + `","machineKey":"` + key + `",` +
					`"name":"golden","description":"golden image"}`,
				watch("3"),
				`DestroyMachine {"engine":{"profile":"production"},"requestId":"` + id(5) + `","key":"` + key + `"}`,
				watch("4"),
				`GetTemplate {"engine":{"profile":"production"},"id":"` + fakedaemon.TemplateID + `"}`,
			},
		},
		{
			"a template by id",
			with(minimal(), map[string]any{"source_template_name": nil, "source_template_id": fakedaemon.SourceID}),
			[]string{
				`GetEngine {"engine":{}}`,
				`ListTemplates {"engine":{},"name":"golden","pageSize":1}`,
				`CreateMachine {"engine":{},"requestId":"` + id(2) + `","key":"` + key + `","spec":{"template":{"id":"` + fakedaemon.SourceID + `"}}}`,
				watch("1"),
				`CreateTemplate {"engine":{},"requestId":"` + id(3) + `","machineKey":"` + key + `","name":"golden","seal":true}`,
				watch("2"),
				`DestroyMachine {"engine":{},"requestId":"` + id(4) + `","key":"` + key + `"}`,
				watch("3"),
				`GetTemplate {"engine":{},"id":"` + fakedaemon.TemplateID + `"}`,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, test.options)
			if _, err := build.run(); err != nil {
				t.Fatal(err)
			}
			if calls := build.daemon.Calls(); !slices.Equal(calls, test.calls) {
				t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(test.calls, "\n"))
			}
			if left := build.daemon.Left(); !slices.Equal(left, []string{"template golden"}) {
				t.Errorf("left: %v, want the template alone", left)
			}
		})
	}
}

// started is a configuration whose machine is started, but that needs no guest.
func started() map[string]any {
	return with(minimal(), map[string]any{"custom_script": "runcmd: []"})
}

// Whenever a user presses Ctrl-C, the build fails and nothing is left.
func TestCancel(t *testing.T) {
	undoMachine := []string{"DestroyMachine", "WatchOperation"}
	cancelled := func(rest ...string) []string { return append([]string{"CancelOperation", "WatchOperation"}, rest...) }
	undoTemplate := []string{"DestroyTemplate", "WatchOperation"}
	for _, test := range []struct {
		name      string
		method    string
		behaviour fakedaemon.Behaviour
		tail      []string
	}{
		{"while it logs in", "GetEngine", fakedaemon.Behaviour{}, nil},
		{"while the name is checked", "ListTemplates", fakedaemon.Behaviour{}, nil},
		{"while the machine is asked for", "CreateMachine", fakedaemon.Behaviour{Hang: true}, cancelled()},
		{
			"when the machine is made all the same", "CreateMachine",
			fakedaemon.Behaviour{Hang: true, DeafToCancel: true}, cancelled(undoMachine...),
		},
		{"while the machine shuts down", "StopMachine", fakedaemon.Behaviour{Hang: true}, cancelled(undoMachine...)},
		{"while the template is made", "CreateTemplate", fakedaemon.Behaviour{Hang: true}, cancelled(undoMachine...)},
		{
			"when the template is made all the same", "CreateTemplate",
			fakedaemon.Behaviour{Hang: true, DeafToCancel: true}, cancelled(append(undoTemplate, undoMachine...)...),
		},
		{
			"while the machine is destroyed", "DestroyMachine", fakedaemon.Behaviour{},
			append([]string{"WatchOperation"}, undoTemplate...),
		},
		{"while the template is checked", "GetTemplate", fakedaemon.Behaviour{}, undoTemplate},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, started())
			test.behaviour.OnCall = build.cancel
			build.daemon.On(test.method, test.behaviour)
			if err := build.mustFail(t); err.Error() != "the build was cancelled" {
				t.Errorf("error: %v", err)
			}
			methods := build.daemon.Methods()
			tail := methods[slices.Index(methods, test.method)+1:]
			if !slices.Equal(tail, test.tail) {
				t.Errorf("after %s came %v, want %v", test.method, tail, test.tail)
			}
		})
	}
	t.Run("while the provisioners run", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.provision = func(ctx context.Context) error {
			build.cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		if err := build.mustFail(t); err.Error() != "the build was cancelled" {
			t.Errorf("error: %v", err)
		}
		if methods := build.daemon.Methods(); !slices.Contains(methods, "DestroyMachine") || slices.Contains(methods, "CreateTemplate") {
			t.Errorf("methods: %v", methods)
		}
	})
}

// Whatever fails, the build fails with the whole error and nothing is left.
func TestFailure(t *testing.T) {
	failed := &pb.Error{
		Code: int32(codes.Aborted), Reason: "ENGINE_OPERATION_FAILED", Message: "the engine could not do it", Phase: "cloning",
		EngineText: "[Cannot add VM. Low disk space]", CorrelationId: "abc", Advice: "free some space",
	}
	refused, err := status.New(codes.NotFound, "refused").WithDetails(&pb.Error{
		Code: int32(codes.NotFound), Reason: "REFERENCES_NOT_FOUND", Message: "no such cluster",
		Violations: []*pb.FieldViolation{
			{Field: "spec.cluster", Description: "no cluster 'Defualt'; did you mean 'Default'?"},
			{Field: "spec.nics[1].vnic_profile", Description: "no vNIC profile 'x'"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := []string{
		"the engine could not do it (while cloning)", "the engine says: [Cannot add VM. Low disk space]",
		"what to do: free some space", "correlation id: abc",
	}
	for _, test := range []struct {
		name      string
		method    string
		behaviour fakedaemon.Behaviour
		says      []string
	}{
		{"login refused", "GetEngine", fakedaemon.Behaviour{Refuse: status.Error(codes.FailedPrecondition, "wrong password")}, []string{"logging in", "wrong password"}},
		{"list refused", "ListTemplates", fakedaemon.Behaviour{Refuse: status.Error(codes.PermissionDenied, "no")}, []string{"no"}},
		{
			"machine refused", "CreateMachine", fakedaemon.Behaviour{Refuse: refused.Err()},
			[]string{"* cluster: no cluster 'Defualt'; did you mean 'Default'?", "* network_interface[1].vnic_profile: no vNIC profile 'x'"},
		},
		{"machine fails", "CreateMachine", fakedaemon.Behaviour{Fail: failed}, whole},
		{"stop refused", "StopMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Aborted, "busy")}, []string{"busy"}},
		{"stop fails", "StopMachine", fakedaemon.Behaviour{Fail: failed}, whole},
		{"template refused", "CreateTemplate", fakedaemon.Behaviour{Refuse: status.Error(codes.AlreadyExists, "taken")}, []string{"taken"}},
		{"template fails", "CreateTemplate", fakedaemon.Behaviour{Fail: failed}, whole},
		{"template cannot be read", "GetTemplate", fakedaemon.Behaviour{Refuse: status.Error(codes.NotFound, "gone")}, []string{"gone"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, started())
			build.daemon.On(test.method, test.behaviour)
			err := build.mustFail(t)
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error does not say %q:\n%v", text, err)
				}
				if !strings.Contains(build.ui.text(), text) {
					t.Errorf("the user does not read %q before the clean-up", text)
				}
			}
		})
	}
	t.Run("provisioner fails", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.provision = func(context.Context) error { return errors.New("script exited with 1") }
		if err := build.mustFail(t); !strings.Contains(err.Error(), "script exited with 1") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("template is not in order", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.daemon.TemplateStatus = pb.Template_STATUS_ILLEGAL
		if err := build.mustFail(t); !strings.Contains(err.Error(), "STATUS_ILLEGAL") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestTakenTemplateNameIsRefusedFirst(t *testing.T) {
	build := newTestBuild(t, minimal())
	build.daemon.AddTemplate(fakedaemon.SourceID, "golden")
	_, err := build.run()
	if err == nil || !strings.Contains(err.Error(), "a template 'golden' exists already (id "+fakedaemon.SourceID+")") {
		t.Errorf("error: %v", err)
	}
	if methods := build.daemon.Methods(); !slices.Equal(methods, []string{"GetEngine", "ListTemplates"}) {
		t.Errorf("methods: %v", methods)
	}
}

// A machine that cannot be destroyed does not take the template with it: the daemon destroys it later.
func TestTemplateStandsWhenTheMachineCannotBeDestroyed(t *testing.T) {
	build := newTestBuild(t, minimal())
	build.daemon.On("DestroyMachine", fakedaemon.Behaviour{Fail: &pb.Error{Message: "disk is locked"}, CleanupPending: true})
	artifact, err := build.run()
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Id() != fakedaemon.TemplateID {
		t.Errorf("artifact: %v", artifact)
	}
	for _, text := range []string{"disk is locked", "the daemon goes on until it is gone", "machine list"} {
		if !strings.Contains(build.ui.text(), text) {
			t.Errorf("the user does not read %q:\n%s", text, build.ui.text())
		}
	}
}

// A panic anywhere is a failed build that cleans up, never (nil, nil).
func TestPanic(t *testing.T) {
	for at, name := range map[int]string{2: "create machine", 3: "stop", 4: "create template", 5: "destroy machine"} {
		t.Run(name, func(t *testing.T) {
			build := newTestBuild(t, started())
			next, calls := build.builder.newID, 0
			build.builder.newID = func() string {
				if calls++; calls == at {
					panic("a defect")
				}
				return next()
			}
			if err := build.mustFail(t); !strings.Contains(err.Error(), "a defect") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestLostLeaseEndsTheBuild(t *testing.T) {
	build := newTestBuild(t, started())
	build.daemon.SetLease(0, status.Error(codes.Aborted, "lease expired at 12:00"))
	build.provision = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := build.mustFail(t); !strings.Contains(err.Error(), "lease expired at 12:00") {
		t.Errorf("error: %v", err)
	}
}

// With -on-error=abort the machine stays for a look, and the user is told for how long.
func TestOnErrorAbort(t *testing.T) {
	build := newTestBuild(t, with(started(), map[string]any{"packer_on_error": "abort"}))
	build.provision = func(context.Context) error { return errors.New("script exited with 1") }
	artifact, err := build.run()
	if err == nil || artifact != nil {
		t.Fatalf("Run gave (%v, %v)", artifact, err)
	}
	if left := build.daemon.Left(); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if text := build.ui.text(); !strings.Contains(text, "the daemon destroys it a few minutes later") {
		t.Errorf("the user is not told: %s", text)
	}
}
