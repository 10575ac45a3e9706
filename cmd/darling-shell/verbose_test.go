package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shellspawn/internal/spawntest"
)

// explained holds what -v printed against one regular expression a line.
func explained(t *testing.T, errs []byte, want ...string) {
	t.Helper()
	expr := ""
	for _, line := range want {
		expr += "darling-shell: " + line + "\n"
	}
	if text := strings.ReplaceAll(string(errs), "\r\n", "\n"); !fullMatch(expr, text) {
		t.Errorf("-v says\n%s\nwant\n%s", text, expr)
	}
}

const (
	connected = `socket \S+ \(SHELLSPAWN_SOCKET\): connected (at once|after [\d.]+ ms)`
	dialect   = `dialect: shellspawn's, version 1`
	started   = `started after [\d.]+ ms: pid \d+, id \d+`
)

// -v says which socket and why, which dialect, a pty or not and why, and what ended
// the program.
func TestVerbose(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		const piped = "no pty: stdin is not a terminal"
		for name, row := range map[string]struct {
			args []string
			want []string
		}{
			"exit":         {[]string{"-v", "sh", "-c", "exit 3"}, []string{piped, connected, dialect, started, "ended: exited, status 3"}},
			"signal":       {[]string{"-v", "sh", "-c", "kill -KILL $$"}, []string{piped, connected, dialect, started, "ended: signalled, status 137 from SIGKILL"}},
			"forced":       {[]string{"-vt", "true"}, []string{"a pty: -t; stderr as it is", connected, dialect, started, "ended: exited, status 0"}},
			"forbidden":    {[]string{"-vT", "true"}, []string{"no pty: -T", connected, dialect, started, "ended: exited, status 0"}},
			"not found":    {[]string{"-v", "no-such-program"}, []string{piped, connected, dialect, "exec no-such-program: no such file or directory"}},
			"named":        {[]string{"-v", "-S", d.Socket, "true"}, []string{piped, `socket \S+ \(--socket\): connected .*`, dialect, started, "ended: exited, status 0"}},
			"old dialect":  {[]string{"-v", "--legacy", "sh", "-c", "exit 3"}, []string{piped, connected, "dialect: Darling's, for --legacy", "ended: status 3"}},
			"not at first": {[]string{"-v", "-S", d.Socket + "x", "true"}, []string{piped, "connect \\S+x: no such file or directory", "hint: .*"}},
		} {
			t.Run(name, func(t *testing.T) {
				_, errs, _ := d.Run(nil, row.args...)
				explained(t, errs, row.want...)
			})
		}
	})
}

// On a terminal -v is readable, too, and comes after the output.
func TestVerboseOnTerminal(t *testing.T) {
	_, term := start(t, spawntest.Self(), "-v", "seq", "1", "2000")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	text := string(term.Output())
	const first = "a pty: stdin and stdout are terminals; stderr on it, too\r\n"
	if !strings.HasPrefix(text, "darling-shell: "+first) {
		t.Errorf("it begins with %.100q, want %q", text, first)
	}
	if !strings.HasSuffix(text, "\n1999\r\n2000\r\ndarling-shell: ended: exited, status 0\r\n") {
		t.Errorf("it ends with %q", text[max(0, len(text)-100):])
	}
}

// A shell that the administrator ends, or that ends with the daemon, says so.
func TestVerboseSaysWhoEndedIt(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(t *testing.T, d *spawntest.Daemon)
		want string
	}{
		"kill": {func(t *testing.T, d *spawntest.Daemon) {
			if out, errs, code := d.Collect(d.Command(spawntest.DaemonPath(t), "kill", "2"), nil); code != 0 {
				t.Errorf("kill: status %d: %s%s", code, out, errs)
			}
		}, "ended: killed by operator, status 129 from SIGHUP"},
		"stop": {func(t *testing.T, d *spawntest.Daemon) {
			if out, errs, code := d.Collect(d.Command(spawntest.DaemonPath(t), "stop"), nil); code != 0 {
				t.Errorf("stop: status %d: %s%s", code, out, errs)
			}
		}, "ended: daemon shutting down, status 129 from SIGHUP"},
	} {
		t.Run(name, func(t *testing.T) {
			d := spawntest.StartDaemon(t) // which has looked whether it accepts: ours is connection 2
			p := onPipes(t, d, "-v", "sh", "-c", "echo started; exec sleep 1000")
			p.expect("id 2")
			row.end(t, d)
			p.expect("darling-shell: " + row.want)
			p.wait()
		})
	}
}

// Who sits at the terminal is told that somebody else has ended the shell, and never that
// it has ended by itself.
func TestTerminalSaysWhoEndedIt(t *testing.T) {
	for order, want := range map[string]string{
		`"$0" kill $("$0" list | awk 'NR == 2 { print $1 }')`: "started\r\ndarling-shell: ended: killed by operator, status 129 from SIGHUP\r\n",
		`"$0" stop`: "started\r\ndarling-shell: ended: daemon shutting down, status 129 from SIGHUP\r\n",
		"":          "started\r\n",
	} {
		t.Run(order, func(t *testing.T) {
			d, term := start(t, spawntest.Self(), "sh", "-c", "echo started; exec cat")
			term.Expect("started")
			if order == "" {
				term.Send("\x04")
			} else if out, errs, code := d.Collect(d.Command("sh", "-c", order, spawntest.DaemonPath(t)), nil); code != 0 {
				t.Errorf("status %d: %s%s", code, out, errs)
			}
			term.Wait()
			if text := string(term.Output()); text != want {
				t.Errorf("on the terminal is %q, want %q", text, want)
			}
		})
	}
}

// D4: --wait looks for every daemon that would be asked, also for the user's own
// where there was none at first, and says what it waits for to somebody who
// watches.
func TestVerboseWait(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.AsUser(spawntest.Ordinary()))
	own := filepath.Join(d.Who.TempDir(t), "shellspawn.sock")
	term := spawntest.OpenTerminal(t, d.Who)
	cmd := d.Client("--wait", "true")
	cmd.Env = append(cmd.Env, "SHELLSPAWN_SOCKET=", "XDG_RUNTIME_DIR="+filepath.Dir(own))
	term.Start(cmd)
	term.Expect("^darling-shell: waiting up to 30s for the daemon at /run/shellspawn.sock\r\n")
	if err := os.Symlink(d.Socket, own); err != nil {
		t.Fatal(err)
	}
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	if text := string(term.Output()); strings.Count(text, "\n") != 1 {
		t.Errorf("more than one line: %q", text)
	}
}

// D8: so it does for an answer, and for a place in the queue; and to nobody where
// nobody watches.
func TestVerboseWaitForAnswer(t *testing.T) {
	d := spawntest.StartDaemon(t)
	d.Freeze()
	t.Cleanup(d.Thaw)
	term := onTerminal(t, d, "--connect-timeout", "2s", "true")
	term.Expect("^darling-shell: connected, waiting up to 2s for an answer from the daemon at .*\r\n")
	term.Expect("^darling-shell: connect .*: connected but no answer within 2s\r\n")
	if code := term.Wait(); code != 125 {
		t.Errorf("status %d", code)
	}
	l, path := listener(t, d, "queue")
	shorten(t, l, 0)
	fill(t, path)
	term = onTerminal(t, d, "-S", path, "--connect-timeout", "2s", "true")
	term.Expect("^darling-shell: waiting up to 2s for the daemon at .*\r\n")
	term.Expect("^darling-shell: connect .*: accept queue is full, waited 2s\r\n")
	began := time.Now()
	_, errs, code := d.Run(nil, "-S", path, "--connect-timeout", "2s", "true")
	mistake{"", nil, 125, "accept queue is full, waited 2s", "backlog"}.judge(t, nil, errs, code)
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it waited only %v", took)
	}
}

// NO_COLOR and everything else that programs look for when they choose colours
// changes nothing: the client prints none of its own, on a terminal and off it.
func TestNoColour(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for _, args := range [][]string{{"--help"}, {"--version"}, {"--nonsense"}, {"-v", "true"}, {"-v", "no-such-program"}} {
		for _, colour := range []string{"NO_COLOR=", "NO_COLOR=1", "CLICOLOR_FORCE=1"} {
			cmd := d.Client(args...)
			cmd.Env = append(cmd.Env, colour, "TERM=xterm-256color", "COLORTERM=truecolor")
			term := spawntest.OpenTerminal(t, d.Who).Start(cmd)
			term.Wait()
			if strings.Contains(string(term.Output()), "\x1b") {
				t.Errorf("%q with %s: %q", args, colour, term.Output())
			}
		}
	}
}
