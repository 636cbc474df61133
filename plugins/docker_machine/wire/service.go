package wire

import (
	"context"
	"errors"
	"fmt"
	"log"
	"runtime/debug"
	"sync"
	"time"
)

// apiVersion is the version of the protocol that every host speaks.
const apiVersion = 1

// service is the RPC service of the protocol: each exported method is one call of the host.
type service struct {
	driver Driver
	// calls lets one call reach the driver at a time.
	calls sync.Mutex
	// creating is held while Create runs.
	creating sync.Mutex
	// host ends when the host is gone, or has said that it is done.
	host context.Context
	gone context.CancelCauseFunc
	// silence ends the host after a heartbeat time-out without a heartbeat.
	silence   *time.Timer
	heartbeat time.Duration
}

type nothing = struct{}

// call makes one call of the driver. What would end the plugin becomes an error: the host would only see its
// connection break.
func (s *service) call(run func() error) (err error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	defer func() {
		if panicked := recover(); panicked != nil {
			log.Printf("panic in the driver: %v\n%s", panicked, debug.Stack())
			err = fmt.Errorf("the driver has a defect and gave up, please report it: %v", panicked)
		}
	}()
	return run()
}

func ask[T any](s *service, reply *T, question func() (T, error)) error {
	return s.call(func() (err error) {
		*reply, err = question()
		return err
	})
}

func tell[T any](s *service, reply *T, question func() T) error {
	return ask(s, reply, func() (T, error) { return question(), nil })
}

func (s *service) GetVersion(_ *nothing, reply *int) error {
	*reply = apiVersion
	return nil
}

// Heartbeat comes every 5 s.
func (s *service) Heartbeat(_, _ *nothing) error {
	s.silence.Reset(s.heartbeat)
	return nil
}

// Close is the last call.
func (s *service) Close(_, _ *nothing) error {
	s.gone(errClosed)
	return nil
}

func (s *service) DriverName(_ *nothing, reply *string) error {
	return tell(s, reply, s.driver.DriverName)
}

func (s *service) GetCreateFlags(_ *nothing, reply *[]Flag) error {
	return tell(s, reply, s.driver.GetCreateFlags)
}

func (s *service) SetConfigRaw(state []byte, _ *nothing) error {
	return s.call(func() error { return s.driver.SetConfigRaw(state) })
}

func (s *service) GetConfigRaw(_ *nothing, reply *[]byte) error {
	return ask(s, reply, s.driver.GetConfigRaw)
}

func (s *service) SetConfigFromFlags(options *Options, _ *nothing) error {
	return s.call(func() error { return s.driver.SetConfigFromFlags(*options) })
}

func (s *service) PreCreateCheck(_, _ *nothing) error {
	return s.call(s.driver.PreCreateCheck)
}

func (s *service) Create(_, _ *nothing) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	if s.host.Err() != nil {
		return context.Cause(s.host)
	}
	return s.call(func() error { return s.driver.Create(s.host) })
}

func (s *service) Remove(_, _ *nothing) error {
	return s.call(s.driver.Remove)
}

func (s *service) Start(_, _ *nothing) error {
	return s.call(s.driver.Start)
}

func (s *service) Stop(_, _ *nothing) error {
	return s.call(s.driver.Stop)
}

func (s *service) Kill(_, _ *nothing) error {
	return s.call(s.driver.Kill)
}

func (s *service) Restart(_, _ *nothing) error {
	return s.call(s.driver.Restart)
}

// Upgrade is a call that hosts know and make no use of: they upgrade Docker over SSH.
func (s *service) Upgrade(_, _ *nothing) error {
	return errors.New("this driver does not upgrade Docker; the host does so itself")
}

func (s *service) GetState(_ *nothing, reply *State) error {
	return ask(s, reply, s.driver.GetState)
}

func (s *service) GetURL(_ *nothing, reply *string) error {
	return ask(s, reply, s.driver.GetURL)
}

func (s *service) GetIP(_ *nothing, reply *string) error {
	return ask(s, reply, s.driver.GetIP)
}

func (s *service) GetIPv6(_ *nothing, reply *string) error {
	return ask(s, reply, s.driver.GetIPv6)
}

func (s *service) GetMachineName(_ *nothing, reply *string) error {
	return tell(s, reply, s.driver.GetMachineName)
}

func (s *service) GetSSHHostname(_ *nothing, reply *string) error {
	return ask(s, reply, s.driver.GetSSHHostname)
}

func (s *service) GetSSHPort(_ *nothing, reply *int) error {
	return ask(s, reply, s.driver.GetSSHPort)
}

func (s *service) GetSSHUsername(_ *nothing, reply *string) error {
	return tell(s, reply, s.driver.GetSSHUsername)
}

func (s *service) GetSSHKeyPath(_ *nothing, reply *string) error {
	return tell(s, reply, s.driver.GetSSHKeyPath)
}
