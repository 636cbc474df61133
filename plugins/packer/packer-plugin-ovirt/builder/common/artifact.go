package common

import (
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Artifact is the template, or else the disk, that a build has made.
type Artifact struct {
	builderID string
	template  *pb.Template
	// disk is nil unless the build has made a disk.
	disk    *pb.DiskInfo
	machine *pb.Machine
	engine  *pb.Engine
	// stateData is what post-processors ask for by State.
	stateData      map[string]any
	options        client.Options
	newID          func() string
	cleanupTimeout time.Duration
}

// What post-processors of ours read by State of what builders have made: whether it is a template or a disk, and the profile of the
// engine as the user gave it.
const (
	StateKind    = "ovirt_kind"
	KindTemplate = "template"
	KindDisk     = "disk"
	StateEngine  = "ovirt_engine"
)

// NewArtifact is the artifact of what the steps of a build have made, or of what was imported.
func NewArtifact(builderID string, state multistep.StateBag, engine EngineConfig, newID func() string) *Artifact {
	artifact := &Artifact{
		builderID:      builderID,
		template:       soFar[*pb.Template](state, stateTemplate),
		disk:           soFar[*pb.DiskInfo](state, stateDisk),
		machine:        soFar[*pb.Machine](state, stateMachine),
		engine:         engineOf(state),
		options:        engine.clientOptions(nil),
		newID:          newID,
		cleanupTimeout: engine.CleanupTimeout,
	}
	if operation, isImported := state.Get(stateImported).(*pb.Operation); isImported && artifact.template == nil && artifact.disk == nil {
		artifact.template, artifact.disk = operation.GetTemplate(), operation.GetDisk()
	}
	artifact.stateData = map[string]any{
		"generated_data": state.Get("generated_data"), StateKind: KindTemplate, StateEngine: engine.Engine,
	}
	if artifact.disk != nil {
		artifact.stateData[StateKind] = KindDisk
	}
	return artifact
}

// BuilderId says which builder made the artifact.
func (a *Artifact) BuilderId() string { return a.builderID }

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

// labels are what the registry shows of the artifact, besides where it came from. What is not known is left out.
func (a *Artifact) labels() map[string]any {
	labels := map[string]any{}
	add := func(name, value string) {
		if value != "" {
			labels[name] = value
		}
	}
	add("engine_url", a.engine.GetUrl())
	add("engine_version", a.engine.GetVersion())
	add("cluster", a.machine.GetCluster())
	add("vm_name", a.machine.GetName())
	add("source_template_id", a.machine.GetTemplateId())
	if a.disk != nil {
		add("engine", a.disk.GetEngine())
		add("disk_name", a.disk.GetName())
		add("disk_description", a.disk.GetDescription())
		add("disk_size", fmt.Sprintf("%d MiB", a.disk.GetSizeBytes()/mebibyte))
		add("disk_format", a.disk.GetFormat())
		add("storage_domains", strings.Join(a.disk.GetStorageDomains(), ", "))
		return labels
	}
	add("engine", a.template.GetEngine())
	add("template_name", a.template.GetName())
	add("template_version", fmt.Sprint(a.template.GetVersion()))
	add("template_version_name", a.template.GetVersionName())
	add("template_description", a.template.GetDescription())
	add("operating_system", a.template.GetOs())
	add("tags", strings.Join(a.template.GetTags(), ", "))
	return labels
}

// Destroy destroys the template or the disk; the daemon refuses what is not its own. Packer calls it long after the build:
// it connects anew. Why it has failed is logged, too, because the SDK's RPC loses the text of the error.
func (a *Artifact) Destroy() error {
	err := a.destroy()
	if err != nil {
		log.Printf("[ERROR] %s cannot be destroyed: %s", a, err)
	}
	return err
}

func (a *Artifact) destroy() error {
	ctx, cancel := untilCleanupTimeout(a.cleanupTimeout)
	defer cancel()
	daemon, err := client.Connect(ctx, a.options)
	if err != nil {
		return err
	}
	defer daemon.Close()
	destroy := destroyTemplate(daemon, a.newID, a.template.GetId())
	if a.disk != nil {
		destroy = destroyDisk(daemon, a.newID, a.disk.GetId())
	}
	_, err = daemon.RunWithoutCancel(ctx, destroy, nil)
	return err
}
