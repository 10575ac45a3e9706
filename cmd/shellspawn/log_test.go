package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// G2, E9: one line per event, each a JSON object if asked for, with no argument
// and no variable of anybody's in it.
func TestLogAsJSON(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--log-format", "json", "--log-level", "debug", "--max-shells", "1"))
	if _, errs, code := d.Run(nil, "-e", "SECRET=in-the-environment", "sh", "-c", "exit 3; in-the-arguments"); code != 3 {
		t.Fatalf("status %d, %s", code, errs)
	}
	sleeper := start(t, d.Client("sleep", "1000"))
	rows := running(t, d, 1)
	d.Run(nil, "true")
	must(t, d, "kill", jsonNumber(rows[0].ID))
	sleeper.code()
	must(t, d, "stop")
	d.WaitExit()
	var events []string
	for line := range strings.Lines(d.Log()) {
		var event struct{ Msg, Level, Time string }
		decode(t, line, &event)
		if event.Level == "" || event.Time == "" {
			t.Errorf("an event without level or time: %s", line)
		}
		if event.Level != "DEBUG" {
			events = append(events, event.Msg)
		}
	}
	want := []string{"listening", "start", "exit", "start", "deny", "kill", "exit", "stop", "drain", "shutdown"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	for _, secret := range []string{"in-the-environment", "in-the-arguments"} {
		if strings.Contains(d.Log(), secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
}

func jsonNumber(n uint32) string {
	text, _ := json.Marshal(n) // a number can be marshalled
	return string(text)
}

// G2: the journal gets a priority in front of each line, and no time, since it
// notes that itself.
func TestLogToJournal(t *testing.T) {
	journal := spawntest.Under("sh", "-c", `export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$0" "$@"`)
	d := spawntest.StartDaemon(t, journal, spawntest.Args("--log-level", "debug", "--backlog", "100000000"))
	d.Run(nil, "true")
	must(t, d, "stop")
	d.WaitExit()
	form := regexp.MustCompile(`^<[3467]>level=(ERROR|WARN|INFO|DEBUG) msg=\S`)
	for line := range strings.Lines(d.Log()) {
		if !form.MatchString(line) {
			t.Errorf("not a line for the journal: %q", line)
		}
	}
	for _, want := range []string{"<6>level=INFO msg=listening", "<4>level=WARN msg=\"backlog cut", "<7>level=DEBUG msg=accept"} {
		if !strings.Contains(d.Log(), want) {
			t.Errorf("no line %q:\n%s", want, d.Log())
		}
	}
}

// Standard error that was redirected in a wrapper is not the journal any more.
func TestLogNotToJournal(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Env("JOURNAL_STREAM=1:1"))
	d.WaitLog("msg=listening")
	if log := d.Log(); !strings.HasPrefix(log, "time=") {
		t.Errorf("the log begins %q, want a time", log)
	}
}

// On SIGHUP a log that was renamed is opened anew, and the new file begins with
// what was done.
func TestLogRotation(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	log := filepath.Join(dir, "log")
	d := spawntest.StartDaemon(t, spawntest.Args("--log-file", log))
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string { text, _ := os.ReadFile(path); return string(text) }
	d.Run(nil, "true")
	spawntest.Eventually(t, "first shell in the old log", func() bool { return strings.Contains(read(log+".1"), "msg=exit") })
	d.Signal(unix.SIGHUP)
	spawntest.Eventually(t, "new log", func() bool { return strings.Contains(read(log), "msg=reload log=\"opened again\"") })
	d.Run(nil, "false")
	spawntest.Eventually(t, "second shell in the new log", func() bool { return strings.Count(read(log), "msg=exit") == 1 })
	if old := read(log + ".1"); strings.Count(old, "msg=exit") != 1 || strings.Contains(old, "reload") {
		t.Errorf("the old log:\n%s", old)
	}
	if text := d.Log(); text != "" {
		t.Errorf("standard error gets %q as well", text)
	}
	for target := range fdTargets(d) {
		if strings.Contains(target, "log.1") {
			t.Error("the old log is still open")
		}
	}
}

func fdTargets(d *spawntest.Daemon) map[string]bool {
	targets := make(map[string]bool)
	for _, target := range d.FDs() {
		targets[target] = true
	}
	return targets
}

// A log that cannot be opened again stays as it was, and says so.
func TestLogRotationFails(t *testing.T) {
	dir := filepath.Join(spawntest.Self().TempDir(t), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	d := spawntest.StartDaemon(t, spawntest.Args("--log-file", log))
	if err := os.Rename(dir, dir+".1"); err != nil {
		t.Fatal(err)
	}
	d.Signal(unix.SIGHUP)
	spawntest.Eventually(t, "line about the failure", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir+".1", "log"))
		return strings.Contains(string(text), "no such file or directory")
	})
	if _, errs, code := d.Run(nil, "true"); code != 0 {
		t.Errorf("status %d, %s", code, errs)
	}
}

// A log that goes into a pipe nobody reads any more ends no shell and no daemon.
func TestLogReaderGone(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Under("sh", "-c", `exec "$0" "$@" 2>"$PIPE"`), spawntest.Env("PIPE="+brokenPipe(t)))
	for range 3 {
		if _, errs, code := d.Run(nil, "true"); code != 0 {
			t.Errorf("status %d, %s", code, errs)
		}
	}
}

// A log into a pipe that nobody reads holds up no client, no order and no stop.
func TestLogReaderStopped(t *testing.T) {
	path := filepath.Join(spawntest.Self().TempDir(t), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader)
	for err == nil {
		_, err = unix.Write(reader, make([]byte, 4096))
	}
	d := spawntest.StartDaemon(t, spawntest.Under("sh", "-c", `exec "$0" "$@" 2>"$PIPE"`), spawntest.Env("PIPE="+path))
	allSucceed(t, clients(t, d, 30, "true"))
	must(t, d, "status")
	d.Signal(unix.SIGHUP)
	d.Signal(unix.SIGTERM)
	if state := d.WaitExit(); state.ExitCode() != 0 {
		t.Errorf("%v, want exit status 0", state)
	}
}

// A log that is read again after a while has every line up to the end.
func TestLogReaderPauses(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	d := spawntest.StartDaemon(t, spawntest.Under("sh", "-c", `exec "$0" "$@" 2>"$PIPE"`),
		spawntest.Env(fmt.Sprintf("PIPE=/proc/%d/fd/%d", os.Getpid(), w.Fd())), spawntest.Args("--log-level", "debug"))
	n := size / 100
	allSucceed(t, clients(t, d, n, "true"))
	d.Signal(unix.SIGTERM)
	_ = w.Close() // the daemon has its own
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	d.WaitExit()
	log := string(text)
	if strings.Count(log, "msg=start ") != n || strings.Count(log, "msg=exit ") != n || !strings.HasSuffix(log, "msg=shutdown\n") {
		t.Errorf("not all is there:\n%s", log)
	}
}

// brokenPipe makes a pipe that is read until its first writer is there.
func brokenPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(spawntest.Self().TempDir(t), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		f, err := os.Open(path) // returns when somebody has opened it for writing
		if err == nil {
			_ = f.Close() // that was all
		}
	}()
	return path
}
