package client

import (
	"fmt"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const (
	kibibyte = 1 << 10
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// CleanupPending is what a user is told of an operation whose cleanup is CLEANUP_PENDING.
const CleanupPending = "The engine still holds a lock on what is to be removed; the daemon goes on until it is gone."

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
	if moved := operation.GetTransferred(); moved != nil && operation.GetEndTime() == nil {
		line += ", " + DescribeBytes(moved.GetDoneBytes(), moved.GetTotalBytes(), moved.GetBytesPerSecond())
	}
	return line
}

// DescribeBytes says how far a transfer is, such as `1.5 of 4.0 GiB, 80 MiB/s`; a rate of 0 is not known.
func DescribeBytes(done, total, perSecond int64) string {
	unit, size := unitOf(total)
	text := fmt.Sprintf("%.1f of %.1f %s", float64(done)/size, float64(total)/size, unit)
	if perSecond > 0 {
		text += fmt.Sprintf(", %.0f MiB/s", float64(perSecond)/mebibyte)
	}
	return text
}

// DescribeSize says a number of bytes for people, such as `1.5 GiB`.
func DescribeSize(bytes int64) string {
	name, size := unitOf(bytes)
	return fmt.Sprintf("%.1f %s", float64(bytes)/size, name)
}

// unitOf is the unit in which so many bytes are said.
func unitOf(bytes int64) (name string, size float64) {
	switch {
	case bytes >= gibibyte:
		return "GiB", gibibyte
	case bytes >= mebibyte:
		return "MiB", mebibyte
	default:
		return "KiB", kibibyte
	}
}
