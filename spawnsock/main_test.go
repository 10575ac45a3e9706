//go:build linux

package spawnsock_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen. It is long because
// the machine may be busy; nothing waits for it to pass.
const patience = 60 * time.Second

// helpers are the programs that the test binary plays when it is called with
// -helper and a name. They report on stdout and end when stdin does.
var helpers = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "-helper" {
		os.Exit(m.Run())
	}
	if err := helpers[os.Args[2]](os.Args[3:]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// helper is a running helper program.
type helper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	end   func() error // wait, once
}

// startHelper starts a helper, which is killed at the end of the test. change
// may alter the command before.
func startHelper(t *testing.T, change func(*exec.Cmd), args ...string) *helper {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"-helper"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector's second at exit
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &helper{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout), end: sync.OnceValue(cmd.Wait)}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		watchdog.Stop()
		_ = cmd.Process.Kill()
		_ = h.end()
	})
	return h
}

// line reads one line that the helper says, and fails on an error or the end.
func (h *helper) line(t *testing.T) string {
	t.Helper()
	text, err := h.out.ReadString('\n')
	if err != nil || strings.HasPrefix(text, "error:") {
		t.Fatalf("helper said %q: %v", text, err)
	}
	return strings.TrimSpace(text)
}

// kill ends the helper as kill -9 does, and waits for it.
func (h *helper) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.end()
}

// socketPath is a short path for a socket in a directory of the test's own,
// to which nobody else may write, whatever the umask.
func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(socketDir(t), "s")
}

func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// listen listens until the end of the test.
func listen(t *testing.T, path string, o spawnsock.Options) *spawnsock.Listener {
	t.Helper()
	l, err := spawnsock.Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// try connects once without waiting. On success the descriptor is closed at the
// end of the test.
func try(t *testing.T, path string) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return err
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return nil
}

// fill connects clients until the queue is full and returns how many it took.
func fill(t *testing.T, path string) int {
	t.Helper()
	for n := 0; ; n++ {
		switch err := try(t, path); err {
		case nil:
		case unix.EAGAIN:
			return n
		default:
			t.Fatal(err)
		}
	}
}

// enter connects n clients, for each of which there must be room.
func enter(t *testing.T, path string, n int) {
	t.Helper()
	for i := range n {
		if err := try(t, path); err != nil {
			t.Fatalf("client %d: %v", i+1, err)
		}
	}
}

// acceptAll accepts n clients and closes them.
func acceptAll(t *testing.T, l *spawnsock.Listener, n int) {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { _ = l.Close() })
	defer watchdog.Stop()
	for i := range n {
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatalf("accept %d of %d: %v", i+1, n, err)
		}
		_ = c.Close()
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// needRoot skips a test that an ordinary user cannot run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// setUmask sets the umask of the test process until the end of the test.
func setUmask(t *testing.T, mask int) {
	t.Helper()
	before := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(before) })
}

func queue(t *testing.T, l *spawnsock.Listener) spawnsock.Depth {
	t.Helper()
	d, err := l.Queue()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
