package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

func init() { spawntest.RegisterHelper("security-limit", softLimit) }

// forEverybody starts a daemon run by root whose socket everybody can reach. Whom
// it serves is up to its arguments.
func forEverybody(t *testing.T, args ...string) *spawntest.Daemon {
	t.Helper()
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Args(append([]string{"--socket-mode", "0666"}, args...)...))
	openUp(t, d)
	return d
}

// openUp lets everybody pass the daemon's directory.
func openUp(t *testing.T, d *spawntest.Daemon) {
	t.Helper()
	if err := os.Chmod(d.Dir, 0o711); err != nil {
		t.Fatal(err)
	}
}

// numeric is a user without an entry in any database.
func numeric(uid, gid int) spawntest.Who {
	return spawntest.Who{Name: "nobody else", UID: uid, GID: gid}
}

// runOn runs a request on a connection, with /dev/null as stdin and a pipe for its
// output, to its end.
func runOn(t *testing.T, c *spawntest.Conn, s *wire.Start) (output string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null := spawntest.DevNull(t)[0]
	s.Stdio = []byte{0, 1, 2}
	err = c.Start(s, null, int(w.Fd()), int(w.Fd()))
	_ = w.Close() // the daemon has it, and the program
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Started(); err != nil {
		return "", 0, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	end, err := c.Exited()
	return string(text), spawntest.Code(syscall.WaitStatus(end.WaitStatus)), err
}

// output is runOn for a command that must succeed.
func output(t *testing.T, c *spawntest.Conn, argv ...string) string {
	t.Helper()
	text, code, err := runOn(t, c, spawntest.Request(3, argv...))
	if err != nil || code != 0 {
		t.Fatalf("%q: status %d, %v, output %q", argv, code, err, text)
	}
	return text
}

// refused asserts that a request was refused with 125, in one line that holds all the
// parts.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	refusedWith(t, 125, err, parts...)
}

func refusedWith(t *testing.T, status uint32, err error, parts ...string) {
	t.Helper()
	var r *spawntest.Refusal
	if !errors.As(err, &r) {
		t.Errorf("got %v in place of a refusal with %q", err, parts)
		return
	}
	if r.Answer.Status != status || strings.ContainsAny(r.Answer.Text, "\n\r\x1b") {
		t.Errorf("refused with %d: %.300q, want %d and one line", r.Answer.Status, r.Answer.Text, status)
	}
	for _, part := range parts {
		if !strings.Contains(r.Answer.Text+"\n"+r.Answer.Hint, part) {
			t.Errorf("refused: %.300q, hint %q, want %q in it", r.Answer.Text, r.Answer.Hint, part)
		}
	}
}

// field takes the line "name: value" from the text of a status file.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if n, v, ok := strings.Cut(line, ":"); ok && n == name {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

// alive asserts that the daemon still serves, and waits until it has done with it: it is
// how each attack ends, and what comes before counting descriptors.
func alive(t *testing.T, d *spawntest.Daemon) {
	t.Helper()
	if text := output(t, d.Connect(), "echo", "alive"); text != "alive\n" {
		t.Errorf("the daemon says %q", text)
	}
	spawntest.Quiet(t, d.PID)
}

// lower lowers the soft limit of the daemon, until raise is called. Its own user may do
// that; root would need CAP_SYS_RESOURCE.
func lower(t *testing.T, d *spawntest.Daemon, resource int, soft uint64) (raise func()) {
	t.Helper()
	helper := spawntest.Helper(t, "security-limit")
	set := func(soft uint64) (old uint64) {
		t.Helper()
		cmd := d.Command(helper, fmt.Sprint(d.PID), fmt.Sprint(resource), fmt.Sprint(soft))
		out, err := cmd.CombinedOutput()
		if err == nil {
			_, err = fmt.Sscan(string(out), &old)
		}
		if err != nil {
			t.Fatalf("set a limit of the daemon: %v: %s", err, out)
		}
		return old
	}
	old := set(soft)
	return func() { set(old) }
}

// softLimit sets the soft limit of a process and prints the one before.
func softLimit(args []string) int {
	var pid, resource int
	var limit, old unix.Rlimit
	_, err := fmt.Sscan(strings.Join(args, " "), &pid, &resource, &limit.Cur)
	if err == nil {
		err = unix.Prlimit(pid, resource, nil, &old)
	}
	if err == nil {
		limit.Max = old.Max
		err = unix.Prlimit(pid, resource, &limit, nil)
	}
	if err != nil {
		fmt.Println(err)
		return 99
	}
	fmt.Println(old.Cur)
	return 0
}
