package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// forwarded are the signals that the client passes on, but for those that stop
// and continue.
var forwarded = []syscall.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
}

// piped is a client on pipes that the test reads and writes step by step. A
// Terminal is the same for a client on a terminal.
type piped struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin *os.File
	ended chan struct{}

	mu   sync.Mutex
	text []byte
	seen int
}

// B11: an ordinary user's daemon may not signal a program that has become root. It does not
// acknowledge what it could not do, so that the client still ends on TERM and on HUP.
func TestSignalNobodyMaySend(t *testing.T) {
	spawntest.NeedRoot(t)
	user := spawntest.Ordinary()
	d := spawntest.StartDaemon(t, spawntest.AsUser(user))
	become := becomeRoot(t)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			p := onPipes(t, d, become, "--reuid=0", "--", "sh", "-c", "echo ready; exec sleep 1000")
			p.expect("ready")
			p.attached()
			defer func() {
				for _, root := range d.Children() {
					_ = unix.Kill(root.PID, unix.SIGKILL) // the daemon cannot
				}
			}()
			p.signal(sig)
			if code := p.wait(); code != 125 {
				t.Errorf("status %d, want 125", code)
			}
		})
	}
}

// becomeRoot is a copy of setpriv(1) with which everybody can.
func becomeRoot(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := spawntest.Self().TempDir(t)
	copied := filepath.Join(dir, "become")
	err = errors.Join(os.Chmod(dir, 0o711), os.WriteFile(copied, program, 0o755), os.Chmod(copied, 0o755|os.ModeSetuid))
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// onPipes starts a client whose stdin, stdout and stderr are pipes. A client
// that still runs at the end of the test is killed.
func onPipes(t *testing.T, d *spawntest.Daemon, args ...string) *piped {
	t.Helper()
	p := &piped{t: t, cmd: d.Client(args...), ended: make(chan struct{})}
	stdin, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = input
	p.cmd.Stdin, p.cmd.Stdout = stdin, p
	p.cmd.Stderr = p.cmd.Stdout
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close() // the client has its own
	go func() {
		_ = p.cmd.Wait() // judged by the test, from what wait returns
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended, if all is well
		<-p.ended
		_ = input.Close()
	})
	return p
}

func (p *piped) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, text...)
	return len(text), nil
}

// expect waits for a text behind the last one.
func (p *piped) expect(text string) {
	p.t.Helper()
	spawntest.Eventually(p.t, fmt.Sprintf("%q", text), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		at := bytes.Index(p.text[p.seen:], []byte(text))
		if at >= 0 {
			p.seen += at + len(text)
		}
		return at >= 0
	})
}

func (p *piped) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// attached waits until the client knows that the program has started: only then
// every signal is for the program. Without a pty, it gives up its streams then.
func (p *piped) attached() {
	p.t.Helper()
	spawntest.Eventually(p.t, "attached client", func() bool { return spawntest.FDs(p.cmd.Process.Pid)[0] == "/dev/null" })
}

// wait waits for the end and returns the exit status.
func (p *piped) wait() int {
	p.t.Helper()
	await(p.t, "end of the client", p.ended)
	return spawntest.Code(p.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// B6: with a pty, a signal to the client reaches the whole foreground process
// group; the client stays, and returns the job's status.
func TestB6ForwardedOnPty(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		_, term := start(t, who, spawntest.Helper(t, "spawntest-signals"), "p", "1")
		term.Expect(`p ready`)
		term.Expect(`p1 ready`)
		isRaw(t, term)
		for _, sig := range forwarded {
			term.Signal(sig)
			both := unix.SignalName(sig)
			term.Expect(`(p ` + both + `\s+p1 |p1 ` + both + `\s+p )` + both)
		}
		notForwarded(t, term.Signal, func() string {
			term.Expect(`p SIGUSR1`)
			return string(term.Output())
		})
		term.Send("exit 5\r")
		if code := term.Wait(); code != 5 {
			t.Errorf("status %d, want 5", code)
		}
	})
}

// B6: without a pty it reaches the session's process group, SIGTSTP included,
// which does not stop the client.
func TestB6ForwardedOnPipes(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		file := filepath.Join(d.Dir, "seen")
		client := onPipes(t, d, spawntest.Helper(t, "spawntest-signals"), "p", "1", file)
		lines := func(want string) bool {
			text, _ := os.ReadFile(file)
			return bytes.Contains(text, []byte("p "+want)) && bytes.Contains(text, []byte("p1 "+want))
		}
		spawntest.Eventually(t, "two programs", func() bool { return lines("ready") })
		client.attached()
		for _, sig := range append(forwarded, unix.SIGTSTP) {
			client.signal(sig)
			spawntest.Eventually(t, unix.SignalName(sig)+" in both", func() bool { return lines(unix.SignalName(sig)) })
		}
		if p, _ := spawntest.Inspect(client.cmd.Process.Pid); p.State == 'T' {
			t.Error("the client is stopped")
		}
		notForwarded(t, client.signal, func() string {
			spawntest.Eventually(t, "another SIGUSR1", func() bool {
				text, _ := os.ReadFile(file)
				return bytes.Count(text, []byte("p SIGUSR1")) == 2
			})
			text, _ := os.ReadFile(file)
			return string(text)
		})
		if _, err := client.stdin.WriteString("exit 5\n"); err != nil {
			t.Fatal(err)
		}
		if code := client.wait(); code != 5 {
			t.Errorf("status %d, want 5", code)
		}
	})
}

// notForwarded sends what must not be passed on, then a SIGUSR1 to know that it
// would have come by now.
func notForwarded(t *testing.T, send func(syscall.Signal), seen func() string) {
	t.Helper()
	never := []syscall.Signal{unix.SIGURG, unix.SIGCHLD, unix.SIGPIPE}
	for _, sig := range never {
		send(sig)
	}
	send(unix.SIGUSR1)
	text := seen()
	for _, sig := range never {
		if strings.Contains(text, unix.SignalName(sig)) {
			t.Errorf("%s was forwarded", unix.SignalName(sig))
		}
	}
}

// B6: with a shell inside, the signal goes to its foreground job alone.
func TestB6ForegroundJobOnly(t *testing.T) {
	d, term := bashInside(t, spawntest.Self())
	term.Send("trap 'echo shell got it' USR1\r")
	term.Expect("prompt ")
	term.Send(spawntest.Helper(t, "spawntest-signals") + " job\r")
	term.Expect("job ready")
	foregroundJob(t, d, "spawntest-signa")
	term.Signal(unix.SIGUSR1)
	term.Expect("job SIGUSR1")
	term.Send("exit 3\r")
	term.Expect("prompt ")
	if strings.Contains(string(term.Output()), "shell got it\r") {
		t.Error("the signal went to the shell as well")
	}
	leaveBash(t, term)
}

// B6: a signal that ends the program is its status.
func TestB6Fatal(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGALRM} {
		client := onPipes(t, d, "sh", "-c", "echo started; exec sleep 1000")
		client.expect("started")
		client.attached()
		client.signal(sig)
		if code := client.wait(); code != 128+int(sig) {
			t.Errorf("%v: status %d, want %d", sig, code, 128+sig)
		}
	}
}

// B6: a signal that meets the start reaches the program: one that cannot end the
// client is not lost because the client has not heard of the start yet.
func TestB6AtTheStart(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for range spawntest.Count(100, 1000) {
		client := onPipes(t, d, "sh", "-c", `trap "exit 3" USR1; echo started; while :; do sleep 0.01; done`)
		client.expect("started")
		client.signal(unix.SIGUSR1)
		if code := client.wait(); code != 3 {
			t.Errorf("status %d, want 3", code)
		}
	}
}

// B7: once the leader has ended, its process group is nobody's to signal: what
// it leaves behind in the group hears nothing.
func TestB7NothingAfterTheEnd(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `"$0" left 0 "$1" <"$2" >/dev/null 2>&1 &
		while ! grep -q ready "$1" 2>/dev/null; do :; done
		exit 2`
	for i := range spawntest.Count(20, 200) {
		file := filepath.Join(d.Dir, "left"+strconv.Itoa(i))
		fifo := filepath.Join(d.Dir, "fifo"+strconv.Itoa(i))
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		hold, err := os.OpenFile(fifo, os.O_RDWR, 0) // waits for nobody
		if err != nil {
			t.Fatal(err)
		}
		_, errs, code := d.Run(nil, "-T", "sh", "-c", script, spawntest.Helper(t, "spawntest-signals"), file, fifo)
		if code != 2 {
			t.Errorf("status %d, want 2: %s", code, errs)
		}
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "SIG") {
			t.Errorf("what was left behind got %q, %v", text, err)
		}
		if _, err := hold.WriteString("exit 0\n"); err != nil {
			t.Error(err)
		}
		_ = hold.Close() // ends what was left behind, if the line has not
	}
}

// B8: a client that is gone, even by SIGKILL, hangs the session up: SIGHUP and
// SIGCONT, a grace period, then SIGKILL.
func TestB8ClientGone(t *testing.T) {
	for name, script := range map[string]string{
		"program that ends":    `echo started $$.; exec sleep 1000`,
		"program that ignores": `trap "" HUP TERM; echo started $$.; while :; do sleep 0.05; done`,
		"program that stops":   `echo started $$.; kill -STOP $$; exec sleep 1000`,
		"program that reports": `trap "echo got-hup >$PWD/report; exit 0" HUP; echo started $$.; while :; do sleep 0.05; done`,
	} {
		t.Run(name, func(t *testing.T) {
			spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
				eachMode(t, func(t *testing.T, flag string) {
					d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Args("--hangup-grace", "1s"))
					client := onPipes(t, d, flag, "sh", "-c", script)
					client.expect("started ")
					spawntest.Eventually(t, "program", func() bool { return len(d.Children()) == 1 })
					program := d.Children()[0]
					if name == "program that stops" {
						spawntest.Eventually(t, "stopped program", func() bool { p, _ := spawntest.Inspect(program.PID); return p.State == 'T' })
					}
					client.signal(unix.SIGKILL)
					spawntest.Eventually(t, "end of the program", func() bool { return len(d.Children()) == 0 })
					if name == "program that reports" {
						if text, err := os.ReadFile(filepath.Join(d.Dir, "report")); string(text) != "got-hup\n" {
							t.Errorf("report %q, %v", text, err)
						}
					}
				})
			})
		})
	}
}

// B8: what ran under nohup, setsid or disown survives, also the SIGKILL that the
// leader gets after its grace period.
func TestB8Survivors(t *testing.T) {
	stubborn := "\n" + `trap "" HUP; while :; do sleep 0.05; done`
	for name, start := range map[string]string{
		"nohup":  `nohup sleep 1000 >/dev/null 2>&1 </dev/null & echo holder $!.`,
		"setsid": `{ setsid sh -c "echo holder \$\$.; exec sleep 1000 >/dev/null 2>&1 </dev/null"; } &`,
		"ignore": `(trap "" HUP; exec sleep 1000 >/dev/null 2>&1 </dev/null) & echo holder $!.`,
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, flag string) {
				d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "300ms"))
				survives(t, d, onPipes(t, d, flag, "sh", "-c", start+stubborn))
			})
		})
	}
	t.Run("disown", func(t *testing.T) {
		d := spawntest.StartDaemon(t, spawntest.Args("--hangup-grace", "300ms"))
		client := onPipes(t, d, "-t", "-e", "TERM=dumb", "bash", "--norc", "--noprofile", "-i")
		if _, err := client.stdin.WriteString("sleep 1000 >/dev/null 2>&1 </dev/null & disown; echo hol''der $!.\n"); err != nil {
			t.Fatal(err)
		}
		survives(t, d, client)
	})
}

// survives kills the client and checks that the holder it announced lives on
// after the session has ended.
func survives(t *testing.T, d *spawntest.Daemon, client *piped) {
	t.Helper()
	client.expect("holder ")
	client.expect(".")
	client.mu.Lock()
	words := strings.Fields(strings.ReplaceAll(string(client.text[:client.seen]), ".", " "))
	client.mu.Unlock()
	holder, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(holder, syscall.SIGKILL)
	// Before it is what it is to become, it may not be immune yet.
	spawntest.Eventually(t, "sleep", func() bool { p, _ := spawntest.Inspect(holder); return p.Name == "sleep" })
	spawntest.Eventually(t, "leader", func() bool { return len(d.Children()) == 1 })
	leader := d.Children()[0]
	client.signal(unix.SIGKILL)
	spawntest.Eventually(t, "end of the leader", func() bool { return !leader.Same() })
	spawntest.Eventually(t, "reaped leader", func() bool { return len(d.Children()) == 0 })
	if !spawntest.Alive(holder) {
		t.Error("it did not survive")
	}
}

// B10: the program starts with every signal at its default and an empty mask,
// however the daemon and the client were started.
func TestB10SignalState(t *testing.T) {
	disturbed := spawntest.Helper(t, "spawntest-disturbed")
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		for _, under := range [][]string{nil, {"nohup"}, {"sh", "-c", `trap "" INT QUIT; exec "$0" "$@"`}, {disturbed}} {
			d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Under(under...))
			eachMode(t, func(t *testing.T, flag string) {
				out, _, code := d.Run(nil, flag, "cat", "/proc/self/status")
				if code != 0 {
					t.Fatalf("status %d", code)
				}
				cleanSignals(t, fmt.Sprintf("daemon under %q", under), out)
			})
		}
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		out, _, _ := d.Collect(d.Command(disturbed, spawntest.ClientPath(t), "cat", "/proc/self/status"), nil)
		cleanSignals(t, "disturbed client", out)
	})
}

func cleanSignals(t *testing.T, what string, status []byte) {
	t.Helper()
	for _, field := range []string{"SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"} {
		if !bytes.Contains(status, []byte(field+":\t0000000000000000")) {
			t.Errorf("%s: %s is not empty in\n%s", what, field, status[bytes.Index(status, []byte("SigQ")):])
		}
	}
}

// B11: before the start, TERM, HUP, INT and Ctrl-C end the client at once, and
// --connect-timeout bounds the wait for the first answer.
func TestB11BeforeTheStart(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		end  func(*spawntest.Terminal, int)
	}{
		{"SIGTERM", nil, func(_ *spawntest.Terminal, pid int) { _ = syscall.Kill(pid, unix.SIGTERM) }},
		{"SIGHUP", nil, func(_ *spawntest.Terminal, pid int) { _ = syscall.Kill(pid, unix.SIGHUP) }},
		{"SIGINT", nil, func(_ *spawntest.Terminal, pid int) { _ = syscall.Kill(pid, unix.SIGINT) }},
		{"Ctrl-C", nil, func(term *spawntest.Terminal, _ int) { term.Send("\x07") }},
		{"timeout", []string{"--connect-timeout", "1s"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := spawntest.StartDaemon(t)
			term, jobs, before := underJobs(t, d)
			d.Freeze()
			client := jobs.Run(append(append([]string{spawntest.ClientPath(t)}, row.args...), "true")...)
			spawntest.Eventually(t, "connection", func() bool { return hasSocket(client) || !spawntest.Alive(client) })
			began := time.Now()
			if row.end != nil {
				spawntest.Quiet(t, client)
				row.end(term, client)
			}
			code := jobs.Exited()
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			if row.end == nil && code != 125 || code == 0 {
				t.Errorf("status %d", code)
			}
			restored(t, term, before)
		})
	}
}

// B11: after the start, a signal that the daemon does not acknowledge within a
// second ends the client with 125.
func TestB11FrozenDaemon(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP} {
		d := spawntest.StartDaemon(t)
		client := onPipes(t, d, "sh", "-c", "echo started; exec sleep 1000")
		client.expect("started")
		client.attached()
		d.Freeze()
		client.signal(sig)
		if code := client.wait(); code != 125 {
			t.Errorf("%v: status %d, want 125", sig, code)
		}
		oneLine(t, client.text[client.seen+1:])
	}
}

// B11: a program that does not heed the signal is no reason to end the client.
func TestB11AcknowledgedSignal(t *testing.T) {
	d := spawntest.StartDaemon(t)
	client := onPipes(t, d, "sh", "-c", `trap "echo got-term" TERM; echo started; while ! read x; do :; done; sleep 1.5; exit 4`)
	client.expect("started")
	client.attached()
	client.signal(unix.SIGTERM)
	if _, err := io.WriteString(client.stdin, "go on\n"); err != nil {
		t.Fatal(err)
	}
	client.expect("got-term")
	if code := client.wait(); code != 4 {
		t.Errorf("status %d, want 4", code)
	}
}
