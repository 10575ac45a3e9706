package spawntest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

func TestMain(m *testing.M) { os.Exit(spawntest.Main(m)) }

// A program on the terminal is a session leader with it as controlling
// terminal, has its size and its settings, and all its output is collected.
func TestTerminal(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		term := spawntest.OpenTerminal(t, who)
		term.Resize(31, 97, 970, 620)
		term.Start(exec.Command("sh", "-c", "stty size; tty; stty -echo intr ^G; seq 1 20000; exit 3"))
		term.Expect(`31 97\r\n`)
		term.Expect(term.Name() + `\r\n`)
		if code := term.Wait(); code != 3 {
			t.Errorf("status %d, want 3", code)
		}
		if !strings.HasSuffix(string(term.Output()), "\r\n19999\r\n20000\r\n") {
			t.Errorf("output ends %q", term.Output()[len(term.Output())-20:])
		}
		settings := term.Settings()
		if settings.Cc[unix.VINTR] != 7 || settings.Lflag&unix.ECHO != 0 {
			t.Errorf("settings after the end %+v, want intr 7 and no echo", settings)
		}
	})
}

// What is typed reaches the program, and signals come from keys.
func TestTerminalKeys(t *testing.T) {
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.Start(exec.Command("sh", "-c", "read line; echo got-$line; exec sleep 1000"))
	term.Send("hello\n")
	term.Expect("got-hello")
	term.Send("\x03")
	if code := term.Wait(); code != -int(syscall.SIGINT) {
		t.Errorf("status %d, want -2", code)
	}
}

// A paused reader leaves everything in the terminal, and loses nothing.
func TestTerminalPause(t *testing.T) {
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.PauseReading()
	term.Start(exec.Command("sh", "-c", "seq 1 1000; echo done"))
	term.WaitProgram()
	if got := term.Output(); len(got) != 0 {
		t.Errorf("read %d bytes while paused", len(got))
	}
	term.ResumeReading()
	term.Expect("1000\r\ndone\r\n")
}

// The size as the helper sees it, at its start and after changes.
func TestHelperWinsize(t *testing.T) {
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.Resize(5, 6, 7, 8)
	term.Start(exec.Command(spawntest.Helper(t, "spawntest-winsize")))
	term.Expect(`size 5 6 7 8\.`)
	term.Resize(0, 0, 0, 0)
	term.Expect(`size 0 0 0 0\.`)
	term.Send("\n")
	if code := term.Wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// Signals are reported by the whole group, SIGURG included.
func TestHelperSignals(t *testing.T) {
	term := spawntest.OpenTerminal(t, spawntest.Self())
	term.Start(exec.Command(spawntest.Helper(t, "spawntest-signals"), "p", "1"))
	term.Expect("p ready")
	term.Expect("p1 ready")
	for _, sig := range []syscall.Signal{unix.SIGURG, unix.SIGUSR1, unix.SIGTSTP} {
		if err := syscall.Kill(-term.PID(), sig); err != nil {
			t.Fatal(err)
		}
		term.Expect(`p1? ` + unix.SignalName(sig))
		term.Expect(`p1? ` + unix.SignalName(sig))
	}
	term.Send("exit 9\n")
	if code := term.Wait(); code != 9 {
		t.Errorf("status %d, want 9", code)
	}
}

// The job shell sees stops and ends, hands the terminal over, and leaves the
// settings alone.
func TestJobs(t *testing.T) {
	term := spawntest.OpenTerminal(t, spawntest.Self())
	jobs := startJobs(t, term)
	pid := jobs.Run("sh", "-c", "stty -echo; echo here; read x; exit 4")
	term.Expect("here")
	if got := term.Foreground(); got != pid {
		t.Errorf("foreground group %d, want that of the job, %d", got, pid)
	}
	if err := syscall.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if event := jobs.Expect("stopped"); event.Code != int(unix.SIGSTOP) {
		t.Errorf("stopped by %d", event.Code)
	}
	if got := term.Foreground(); got != term.PID() {
		t.Errorf("foreground group %d while stopped, want that of the job shell, %d", got, term.PID())
	}
	jobs.Foreground()
	term.Send("x\n")
	if code := jobs.Exited(); code != 4 {
		t.Errorf("status %d, want 4", code)
	}
	if term.Settings().Lflag&unix.ECHO != 0 {
		t.Error("the job's settings are gone")
	}
	term.Send("typed\n")
	if got := jobs.Line(); got != "typed\n" {
		t.Errorf("line %q", got)
	}
}

// startJobs starts the job shell with no daemon behind it.
func startJobs(t *testing.T, term *spawntest.Terminal) *spawntest.Jobs {
	return spawntest.StartJobs(term, exec.Command(spawntest.Helper(t, "spawntest-jobs")))
}

// The disturbing helper passes on what it promises.
func TestHelperDisturbed(t *testing.T) {
	out, err := exec.Command(spawntest.Helper(t, "spawntest-disturbed"), "cat", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	masks := map[string]uint64{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(line, ":")
		masks[name], _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
	}
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGCHLD, unix.SIGPIPE, unix.SIGTSTP, 40} {
		bit := uint64(1) << (sig - 1)
		if masks["SigIgn"]&bit == 0 || masks["SigBlk"]&bit == 0 {
			t.Errorf("signal %d is not both ignored and blocked: %x, %x", sig, masks["SigIgn"], masks["SigBlk"])
		}
	}
}

func TestHelperArgs(t *testing.T) {
	out, err := exec.Command(spawntest.Helper(t, "spawntest-args"), "", "a\xff").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got [][]int
	if err := json.Unmarshal(out, &got); err != nil || len(got) != 2 || len(got[0]) != 0 || got[1][1] != 0xff {
		t.Errorf("%s: %v", out, err)
	}
}
