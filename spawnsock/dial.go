//go:build linux

package spawnsock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// refusedGrace is how long a refusal is not believed: a server that starts calls
// bind and listen, and in between its clients are refused.
const refusedGrace = 20 * time.Millisecond

// Dial connects to the Unix stream socket at path, of any length. Where the
// accept queue is full, net.Dial fails at once, whatever its timeout; Dial
// tries again until there is a place or ctx is done. In the latter case the
// error matches ErrQueueFull as well as ctx.Err. A server that is not there is
// an error at once. The caller closes the connection.
//
// A program that does not use net otherwise and must start fast takes the
// package spawnsock/dial.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var d net.Dialer
	var reason error // of the last try
	began, pause := time.Now(), time.Millisecond
	for {
		c, err := dialOnce(ctx, &d, path)
		switch {
		case err == nil:
			return c, nil
		case reason != nil && isDone(err): // the time was up at the start of this try
			return nil, fmt.Errorf("connect %s: %w (%w)", path, reason, cause(err))
		}
		reason = cause(err)
		starting := errors.Is(err, unix.ECONNREFUSED) && time.Since(began) < refusedGrace
		if !starting && reason != ErrQueueFull {
			return nil, fmt.Errorf("connect %s: %w", path, reason)
		}
		// There is nothing to wait on: poll, at moments of our own so that
		// clients that came together do not come back together.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect %s: %w (%w)", path, reason, ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// isDone says whether err, from net, means that the context is done.
func isDone(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// dialOnce connects once. A path that is too long for an address is opened and
// named by its descriptor.
func dialOnce(ctx context.Context, d *net.Dialer, path string) (*net.UnixConn, error) {
	name := path
	if len(path) > maxName {
		file, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(file)
		name = "/proc/self/fd/" + strconv.Itoa(file)
	}
	c, err := d.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// cause takes what net wraps around an error number off again, as our own
// message names the path, and calls a full queue by its name.
func cause(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	switch {
	case errors.Is(err, unix.EAGAIN):
		return ErrQueueFull
	case errors.As(err, &call):
		return call.Err
	case errors.As(err, &op):
		return op.Err
	}
	return err
}
