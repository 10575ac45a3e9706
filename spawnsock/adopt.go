//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Adopt makes a Listener of a listening Unix stream socket that somebody else
// opened, as a service manager does. The descriptor is duplicated; the caller
// closes f. The file of the socket is not ours: it is never removed, and
// Mode, Group and TrustDir of the options are ignored. If the backlog asked for
// is larger than the socket has, it is raised; it is never lowered.
func Adopt(f *os.File, o Options) (*Listener, error) {
	if err := acceptable(f); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	s, err := wrapCopy(f)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	l := &Listener{path: s.ln.Addr().String(), opts: o, inherited: true, done: make(chan struct{})}
	l.useLocked(s, o.Backlog)
	if _, limit, err := l.queueLocked(); err == nil {
		if l.effective <= limit {
			l.effective = limit
			return l, nil
		}
	}
	if err := l.listenLocked(o.Backlog); err != nil {
		_ = l.Close() // the first error is the one that matters
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	return l, nil
}

// wrapCopy makes a socket of a duplicate of f.
func wrapCopy(f *os.File) (socket, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return socket{}, err
	}
	copied := -1
	err = control(raw, func(fd int) (err error) {
		copied, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err == nil {
			err = unix.SetNonblock(copied, true) // before os.NewFile looks
		}
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return socket{}, err
	}
	dup := os.NewFile(uintptr(copied), f.Name())
	s, err := wrap(dup)
	if err != nil {
		_ = dup.Close() // a duplicate
	}
	return s, err
}

// acceptable says what is wrong with f as a listening Unix stream socket.
func acceptable(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		for _, want := range []struct {
			option, value int
			otherwise     string
		}{
			{unix.SO_DOMAIN, unix.AF_UNIX, "not a Unix socket"},
			{unix.SO_TYPE, unix.SOCK_STREAM, "not a stream socket"},
			{unix.SO_ACCEPTCONN, 1, "not a listening socket"},
		} {
			value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
			if err != nil {
				return os.NewSyscallError("getsockopt", err)
			}
			if value != want.value {
				return errors.New(want.otherwise)
			}
		}
		return nil
	})
}
