package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// activated starts systemd-socket-activate, which hands its sockets over to a
// daemon when a client comes.
func activated(t *testing.T, dir string, flags []string, args ...string) *ending {
	t.Helper()
	argv := append(flags, spawntest.DaemonPath(t), "serve")
	cmd := exec.Command("systemd-socket-activate", append(argv, args...)...)
	cmd.Env = outside("/nonexistent/s")
	cmd.Dir = dir
	return start(t, cmd)
}

// exists waits until a file is there.
func exists(t *testing.T, path string) os.FileInfo {
	t.Helper()
	spawntest.Eventually(t, path, func() bool { _, err := os.Lstat(path); return err == nil })
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// G1, Accept=no: two named sockets; each serves, status speaks of the one that was
// asked through, and both stay as they were when the daemon stops.
func TestActivationWithSockets(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	daemon := activated(t, dir, []string{"-l", one, "-l", two, "--fdname=first:second"}, "--shutdown-grace", "5s")
	before := []os.FileInfo{exists(t, one), exists(t, two)}
	for _, socket := range []string{one, two} {
		out, errs, code := run(t, socket, spawntest.ClientPath(t), "env")
		if code != 0 {
			t.Fatalf("through %s: status %d, %s\n%s", socket, code, errs, daemon.stderr.String())
		}
		if regexp.MustCompile(`(?m)^(LISTEN_|NOTIFY_|WATCHDOG_)`).MatchString(out) {
			t.Errorf("variables of the service manager reach the program:\n%s", out)
		}
		page, errs, code := run(t, socket, spawntest.DaemonPath(t), "status")
		if code != 0 || !strings.Contains(page, "socket      "+socket+"\n") {
			t.Errorf("status through %s: %d, %s\n%s", socket, code, errs, page)
		}
	}
	run(t, two, spawntest.DaemonPath(t), "backlog", "55")
	if out, _, _ := run(t, two, spawntest.DaemonPath(t), "backlog"); !strings.HasPrefix(out, "55 asked for, 55 in effect") {
		t.Errorf("the backlog of an inherited socket after a change: %q", out)
	}
	if out, _, _ := run(t, one, spawntest.DaemonPath(t), "backlog"); strings.HasPrefix(out, "55 ") {
		t.Errorf("the other socket's backlog changed as well: %q", out)
	}
	stopped(t, one, daemon.cmd.Process.Pid)
	if code := daemon.code(); code != 0 {
		t.Errorf("the daemon: status %d\n%s", code, daemon.stderr.String())
	}
	for i, socket := range []string{one, two} {
		after, err := os.Lstat(socket)
		if err != nil || !os.SameFile(before[i], after) || before[i].Mode() != after.Mode() {
			t.Errorf("%s was %v, is %v (%v)", socket, before[i], after, err)
		}
		if _, err := os.Lstat(socket + ".lock"); err == nil {
			t.Errorf("%s: a lock file beside a socket that is not ours", socket)
		}
	}
}

// G1, Accept=yes: each connection gets a daemon of its own, which is gone with
// its shell.
func TestActivationWithConnections(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	manager := activated(t, dir, []string{"--accept", "-l", socket})
	exists(t, socket)
	for i := range 5 {
		out, errs, code := run(t, socket, spawntest.ClientPath(t), "sh", "-c", "env; exit "+strconv.Itoa(i))
		if code != i {
			t.Errorf("status %d, want %d: %s", code, i, errs)
		}
		if strings.Contains(out, "LISTEN_") {
			t.Errorf("variables of the service manager reach the program:\n%s", out)
		}
	}
	term := spawntest.OpenTerminal(t, spawntest.Self())
	client := exec.Command(spawntest.ClientPath(t), "sh", "-c", "tty; read x; exit 9")
	client.Env = outside(socket)
	term.Start(client)
	term.Expect(`/dev/pts/\d+`)
	page, errs, code := run(t, socket, spawntest.DaemonPath(t), "status")
	if code != 0 || !strings.Contains(page, "0 running") {
		t.Errorf("status: %d, %s\n%s", code, errs, page)
	}
	term.Send("x\n")
	if code := term.WaitProgram(); code != 9 {
		t.Errorf("status %d, want 9", code)
	}
	spawntest.Eventually(t, "end of all daemons", func() bool {
		return !slices.ContainsFunc(spawntest.Children(manager.cmd.Process.Pid), func(p spawntest.Process) bool { return p.State != 'Z' })
	})
	if log := manager.stderr.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
		t.Errorf("the log:\n%s", log)
	}
}

// B12, G1: a daemon with one connection that gets SIGTERM ends its shell, tells
// the client, and goes with 0.
func TestStopWithOneConnection(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	manager := activated(t, dir, []string{"--accept", "-l", socket})
	exists(t, socket)
	client := exec.Command(spawntest.ClientPath(t), "sh", "-c", "echo ready; exec sleep 1000")
	client.Env = outside(socket)
	_, out := pipes(t, client)
	shell := start(t, client)
	expectLine(t, out, "ready")
	daemons := spawntest.Children(manager.cmd.Process.Pid)
	if len(daemons) != 1 {
		t.Fatalf("daemons %+v, want one", daemons)
	}
	if err := unix.Kill(daemons[0].PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := shell.code(); code != 129 {
		t.Errorf("the shell: status %d, want 129\n%s", code, shell.stderr.String())
	}
	spawntest.Eventually(t, "end of the daemon", func() bool {
		p, ok := spawntest.Inspect(daemons[0].PID)
		return !ok || p.State == 'Z'
	})
}

// handOver starts a daemon that gets a listening socket of the test's as
// descriptor 3, as systemd passes it. Variables are added to its environment.
func handOver(t *testing.T, l *net.UnixListener, vars []string, args ...string) *ending {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // the child has its own
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, spawntest.DaemonPath(t), "serve")
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = append(outside("/nonexistent/s"), append(vars, "LISTEN_FDS=1", "LISTEN_FDNAMES=test")...)
	cmd.ExtraFiles = []*os.File{f}
	return start(t, cmd)
}

// managersSocket opens a socket as a service manager would.
func managersSocket(t *testing.T, backlog int) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(spawntest.Self().TempDir(t), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), backlog) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// G1: the backlog of an inherited socket is raised to ours if it is smaller, and
// left alone if it is larger.
func TestInheritedBacklog(t *testing.T) {
	for _, c := range []struct{ given, ours, want int }{{5, 50, 50}, {60, 50, 60}} {
		l := managersSocket(t, c.given)
		daemon := handOver(t, l, nil, "--backlog", strconv.Itoa(c.ours))
		out, errs, code := run(t, l.Addr().String(), spawntest.DaemonPath(t), "backlog")
		if want := fmt.Sprintf("%d asked for, %d in effect", c.ours, c.want); code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("given %d: %q, %s; want %q", c.given, out, errs, want)
		}
		stopped(t, l.Addr().String(), daemon.cmd.Process.Pid)
	}
}

// manager is the receiving end of notifications.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	seen []string
}

func notified(t *testing.T, address string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &manager{t: t, conn: conn}
}

// next reads one notification, or reports that none came within the time.
func (m *manager) next(limit time.Duration) (string, bool) {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil {
		return "", false
	}
	m.seen = append(m.seen, string(b[:n]))
	return string(b[:n]), true
}

// until reads notifications up to one that matches.
func (m *manager) until(expr string) {
	m.t.Helper()
	for {
		text, ok := m.next(spawntest.Deadline)
		if !ok {
			m.t.Fatalf("no notification %q; there were %q", expr, m.seen)
		}
		if regexp.MustCompile(`^(?:` + expr + `)$`).MatchString(text) {
			return
		}
	}
}

// G1: READY once it serves, RELOADING with its time and READY again, STATUS while
// it waits for shells, STOPPING; over a path and over an abstract socket.
func TestNotification(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(spawntest.Self().TempDir(t), "notify"),
		"abstract": fmt.Sprintf("@shellspawn-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			m := notified(t, address)
			d := spawntest.StartDaemon(t, spawntest.Env("NOTIFY_SOCKET="+address), spawntest.Args("--hangup-grace", "300ms"))
			m.until("READY=1\nSTATUS=listening on " + d.Socket)
			d.Signal(unix.SIGHUP)
			m.until(`RELOADING=1\nMONOTONIC_USEC=\d+`)
			m.until("READY=1\nSTATUS=listening on .*")
			if out, _, _ := d.Run(nil, "env"); strings.Contains(string(out), "NOTIFY") {
				t.Errorf("the variable reaches the program:\n%s", out)
			}
			startReady(t, d, "sh", "-c", stubborn)
			startReady(t, d, "sh", "-c", "echo ready; exec sleep 1000")
			d.Signal(unix.SIGTERM)
			m.until("STOPPING=1")
			m.until("STATUS=waiting for 1 shell")
			d.WaitExit()
		})
	}
}

// G1: the watchdog is fed while the daemon answers through its own socket, and
// no longer: here the path of an inherited socket is taken away and given back.
func TestWatchdog(t *testing.T) {
	m := notified(t, filepath.Join(spawntest.Self().TempDir(t), "notify"))
	l := managersSocket(t, 100)
	path := l.Addr().String()
	daemon := handOver(t, l, []string{"NOTIFY_SOCKET=" + m.conn.LocalAddr().String(), "WATCHDOG_USEC=200000"})
	m.until("READY=1\n.*")
	m.until("WATCHDOG=1")
	m.until("WATCHDOG=1")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	// What was on its way may still arrive; after that there must be silence.
	spawntest.Eventually(t, "silence of the watchdog", func() bool { _, more := m.next(time.Second); return !more })
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	m.until("WATCHDOG=1")
	stopped(t, path, daemon.cmd.Process.Pid)
	if !strings.Contains(daemon.stderr.String(), "msg=self-check cause=") {
		t.Errorf("the log does not tell that the check failed:\n%s", daemon.stderr.String())
	}
}

// Sockets of a service manager belong to the process that they were passed to:
// that one must not fork away.
func TestBackgroundRefusesPassedSockets(t *testing.T) {
	daemon := handOver(t, managersSocket(t, 100), nil, "--background")
	if code := daemon.code(); code != 1 {
		t.Errorf("status %d, want 1", code)
	}
	oneLine(t, "shellspawn", daemon.stderr.String(), "--background", "in the foreground only")
}

// A unit that passes something else than Unix stream sockets is wrong and must
// not seem to work.
func TestPassedNonsense(t *testing.T) {
	cmd := exec.Command("sh", "-c", `export LISTEN_PID=$$; exec "$0" serve 3</dev/null`, spawntest.DaemonPath(t))
	cmd.Env = append(outside("/nonexistent/s"), "LISTEN_FDS=1")
	daemon := start(t, cmd)
	if code := daemon.code(); code != 1 {
		t.Errorf("status %d, want 1", code)
	}
	oneLine(t, "shellspawn", daemon.stderr.String(), "passed descriptor 3", "not a socket")
}
