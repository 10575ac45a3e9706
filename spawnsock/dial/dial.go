//go:build linux

package dial

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A server that is not there yet is looked for again after these pauses.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// maxName is the longest path that fits sun_path with its closing NUL, unix(7).
const maxName = 107

// Connect connects to the Unix stream socket at path and returns the
// descriptor, which the caller closes. It is close-on-exec, in blocking mode
// and without any timeout set. The path may be as long as the file system
// allows; one that starts with '@' is an abstract name, as in net.
//
// A full accept queue is waited for until timeout has passed; then the error
// matches ErrQueueFull. With wait set, so is a server that is not there yet: no
// socket at that path, or one that nobody listens on. Any other failure is
// returned at once, as an *Error. A timeout of zero or less waits for nothing.
//
// waited is how long the accept queue kept us outside, zero if it did not; it
// is set with an error, too. Nothing but the timeout ends the wait early.
func Connect(path string, timeout time.Duration, wait bool) (fd int, waited time.Duration, err error) {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return -1, 0, &Error{"connect", path, unix.EINVAL}
	}
	// The first try does not block: if it succeeds, as it nearly always does,
	// no timeout has to be set and taken back, and waited is known to be zero.
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, 0, &Error{"socket", path, errno(err)}
	}
	d := dialer{fd: fd, path: path, deadline: time.Now().Add(timeout), patient: wait}
	if err := d.connect(); err != nil {
		_ = unix.Close(fd) // nothing was sent; the first error is the one that matters
		return -1, d.waited, &Error{"connect", path, errno(err)}
	}
	return fd, d.waited, nil
}

// dialer is one call of Connect: a socket, not yet connected, and its limits.
type dialer struct {
	fd       int
	path     string
	deadline time.Time
	patient  bool
	waited   time.Duration
}

// connect tries until it succeeds, the time is up or there is no sense in
// going on. A Unix socket may be used again after a failed connect.
func (d *dialer) connect() error {
	pause := firstPause
	for {
		err := d.try(false)
		if err == unix.EAGAIN {
			err = d.queue()
		} else if err == nil {
			err = d.settle()
		}
		left := time.Until(d.deadline)
		if !d.patient || !absent(err) || left <= 0 {
			return err
		}
		time.Sleep(min(pause, left))
		pause = min(2*pause, maxPause)
	}
}

// queue waits in the kernel for a place in the accept queue. The send timeout
// bounds a blocking connect, socket(7); it is taken back afterwards, because it
// would bound every later send as well.
func (d *dialer) queue() error {
	began := time.Now()
	defer func() { d.waited += time.Since(began) }()
	if err := unix.SetNonblock(d.fd, false); err != nil {
		return err
	}
	for {
		left := time.Until(d.deadline)
		if left < time.Microsecond { // to the kernel zero means no limit
			return d.giveUp(unix.EAGAIN)
		}
		tv := unix.NsecToTimeval(int64(left))
		if err := unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
			return err
		}
		err := d.try(true)
		if err == unix.EAGAIN {
			continue // the timer is coarse; the deadline decides
		}
		if err != nil {
			return d.giveUp(err)
		}
		return unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
	}
}

// giveUp makes the socket non-blocking again, so that another try of connect
// starts as the first one did, and returns cause.
func (d *dialer) giveUp(cause error) error {
	if err := unix.SetNonblock(d.fd, true); err != nil {
		return err
	}
	return cause
}

// settle puts a socket that connected without waiting into blocking mode.
// O_RDWR is all the flags that a new socket has besides O_NONBLOCK.
func (d *dialer) settle() error {
	_, err := unix.FcntlInt(uintptr(d.fd), unix.F_SETFL, unix.O_RDWR)
	return err
}

// try calls connect(2) once, or again while a signal interrupts it. With a send
// timeout the kernel does not restart an interrupted connect by itself,
// whatever the handler's flags; the socket is then as it was before. A blocking
// try returns to its caller instead, which sets the timeout that is left.
func (d *dialer) try(blocking bool) error {
	for {
		err := connect(d.fd, d.path)
		if err != unix.EINTR {
			return err
		}
		if blocking {
			return unix.EAGAIN
		}
	}
}

// connect calls connect(2). A path too long for the address is opened first and
// named by its descriptor.
func connect(fd int, path string) error {
	if len(path) > maxName {
		file, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(file)
		path = "/proc/self/fd/" + strconv.Itoa(file)
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// absent says whether err means that no server is there.
func absent(err error) bool {
	return err == unix.ENOENT || err == unix.ECONNREFUSED
}

func errno(err error) syscall.Errno {
	if e, ok := err.(syscall.Errno); ok {
		return e
	}
	return unix.EINVAL
}
