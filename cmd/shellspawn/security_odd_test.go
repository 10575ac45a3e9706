package main_test

import (
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// oddities opens one descriptor of each kind that is hardly meant to be a stream. What the
// machine does not have or allow is left out.
func oddities(t *testing.T) map[string]int {
	t.Helper()
	ring := make([]byte, 120) // struct io_uring_params
	signals := unix.Sigset_t{}
	found := make(map[string]int)
	add := func(name string, fd int, err error) {
		if err != nil {
			t.Logf("%s: %v", name, err)
			return
		}
		found[name] = fd
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	call := func(name string, nr uintptr, args ...uintptr) {
		args = append(args, 0, 0, 0)
		fd, _, errno := unix.Syscall(nr, args[0], args[1], args[2])
		if errno != 0 {
			add(name, -1, errno)
			return
		}
		add(name, int(fd), nil)
	}
	call("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) // UFFD_USER_MODE_ONLY
	call("io_uring", unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&ring[0])))
	for name, open := range map[string]func() (int, error){
		"memfd":     func() (int, error) { return unix.MemfdCreate("x", unix.MFD_CLOEXEC) },
		"eventfd":   func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) },
		"timerfd":   func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC) },
		"signalfd":  func() (int, error) { return unix.Signalfd(-1, &signals, unix.SFD_CLOEXEC) },
		"inotify":   func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) },
		"epoll":     func() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) },
		"pidfd":     func() (int, error) { return unix.PidfdOpen(unix.Getpid(), 0) },
		"own mem":   func() (int, error) { return unix.Open("/proc/self/mem", unix.O_RDWR|unix.O_CLOEXEC, 0) },
		"ptmx":      func() (int, error) { return unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0) },
		"namespace": func() (int, error) { return unix.Open("/proc/self/ns/net", unix.O_CLOEXEC, 0) },
	} {
		fd, err := open()
		add(name, fd, err)
	}
	return found
}

// E2: whatever is passed as a stream, the daemon neither reads nor waits for it: the
// program has it, or the start is refused, and nothing is left.
func TestOddDescriptors(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*")
	alive(t, d)
	before := len(d.FDs())
	for name, fd := range oddities(t) {
		for _, terminal := range []bool{false, true} {
			c := d.ConnectAs(numeric(20001, 20001))
			s := spawntest.Request(3, "true")
			if terminal {
				s = terminalRequest(3, "true")
			}
			if err := c.Start(s, fd, fd, fd); err != nil {
				t.Logf("%s cannot be passed: %v", name, err)
				continue
			}
			if _, master, err := c.Started(); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if end, err := c.Exited(); err != nil || end.WaitStatus != 0 {
				t.Errorf("%s: %+v, %v", name, end, err)
			} else if master >= 0 {
				_ = unix.Close(master) // nothing was written
			}
			c.Close()
		}
	}
	d.Settle(t, before)
	alive(t, d)
}

// E4, G3: somebody who asks for a long answer, again and again, and does not read it, holds
// nobody up but himself, and not for ever.
func TestAnswerThatNobodyReads(t *testing.T) {
	d := forEverybody(t, "--allow-user", "*", "--request-timeout", "3s")
	alive(t, d)
	before := len(d.FDs())
	rude := numeric(20001, 20001)
	null := spawntest.DevNull(t)
	long := "/bin/" + strings.Repeat("./", 1900) + "sleep"
	var shells []*spawntest.Conn
	for range 100 {
		c := d.ConnectAs(rude)
		if err := c.Start(spawntest.Request(3, long, "100000"), null...); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Started(); err != nil {
			t.Fatal(err)
		}
		shells = append(shells, c)
	}
	open := len(d.FDs())
	var askers []*spawntest.Conn
	for range 100 {
		c := d.ConnectAs(rude)
		if err := c.Send(wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: "list"})); err != nil {
			t.Fatal(err)
		}
		askers = append(askers, c)
	}
	served(t, d, 20)
	d.SettleChildren(t, open, len(shells)) // though they are still there, and have not read
	for _, c := range append(shells, askers...) {
		c.Close()
	}
	d.Settle(t, before)
}
