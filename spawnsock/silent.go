//go:build linux

package spawnsock

import (
	"cmp"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// The cap on connections that have not asked for anything. At the cap nobody is
// accepted, so that clients wait in the accept queue; but one that has been
// silent for its grace then makes room, so that silent clients cannot keep all
// others out.

// silentConn is a connection that has not asked for anything since its time
// began.
type silentConn struct {
	conn  *net.UnixConn
	since time.Time
}

// waitRoom waits until there are fewer silent connections than the cap.
func (s *Server) waitRoom() error {
	for {
		wake, patience, err := s.room()
		if wake == nil {
			return err
		}
		t := time.NewTimer(patience)
		select {
		case <-wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// room says whether there is room for another silent connection, and makes it
// if the oldest one has had its time. If there is none, wake is not nil; it is
// closed when there may be, and nobody can be let go before patience is over.
func (s *Server) room() (wake <-chan struct{}, patience time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := cmp.Or(s.MaxPending, DefaultMaxPending)
	grace := cmp.Or(s.PendingGrace, DefaultPendingGrace)
	switch {
	case s.stopping:
		return nil, 0, ErrServerClosed
	case limit < 0 || s.silent.Len() < limit:
		return nil, 0, nil
	case grace < 0:
		return s.wakeLocked(), time.Hour, nil
	}
	for {
		first := s.silent.Front()
		oldest := first.Value.(silentConn)
		if left := grace - time.Since(oldest.since); left > 0 {
			return s.wakeLocked(), left, nil
		}
		if !unread(oldest.conn) {
			s.heardLocked(oldest.conn)
			s.dropped++
			hangUp(oldest.conn)
			return nil, 0, nil
		}
		// It has spoken, and its handler is late: its time begins again.
		first.Value = silentConn{oldest.conn, time.Now()}
		s.silent.MoveToBack(first)
	}
}

// unread says whether the peer has sent something that nobody has read yet.
func unread(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = control(raw, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return err == nil && n > 0
}

// hangUp ends the connection for both sides, which wakes its handler and leaves the close
// to it: that waits for what the peer may have sent since, and nobody else may.
func hangUp(c *net.UnixConn) {
	_ = c.CloseRead() // the peer may have gone
	_ = c.CloseWrite()
}

// heardLocked takes c out of the silent connections, and says whether it was
// one.
func (s *Server) heardLocked(c *net.UnixConn) bool {
	place := s.conns[c]
	if place == nil {
		return false
	}
	s.silent.Remove(place)
	s.conns[c] = nil
	return true
}
