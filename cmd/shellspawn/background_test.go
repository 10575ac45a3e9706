package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// readPID reads a pid file, and sees to the end of the process.
func readPID(t *testing.T, path string) int {
	t.Helper()
	var text []byte
	var err error
	// In the foreground the socket accepts a moment before the file is written.
	spawntest.Eventually(t, "pid file", func() bool {
		text, err = os.ReadFile(path)
		return err == nil && len(text) > 0
	})
	pid, err := strconv.Atoi(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		t.Fatal(err)
	}
	process, ok := spawntest.Inspect(pid)
	if !ok {
		t.Fatalf("pid file: no process %d", pid)
	}
	t.Cleanup(func() {
		if process.Same() {
			_ = unix.Kill(pid, unix.SIGKILL) // the test has failed and left it
		}
	})
	return pid
}

// What the machine lacks is not a directory for the socket, and the hint does not say so.
func TestBackgroundWithoutTheUsual(t *testing.T) {
	spawntest.NeedRoot(t) // to mount
	for _, c := range []struct{ lacking, script, hint string }{
		{"/proc", `mount -t tmpfs none /proc`, "--background needs /proc"},
		{"/dev/null", `mount -t tmpfs none /dev`, "mount or fill /dev"},
	} {
		t.Run(c.lacking, func(t *testing.T) {
			socket := filepath.Join(spawntest.Self().TempDir(t), "s")
			_, errs, code := run(t, socket, "unshare", "--mount", "sh", "-c",
				c.script+` && exec "$0" serve --background --socket "$1"`, spawntest.DaemonPath(t), socket)
			if code != 1 {
				t.Errorf("status %d, want 1", code)
			}
			oneLine(t, "shellspawn", errs, c.lacking, "no such file or directory", "hint: ", c.hint)
		})
	}
}

// C5: when the command returns the socket accepts. The daemon has a session of
// its own, the root as its directory, nothing of its starter's descriptors, and
// a command substitution around it ends.
func TestBackground(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket, log := filepath.Join(dir, "s"), filepath.Join(dir, "log")
	script := `exec 7<"$0" 8>/dev/null; out=$("$0" serve --background --socket "$1" --log-file "$2" --pid-file "$3" 2>&1); echo "$? $out"`
	pidFile := filepath.Join(dir, "pid")
	began := time.Now()
	out, _, _ := run(t, socket, "sh", "-c", script, spawntest.DaemonPath(t), socket, log, pidFile)
	if out != "0 \n" {
		t.Fatalf("status and output %q, want 0 and none", out)
	}
	t.Logf("ready after %v", time.Since(began))
	pid := readPID(t, pidFile)
	if _, errs, code := run(t, socket, spawntest.ClientPath(t), "true"); code != 0 {
		t.Errorf("right after the start: status %d, %s", code, errs)
	}

	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d (%v), want its own", sid, err)
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != "/" {
		t.Errorf("working directory %q (%v), want /", cwd, err)
	}
	fds := spawntest.FDs(pid)
	for fd, want := range map[int]string{0: "/dev/null", 1: "/dev/null", 2: log} {
		if fds[fd] != want {
			t.Errorf("descriptor %d is %q, want %q", fd, fds[fd], want)
		}
	}
	for fd, target := range fds {
		if target == spawntest.DaemonPath(t) || fd > 2 && target == "/dev/null" || strings.HasPrefix(target, "pipe:") {
			t.Errorf("descriptor %d, %s, is its starter's", fd, target)
		}
	}
	if info, err := os.Stat(log); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log file: %v, %v, want mode 0600", info, err)
	}
	stopped(t, socket, pid)
	for _, path := range []string{socket, pidFile} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind (%v)", path, err)
		}
	}
}

// stopped stops a daemon and checks that it is gone when that returns.
func stopped(t *testing.T, socket string, pid int) {
	t.Helper()
	out, errs, code := run(t, socket, spawntest.DaemonPath(t), "stop")
	if code != 0 || out != "" || errs != "" {
		t.Errorf("stop: status %d, stdout %q, stderr %q", code, out, errs)
	}
	if p, ok := spawntest.Inspect(pid); ok && p.State != 'Z' {
		t.Errorf("after stop the daemon is still there: %+v", p)
	}
}

// C5: a shell started through a background daemon, and what that shell leaves
// behind, hold nothing of whoever started the daemon.
func TestBackgroundInCommandSubstitution(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	script := `out=$("$0" serve --background --socket "$SHELLSPAWN_SOCKET" --pid-file "$2"; "$1" sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'); echo "$out"`
	out, errs, code := run(t, socket, "sh", "-c", script, spawntest.DaemonPath(t), spawntest.ClientPath(t), filepath.Join(dir, "pid"))
	left, err := strconv.Atoi(strings.TrimSpace(out))
	if code != 0 || err != nil {
		t.Fatalf("status %d, stdout %q, stderr %q", code, out, errs)
	}
	if err := unix.Kill(left, unix.SIGKILL); err != nil {
		t.Errorf("what the shell left running: %v", err)
	}
	stopped(t, socket, readPID(t, filepath.Join(dir, "pid")))
}

// Relative paths are meant where the command is given, not where the daemon runs.
func TestBackgroundRelativePaths(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	cmd := exec.Command(spawntest.DaemonPath(t), "serve", "--background", "--socket", "s", "--pid-file", "pid", "--log-file", "log")
	cmd.Dir, cmd.Env = dir, outside("s")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %q", err, out)
	}
	pid := readPID(t, filepath.Join(dir, "pid"))
	socket := filepath.Join(dir, "s")
	accepts(t, socket)
	spawntest.Eventually(t, "line about the socket in the log", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "log"))
		return err == nil && bytes.Contains(text, []byte("msg=listening path="+socket))
	})
	stopped(t, socket, pid)
}

// What keeps a daemon from its work is told by the command that started it, in
// one line and with a status that is not 0, in the background as in the
// foreground.
func TestStartErrors(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	taken := spawntest.StartDaemon(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	writable := filepath.Join(dir, "writable")
	if err := errors.Join(os.Mkdir(writable, 0o700), os.Chmod(writable, 0o777)); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	for name, c := range map[string]struct {
		args []string
		say  []string
	}{
		"in use":         {[]string{"--socket", taken.Socket}, []string{taken.Socket, "already in use by pid " + strconv.Itoa(taken.PID), "hint: "}},
		"no directory":   {[]string{"--socket", dir + "/none/s"}, []string{"directory " + dir + "/none: no such file or directory"}},
		"no socket":      {[]string{"--socket", file}, []string{"listen " + file + ": file exists and is not a socket"}},
		"open directory": {[]string{"--socket", writable + "/s"}, []string{"may be written to by others"}},
		"unknown user":   {[]string{"--allow-user", "nobody-of-that-name"}, []string{"--allow-user"}},
		"unknown group":  {[]string{"--socket-group", "none-of-that-name"}, []string{"--socket-group none-of-that-name"}},
		"log file":       {[]string{"--log-file", dir + "/none/log"}, []string{dir + "/none/log: no such file or directory"}},
		"pid file":       {[]string{"--pid-file", dir + "/none/pid"}, []string{"write pid file " + dir + "/none/pid: no such file or directory"}},
	} {
		for _, mode := range [][]string{nil, {"--background"}} {
			t.Run(name+strings.Join(mode, ""), func(t *testing.T) {
				args := append([]string{spawntest.DaemonPath(t), "serve", "--socket", socket}, mode...)
				out, errs, code := run(t, socket, append(args, c.args...)...)
				if code != 1 || out != "" {
					t.Errorf("status %d, stdout %q, want 1 and nothing", code, out)
				}
				oneLine(t, "shellspawn", errs, c.say...)
				if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the socket is left behind (%v)", err)
				}
			})
		}
	}
}

// A starter that is killed before the daemon is ready leaves no daemon behind.
func TestStarterGone(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	// A log that nobody reads yet keeps the daemon from getting ready.
	log := filepath.Join(dir, "log")
	if err := unix.Mkfifo(log, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(spawntest.DaemonPath(t), "serve", "--background", "--socket", socket, "--log-file", log)
	cmd.Env = outside(socket)
	starter := start(t, cmd)
	var children []spawntest.Process
	spawntest.Eventually(t, "daemon", func() bool {
		children = spawntest.Children(cmd.Process.Pid)
		return len(children) == 1
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	starter.code()
	reader, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	spawntest.Eventually(t, "end of the daemon", func() bool { return !children[0].Same() })
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind (%v)", err)
	}
}
