package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshPause is how long an SSH server that does not answer yet is left alone, and sshConnect how long a connection to it
// may take.
const (
	sshPause   = time.Second
	sshConnect = 10 * time.Second
)

// firstBootEnded waits for the end of the first boot, where cloud-init does it, and asks for no success: what matters to
// the user the provisioner finds out. systemd waits idly, where it is new enough; `cloud-init status --wait` looks four
// times a second, which would slow down what it waits for.
const firstBootEnded = `type cloud-init || exit 0
systemctl is-system-running --wait
[ -e /run/cloud-init/result.json ] || cloud-init status --wait
exit 0`

// waitForSSH waits until the guest can be logged in to and its first boot has ended. The hosts' own wait is fixed and
// short, and a guest that still boots may leave a command of the provisioner without an answer.
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
	started, said := time.Now(), time.Now()
	for {
		last := d.logIn(ctx, address)
		if last == nil {
			d.say(fmt.Sprintf("SSH answers and the first boot has ended (%s)", time.Since(started).Round(time.Second)))
			return nil
		}
		if time.Since(said) >= sayInterval {
			said = time.Now()
			d.say(fmt.Sprintf("Still waiting for SSH (%s): %s", time.Since(started).Round(time.Second), last))
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

// logIn logs in as the hosts will, and returns when the first boot has ended.
func (d *Driver) logIn(ctx context.Context, address string) error {
	private, err := os.ReadFile(d.SSHKeyPath)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return err
	}
	connection, err := (&net.Dialer{Timeout: sshConnect}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Now()) })()
	established, channels, requests, err := ssh.NewClientConn(connection, address, &ssh.ClientConfig{
		User: d.SSHUser,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// The guest has just made its host key; nobody could know it.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	client := ssh.NewClient(established, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.Run(firstBootEnded); err != nil {
		return err
	}
	d.warnOfGuest(client)
	return nil
}

// warnOfGuest says beforehand that the host, whose turn is next, will not know what to do with the guest.
func (d *Driver) warnOfGuest(guest *ssh.Client) {
	session, err := guest.NewSession()
	if err != nil {
		return
	}
	defer session.Close()
	osRelease, err := session.Output("cat /etc/os-release")
	if err != nil {
		return
	}
	if told := doubtOfGuest(string(osRelease)); told != "" {
		d.say("Warning: " + told)
	}
}
