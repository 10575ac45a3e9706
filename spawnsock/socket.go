//go:build linux

package spawnsock

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a listening socket under two descriptors: net accepts best, but its
// listener can be waited on in no other way, which the file can.
type socket struct {
	ln   *net.UnixListener
	f    *os.File
	ino  uint32 // by which sock_diag(7) finds the socket
	name fileID // of the socket file, if it is ours
}

func (s socket) close() error {
	return errors.Join(s.ln.Close(), s.f.Close())
}

// wake ends all waiting on the socket with os.ErrDeadlineExceeded, for good.
func (s socket) wake() error {
	now := time.Now()
	return errors.Join(s.ln.SetDeadline(now), s.f.SetDeadline(now))
}

// control runs do on the descriptor, which cannot be closed meanwhile.
func (s socket) control(do func(fd int) error) error {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, do)
}

// crowded says whether a client waits to be accepted; on a closed socket nobody does.
func (s socket) crowded() (yes bool) {
	_ = s.control(func(fd int) error {
		yes = readable(fd)
		return nil
	})
	return yes
}

// newSocket binds a new socket to the place, which has been cleared, and
// listens. On failure nothing is left of it.
func newSocket(p *place, o Options) (s socket, err error) {
	if err := clearStale(p); err != nil {
		return s, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return s, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), p.path)
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one that matters
		}
	}()
	name, err := bindAt(fd, p, o)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EEXIST) {
		return s, &InUseError{PID: listenerPID(p)}
	}
	if err != nil {
		return s, err
	}
	s, err = wrap(f)
	s.name = name
	if err != nil {
		_ = p.remove(name) // as above
	}
	return s, err
}

// wrap makes a socket of f, which belongs to it unless there is an error. A
// listener that net makes this way does not remove its file on Close.
func wrap(f *os.File) (s socket, err error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return s, err
	}
	s = socket{ln: ln.(*net.UnixListener), f: f}
	err = s.control(func(fd int) error {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		s.ino = uint32(st.Ino)
		return os.NewSyscallError("fstat", err)
	})
	if err != nil {
		_ = s.ln.Close() // the first error is the one that matters
	}
	return s, err
}

// readable says whether fd can be read now: on a listening socket, whether there is
// somebody to accept. An error is for the one who reads to see.
func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n > 0 || err != nil
}

// control runs f on the descriptor behind raw, which cannot be closed
// meanwhile, and returns whichever error there is.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var inner error
	err := raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	if err != nil {
		return err
	}
	return inner
}
