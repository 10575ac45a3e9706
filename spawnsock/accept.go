//go:build linux

package spawnsock

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// What the accept loop does when it cannot accept: it holds off, so that
// clients wait in the accept queue and the process neither spins nor dies.

const (
	firstHoldOff = 5 * time.Millisecond
	maxHoldOff   = time.Second
)

// holdOff is the pause after a failed accept. It doubles with every failure
// and is zero again after a success.
type holdOff time.Duration

func (h *holdOff) next() time.Duration {
	*h = min(max(2**h, holdOff(firstHoldOff)), holdOff(maxHoldOff))
	return time.Duration(*h)
}

// transient says whether an accept may succeed later. Only a socket that is
// closed, or none that one can accept on, is beyond hope.
func transient(err error) bool {
	for _, final := range []error{net.ErrClosed, unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EOPNOTSUPP} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// wanted waits, after accept failed with cause, for a client, and says false
// if it had to. For accept(2) takes a descriptor before it looks for a client:
// with none left it fails even when nobody is there, which would wake an idle
// process again and again.
func (l *Listener) wanted(cause error) (bool, error) {
	if !errors.Is(cause, unix.EMFILE) && !errors.Is(cause, unix.ENFILE) {
		return true, nil
	}
	if l.oldWanted() {
		return true, nil
	}
	l.mu.Lock()
	f := l.now.f
	l.mu.Unlock()
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	waited := false
	err = raw.Read(func(fd uintptr) bool {
		ready := readable(int(fd))
		waited = waited || !ready
		return ready
	})
	return !waited, err
}

// oldWanted says whether a client waits for a socket that Rebind replaced. Those for
// which nobody does are closed, as by an accept that finds nobody.
func (l *Listener) oldWanted() bool {
	l.mu.Lock()
	old := l.old
	l.mu.Unlock()
	for _, s := range old {
		client := false
		err := s.control(func(fd int) error {
			client = readable(fd)
			return nil
		})
		if err == nil && client {
			return true
		}
		l.dropOld(s)
	}
	return false
}

// failed counts the error and reports it.
func (s *Server) failed(err error, pause time.Duration) {
	s.mu.Lock()
	s.errors[kind(err)]++
	s.mu.Unlock()
	if s.AcceptError != nil {
		s.AcceptError(err, pause)
	}
}

// kind names an accept error for the statistics.
func kind(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return "other"
}

// rest pauses, until something was given back since the count stood at freed.
func (s *Server) rest(freed uint64, pause time.Duration) {
	s.mu.Lock()
	if s.freed != freed || s.stopping {
		s.mu.Unlock()
		return
	}
	wake := s.wakeLocked()
	s.mu.Unlock()
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	}
}

// given returns how often something was given back so far. The count is taken
// before an accept: what comes back while that fails must not be missed.
func (s *Server) given() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// giveLocked wakes everybody who waits for something to be given back.
func (s *Server) giveLocked() {
	s.freed++
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// wakeLocked returns a channel that the next giveLocked closes.
func (s *Server) wakeLocked() <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}
