package clone

import (
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

func TestArtifact(t *testing.T) {
	build := newTestBuild(t, minimal())
	artifact, err := build.run()
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Id() != fakedaemon.TemplateID || artifact.BuilderId() != BuilderID || len(artifact.Files()) != 0 {
		t.Errorf("artifact: %+v", artifact)
	}
	if want := "oVirt template golden (version 1, id " + fakedaemon.TemplateID + ") on engine default"; artifact.String() != want {
		t.Errorf("it calls itself %q, want %q", artifact, want)
	}
	metadata, ok := artifact.State(image.ArtifactStateURI).(*image.Image)
	if !ok || metadata.ProviderName != "ovirt" || metadata.ImageID != fakedaemon.TemplateID ||
		metadata.ProviderRegion != "Default" || metadata.SourceImageID != fakedaemon.SourceID ||
		metadata.Labels["template_name"] != "golden" {
		t.Errorf("metadata: %+v", metadata)
	}

	// The daemon was restarted since the build: the artifact connects anew.
	if err := build.daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := artifact.Destroy(); err != nil {
		t.Fatal(err)
	}
	if left := build.daemon.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestArtifactOfADisk(t *testing.T) {
	build := newTestBuild(t, with(minimal(), map[string]any{
		"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"name": "data"},
	}))
	artifact, err := build.run()
	if err != nil {
		t.Fatal(err)
	}
	if want := "oVirt disk data (id " + fakedaemon.DiskID + ") on engine default"; artifact.String() != want || artifact.Id() != fakedaemon.DiskID {
		t.Errorf("it calls itself %q, want %q", artifact, want)
	}
	metadata, ok := artifact.State(image.ArtifactStateURI).(*image.Image)
	if !ok || metadata.ImageID != fakedaemon.DiskID || metadata.Labels["disk_name"] != "data" {
		t.Errorf("metadata: %+v", metadata)
	}
	if data := artifact.State("generated_data").(map[string]any); data["DiskID"] != fakedaemon.DiskID || data["DiskName"] != "data" {
		t.Errorf("post-processors read %v", data)
	}
	if err := artifact.Destroy(); err != nil {
		t.Fatal(err)
	}
	if left := build.daemon.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestArtifactThatCannotBeDestroyed(t *testing.T) {
	build := newTestBuild(t, minimal())
	artifact, err := build.run()
	if err != nil {
		t.Fatal(err)
	}
	build.daemon.On("DestroyTemplate", fakedaemon.Behaviour{Fail: &pb.Error{Message: "a VM uses it"}})
	if err := artifact.Destroy(); err == nil || !strings.Contains(err.Error(), "a VM uses it") {
		t.Errorf("got %v", err)
	}
}
