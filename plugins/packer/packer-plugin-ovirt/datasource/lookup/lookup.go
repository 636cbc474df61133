// Package lookup is what the data sources have in common: they ask the daemon one question.
package lookup

import (
	"context"
	"fmt"
	"log"
	"regexp"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"google.golang.org/protobuf/proto"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

// timeout bounds a look-up, the start of the daemon included. Packer's data sources cannot be cancelled.
const timeout = 5 * time.Minute

// origins say which option a field of a request comes from, where it has another name.
var origins = options.Origins{{Field: "engine.profile", Option: "engine"}}

// Check holds a request against the rules of the schema, and a regular expression against its syntax. It returns all
// that is wrong at once, in the words of the options.
func Check(request proto.Message, nameRegex string) error {
	var problems *packersdk.MultiError
	if _, err := regexp.Compile(nameRegex); err != nil {
		problems = packersdk.MultiErrorAppend(problems, &options.Problem{
			Option: "name_regex", Text: fmt.Sprintf("'%s' is no regular expression: %s", nameRegex, err),
		})
	}
	problems = packersdk.MultiErrorAppend(problems, origins.Check(request, nil)...)
	if len(problems.Errors) > 0 {
		return problems
	}
	return nil
}

// Ask connects to the daemon, which it starts where that is ours to do, and asks it about the engine of a profile.
func Ask[Reply any](profile string, ask func(context.Context, *client.Client) (Reply, error)) (reply Reply, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, fmt.Errorf("the look-up takes longer than %s", timeout))
	defer cancel()
	daemon, err := client.Connect(ctx, client.Options{
		Profile:   profile,
		UserAgent: "packer-plugin-ovirt/" + version.PluginVersion.String(),
		Say:       func(message string) { log.Print("[INFO] " + message) },
	})
	if err != nil {
		return reply, err
	}
	defer func() { _ = daemon.Close() }()
	reply, err = ask(ctx, daemon)
	return reply, origins.Rename(err)
}
