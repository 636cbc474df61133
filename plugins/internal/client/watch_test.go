package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

const requestID = "00000000-0000-4000-8000-000000000001"

// connect connects to a fake daemon.
func connect(t *testing.T, daemon *fakedaemon.Daemon, timeouts Timeouts) *Client {
	t.Helper()
	c, err := Connect(t.Context(), Options{
		Environment: environment(map[string]string{AddressVariable: daemon.Address}),
		Timeouts:    timeouts,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// destroy is the simplest verb.
func destroy(c *Client) func(context.Context) (*pb.Operation, error) {
	return func(ctx context.Context) (*pb.Operation, error) {
		reply, err := c.Machines.DestroyMachine(ctx, &pb.DestroyMachineRequest{
			Engine: c.Engine, RequestId: requestID, Key: "k",
		})
		return reply.GetOperation(), err
	}
}

// seen collects what a user would see.
type seen struct {
	lines []string
	on    func(operation *pb.Operation)
}

func (s *seen) show(operation *pb.Operation) {
	state := strings.TrimPrefix(operation.GetState().String(), "STATE_")
	s.lines = append(s.lines, fmt.Sprintf("%d %s %s %d%%", operation.GetRevision(), state, operation.GetPhase(), operation.GetPercent()))
	if s.on != nil {
		s.on(operation)
	}
}

func TestRunShowsEachSnapshot(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Steps: []*pb.Operation{
		{Phase: "stopping", Percent: 30}, {Phase: "removing", Percent: 60},
	}})
	c := connect(t, daemon, Timeouts{})
	var user seen
	operation, err := c.Run(t.Context(), destroy(c), user.show)
	if err != nil || operation.GetState() != pb.Operation_STATE_SUCCEEDED {
		t.Fatalf("got %v, %v", operation, err)
	}
	want := []string{"1 RUNNING  0%", "2 RUNNING stopping 30%", "3 RUNNING removing 60%", "4 SUCCEEDED removing 100%"}
	if !slices.Equal(user.lines, want) {
		t.Errorf("got %q, want %q", user.lines, want)
	}
}

func TestRunGivesTheOperationsError(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Fail: &pb.Error{Code: 10, Reason: "MACHINE_FAILED", Message: "no"}})
	c := connect(t, daemon, Timeouts{})
	operation, err := c.Run(t.Context(), destroy(c), nil)
	if Reason(err) != "MACHINE_FAILED" || operation.GetState() != pb.Operation_STATE_FAILED {
		t.Errorf("got %v, %v", operation, err)
	}
}

func TestRunGivesTheRefusal(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Refuse: typed(t, &pb.Error{
		Code: int32(codes.Unavailable), Reason: "ENGINE_UNREACHABLE", Message: "the engine cannot be reached",
	})})
	c := connect(t, daemon, Timeouts{})
	operation, err := c.Run(t.Context(), destroy(c), nil)
	if operation != nil || Reason(err) != "ENGINE_UNREACHABLE" {
		t.Errorf("got %v, %v", operation, err)
	}
	if methods := daemon.Methods(); !slices.Equal(methods, []string{"DestroyMachine"}) {
		t.Errorf("the daemon's own answer is not to be asked for again: %v", methods)
	}
}

// The daemon is killed while an operation runs, and comes back: nothing is shown twice, nothing is missed.
func TestWaitOutlivesTheDaemon(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true, Steps: []*pb.Operation{{Phase: "stopping", Percent: 30}}})
	c := connect(t, daemon, Timeouts{})
	restarted := make(chan error, 1)
	user := seen{on: func(operation *pb.Operation) {
		if operation.GetRevision() == 2 && len(restarted) == 0 {
			restarted <- daemon.Restart()
			daemon.Release()
		}
	}}
	operation, err := c.Run(t.Context(), destroy(c), user.show)
	if err != nil || operation.GetState() != pb.Operation_STATE_SUCCEEDED {
		t.Fatalf("got %v, %v", operation, err)
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	if want := []string{"1 RUNNING  0%", "2 RUNNING stopping 30%", "3 SUCCEEDED stopping 100%"}; !slices.Equal(user.lines, want) {
		t.Errorf("got %q, want %q", user.lines, want)
	}
	calls := daemon.Calls()
	if last := calls[len(calls)-1]; !strings.Contains(last, `"afterRevision":"2"`) {
		t.Errorf("the last call is %s", last)
	}
}

// A stream that ends although the operation goes on is not the operation's end.
func TestWaitOutlivesADrain(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("WatchOperation", fakedaemon.Behaviour{RefuseTimes: 1, Refuse: typed(t, &pb.Error{
		Code: int32(codes.Unavailable), Reason: "DAEMON_NOT_SERVING", Message: "the daemon is going down",
	})})
	c := connect(t, daemon, Timeouts{})
	if _, err := c.Run(t.Context(), destroy(c), nil); err != nil {
		t.Fatal(err)
	}
	if methods := daemon.Methods(); !slices.Equal(methods, []string{"DestroyMachine", "WatchOperation", "WatchOperation"}) {
		t.Errorf("methods: %v", methods)
	}
}

// The daemon is away when a verb is called: the same request is sent until it answers.
func TestCallsAreRepeatedWhileTheDaemonIsAway(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Refuse: status.Error(codes.Unavailable, "connection reset"), RefuseTimes: 2})
	c := connect(t, daemon, Timeouts{})
	if _, err := c.Run(t.Context(), destroy(c), nil); err != nil {
		t.Fatal(err)
	}
	calls := daemon.Calls()
	if len(calls) != 4 || calls[0] != calls[1] || calls[1] != calls[2] {
		t.Errorf("calls:\n%s", strings.Join(calls, "\n"))
	}
}

func TestWaitGivesUpOnADaemonThatStaysAway(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true})
	c := connect(t, daemon, Timeouts{Reconnect: 100 * time.Millisecond})
	user := seen{on: func(*pb.Operation) { daemon.Stop() }}
	_, err := c.Run(t.Context(), destroy(c), user.show)
	mustSay(t, err, daemon.Address, "has been away", "`Reconnect`")
}

func TestWaitGivesUpOnAnUnknownOperation(t *testing.T) {
	c := connect(t, fakedaemon.Start(t), Timeouts{})
	if _, err := c.WaitOperation(t.Context(), requestID, nil); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestCancelWaitsForTheUndo(t *testing.T) {
	errInterrupted := errors.New("interrupted")
	for _, test := range []struct {
		name      string
		behaviour fakedaemon.Behaviour
		state     pb.Operation_State
		lines     []string
	}{
		{
			"that undoes", fakedaemon.Behaviour{Hang: true}, pb.Operation_STATE_CANCELLED,
			[]string{"1 RUNNING  0%", "2 RUNNING working 50%", "3 UNDOING working 50%", "4 CANCELLED working 50%"},
		},
		{
			"that comes too late", fakedaemon.Behaviour{Hang: true, DeafToCancel: true}, pb.Operation_STATE_SUCCEEDED,
			[]string{"1 RUNNING  0%", "2 RUNNING working 50%", "3 SUCCEEDED working 100%"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			daemon := fakedaemon.Start(t)
			daemon.On("DestroyMachine", test.behaviour)
			c := connect(t, daemon, Timeouts{})
			ctx, cancel := context.WithCancelCause(t.Context())
			user := seen{on: func(operation *pb.Operation) {
				if operation.GetRevision() == 2 {
					cancel(errInterrupted)
				}
			}}
			operation, err := c.Run(ctx, destroy(c), user.show)
			if !errors.Is(err, errInterrupted) || operation.GetState() != test.state {
				t.Errorf("got %v, %v", operation.GetState(), err)
			}
			if !slices.Equal(user.lines, test.lines) {
				t.Errorf("got %q, want %q", user.lines, test.lines)
			}
		})
	}
}

// A cancel while the verb is being called still learns which operation to cancel.
func TestCancelDuringTheCall(t *testing.T) {
	daemon := fakedaemon.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true, OnCall: cancel})
	c := connect(t, daemon, Timeouts{})
	operation, err := c.Run(ctx, destroy(c), nil)
	if !errors.Is(err, context.Canceled) || operation.GetState() != pb.Operation_STATE_CANCELLED || daemon.Running() != 0 {
		t.Errorf("got %v, %v; %d operations still run", operation, err, daemon.Running())
	}
}

// A deadline cancels as well, and says so by its own cause.
func TestDeadlineCancels(t *testing.T) {
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true})
	c := connect(t, daemon, Timeouts{})
	errLate := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errLate)
	defer cancel()
	operation, err := c.Run(ctx, destroy(c), nil)
	if !errors.Is(err, errLate) || operation.GetState() != pb.Operation_STATE_CANCELLED {
		t.Errorf("got %v, %v", operation, err)
	}
}

func TestNothingIsCalledAfterTheEnd(t *testing.T) {
	daemon := fakedaemon.Start(t)
	c := connect(t, daemon, Timeouts{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx, destroy(c), nil); !errors.Is(err, context.Canceled) || len(daemon.Calls()) != 0 {
		t.Errorf("got %v, calls %v", err, daemon.Calls())
	}
}

func TestUndoHasATimeout(t *testing.T) {
	daemon := fakedaemon.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	// The cancel is refused silently: the operation hangs on.
	daemon.On("CancelOperation", fakedaemon.Behaviour{Refuse: status.Error(codes.Unavailable, "draining")})
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true, OnCall: cancel})
	c := connect(t, daemon, Timeouts{Undo: 300 * time.Millisecond})
	_, err := c.Run(ctx, destroy(c), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustSay(t, err, "within 300ms (time-out `Undo`)")
}

// What clears up goes on in the daemon when nobody waits for it any more.
func TestRunWithoutCancel(t *testing.T) {
	errLate := errors.New("too late")
	daemon := fakedaemon.Start(t)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{Hang: true})
	c := connect(t, daemon, Timeouts{})
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := c.RunWithoutCancel(ctx, destroy(c), func(*pb.Operation) { cancel(errLate) })
	if !errors.Is(err, errLate) || daemon.Running() != 1 || slices.Contains(daemon.Methods(), "CancelOperation") {
		t.Errorf("got %v; %d operations run; methods: %v", err, daemon.Running(), daemon.Methods())
	}
}

// A daemon that accepts a call and never answers is not waited for without end, and the error names what to set.
func TestACallHasATimeout(t *testing.T) {
	daemon := fakedaemon.Start(t)
	answer := make(chan struct{})
	defer close(answer)
	daemon.On("DestroyMachine", fakedaemon.Behaviour{OnCall: func() { <-answer }})
	c := connect(t, daemon, Timeouts{Call: 20 * time.Millisecond})
	_, err := c.Run(t.Context(), destroy(c), nil)
	mustSay(t, err, daemon.Address, "has not answered DestroyMachine within 20ms (time-out `Call`)")
	if !MayHaveEffect(nil, err) {
		t.Error("nobody knows what the daemon did, but nothing is said to be left")
	}
}

// Whose time is up is told by the name of that time, also where gRPC knows it first.
func TestTheCallersTimeIsUp(t *testing.T) {
	errLate := errors.New("too late")
	c := connect(t, fakedaemon.Start(t), Timeouts{})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errLate)
	defer cancel()
	early := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
		return status.Error(codes.DeadlineExceeded, "context deadline exceeded")
	}
	if err := c.repeat(ctx, "/service/Method", nil, nil, nil, early); !errors.Is(err, errLate) {
		t.Errorf("got %v", err)
	}
}

// Who gives up a call says why, once.
func TestAnAnswerThatNeverComes(t *testing.T) {
	daemon := fakedaemon.Start(t)
	answer := make(chan struct{})
	defer close(answer)
	ctx, cancel := context.WithCancelCause(t.Context())
	daemon.On("DestroyMachine", fakedaemon.Behaviour{OnCall: func() {
		cancel(errors.New("interrupted"))
		<-answer
	}})
	c := connect(t, daemon, Timeouts{Answer: time.Millisecond})
	if _, err := c.Run(ctx, destroy(c), nil); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
}
