package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Artifact is the file that was exported.
type Artifact struct {
	checksum string
	file     string
}

var _ packersdk.Artifact = (*Artifact)(nil)

// BuilderId says which component made the artifact.
func (a *Artifact) BuilderId() string { return BuilderID }

// Files is the file.
func (a *Artifact) Files() []string { return []string{a.file} }

// Id is the checksum of the file.
func (a *Artifact) Id() string { return a.checksum }

func (a *Artifact) String() string {
	return fmt.Sprintf("disk image %s (%s)", a.file, a.checksum)
}

// State knows nothing more.
func (a *Artifact) State(string) any { return nil }

// Destroy removes the file.
func (a *Artifact) Destroy() error {
	if err := os.Remove(a.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
