package client

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
)

// A3: a bug in any goroutine gives the terminal back and ends the client with 125.
func TestPanicRestoresTheTerminal(t *testing.T) {
	master, subsidiary, err := tty.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(master.FD)
	defer unix.Close(subsidiary)
	ours, theirs, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours)
	defer unix.Close(theirs)
	terminal := tty.Open(subsidiary)
	before := string(terminal.Settings())
	terminal.Raw(false)
	if !terminal.IsRaw() || settings(subsidiary) == before {
		t.Fatal("raw mode is not on")
	}
	s := &session{report: &reporter{terminal: terminal}, conn: connection{fd: ours}, abortion: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.endOnPanic()
		panic(errors.New("a bug, as this test wants it"))
	}()
	<-done
	if settings(subsidiary) != before {
		t.Error("the settings are not those of before")
	}
	if status := s.aborted.Load(); status != statusFailure {
		t.Errorf("status %d", status)
	}
	<-s.abortion // closed: whoever waits goes on
	if n, err := unix.Read(theirs, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the daemon reads %d, %v, want the end", n, err)
	}
}

func socketpair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return fds[0], fds[1], err
}

func settings(fd int) string { return string(tty.Open(fd).Settings()) }
