package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Run calls a verb and waits for its operation as WaitOperation does. A verb that is being called is not interrupted at
// once when ctx ends: without the answer nobody would know which operation to cancel. The operation is nil when the
// call itself failed.
func (c *Client) Run(
	ctx context.Context, call func(context.Context) (*pb.Operation, error), onProgress func(*pb.Operation),
) (*pb.Operation, error) {
	operation, err := c.begin(ctx, call)
	if err != nil {
		return nil, err
	}
	return c.WaitOperation(ctx, operation.GetId(), onProgress)
}

// RunWithoutCancel is as Run for a verb that is to go on in the daemon when ctx ends.
func (c *Client) RunWithoutCancel(
	ctx context.Context, call func(context.Context) (*pb.Operation, error), onProgress func(*pb.Operation),
) (*pb.Operation, error) {
	operation, err := c.begin(ctx, call)
	if err != nil {
		return nil, err
	}
	return c.FollowOperation(ctx, operation.GetId(), onProgress)
}

// begin calls a verb. Once called, its answer is waited for beyond the end of ctx, for up to Timeouts.Answer.
func (c *Client) begin(ctx context.Context, call func(context.Context) (*pb.Operation, error)) (*pb.Operation, error) {
	if cause := ended(ctx); cause != nil {
		return nil, cause
	}
	calling, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(c.timeouts.Answer, func() { giveUp(context.Cause(ctx)) })
	})
	operation, err := call(calling)
	stop()
	if cause := ended(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return operation, err
}

// WaitOperation follows an operation until it has ended and tells onProgress, which may be nil, each snapshot. While
// the daemon is away it waits for it to come back.
//
// When ctx ends first, the operation is cancelled and WaitOperation waits, for up to Timeouts.Undo, until its effects
// are undone; it then returns the cause of ctx. The operation returned is the last snapshot: one that ended before the
// cancel arrived has STATE_SUCCEEDED next to that error. An operation that failed gives its *Error.
func (c *Client) WaitOperation(
	ctx context.Context, id string, onProgress func(*pb.Operation),
) (*pb.Operation, error) {
	follower := &follower{client: c, id: id, onProgress: onProgress}
	err := follower.follow(ctx)
	cause := ended(ctx)
	if cause == nil || hasEnded(follower.last) {
		if err == nil {
			err = operationError(follower.last)
		}
		return follower.last, err
	}
	undo, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), c.timeouts.Undo, fmt.Errorf(
		"the daemon has not undone operation %s within %s (time-out `Undo`), and goes on with it", id, c.timeouts.Undo))
	defer cancel()
	if _, err := c.Operations.CancelOperation(undo, &pb.CancelOperationRequest{Id: id}); err != nil {
		return follower.last, errors.Join(cause, err)
	}
	if err := follower.follow(undo); err != nil {
		return follower.last, errors.Join(cause, err)
	}
	return follower.last, cause
}

// FollowOperation is as WaitOperation, but the operation is not cancelled when ctx ends.
func (c *Client) FollowOperation(ctx context.Context, id string, onProgress func(*pb.Operation)) (*pb.Operation, error) {
	follower := &follower{client: c, id: id, onProgress: onProgress}
	if err := follower.follow(ctx); err != nil {
		return follower.last, err
	}
	return follower.last, operationError(follower.last)
}

// follower watches one operation over as many streams as it takes.
type follower struct {
	client     *Client
	id         string
	onProgress func(*pb.Operation)
	last       *pb.Operation
}

// follow returns nil once the operation has ended.
func (f *follower) follow(ctx context.Context) error {
	away := f.client.newAbsence()
	for {
		if cause := ended(ctx); cause != nil {
			return cause
		}
		err := f.stream(ctx, away)
		if hasEnded(f.last) {
			return nil
		}
		if err := away.after(ctx, err); err != nil {
			return err
		}
	}
}

// stream reads one stream to its end.
func (f *follower) stream(ctx context.Context, away *absence) error {
	// The deadline is not sent along: the server would end the stream a moment before our context ends.
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	stream, err := f.client.Operations.WatchOperation(streaming, &pb.WatchOperationRequest{
		Id:            f.id,
		AfterRevision: f.last.GetRevision(),
	})
	if err != nil {
		return err
	}
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "the daemon ended the stream before the operation had ended")
		}
		if err != nil {
			return err
		}
		away.over()
		f.last = reply.GetOperation()
		if f.onProgress != nil {
			f.onProgress(f.last)
		}
		if hasEnded(f.last) {
			return nil
		}
	}
}

func hasEnded(operation *pb.Operation) bool {
	switch operation.GetState() {
	case pb.Operation_STATE_SUCCEEDED, pb.Operation_STATE_FAILED, pb.Operation_STATE_CANCELLED:
		return true
	default:
		return false
	}
}
