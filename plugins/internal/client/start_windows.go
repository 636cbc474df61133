package client

import "context"

// start is never reached: ResolveAddress gives no address at which a daemon could be started on Windows.
func (c *Client) start(context.Context) error {
	return errNoDaemonHere
}

// checkPrivate has nothing to check, for the same reason.
func checkPrivate(string) error {
	return nil
}
