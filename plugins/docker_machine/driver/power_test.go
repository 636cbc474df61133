package driver

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

func TestStopOfAGuestThatDoesNotObey(t *testing.T) {
	h := created(t)
	late := fakedaemon.Behaviour{Fail: &pb.Error{Code: int32(codes.DeadlineExceeded), Message: "shutting-down did not end within 30 s"}}
	h.daemon.On("StopMachine", late)
	mustSay(t, h.Stop(), "did not end within 30 s", "`kill` powers the VM off", "--ovirt-stop-power-off")
	if err := h.Kill(); err == nil || strings.Contains(err.Error(), "`kill`") {
		t.Errorf("kill: %v", err)
	}
	// It is no guest that did not answer here.
	h.daemon.On("StopMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.DeadlineExceeded, "late")})
	if err := h.Stop(); err == nil || strings.Contains(err.Error(), "`kill`") {
		t.Errorf("stop: %v", err)
	}
}
