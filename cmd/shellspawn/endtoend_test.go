// End-to-end tests: the real daemon, the real control commands, real clients.
// They know the programs only by their command lines.
package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

func TestMain(m *testing.M) { os.Exit(spawntest.Main(m)) }

// ask runs a control command as the daemon's user.
func ask(t *testing.T, d *spawntest.Daemon, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	out, errs, code := d.Collect(d.Command(append([]string{spawntest.DaemonPath(t)}, args...)...), nil)
	return string(out), string(errs), code
}

// must runs a control command that has to succeed in silence on stderr.
func must(t *testing.T, d *spawntest.Daemon, args ...string) string {
	t.Helper()
	out, errs, code := ask(t, d, args...)
	if code != 0 || errs != "" {
		t.Fatalf("shellspawn %q: status %d, stderr %q", args, code, errs)
	}
	return out
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

func status(t *testing.T, d *spawntest.Daemon) (s wire.Status) {
	t.Helper()
	decode(t, must(t, d, "status", "--json"), &s)
	return s
}

func list(t *testing.T, d *spawntest.Daemon) (rows []wire.Row) {
	t.Helper()
	decode(t, must(t, d, "list", "--json"), &rows)
	return rows
}

// running waits until n shells run and returns them.
func running(t *testing.T, d *spawntest.Daemon, n int) (rows []wire.Row) {
	t.Helper()
	spawntest.Eventually(t, "list with the shells", func() bool {
		rows = list(t, d)
		return len(rows) == n
	})
	return rows
}

// ending is a client that a test has started and that ends by itself.
type ending struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr text
	done   chan struct{}
}

// text is what a program prints, to be read also while it still does.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// start starts a command in the background; what it prints to stderr is kept
// unless the command names another place.
func start(t testing.TB, cmd *exec.Cmd) *ending {
	t.Helper()
	e := &ending{t: t, cmd: cmd, done: make(chan struct{})}
	if cmd.Stderr == nil {
		cmd.Stderr = &e.stderr
	}
	// What it leaves running may hold the pipe; the test does not wait for that.
	cmd.WaitDelay = 3 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%.200q: %v", cmd.Args, err)
	}
	go func() {
		_ = cmd.Wait() // judged by code, from ProcessState
		close(e.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most have ended
		<-e.done
	})
	return e
}

// code waits for the end and returns the exit status, -N for signal N.
func (e *ending) code() int {
	e.t.Helper()
	select {
	case <-e.done:
		return exitCode(e.cmd)
	case <-time.After(spawntest.Deadline):
		e.t.Fatalf("%.200q did not end within %v", e.cmd.Args, spawntest.Deadline)
		return -1
	}
}

// over reports whether it has ended.
func (e *ending) over() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// oneLine checks that a message is one line from the program, followed at most by
// a hint, and that it holds each of the parts.
func oneLine(t *testing.T, program, message string, parts ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(message, "\n"), "\n")
	hinted := len(lines) == 2 && strings.HasPrefix(lines[1], program+": hint: ")
	if !strings.HasPrefix(lines[0], program+": ") || len(lines) != 1 && !hinted {
		t.Errorf("message %q, want one line from %s and perhaps a hint", message, program)
	}
	for _, part := range parts {
		if !strings.Contains(message, part) {
			t.Errorf("message %q does not say %q", message, part)
		}
	}
}
