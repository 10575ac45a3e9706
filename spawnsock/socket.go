//go:build linux

package spawnsock

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a listening socket and its file.
type socket struct {
	ln   *net.UnixListener
	raw  syscall.RawConn
	ino  uint32
	file fileID
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
	defer f.Close() // wrap has duplicated it
	file, err := bindAt(fd, p, o)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EEXIST) {
		return s, &InUseError{PID: listenerPID(p)}
	}
	if err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			_ = p.remove(file) // the first error is the one that matters
		}
	}()
	if err := unix.Listen(fd, askBacklog(o.Backlog)); err != nil {
		return s, os.NewSyscallError("listen", err)
	}
	s, err = wrap(f)
	s.file = file
	return s, err
}

// wrap makes a net listener of f, which stays the caller's. A listener made
// this way does not remove its file when it is closed.
func wrap(f *os.File) (s socket, err error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return s, err
	}
	unixLn, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close() // a duplicate; the caller has the original
		return s, errors.New("not a Unix socket")
	}
	s.ln = unixLn
	if s.raw, err = unixLn.SyscallConn(); err != nil {
		return s, err
	}
	err = control(s.raw, func(fd int) error {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		s.ino = uint32(st.Ino)
		return os.NewSyscallError("fstat", err)
	})
	return s, err
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
