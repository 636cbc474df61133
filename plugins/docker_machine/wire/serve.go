package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Started by a host, a plugin finds TokenValue in the environment variable TokenVariable.
const (
	TokenVariable = "MACHINE_PLUGIN_TOKEN"
	TokenValue    = "42"
)

// heartbeatTimeout is how long a host may be silent: it sends a heartbeat every 5 s.
const heartbeatTimeout = 10 * time.Second

// Why Serve returned, and Create was ended before.
var (
	errClosed = errors.New("docker-machine is done")
	// errHostGone is that the host has died, hangs, or was killed.
	errHostGone = errors.New("docker-machine is gone")
)

// Serve serves a driver on a loopback port, whose address it prints to out, until the host is done, which is nil, or
// gone, or a signal tells us to end. It returns once Create, if it runs, has returned.
func Serve(driver Driver, out io.Writer) error {
	return serve(driver, out, heartbeatTimeout)
}

func serve(driver Driver, out io.Writer, heartbeat time.Duration) error {
	// The host's end of our pipes closes with it, and a line of progress must not end us before the undo.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	host, gone := context.WithCancelCause(context.Background())
	defer gone(nil)
	running := &service{driver: driver, host: host, gone: gone, heartbeat: heartbeat}
	running.silence = time.AfterFunc(heartbeat, func() {
		gone(fmt.Errorf("%w: it has been silent for %s", errHostGone, heartbeat))
	})
	handler, err := running.handler()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("no port for docker-machine: %w", err)
	}
	defer listener.Close()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: heartbeatTimeout}
	go func() { gone(server.Serve(listener)) }()
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return fmt.Errorf("docker-machine cannot be told the port: %w", err)
	}

	select {
	case number := <-signals:
		gone(fmt.Errorf("interrupted by signal: %s", number))
	case <-host.Done():
	}
	running.creating.Lock()
	defer running.creating.Unlock()
	if cause := context.Cause(host); !errors.Is(cause, errClosed) {
		return cause
	}
	return nil
}

// handler answers the CONNECT with which rpc.DialHTTP begins.
func (s *service) handler() (http.Handler, error) {
	server := rpc.NewServer()
	for _, name := range []string{"RPCServerDriver", "RpcServerDriver"} {
		if err := server.RegisterName(name, s); err != nil {
			return nil, fmt.Errorf("the driver cannot be served: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("CONNECT "+rpc.DefaultRPCPath, func(answer http.ResponseWriter, _ *http.Request) {
		connection, buffered, err := http.NewResponseController(answer).Hijack()
		if err != nil {
			s.gone(err)
			return
		}
		_, _ = io.WriteString(connection, "HTTP/1.0 200 Connected to Go RPC\n\n")
		server.ServeConn(&hostConnection{Conn: connection, buffered: buffered.Reader, gone: s.gone})
	})
	return mux, nil
}

// hostConnection tells when the host has closed its end, as its death does. The server of net/rpc would tell only after
// the calls under way have returned.
type hostConnection struct {
	net.Conn
	buffered *bufio.Reader
	gone     context.CancelCauseFunc
}

func (c *hostConnection) Read(into []byte) (int, error) {
	n, err := c.buffered.Read(into)
	if err != nil {
		c.gone(fmt.Errorf("%w: it has closed the connection", errHostGone))
	}
	return n, err
}
