package driver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// sshPause is how long an SSH server that does not answer yet is left alone; sshAnswer is how long it may take.
const (
	sshPause  = time.Second
	sshAnswer = 10 * time.Second
)

// Create makes the Machine, waits until its SSH server answers, and confirms it. Whatever goes wrong before it is
// confirmed, the end of ctx included, leaves nothing behind; should nobody be there to see to that, the daemon destroys
// the Machine when the grace of its lease is over.
func (d *Driver) Create(ctx context.Context) error {
	daemon, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	publicKey, err := makeKey(d.SSHKeyPath, d.Key)
	if err != nil {
		return err
	}
	request, err := d.createMachine(daemon.Engine, d.newID(), publicKey)
	if err != nil {
		return err
	}
	shown := d.showProgress()
	operation, err := daemon.Run(ctx, func(ctx context.Context) (*pb.Operation, error) {
		reply, err := daemon.Machines.CreateMachine(ctx, request)
		return reply.GetOperation(), err
	}, func(operation *pb.Operation) {
		d.note(operation.GetMachine())
		shown.show(operation)
	})
	if err != nil {
		if client.MayHaveEffect(operation, err) {
			err = d.undo(daemon, err)
		}
		return origins.Rename(err)
	}
	if err := d.settle(ctx, daemon); err != nil {
		return d.undo(daemon, err)
	}
	return nil
}

// settle takes a Machine that stands to the end of its session.
func (d *Driver) settle(ctx context.Context, daemon *client.Client) error {
	if d.IPAddress == "" {
		return fmt.Errorf("VM %s reports no address", d.MachineName)
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	stop := daemon.KeepLease(ctx, d.Key, lose)
	err := d.waitForSSH(ctx)
	stop()
	if err != nil {
		return err
	}
	_, err = daemon.Machines.ConfirmMachine(ctx, &pb.ConfirmMachineRequest{Engine: daemon.Engine, Key: d.Key})
	if err != nil {
		return err
	}
	// The host may have gone while the call was under way: then nobody knows of the Machine.
	return context.Cause(ctx)
}

// undo destroys what a failed create may have left, and returns its error.
func (d *Driver) undo(daemon *client.Client, cause error) error {
	d.say("Removing the VM again...")
	if err := d.destroy(context.Background(), daemon); err != nil {
		return fmt.Errorf("%w\nThe VM could not be removed yet: %s\nThe daemon removes it when the grace of its lease is over",
			cause, err)
	}
	return cause
}

// waitForSSH waits until the SSH server of the guest greets. The hosts' own wait is fixed and short.
func (d *Driver) waitForSSH(ctx context.Context) error {
	timeout := time.Duration(d.Options.SSHTimeout) * time.Second
	if timeout == 0 {
		return nil
	}
	address := net.JoinHostPort(d.IPAddress, strconv.Itoa(d.SSHPort))
	d.say("Waiting for SSH at " + address + "...")
	errLate := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLate)
	defer cancel()
	for {
		last := greeted(ctx, address)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, errLate) {
				return cause
			}
			return fmt.Errorf("SSH at %s did not answer within %s (--%s): %w", address, timeout, flagSSHTimeout, last)
		case <-time.After(sshPause):
		}
	}
}

// greeted is nil when an SSH server greets at the address (RFC 4253, section 4.2).
func greeted(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, sshAnswer)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Now()) })()
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "SSH-") {
		err = fmt.Errorf("it greets with %.40q, as no SSH server does", line)
	}
	return err
}

// note keeps what the daemon tells of the Machine.
func (d *Driver) note(machine *pb.Machine) {
	if machine == nil {
		return
	}
	d.MachineID = machine.GetId()
	d.IPAddress = client.HostAddress(machine)
	d.fresh = d.IPAddress != ""
}
