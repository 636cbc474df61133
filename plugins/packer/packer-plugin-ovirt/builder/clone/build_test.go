package clone

import (
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// testBuild is a build of this builder.
type testBuild struct {
	*buildtest.Build
	builder *common.Builder
}

// minimal is the smallest configuration of a build that nobody logs in to.
func minimal() map[string]any {
	return map[string]any{
		"packer_build_name":    "debian",
		"source_template_name": "debian-12",
		"template_name":        "golden",
		"communicator":         "none",
	}
}

func newTestBuild(t *testing.T, options map[string]any) *testBuild {
	t.Helper()
	builder := NewBuilder()
	builder.NewID = buildtest.CountingIDs()
	return &testBuild{buildtest.New(t, builder, options), builder}
}
