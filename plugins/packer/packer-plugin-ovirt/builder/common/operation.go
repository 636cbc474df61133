package common

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// call calls a verb.
type call = func(context.Context) (*pb.Operation, error)

// run calls a verb, shows its operation until that has ended, and notes how long its phases took. When ctx ends, the
// operation is cancelled and its undo waited for.
func run(
	ctx context.Context, state multistep.StateBag, verb string, call call,
) (*pb.Operation, error) {
	return show(state, verb, func(onProgress func(*pb.Operation)) (*pb.Operation, error) {
		return clientOf(state).Run(ctx, call, onProgress)
	})
}

// cleanUp is as run for what destroys something, and goes on in the daemon after the timeout. It does not depend on the context of
// the build, which has often ended by then.
func cleanUp(state multistep.StateBag, timeout time.Duration, verb string, call call) error {
	ctx, cancel := untilCleanupTimeout(timeout)
	defer cancel()
	_, err := show(state, verb, func(onProgress func(*pb.Operation)) (*pb.Operation, error) {
		return clientOf(state).RunWithoutCancel(ctx, call, onProgress)
	})
	return err
}

// untilCleanupTimeout is the context of what clears up.
func untilCleanupTimeout(timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), timeout, fmt.Errorf("it takes longer than %s (cleanup_timeout)", timeout))
}

// show shows the operation that follow waits for.
func show(
	state multistep.StateBag, verb string, follow func(onProgress func(*pb.Operation)) (*pb.Operation, error),
) (*pb.Operation, error) {
	shown := showProgress(uiOf(state), verb)
	defer shown.close()
	operation, err := follow(shown.show)
	timingsOf(state).addPhases(operation)
	if operation.GetCleanup() == pb.Operation_CLEANUP_PENDING {
		uiOf(state).Say(client.CleanupPending)
	}
	for _, warning := range operation.GetWarnings() {
		uiOf(state).Say("Warning: " + warning)
	}
	for _, disk := range operation.GetSparsified() {
		uiOf(state).Sayf("Disk %s takes %s, and took %s before it was sparsified",
			disk.GetName(), client.DescribeSize(disk.GetBytesAfter()), client.DescribeSize(disk.GetBytesBefore()))
	}
	return operation, err
}

// undo destroys what a step has made in a build that has failed. what says what it is, such as `template golden (id 1)`.
func undo(state multistep.StateBag, timeout time.Duration, verb, what string, destroy call) {
	ui := uiOf(state)
	ui.Sayf("Destroying %s...", what)
	if err := cleanUp(state, timeout, verb, destroy); err != nil {
		ui.Errorf("It could not be destroyed, and %s still stands: %s", what, err)
	}
}
