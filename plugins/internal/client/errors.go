package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Error is the typed error of the bridge as a client meets it: from a failed call or from an operation that failed.
type Error struct {
	// Detail is never nil. Where the daemon sent no typed error, it holds the status code and message alone.
	Detail *pb.Error
	// Typed is true when the daemon itself sent the error, false when the transport did.
	Typed bool
}

// Error renders the whole error for people, on several lines where there is more to say than the message.
func (e *Error) Error() string {
	var text strings.Builder
	if violations := e.Detail.GetViolations(); len(violations) > 0 {
		text.WriteString("the request was refused:")
		for _, violation := range violations {
			text.WriteString("\n  * ")
			if violation.GetField() != "" {
				text.WriteString(violation.GetField() + ": ")
			}
			text.WriteString(violation.GetDescription())
		}
	} else {
		text.WriteString(e.Detail.GetMessage())
	}
	if phase := e.Detail.GetPhase(); phase != "" {
		fmt.Fprintf(&text, " (while %s)", phase)
	}
	for _, line := range []struct{ label, value string }{
		{"the engine says", e.Detail.GetEngineText()},
		{"what to do", e.Detail.GetAdvice()},
		{"correlation id", e.Detail.GetCorrelationId()},
	} {
		if line.value != "" {
			fmt.Fprintf(&text, "\n  %s: %s", line.label, line.value)
		}
	}
	return text.String()
}

// GRPCStatus lets status.Code work on the error.
func (e *Error) GRPCStatus() *status.Status {
	return status.New(codes.Code(e.Detail.GetCode()), e.Detail.GetMessage())
}

// Reason is the stable name of the typed error of the bridge in err, such as NAME_IN_USE; empty where there is none.
func Reason(err error) string {
	var typed *Error
	if errors.As(err, &typed) {
		return typed.Detail.GetReason()
	}
	return ""
}

// fromStatus makes an Error of what a gRPC call returned.
func fromStatus(err error) error {
	var already *Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	state := status.Convert(err)
	for _, detail := range state.Details() {
		if typed, ok := detail.(*pb.Error); ok {
			return &Error{Detail: typed, Typed: true}
		}
	}
	plain := &pb.Error{Code: int32(state.Code()), Message: state.Message()}
	if state.Code() == codes.Unimplemented {
		plain.Advice = "The daemon is older than this client: upgrade ovirt-provision and restart its daemon."
	}
	return &Error{Detail: plain}
}

// unreachable is that no daemon answers, and none can be had: an UNAVAILABLE that no daemon has sent.
func unreachable(format string, values ...any) error {
	return &Error{Detail: &pb.Error{Code: int32(codes.Unavailable), Message: fmt.Sprintf(format, values...)}}
}

// operationError is the error of an operation that has ended; nil when it succeeded.
func operationError(operation *pb.Operation) error {
	switch operation.GetState() {
	case pb.Operation_STATE_SUCCEEDED:
		return nil
	case pb.Operation_STATE_CANCELLED, pb.Operation_STATE_FAILED:
		if detail := operation.GetError(); detail != nil {
			return &Error{Detail: detail, Typed: true}
		}
	}
	return &Error{Detail: &pb.Error{
		Code:          int32(codes.Unknown),
		Message:       fmt.Sprintf("%s ended as %s without an error", operation.GetVerb(), operation.GetState()),
		CorrelationId: operation.GetCorrelationId(),
	}}
}

// daemonNotServing is the reason that a daemon gives which is starting up or going down.
const daemonNotServing = "DAEMON_NOT_SERVING"

// connectionLost says whether the daemon is away, so that repeating the call is right: every call carries a request_id
// or changes nothing. Another UNAVAILABLE of the daemon's own (the engine cannot be reached) is an answer.
func connectionLost(err error) bool {
	var failure *Error
	if !errors.As(fromStatus(err), &failure) || codes.Code(failure.Detail.GetCode()) != codes.Unavailable {
		return false
	}
	return !failure.Typed || failure.Detail.GetReason() == daemonNotServing
}

// ended says why the context is done, or nil.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
