package main_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/doctor"
	"shellspawn/internal/spawntest"
)

// examined runs doctor and returns what it found, by the name of the check.
func examined(t *testing.T, socket string) (found map[string]doctor.Finding, code int) {
	t.Helper()
	out, errs, code := run(t, socket, spawntest.DaemonPath(t), "doctor", "--json")
	var rows []json.RawMessage
	decode(t, out, &rows)
	found = make(map[string]doctor.Finding)
	for _, row := range rows {
		if keys := keysOf(t, row); !slices.Equal(keys, []string{"advice", "check", "state", "text"}) {
			t.Errorf("a finding has the keys %v", keys)
		}
		var f doctor.Finding
		decode(t, string(row), &f)
		found[f.Check] = f
		if f.State != doctor.OK && f.State != doctor.Warn && f.State != doctor.Fail || f.Text == "" {
			t.Errorf("finding %+v", f)
		}
	}
	if (code != 0) != (errs != "") || code != 0 && code != 1 {
		t.Errorf("status %d, stderr %q", code, errs)
	}
	table, _, _ := run(t, socket, spawntest.DaemonPath(t), "doctor")
	if lines := strings.Count(table, "\n"); lines != len(rows) {
		t.Errorf("%d lines for %d findings:\n%s", lines, len(rows), table)
	}
	return found, code
}

// expect checks one finding.
func expectFinding(t *testing.T, found map[string]doctor.Finding, check string, state doctor.State, text, advice string) {
	t.Helper()
	f := found[check]
	if f.State != state || !strings.Contains(f.Text, text) || !strings.Contains(f.Advice, advice) {
		t.Errorf("%s: %+v, want %s, %q and the advice %q", check, f, state, text, advice)
	}
}

func TestDoctorOfHealthyDaemon(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--max-shells", "5", "--backlog", "100"))
	found, code := examined(t, d.Socket)
	if code != 0 {
		t.Errorf("status %d, want 0: %+v", code, found)
	}
	for _, check := range []string{"daemon", "version", "kernel", "socket", "directory", "backlog", "descriptors", "processes", "ptys", "devpts"} {
		expectFinding(t, found, check, doctor.OK, "", "")
	}
}

// Each limit that is too low for what the daemon was set up for is named with
// what to change.
func TestDoctorOfCrampedDaemon(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--max-shells", "20000000", "--backlog", "100000000"),
		spawntest.Under("prlimit", "--nofile=400:400", "--"))
	found, code := examined(t, d.Socket)
	if code != 0 {
		t.Errorf("status %d, want 0, as it works: %+v", code, found)
	}
	expectFinding(t, found, "backlog", doctor.Warn, "100000000 asked for", "net.core.somaxconn")
	expectFinding(t, found, "descriptors", doctor.Warn, "enough for 100 shells, not for 20000000", "LimitNOFILE")
	expectFinding(t, found, "processes", doctor.Warn, "not for 20000000", "sysctl")
	expectFinding(t, found, "ptys", doctor.Warn, "not for 20000000", "kernel.pty.max")
}

func TestDoctorWithoutDaemon(t *testing.T) {
	dir := spawntest.Self().TempDir(t)
	socket := filepath.Join(dir, "s")
	found, code := examined(t, socket)
	if code != 1 {
		t.Errorf("status %d, want 1", code)
	}
	expectFinding(t, found, "daemon", doctor.Fail, socket+": no such file or directory", "shellspawn serve --background")
	expectFinding(t, found, "socket", doctor.Fail, "not there", "start the daemon")
	expectFinding(t, found, "directory", doctor.OK, dir, "")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(l.Close(), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	found, _ = examined(t, socket)
	expectFinding(t, found, "daemon", doctor.Fail, "connection refused", "shellspawn serve --background")
	expectFinding(t, found, "socket", doctor.Fail, "nobody answers there", "stale")
	expectFinding(t, found, "directory", doctor.Fail, "others may write there", "chmod go-w")
}

// A devpts for few terminals is found where the machine would allow many.
func TestDoctorOfSmallDevpts(t *testing.T) {
	spawntest.NeedRoot(t)
	out, _, _ := run(t, "/nonexistent/s", "unshare", "--mount", "sh", "-c",
		`mount -t devpts -o newinstance,ptmxmode=0666,max=7 devpts /dev/pts && exec "$0" doctor`, spawntest.DaemonPath(t))
	line := regexp.MustCompile(`(?m)^warn +ptys +(.*)$`).FindString(out)
	if !strings.Contains(line, "max=; left: 7, enough for 7 shells, not for 1000; remount it") {
		t.Errorf("the line is %q in\n%s", line, out)
	}
}

// What an old kernel, or the filter of a container, does not have is named.
func TestDoctorUnderStrictFilter(t *testing.T) {
	filter := []string{strconv.Itoa(unix.SYS_CLOSE_RANGE), strconv.Itoa(int(unix.ENOSYS)), spawntest.DaemonPath(t), "doctor"}
	out, _, code := run(t, "/nonexistent/s", append([]string{spawntest.Helper(t, "spawntest-denied")}, filter...)...)
	line := regexp.MustCompile(`(?m)^fail +kernel +(.*)$`).FindString(out)
	if code != 1 || !strings.Contains(line, "close_range: function not implemented; it takes Linux 5.11") {
		t.Errorf("status %d, the line is %q in\n%s", code, line, out)
	}
}
