package fakedaemon

import (
	"errors"
	"io"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Typed is what was typed into consoles, key by key: characters as they are, other keys as `<enter>`, `<leftCtrl down>`.
func (d *Daemon) Typed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.typed, "")
}

// SendKeys implements the schema. Of a Behaviour, Refuse counts: it answers the first batch.
func (d *Daemon) SendKeys(stream grpc.BidiStreamingServer[pb.SendKeysRequest, pb.SendKeysResponse]) error {
	opening, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := protovalidate.Validate(opening); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	behaviour, refuse := d.record("SendKeys", opening.GetOpen())
	if behaviour.OnCall != nil {
		behaviour.OnCall()
	}
	answer := &pb.SendKeysResponse{Message: &pb.SendKeysResponse_Opened{Opened: &pb.ConsoleOpened{Description: "host1:5900"}}}
	if err := stream.Send(answer); err != nil {
		return err
	}
	count := int64(0)
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = protovalidate.Validate(request)
		}
		if err != nil {
			return err
		}
		if refuse {
			return behaviour.Refuse
		}
		d.mu.Lock()
		for _, event := range request.GetKeys().GetEvents() {
			d.typed = append(d.typed, keyText(event))
			count++
		}
		d.mu.Unlock()
		answer := &pb.SendKeysResponse{Message: &pb.SendKeysResponse_Typed{Typed: &pb.KeysTyped{Events: count}}}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func keyText(event *pb.KeyEvent) string {
	text, isCharacter := event.GetCharacter(), event.GetSpecial() == ""
	if !isCharacter {
		text = event.GetSpecial()
	}
	switch action := map[pb.KeyEvent_Action]string{
		pb.KeyEvent_ACTION_DOWN: " down", pb.KeyEvent_ACTION_UP: " up",
	}[event.GetAction()]; {
	case isCharacter && action == "":
		return text
	default:
		return "<" + text + action + ">"
	}
}
