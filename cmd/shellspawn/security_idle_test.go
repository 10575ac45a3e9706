package main_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// crowd is many shells that do nothing, driven over the protocol.
type crowd struct {
	t     *testing.T
	mu    sync.Mutex
	conns []*spawntest.Conn
	pids  []int
	ptys  []int
}

// gather starts n shells, a few at a time.
func (c *crowd) gather(d *spawntest.Daemon, n int, request func() (*wire.Start, []int)) {
	c.t.Helper()
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for range n / 4 {
				if err := c.start(d, request); err != nil {
					c.t.Error(err)
					return
				}
			}
		})
	}
	starters.Wait()
}

func (c *crowd) start(d *spawntest.Daemon, request func() (*wire.Start, []int)) error {
	conn, err := spawntest.Dial(d.Socket)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	s, fds := request()
	if err := conn.Start(s, fds...); err != nil {
		return err
	}
	m, master, err := conn.Started()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pids = append(c.pids, int(m.PID))
	if master >= 0 {
		c.ptys = append(c.ptys, master)
	}
	return nil
}

// disperse ends all shells as if their clients had gone.
func (c *crowd) disperse() {
	for _, fd := range c.ptys {
		_ = unix.Close(fd) // nobody writes to it
	}
	for _, conn := range c.conns {
		conn.Close()
	}
	c.ptys, c.conns = nil, nil
}

// privateKiB is the memory of a process that is its own alone.
func privateKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Private_Dirty", "Private_Clean"} {
		n, _ := strconv.Atoi(strings.TrimSuffix(field(string(text), name), " kB"))
		kib += n
	}
	return kib
}

// F1: thousands of idle shells cost the daemon a few KiB each, no thread, no timer and
// no wake-up.
func TestIdleShells(t *testing.T) {
	null := spawntest.DevNull(t)
	for _, c := range []struct {
		name    string
		n       int
		request func() (*wire.Start, []int)
	}{
		{"without a terminal", 2000, func() (*wire.Start, []int) { return spawntest.Request(3, "sleep", "100000"), null }},
		{"with a terminal", 1000, func() (*wire.Start, []int) { return terminalRequest(0, "sleep", "100000"), nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The number of threads must not grow with that of processors.
			d := spawntest.StartDaemon(t, spawntest.Env("GOMAXPROCS=16"))
			alive(t, d)
			descriptors, memory := len(d.FDs()), privateKiB(t, d.PID)
			crowd := &crowd{t: t}
			defer crowd.disperse()
			crowd.gather(d, c.n, c.request)
			each := float64(privateKiB(t, d.PID)-memory) / float64(c.n)
			t.Logf("%.1f KiB a shell, %d threads", each, d.Threads())
			if each >= 24 && !spawntest.Race() {
				t.Errorf("a shell costs %.1f KiB", each)
			}
			spawntest.Idle(t, d.PID)
			if n := d.Threads(); n >= 20 {
				t.Errorf("the daemon has %d threads", n)
			}
			alive(t, d)
			crowd.disperse()
			d.Settle(t, descriptors)
		})
	}
}

// F4: the end of a client, half of a message, and a shell that does not go are no
// reason to be busy.
func TestQuietAtTheEnd(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "1h", "--request-timeout", "1h", "--shutdown-grace", "1s"))
	null := spawntest.DevNull(t)
	stubborn := func() (*wire.Start, []int) {
		return spawntest.Request(3, "sh", "-c", "trap '' HUP; exec sleep 100000"), null
	}
	gone, half, shut := &crowd{t: t}, &crowd{t: t}, &crowd{t: t}
	defer half.disperse()
	defer shut.disperse()
	gone.gather(d, 8, stubborn)
	half.gather(d, 8, stubborn)
	shut.gather(d, 8, stubborn)
	for _, pid := range slices.Concat(gone.pids, half.pids, shut.pids) {
		spawntest.Eventually(t, "shell that ignores SIGHUP", func() bool {
			return strings.HasSuffix(spawntest.Status(pid, "SigIgn"), "1")
		})
	}
	gone.disperse()
	for _, c := range half.conns {
		if err := c.Send([]byte{2, 1, 0}); err != nil {
			t.Error(err)
		}
	}
	for _, c := range shut.conns {
		if err := unix.Shutdown(c.FD, unix.SHUT_WR); err != nil {
			t.Error(err)
		}
	}
	d.Connect() // silent
	c := d.Connect()
	if err := c.Send([]byte{0}); err != nil {
		t.Error(err)
	}
	spawntest.Idle(t, d.PID)
	if n := len(d.Children()); n != 24 {
		t.Errorf("%d shells", n)
	}
}
