package main_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// outside is the environment of programs that have no daemon of this test yet.
func outside(socket string) []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "SHELLSPAWN_SOCKET=" + socket}
}

// run runs a program outside of any daemon of this test.
func run(t *testing.T, socket string, argv ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = outside(socket)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	e := start(t, cmd)
	code = e.code()
	return out.String(), errs.String(), code
}

// D4: without a daemon every program says in one line which socket it tried, why
// that failed and what to do.
func TestAbsentDaemon(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close() // what it leaves behind is the point
	for socket, cause := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory",
		stale:                      "connection refused",
	} {
		_, errs, code := run(t, socket, spawntest.ClientPath(t), "true")
		if code != 125 {
			t.Errorf("darling-shell: status %d, want 125", code)
		}
		oneLine(t, "darling-shell", errs, socket, cause, "shellspawn serve --background")
		for _, command := range []string{"status", "list", "stop"} {
			out, errs, code := run(t, socket, spawntest.DaemonPath(t), command)
			if code != 1 || out != "" {
				t.Errorf("%s: status %d, stdout %q, want 1 and nothing", command, code, out)
			}
			oneLine(t, "shellspawn", errs, socket, cause, "shellspawn serve --background")
		}
	}
}

// D4: a hundred clients that are told to wait, and a daemon that comes after
// them: all get their shell.
func TestClientsBeforeTheDaemon(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	all := make([]*ending, 100)
	for i := range all {
		cmd := exec.Command(spawntest.ClientPath(t), "--wait", "--connect-timeout", "60s", "true")
		cmd.Env = outside(socket)
		all[i] = start(t, cmd)
	}
	daemon := exec.Command(spawntest.DaemonPath(t), "serve", "--socket", socket)
	daemon.Env = outside(socket)
	serving := start(t, daemon)
	allSucceed(t, all)
	if _, errs, code := run(t, socket, spawntest.DaemonPath(t), "stop"); code != 0 {
		t.Errorf("stop: %s", errs)
	}
	if code := serving.code(); code != 0 {
		t.Errorf("the daemon: status %d\n%s", code, serving.stderr.String())
	}
}

// D5: of two daemons started at the same instant on one path one serves, and the
// other one says which.
func TestTwoDaemonsAtOnce(t *testing.T) {
	for range spawntest.Count(20, 200) {
		dir := spawntest.Self().TempDir(t)
		socket := filepath.Join(dir, "s")
		var both [2]*ending
		for i := range both {
			cmd := exec.Command(spawntest.DaemonPath(t), "serve", "--socket", socket)
			cmd.Env = outside(socket)
			both[i] = start(t, cmd)
		}
		spawntest.Eventually(t, "daemon that gives way", func() bool { return both[0].over() || both[1].over() })
		loser, winner := both[0], both[1]
		if winner.over() {
			loser, winner = winner, loser
		}
		if code := loser.code(); code != 1 {
			t.Errorf("the second daemon: status %d, want 1", code)
		}
		oneLine(t, "shellspawn", loser.stderr.String(), "listen "+socket+": address already in use by pid "+strconv.Itoa(winner.cmd.Process.Pid))
		spawntest.Eventually(t, "socket that accepts", func() bool {
			_, _, code := run(t, socket, spawntest.ClientPath(t), "true")
			return code == 0
		})
		if err := winner.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := winner.code(); code != 0 {
			t.Errorf("the first daemon: status %d\n%s", code, winner.stderr.String())
		}
	}
}

// serveAt starts a daemon on a socket of the test's choice and waits until it
// accepts. The test stops it.
func serveAt(t *testing.T, socket string, args ...string) *ending {
	t.Helper()
	cmd := exec.Command(spawntest.DaemonPath(t), append([]string{"serve", "--socket", socket}, args...)...)
	cmd.Env = outside(socket)
	e := start(t, cmd)
	accepts(t, socket)
	return e
}

// accepts waits until somebody listens on the socket.
func accepts(t *testing.T, socket string) {
	t.Helper()
	spawntest.Eventually(t, "socket that accepts", func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		_ = c.Close() // it was opened for nothing else
		return true
	})
}

// D9: somebody removes the socket file. Shells go on, and the daemon makes it
// anew, with the same mode.
func TestRemovedSocketFile(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--socket-mode", "0620"))
	term := spawntest.OpenTerminal(t, d.Who)
	term.Start(d.Client("cat"))
	running(t, d, 1)
	for range 3 {
		if err := os.Remove(d.Socket); err != nil {
			t.Fatal(err)
		}
		accepts(t, d.Socket)
		info, err := os.Stat(d.Socket)
		if err != nil || info.Mode().Perm() != 0o620 {
			t.Fatalf("the new socket: %v, %v, want mode 0620", info, err)
		}
		if _, errs, code := d.Run(nil, "true"); code != 0 {
			t.Errorf("through the new socket: status %d, %s", code, errs)
		}
	}
	term.Send("still here\n")
	term.Expect("still here\r\nstill here")
	spawntest.Eventually(t, "three lines about it in the log", func() bool {
		return strings.Count(d.Log(), "the socket file was removed; made it anew") == 3
	})
	if s := status(t, d); s.Shells.Running != 1 || s.Socket != d.Socket {
		t.Errorf("status %+v", s)
	}
}

// D9: the whole directory is gone for a while.
func TestRemovedSocketDirectory(t *testing.T) {
	dir := filepath.Join(spawntest.Self().TempDir(t), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	daemon := serveAt(t, socket)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	accepts(t, socket)
	if _, errs, code := run(t, socket, spawntest.DaemonPath(t), "stop"); code != 0 {
		t.Errorf("stop through the new socket: %s", errs)
	}
	if code := daemon.code(); code != 0 {
		t.Errorf("status %d\n%s", code, daemon.stderr.String())
	}
}

// D9: another daemon has the path now. The first one cannot be reached any more;
// it lets its shells come to their end and says why it went.
func TestSocketTakenByAnother(t *testing.T) {
	dir := filepath.Join(spawntest.Self().TempDir(t), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	first := serveAt(t, socket)
	client := exec.Command(spawntest.ClientPath(t), "sh", "-c", "echo up; read x; exit 7")
	client.Env = outside(socket)
	in, out := pipes(t, client)
	shell := start(t, client)
	expectLine(t, out, "up")

	// The first daemon must not have its socket back before the second one is there.
	if err := first.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	spawntest.Eventually(t, "first daemon stopped", func() bool { return spawntest.Stopped(first.cmd.Process.Pid) })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	second := serveAt(t, socket)
	if err := first.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(second.cmd.Process.Pid)
	if _, err := in.Write([]byte("x\n")); err != nil {
		t.Fatal(err)
	}
	if code := shell.code(); code != 7 {
		t.Errorf("the shell of the first daemon: status %d, want its own 7\n%s", code, shell.stderr.String())
	}
	if code := first.code(); code != 1 {
		t.Errorf("the first daemon: status %d, want 1", code)
	}
	if text := first.stderr.String(); !strings.Contains(text, "\nshellspawn: rebind "+socket+": address already in use by pid "+pid+"\n") {
		t.Errorf("the first daemon does not say why it went:\n%s", text)
	}
	if _, errs, code := run(t, socket, spawntest.DaemonPath(t), "stop"); code != 0 {
		t.Errorf("stop of the second: %s", errs)
	}
	if code := second.code(); code != 0 {
		t.Errorf("the second daemon: status %d\n%s", code, second.stderr.String())
	}
}

// pipes gives a command pipes for stdin and stdout, whose other ends the test
// has.
func pipes(t *testing.T, cmd *exec.Cmd) (in *os.File, out *bufio.Reader) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{inR, inW, outR, outW} {
		t.Cleanup(func() { _ = f.Close() })
	}
	cmd.Stdin, cmd.Stdout = inR, outW
	if err := outR.SetReadDeadline(time.Now().Add(spawntest.Deadline)); err != nil {
		t.Fatal(err)
	}
	return inW, bufio.NewReader(outR)
}

func expectLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("read %q (%v), want %q", line, err, want)
	}
}

// D10: a client of another version gets one line that names both, and no shell.
func TestForeignVersionOfClient(t *testing.T) {
	d := spawntest.StartDaemon(t)
	c, err := net.Dial("unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(spawntest.Deadline)); err != nil {
		t.Fatal(err)
	}
	hello := wire.Hello{Version: 99}
	if _, err := c.Write(wire.AppendControl(nil, hello, wire.Control{Command: "status"})); err != nil {
		t.Fatal(err)
	}
	reader := wire.NewReader(func(p []byte) (int, []int, error) { n, err := c.Read(p); return n, nil, err }, nil)
	kind, payload, err := reader.Message()
	if err != nil || kind != wire.KindError {
		t.Fatalf("the answer is %v, %v, want a refusal", kind, err)
	}
	e, err := wire.ParseError(payload)
	if !strings.Contains(e.Hint, "the daemon is older") {
		t.Errorf("the hint is %q", e.Hint)
	}
	if err != nil || !strings.Contains(e.Text, "version 1") || !strings.Contains(e.Text, "version 99") || strings.Contains(e.Text, "\n") {
		t.Errorf("the refusal is %q (%v), want both versions in one line", e.Text, err)
	}
}

// D10: a daemon that does not know the new dialect skips the greeting and closes
// at the tripwire; a newer one refuses. Each is one line to the client.
func TestForeignVersionOfDaemon(t *testing.T) {
	refusal := wire.AppendError(nil, wire.Error{Status: 125, Text: "protocol: this daemon speaks version 7, the client version 1"})
	for name, c := range map[string]struct {
		answer []byte
		say    string
	}{
		"old": {nil, "without an answer"}, "new": {refusal, "this daemon speaks version 7"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(spawntest.Self().TempDir(t), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 64<<10)) // the request, in one piece
					_, _ = conn.Write(c.answer)
					_ = conn.Close()
				}
			}()
			_, errs, code := run(t, socket, spawntest.ClientPath(t), "true")
			oneLine(t, "darling-shell", errs, c.say)
			if code != 125 {
				t.Errorf("darling-shell: status %d, want 125", code)
			}
			_, errs, code = run(t, socket, spawntest.DaemonPath(t), "status")
			oneLine(t, "shellspawn", errs, c.say)
			if code != 1 {
				t.Errorf("shellspawn status: %d, want 1", code)
			}
		})
	}
}

// D9: the same where the kernel cannot be asked to tell: the daemon looks every few seconds.
func TestRemovedSocketFileWithoutInotify(t *testing.T) {
	spawntest.NeedRoot(t) // to have a limit of one's own
	d := spawntest.StartDaemon(t, spawntest.Under("unshare", "--user", "--map-root-user", "sh", "-c",
		`echo 0 >/proc/sys/user/max_inotify_instances && exec "$0" "$@"`))
	d.WaitLog("msg=guard cause=")
	for range 2 {
		if err := os.Remove(d.Socket); err != nil {
			t.Fatal(err)
		}
		accepts(t, d.Socket)
	}
}
