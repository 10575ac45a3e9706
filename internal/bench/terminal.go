package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
)

// terminal plays the user's terminal: a pty of which the subsidiary is what the
// subjects are started on.
type terminal struct {
	master, subsidiary int
	drained            chan struct{}
	once               sync.Once
}

func newTerminal() (*terminal, error) {
	m, subsidiary, err := tty.NewPair()
	if err != nil {
		return nil, fmt.Errorf("open pty: %w", err)
	}
	m.Configure(unix.Winsize{Row: 24, Col: 80}, nil)
	if err := unix.SetNonblock(m.FD, true); err != nil {
		return nil, fmt.Errorf("open pty: %w", err)
	}
	return &terminal{master: m.FD, subsidiary: subsidiary}, nil
}

func (t *terminal) files() [3]int { return [3]int{t.subsidiary, t.subsidiary, t.subsidiary} }

// started gives up the subsidiary, so that the master reports the end.
func (t *terminal) started() {
	t.once.Do(func() { _ = unix.Close(t.subsidiary) })
}

// drain reads whatever is shown, in a thread of its own, until nobody has the
// terminal open.
func (t *terminal) drain() {
	t.drained = make(chan struct{})
	go func() {
		defer close(t.drained)
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(t.master, buf)
			switch {
			case err == unix.EAGAIN:
				t.poll(unix.POLLIN, time.Hour)
			case err != nil && err != unix.EINTR || n == 0:
				return
			}
		}
	}()
}

// poll waits until the terminal can be read or written, and says whether it can.
func (t *terminal) poll(events int16, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(t.master), Events: events}}
		left := int(max(time.Until(deadline), 0).Milliseconds())
		if n, err := unix.Poll(fds, left); err != unix.EINTR {
			return n > 0
		}
	}
}

// end closes the terminal once nobody has it open any more: the drain ends by
// itself then.
func (t *terminal) end() {
	t.started()
	if t.drained != nil {
		<-t.drained
	}
	_ = unix.Close(t.master)
}

// hangUp closes the terminal under whoever still uses it. Nobody may be
// draining it.
func (t *terminal) hangUp() {
	t.started()
	_ = unix.Close(t.master)
}

// read takes what is shown, waiting until there is something.
func (t *terminal) read(buf []byte, limit time.Duration) (int, error) {
	for {
		n, err := unix.Read(t.master, buf)
		switch {
		case err == nil && n > 0:
			return n, nil
		case err == unix.EAGAIN && !t.poll(unix.POLLIN, limit):
			return 0, fmt.Errorf("nothing shown within %v", limit)
		case err != nil && err != unix.EAGAIN && err != unix.EINTR:
			return 0, err
		}
	}
}

// await reads until want has been shown, and drops all of it.
func (t *terminal) await(want string, limit time.Duration) error {
	buf := make([]byte, 4096)
	seen := ""
	for {
		n, err := t.read(buf, limit)
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", want, err)
		}
		seen += string(buf[:n])
		if strings.Contains(seen, want) {
			return nil
		}
		seen = seen[max(0, len(seen)-len(want)):]
	}
}

// send types all of b, while somebody else drains. It gives up if nothing is
// taken for as long as limit.
func (t *terminal) send(b []byte, limit time.Duration) error {
	for len(b) > 0 {
		n, err := unix.Write(t.master, b)
		switch {
		case err == unix.EAGAIN && !t.poll(unix.POLLOUT, limit):
			return fmt.Errorf("type: %d bytes are not taken", len(b))
		case err != nil && err != unix.EAGAIN && err != unix.EINTR:
			return fmt.Errorf("type: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}
