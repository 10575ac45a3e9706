package main_test

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// opened opens a file for the time of a test.
func opened(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// times is fd n times.
func times(n, fd int) []int { return slices.Repeat([]int{fd}, n) }

// E2: descriptors that are not what was announced, or no use as a stream, are refused
// and closed, whatever is wrong with them.
func TestWrongDescriptors(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		alive(t, d)
		before := len(d.FDs())
		null := spawntest.DevNull(t)[0]
		file, dir := opened(t, "/etc/passwd", unix.O_PATH), opened(t, "/", unix.O_PATH)
		other := d.Connect()
		for _, c := range []struct {
			name   string
			stdio  int
			fds    func(c *spawntest.Conn) []int
			reason string
		}{
			{"none", 3, func(*spawntest.Conn) []int { return nil }, "not those announced"},
			{"too few", 3, func(*spawntest.Conn) []int { return times(2, null) }, "not those announced"},
			{"too many", 2, func(*spawntest.Conn) []int { return times(3, null) }, "not those announced"},
			{"unannounced", 0, func(*spawntest.Conn) []int { return times(1, null) }, "not those announced"},
			{"four", 3, func(*spawntest.Conn) []int { return times(4, null) }, "more than three"},
			{"eight", 3, func(*spawntest.Conn) []int { return times(8, null) }, "more than three"},
			{"more than there is room for", 3, func(*spawntest.Conn) []int { return times(253, null) }, "cut short"},
			{"directory", 3, func(*spawntest.Conn) []int { return []int{opened(t, "/", unix.O_RDONLY), null, null} }, "stdin: is a directory"},
			{"directory as stderr", 3, func(*spawntest.Conn) []int { return []int{null, null, opened(t, "/", unix.O_RDONLY)} }, "stderr: is a directory"},
			{"file without a right", 3, func(*spawntest.Conn) []int { return []int{null, file, null} }, "stdout: opened with O_PATH"},
			{"directory without a right", 3, func(*spawntest.Conn) []int { return []int{dir, null, null} }, "stdin: opened with O_PATH"},
			{"the connection itself", 3, func(c *spawntest.Conn) []int { return []int{c.FD, null, null} }, "stdin: a socket of this daemon"},
			{"another connection", 3, func(*spawntest.Conn) []int { return []int{null, null, other.FD} }, "stderr: a socket of this daemon"},
		} {
			t.Run(c.name, func(t *testing.T) {
				peer := d.Connect()
				if err := peer.Start(spawntest.Request(c.stdio, "true"), c.fds(peer)...); err != nil {
					t.Fatal(err)
				}
				_, _, err := peer.Started()
				refused(t, err, c.reason)
				peer.Closed(t)
			})
		}
		other.Close()
		d.Settle(t, before)
		if s := status(t, d); s.Shells.Total != 1 || s.Shells.Refused["descriptors"]+s.Shells.Refused["protocol"] != 13 {
			t.Errorf("status: %+v", s.Shells)
		}
	})
}

// E2: what is a socket but none of the daemon's serves as a stream, as under
// inetd(8).
func TestSocketsAsStreams(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for _, domain := range []int{unix.AF_UNIX, unix.AF_INET} {
		ours, theirs := socketPair(t, domain)
		peer := d.Connect()
		if err := peer.Start(spawntest.Request(3, "cat"), theirs, theirs, spawntest.DevNull(t)[0]); err != nil {
			t.Fatal(err)
		}
		if _, _, err := peer.Started(); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(ours, []byte("through a socket")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Shutdown(ours, unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		if end, err := peer.Exited(); err != nil || end.WaitStatus != 0 {
			t.Errorf("%+v, %v", end, err)
		}
		text := make([]byte, 100)
		if n, err := unix.Read(ours, text); string(text[:max(n, 0)]) != "through a socket" {
			t.Errorf("got %q, %v", text[:max(n, 0)], err)
		}
	}
}

func socketPair(t *testing.T, domain int) (ours, theirs int) {
	t.Helper()
	if domain == unix.AF_UNIX {
		pair, err := unix.Socketpair(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
		return pair[0], pair[1]
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = blocking(t, dialled), blocking(t, accepted)
	t.Cleanup(func() { _, _ = unix.Close(ours), unix.Close(theirs) })
	return ours, theirs
}

// blocking takes the descriptor out of a connection. The caller closes it.
func blocking(t *testing.T, c net.Conn) int {
	t.Helper()
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// E2: the listening socket of the daemon, as somebody may have who inherited it from
// the service manager.
func TestListenerAsStdin(t *testing.T) {
	spawntest.NeedRoot(t) // to get at the socket
	d := spawntest.StartDaemon(t)
	pidfd, err := unix.PidfdOpen(d.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	null := spawntest.DevNull(t)[0]
	listeners := 0
	for fd, target := range d.FDs() {
		if !strings.HasPrefix(target, "socket:") {
			continue
		}
		stolen, err := unix.PidfdGetfd(pidfd, fd, 0)
		if err != nil {
			continue // closed meanwhile
		}
		defer unix.Close(stolen)
		if listening, _ := unix.GetsockoptInt(stolen, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); listening == 0 {
			continue
		}
		listeners++
		peer := d.Connect()
		if err := peer.Start(spawntest.Request(3, "true"), stolen, null, null); err != nil {
			t.Fatal(err)
		}
		_, _, err = peer.Started()
		refused(t, err, "stdin: a socket of this daemon")
	}
	if listeners == 0 {
		t.Error("found no listening socket")
	}
}

// E2: descriptors on anything but a request: they are dropped, and the shell ends as
// if its client had gone.
func TestDescriptorsElsewhere(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	control := wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: "status"})

	t.Run("control command", func(t *testing.T) {
		peer := d.Connect()
		if err := peer.Send(control, null...); err != nil {
			t.Fatal(err)
		}
		_, err := peer.Reply()
		refused(t, err, "not those announced")
	})
	for name, message := range map[string][]byte{
		"signal":       wire.AppendSignal(nil, wire.Signal{Number: uint32(unix.SIGUSR1), Seq: 1}),
		"half message": wire.AppendSignal(nil, wire.Signal{Number: uint32(unix.SIGUSR1), Seq: 1})[:3],
		"hang-up":      wire.AppendHangup(nil),
		"one byte":     {0},
	} {
		t.Run(name, func(t *testing.T) {
			peer := d.Connect()
			if err := peer.Start(spawntest.Request(3, "sleep", "1000"), null...); err != nil {
				t.Fatal(err)
			}
			if _, _, err := peer.Started(); err != nil {
				t.Fatal(err)
			}
			if err := peer.Send(message, null...); err != nil {
				t.Fatal(err)
			}
			end, err := peer.Exited()
			if err != nil || end.WaitStatus != uint32(unix.SIGHUP) || end.Cause != wire.CauseHungUp {
				t.Errorf("%+v, %v", end, err)
			}
		})
	}
	d.Settle(t, before)
}

// E2: a request that is never completed: what came with it is closed at the
// deadline, or when the client goes, and reaches no other shell meanwhile.
func TestDescriptorsOfHalfRequests(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", "2s"))
	alive(t, d)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	request := wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(3, "true"))
	var open []*spawntest.Conn
	for _, n := range []int{1, 4, 20, 24, 28, len(request) - 1} {
		for range 2 {
			c := d.Connect()
			if err := c.Send(request[:n], null...); err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
		}
	}
	spawntest.Eventually(t, "all descriptors in the daemon", func() bool { return len(d.FDs()) == before+4*len(open) })
	if got := descriptorsOf(t, d); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("a shell has the descriptors %v", got)
	}
	for i, c := range open {
		if i%2 == 0 {
			c.Close()
		} else {
			_, _, _ = c.Started() // what it says depends on how much was sent
		}
	}
	d.Settle(t, before)
}

// descriptorsOf starts a program and returns which descriptors it has.
func descriptorsOf(t *testing.T, d *spawntest.Daemon) []int {
	t.Helper()
	fds := openIn(t, d, spawntest.Request(3, "cat"))
	return slices.Sorted(maps.Keys(fds))
}

// openIn starts a program that reads its stdin to the end, and returns what it has
// open.
func openIn(t *testing.T, d *spawntest.Daemon, s *wire.Start) map[int]string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	peer := d.Connect()
	null := spawntest.DevNull(t)[0]
	fds := []int{int(r.Fd()), null, null}
	if err := peer.Start(s, fds[:len(s.Stdio)]...); err != nil {
		t.Fatal(err)
	}
	m, master, err := peer.Started()
	if err != nil {
		t.Fatal(err)
	}
	if master >= 0 {
		defer unix.Close(master)
	}
	open := spawntest.FDs(int(m.PID))
	_ = w.Close() // ends it
	if len(s.Stdio) == 0 {
		peer.Close()
		return open
	}
	if end, err := peer.Exited(); err != nil || end.WaitStatus != 0 {
		t.Errorf("%+v, %v", end, err)
	}
	return open
}

// E3: a program sees exactly 0, 1 and 2, however the daemon was started and whatever
// it has open itself.
func TestNoStrayDescriptors(t *testing.T) {
	const exec = `; exec "$@"`
	for name, script := range map[string]string{
		"stray descriptors": `exec 5</etc/passwd 7>/dev/null 9</`,
		"many":              `for i in 3 4 5 6 7 8 9; do eval "exec $i</etc/passwd"; done`,
		"nothing open":      `exec 0<&- 1>&-`,
	} {
		t.Run(name, func(t *testing.T) {
			d := spawntest.StartDaemon(t, spawntest.Under("/bin/sh", "-c", script+exec, "sh"))
			for _, c := range []struct {
				name string
				s    *wire.Start
				want string
			}{
				{"three streams", spawntest.Request(3, "cat"), "pipe: /dev/null /dev/null"},
				{"stdin", spawntest.Request(1, "cat"), "pipe: /dev/null /dev/null"},
				{"pty", terminalRequest(0, "cat"), "/dev/pts/ /dev/pts/ /dev/pts/"},
				{"pty and stdin", terminalRequest(1, "cat"), "pipe: /dev/pts/ /dev/pts/"},
			} {
				t.Run(c.name, func(t *testing.T) {
					open := openIn(t, d, c.s)
					var got []string
					for _, fd := range slices.Sorted(maps.Keys(open)) {
						got = append(got, strings.TrimRight(strings.TrimRight(open[fd], "0123456789[]"), "["))
					}
					if strings.Join(got, " ") != c.want {
						t.Errorf("open: %v, want %s", open, c.want)
					}
				})
			}
		})
	}
}

// terminalRequest is a request for a pty with the first of the streams given.
func terminalRequest(stdio int, argv ...string) *wire.Start {
	s := spawntest.Request(stdio, argv...)
	s.Terminal = &wire.Terminal{Rows: 24, Cols: 80}
	return s
}

// E3: nothing of the daemon's environment reaches a shell, with and without one of
// the client's.
func TestNothingOfTheDaemonsEnvironment(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Env("SECRET=of the daemon", "LD_LIBRARY_PATH=/nonexistent",
		"BASH_ENV=/nonexistent", "LISTEN_FDNAMES=x", "SHELLSPAWN_SOCKET=/nonexistent", "LC_ALL=C"))
	for name, env := range map[string][]string{"none": nil, "of the client": {"A=1", "HOME=/h"}} {
		t.Run(name, func(t *testing.T) {
			s := spawntest.Request(3, "env")
			s.Env = env
			text, _, err := runOn(t, d.Connect(), s)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(text) {
				name, _, _ := strings.Cut(line, "=")
				if !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "SHELL", "A"}, name) {
					t.Errorf("the shell has %q", line)
				}
			}
		})
	}
}

// E2: a peer that is not served cannot make the daemon hold anything, not even for
// as long as its request takes.
func TestStrangersDescriptors(t *testing.T) {
	d := forEverybody(t)
	alive(t, d)
	before := len(d.FDs())
	null := spawntest.DevNull(t)
	for range 20 {
		c := d.ConnectAs(numeric(20001, 20001))
		if err := c.Start(spawntest.Request(3, "true"), null...); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Started()
		refused(t, err, "not allowed")
		c.Close()
	}
	d.Settle(t, before)
}

// fifo makes a named pipe in a directory of the test.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(spawntest.Self().TempDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A pipe whose other end nobody has opened, and one that nobody reads, hold up the
// program that uses them and not the daemon.
func TestStreamsThatBlock(t *testing.T) {
	d := spawntest.StartDaemon(t)
	path := fifo(t)
	null := spawntest.DevNull(t)[0]
	pipe := opened(t, path, unix.O_RDWR)
	blocked := d.Connect()
	if err := blocked.Start(spawntest.Request(3, "cat", "/dev/zero"), null, pipe, null); err != nil {
		t.Fatal(err)
	}
	if _, _, err := blocked.Started(); err != nil {
		t.Fatal(err)
	}
	alive(t, d)
	blocked.Close()
	spawntest.Eventually(t, "end of the blocked shell", func() bool { return len(d.Children()) == 0 })
}
