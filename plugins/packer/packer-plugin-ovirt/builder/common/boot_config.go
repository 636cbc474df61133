//go:generate go tool packer-sdc struct-markdown

package common

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/bootcommand"
)

// BootConfig is what is typed into the virtual machine when it has started.
type BootConfig struct {
	bootcommand.BootConfig `mapstructure:",squash"`
	// From one key event to the next, such as `50ms`. By default as the daemon is
	// configured, `100ms`.
	BootKeyInterval time.Duration `mapstructure:"boot_key_interval" required:"false"`
}
