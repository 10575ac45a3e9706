package client

import "golang.org/x/sys/unix"

// drainLimit bounds what is read once the shell has ended. A pty holds less (8
// KiB in flight and 4 KiB in its line discipline), so all that the shell wrote
// is within it, and a background process that writes for ever is not.
const drainLimit = 64 << 10

// Time-outs of poll(2), in milliseconds. In the background the client looks now
// and then whether it has been brought to the foreground: no signal tells.
const (
	backgroundPoll = 200
	forever        = -1
)

// startPumps begins to copy, each direction on its own: a terminal that is
// stopped must not keep what is typed from the program. The master is ours
// alone, so it may be non-blocking; the user's descriptors never are.
func (s *session) startPumps() error {
	if err := unix.SetNonblock(s.master.FD, true); err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	s.wake = wake
	s.drained = make(chan struct{})
	go s.pumpOut()
	go s.pumpIn()
	return nil
}

// wait blocks until fd has one of the events, or the shell has ended if that
// had not been noticed, or the time is over.
func (s *session) wait(fd int, events int16, noticed bool, timeout int) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(s.wake), Events: unix.POLLIN}}
	if noticed {
		fds = fds[:1]
	}
	_, _ = unix.Poll(fds, timeout) // the caller tries again whatever came
}

// pumpOut copies from the master to stdout until the shell has ended and all
// that it wrote has been read.
func (s *session) pumpOut() {
	defer close(s.drained)
	defer s.endOnPanic()
	c := &copier{from: int32(s.master.FD), to: 1, over: &s.ended, wake: int32(s.wake)}
	for left := drainLimit; left > 0; {
		// Read after looking: if the shell had ended before this read, then
		// "nothing there" is the end.
		ended := s.ended.Load()
		n, err := unix.Read(s.master.FD, c.buf[:])
		switch {
		case n > 0:
			if ended {
				left -= n
			}
			if !s.writeOut(c.buf[:n]) {
				return
			}
		case err == unix.EINTR:
		case ended:
			return
		case err == unix.EAGAIN:
			if c.run(); !s.writeOut(c.rest()) {
				return
			}
		default:
			// EIO: the pty is hung up, since nobody has it open, not even the
			// daemon. Only the end of the shell is news now.
			s.wait(-1, 0, false, forever)
		}
	}
}

// writeOut writes all of b to stdout. If nobody can read it any more, the
// terminal of the program is gone and it is hung up like on any other.
func (s *session) writeOut(b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Write(1, b)
		switch {
		case n > 0:
			b = b[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			s.wait(1, unix.POLLOUT, true, forever)
		default:
			s.dialect.hangup()
			return false
		}
	}
	return true
}

// pumpIn copies from stdin to the master and stops the moment the shell has
// ended: what is typed after that is for the outer shell.
func (s *session) pumpIn() {
	defer s.endOnPanic()
	c := &copier{to: int32(s.master.FD), over: &s.ended, wake: -1}
	if s.streams.typed {
		c.group = int32(unix.Getpgrp())
	}
	for !s.ended.Load() {
		if !s.mayRead() {
			s.wait(-1, 0, false, backgroundPoll)
			continue
		}
		if c.run(); !s.writeIn(c.rest()) {
			return
		}
		if c.ended || c.errno != 0 && c.errno != unix.EAGAIN {
			s.endInput(c.last())
			return
		}
	}
}

// mayRead reports whether input is ours to take. In the background it is not:
// it belongs to the outer shell, and reading would stop us. Coming to the
// foreground without a stop in between is noticed here.
func (s *session) mayRead() bool {
	if !s.streams.typed {
		return true
	}
	if !s.streams.outer.Foreground() {
		return false
	}
	if !s.streams.outer.IsRaw() {
		s.enterRaw()
	}
	return true
}

// writeIn writes all of b to the master, waiting while the program does not
// read. It gives up when the shell has ended.
func (s *session) writeIn(b []byte) bool {
	for len(b) > 0 && !s.ended.Load() {
		n, err := unix.Write(s.master.FD, b)
		switch {
		case n > 0:
			b = b[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			s.wait(s.master.FD, unix.POLLOUT, false, forever)
		default:
			return false
		}
	}
	return len(b) == 0
}

// endInput passes the end of our input on. A terminal that ends has been hung
// up, and so is the program's; the end of a pipe or file is what the user would
// type for it, twice if a line is unfinished.
func (s *session) endInput(last byte) {
	if s.streams.typed {
		s.dialect.hangup()
		return
	}
	eof := s.master.EndOfInput()
	if last != '\n' {
		eof = append(eof, eof...)
	}
	s.writeIn(eof)
}
