//go:build linux

package dial

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A server that is not there yet is looked for again after these pauses.
	firstPause = time.Millisecond
	maxPause   = 100 * time.Millisecond

	// refusedGrace is how long a refusal is not believed: a server that starts
	// calls bind and listen, and in between its clients are refused.
	refusedGrace = 20 * time.Millisecond

	// maxSlice bounds one wait in the kernel. For each client accepted the
	// kernel wakes one of those that wait; if just that one is being killed,
	// its turn is lost, and the next might sleep beside an empty queue.
	maxSlice = time.Second

	// maxName is the longest path that fits sun_path with its closing NUL,
	// unix(7).
	maxName = 107
)

// Connect connects to the Unix stream socket at path and returns the
// descriptor, which the caller closes. It is close-on-exec, in blocking mode
// and without any timeout set. The path may be as long as the file system
// allows; one that starts with '@' is an abstract name, as in net.
//
// A full accept queue is waited for until timeout has passed; then the error
// matches ErrQueueFull. With wait set, so is a server that is not there yet: no
// socket at that path, or one that nobody listens on. Any other failure is
// returned at once, as an *Error; a refusal after a few milliseconds, since it
// may come from a server that is just about to listen. A timeout of zero or less
// waits for nothing.
//
// waited is how long the accept queue kept us outside, zero if it did not; it
// is set with an error, too. Signals that the program handles do not end the
// wait; nothing but the timeout does.
func Connect(path string, timeout time.Duration, wait bool) (fd int, waited time.Duration, err error) {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return -1, 0, &Error{"connect", path, unix.EINVAL}
	}
	began := time.Now()
	d := dialer{path: path, deadline: began.Add(timeout)}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		fd, err := d.attempt()
		if err == nil {
			return fd, d.waited, nil
		}
		left := time.Until(d.deadline)
		if !wait {
			left = min(left, refusedGrace-time.Since(began))
		}
		if left <= 0 || !mayCome(err, wait) {
			return -1, d.waited, err
		}
		time.Sleep(min(pause, left))
	}
}

// mayCome says whether it makes sense to try again after err: if the server
// listens any moment or, with wait, if it is not there at all.
func mayCome(err error, wait bool) bool {
	e, ok := err.(*Error)
	return ok && (e.Errno == unix.ECONNREFUSED || wait && e.Errno == unix.ENOENT)
}

// dialer is one call of Connect.
type dialer struct {
	path     string
	deadline time.Time
	waited   time.Duration
}

// attempt connects a new socket. The first try does not block: if it succeeds,
// as it nearly always does, no timeout has to be set and taken back, and it is
// known that the queue did not make us wait.
func (d *dialer) attempt() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, d.fail("socket", err)
	}
	err = d.connect(fd)
	if err == nil || err == unix.EAGAIN {
		full := err == unix.EAGAIN
		// O_RDWR is all the flags a new socket has besides O_NONBLOCK.
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_RDWR)
		if err == nil && full {
			err = d.queue(fd)
		}
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was sent; the first error is the one that matters
		return -1, d.fail("connect", err)
	}
	return fd, nil
}

// queue waits in the kernel for a place in the accept queue. The send timeout
// bounds a blocking connect, socket(7); it is taken back afterwards, because it
// would bound every later send as well. With a send timeout a signal always
// interrupts connect, whatever the handler's flags, and the socket is as it was
// before.
func (d *dialer) queue(fd int) error {
	began := time.Now()
	defer func() { d.waited += time.Since(began) }()
	err := error(unix.EAGAIN)
	for err == unix.EAGAIN || err == unix.EINTR {
		left := min(time.Until(d.deadline), maxSlice)
		if left < time.Microsecond { // to the kernel zero means no limit
			return unix.EAGAIN
		}
		if err := sendTimeout(fd, left); err != nil {
			return err
		}
		err = d.connect(fd)
	}
	if err != nil {
		return err
	}
	return sendTimeout(fd, 0)
}

func sendTimeout(fd int, d time.Duration) error {
	tv := unix.NsecToTimeval(int64(d))
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
}

// connect calls connect(2). A path too long for the address is opened first and
// named by its descriptor.
func (d *dialer) connect(fd int) error {
	name := d.path
	if len(name) > maxName {
		file, err := open(name)
		if err != nil {
			return err
		}
		defer unix.Close(file)
		name = "/proc/self/fd/" + strconv.Itoa(file)
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (d *dialer) fail(op string, err error) error {
	e, ok := err.(syscall.Errno)
	if !ok {
		e = unix.EINVAL
	}
	return &Error{op, d.path, e}
}
