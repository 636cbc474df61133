package common

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// run calls a verb, shows its operation until that has ended, and notes how long its phases took. When ctx ends, the
// operation is cancelled and its undo waited for.
func run(
	ctx context.Context, state multistep.StateBag, verb string,
	call func(context.Context) (*pb.Operation, error),
) (*pb.Operation, error) {
	shown := showProgress(uiOf(state), verb)
	defer shown.close()
	operation, err := clientOf(state).Run(ctx, call, shown.show)
	timingsOf(state).addPhases(operation)
	if operation.GetCleanup() == pb.Operation_CLEANUP_PENDING {
		uiOf(state).Say("The engine still holds a lock on what is to be removed; the daemon goes on until it is gone.")
	}
	for _, warning := range operation.GetWarnings() {
		uiOf(state).Say("Warning: " + warning)
	}
	return operation, err
}
