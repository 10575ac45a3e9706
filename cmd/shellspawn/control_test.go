package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"shellspawn/internal/spawntest"
)

func exitCode(cmd *exec.Cmd) int {
	return spawntest.Code(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// keysOf lists the keys of an object, those within it as outer.inner.
func keysOf(t *testing.T, text []byte) []string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	var keys []string
	for key, value := range object {
		keys = append(keys, key)
		if bytes.HasPrefix(value, []byte("{")) {
			for _, inner := range keysOf(t, value) {
				keys = append(keys, key+"."+inner)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// G3: the keys are what programs rely on, down to the last one.
func TestJSONKeys(t *testing.T) {
	d := spawntest.StartDaemon(t)
	sleeper := start(t, d.Client("sleep", "1000"))
	running(t, d, 1)

	want := strings.Fields(`accept_errors backlog backlog.asked backlog.effective backlog.somaxconn pid queue
		queue.longest_wait_seconds queue.now queue.peak queue.waited shells shells.refused shells.running
		shells.total socket uptime_seconds version`)
	if got := keysOf(t, []byte(must(t, d, "status", "--json"))); !slices.Equal(got, want) {
		t.Errorf("keys of status\n%v, want\n%v", got, want)
	}
	var rows []json.RawMessage
	decode(t, must(t, d, "list", "--json"), &rows)
	want = strings.Fields("age_seconds client_pid id pid program state tty uid user")
	if got := keysOf(t, rows[0]); !slices.Equal(got, want) {
		t.Errorf("keys of a row %v, want %v", got, want)
	}
	want = strings.Fields("asked effective somaxconn")
	if got := keysOf(t, []byte(must(t, d, "backlog", "--json"))); !slices.Equal(got, want) {
		t.Errorf("keys of backlog %v, want %v", got, want)
	}
	must(t, d, "kill", fmt.Sprint(list(t, d)[0].ID))
	sleeper.code()
	if got := must(t, d, "list", "--json"); got != "[]\n" {
		t.Errorf("the list without shells is %q, want an empty array", got)
	}
	if got := must(t, d, "list"); got != "" {
		t.Errorf("without shells there is nothing to say, but list prints %q", got)
	}
}

// G3: what status and list say is true.
func TestStatusAndListTellTheTruth(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--backlog", "77", "--max-shells", "2"))
	term := spawntest.OpenTerminal(t, d.Who)
	term.Start(d.Client("cat"))
	piped := start(t, d.Client("sleep", "1000"))
	rows := running(t, d, 2)
	if _, _, code := d.Run(nil, "true"); code != 125 {
		t.Errorf("a third shell: status %d, want 125", code)
	}

	s := status(t, d)
	if s.PID != d.PID || s.Socket != d.Socket || s.Version == "" {
		t.Errorf("status names pid %d, socket %q, version %q; want %d, %q", s.PID, s.Socket, s.Version, d.PID, d.Socket)
	}
	if s.Backlog.Asked != 77 || s.Backlog.Effective != 77 || s.Backlog.Somaxconn != somaxconn(t) {
		t.Errorf("backlog %+v, want 77, 77 and %d", s.Backlog, somaxconn(t))
	}
	if s.Shells.Running != 2 || s.Shells.Total != 2 || s.Shells.Refused["max-shells"] != 1 {
		t.Errorf("shells %+v, want 2 running of 2, and one refused", s.Shells)
	}

	children := make(map[int]bool)
	for _, p := range d.Children() {
		children[p.PID] = true
	}
	byProgram := maps.Collect(func(yield func(string, int) bool) {
		for i, r := range rows {
			if !yield(r.Program, i) {
				return
			}
		}
	})
	for _, r := range rows {
		if !children[r.PID] || r.UID != uint32(d.Who.UID) || r.State != "running" {
			t.Errorf("row %+v: not a running child of the daemon", r)
		}
	}
	if r := rows[byProgram["sleep"]]; r.TTY != "" || r.ClientPID != piped.cmd.Process.Pid {
		t.Errorf("row %+v: want no terminal and client %d", r, piped.cmd.Process.Pid)
	}
	r := rows[byProgram["cat"]]
	if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", r.PID)); err != nil || target != r.TTY {
		t.Errorf("row %+v: its terminal is %q (%v)", r, target, err)
	}
	table := must(t, d, "list")
	if lines := strings.Count(table, "\n"); lines != 3 || !strings.HasPrefix(table, "ID ") {
		t.Errorf("the table has %d lines:\n%s", lines, table)
	}
}

func somaxconn(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// G3: without -s a shell ends for certain, also one that ignores the hang-up;
// its client learns the true status.
func TestKillEndsForCertain(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "200ms"))
	client := d.Client("-c", "trap '' HUP TERM; echo up; while :; do sleep 1; done")
	_, out := pipes(t, client)
	stubborn := start(t, client)
	expectLine(t, out, "up")
	row := running(t, d, 1)[0]
	must(t, d, "kill", fmt.Sprint(row.ID))
	if code := stubborn.code(); code != 137 {
		t.Errorf("status %d, want 137", code)
	}
}

// G3: with -s the foreground process group gets that signal and nothing else.
func TestKillSendsTheSignal(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for _, name := range []string{"USR1", "SIGUSR1", "usr1", "10"} {
		t.Run(name, func(t *testing.T) {
			term := spawntest.OpenTerminal(t, d.Who)
			term.Start(d.Client("-c", "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.05; done"))
			term.Expect("ready")
			row := running(t, d, 1)[0]
			must(t, d, "kill", "-s", name, fmt.Sprint(row.ID))
			term.Expect("got it")
			if code := term.WaitProgram(); code != 3 {
				t.Errorf("status %d, want 3", code)
			}
			running(t, d, 0)
		})
	}
}

// G3: each id that cannot be served is named with its reason; the others are
// served all the same.
func TestKillSaysWhichFailed(t *testing.T) {
	d := spawntest.StartDaemon(t)
	sleeper := start(t, d.Client("sleep", "1000"))
	row := running(t, d, 1)[0]
	out, errs, code := ask(t, d, "kill", "4000000000", fmt.Sprint(row.ID), "4000000001")
	if code != 1 || out != "" {
		t.Errorf("status %d, stdout %q, want 1 and nothing", code, out)
	}
	want := "shellspawn: kill 4000000000: no such shell\nshellspawn: kill 4000000001: no such shell\n"
	if errs != want {
		t.Errorf("stderr %q, want %q", errs, want)
	}
	if code := sleeper.code(); code != 129 {
		t.Errorf("the one that exists: status %d, want 129", code)
	}
}

// G3: users see and signal their own shells, root and the daemon's user all;
// only these two stop the daemon or change the backlog.
func TestWhoMaySeeAndDoWhat(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Args("--socket-mode", "0666", "--allow-user", "*"))
	if err := os.Chmod(d.Dir, 0o711); err != nil {
		t.Fatal(err)
	}
	alice, bob := spawntest.Who{Name: "alice", UID: 65001, GID: 65001}, spawntest.Who{Name: "bob", UID: 65002, GID: 65002}
	as := func(who spawntest.Who, args ...string) (string, string, int) {
		t.Helper()
		cmd := d.Command(append([]string{spawntest.DaemonPath(t)}, args...)...)
		cmd.Dir = "/"
		out, errs, code := d.Collect(who.As(cmd), nil)
		return string(out), string(errs), code
	}
	client := d.Client("-C", "/", "sleep", "1000")
	client.Dir = "/"
	sleeper := start(t, alice.As(client))
	row := running(t, d, 1)[0]
	if row.UID != 65001 {
		t.Fatalf("row %+v, want one of uid 65001", row)
	}
	id := fmt.Sprint(row.ID)

	if out, _, _ := as(bob, "list", "--json"); out != "[]\n" {
		t.Errorf("bob sees %s", out)
	}
	if out, _, _ := as(alice, "list"); !strings.Contains(out, "sleep") {
		t.Errorf("alice does not see her own shell: %q", out)
	}
	for _, args := range [][]string{{"kill", id}, {"kill", "-s", "KILL", id}} {
		if _, errs, code := as(bob, args...); code != 1 || errs != "shellspawn: kill "+id+": no such shell\n" {
			t.Errorf("bob's %q: status %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"stop"}, {"backlog", "5"}} {
		_, errs, code := as(alice, args...)
		oneLine(t, "shellspawn", errs, args[0]+": only root")
		if code != 1 {
			t.Errorf("alice's %q: status %d, want 1", args, code)
		}
	}
	if s := status(t, d); s.Backlog.Asked != 4096 || s.Shells.Running != 1 {
		t.Errorf("after what was refused: %+v", s)
	}
	if out, _, code := as(bob, "backlog"); code != 0 || !strings.Contains(out, "4096") {
		t.Errorf("bob may see the backlog: status %d, %q", code, out)
	}
	if _, errs, code := as(alice, "kill", id); code != 0 {
		t.Errorf("alice's kill: status %d, %q", code, errs)
	}
	sleeper.code()
}

// A user may call a program whatever he likes; what root sees in the list must
// not reach his terminal as it is.
func TestListEscapesNames(t *testing.T) {
	d := spawntest.StartDaemon(t)
	evil := filepath.Join(d.Dir, "evil\x1b]0;owned\a\n\u009b2J")
	if err := os.Symlink("/bin/sleep", evil); err != nil {
		t.Fatal(err)
	}
	start(t, d.Client(evil, "1000"))
	running(t, d, 1)
	table := must(t, d, "list")
	if strings.ContainsAny(table, "\x1b\a\u009b") || strings.Count(table, "\n") != 2 {
		t.Errorf("the table passes on what is not printable: %q", table)
	}
}

// G3: wrong usage is one line, a hint, and status 2, before anything is done.
func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"dance"}, {"status", "x"}, {"list", "--nonsense"}, {"kill"}, {"kill", "abc"}, {"kill", "-1"},
		{"kill", "-s", "NOPE", "1"}, {"kill", "-s", "65", "1"}, {"kill", "-s", "0", "1"},
		{"backlog", "0"}, {"backlog", "many"}, {"backlog", "1", "2"}, {"stop", "now"},
		{"serve", "x"}, {"serve", "--backlog", "0"}, {"serve", "--socket-mode", "999"}, {"serve", "--max-shells", "-1"},
		{"serve", "--log-level", "loud"}, {"serve", "--log-format", "xml"}, {"serve", "--request-timeout", "0s"},
		{"serve", "--hangup-grace", "-1s"}, {"serve", "--shutdown-grace", "0"}, {"--nonsense"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			cmd := exec.Command(spawntest.DaemonPath(t), args...)
			cmd.Env = []string{"SHELLSPAWN_SOCKET=/nonexistent/s"}
			var errs strings.Builder
			e := &errs
			cmd.Stderr = e
			out, _ := cmd.Output()
			if code := exitCode(cmd); code != 2 || len(out) > 0 {
				t.Errorf("status %d, stdout %q, want 2 and nothing", code, out)
			}
			oneLine(t, "shellspawn", errs.String(), "hint: ", "'shellspawn --help'")
		})
	}
}

// G4: every command answers --help with the same page, of at most 60 lines.
func TestHelp(t *testing.T) {
	var first string
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"serve", "--help"}, {"status", "-h"}, {"list", "--help"},
		{"kill", "--help"}, {"backlog", "--help"}, {"stop", "--help"}} {
		out, err := exec.Command(spawntest.DaemonPath(t), args...).Output()
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if first == "" {
			first = string(out)
		}
		if string(out) != first {
			t.Errorf("%q prints another page", args)
		}
	}
	lines := strings.Split(first, "\n")
	if len(lines) > 61 || !strings.Contains(first, "Examples:") {
		t.Errorf("the page has %d lines", len(lines)-1)
	}
	for _, line := range lines {
		if len(line) > 90 {
			t.Errorf("too wide: %q", line)
		}
	}
}
