package client

import (
	"fmt"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Describe says in a line where an operation is, such as ` 40 % cloning: disk 1 of 2`.
func Describe(operation *pb.Operation) string {
	line := fmt.Sprintf("%3d %% %s", operation.GetPercent(), operation.GetPhase())
	switch operation.GetState() {
	case pb.Operation_STATE_UNDOING:
		line = "undoing: " + operation.GetPhase()
	case pb.Operation_STATE_SUCCEEDED:
		line = "100 % done"
	case pb.Operation_STATE_CANCELLED:
		line = "cancelled and undone"
	case pb.Operation_STATE_FAILED:
		line = "failed"
	}
	if text := operation.GetProgress(); text != "" && operation.GetEndTime() == nil {
		line += ": " + text
	}
	return line
}
