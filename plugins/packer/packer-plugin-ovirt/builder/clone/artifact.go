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

// Artifact is the template that a build has made.
type Artifact struct {
	template *pb.Template
	machine  *pb.Machine
	// stateData is what post-processors ask for by State.
	stateData      map[string]any
	options        client.Options
	newID          func() string
	cleanupTimeout time.Duration
}

// BuilderId says which builder made the artifact.
func (a *Artifact) BuilderId() string { return BuilderID }

// Files is empty: the template is in the engine.
func (a *Artifact) Files() []string { return nil }

// Id is the id of the template version in the engine.
func (a *Artifact) Id() string { return a.template.GetId() }

func (a *Artifact) String() string {
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
		image.SetLabels(map[string]any{
			"engine":           a.template.GetEngine(),
			"template_name":    a.template.GetName(),
			"template_version": fmt.Sprint(a.template.GetVersion()),
		}),
	)
	if err != nil {
		return err
	}
	return metadata
}

// Destroy destroys the template. Packer calls it long after the build: it connects anew.
func (a *Artifact) Destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cleanupTimeout)
	defer cancel()
	daemon, err := client.Connect(ctx, a.options)
	if err != nil {
		return err
	}
	defer daemon.Close()
	_, err = daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Templates.DestroyTemplate(ctx, &pb.DestroyTemplateRequest{
			Engine: daemon.Engine, RequestId: a.newID(), Id: a.template.GetId(),
		})
		return reply.GetOperation(), err
	}, nil)
	return err
}
