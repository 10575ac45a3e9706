package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// underJobs opens a terminal with unusual settings and a job shell on it.
func underJobs(t *testing.T, d *spawntest.Daemon) (*spawntest.Terminal, *spawntest.Jobs, unix.Termios) {
	t.Helper()
	term := spawntest.OpenTerminal(t, d.Who)
	before := unusual(term)
	return term, spawntest.StartJobs(term, d.JobShell()), before
}

// restored checks that the terminal is as it was.
func restored(t *testing.T, term *spawntest.Terminal, before unix.Termios) {
	t.Helper()
	if now := term.Settings(); now != before {
		t.Errorf("settings are\n%+v, were\n%+v", now, before)
	}
}

// isRaw waits until the client has put the terminal into raw mode.
func isRaw(t *testing.T, term *spawntest.Terminal) {
	t.Helper()
	spawntest.Eventually(t, "raw mode", term.Raw)
}

// A3: whatever ends the session, the terminal is given back exactly as it was.
func TestA3Restored(t *testing.T) {
	sleep := []string{"sleep", "1000"}
	send := func(sig syscall.Signal) func(*testing.T, *spawntest.Daemon, *spawntest.Terminal, int) {
		return func(t *testing.T, _ *spawntest.Daemon, _ *spawntest.Terminal, client int) {
			if err := syscall.Kill(client, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, row := range []struct {
		name string
		args []string
		end  func(t *testing.T, d *spawntest.Daemon, term *spawntest.Terminal, client int)
		code int
	}{
		{"program ends", []string{"true"}, nil, 0},
		{"program fails", []string{"sh", "-c", "exit 9"}, nil, 9},
		{"program leaves its terminal raw", []string{"stty", "raw", "-echo"}, nil, 0},
		{"program is killed", []string{"sh", "-c", "kill -KILL $$"}, nil, 137},
		{"program not found", []string{"no-such-program"}, nil, 127},
		{"program not executable", []string{"/etc/passwd"}, nil, 126},
		{"directory not found", []string{"-C", "/no/such/directory", "true"}, nil, 125},
		{"wrong usage", []string{"--no-such-flag"}, nil, 2},
		{"no daemon", []string{"-S", "/no/such/socket", "true"}, nil, 125},
		{"SIGTERM", sleep, send(unix.SIGTERM), 143},
		{"SIGHUP", sleep, send(unix.SIGHUP), 129},
		{"SIGINT", sleep, send(unix.SIGINT), 130},
		{"SIGQUIT", sleep, send(unix.SIGQUIT), 131},
		{"Ctrl-C", sleep, func(_ *testing.T, _ *spawntest.Daemon, term *spawntest.Terminal, _ int) { term.Send("\x07") }, 130},
		{"daemon killed", sleep, func(_ *testing.T, d *spawntest.Daemon, _ *spawntest.Terminal, _ int) { d.Kill() }, 125},
		{"daemon stops", sleep, func(t *testing.T, d *spawntest.Daemon, _ *spawntest.Terminal, _ int) { d.Signal(unix.SIGTERM) }, 129},
		{"daemon hangs", sleep, freezeAndTerminate, 125},
	} {
		t.Run(row.name, func(t *testing.T) {
			spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
				d := spawntest.StartDaemon(t, spawntest.AsUser(who))
				term, jobs, before := underJobs(t, d)
				client := jobs.Run(append([]string{spawntest.ClientPath(t)}, row.args...)...)
				if row.end != nil {
					isRaw(t, term)
					row.end(t, d, term, client)
				}
				if code := jobs.Exited(); code != row.code {
					t.Errorf("status %d, want %d", code, row.code)
				}
				restored(t, term, before)
			})
		})
	}
}

// freezeAndTerminate is B11's case of a daemon that does not acknowledge.
func freezeAndTerminate(t *testing.T, d *spawntest.Daemon, _ *spawntest.Terminal, client int) {
	d.Freeze()
	if err := syscall.Kill(client, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// A3: a request that the daemon refuses: only root may be somebody else.
func TestA3Refused(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.AsUser(spawntest.Ordinary()))
	term, jobs, before := underJobs(t, d)
	jobs.Run(spawntest.ClientPath(t), "-u", "root", "true")
	if code := jobs.Exited(); code != 125 {
		t.Errorf("status %d, want 125", code)
	}
	restored(t, term, before)
}

// A3: the terminal is given back when stdout is closed, be it from the start or
// by a reader that goes away.
func TestA3ClosedStdout(t *testing.T) {
	for name, script := range map[string]string{
		"closed from the start": `"$0" -t sh -c "echo x; exit 3" >&-`,
		"reader goes away":      `"$0" -t yes | head -n 1; "$0" -t echo back | cat`,
		"full device":           `"$0" -t sh -c "echo x; exit 3" >/dev/full`,
	} {
		t.Run(name, func(t *testing.T) {
			d := spawntest.StartDaemon(t)
			term, jobs, before := underJobs(t, d)
			jobs.Run("sh", "-c", script, spawntest.ClientPath(t))
			jobs.Exited()
			restored(t, term, before)
		})
	}
}

// A3: raw mode starts only after the daemon has accepted the request.
func TestA3NotRawBeforeTheAnswer(t *testing.T) {
	d := spawntest.StartDaemon(t)
	term, jobs, before := underJobs(t, d)
	d.Freeze()
	client := jobs.Run(spawntest.ClientPath(t), "sleep", "1000")
	spawntest.Eventually(t, "connection", func() bool { return hasSocket(client) })
	spawntest.Quiet(t, client)
	restored(t, term, before)
	d.Thaw()
	isRaw(t, term)
	term.Send("\x07")
	if code := jobs.Exited(); code != 130 {
		t.Errorf("status %d, want 130", code)
	}
	restored(t, term, before)
}

func hasSocket(pid int) bool {
	for _, target := range spawntest.FDs(pid) {
		if strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}

// A9: a suspended client gives the terminal back as it was; fg makes it raw
// again and sends the size that it has meanwhile. So it does after a SIGSTOP,
// which it cannot see coming: there the shell puts the terminal in order.
func TestA9Suspend(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"SIGTSTP": unix.SIGTSTP, "SIGSTOP": unix.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
				d := spawntest.StartDaemon(t, spawntest.AsUser(who))
				term, jobs, before := underJobs(t, d)
				client := jobs.Run(spawntest.ClientPath(t), spawntest.Helper(t, "spawntest-winsize"))
				term.Expect(`size 24 80 0 0\.`)
				for i := range 50 {
					isRaw(t, term)
					if err := syscall.Kill(client, sig); err != nil {
						t.Fatal(err)
					}
					jobs.Expect("stopped")
					if sig == unix.SIGSTOP {
						term.Set(before)
					}
					restored(t, term, before)
					term.Resize(30+i, 90+i, i, i)
					jobs.Foreground()
					isRaw(t, term)
					size := []string{strconv.Itoa(30 + i), strconv.Itoa(90 + i), strconv.Itoa(i), strconv.Itoa(i)}
					term.Expect(`size ` + strings.Join(size, " ") + `\.`)
				}
				term.Send("\n")
				if code := jobs.Exited(); code != 0 {
					t.Errorf("status %d", code)
				}
				restored(t, term, before)
			})
		})
	}
}

// A9: on a pty SIGTSTP and SIGCONT are forwarded too. The program reports to a
// file, since nobody copies its output while the client is stopped; and SIGCONT
// must wait until the other has been seen, or the kernel would discard that.
func TestA9Forwarded(t *testing.T) {
	d := spawntest.StartDaemon(t)
	file := filepath.Join(d.Dir, "seen")
	seen := func(line string) {
		t.Helper()
		spawntest.Eventually(t, line, func() bool {
			text, _ := os.ReadFile(file)
			return bytes.Contains(text, []byte(line))
		})
	}
	term, jobs, before := underJobs(t, d)
	client := jobs.Run(spawntest.ClientPath(t), spawntest.Helper(t, "spawntest-signals"), "p", "0", file)
	seen("p ready")
	isRaw(t, term)
	if err := syscall.Kill(client, unix.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	jobs.Expect("stopped")
	restored(t, term, before)
	seen("p SIGTSTP")
	jobs.Foreground()
	seen("p SIGCONT")
	term.Send("exit 7\r")
	if code := jobs.Exited(); code != 7 {
		t.Errorf("status %d, want 7", code)
	}
}

// A9: the same under a real shell, fifty times: stop, prompt, fg.
func TestA9UnderBash(t *testing.T) {
	d := spawntest.StartDaemon(t)
	term := spawntest.OpenTerminal(t, d.Who).Start(d.Command("bash", "--norc", "--noprofile", "--noediting", "-i"))
	term.Send("PS1='prom''pt '\n")
	term.Expect("prompt ")
	before := term.Settings()
	term.Send("'" + spawntest.ClientPath(t) + "' '" + spawntest.Helper(t, "spawntest-winsize") + "'\n")
	term.Expect(`size 24 80 0 0\.`)
	client := spawntest.Children(term.PID())[0].PID
	for i := range 50 {
		isRaw(t, term)
		sig := unix.SIGTSTP
		if i%2 == 1 {
			sig = unix.SIGSTOP
		}
		if err := syscall.Kill(client, sig); err != nil {
			t.Fatal(err)
		}
		term.Expect("Stopped")
		term.Expect("prompt ")
		restored(t, term, before)
		term.Resize(30+i, 100, 0, 0)
		term.Send("fg\n")
		term.Expect(`size ` + strconv.Itoa(30+i) + ` 100 0 0\.`)
	}
	isRaw(t, term)
	term.Send("\r")
	term.Expect("prompt ")
	restored(t, term, before)
	term.Send("exit 4\n")
	if code := term.Wait(); code != 4 {
		t.Errorf("status %d, want 4", code)
	}
}

// statusFlags are the flags of an open file description. Every process that has
// the file shares them, so they are looked at from here.
func statusFlags(t *testing.T, f *os.File) int {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags
}

// A14: no flag of a descriptor that the client was given ever changes, neither
// while it runs nor after any end.
func TestA14Flags(t *testing.T) {
	ends := map[string]syscall.Signal{"by itself": 0, "SIGTERM": unix.SIGTERM, "SIGKILL": unix.SIGKILL}
	for name, sig := range ends {
		t.Run("terminal "+name, func(t *testing.T) {
			d := spawntest.StartDaemon(t)
			term := spawntest.OpenTerminal(t, d.Who)
			before := statusFlags(t, term.File())
			term.Start(d.Client("sh", "-c", "seq 1 100000; echo end; read x"))
			for !bytes.Contains(term.Output(), []byte("end")) {
				sameFlags(t, before, statusFlags(t, term.File()))
				flagsInside(t, term.PID(), before)
				if t.Failed() || term.Ended(0) {
					t.Fatal("ended early")
				}
			}
			term.Send("\r")
			if sig != 0 {
				term.Signal(sig)
			}
			term.WaitProgram()
			sameFlags(t, before, statusFlags(t, term.File()))
		})
		t.Run("pipes "+name, func(t *testing.T) { pipeFlags(t, sig) })
	}
}

func sameFlags(t *testing.T, before, now int) {
	t.Helper()
	if now != before {
		t.Errorf("flags %#o, were %#o", now, before)
	}
}

// flagsInside looks at the flags as the client has them, which are more than
// those of the description: close-on-exec is its own business.
func flagsInside(t *testing.T, client, before int) {
	t.Helper()
	for fd := range 3 {
		text := spawntest.FDFlags(client, fd)
		flags, err := strconv.ParseInt(text, 8, 64)
		if err == nil && int(flags)&unix.O_NONBLOCK != before&unix.O_NONBLOCK {
			t.Errorf("descriptor %d of the client has flags %s", fd, text)
		}
	}
}

func pipeFlags(t *testing.T, sig syscall.Signal) {
	d := spawntest.StartDaemon(t)
	inside, outside := [3]*os.File{}, [3]*os.File{}
	var before [3]int
	for i := range inside {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		inside[i], outside[i] = w, r
		if i == 0 {
			inside[i], outside[i] = r, w
		}
		defer inside[i].Close()
		defer outside[i].Close()
		before[i] = statusFlags(t, inside[i])
	}
	cmd := d.Client("sh", "-c", "echo started; read x")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside[0], inside[1], inside[2]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(spawntest.Deadline, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	if _, err := outside[1].Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for i, f := range inside {
		sameFlags(t, before[i], statusFlags(t, f))
	}
	flagsInside(t, cmd.Process.Pid, before[0])
	if sig != 0 {
		_ = cmd.Process.Signal(sig) // it has not ended: it waits for a line
	} else if _, err := outside[0].WriteString("x\n"); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // however it ended
	for i, f := range inside {
		sameFlags(t, before[i], statusFlags(t, f))
	}
}

// A15: several clients on one terminal, in pipelines and in the background of a
// shell, leave each other's output and the settings alone.
func TestA15SharedTerminal(t *testing.T) {
	lines := `1\r\n2\r\n3\r\n`
	for name, row := range map[string]struct{ script, want string }{
		"client into client":       {`C seq 3 | C cat`, lines},
		"client into program":      {`C sh -c "seq 3; sleep 0.05" | cat`, lines},
		"program into client":      {`seq 3 | C cat`, lines},
		"three clients":            {`C seq 3 | C cat | C cat`, lines},
		"the first one lives on":   {`C sh -c "exec >&-; sleep 0.3" | C seq 3`, lines},
		"terminal into a pipe":     {`C -t sh -c "sleep 0.1; echo x" | C cat >/dev/null; seq 3`, lines},
		"stderr elsewhere":         {`C seq 3 2>/dev/null`, lines},
		"substitution":             {`x=$(C seq 3); echo "$x"`, lines},
		"background, no terminal":  {`C seq 3 </dev/null | cat & wait`, lines},
		"background, own terminal": {`C seq 3 & wait`, `1\r+\n2\r+\n3\r+\n`},
		"two in the background":    {`C sh -c "sleep 0.2; seq 2 3" & C seq 1 & wait`, `1\r+\n2\r+\n3\r+\n`},
		"background, would read":   {`C sh -c "cat; seq 3" | cat & wait`, lines},
		"one behind the other":     {`C sleep 0.5 & C seq 3; wait`, lines},
	} {
		t.Run(name, func(t *testing.T) {
			d := spawntest.StartDaemon(t)
			term := spawntest.OpenTerminal(t, d.Who).Start(d.Command("bash", "--norc", "--noprofile", "--noediting", "-i"))
			term.Send("PS1=; C() { '" + spawntest.ClientPath(t) + "' \"$@\"; }; echo rea''dy\n")
			term.Expect("ready\r\n")
			before := term.Settings()
			term.Send(row.script + "; echo en''d\n")
			got := term.Expect(`(?s)\n(.*)end\r\n`)[1]
			if !matches(row.want, got) {
				t.Errorf("output %q, want %q", got, row.want)
			}
			restored(t, term, before)
			term.Send("exit\n")
			term.Wait()
		})
	}
}

// matches reports whether text holds the lines wanted, beside what a shell says
// of its jobs.
func matches(want, text string) bool {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "[") && !noticed.MatchString(line) {
			kept = append(kept, line)
		}
	}
	return fullMatch(want, strings.Join(kept, ""))
}

// A15: a client in the background does not touch the settings, and prints; in
// the foreground again it makes the terminal raw.
func TestA15Background(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		term, jobs, before := underJobs(t, d)
		client := jobs.Run(spawntest.ClientPath(t), "sh", "-c", `n=0; while sleep 0.02; do n=$((n + 1)); echo "tick $n"; done`)
		term.Expect(`tick \d+`)
		isRaw(t, term)
		if err := syscall.Kill(client, unix.SIGTSTP); err != nil {
			t.Fatal(err)
		}
		jobs.Expect("stopped")
		restored(t, term, before)
		jobs.Background()
		for range 20 {
			term.Expect(`tick \d+\r`)
			restored(t, term, before)
		}
		jobs.Foreground()
		isRaw(t, term)
		term.Send("\x07")
		if code := jobs.Exited(); code != 130 {
			t.Errorf("status %d, want 130", code)
		}
		restored(t, term, before)
	})
}

// A16: what is typed after the session has ended belongs to the outer shell,
// also while the client still has output to write.
func TestA16TypedAfterTheEnd(t *testing.T) {
	d := spawntest.StartDaemon(t)
	term, jobs, before := underJobs(t, d)
	term.PauseReading()
	client := jobs.Run(spawntest.ClientPath(t), "head", "-c", "18000", "/dev/zero")
	spawntest.Eventually(t, "start of the program", func() bool { return len(d.Children()) > 0 || logs(d, "exit") })
	spawntest.Eventually(t, "end of the program", func() bool { return len(d.Children()) == 0 })
	spawntest.Quiet(t, d.PID)
	spawntest.Quiet(t, client)
	term.Send("typed later\n")
	spawntest.Quiet(t, client)
	term.ResumeReading()
	if code := jobs.Exited(); code != 0 {
		t.Errorf("status %d", code)
	}
	restored(t, term, before)
	if got := jobs.Line(); got != "typed later\n" {
		t.Errorf("the shell read %q", got)
	}
}

// A16: the client itself prints nothing, asks the terminal nothing.
func TestA16NoQueries(t *testing.T) {
	_, term := start(t, spawntest.Self(), "true")
	if code := term.Wait(); code != 0 || len(printed(term)) != 0 {
		t.Errorf("status %d, output %q", code, term.Output())
	}
}
