package spawntest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// Conn is a connection to a daemon without a client program: it speaks the
// protocol as a test tells it to, right or wrong, and there can be thousands.
type Conn struct {
	FD     int
	reader *wire.Reader
}

// Connect connects to the daemon as the test's own user.
func (d *Daemon) Connect() *Conn {
	d.t.Helper()
	c, err := Dial(d.Socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(c.Close)
	return c
}

// ConnectAs connects as who with these groups, which takes root.
func (d *Daemon) ConnectAs(who Who, groups ...int) *Conn {
	d.t.Helper()
	c, err := DialAs(d.Socket, who, groups...)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(c.Close)
	return c
}

// Dial connects to a socket. It waits for a place in the accept queue, and like
// every wait of the connection no longer than Deadline. The caller closes it.
func Dial(socket string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	patience := unix.NsecToTimeval(Deadline.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
	)
	for err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
		if err == nil {
			return &Conn{FD: fd, reader: wire.NewReader(wire.RecvFD(fd, 0), nil)}, nil
		}
		if err == unix.EINTR {
			err = nil // nothing has begun: try again
		}
	}
	_ = unix.Close(fd) // it carries nothing
	return nil, fmt.Errorf("connect %s: %w", socket, err)
}

// DialAs is Dial with another effective identity, which is what the daemon sees.
// Threads have identities of their own, see nptl(7), so it is changed in this one
// alone. It takes root.
func DialAs(socket string, who Who, groups ...int) (*Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.Getgroups()
	if err != nil {
		return nil, os.NewSyscallError("getgroups", err)
	}
	list := make([]uint32, 0, len(groups)+1)
	for _, g := range groups {
		list = append(list, uint32(g))
	}
	if err := threadGroups(list); err != nil {
		return nil, err
	}
	become(who.UID, who.GID)
	defer func() {
		become(os.Getuid(), os.Getgid())
		list = list[:0]
		for _, g := range own {
			list = append(list, uint32(g))
		}
		_ = threadGroups(list) // they were ours before
	}()
	return Dial(socket)
}

// threadGroups sets the groups of this thread.
func threadGroups(list []uint32) error {
	var first unsafe.Pointer
	if len(list) > 0 {
		first = unsafe.Pointer(&list[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(list)), uintptr(first), 0)
	if errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	return nil
}

// Close closes the connection. A second call does nothing.
func (c *Conn) Close() {
	if c.FD >= 0 {
		c.reader.Close()
		_ = unix.Close(c.FD) // a test that needs what was sent has read the answer
		c.FD = -1
	}
}

// Send sends bytes, with descriptors on the first of them.
func (c *Conn) Send(b []byte, fds ...int) error { return wire.Send(c.FD, b, fds...) }

// Greeting is how a client of the present version begins.
func Greeting() wire.Hello { return wire.Hello{Version: wire.Version} }

// Request is a request that runs argv in the root directory, on descriptors as
// stdin, stdout and stderr, as many as it says.
func Request(stdio int, argv ...string) *wire.Start {
	return &wire.Start{Argv: argv, Dir: "/", Umask: 0o022, Stdio: []byte{0, 1, 2}[:stdio]}
}

// Start sends a request with its descriptors.
func (c *Conn) Start(s *wire.Start, fds ...int) error {
	return c.Send(wire.AppendStart(nil, Greeting(), s), fds...)
}

// Refusal is the daemon's answer to a request that it does not grant.
type Refusal struct{ Answer wire.Error }

func (r *Refusal) Error() string { return r.Answer.Text }

// Started waits for the answer to a request. The error is a *Refusal if it was
// refused. The master is -1 without a pty, and the caller's to close.
func (c *Conn) Started() (m wire.Started, master int, err error) {
	payload, err := c.expect(wire.KindStarted)
	fds := c.reader.TakeDescriptors()
	if err == nil {
		m, err = wire.ParseStarted(payload)
	}
	if err != nil || len(fds) > 1 {
		wire.CloseAll(fds)
		return m, -1, errors.Join(err, tooMany(fds))
	}
	if len(fds) == 0 {
		return m, -1, nil
	}
	return m, fds[0], nil
}

func tooMany(fds []int) error {
	if len(fds) > 1 {
		return fmt.Errorf("%d descriptors came with the answer", len(fds))
	}
	return nil
}

// Exited waits for the end of the shell. Acknowledgements of signals that come
// before it are passed over.
func (c *Conn) Exited() (wire.Exited, error) {
	for {
		kind, payload, err := c.reader.Message()
		switch {
		case err != nil:
			return wire.Exited{}, err
		case kind == wire.KindExited:
			return wire.ParseExited(payload)
		case kind != wire.KindAck:
			return wire.Exited{}, fmt.Errorf("message %#x in place of the end", uint16(kind))
		}
	}
}

// Reply waits for the answer to a control command.
func (c *Conn) Reply() ([]byte, error) { return c.expect(wire.KindReply) }

// expect waits for a message of this kind.
func (c *Conn) expect(want wire.Kind) ([]byte, error) {
	kind, payload, err := c.reader.Message()
	switch {
	case err != nil:
		return nil, err
	case kind == want:
		return payload, nil
	case kind == wire.KindError:
		e, err := wire.ParseError(payload)
		if err != nil {
			return nil, err
		}
		return nil, &Refusal{e}
	}
	return nil, fmt.Errorf("message %#x in place of %#x", uint16(kind), uint16(want))
}

// Closed waits until the daemon has closed the connection without a further word.
func (c *Conn) Closed(t testing.TB) {
	t.Helper()
	if kind, _, err := c.reader.Message(); err == nil {
		t.Errorf("message %#x in place of the end of the connection", uint16(kind))
	} else if errors.Is(err, unix.EAGAIN) {
		t.Errorf("the connection is open after %v", Deadline)
	}
}

// DevNull opens /dev/null for a test, as many times as a request has streams.
func DevNull(t testing.TB) []int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return []int{fd, fd, fd}
}

// Settle waits until the daemon has no more descriptors than it had, and no
// child. It is how a test says that nothing was left behind.
func (d *Daemon) Settle(t testing.TB, descriptors int) {
	t.Helper()
	d.SettleChildren(t, descriptors, 0)
}

// SettleChildren is Settle for a daemon that goes on with some shells.
func (d *Daemon) SettleChildren(t testing.TB, descriptors, children int) {
	t.Helper()
	if !Within(Deadline, func() bool { return len(d.FDs()) <= descriptors && len(d.Children()) == children }) {
		t.Errorf("%d descriptors after %d before, %d children, want %d: %v",
			len(d.FDs()), descriptors, len(d.Children()), children, d.FDs())
	}
}
