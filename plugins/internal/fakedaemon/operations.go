package fakedaemon

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// begin starts the operation of a verb, or finds the one that the same request_id has begun. effect runs when it
// succeeds, and puts the result into the snapshot; failed, where given, runs when it fails.
func (d *Daemon) begin(verb, requestID, key string, effect func(*pb.Operation), failed ...func(*pb.Operation)) *pb.Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, repeated := d.requests[requestID]; repeated {
		return proto.CloneOf(d.operations[id].last())
	}
	id := fmt.Sprintf("44444444-4444-4444-8444-%012d", len(d.operations)+1)
	run := &operation{
		behaviour: d.behaviours[verb],
		effect:    effect,
		failed:    failed,
		changed:   make(chan struct{}),
		release:   make(chan struct{}),
		cancel:    make(chan struct{}),
		snapshots: []*pb.Operation{{
			Id: id, Verb: verb, RequestId: requestID, Key: key, State: pb.Operation_STATE_RUNNING,
			CreateTime: timestamppb.Now(), CorrelationId: "correlation-" + verb, Revision: 1,
		}},
	}
	d.operations[id] = run
	d.requests[requestID] = id
	go d.drive(run)
	return proto.CloneOf(run.last())
}

// drive takes an operation to its end.
func (d *Daemon) drive(run *operation) {
	steps := run.behaviour.Steps
	if steps == nil {
		steps = []*pb.Operation{{Phase: "working", Percent: 50}}
	}
	for _, step := range steps {
		d.change(run, func(next *pb.Operation) {
			next.Percent, next.Progress = step.Percent, step.Progress
			if step.Phase != next.Phase {
				endPhase(next)
				next.Phase = step.Phase
				next.Phases = append(next.Phases, &pb.Operation_Phase{Name: step.Phase, StartTime: timestamppb.Now()})
			}
		})
	}
	cancelled := false
	if run.behaviour.Hang {
		select {
		case <-run.release:
		case <-run.cancel:
			cancelled = !run.behaviour.DeafToCancel
		}
	}
	if cancelled {
		d.change(run, func(next *pb.Operation) { next.State = pb.Operation_STATE_UNDOING })
	}
	d.change(run, func(next *pb.Operation) {
		endPhase(next)
		next.EndTime = timestamppb.Now()
		switch {
		case cancelled:
			next.State = pb.Operation_STATE_CANCELLED
			next.Error = &pb.Error{
				Code: int32(codes.Canceled), Reason: "OPERATION_CANCELLED", Message: next.Verb + " was cancelled",
			}
		case run.behaviour.Fail != nil:
			next.State, next.Error = pb.Operation_STATE_FAILED, run.behaviour.Fail
			for _, keep := range run.failed {
				keep(next)
			}
		default:
			next.State, next.Percent, next.Warnings = pb.Operation_STATE_SUCCEEDED, 100, run.behaviour.Warnings
			run.effect(next)
		}
		if next.State != pb.Operation_STATE_SUCCEEDED {
			next.Cleanup = pb.Operation_CLEANUP_DONE
			if run.behaviour.CleanupPending {
				next.Cleanup = pb.Operation_CLEANUP_PENDING
			}
		}
	})
}

func endPhase(operation *pb.Operation) {
	if running := len(operation.Phases); running > 0 {
		operation.Phases[running-1].EndTime = timestamppb.Now()
	}
}

// change appends a snapshot.
func (d *Daemon) change(run *operation, edit func(*pb.Operation)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := proto.CloneOf(run.last())
	next.Revision++
	edit(next)
	run.snapshots = append(run.snapshots, next)
	close(run.changed)
	run.changed = make(chan struct{})
}

func (o *operation) last() *pb.Operation {
	return o.snapshots[len(o.snapshots)-1]
}

func (d *Daemon) find(id string) (*operation, error) {
	run, known := d.operations[id]
	if !known {
		return nil, status.Error(codes.NotFound, "there is no operation "+id)
	}
	return run, nil
}

// GetOperation implements the schema.
func (d *Daemon) GetOperation(
	_ context.Context, request *pb.GetOperationRequest,
) (*pb.GetOperationResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	run, err := d.find(request.GetId())
	if err != nil {
		return nil, err
	}
	return &pb.GetOperationResponse{Operation: proto.CloneOf(run.last())}, nil
}

// WatchOperation implements the schema: each snapshot after the revision, until the last.
func (d *Daemon) WatchOperation(
	request *pb.WatchOperationRequest, stream grpc.ServerStreamingServer[pb.WatchOperationResponse],
) error {
	behaviour, refuse := d.record("WatchOperation", request)
	if behaviour.OnCall != nil {
		behaviour.OnCall()
	}
	if refuse {
		return behaviour.Refuse
	}
	sent := 0
	for {
		d.mu.Lock()
		run, err := d.find(request.GetId())
		if err != nil {
			d.mu.Unlock()
			return err
		}
		changed, snapshots := run.changed, run.snapshots
		d.mu.Unlock()
		for ; sent < len(snapshots); sent++ {
			if snapshots[sent].Revision <= request.GetAfterRevision() {
				continue
			}
			if err := stream.Send(&pb.WatchOperationResponse{Operation: snapshots[sent]}); err != nil {
				return err
			}
		}
		if snapshots[len(snapshots)-1].EndTime != nil {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// CancelOperation implements the schema.
func (d *Daemon) CancelOperation(
	_ context.Context, request *pb.CancelOperationRequest,
) (*pb.CancelOperationResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	run, err := d.find(request.GetId())
	if err != nil {
		return nil, err
	}
	closeOnce(run.cancel)
	return &pb.CancelOperationResponse{Operation: proto.CloneOf(run.last())}, nil
}
