package client

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// connection is a connected socket. It is non-blocking and in the runtime's poller:
// a thread that waits in a system call would keep the scheduler looking for it.
type connection struct {
	fd     int
	file   *os.File // the same
	raw    syscall.RawConn
	path   string
	limit  time.Duration // for a daemon that does not read
	waited time.Duration // for a place in the accept queue
	since  time.Time
}

// newConnection takes over fd, which stays open until the process ends. Reading has
// the first deadline for an answer already: set later, it would wake the thread that
// waits in the poller by then.
func newConnection(fd int, path string, limit time.Duration) (c connection, err error) {
	c = connection{fd: fd, path: path, limit: max(limit, time.Second), since: time.Now()}
	if err = unix.SetNonblock(fd, true); err == nil {
		c.file = os.NewFile(uintptr(fd), path)
		_ = c.file.SetReadDeadline(c.since.Add(min(limit, noticeAfter)))
		c.raw, err = c.file.SyscallConn()
	}
	return c, err
}

// recv waits for bytes, until the deadline of file if it has one.
func (c *connection) recv(p []byte) (n int, fds []int, err error) {
	over := c.raw.Read(func(fd uintptr) bool {
		n, fds, err = wire.RecvNow(int(fd), p)
		return err != unix.EAGAIN
	})
	if over != nil {
		err = over
	}
	return n, fds, err
}

// send sends all of b, with the descriptors on its first byte. A daemon that
// reads none of it for as long as the limit is an EAGAIN.
func (c *connection) send(b []byte, fds ...int) error {
	for {
		n, err := wire.SendNow(c.fd, b, fds...)
		if b = b[n:]; len(b) == 0 || err != nil && err != unix.EAGAIN {
			return err
		}
		if n > 0 {
			fds = nil
		}
		if err == unix.EAGAIN && !c.writable() {
			return err
		}
	}
}

// writable waits until there is room.
func (c *connection) writable() bool {
	deadline := time.Now().Add(c.limit)
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())+1))
		if err != unix.EINTR {
			return n > 0
		}
	}
}
