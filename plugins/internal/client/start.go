//go:build unix

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// executable is the daemon's program, looked up in PATH.
const executable = "ovirt-provision"

// tailBytes and tailLines bound how much of a dead daemon's log an error shows.
const (
	tailBytes = 8192
	tailLines = 20
)

// start starts a daemon that outlives us, unless another client does so at the same time, and waits until it serves.
func (c *Client) start(ctx context.Context) error {
	state, err := StateFolder(c.env)
	if err != nil {
		return err
	}
	socketFolder := filepath.Dir(c.address.Socket)
	for _, folder := range []string{state, socketFolder} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("a folder of the daemon cannot be made: %w", err)
		}
	}
	if err := checkPrivate(socketFolder); err != nil {
		return err
	}
	unlock, err := lock(ctx, c.address.Socket+".start", c.timeouts.Start)
	if err != nil {
		return err
	}
	defer unlock()
	if c.address.listening() {
		return c.waitServing(ctx, "Connect", c.timeouts.Connect, nil)
	}
	return c.spawn(ctx, filepath.Join(state, "daemon.log"))
}

// spawn runs `ovirt-provision serve --auto-started` in a session of its own and waits until it serves.
func (c *Client) spawn(ctx context.Context, logPath string) error {
	program, err := exec.LookPath(executable)
	if err != nil {
		return unreachable("no daemon runs and `%s` is not on PATH, so none can be started: install it with "+
			"`pipx install ovirt-provision`, or set %s to the address of a daemon that runs elsewhere, such as "+
			"unix:/run/ovirt-provision/daemon.sock", executable, AddressVariable)
	}
	if program, err = filepath.Abs(program); err != nil {
		return fmt.Errorf("the path of %s: %w", executable, err)
	}
	variables, err := engineVariables(c.env)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("the daemon's log cannot be opened: %w", err)
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("the daemon's log cannot be read: %w", err)
	}

	daemon := exec.Command(program, "serve", "--auto-started")
	daemon.Dir = "/"
	daemon.Env = reducedEnvironment(os.Environ())
	// The engine's password goes through a pipe: neither the process list nor the daemon's environment holds it.
	daemon.Stdin = strings.NewReader(variables)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.say("Starting the ovirt-provision daemon...")
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("the daemon cannot be started: %w", err)
	}
	exited := make(chan struct{})
	var exit error
	go func() {
		exit = daemon.Wait()
		close(exited)
	}()

	err = c.waitServing(ctx, "Start", c.timeouts.Start, func() bool {
		select {
		case <-exited:
			// It ends with success when another daemon was quicker, which is then about to serve.
			return exit != nil
		default:
			return false
		}
	})
	if errors.Is(err, errGone) {
		err = unreachable("the daemon that was started (%s serve) ended before it served: %s", program, exit)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w\n  the end of its log, %s:\n%s", err, logPath, tail(log, before))
	}
	return err
}

// checkPrivate refuses a folder in which somebody else could have put a socket of theirs.
func checkPrivate(folder string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return fmt.Errorf("the folder of the daemon's socket cannot be read: %w", err)
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s, which holds the daemon's socket, is not a folder", folder)
	case known && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("%s, which holds the daemon's socket, belongs to user %d and not to you", folder, owner.Uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s, which holds the daemon's socket, is open to others (mode %04o); run `chmod 700 %s`",
			folder, info.Mode().Perm(), folder)
	}
	return nil
}

// reducedEnvironment keeps what a daemon of any shell should see: PATH, HOME, LANG and XDG_*.
func reducedEnvironment(variables []string) []string {
	var kept []string
	for _, variable := range variables {
		name, _, _ := strings.Cut(variable, "=")
		if name == "PATH" || name == "HOME" || name == "LANG" || strings.HasPrefix(name, "XDG_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// lock takes an exclusive flock, so that of several clients one starts the daemon and the others wait for it.
func lock(ctx context.Context, path string, timeout time.Duration) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the lock for starting the daemon cannot be opened: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout,
		unreachable("another client has been starting the daemon for %s (time-out `Start`) and holds %s", timeout, path))
	defer cancel()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("the lock %s cannot be taken: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ended(ctx)
		case <-time.After(healthPoll):
		}
	}
}

// tail is the end of what was written to the log from the offset on, indented.
func tail(log *os.File, from int64) string {
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil || end == from {
		return "    (empty)"
	}
	content := make([]byte, min(end-from, tailBytes))
	read, _ := log.ReadAt(content, end-int64(len(content)))
	lines := strings.Split(strings.TrimRight(string(content[:read]), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "    " + strings.Join(lines, "\n    ")
}
