package clone

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// BuilderID says which builder an artifact comes from.
const BuilderID = "ovirt-provision.ovirt-clone"

// Artifact is the template, or else the disk, that a build has made.
type Artifact struct {
	template *pb.Template
	// disk is nil unless the build has made a disk.
	disk    *pb.DiskInfo
	machine *pb.Machine
	// stateData is what post-processors ask for by State.
	stateData      map[string]any
	options        client.Options
	newID          func() string
	cleanupTimeout time.Duration
}

// BuilderId says which builder made the artifact.
func (a *Artifact) BuilderId() string { return BuilderID }

// Files is empty: what was made is in the engine.
func (a *Artifact) Files() []string { return nil }

// Id is the id of the template version, or of the disk, in the engine.
func (a *Artifact) Id() string {
	if a.disk != nil {
		return a.disk.GetId()
	}
	return a.template.GetId()
}

func (a *Artifact) String() string {
	if a.disk != nil {
		return fmt.Sprintf("oVirt disk %s (id %s) on engine %s", a.disk.GetName(), a.disk.GetId(), a.disk.GetEngine())
	}
	return fmt.Sprintf("oVirt template %s (version %d, id %s) on engine %s",
		a.template.GetName(), a.template.GetVersion(), a.template.GetId(), a.template.GetEngine())
}

// State gives post-processors what else is known: "generated_data", and the metadata for the HCP Packer registry.
func (a *Artifact) State(name string) any {
	if name != image.ArtifactStateURI {
		return a.stateData[name]
	}
	metadata, err := image.FromArtifact(a,
		image.WithProvider("ovirt"),
		image.WithRegion(a.machine.GetCluster()),
		image.WithSourceID(a.machine.GetTemplateId()),
		image.SetLabels(a.labels()),
	)
	if err != nil {
		return err
	}
	return metadata
}

func (a *Artifact) labels() map[string]any {
	if a.disk != nil {
		return map[string]any{"engine": a.disk.GetEngine(), "disk_name": a.disk.GetName()}
	}
	return map[string]any{
		"engine":           a.template.GetEngine(),
		"template_name":    a.template.GetName(),
		"template_version": fmt.Sprint(a.template.GetVersion()),
	}
}

// Destroy destroys the template or the disk. Packer calls it long after the build: it connects anew.
func (a *Artifact) Destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cleanupTimeout)
	defer cancel()
	daemon, err := client.Connect(ctx, a.options)
	if err != nil {
		return err
	}
	defer daemon.Close()
	_, err = daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		if a.disk != nil {
			reply, err := daemon.Disks.DestroyDisk(ctx, &pb.DestroyDiskRequest{
				Engine: daemon.Engine, RequestId: a.newID(), Id: a.disk.GetId(),
			})
			return reply.GetOperation(), err
		}
		reply, err := daemon.Templates.DestroyTemplate(ctx, &pb.DestroyTemplateRequest{
			Engine: daemon.Engine, RequestId: a.newID(), Id: a.template.GetId(),
		})
		return reply.GetOperation(), err
	}, nil)
	return err
}
