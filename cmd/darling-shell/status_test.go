package main_test

import (
	"bytes"
	"fmt"
	"os"
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

// B1: every exit status passes through.
func TestB1ExitStatus(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		eachMode(t, func(t *testing.T, flag string) {
			for want := range 256 {
				if _, errs, code := d.Run(nil, flag, "sh", "-c", "exit "+strconv.Itoa(want)); code != want || len(errs) != 0 {
					t.Errorf("status %d, want %d: %s", code, want, errs)
				}
			}
		})
	})
}

// B1: a program killed by signal s gives 128+s, never 0.
func TestB1KilledBySignal(t *testing.T) {
	d := spawntest.StartDaemon(t)
	harmless := map[syscall.Signal]bool{
		unix.SIGCHLD: true, unix.SIGCONT: true, unix.SIGURG: true, unix.SIGWINCH: true,
		unix.SIGSTOP: true, unix.SIGTSTP: true, unix.SIGTTIN: true, unix.SIGTTOU: true,
		32: true, 33: true, // taken by libc
	}
	eachMode(t, func(t *testing.T, flag string) {
		for sig := syscall.Signal(1); sig <= 64; sig++ {
			if harmless[sig] {
				continue
			}
			// A shell ignores some signals, so it gives way to a program that does
			// not, while its child knocks until there is nobody left.
			script := fmt.Sprintf("ulimit -c 0; (while kill -%d $$; do :; done) 2>/dev/null & exec sleep 1000", sig)
			_, errs, code := d.Run(nil, flag, "sh", "-c", script)
			if code != 128+int(sig) || len(errs) != 0 {
				t.Errorf("signal %d: status %d, want %d: %s", sig, code, 128+sig, errs)
			}
		}
	})
}

// B2: what cannot be run gives the status that a shell gives, and one line that
// names the command and the reason. The shell itself is the oracle.
func TestB2CannotRun(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		plain, broken, loop := filepath.Join(d.Dir, "plain"), filepath.Join(d.Dir, "broken"), filepath.Join(d.Dir, "loop")
		write(t, plain, "text", 0o644)
		write(t, broken, "#!/no/such/interpreter\n", 0o755)
		write(t, filepath.Join(d.Dir, "format"), "\x7fELF and nothing more", 0o755)
		if err := os.Symlink("loop", loop); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			command string
			errno   syscall.Errno
			oracle  string
		}{
			{"no-such-program", unix.ENOENT, "bash"},
			{"/no/such/program", unix.ENOENT, "bash"},
			{"./no-such-program", unix.ENOENT, "bash"},
			{plain, unix.EACCES, "bash"},
			{plain + "/below", unix.ENOTDIR, "dash"}, // bash says 126
			{"/tmp", unix.EACCES, "bash"},
			{broken, unix.ENOENT, "bash"},
			{filepath.Join(d.Dir, "format"), unix.ENOEXEC, "bash"},
			{loop, unix.ELOOP, "bash"},
		} {
			_, _, want := d.Collect(d.Command(row.oracle, "-c", `"$0"`, row.command), nil)
			eachMode(t, func(t *testing.T, flag string) {
				out, errs, code := d.Run(nil, flag, row.command)
				if code != want || len(out) != 0 {
					t.Errorf("%s: status %d, want %d as from %s; output %q", row.command, code, want, row.oracle, out)
				}
				oneLine(t, errs, row.command, row.errno.Error())
			})
		}
	})
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// B2: arguments that are too long for the kernel. A client with a larger stack
// limit than the daemon's can be given more than the program can.
func TestB2ArgumentListTooLong(t *testing.T) {
	d := spawntest.StartDaemon(t)
	script := `ulimit -s unlimited; a=$(head -c 100000 /dev/zero | tr "\0" a); set -- "$@" $(for i in $(seq 40); do echo $a; done); exec "$0" "$@"`
	_, errs, code := d.Collect(d.Command("bash", "-c", script, spawntest.ClientPath(t), "true"), nil)
	if code != 126 {
		t.Errorf("status %d, want 126", code)
	}
	oneLine(t, errs, "true", unix.E2BIG.Error())
}

// B3: a daemon that is lost in the middle is never success.
func TestB3LostDaemon(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		eachMode(t, func(t *testing.T, flag string) {
			d := spawntest.StartDaemon(t, spawntest.AsUser(who))
			cmd := d.Client(flag, "sh", "-c", "echo started; exec sleep 1000")
			started := watchFor(cmd, "started")
			done := make(chan struct{})
			var errs []byte
			var code int
			go func() {
				defer close(done)
				_, errs, code = d.Collect(cmd, nil)
			}()
			await(t, "start of the program", started)
			d.Kill()
			<-done
			if code != 125 {
				t.Errorf("status %d, want 125", code)
			}
			oneLine(t, errs)
		})
	})
}

// B4: the status is the program's, also if stdin or stdout close first.
func TestB4ClosedStreams(t *testing.T) {
	d := spawntest.StartDaemon(t)
	eachMode(t, func(t *testing.T, flag string) {
		for name, script := range map[string]string{
			"program closes its streams": `exec <&- >&- 2>&-; sleep 0.2; exit 7`,
			"stdin ends first":           `sleep 0.2; exit 7`,
			"program ends at once":       `exit 7`,
		} {
			if _, errs, code := d.Run(nil, flag, "sh", "-c", script); code != 7 || len(errs) != 0 {
				t.Errorf("%s: status %d, want 7: %s", name, code, errs)
			}
		}
	})
	t.Run("reader goes away", func(t *testing.T) {
		script := `"$0" -T sh -c "trap '' PIPE; sleep 0.2; echo x 2>/dev/null; exit 7" | true; exit ${PIPESTATUS[0]}`
		if _, errs, code := d.Collect(d.Command("bash", "-c", script, spawntest.ClientPath(t)), nil); code != 7 || len(errs) != 0 {
			t.Errorf("status %d, want 7: %s", code, errs)
		}
	})
	t.Run("program closes its terminal", func(t *testing.T) {
		term := onTerminal(t, d, "sh", "-c", "exec <&- >&- 2>&-; sleep 0.2; exit 7")
		if code := term.Wait(); code != 7 {
			t.Errorf("status %d, want 7", code)
		}
	})
}

// B5: programs that end at once never hang and never lose their status.
// B9: and leave no zombie.
func TestB5ShortPrograms(t *testing.T) {
	t.Parallel()
	d := spawntest.StartDaemon(t)
	runs := spawntest.Count(20000, 20000)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for n := range numbers {
				flag, program, want := "-T", "true", 0
				if n%2 == 1 {
					program, want = "false", 1
				}
				if n%10 >= 8 {
					flag = "-t"
				}
				if code := runQuiet(t, d, flag, program); code != want {
					t.Errorf("run %d of %s %s: status %d, want %d", n, flag, program, code, want)
				}
			}
		})
	}
	for n := range runs {
		numbers <- n
	}
	close(numbers)
	workers.Wait()
	spawntest.Eventually(t, "daemon without children", func() bool { return len(d.Children()) == 0 })
}

// runQuiet runs a client on /dev/null, which costs the least.
func runQuiet(t *testing.T, d *spawntest.Daemon, args ...string) int {
	cmd := d.Client(args...)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return -1
	}
	watchdog := time.AfterFunc(spawntest.Deadline, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = cmd.Wait() // the status tells all
	return spawntest.Code(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// B9: whatever has run, no zombie stays.
func TestB9NoZombies(t *testing.T) {
	d := spawntest.StartDaemon(t)
	for range spawntest.Count(30, 100) {
		d.Run(nil, "true")
		d.Run(nil, "-t", "true")
		d.Run(nil, "no-such-program")
		d.Run(nil, "-t", "/tmp")
		d.Run(nil, "-C", "/no/such/directory", "true")
		d.Run(nil, "sh", "-c", "(exit 3) & exit 4")
		cmd := d.Client("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill() // at whatever moment this hits
		_ = cmd.Wait()
	}
	spawntest.Eventually(t, "daemon without children", func() bool { return len(d.Children()) == 0 })
}

// B9: as child subreaper, or as process 1, the daemon reaps orphans, and no
// status is taken from a shell by that.
func TestB9Orphans(t *testing.T) {
	t.Run("subreaper", func(t *testing.T) {
		spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
			orphans(t, spawntest.AsUser(who), spawntest.Under(spawntest.Helper(t, "spawntest-subreaper")))
		})
	})
	t.Run("process 1", func(t *testing.T) {
		spawntest.NeedRoot(t)
		attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
		orphans(t, spawntest.Attr(attr), spawntest.Under(spawntest.Helper(t, "spawntest-pid1")))
	})
}

func orphans(t *testing.T, options ...spawntest.Option) {
	d := spawntest.StartDaemon(t, options...)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range spawntest.Count(40, 200) {
				_, errs, code := d.Run(nil, "sh", "-c", "(exit 3) & (sleep 0.01; exit 4) >/dev/null 2>&1 & exit 7")
				if code != 7 || len(errs) != 0 {
					t.Errorf("status %d, want 7: %s", code, errs)
				}
			}
		})
	}
	workers.Wait()
	spawntest.Eventually(t, "daemon without children", func() bool { return len(d.Children()) == 0 })
	// One that lives shows that orphans come to the daemon at all.
	if _, _, code := d.Run(nil, "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & exit 0"); code != 0 {
		t.Errorf("status %d", code)
	}
	spawntest.Eventually(t, "orphan", func() bool { return len(d.Children()) == 1 })
	if err := syscall.Kill(d.Children()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	spawntest.Eventually(t, "reaped orphan", func() bool { return len(d.Children()) == 0 })
}

// B12: a daemon that is told to stop hangs every shell up, delivers every
// status, kills what does not go, removes its socket and exits with 0.
func TestB12Stop(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		eachMode(t, func(t *testing.T, flag string) {
			d := spawntest.StartDaemon(t, spawntest.AsUser(who), spawntest.Args("--hangup-grace", "1s"))
			programs := []struct {
				script string
				want   int
			}{
				{`echo started; exec sleep 1000`, 129},
				{`trap "exit 3" HUP; echo started; while :; do sleep 0.05; done`, 3},
				{`trap "" HUP; echo started; while :; do sleep 0.05; done`, 137},
			}
			var clients sync.WaitGroup
			for _, program := range programs {
				cmd := d.Client(flag, "sh", "-c", program.script)
				started := watchFor(cmd, "started")
				clients.Go(func() {
					if _, errs, code := d.Collect(cmd, nil); code != program.want {
						t.Errorf("%s: status %d, want %d: %s", program.script, code, program.want, errs)
					}
				})
				await(t, "start of the program", started)
			}
			spawntest.Eventually(t, "three shells in the log", func() bool { return strings.Count(d.Log(), "msg=start ") == 3 })
			began := time.Now()
			d.Signal(unix.SIGTERM)
			if code := d.WaitExit().ExitCode(); code != 0 {
				t.Errorf("the daemon exits with %d", code)
			}
			// The grace of one second, and what a busy machine takes.
			if took := time.Since(began); took > 9*time.Second {
				t.Errorf("it took %v", took)
			}
			clients.Wait()
			if _, err := os.Lstat(d.Socket); !os.IsNotExist(err) {
				t.Errorf("the socket is still there: %v", err)
			}
			_, errs, code := d.Run(nil, "true")
			if code != 125 {
				t.Errorf("status %d after the stop, want 125", code)
			}
			oneLine(t, bytes.SplitAfter(errs, []byte("\n"))[0], d.Socket)
		})
	})
}

// C6: nothing needs a terminal anywhere, as in cron and CI.
func TestC6NoTerminal(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartDaemon(t, spawntest.AsUser(who))
		for name, args := range map[string][]string{
			"program":        {"sh", "-c", "echo hello; exit 3"},
			"forced pty":     {"-t", "sh", "-c", "test -t 0 && test -t 1 && ! test -t 2 && echo hello; exit 3"},
			"shell":          {"-c", "echo hello; exit 3"},
			"pty and string": {"-t", "-c", "tty >/dev/null && echo hello; exit 3"},
		} {
			cmd := d.Client(args...)
			if cmd.SysProcAttr == nil {
				cmd.SysProcAttr = new(syscall.SysProcAttr)
			}
			cmd.SysProcAttr.Setsid = true
			out, errs, code := d.Collect(cmd, nil)
			if strings.TrimRight(string(out), "\r\n") != "hello" || code != 3 || len(errs) != 0 {
				t.Errorf("%s: %q, status %d, %s", name, out, code, errs)
			}
		}
		// A login shell that reads its commands from a pipe.
		out, _, code := d.Run([]byte("echo hel''lo\nexit 3\n"))
		if !strings.Contains(string(out), "hello") || code != 3 {
			t.Errorf("login shell on a pipe: %q, status %d", out, code)
		}
	})
}
