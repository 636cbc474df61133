package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Artifact is what was exported: a file of this host, or what the engine has put elsewhere.
type Artifact struct {
	id string
	// file is empty where it was exported to place.
	file  string
	place string
}

var _ packersdk.Artifact = (*Artifact)(nil)

// BuilderId says which component made the artifact.
func (a *Artifact) BuilderId() string { return BuilderID }

// Files is the file, where it is on this host.
func (a *Artifact) Files() []string {
	if a.file == "" {
		return nil
	}
	return []string{a.file}
}

// Id is the checksum of the file, or else the id of the template.
func (a *Artifact) Id() string { return a.id }

func (a *Artifact) String() string {
	if a.file == "" {
		return fmt.Sprintf("oVirt template %s in %s", a.id, a.place)
	}
	return fmt.Sprintf("disk image %s (%s)", a.file, a.id)
}

// State knows nothing more.
func (a *Artifact) State(string) any { return nil }

// Destroy removes the file. What the engine has exported elsewhere it does not take back.
func (a *Artifact) Destroy() error {
	if a.file == "" {
		return fmt.Errorf("the %s has to be cleared by hand: the engine takes nothing back that it has exported", a.place)
	}
	if err := os.Remove(a.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
