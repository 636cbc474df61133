package client

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Console is a way to type into a Machine.
type Console struct {
	// Description is the way that the daemon has to the console, for people.
	Description string

	// ended says why whoever opened the console wants no more of it; nil while that is not so.
	ended  func() error
	stream pb.ConsoleService_SendKeysClient
	cancel context.CancelFunc
}

// OpenConsole opens the console of a Machine, and waits for one that is about to start. interval is from one key event to the next; 0 means
// the daemon's own. The console lasts until Close, at most as long as ctx.
func (c *Client) OpenConsole(ctx context.Context, key string, interval time.Duration) (*Console, error) {
	open := &pb.OpenConsole{Engine: c.Engine, Key: key}
	if interval > 0 {
		open.KeyInterval = durationpb.New(interval)
	}
	streaming, cancel := context.WithCancel(ctx)
	console := &Console{ended: func() error { return ended(ctx) }, cancel: cancel}
	var err error
	if console.stream, err = c.Consoles.SendKeys(streaming); err != nil {
		cancel()
		return nil, console.failure(err)
	}
	reply, err := console.exchange(&pb.SendKeysRequest{Message: &pb.SendKeysRequest_Open{Open: open}})
	if err != nil {
		cancel()
		return nil, err
	}
	console.Description = reply.GetOpened().GetDescription()
	return console, nil
}

// Press presses keys and returns when the guest has got the last of them.
func (c *Console) Press(events []*pb.KeyEvent) error {
	_, err := c.exchange(&pb.SendKeysRequest{Message: &pb.SendKeysRequest_Keys{Keys: &pb.KeyBatch{Events: events}}})
	return err
}

func (c *Console) exchange(request *pb.SendKeysRequest) (*pb.SendKeysResponse, error) {
	// What ends the stream is told by what is received.
	_ = c.stream.Send(request)
	reply, err := c.stream.Recv()
	if err != nil {
		return nil, c.failure(err)
	}
	return reply, nil
}

// failure says why the console is of no more use, which is most often that whoever opened it wants no more of it.
func (c *Console) failure(err error) error {
	if cause := c.ended(); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the daemon closed the console")
	}
	return fromStatus(err)
}

// Close lets go of the console, and of keys that are still down.
func (c *Console) Close() error {
	defer c.cancel()
	if err := c.stream.CloseSend(); err != nil {
		return c.failure(err)
	}
	if _, err := c.stream.Recv(); err != nil && !errors.Is(err, io.EOF) {
		return c.failure(err)
	}
	return nil
}
