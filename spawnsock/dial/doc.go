// Package dial connects to a Unix stream socket and waits, in the kernel, for
// a place in its accept queue.
//
// It is for programs that must start fast: it links neither net nor fmt nor
// os, and on the usual path it makes three system calls. Programs that use net
// anyway have the same with a *net.UnixConn in the parent package.
//
//	fd, waited, err := dial.Connect("/run/x.sock", 30*time.Second, false)
//	if errors.Is(err, dial.ErrQueueFull) {
//		// the server is there, but for 30 seconds nobody accepted
//	}
package dial

import (
	"errors"
	"syscall"
)

// ErrQueueFull says that a server listens, and that its accept queue had no
// place for us until the time was up.
var ErrQueueFull = errors.New("accept queue is full")

// Error is what Connect returns: which step failed, on which path, and the
// kernel's reason. It unwraps to Errno, so errors.Is(err, syscall.ENOENT)
// works, and it matches ErrQueueFull where the step was the connect and the
// reason EAGAIN.
type Error struct {
	Op    string // "socket" or "connect"
	Path  string
	Errno syscall.Errno
}

func (e *Error) Error() string {
	cause := e.Errno.Error()
	if e.queueFull() {
		cause = ErrQueueFull.Error()
	}
	return e.Op + " " + e.Path + ": " + cause
}

func (e *Error) Unwrap() error { return e.Errno }

// Is matches ErrQueueFull; every other target is left to Unwrap.
func (e *Error) Is(target error) bool {
	return target == ErrQueueFull && e.queueFull()
}

func (e *Error) queueFull() bool {
	return e.Op == "connect" && e.Errno == syscall.EAGAIN
}
