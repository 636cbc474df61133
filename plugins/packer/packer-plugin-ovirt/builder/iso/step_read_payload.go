package iso

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/common"
)

// statePayload is what the volume of small files holds, by path.
const statePayload = "payload"

// stepReadPayload reads the files of this host that the machine gets on a volume.
type stepReadPayload struct {
	config *Config
}

func (s *stepReadPayload) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	files, option := s.config.FloppyFiles, "floppy_files"
	if s.config.hasCD() {
		files, option = s.config.CDFiles, "cd_files"
	}
	found, err := s.read(files)
	if err != nil {
		return common.Halt(ctx, state, "reading "+option, err)
	}
	state.Put(statePayload, found)
	return multistep.ActionContinue
}

// read reads the files, side by side: the engine's volumes have no folders.
func (s *stepReadPayload) read(given []string) (map[string][]byte, error) {
	var paths []string
	for _, pattern := range given {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		paths = append(paths, matches...)
	}
	found, err := common.ReadFiles(paths, s.config.contents())
	if err != nil {
		return nil, err
	}
	flat := map[string][]byte{}
	for name, content := range found {
		base := "/" + path.Base(name)
		if _, isTaken := flat[base]; isTaken {
			return nil, fmt.Errorf("two files are called %s, and the engine's volumes have no folders", path.Base(name))
		}
		flat[base] = content
	}
	return flat, nil
}

func (s *stepReadPayload) Cleanup(multistep.StateBag) {}
