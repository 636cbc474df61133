package clone

import (
	"bytes"
	"log"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	"github.com/hashicorp/packer-plugin-sdk/rpc"
	"github.com/mitchellh/mapstructure"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

func TestArtifact(t *testing.T) {
	build := newTestBuild(t, minimal())
	artifact, err := build.Run()
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Id() != fakedaemon.TemplateID || artifact.BuilderId() != BuilderID || len(artifact.Files()) != 0 {
		t.Errorf("artifact: %+v", artifact)
	}
	if want := "oVirt template golden (version 1, id " + fakedaemon.TemplateID + ") on engine default"; artifact.String() != want {
		t.Errorf("it calls itself %q, want %q", artifact, want)
	}
	wantRegistered(t, artifact, image.Image{
		ImageID: fakedaemon.TemplateID, ProviderName: "ovirt", ProviderRegion: "Default", SourceImageID: fakedaemon.SourceID,
		Labels: map[string]string{
			"engine": "default", "engine_url": "https://engine.example.com/ovirt-engine/api", "engine_version": "4.5.8",
			"cluster": "Default", "vm_name": "packer-debian-00000000-0000-4000-8000-000000000001",
			"source_template_id": fakedaemon.SourceID, "template_name": "golden", "template_version": "1",
		},
	})

	// The daemon was restarted since the build: the artifact connects anew.
	if err := build.Daemon.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := artifact.Destroy(); err != nil {
		t.Fatal(err)
	}
	if left := build.Daemon.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestArtifactOfADisk(t *testing.T) {
	build := newTestBuild(t, buildtest.With(minimal(), map[string]any{
		"template_name": nil, "full_clone": true, "detached_disk": map[string]any{"name": "data"},
	}))
	artifact, err := build.Run()
	if err != nil {
		t.Fatal(err)
	}
	if want := "oVirt disk data (id " + fakedaemon.DiskID + ") on engine default"; artifact.String() != want || artifact.Id() != fakedaemon.DiskID {
		t.Errorf("it calls itself %q, want %q", artifact, want)
	}
	wantRegistered(t, artifact, image.Image{
		ImageID: fakedaemon.DiskID, ProviderName: "ovirt", ProviderRegion: "Default", SourceImageID: fakedaemon.SourceID,
		Labels: map[string]string{
			"engine": "default", "engine_url": "https://engine.example.com/ovirt-engine/api", "engine_version": "4.5.8",
			"cluster": "Default", "vm_name": "packer-debian-00000000-0000-4000-8000-000000000001",
			"source_template_id": fakedaemon.SourceID, "disk_name": "data", "disk_size": "0 MiB",
		},
	})
	if data := artifact.State("generated_data").(map[string]any); data["DiskID"] != fakedaemon.DiskID || data["DiskName"] != "data" {
		t.Errorf("post-processors read %v", data)
	}
	if err := artifact.Destroy(); err != nil {
		t.Fatal(err)
	}
	if left := build.Daemon.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestArtifactThatCannotBeDestroyed(t *testing.T) {
	build := newTestBuild(t, minimal())
	artifact, err := build.Run()
	if err != nil {
		t.Fatal(err)
	}
	build.Daemon.On("DestroyTemplate", fakedaemon.Behaviour{Fail: &pb.Error{Message: "a VM uses it"}})
	if err := artifact.Destroy(); err == nil || !strings.Contains(err.Error(), "a VM uses it") {
		t.Errorf("got %v", err)
	}
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	if err := overRPC(t, artifact).Destroy(); err == nil || !strings.Contains(logged.String(), "a VM uses it") {
		t.Errorf("Packer gets %v, its log %s", err, logged.String())
	}
}

// overRPC is the artifact as the core of Packer has it, at the other end of a connection.
func overRPC(t *testing.T, artifact packersdk.Artifact) packersdk.Artifact {
	t.Helper()
	here, there := net.Pipe()
	server, err := rpc.NewServer(here)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	if err := server.RegisterArtifact(artifact); err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	client, err := rpc.NewClient(there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client.Artifact()
}

// wantRegistered checks what reaches the HCP Packer registry: Packer's core decodes the state in this way.
func wantRegistered(t *testing.T, artifact packersdk.Artifact, want image.Image) {
	t.Helper()
	var got []image.Image
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &got, WeaklyTypedInput: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := decoder.Decode(overRPC(t, artifact).State(image.ArtifactStateURI)); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("registered is\n%+v\nnot\n%+v", got, want)
	}
}
