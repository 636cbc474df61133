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
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// What each build asks of the daemon, exactly: this is also its cost.
func TestRequestsOfABuild(t *testing.T) {
	watch := func(n string) string {
		return `WatchOperation {"id":"44444444-4444-4444-8444-00000000000` + n + `"}`
	}
	key := "packer-debian-" + buildtest.ID(1)
	// call is a request of the build, `n` counting its ids from the key's.
	call := func(method, engine string, n int, rest string) string {
		return method + ` {"engine":` + engine + `,"requestId":"` + buildtest.ID(n) + `",` + rest + `}`
	}
	machine := `"key":"` + key + `"`
	from := `"machineKey":"` + key + `",`
	const engine, production = `{}`, `{"profile":"production"}`
	const golden = `"name":"golden","seal":true`
	// short is a build whose machine is not even started, of a source and with more said of the template.
	short := func(source, template string) []string {
		return []string{
			`GetEngine {"engine":{}}`,
			call("CreateTemplate", engine, 2, from+golden+template+`,"validateOnly":true`),
			call("CreateMachine", engine, 3, machine+`,"spec":{"template":{`+source+`}}`),
			watch("1"),
			call("CreateTemplate", engine, 4, from+golden+template),
			watch("2"),
			call("DestroyMachine", engine, 5, machine),
			watch("3"),
			`GetTemplate {"engine":{},"id":"` + fakedaemon.TemplateID + `"}`,
		}
	}
	for _, test := range []struct {
		name    string
		options map[string]any
		calls   []string
		left    []string
	}{
		{"nothing but the required options", minimal(), short(`"name":"debian-12"`, ""), []string{"template golden"}},
		{
			"every option of machine, first boot and template",
			everything(),
			[]string{
				`GetEngine {"engine":{"profile":"production"}}`,
				call("CreateTemplate", production, 2, from+everyTemplate+`,"validateOnly":true`+everyTemplateEnd),
				call("CreateMachine", production, 3, machine+`,`+everyMachine),
				watch("1"),
				call("StopMachine", production, 4, machine),
				watch("2"),
				call("CreateTemplate", production, 5, from+everyTemplate+everyTemplateEnd),
				watch("3"),
				call("DestroyMachine", production, 6, machine),
				watch("4"),
				`GetTemplate {"engine":{"profile":"production"},"id":"` + fakedaemon.TemplateID + `"}`,
			},
			[]string{"template golden"},
		},
		{
			"a template by id",
			buildtest.With(minimal(), map[string]any{"source_template_name": nil, "source_template_id": fakedaemon.SourceID}),
			short(`"id":"`+fakedaemon.SourceID+`"`, ""),
			[]string{"template golden"},
		},
		{
			"a detached disk",
			buildtest.With(minimal(), map[string]any{
				"template_name": nil, "full_clone": true, "source_template_version": "latest",
				"attached_disk": []map[string]any{{"id": fakedaemon.SourceID, "interface": "virtio", "read_only": true}},
				"detached_disk": map[string]any{
					"name": "data", "description": "of the build", "permission": []map[string]any{{"role": "DiskOperator", "group": "ci"}},
				},
			}),
			[]string{
				`GetEngine {"engine":{}}`,
				call("DetachDisk", engine, 2, from+`"name":"data","description":"of the build","validateOnly":true,`+
					`"permissions":[{"role":"DiskOperator","group":"ci"}]`),
				call("CreateMachine", engine, 3, machine+`,"spec":{"template":{"name":"debian-12"},"clone":true,`+
					`"attachedDisks":[{"id":"`+fakedaemon.SourceID+`","interface":"DISK_INTERFACE_VIRTIO","readOnly":true}]}`),
				watch("1"),
				call("DetachDisk", engine, 4, from+`"name":"data","description":"of the build",`+
					`"permissions":[{"role":"DiskOperator","group":"ci"}]`),
				watch("2"),
			},
			[]string{"disk data"},
		},
		{
			"a detached disk that is sparsified",
			buildtest.With(minimal(), map[string]any{
				"template_name": nil, "full_clone": true, "sparsify": true, "detached_disk": map[string]any{"name": "data"},
			}),
			[]string{
				`GetEngine {"engine":{}}`,
				call("DetachDisk", engine, 2, from+`"name":"data","validateOnly":true`),
				call("CreateMachine", engine, 3, machine+`,"spec":{"template":{"name":"debian-12"},"clone":true}`),
				watch("1"),
				call("SparsifyDisk", engine, 4, strings.TrimSuffix(from, ",")),
				watch("2"),
				call("DetachDisk", engine, 5, from+`"name":"data"`),
				watch("3"),
			},
			[]string{"disk data"},
		},
		{
			"nothing to be left",
			buildtest.With(minimal(), map[string]any{"skip_create_artifact": true}),
			[]string{
				`GetEngine {"engine":{}}`,
				call("CreateMachine", engine, 2, machine+`,"spec":{"template":{"name":"debian-12"}}`),
				watch("1"),
				call("DestroyMachine", engine, 3, machine),
				watch("2"),
			},
			nil,
		},
		{
			"a forced build",
			buildtest.With(minimal(), map[string]any{"packer_force": true}),
			short(`"name":"debian-12"`, `,"replace":true`),
			[]string{"template golden"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, test.options)
			if _, err := build.Run(); err != nil {
				t.Fatal(err)
			}
			if calls := build.Daemon.Calls(); !slices.Equal(calls, test.calls) {
				t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(test.calls, "\n"))
			}
			if left := build.Daemon.Left(); !slices.Equal(left, test.left) {
				t.Errorf("left: %v, want %v", left, test.left)
			}
		})
	}
}

// everything is a configuration with every option that a build without a guest can have, and everyMachine and everyTemplate are
// the requests that it makes.
func everything() map[string]any {
	return buildtest.With(minimal(), map[string]any{
		"engine":                  "production",
		"source_template_version": 3,
		"vm_name":                 "build-vm",
		"vm_description":          "being built",
		"vm_tags":                 []string{"ci"},
		"cluster":                 "Second",
		"full_clone":              true,
		"cpu_sockets":             1,
		"cpu_cores":               2,
		"cpu_threads":             1,
		"memory":                  512,
		"guaranteed_memory":       256,
		"instance_type":           "Small",
		"bios_type":               "q35_secure_boot",
		"tpm":                     true,
		"virtio_scsi":             true,

		"virtio_scsi_multi_queues": true,
		"nic_multi_queues":         false,
		"storage_domain":           "fast",
		"boot_disk":                map[string]any{"size": 20, "interface": "virtio_scsi", "pass_discard": true},
		"template_disk":            []map[string]any{{"name": "swap", "wipe_after_delete": true}},
		"disk": []map[string]any{{
			"name": "data", "size": 5, "storage_domain": "slow", "format": "raw", "sparse": false, "interface": "virtio",
			"bootable": false, "read_only": false, "propagate_errors": true, "incremental_backup": false, "quota": "gold",
		}},
		"network_interface": []map[string]any{
			{"name": "nic1", "vnic_profile": "ovirtmgmt"},
			{"name": "nic2", "network": "storage", "interface": "e1000e", "mac_address": "56:6f:ab:cd:00:05", "linked": false},
		},
		"placement_hosts":    []string{"host1"},
		"placement_affinity": "pinned",
		"affinity_groups":    []string{"apart"},
		"affinity_labels":    []string{"ssd"},
		"quota":              "silver",
		"custom_properties":  map[string]string{"sap_agent": "true"},
		"host_name":          "builder",
		"time_zone":          "Europe/Berlin",
		"nic_configuration": []map[string]any{
			{"name": "ens3", "static_address": "10.11.0.5/24", "gateway": "10.11.0.1", "ipv6_static_address": "2001:db8::5/64"},
			{"name": "ens4", "boot_protocol": "none"},
		},
		"dns_servers":                 []string{"10.11.0.2"},
		"dns_search_domains":          []string{"example.com"},
		"ssh_password_authentication": true,
		"user_data":                   "runcmd: [[echo, '{{build_name}}', '{{ .Name }}']]",
		"ip_wait_timeout":             "30m",
		"ip_settle_timeout":           "5s",
		"ip_wait_address":             "10.11.0.0/16",
		"ip_ignored_addresses":        []string{"10.11.9.0/24"},
		"ip_wait_family":              "ipv4",
		"ip_wait_interfaces":          []string{"nic1"},
		"template_description":        "golden image",
		"template_seal":               false,
		"template_tags":               []string{"golden"},
		"template_permission":         []map[string]any{{"role": "UserTemplateBasedVm", "user": "jane@internal"}},
		"template_clone_permissions":  true,
		"template_storage_domain":     "archive",
		"template_disk_format":        "cow",
		"new_version":                 true,
		"version_name":                "spring",
		"keep_versions":               2,
		"boot_test":                   true,
		"boot_test_ssh_port":          2222,
		"sparsify":                    true,
	})
}

const (
	everyNic = `"nicConfigurations":[{"name":"ens3","bootProtocol":"BOOT_PROTOCOL_STATIC","staticAddress":"10.11.0.5/24","gateway":"10.11.0.1",` +
		`"ipv6BootProtocol":"BOOT_PROTOCOL_STATIC","ipv6StaticAddress":"2001:db8::5/64"},{"name":"ens4","bootProtocol":"BOOT_PROTOCOL_NONE"}]`
	everyAddress = `"addressSelection":{"nics":["nic1"],"family":"FAMILY_IPV4","cidrs":["10.11.0.0/16"],"ignoredCidrs":["10.11.9.0/24"],` +
		`"settleTime":"5s"}`
	everyMachine = `"spec":{"template":{"name":"debian-12","version":3},"name":"build-vm","cluster":"Second","clone":true,` +
		`"cpu":{"sockets":1,"cores":2,"threads":1},"memoryBytes":"536870912","nics":[` +
		`{"name":"nic1","vnicProfile":"ovirtmgmt"},` +
		`{"name":"nic2","network":"storage","interface":"NIC_INTERFACE_E1000E","mac":"56:6f:ab:cd:00:05","linked":false}],` +
		`"description":"being built","bootDisk":{"sizeBytes":"21474836480","interface":"DISK_INTERFACE_VIRTIO_SCSI","passDiscard":true},` +
		`"templateDisks":[{"name":"swap","wipeAfterDelete":true}],` +
		`"newDisks":[{"sizeBytes":"5368709120","name":"data","storageDomain":"slow","format":"DISK_FORMAT_RAW","sparse":false,` +
		`"interface":"DISK_INTERFACE_VIRTIO","bootable":false,"readOnly":false,"propagateErrors":true,"incrementalBackup":false,"quota":"gold"}],` +
		`"storageDomain":"fast",` +
		`"guaranteedMemoryBytes":"268435456","instanceType":"Small","biosType":"BIOS_TYPE_Q35_SECURE_BOOT","tpm":true,"virtioScsi":true,` +
		`"virtioScsiMultiQueues":true,"nicMultiQueues":false,"placement":{"hosts":["host1"],"affinity":"AFFINITY_PINNED"},` +
		`"affinityGroups":["apart"],"affinityLabels":["ssd"],"quota":"silver","customProperties":{"sap_agent":"true"},"tags":["ci"]},` +
		`"startWith":{"hostName":"builder",` + everyNic + `,"userData":"runcmd: [[echo, 'debian', 'build-vm']]","dnsServers":["10.11.0.2"],` +
		`"dnsSearchDomains":["example.com"],"timeZone":"Europe/Berlin","sshPasswordAuthentication":true},` +
		everyAddress + `,` +
		`"timeouts":{"address":"1800s"}`
	everyTemplate = `"name":"golden","description":"golden image","newVersion":true,"versionName":"spring","tags":["golden"],` +
		`"permissions":[{"role":"UserTemplateBasedVm","user":"jane@internal"}],"keepVersions":2,` +
		`"bootTest":{"initialization":{` + everyNic + `,"dnsServers":["10.11.0.2"],"dnsSearchDomains":["example.com"]},"sshPort":2222,` + everyAddress + `}`
	everyTemplateEnd = `,"storageDomain":"archive","diskFormat":"DISK_FORMAT_COW","clonePermissions":true,"sparsify":true`
)

// started is a configuration whose machine is started, but that needs no guest.
func started() map[string]any {
	return buildtest.With(minimal(), map[string]any{"user_data": "runcmd: []"})
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
		{"while the output is checked", "ValidateCreateTemplate", fakedaemon.Behaviour{}, nil},
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
			test.behaviour.OnCall = build.Cancel
			build.Daemon.On(test.method, test.behaviour)
			if err := build.MustFail(t); err.Error() != "the build was cancelled" {
				t.Errorf("error: %v", err)
			}
			methods := build.Daemon.Methods()
			if method, isCheck := strings.CutPrefix(test.method, "Validate"); isCheck {
				methods = methods[slices.Index(methods, method):]
			} else {
				slices.Reverse(methods)
				methods = methods[:slices.Index(methods, method)+1]
				slices.Reverse(methods)
			}
			if tail := methods[1:]; !slices.Equal(tail, test.tail) {
				t.Errorf("after %s came %v, want %v", test.method, tail, test.tail)
			}
		})
	}
	t.Run("while the provisioners run", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.Provision = func(ctx context.Context) error {
			build.Cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		if err := build.MustFail(t); err.Error() != "the build was cancelled" {
			t.Errorf("error: %v", err)
		}
		if methods := build.Daemon.Methods(); !slices.Contains(methods, "DestroyMachine") || slices.Contains(methods, "StopMachine") {
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
		{"output refused", "ValidateCreateTemplate", fakedaemon.Behaviour{Refuse: status.Error(codes.PermissionDenied, "no")}, []string{"no"}},
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
			build.Daemon.On(test.method, test.behaviour)
			err := build.MustFail(t)
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("the error does not say %q:\n%v", text, err)
				}
				if !strings.Contains(build.UI.Text(), text) {
					t.Errorf("the user does not read %q before the clean-up", text)
				}
			}
		})
	}
	t.Run("provisioner fails", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.Provision = func(context.Context) error { return errors.New("script exited with 1") }
		if err := build.MustFail(t); !strings.Contains(err.Error(), "script exited with 1") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("template is not in order", func(t *testing.T) {
		build := newTestBuild(t, started())
		build.Daemon.TemplateStatus = pb.Template_STATUS_ILLEGAL
		if err := build.MustFail(t); !strings.Contains(err.Error(), "STATUS_ILLEGAL") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestTakenTemplateNameIsRefusedFirst(t *testing.T) {
	build := newTestBuild(t, minimal())
	build.Daemon.AddTemplate(fakedaemon.SourceID, "golden")
	_, err := build.Run()
	if err == nil || !strings.Contains(err.Error(), "the name 'golden' is in use by template "+fakedaemon.SourceID) {
		t.Errorf("error: %v", err)
	}
	if methods := build.Daemon.Methods(); !slices.Equal(methods, []string{"GetEngine", "CreateTemplate", "CreateMachine"}) {
		t.Errorf("methods: %v", methods)
	}
	if left := build.Daemon.Left(); !slices.Equal(left, []string{"template golden"}) {
		t.Errorf("left: %v, want the old template alone", left)
	}
}

// What the engine does not have is told at once, whichever request it stands in, and nothing is made.
func TestAllThatIsMissingIsToldAtOnce(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"template_tags": []string{"gold"}, "disk": []map[string]any{{"size": 1}, {"size": 1, "storage_domain": "fats"}},
	}))
	refusal := func(field, text string) error {
		refused, err := status.New(codes.NotFound, "refused").WithDetails(&pb.Error{
			Code: int32(codes.NotFound), Violations: []*pb.FieldViolation{{Field: field, Description: text}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return refused.Err()
	}
	build.Daemon.On("ValidateCreateTemplate", fakedaemon.Behaviour{Refuse: refusal("tags[0]", "no tag 'gold'")})
	build.Daemon.On("ValidateCreateMachine", fakedaemon.Behaviour{Refuse: refusal("spec.new_disks[1].storage_domain", "no storage domain 'fats'")})
	err := build.MustFail(t)
	for _, text := range []string{"template_tags[0]: no tag 'gold'", "disk[1].storage_domain: no storage domain 'fats'"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q:\n%v", text, err)
		}
	}
}

// A machine that cannot be destroyed does not take the template with it: the daemon destroys it later.
func TestTemplateStandsWhenTheMachineCannotBeDestroyed(t *testing.T) {
	build := newTestBuild(t, minimal())
	build.Daemon.On("DestroyMachine", fakedaemon.Behaviour{Fail: &pb.Error{Message: "disk is locked"}, CleanupPending: true})
	artifact, err := build.Run()
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Id() != fakedaemon.TemplateID {
		t.Errorf("artifact: %v", artifact)
	}
	for _, text := range []string{"disk is locked", "the daemon goes on until it is gone", "machine list"} {
		if !strings.Contains(build.UI.Text(), text) {
			t.Errorf("the user does not read %q:\n%s", text, build.UI.Text())
		}
	}
}

// A machine whose destroy takes longer than the user wants to wait is not kept by that: the daemon goes on.
func TestADestroyThatTakesTooLong(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"cleanup_timeout": "50ms"}))
	build.Daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true})
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	if text := build.UI.Text(); !strings.Contains(text, "could not be destroyed yet: it takes longer than 50ms (cleanup_timeout)") {
		t.Errorf("the user reads:\n%s", text)
	}
	if slices.Contains(build.Daemon.Methods(), "CancelOperation") {
		t.Error("the destroy is cancelled")
	}
}

// A panic anywhere is a failed build that cleans up, never (nil, nil).
func TestPanic(t *testing.T) {
	for at, name := range map[int]string{2: "create machine", 3: "stop", 4: "create template", 5: "destroy machine"} {
		t.Run(name, func(t *testing.T) {
			build := newTestBuild(t, started())
			next, calls := build.builder.NewID, 0
			build.builder.NewID = func() string {
				if calls++; calls == at {
					panic("a defect")
				}
				return next()
			}
			if err := build.MustFail(t); !strings.Contains(err.Error(), "a defect") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestLostLeaseEndsTheBuild(t *testing.T) {
	build := newTestBuild(t, started())
	build.Daemon.SetLease(0, status.Error(codes.Aborted, "lease expired at 12:00"))
	build.Provision = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := build.MustFail(t); !strings.Contains(err.Error(), "lease expired at 12:00") {
		t.Errorf("error: %v", err)
	}
}

// With -on-error=abort the machine is the user's from then on, and the user is told how to destroy it.
func TestOnErrorAbort(t *testing.T) {
	machine := "machine packer-debian-" + buildtest.ID(1)
	command := "ovirt-provision machine destroy 'packer-debian-" + buildtest.ID(1) + "'"
	for _, test := range []struct {
		name      string
		method    string
		behaviour fakedaemon.Behaviour
		provision error
		tail      []string
		left      []string
		says      string
	}{
		{"a provisioner fails", "", fakedaemon.Behaviour{}, errors.New("script exited with 1"), []string{"ConfirmMachine"}, []string{machine}, command},
		{
			"the machine fails and was kept", "CreateMachine", fakedaemon.Behaviour{Fail: &pb.Error{Message: "no address"}}, nil,
			[]string{"CreateMachine", "WatchOperation"}, []string{machine}, command,
		},
		{"the machine is refused", "CreateMachine", fakedaemon.Behaviour{Refuse: refusedByDaemon(t)}, nil, []string{"CreateMachine"}, nil, "no"},
		{
			"the template cannot be read", "GetTemplate", fakedaemon.Behaviour{Refuse: status.Error(codes.NotFound, "gone")}, nil,
			[]string{"GetTemplate"}, []string{"template golden"}, "Template golden (version 1, id " + fakedaemon.TemplateID + ") stands",
		},
		{
			"it cannot be confirmed", "ConfirmMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Aborted, "lease expired")},
			errors.New("script exited with 1"), []string{"ConfirmMachine"}, []string{machine}, "cannot be kept, as -on-error asks: lease expired",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(started(), map[string]any{"packer_on_error": "abort"}))
			build.Provision = func(context.Context) error { return test.provision }
			build.Daemon.On(test.method, test.behaviour)
			artifact, err := build.Run()
			if err == nil || artifact != nil {
				t.Fatalf("Run gave (%v, %v)", artifact, err)
			}
			if left := build.Daemon.Left(); !slices.Equal(left, test.left) {
				t.Errorf("left: %v, want %v", left, test.left)
			}
			if methods := build.Daemon.Methods(); !slices.Equal(methods[len(methods)-len(test.tail):], test.tail) {
				t.Errorf("methods: %v, want %v at the end", methods, test.tail)
			}
			if text := build.UI.Text(); !strings.Contains(text, test.says) {
				t.Errorf("the user does not read %q: %s", test.says, text)
			}
		})
	}
}

func refusedByDaemon(t *testing.T) error {
	t.Helper()
	refused, err := status.New(codes.NotFound, "no").WithDetails(&pb.Error{Code: int32(codes.NotFound), Message: "no"})
	if err != nil {
		t.Fatal(err)
	}
	return refused.Err()
}

// What -on-error=ask makes of a step that failed: it is tried again, and what it left goes first.
func TestTryingAgain(t *testing.T) {
	build := newTestBuild(t, buildtest.With(started(), map[string]any{"packer_on_error": "ask"}))
	build.UI.Answers = []string{"r", "c"}
	build.Daemon.On("CreateMachine", fakedaemon.Behaviour{Fail: &pb.Error{Message: "no address"}})
	if err := build.MustFail(t); !strings.Contains(err.Error(), "no address") {
		t.Errorf("error: %v", err)
	}
	creates := 0
	for _, method := range build.Daemon.Methods() {
		if method == "CreateMachine" {
			creates++
		}
	}
	if creates != 2 {
		t.Errorf("methods: %v", build.Daemon.Methods())
	}
}

// Once older templates may be gone, the new one stands, whatever comes then.
func TestNoWayBackFromAReplacement(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"with -force":        {"packer_force": true},
		"with keep_versions": {"new_version": true, "keep_versions": 1},
		"with -on-error":     {"packer_force": true, "packer_on_error": "abort"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"CreateTemplate", "DestroyMachine", "GetTemplate"} {
				build := newTestBuild(t, buildtest.With(minimal(), options))
				build.Daemon.AddTemplate(fakedaemon.SourceID, "golden")
				build.Daemon.On(method, fakedaemon.Behaviour{Hang: method == "CreateTemplate", DeafToCancel: true, OnCall: build.Cancel})
				artifact, err := build.Run()
				if err != nil || artifact.Id() != fakedaemon.TemplateID || !strings.Contains(build.UI.Text(), "too late to cancel") {
					t.Errorf("cancelled in %s: Run gave (%v, %v)\n%s", method, artifact, err, build.UI.Text())
				}
				if left := build.Daemon.Left(); slices.ContainsFunc(left, func(what string) bool { return strings.HasPrefix(what, "machine") }) {
					t.Errorf("cancelled in %s: left: %v", method, left)
				}
			}
			build := newTestBuild(t, buildtest.With(minimal(), options))
			build.Daemon.TemplateStatus = pb.Template_STATUS_ILLEGAL
			if _, err := build.Run(); err == nil || !strings.Contains(err.Error(), "STATUS_ILLEGAL") {
				t.Errorf("error: %v", err)
			}
			if left := build.Daemon.Left(); !slices.Equal(left, []string{"template golden"}) {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// What the storage got back is told, whether a template or a disk is made.
func TestSparsify(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"a template": {"template_disk_format": "raw"},
		"a disk":     {"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"name": "data"}},
	} {
		t.Run(name, func(t *testing.T) {
			build := newTestBuild(t, buildtest.With(buildtest.With(minimal(), options), map[string]any{"sparsify": true}))
			if _, err := build.Run(); err != nil {
				t.Fatal(err)
			}
			if text := build.UI.Text(); !strings.Contains(text, "Disk disk takes 1.0 GiB, and took 2.0 GiB before it was sparsified") {
				t.Errorf("the user reads:\n%s", text)
			}
		})
	}
	t.Run("a disk that cannot be sparsified", func(t *testing.T) {
		build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
			"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"name": "data"}, "sparsify": true,
		}))
		build.Daemon.On("SparsifyDisk", fakedaemon.Behaviour{Fail: &pb.Error{Message: "Sparsifying is not supported for QCOW2 disk"}})
		if err := build.MustFail(t); !strings.Contains(err.Error(), "error sparsifying the disk: Sparsifying is not supported") {
			t.Errorf("error: %v", err)
		}
	})
}

// The disk goes again when the build ends otherwise than with it.
func TestCancelOfADetachedDisk(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"name": "data"},
	}))
	build.Daemon.On("DetachDisk", fakedaemon.Behaviour{Hang: true, DeafToCancel: true, OnCall: build.Cancel})
	if err := build.MustFail(t); err.Error() != "the build was cancelled" {
		t.Errorf("error: %v", err)
	}
	if methods := build.Daemon.Methods(); !slices.Contains(methods, "DestroyDisk") || slices.Contains(methods, "DestroyMachine") {
		t.Errorf("methods: %v", methods)
	}
}

func TestWarningsAreShown(t *testing.T) {
	build := newTestBuild(t, minimal())
	build.Daemon.On("CreateTemplate", fakedaemon.Behaviour{Warnings: []string{"version 1 is in use by VM web and stays"}})
	if _, err := build.Run(); err != nil {
		t.Fatal(err)
	}
	if text := build.UI.Text(); !strings.Contains(text, "Warning: version 1 is in use by VM web and stays") {
		t.Errorf("the user is not warned: %s", text)
	}
}

func TestNothingIsLeftWhereNothingIsWanted(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{"skip_create_artifact": true}))
	artifact, err := build.Run()
	if err != nil || artifact != nil {
		t.Errorf("Run gave (%v, %v)", artifact, err)
	}
}
