// Package client is how the Go shims reach the daemon: they dial it, start it where nobody runs it, wait for operations
// and keep leases. It holds no provisioning logic.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// healthPoll is how often a daemon that does not serve yet is asked again.
const healthPoll = 100 * time.Millisecond

// Options say which engine a client means and how it behaves.
type Options struct {
	// Profile names an engine profile of the daemon; empty means the daemon's default.
	Profile string
	// UserAgent names the shim and its version, such as packer-plugin-ovirt/0.1.0.
	UserAgent string
	// Say is told what takes a while, such as the start of the daemon. May be nil.
	Say func(message string)
	// Environment is where variables are looked up; nil means os.Getenv.
	Environment Environment
	Timeouts    Timeouts
}

// Client speaks to one daemon about one engine. Its calls repeat themselves while the daemon is away, for as long as
// Timeouts.Reconnect; their errors are *Error.
type Client struct {
	Machines   pb.MachineServiceClient
	Templates  pb.TemplateServiceClient
	Disks      pb.DiskServiceClient
	Networks   pb.NetworkServiceClient
	Images     pb.ImageServiceClient
	Consoles   pb.ConsoleServiceClient
	Operations pb.OperationServiceClient
	Engines    pb.EngineServiceClient
	// Engine goes into the `engine` field of every request.
	Engine *pb.EngineRef

	address    Address
	env        Environment
	timeouts   Timeouts
	say        func(string)
	connection *grpc.ClientConn
	health     healthpb.HealthClient
}

// Connect finds the daemon, starts it where nothing listens and no address was named, and waits until it serves. That none can be had is
// an error with the status UNAVAILABLE.
func Connect(ctx context.Context, options Options) (*Client, error) {
	c := &Client{env: options.Environment, say: options.Say, timeouts: options.Timeouts.withDefaults()}
	if c.env == nil {
		c.env = os.Getenv
	}
	if c.say == nil {
		c.say = func(string) {}
	}
	var err error
	if c.address, err = ResolveAddress(c.env); err != nil {
		return nil, err
	}
	if c.Engine, err = engineRef(options.Profile, c.env); err != nil {
		return nil, err
	}
	dialling, err := dialCredentials(c.address, c.env)
	if err != nil {
		return nil, err
	}
	c.connection, err = grpc.NewClient(c.address.Target, append(dialling,
		grpc.WithNoProxy(),
		grpc.WithUserAgent(options.UserAgent),
		grpc.WithUnaryInterceptor(c.repeat),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: healthPoll, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("the address of the daemon cannot be used: %w", err)
	}
	c.Machines = pb.NewMachineServiceClient(c.connection)
	c.Templates = pb.NewTemplateServiceClient(c.connection)
	c.Disks = pb.NewDiskServiceClient(c.connection)
	c.Networks = pb.NewNetworkServiceClient(c.connection)
	c.Images = pb.NewImageServiceClient(c.connection)
	c.Consoles = pb.NewConsoleServiceClient(c.connection)
	c.Operations = pb.NewOperationServiceClient(c.connection)
	c.Engines = pb.NewEngineServiceClient(c.connection)
	c.health = healthpb.NewHealthClient(c.connection)
	if err := c.ensureServing(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection. Operations under way go on in the daemon.
func (c *Client) Close() error {
	return c.connection.Close()
}

// ensureServing returns once the daemon serves; it starts one where that is ours to do.
func (c *Client) ensureServing(ctx context.Context) error {
	if c.address.Explicit {
		if !c.address.listening() {
			return unreachable("no daemon listens at %s, which %s names; start it there with `ovirt-provision serve`, or "+
				"unset the variable to have one started for you", c.address, AddressVariable)
		}
		return c.waitServing(ctx, "Connect", c.timeouts.Connect, nil)
	}
	for c.address.listening() {
		if err := checkPrivate(filepath.Dir(c.address.Socket)); err != nil {
			return err
		}
		err := c.waitServing(ctx, "Connect", c.timeouts.Connect, func() bool { return !c.address.listening() })
		if !errors.Is(err, errGone) {
			return err
		}
		// It was about to end when we came.
	}
	return c.start(ctx)
}

// errGone is what waitServing returns when the daemon that it waits for has ended.
var errGone = errors.New("the daemon ended before it served")

// waitServing polls the standard health service. gone, where not nil, ends the wait with errGone.
func (c *Client) waitServing(ctx context.Context, name string, timeout time.Duration, gone func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout,
		unreachable("the daemon at %s did not serve within %s (time-out `%s`)", c.address, timeout, name))
	defer cancel()
	last := ""
	doubt := tlsDoubt{address: c.address}
	for {
		reply, err := c.health.Check(ctx, &healthpb.HealthCheckRequest{})
		switch {
		case err == nil && reply.GetStatus() == healthpb.HealthCheckResponse_SERVING:
			return nil
		case err == nil:
			last = ": it says " + reply.GetStatus().String()
		case ctx.Err() == nil && status.Code(err) != codes.DeadlineExceeded:
			// That the time is up, which gRPC may know a moment before ctx, says less than what was said last.
			last = ": " + err.Error()
			if doubt.over(err) {
				return fmt.Errorf("the daemon at %s and we do not accept each other%s\n  what to do: see that %s is the "+
					"CA of the daemon's certificate, and that yours is not expired and of a CA that the daemon takes",
					c.address, last, caFileVariable)
			}
		}
		if gone != nil && gone() {
			return errGone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w%s", ended(ctx), last)
		case <-time.After(healthPoll):
		}
	}
}

// repeat is the unary interceptor: it bounds each attempt, repeats while the daemon is away and types the errors.
func (c *Client) repeat(
	ctx context.Context, method string, request, reply any,
	connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if strings.HasPrefix(method, "/grpc.health.") {
		return invoke(ctx, method, request, reply, connection, options...)
	}
	away := c.newAbsence()
	for {
		err := c.attempt(ctx, method, request, reply, connection, invoke, options...)
		if err == nil {
			return nil
		}
		if err := away.after(ctx, err); err != nil {
			return err
		}
	}
}

// attempt is one call. It is the transport that ends a call that takes too long, and knows no name of the time-out.
func (c *Client) attempt(
	ctx context.Context, method string, request, reply any,
	connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	limited, cancel := context.WithTimeout(ctx, c.timeouts.Call)
	defer cancel()
	err := invoke(limited, method, request, reply, connection, options...)
	var late *Error
	if !errors.As(fromStatus(err), &late) || late.Typed || codes.Code(late.Detail.GetCode()) != codes.DeadlineExceeded {
		return err
	}
	end, _ := limited.Deadline()
	if callers, hasEnd := ctx.Deadline(); hasEnd && callers.Equal(end) {
		// It was the caller's time that was up, which gRPC may know a moment before ctx.
		<-ctx.Done()
		return err
	}
	return &Error{Detail: &pb.Error{Code: late.Detail.GetCode(), Message: fmt.Sprintf(
		"the daemon at %s has not answered %s within %s (time-out `Call`)", c.address, path.Base(method), c.timeouts.Call)}}
}
