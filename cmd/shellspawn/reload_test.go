package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// configured is a daemon with a file of flags, which it reads again at SIGHUP.
type configured struct {
	*spawntest.Daemon
	t    *testing.T
	file string
}

// startConfigured starts a daemon with these lines in its file.
func startConfigured(t *testing.T, lines string, options ...spawntest.Option) *configured {
	t.Helper()
	c := &configured{t: t, file: filepath.Join(spawntest.Self().TempDir(t), "flags")}
	c.write(lines)
	c.Daemon = spawntest.StartDaemon(t, append(options, spawntest.Args("--config", c.file))...)
	return c
}

func (c *configured) write(lines string) {
	c.t.Helper()
	if err := os.WriteFile(c.file, []byte(lines), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// reload writes the file anew, sends SIGHUP, and returns the one line that the log
// at path has about it, from the message on.
func (c *configured) reload(path, lines string) string {
	c.t.Helper()
	c.write(lines)
	before := reloads(path)
	c.Signal(unix.SIGHUP)
	spawntest.Eventually(c.t, "line about the reload", func() bool { return len(reloads(path)) > len(before) })
	after := reloads(path)
	if len(after) != len(before)+1 {
		c.t.Errorf("more than one line: %q", after[len(before):])
	}
	return after[len(before)]
}

func reloads(path string) (found []string) {
	text, _ := os.ReadFile(path) // it may not be there yet
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if _, line, ok := strings.Cut(line, "msg=reload "); ok && strings.HasSuffix(line, "\n") {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

func (c *configured) stderr() string { return filepath.Join(c.Dir, "log") }

// D2, E5: at SIGHUP a daemon takes new limits from its file, says which have changed,
// and leaves the shells alone that run.
func TestReloadLimits(t *testing.T) {
	d := startConfigured(t, "max-shells = 1\n")
	first := d.Connect()
	if err := sleeper(t, first); err != nil {
		t.Fatal(err)
	}
	refused(t, sleeper(t, d.Connect()), "limit of 1 in total")
	if line := d.reload(d.stderr(), "max-shells = 2\n"); line != `log="not a file" max-shells.was=1 max-shells.now=2` {
		t.Errorf("the log: %s", line)
	}
	if err := sleeper(t, d.Connect()); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
	line := d.reload(d.stderr(), "max-shells-per-user = 1\nhangup-grace = 100ms\n")
	if line != `log="not a file" max-shells.was=2 max-shells.now=0 max-shells-per-user.was=0 max-shells-per-user.now=1 hangup-grace.was=5s hangup-grace.now=100ms` {
		t.Errorf("the log: %s", line)
	}
	refused(t, sleeper(t, d.Connect()), "limit of 1 per user")
	if n := status(t, d.Daemon).Shells.Running; n != 2 {
		t.Errorf("%d shells run, want the 2 from before", n)
	}
	if line := d.reload(d.stderr(), "max-shells-per-user = 1\nhangup-grace = 100ms\n"); line != `log="not a file"` {
		t.Errorf("where nothing has changed the log says %s", line)
	}
}

// Of a file with a mistake in it nothing counts. The log says where the mistake is,
// and the service manager that there is one.
func TestReloadKeepsAllOnMistake(t *testing.T) {
	m := notified(t, filepath.Join(spawntest.Self().TempDir(t), "notify"))
	d := startConfigured(t, "max-shells = 1\n", spawntest.Env("NOTIFY_SOCKET="+m.conn.LocalAddr().String()))
	for text, want := range map[string]string{
		"max-shells = 5\nbacklog = 7\nlog-level = loud\n": fmt.Sprintf(`cause="read %s:3: log-level loud: not one of debug, info, warn, error"`, d.file),
		"max-shells = 5\nlog-file\n":                      fmt.Sprintf(`cause="read %s:2: \"log-file\": not of the form name = value"`, d.file),
	} {
		if line := d.reload(d.stderr(), text); line != `log="not a file" settings=unchanged `+want {
			t.Errorf("the log: %s", line)
		}
		m.until(`RELOADING=1\nMONOTONIC_USEC=\d+`)
		m.until(`READY=1\nSTATUS=listening on ` + d.Socket + "; the last reload failed, see the log")
	}
	if err := os.Remove(d.file); err != nil {
		t.Fatal(err)
	}
	d.Signal(unix.SIGHUP)
	spawntest.Eventually(t, "line about the missing file", func() bool {
		return strings.Contains(d.Log(), fmt.Sprintf(`settings=unchanged cause="read %s: no such file or directory"`, d.file))
	})
	if s := status(t, d.Daemon); s.Backlog.Asked != 4096 {
		t.Errorf("the backlog has become %d", s.Backlog.Asked)
	}
	if err := sleeper(t, d.Connect()); err != nil {
		t.Fatal(err)
	}
	refused(t, sleeper(t, d.Connect()), "limit of 1 in total")
	if line := d.reload(d.stderr(), "max-shells = 2\n"); line != `log="not a file" max-shells.was=1 max-shells.now=2` {
		t.Errorf("the log after the mistake was mended: %s", line)
	}
}

// Level and file of the log change at once. The line about it is the first one of
// the new file, and is there also where the new level is above it.
func TestReloadLog(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	d := startConfigured(t, "log-file = "+first+"\nlog-level = debug\n")
	d.Run(nil, "true")
	exits := func(path string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(path) // it may not be there yet
			return strings.Contains(string(text), "msg=exit")
		}
	}
	spawntest.Eventually(t, "exit in the first log", exits(first))
	line := d.reload(second, "log-file = "+second+"\nlog-level = warn\n")
	if want := fmt.Sprintf(`log="opened again" log-file.was=%s log-file.now=%s log-level.was=debug log-level.now=warn`, first, second); line != want {
		t.Errorf("the log: %s, want %s", line, want)
	}
	d.Run(nil, "true")
	d.Run(nil, "no-such-program")
	if line := d.reload(second, "log-file = "+second+"\nlog-level = info\n"); line != `log="opened again" log-level.was=warn log-level.now=info` {
		t.Errorf("the log: %s", line)
	}
	text, err := os.ReadFile(second)
	if err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("at the level warn there is more in the log: %v\n%s", err, text)
	}
	// A file that cannot be opened leaves everything as it is.
	line = d.reload(second, "log-file = "+dir+"/none/log\nmax-shells = 5\n")
	if want := fmt.Sprintf(`log="opened again" settings=unchanged cause="open %s/none/log: no such file or directory"`, dir); line != want {
		t.Errorf("the log: %s, want %s", line, want)
	}
	d.Run(nil, "true")
	spawntest.Eventually(t, "exit in the second log", exits(second))
}

// E1: who is served can change, and what a user database does not know changes
// nothing.
func TestReloadPolicy(t *testing.T) {
	spawntest.NeedRoot(t)
	d := startConfigured(t, "allow-user = 20001\n", spawntest.Args("--socket-mode", "0666"))
	openUp(t, d.Daemon)
	a, b := numeric(20001, 20001), numeric(20002, 20002)
	if err := sleeper(t, d.ConnectAs(a)); err != nil {
		t.Error(err)
	}
	refused(t, sleeper(t, d.ConnectAs(b)), "not allowed to use this daemon")
	if line := d.reload(d.stderr(), "allow-user = no-such-user\nmax-shells = 1\n"); line != `log="not a file" settings=unchanged cause="--allow-user no-such-user: no such user"` {
		t.Errorf("the log: %s", line)
	}
	if line := d.reload(d.stderr(), "allow-user = 20002\nallow-user = 20003\n"); line != `log="not a file" allow-user.was=20001 allow-user.now=20002,20003` {
		t.Errorf("the log: %s", line)
	}
	if err := sleeper(t, d.ConnectAs(b)); err != nil {
		t.Error(err)
	}
	refused(t, sleeper(t, d.ConnectAs(a)), "not allowed to use this daemon")
}

// D2: a new backlog counts at once. One that was set with an order stays while the
// file says the same as before.
func TestReloadBacklog(t *testing.T) {
	d := startConfigured(t, "backlog = 20\n")
	must(t, d.Daemon, "backlog", "30")
	d.reload(d.stderr(), "backlog = 20\nmax-shells = 9\n")
	if line := d.reload(d.stderr(), "backlog = 10\nmax-shells = 9\n"); line != `log="not a file" backlog.was=20 backlog.now=10` {
		t.Errorf("the log: %s", line)
	}
	spawntest.Eventually(t, "new backlog", func() bool {
		b := status(t, d.Daemon).Backlog
		return b.Asked == 10 && b.Effective == 10
	})
	d.WaitLog("backlog=10 before=30 effective=10")
}

// What cannot change while the daemon runs is named, and what stands on the command
// line wins.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	d := startConfigured(t, "max-shells = 1\nmax-shells-per-user = 1\n", spawntest.Args("--max-shells", "3"))
	line := d.reload(d.stderr(), "socket-mode = 0666\nlog-format = json\nlog-file = log\nmax-shells = 2\nmax-shells-per-user = 2\nsocket = elsewhere\n")
	if line != `log="not a file" max-shells-per-user.was=1 max-shells-per-user.now=2 needs_restart=socket-mode,log-format,log-file` {
		t.Errorf("the log: %s", line)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(d.file), "log")); err == nil {
		t.Error("the log file was made")
	}
}

// A reload that hangs, here as the file is a pipe to which somebody writes nothing, does
// not keep the daemon from ending when it is told to; it used to.
func TestReloadThatHangs(t *testing.T) {
	d := startConfigured(t, "max-shells = 5\n")
	if err := os.Remove(d.file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(d.file, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(unix.SIGHUP)
	spawntest.Eventually(t, "daemon that reads the file", func() bool {
		fd, err := unix.Open(d.file, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			t.Cleanup(func() { _ = unix.Close(fd) }) // nothing was written
		}
		return err == nil // it takes a reader to be opened
	})
	d.Signal(unix.SIGTERM)
	if state := d.WaitExit(); state.ExitCode() != 0 {
		t.Errorf("%v, want exit status 0", state)
	}
}

// In the background the file is found again, though named by a relative path, and so
// is what it names.
func TestReloadInBackground(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	write := func(lines string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "flags"), []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("background = true\nsocket = s\npid-file = pid\nlog-file = log\nmax-shells = 1\n")
	cmd := exec.Command(spawntest.DaemonPath(t), "serve", "--config", "flags")
	cmd.Dir, cmd.Env = dir, outside("/nonexistent/s")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %q", err, out)
	}
	pid, socket := readPID(t, filepath.Join(dir, "pid")), filepath.Join(dir, "s")
	accepts(t, socket)
	write("background = true\nsocket = s\npid-file = pid\nlog-file = log2\nmax-shells = 2\n")
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`log="opened again" max-shells.was=1 max-shells.now=2 log-file.was=%s/log log-file.now=%s/log2`, dir, dir)
	spawntest.Eventually(t, "reload in the new log", func() bool {
		found := reloads(dir + "/log2")
		return len(found) == 1 && found[0] == want
	})
	if target := spawntest.FDs(pid)[2]; target != dir+"/log2" {
		t.Errorf("standard error is %s", target)
	}
	stopped(t, socket, pid)
}
