package client

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// typed is what the daemon sends: a status with the typed error as a detail.
func typed(t *testing.T, detail *pb.Error) error {
	t.Helper()
	state, err := status.New(codes.Code(detail.GetCode()), detail.GetMessage()).WithDetails(detail)
	if err != nil {
		t.Fatal(err)
	}
	return state.Err()
}

func TestErrorForPeople(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{
			"everything",
			typed(t, &pb.Error{
				Code: int32(codes.Aborted), Message: "the engine could not copy the disk", Phase: "cloning",
				EngineText: "[Low disk space]", CorrelationId: "abc", Advice: "Free some space.",
			}),
			"the engine could not copy the disk (while cloning)\n  the engine says: [Low disk space]\n" +
				"  what to do: Free some space.\n  correlation id: abc",
		},
		{"the message alone", typed(t, &pb.Error{Code: int32(codes.NotFound), Message: "no such Machine"}), "no such Machine"},
		{
			"violations, one by one and not twice",
			typed(t, &pb.Error{
				Code: int32(codes.InvalidArgument), Message: "spec.cluster: no cluster 'x'; it is too much", Advice: "Correct them.",
				Violations: []*pb.FieldViolation{
					{Field: "spec.cluster", Description: "no cluster 'x'"},
					{Description: "it is too much"},
				},
			}),
			"the request was refused:\n  * spec.cluster: no cluster 'x'\n  * it is too much\n  what to do: Correct them.",
		},
		{"of the transport", status.Error(codes.Internal, "stream error"), "stream error"},
		{
			"an old daemon",
			status.Error(codes.Unimplemented, "unknown method"),
			"unknown method\n  what to do: The daemon is older than this client: upgrade ovirt-provision and restart its daemon.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := fromStatus(test.err)
			if err.Error() != test.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, test.want)
			}
			if status.Code(err) != status.Code(test.err) {
				t.Errorf("the code is %v, want %v", status.Code(err), status.Code(test.err))
			}
		})
	}
}

func TestReason(t *testing.T) {
	err := errors.Join(errors.New("other"), fromStatus(typed(t, &pb.Error{Code: 6, Reason: "NAME_IN_USE"})))
	if Reason(err) != "NAME_IN_USE" || Reason(errors.New("other")) != "" {
		t.Errorf("got %q and %q", Reason(err), Reason(errors.New("other")))
	}
}

func TestOperationError(t *testing.T) {
	for _, test := range []struct {
		operation *pb.Operation
		want      string
	}{
		{&pb.Operation{State: pb.Operation_STATE_SUCCEEDED}, ""},
		{&pb.Operation{State: pb.Operation_STATE_FAILED, Error: &pb.Error{Message: "no"}}, "no"},
		{
			&pb.Operation{State: pb.Operation_STATE_FAILED, Verb: "StopMachine"},
			"StopMachine ended as STATE_FAILED without an error",
		},
	} {
		err := operationError(test.operation)
		if (err == nil) != (test.want == "") || (err != nil && err.Error() != test.want) {
			t.Errorf("%v gives %v, want %q", test.operation, err, test.want)
		}
	}
}

func TestConnectionLost(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"the transport says so", status.Error(codes.Unavailable, "connection refused"), true},
		{"the daemon goes down", typed(t, &pb.Error{Code: int32(codes.Unavailable), Reason: "DAEMON_NOT_SERVING"}), true},
		{"the engine is unreachable", typed(t, &pb.Error{Code: int32(codes.Unavailable), Reason: "ENGINE_UNREACHABLE"}), false},
		{"refused", status.Error(codes.NotFound, "no"), false},
		{"none", nil, false},
	} {
		if got := connectionLost(test.err); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
