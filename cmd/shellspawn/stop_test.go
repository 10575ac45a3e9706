package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// stubborn ignores what a hang-up sends. It says when it does.
const stubborn = "trap '' HUP TERM; echo ready; while :; do sleep 0.1; done"

// startReady starts a client whose command prints "ready", and waits for that, and
// for the daemon to be through with the start: what prints may still be in it.
func startReady(t *testing.T, d *spawntest.Daemon, args ...string) *ending {
	t.Helper()
	cmd := d.Client(args...)
	_, out := pipes(t, cmd)
	e := start(t, cmd)
	expectLine(t, out, "ready")
	spawntest.Eventually(t, "row of the list", func() bool {
		return slices.ContainsFunc(list(t, d), func(r wire.Row) bool { return r.ClientPID == cmd.Process.Pid })
	})
	return e
}

// gone checks that nothing is left of the daemon's socket.
func gone(t *testing.T, d *spawntest.Daemon) {
	t.Helper()
	for _, path := range []string{d.Socket, d.Socket + ".lock"} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind (%v)", path, err)
		}
	}
}

// B12: a stop hangs every shell up, kills those that stay, delivers every status,
// takes the socket away and ends with 0, within the shutdown grace.
func TestStop(t *testing.T) {
	const grace = 4 * time.Second
	for _, by := range []string{"SIGTERM", "SIGINT", "stop"} {
		t.Run(by, func(t *testing.T) {
			d := spawntest.StartDaemon(t, spawntest.Args("--shutdown-grace", grace.String()))
			term := spawntest.OpenTerminal(t, d.Who)
			term.Start(d.Client("sh", "-c", "echo ready; exec sleep 1000"))
			term.Expect("ready")
			obedient := startReady(t, d, "sh", "-c", "echo ready; exec sleep 1000")
			polite := startReady(t, d, "sh", "-c", "trap 'exit 42' HUP; echo ready; while :; do sleep 0.1; done")
			deaf := startReady(t, d, "sh", "-c", stubborn)
			silent := dialSocket(t, d.Socket)
			running(t, d, 4)

			began := time.Now()
			switch by {
			case "stop":
				must(t, d, "stop")
				if p, ok := spawntest.Inspect(d.PID); ok && p.State != 'Z' {
					t.Errorf("after stop the daemon is still there: %+v", p)
				}
			case "SIGTERM":
				d.Signal(unix.SIGTERM)
			case "SIGINT":
				d.Signal(unix.SIGINT)
			}
			state := d.WaitExit()
			took := time.Since(began)
			if state.ExitCode() != 0 {
				t.Errorf("the daemon ended with %v, want 0", state)
			}
			limit := grace
			if spawntest.Race() {
				limit += 3 * time.Second // every end of a program takes a second longer
			}
			if took > limit {
				t.Errorf("the stop took %v, the grace is %v", took, grace)
			}
			gone(t, d)
			for name, c := range map[string]struct{ got, want int }{
				"on a terminal": {term.WaitProgram(), 129}, "obedient": {obedient.code(), 129},
				"polite": {polite.code(), 42}, "deaf": {deaf.code(), 137},
			} {
				if c.got != c.want {
					t.Errorf("the shell %s: status %d, want %d", name, c.got, c.want)
				}
			}
			// Who never asked for anything was not waited for; ECONNRESET is the end of
			// one that was not even accepted.
			if n, err := unix.Read(silent, make([]byte, 1)); n > 0 || err != nil && err != unix.ECONNRESET {
				t.Errorf("the silent connection reads %d, %v, want the end", n, err)
			}
			for _, want := range []string{"msg=drain shells=", "msg=drain shells=1\n", "cause=\"daemon shutting down\"", "msg=shutdown"} {
				if !strings.Contains(d.Log(), want) {
					t.Errorf("the log does not say %q:\n%s", want, d.Log())
				}
			}
		})
	}
}

// dialSocket opens a connection that says nothing.
func dialSocket(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// B12: silent connections do not make a stop wait for their time to be up.
func TestStopWithSilentConnections(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", "1h", "--shutdown-grace", "1h"))
	for range 20 {
		dialSocket(t, d.Socket)
	}
	half := dialSocket(t, d.Socket)
	if _, err := unix.Write(half, []byte{0, 1}); err != nil { // the beginning of a greeting
		t.Fatal(err)
	}
	must(t, d, "stop")
	if state := d.WaitExit(); state.ExitCode() != 0 {
		t.Errorf("the daemon ended with %v, want 0", state)
	}
}

// B12: the second signal does not wait for anybody, and still delivers every
// status.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--shutdown-grace", "1h", "--hangup-grace", "1h"))
	deaf := startReady(t, d, "sh", "-c", stubborn)
	d.Signal(unix.SIGTERM)
	spawntest.Eventually(t, "line about the stop", func() bool { return strings.Contains(d.Log(), "msg=drain") })
	if deaf.over() {
		t.Fatal("the shell did not ignore the hang-up")
	}
	d.Signal(unix.SIGTERM)
	if state := d.WaitExit(); state.ExitCode() != 0 {
		t.Errorf("the daemon ended with %v, want 0", state)
	}
	if code := deaf.code(); code != 137 {
		t.Errorf("the shell: status %d, want 137", code)
	}
	gone(t, d)
}

// A stop that takes its time says on a terminal what it waits for, and nothing
// where there is none.
func TestLongStopSaysWhatItWaitsFor(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "3s"))
	one := startReady(t, d, "sh", "-c", stubborn)
	two := startReady(t, d, "sh", "-c", stubborn)
	term := spawntest.OpenTerminal(t, d.Who)
	term.Start(d.Command(spawntest.DaemonPath(t), "stop"))
	term.Expect("shellspawn: waiting for 2 shells\r\n")
	if code := term.WaitProgram(); code != 0 {
		t.Errorf("status %d, want 0", code)
	}
	if !d.WaitExit().Success() || one.code() != 137 || two.code() != 137 {
		t.Errorf("the daemon or its shells ended wrong")
	}
}

// Whoever comes while the daemon stops is told so, or finds nobody.
func TestConnectingDuringStop(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "1s"))
	deaf := startReady(t, d, "sh", "-c", stubborn)
	d.Signal(unix.SIGTERM)
	for !deaf.over() {
		_, errs, code := d.Run(nil, "true")
		if code != 0 && code != 125 {
			t.Errorf("status %d, %s", code, errs)
		}
		if code == 125 {
			oneLine(t, "darling-shell", string(errs))
		}
	}
	d.WaitExit()
}

// A daemon in the foreground of a terminal ends with it.
func TestTerminalGone(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(spawntest.DaemonPath(t), "serve", "--socket", socket)
	cmd.Env = outside(socket)
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.Start(cmd)
	accepts(t, socket)
	term.Close() // hangs up, and waits for the daemon
	if code := term.WaitProgram(); code != 0 {
		t.Errorf("status %d, want 0", code)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind (%v)", err)
	}
}

// One that was started with nohup does not: the hang-up that reaches it all the
// same is a reload.
func TestTerminalGoneWithNohup(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket, log, pidFile := filepath.Join(dir, "s"), filepath.Join(dir, "log"), filepath.Join(dir, "pid")
	cmd := exec.Command("sh", "-c", `nohup "$@" >/dev/null 2>&1 & read x`, "sh",
		spawntest.DaemonPath(t), "serve", "--socket", socket, "--log-file", log, "--pid-file", pidFile)
	cmd.Env = outside(socket)
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.Start(cmd)
	accepts(t, socket)
	pid := readPID(t, pidFile)
	term.Close()
	spawntest.Eventually(t, "line about a reload", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "msg=reload")
	})
	if _, errs, code := run(t, socket, spawntest.ClientPath(t), "true"); code != 0 {
		t.Errorf("a client afterwards: status %d, %s", code, errs)
	}
	stopped(t, socket, pid)
}
