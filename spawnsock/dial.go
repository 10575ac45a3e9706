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
	pause := time.Millisecond
	for {
		c, err := dialOnce(ctx, &d, path)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("connect %s: %w", path, cause(err))
		}
		// There is nothing to wait on: poll, at moments of our own so that
		// clients that came together do not come back together.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect %s: %w (%w)", path, ErrQueueFull, ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
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

// cause takes what net wraps around an error number off again: our own message
// names the path once.
func cause(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
