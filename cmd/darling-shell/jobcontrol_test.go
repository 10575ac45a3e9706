package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"shellspawn/internal/spawntest"
)

// bashInside starts an interactive bash through the client and waits for its
// prompt.
func bashInside(t *testing.T, who spawntest.Who) (*spawntest.Daemon, *spawntest.Terminal) {
	t.Helper()
	d := spawntest.StartDaemon(t, spawntest.AsUser(who))
	term := onTerminal(t, d, "-e", "TERM=dumb", "bash", "--norc", "--noprofile", "-i")
	term.Send("PS1='prom''pt '\r")
	term.Expect("prompt ")
	return d, term
}

// foregroundJob waits until the shell of the only session has handed its
// terminal to a job whose leader is this program, and sleeps. Before that, keys
// may meet the shell's own child, which does not heed them yet. The result is
// the job's process group.
func foregroundJob(t *testing.T, d *spawntest.Daemon, program string) (group int) {
	t.Helper()
	spawntest.Eventually(t, "job in the foreground", func() bool {
		shell, ok := spawntest.Inspect(d.Children()[0].PID)
		group = shell.Foreground
		if !ok || group <= 0 || group == shell.Group {
			return false
		}
		leader, ok := spawntest.Inspect(group)
		return ok && leader.Name == program && leader.State == 'S'
	})
	return group
}

// A7: the keys go to the program inside, never to the client, which returns the
// status that they cause.
func TestA7Keys(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		for key, want := range map[string]int{"\x03": 130, "\x1c": 131} {
			term := onTerminal(t, d, "sh", "-c", "echo started; exec sleep 1000")
			term.Expect("started")
			isRaw(t, term)
			term.Send(key)
			if code := term.Wait(); code != want {
				t.Errorf("key %q: status %d, want %d", key, code, want)
			}
			if strings.Contains(string(term.Output()), "goroutine") {
				t.Errorf("key %q: %s", key, term.Output())
			}
		}
	})
}

// A7: Ctrl-S and Ctrl-Q hold and release the program's output.
func TestA7FlowControl(t *testing.T) {
	_, term := start(t, spawntest.Self(), "sh", "-c", "while :; do echo tick; sleep 0.01; done")
	term.Expect("tick")
	isRaw(t, term)
	term.Send("\x13")
	spawntest.Eventually(t, "pause in the output", func() bool {
		before := len(term.Output())
		time.Sleep(300 * time.Millisecond)
		return len(term.Output()) == before
	})
	held := len(term.Output())
	term.Send("\x11")
	spawntest.Eventually(t, "output after Ctrl-Q", func() bool { return len(term.Output()) > held })
	term.Send("\x03")
	if code := term.Wait(); code != 130 {
		t.Errorf("status %d, want 130", code)
	}
}

// A7: Ctrl-Z stops the job inside and not the client. A8: jobs, bg and fg work.
func TestA8Jobs(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d, term := bashInside(t, who)
		term.Send("sleep 1000\r")
		job := foregroundJob(t, d, "sleep")
		term.Send("\x1a")
		term.Expect(`\[1\]\+\s+Stopped\s+sleep 1000`)
		term.Expect("prompt ")
		if p, _ := spawntest.Inspect(job); p.State != 'T' {
			t.Errorf("the job is %c, want stopped", p.State)
		}
		if p, _ := spawntest.Inspect(term.PID()); p.State == 'T' {
			t.Error("the client is stopped")
		}
		term.Send("jobs\r")
		term.Expect(`\[1\]\+\s+Stopped\s+sleep 1000`)
		term.Send("bg\r")
		term.Expect(`\[1\]\+ sleep 1000 &`)
		term.Expect("prompt ")
		term.Send("fg\r")
		foregroundJob(t, d, "sleep")
		term.Send("\x03")
		term.Expect("prompt ")
		term.Send("echo status-$?\r")
		term.Expect(`status-130`)
		leaveBash(t, term)
	})
}

func leaveBash(t *testing.T, term *spawntest.Terminal) {
	t.Helper()
	term.Send("exit 5\r")
	if code := term.Wait(); code != 5 {
		t.Errorf("status %d, want 5", code)
	}
	for _, bad := range []string{"no job control", "cannot set terminal process group", "Inappropriate ioctl"} {
		if strings.Contains(string(term.Output()), bad) {
			t.Errorf("the shell said %q", bad)
		}
	}
}

// A8: a pipeline stops and resumes as a whole.
func TestA8Pipeline(t *testing.T) {
	d, term := bashInside(t, spawntest.Self())
	term.Send("sleep 1001 | sleep 1002 | sleep 1003\r")
	group := foregroundJob(t, d, "sleep")
	members := func(state byte) (n int) {
		for _, p := range spawntest.Descendants(d.PID) {
			if p.Group == group && p.State == state {
				n++
			}
		}
		return n
	}
	spawntest.Eventually(t, "sleeping pipeline", func() bool { return members('S') == 3 })
	term.Send("\x1a")
	term.Expect("Stopped")
	term.Expect("prompt ")
	if n := members('T'); n != 3 {
		t.Errorf("%d of 3 processes are stopped", n)
	}
	term.Send("fg\r")
	spawntest.Eventually(t, "resumed pipeline", func() bool { return members('S') == 3 })
	foregroundJob(t, d, "sleep")
	term.Send("\x03")
	term.Expect("prompt ")
	if n := members('S') + members('T'); n != 0 {
		t.Errorf("%d of 3 processes are left after Ctrl-C", n)
	}
	leaveBash(t, term)
}

// A8: the program is session leader, in the foreground, with the pty as its
// controlling terminal, and every name of that terminal leads to it.
func TestA8Session(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		_, term := start(t, who, spawntest.Helper(t, "spawntest-session"))
		report := sessionReport(t, []byte(term.Expect(`\{.*\}`)[0]))
		if report.Session != report.PID || report.Group != report.PID || report.Foreground != report.PID {
			t.Errorf("no session leader in the foreground: %+v", report)
		}
		if report.Tty != report.Stdin || !strings.HasPrefix(report.Tty, "/dev/pts/") {
			t.Errorf("tty says %q, stdin is %q", report.Tty, report.Stdin)
		}
		if report.DevTty == 0 || report.DevTty != report.StdinDevice {
			t.Errorf("/dev/tty is device %#x, stdin %#x", report.DevTty, report.StdinDevice)
		}
		if report.Stdin == term.Name() {
			t.Error("the program is on the outer terminal")
		}
		term.Wait()
	})
}

func sessionReport(t *testing.T, text []byte) (report spawntest.SessionReport) {
	t.Helper()
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return report
}

// A8: no command means a login shell on the terminal.
func TestA8LoginShell(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		_, term := start(t, who, "-e", "TERM=dumb")
		term.Send("shopt login_shell; echo \"name=$0 flags=$-\"; tty\r")
		term.Expect(`login_shell\s+on`)
		term.Expect(`name=-?\S*bash flags=\S*i`)
		term.Expect(`/dev/pts/\d+`)
		leaveBash(t, term)
	})
}

// A8: full-screen programs start inside, take keys and leave.
func TestA8Programs(t *testing.T) {
	for _, row := range []struct {
		name string
		use  func(t *testing.T, d *spawntest.Daemon)
	}{
		{"vim", useVim},
		{"less", useLess},
		{"tmux", useTmux},
		{"screen", useScreen},
		{"su", useSu},
		{"script", useScript},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := exec.LookPath(row.name); err != nil {
				t.Skipf("needs %s installed", row.name)
			}
			row.use(t, spawntest.StartDaemon(t))
		})
	}
}

func useVim(t *testing.T, d *spawntest.Daemon) {
	file := filepath.Join(d.Dir, "text")
	term := onTerminal(t, d, "vim", "-N", "-u", "NONE", "-i", "NONE", "-n", file)
	term.Expect(`text`)
	term.Send("ihello from vim\x1b:wq\r")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
	if text, err := os.ReadFile(file); string(text) != "hello from vim\n" {
		t.Errorf("file holds %q: %v", text, err)
	}
}

func useLess(t *testing.T, d *spawntest.Daemon) {
	file := filepath.Join(d.Dir, "numbers")
	if err := os.WriteFile(file, numbers(t, d, "1000"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := onTerminal(t, d, "-e", "LESS=", "less", file)
	term.Expect(`\b23\b`)
	term.Send("G")
	term.Expect(`\b1000\b`)
	term.Send("g")
	term.Expect(`[^0-9]1\r\n`)
	term.Send("q")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// useTmux names the shell, since that of an ordinary user of a system may be one
// that lets nobody in. So do the others that start one.
func useTmux(t *testing.T, d *spawntest.Daemon) {
	socket := filepath.Join(d.Dir, "tmux")
	term := onTerminal(t, d, "-e", "SHELL=/bin/sh", "tmux", "-S", socket, "-f", "/dev/null", "new-session", "echo in$((40+2))side; read x; exit 0")
	term.Expect(`in42side`)
	term.Send("\r")
	term.Expect(`\[exited\]`)
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

func useScreen(t *testing.T, d *spawntest.Daemon) {
	term := onTerminal(t, d, "-e", "SCREENDIR="+filepath.Join(d.Dir, "screen"), "screen", "-c", "/dev/null",
		"sh", "-c", "echo in$((40+2))side; read x")
	term.Expect(`in42side`)
	term.Send("\r")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

func useSu(t *testing.T, d *spawntest.Daemon) {
	spawntest.NeedRoot(t)
	user := spawntest.Ordinary()
	term := onTerminal(t, d, "su", "-s", "/bin/sh", "nobody", "-c", "id -u; tty; exit 3")
	term.Expect(strconv.Itoa(user.UID))
	term.Expect(`/dev/pts/\d+`)
	if code := term.Wait(); code != 3 {
		t.Errorf("status %d, want 3", code)
	}
}

func useScript(t *testing.T, d *spawntest.Daemon) {
	term := onTerminal(t, d, "-e", "SHELL=/bin/sh", "script", "-qec", "tty; exit 4", "/dev/null")
	term.Expect(`/dev/pts/\d+`)
	if code := term.Wait(); code != 4 {
		t.Errorf("status %d, want 4", code)
	}
}

// A8: sessions inside sessions work as well.
func TestA8Nested(t *testing.T) {
	d := spawntest.StartDaemon(t)
	client := spawntest.ClientPath(t)
	term := onTerminal(t, d, client, client, "sh", "-c", "stty size; tty; exit 8")
	term.Expect("24 80")
	inner := term.Expect(`/dev/pts/\d+`)[0]
	if code := term.Wait(); code != 8 || inner == term.Name() {
		t.Errorf("status %d, want 8; terminal %s", code, inner)
	}
	if out := fmt.Sprintf("%q", term.Output()); strings.Contains(out, `\r\r`) {
		t.Errorf("doubled line ends: %s", out)
	}
}
