package main_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// mistake is one way in which a command can fail, and what it says then: one line
// with the object and the cause, and perhaps a second one with what to try.
type mistake struct {
	name   string
	args   []string
	status int
	says   string // in the line
	hint   string // in the hint; empty for no hint
}

// each makes every mistake in turn, with a command of the caller's choice.
func each(t *testing.T, command func(args ...string) *exec.Cmd, mistakes []mistake) {
	t.Helper()
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			cmd := command(m.args...)
			var out, errs strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errs
			m.judge(t, start(t, cmd).code(), out.String(), errs.String())
		})
	}
}

// judge holds what a failed command printed against the mistake.
func (m mistake) judge(t *testing.T, code int, out, errs string) {
	t.Helper()
	if code != m.status || out != "" {
		t.Errorf("status %d, want %d; stdout %q, want nothing", code, m.status, out)
	}
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	want := 1
	if m.hint != "" {
		want = 2
	}
	if len(lines) != want || !strings.HasSuffix(errs, "\n") {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), want, errs)
	}
	if !strings.HasPrefix(lines[0], "shellspawn: ") || !strings.Contains(lines[0], m.says) {
		t.Errorf("it says %q, want %q", lines[0], m.says)
	}
	if m.hint != "" && (!strings.HasPrefix(lines[1], "shellspawn: hint: ") || !strings.Contains(lines[1], m.hint)) {
		t.Errorf("the hint is %q, want %q", lines[1], m.hint)
	}
	for _, trace := range []string{"goroutine ", "panic", ".go:", "strconv", "time:"} {
		if strings.Contains(errs, trace) {
			t.Errorf("the inside shows: %s", errs)
		}
	}
}

// at runs shellspawn as who, with that socket in its environment.
func at(t *testing.T, who spawntest.Who, socket string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(spawntest.DaemonPath(t), args...)
		cmd.Env, cmd.Dir = outside(socket), "/"
		return who.As(cmd)
	}
}

func TestErrorsOfFlags(t *testing.T) {
	const hint = "'shellspawn --help' lists commands and flags"
	var mistakes []mistake
	for line, meant := range map[string]string{
		"statu": "'shellspawn status'", "ls": "'shellspawn list'", "serve --max-shell 1": "--max-shells",
		"kill -9 1": "-s 9", "kill -KILL 1": "-s KILL", "status --jsno": "--json",
	} {
		mistakes = append(mistakes, mistake{line, strings.Fields(line), 2, "unknown ", "did you mean " + meant + "? " + hint})
	}
	for _, row := range []struct {
		line string
		says string
	}{
		{"dance", `unknown command "dance"`},
		{"--nonsense", "unknown flag --nonsense"},
		{"-x", "unknown flag -x"},
		{"serve more", `unexpected argument "more"`},
		{"serve --backlog", "--backlog: needs a value"},
		{"serve --backlog many", "--backlog many: not a number"},
		{"serve --backlog 0", "--backlog 0: must be at least 1"},
		{"serve --socket=", "--socket: empty value"},
		{"serve --socket @name", "--socket @name: not a path; nothing guards an abstract socket"},
		{"serve --socket-mode 888", "--socket-mode 888: not an octal mode such as 0660"},
		{"serve --socket-mode 04755", "--socket-mode 04755: not an octal mode such as 0660"},
		{"serve --max-shells -1", "--max-shells -1: must not be negative"},
		{"serve --max-shells-per-user -1", "--max-shells-per-user -1: must not be negative"},
		{"serve --request-timeout 5", "--request-timeout 5: not a duration such as 10s"},
		{"serve --request-timeout 0", "--request-timeout 0s: must be more than nothing"},
		{"serve --hangup-grace -1s", "--hangup-grace -1s: must not be negative"},
		{"serve --shutdown-grace 0", "--shutdown-grace 0s: must be more than nothing"},
		{"serve --background=perhaps", "--background perhaps: not true or false"},
		{"serve --log-level loud", "--log-level loud: not one of debug, info, warn, error"},
		{"serve --log-format xml", "--log-format xml: not one of text, json"},
		{"serve --log-file=", "--log-file: empty value"},
		{"status more", `status: unexpected argument "more"`},
		{"list --all", "unknown flag --all"},
		{"kill", "kill: which shell? 'shellspawn list' shows their ids"},
		{"kill bash", `kill: "bash" is not the id of a shell`},
		{"kill -s", "-s: needs a value"},
		{"kill -s NONE 1", "kill: -s NONE: no such signal"},
		{"kill -s 65 1", "kill: -s 65: no such signal"},
		{"backlog 0", `backlog: "0" is not a number from 1 on`},
		{"backlog 1 2", `backlog: unexpected argument "2"`},
		{"stop now", `stop: unexpected argument "now"`},
		{"doctor me", `doctor: unexpected argument "me"`},
	} {
		mistakes = append(mistakes, mistake{row.line, strings.Fields(row.line), 2, row.says, hint})
	}
	mistakes = append(mistakes,
		mistake{"more than one line", []string{"a\nb\x1b[31m"}, 2, `unknown command "a\nb\x1b[31m"`, hint},
		mistake{"flag of more than one line", []string{"--a\nb\x1b[31m"}, 2, `unknown flag --a\nb\x1b[31m`, hint})
	each(t, at(t, spawntest.Self(), "/nonexistent/s"), mistakes)
}

// A daemon that cannot do what it was told says so before it does anything, in the
// foreground as in the background.
func TestErrorsOfServe(t *testing.T) {
	taken := spawntest.StartDaemon(t)
	dir := spawntest.Self().TempDir(t)
	file, open := filepath.Join(dir, "file"), filepath.Join(dir, "open")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	none, flags, fifo := dir+"/none", dir+"/flags", dir+"/fifo"
	if err := errors.Join(os.WriteFile(flags, []byte("backlog = 10\nmax-shells = many\n"), 0o600), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	mistakes := []mistake{
		{"second daemon", []string{"--socket", taken.Socket}, 1, "listen " + taken.Socket + ": address already in use by pid " + strconv.Itoa(taken.PID), "'shellspawn status'"},
		{"file in the way", []string{"--socket", file}, 1, "listen " + file + ": file exists and is not a socket", ""},
		{"directory in the way", []string{"--socket", open}, 1, "listen " + open + ": file exists and is not a socket", ""},
		{"directory and no name", []string{"--socket", open + "/"}, 1, "listen " + open + "/: is a directory", ""},
		{"no such directory", []string{"--socket", none + "/s"}, 1, "listen " + none + "/s: directory " + none + ": no such file or directory", "make the directory"},
		{"no directory at all", []string{"--socket", file + "/s"}, 1, "listen " + file + "/s: directory " + file + ": not a directory", ""},
		{"open directory", []string{"--socket", open + "/s"}, 1, "directory " + open + " may be written to by others (mode 0777), who could replace the socket", ""},
		{"name too long", []string{"--socket", dir + "/" + strings.Repeat("a", 300)}, 1, ": file name too long", ""},
		{"more than one line", []string{"--socket", none + "\nx/s"}, 1, none + `\nx/s: directory `, "make the directory"},
		{"unknown group", []string{"--socket-group", "no-such-group"}, 1, "--socket-group no-such-group: no such group", ""},
		{"log file without directory", []string{"--log-file", none + "/log"}, 1, "open " + none + "/log: no such file or directory", "make the directory"},
		{"log file that is a directory", []string{"--log-file", open}, 1, "open " + open + ": is a directory", ""},
		{"no such file of flags", []string{"--config", none}, 1, "read " + none + ": no such file or directory", ""},
		{"mistake in a file of flags", []string{"--config", flags}, 2, "read " + flags + ":2: max-shells many: not a number", "'shellspawn --help'"},
		{"pid file without directory", []string{"--pid-file", none + "/pid"}, 1, "write pid file " + none + "/pid: no such file or directory", "make the directory"},
		{"pid file that is a directory", []string{"--pid-file", open}, 1, "write pid file " + open + ": file exists and is no pid file", ""},
		{"pid file that is a pipe", []string{"--pid-file", fifo}, 1, "write pid file " + fifo + ": file exists and is no pid file", ""},
		{"pid file that is another file", []string{"--pid-file", flags}, 1, "write pid file " + flags + ": file exists and is no pid file", ""},
	}
	if os.Getuid() == 0 {
		mistakes = append(mistakes,
			mistake{"unknown user to allow", []string{"--allow-user", "no-such-user"}, 1, "--allow-user no-such-user: no such user", ""},
			mistake{"unknown group to allow", []string{"--allow-group", "no-such-group"}, 1, "--allow-group no-such-group: no such group", ""})
	}
	for name, mode := range map[string]string{"foreground": "--background=false", "background": "--background"} {
		t.Run(name, func(t *testing.T) {
			each(t, func(args ...string) *exec.Cmd {
				return at(t, spawntest.Self(), socket)(append([]string{"serve", mode}, args...)...)
			}, mistakes)
		})
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a socket is left behind (%v)", err)
	}
}

// What an ordinary user may not do, and what he has not set.
func TestErrorsOfServeByUser(t *testing.T) {
	who := spawntest.Ordinary()
	mine := who.TempDir(t)
	closed := filepath.Join(mine, "closed")
	if err := os.Mkdir(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(closed, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	socket := mine + "/s"
	const usage = "'shellspawn --help' lists commands and flags"
	each(t, at(t, who, socket), []mistake{
		{"closed directory", []string{"serve", "--socket", closed + "/s"}, 1, "listen " + closed + "/s: lock " + closed + "/s.lock: permission denied", "a directory of your own"},
		{"log file", []string{"serve", "--log-file", closed + "/log"}, 1, "open " + closed + "/log: permission denied", "a directory of your own"},
		{"pid file", []string{"serve", "--pid-file", closed + "/pid"}, 1, "write pid file " + closed + "/pid: permission denied", "a directory of your own"},
		{"somebody else's group", []string{"serve", "--socket-group", "1"}, 1, "listen " + socket + ": set group 1: operation not permitted", ""},
		{"the group of root", []string{"serve", "--socket-group", "0"}, 1, "listen " + socket + ": set group 0: operation not permitted", ""},
		{"others to serve", []string{"serve", "--allow-user", "root"}, 1, "--allow-user, --allow-group: a daemon that is not run by root serves its own user only", ""},
	})
	each(t, at(t, who, ""), []mistake{
		{"no socket to choose", []string{"serve"}, 2, "--socket: needed, since XDG_RUNTIME_DIR is not set", usage},
	})
}

// A service manager that says what cannot be is told so.
func TestErrorsOfSupervision(t *testing.T) {
	self := func(vars ...string) func(args ...string) *exec.Cmd {
		return func(args ...string) *exec.Cmd {
			cmd := at(t, spawntest.Self(), "/nonexistent/s")("serve")
			cmd.Env = append(cmd.Env, vars...)
			return cmd
		}
	}
	each(t, self("LISTEN_FDS=1", "LISTEN_PID=me"), []mistake{{"whose sockets", nil, 1, `LISTEN_PID "me": not a process id`, ""}})
	each(t, self("NOTIFY_SOCKET=nowhere"), []mistake{{"whom to notify", nil, 1, `NOTIFY_SOCKET "nowhere": neither a path nor an abstract socket`, ""}})
	each(t, self("WATCHDOG_USEC=often"), []mistake{{"how often", nil, 1, `WATCHDOG_USEC "often": not a number of microseconds`, ""}})
	each(t, func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve 3</dev/null`, spawntest.DaemonPath(t))
		cmd.Env = outside("/nonexistent/s")
		return cmd
	}, []mistake{{"no socket", nil, 1, "not a socket", ""}})
}

// D4, G3: a control command that cannot reach its daemon.
func TestErrorsOfControl(t *testing.T) {
	who := spawntest.Ordinary()
	dir := who.TempDir(t)
	missing, file, stale, closes := dir+"/none", dir+"/file", dir+"/stale", dir+"/closes"
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, 0o666)); err != nil {
		t.Fatal(err)
	}
	leave(t, stale).Close()
	l := leave(t, closes)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			_ = c.Close()
		}
	}()
	shut := leave(t, dir+"/shut")
	defer shut.Close()
	for path, mode := range map[string]os.FileMode{closes: 0o666, dir + "/shut": 0, stale: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	start := "no daemon is listening there; start one with 'shellspawn serve --background --socket "
	for _, line := range []string{"status", "list", "kill 1", "backlog", "backlog 5", "stop", "status --json"} {
		t.Run(line, func(t *testing.T) {
			args := func(socket string) []string { return append(strings.Fields(line), "--socket", socket) }
			each(t, at(t, who, ""), []mistake{
				{"none", args(missing), 1, "connect " + missing + ": no such file or directory", start + missing + "'"},
				{"nobody listens", args(stale), 1, "connect " + stale + ": connection refused", start + stale + "'"},
				{"no socket", args(file), 1, "connect " + file + ": connection refused", file + " is a file or directory and no socket"},
				{"not allowed", args(dir + "/shut"), 1, "connect " + dir + "/shut: permission denied", "it has mode 0000, owner "},
				{"closes at once", args(closes), 1, "connect " + closes + ": closed without an answer", "speaks only the old dialect"},
				{"below a file", args(file + "/s"), 1, "connect " + file + "/s: not a directory", ""},
			})
		})
	}
}

// leave makes a socket that stays when it is closed.
func leave(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	return l
}

// G3: a daemon that answers and does not do it.
func TestErrorsOfOrders(t *testing.T) {
	d := spawntest.StartDaemon(t)
	each(t, at(t, spawntest.Self(), d.Socket), []mistake{
		{"no such shell", []string{"kill", "4000000000"}, 1, "kill 4000000000: no such shell", ""},
		{"no such shell to signal", []string{"kill", "-s", "USR1", "4000000000"}, 1, "kill 4000000000: no such shell", ""},
	})
}

// G3, E1: what somebody else is not told and may not do.
func TestErrorsOfOrdersByOthers(t *testing.T) {
	spawntest.NeedRoot(t)
	d := spawntest.StartDaemon(t, spawntest.Args("--socket-mode", "0666", "--allow-user", "65001"))
	if err := os.Chmod(d.Dir, 0o711); err != nil {
		t.Fatal(err)
	}
	start(t, d.Client("sleep", "1000"))
	id := strconv.FormatUint(uint64(running(t, d, 1)[0].ID), 10)
	served, stranger := spawntest.Who{UID: 65001, GID: 65001}, spawntest.Who{UID: 65002, GID: 65002}
	each(t, at(t, served, d.Socket), []mistake{
		{"foreign shell", []string{"kill", id}, 1, "kill " + id + ": no such shell", ""},
		{"foreign shell to signal", []string{"kill", "-s", "KILL", id}, 1, "kill " + id + ": no such shell", ""},
		{"stop", []string{"stop"}, 1, "stop: only root and the user of the daemon may do this", ""},
		{"backlog", []string{"backlog", "7"}, 1, "backlog: only root and the user of the daemon may do this", ""},
	})
	for _, command := range []string{"status", "list", "stop", "backlog"} {
		each(t, at(t, stranger, d.Socket), []mistake{
			{command + " of a stranger", []string{command}, 1, "uid 65002: not allowed to use this daemon", "--allow-user and --allow-group"},
		})
	}
}

// A relative path where there is no working directory any more.
func TestErrorsOfALostDirectory(t *testing.T) {
	each(t, func(args ...string) *exec.Cmd {
		cmd := at(t, spawntest.Self(), "")("serve")
		cmd.Args = append([]string{"sh", "-c", `cd "$0" && rmdir "$0" && exec "$@"`, spawntest.Self().TempDir(t) + "/gone"}, append(cmd.Args, args...)...)
		if err := os.Mkdir(cmd.Args[3], 0o700); err != nil {
			t.Fatal(err)
		}
		cmd.Path = "/bin/sh"
		return cmd
	}, []mistake{
		{"socket", []string{"--socket", "s"}, 1, "path s: getwd: no such file or directory", "name another path"},
	})
}
