package main_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// onLegacyTerminal has the daemon start a program on a pty that the client made.
func onLegacyTerminal(t *testing.T, d *spawntest.Daemon, program [][]byte) (*spawntest.LegacyClient, *spawntest.Terminal) {
	t.Helper()
	term := spawntest.OpenTerminal(t, d.Who)
	c := spawntest.DialLegacy(t, d.Socket, d.Who)
	original(c, d.Who, program, d.Dir, term.File(), term.File(), term.File())
	return c, term
}

// ends waits for the status.
func ends(t *testing.T, c *spawntest.LegacyClient, want int32) {
	t.Helper()
	if code, ok := c.Status(); code != want || !ok {
		t.Errorf("status %d, %v; want %d", code, ok, want)
	}
}

// A8: the pty that the client made becomes the controlling terminal, with the
// program as session leader in the foreground.
func TestLegacyControllingTerminal(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		helper := spawntest.Helper(t, "spawntest-session")
		c, term := onLegacyTerminal(t, legacyDaemon(t, who), legacyExec(helper, helper))
		var report spawntest.SessionReport
		decode(t, term.Expect(`\{.*\}`)[0], &report)
		if report.Session != report.PID || report.Group != report.PID || report.Foreground != report.PID {
			t.Errorf("no session leader in the foreground: %+v", report)
		}
		if report.Stdin != term.Name() || report.Tty != term.Name() || report.DevTty == 0 || report.DevTty != report.StdinDevice {
			t.Errorf("the terminal is %s: %+v", term.Name(), report)
		}
		ends(t, c, 0)
	})
}

// A7, A8: an interactive shell has job control, and keys go to the job.
func TestLegacyJobControl(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	c, term := onLegacyTerminal(t, d, legacyExec("/bin/bash", "bash", "--norc", "--noprofile", "-i"))
	term.Send("PS1='prom''pt '; sleep 1000\r")
	foregroundJobOf(t, d)
	term.Send("\x1a")
	term.Expect(`Stopped\s+sleep 1000`)
	term.Expect("prompt ")
	term.Send("fg\r")
	foregroundJobOf(t, d)
	term.Send("\x03")
	term.Expect("prompt ")
	term.Send("exit 5\r")
	ends(t, c, 5)
	if out := string(term.Output()); strings.Contains(out, "no job control") || strings.Contains(out, "cannot set terminal") {
		t.Errorf("the shell said %q", out)
	}
}

// foregroundJobOf waits until the daemon's only shell has handed its terminal to
// a job, and returns the job's process group.
func foregroundJobOf(t *testing.T, d *spawntest.Daemon) (group int) {
	t.Helper()
	spawntest.Eventually(t, "job in the foreground", func() bool {
		for _, p := range d.Children() {
			if p.Foreground > 0 && p.Foreground != p.Group {
				group = p.Foreground
			}
		}
		return group != 0
	})
	return group
}

// B6: SIGNAL reaches the whole foreground process group, and nothing else.
func TestLegacySignalForeground(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := legacyDaemon(t, who)
		c, term := onLegacyTerminal(t, d, legacyExec("/bin/bash", "bash", "--norc", "--noprofile", "-i"))
		term.Send("PS1='prom''pt '; " + spawntest.Helper(t, "spawntest-signals") + " job 1\r")
		term.Expect("job ready")
		term.Expect("job1 ready")
		foregroundJobOf(t, d)
		for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH} {
			c.Signal(sig)
			first := term.Expect(`job1? ` + unix.SignalName(sig))[0]
			if second := term.Expect(`job1? ` + unix.SignalName(sig))[0]; first == second {
				t.Errorf("%s reached the same process twice", unix.SignalName(sig))
			}
		}
		term.Send("exit 0\r")
		term.Expect("prompt ")
		term.Send("exit 6\r")
		ends(t, c, 6)
	})
}

// Without a terminal SIGNAL reaches the program's process group.
func TestLegacySignalGroup(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	helper := spawntest.Helper(t, "spawntest-signals")
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	file := d.Dir + "/signals"
	original(c, d.Who, legacyExec(helper, helper, "p", "1", file), "/", s.files...)
	said := func(text string) {
		t.Helper()
		spawntest.Eventually(t, text, func() bool { b, _ := os.ReadFile(file); return strings.Contains(string(b), text) })
	}
	said("p ready")
	said("p1 ready")
	c.Signal(unix.SIGTERM)
	said("p SIGTERM")
	said("p1 SIGTERM")
	if _, err := s.stdin.WriteString("exit 4\n"); err != nil {
		t.Error(err)
	}
	ends(t, c, 4)
}

// A SIGNAL that is none is skipped over, and faults are not sent.
func TestLegacySignalRefused(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	original(c, d.Who, legacyExec("/bin/cat", "cat"), "/", s.files...)
	for _, sig := range []syscall.Signal{0, unix.SIGSEGV, unix.SIGCHLD, unix.SIGURG, 65, -1, 1 << 30} {
		c.Signal(sig)
	}
	c.Signal(unix.SIGTERM)
	ends(t, c, 143)
}

// A client that breaks the rules after GO gets no status, and its shell is ended
// at once, also one that ignores a hang-up.
func TestLegacyBrokenAfterGo(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	for name, b := range map[string][]byte{
		"short SIGNAL":    spawntest.LegacyFrame(spawntest.LegacySignal, []byte{15, 0}),
		"empty SIGNAL":    spawntest.LegacyFrame(spawntest.LegacySignal, nil),
		"long SIGNAL":     spawntest.LegacyNumbers(spawntest.LegacySignal, 15, 15),
		"longest SIGNAL":  spawntest.LegacyFrame(spawntest.LegacySignal, make([]byte, 0xffff)),
		"ADDARG":          spawntest.LegacyText(spawntest.LegacyAddArg, "x"),
		"a second GO":     spawntest.LegacyFrame(spawntest.LegacyGo, nil),
		"unknown command": spawntest.LegacyNumbers(99, 15),
	} {
		t.Run(name, func(t *testing.T) {
			c, term := onLegacyTerminal(t, d, legacyExec("/bin/sh", "sh", "-c", "trap '' HUP TERM; echo ready; while :; do sleep 1; done"))
			term.Expect("ready")
			c.Send(b)
			if status, ok := c.Status(); ok {
				t.Errorf("status %d, want none", status)
			}
			spawntest.Eventually(t, "end of the shell", func() bool { return len(d.Children()) == 0 })
		})
	}
}

// Descriptors after GO have no place there; they stay nowhere. E2
func TestLegacyDescriptorsAfterGo(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	legacyRun(t, d, legacyExec("/bin/true", "true"), "/")
	before := len(d.FDs())
	c, term := onLegacyTerminal(t, d, legacyExec("/bin/sh", "sh", "-c", "echo ready; exec sleep 1000"))
	term.Expect("ready")
	c.Send(spawntest.LegacyNumbers(spawntest.LegacySignal, int(unix.SIGCONT)), term.File(), term.File())
	if status, ok := c.Status(); ok {
		t.Errorf("status %d, want none", status)
	}
	spawntest.Eventually(t, "daemon as before", func() bool { return len(d.Children()) == 0 && len(d.FDs()) <= before })
}

// B8: a client that is gone hangs the shell up.
func TestLegacyClientGone(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "200ms"))
	for name, script := range map[string]string{
		"usual":               "echo ready; exec sleep 1000",
		"hang-up ignored":     "trap '' HUP; echo ready; while :; do sleep 1; done",
		"hang-up acted on":    "trap 'echo hung up; exit' HUP; echo ready; while :; do sleep 0.1; done",
		"stopped, not caught": "echo ready; kill -STOP $$",
	} {
		t.Run(name, func(t *testing.T) {
			c, term := onLegacyTerminal(t, d, legacyExec("/bin/sh", "sh", "-c", script))
			term.Expect("ready")
			c.Close()
			spawntest.Eventually(t, "end of the shell", func() bool { return len(d.Children()) == 0 })
			if name == "hang-up acted on" {
				term.Expect("hung up")
			}
		})
	}
}

// Every mix of terminal and pipe: what is no terminal goes to the program as it
// is, and only a terminal on stdin becomes the controlling one. C4
func TestLegacyMixedDescriptors(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	const script = `for fd in 0 1 2; do test -t $fd && tty=$tty$fd; done; echo "on-${tty}-terminal"; (: </dev/tty) 2>/dev/null && echo "controlling" >&2; :`
	for name, row := range map[string]struct {
		terminal    [3]bool
		controlling bool
	}{
		"stdin":            {[3]bool{true, false, false}, true},
		"stdin and stdout": {[3]bool{true, true, false}, true},
		"stdin and stderr": {[3]bool{true, false, true}, true},
		"stdout":           {[3]bool{false, true, false}, false},
		"stdout, stderr":   {[3]bool{false, true, true}, false},
		"stderr":           {[3]bool{false, false, true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			term := spawntest.OpenTerminal(t, d.Who)
			c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
			files, numbers := append([]*os.File(nil), s.files...), ""
			for i, is := range row.terminal {
				if is {
					files[i], numbers = term.File(), numbers+string(rune('0'+i))
				}
			}
			original(c, d.Who, legacyExec("/bin/sh", "sh", "-c", script), "/", files...)
			ends(t, c, 0)
			out, errs := s.collect()
			if row.terminal[1] {
				out = term.Expect(`on-.*-terminal\r\n`)[0]
			}
			if strings.TrimSpace(out) != "on-"+numbers+"-terminal" {
				t.Errorf("%q, want terminals on %s", out, numbers)
			}
			if row.terminal[2] && row.controlling {
				term.Expect("controlling")
			} else if !row.terminal[2] && (errs != "") != row.controlling {
				t.Errorf("stderr %q, controlling terminal: %v", errs, row.controlling)
			}
		})
	}
}

// E6: a terminal that belongs to another session is never taken from it.
func TestLegacyNeverSteals(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	term := spawntest.OpenTerminal(t, d.Who)
	term.Start(d.Command("sh", "-c", "echo owner; read x; tty < /dev/tty; echo still-$x"))
	term.Expect("owner")
	c, s := spawntest.DialLegacy(t, d.Socket, d.Who), openStdio(t)
	original(c, d.Who, legacyExec("/bin/sh", "sh", "-c", "(: </dev/tty) 2>/dev/null || echo none; tty"), "/", term.File(), s.files[1], s.files[2])
	ends(t, c, 0)
	if out, errs := s.collect(); out != "none\n"+term.Name()+"\n" {
		t.Errorf("output %q, stderr %q", out, errs)
	}
	if got := term.Foreground(); got != term.PID() {
		t.Errorf("foreground group %d, want that of the owner, %d", got, term.PID())
	}
	term.Send("mine\r")
	term.Expect("still-mine")
}

// A1, A2: all that the shell printed is in the pty when the status comes, also
// when something in the background keeps the terminal.
func TestLegacyOutputAtExit(t *testing.T) {
	d := legacyDaemon(t, spawntest.Self())
	c, term := onLegacyTerminal(t, d, legacyCommand(`(trap "" HUP; exec sleep 1000 >/dev/null 2>&1) & seq 1 20000; echo "pid-$!-"; exit 2`))
	pid := term.Expect(`20000\r\npid-(\d+)-`)[1]
	ends(t, c, 2)
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = unix.Kill(n, unix.SIGKILL)
	}
	if err != nil {
		t.Errorf("the process in the background: %v", err)
	}
}
