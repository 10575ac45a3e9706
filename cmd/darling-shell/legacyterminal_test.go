package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// legacyTerminal starts a client on an outer terminal and waits for its request.
func legacyTerminal(t *testing.T, d *spawntest.LegacyDaemon, cmd *exec.Cmd) (*spawntest.Terminal, *spawntest.LegacyConn) {
	t.Helper()
	term := spawntest.OpenTerminal(t, d.Who)
	term.Resize(31, 97, 970, 620)
	settings := term.Settings()
	settings.Cc[unix.VINTR], settings.Iflag = 7, settings.Iflag^unix.IXON
	term.Set(settings)
	term.Start(cmd)
	return term, d.AcceptRequest()
}

// On a terminal the client makes a pty and passes its subsidiary three times. It has
// the size and the settings of the outer terminal before GO. A4, A11
func TestLegacyPty(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartLegacyDaemon(t, who)
		term, conn := legacyTerminal(t, d, d.Client())
		fd := int(conn.Files[0].Fd())
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil || *size != (unix.Winsize{Row: 31, Col: 97, Xpixel: 970, Ypixel: 620}) {
			t.Errorf("size %+v, %v", size, err)
		}
		inner, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || inner.Cc[unix.VINTR] != 7 || inner.Lflag&unix.ICANON == 0 {
			t.Errorf("settings %+v, %v", inner, err)
		}
		var names []string
		for _, f := range conn.Files {
			name, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(int(f.Fd()))))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		if names[0] == term.Name() || !strings.HasPrefix(names[0], "/dev/pts/") || names[1] != names[0] || names[2] != names[0] {
			t.Errorf("descriptors %q; the outer terminal is %s", names, term.Name())
		}
		conn.End(4)
		if code := term.Wait(); code != 4 {
			t.Errorf("status %d, want 4", code)
		}
	})
}

// What is no terminal goes as it is: stderr to a file. C4
func TestLegacyPtyAndFile(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	file, err := os.Create(filepath.Join(d.Prefix, "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := d.Client("true")
	cmd.Stderr = file
	term, conn := legacyTerminal(t, d, cmd)
	ours, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := conn.Files[2].Stat()
	if err != nil || !os.SameFile(ours, theirs) {
		t.Errorf("stderr is not the file (%v)", err)
	}
	for i := range 2 {
		if _, err := unix.IoctlGetTermios(int(conn.Files[i].Fd()), unix.TCGETS); err != nil {
			t.Errorf("descriptor %d is no terminal: %v", i, err)
		}
	}
	conn.End(0)
	term.Wait()
}

// A3: the terminal is given back as it was on every way out, and messages are one
// line each.
func TestLegacyRestored(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartLegacyDaemon(t, who)
		for name, row := range map[string]struct {
			end  func(conn *spawntest.LegacyConn, term *spawntest.Terminal)
			code int
			say  string
		}{
			"status":        {func(conn *spawntest.LegacyConn, _ *spawntest.Terminal) { conn.End(0) }, 0, ""},
			"no status":     {func(conn *spawntest.LegacyConn, _ *spawntest.Terminal) { conn.Close() }, 125, d.Socket},
			"daemon hangs":  {func(_ *spawntest.LegacyConn, term *spawntest.Terminal) { term.Signal(unix.SIGTERM) }, 125, "SIGTERM"},
			"SIGHUP, hangs": {func(_ *spawntest.LegacyConn, term *spawntest.Terminal) { term.Signal(unix.SIGHUP) }, 125, "SIGHUP"},
		} {
			t.Run(name, func(t *testing.T) {
				term, conn := legacyTerminal(t, d, d.Client("true"))
				spawntest.Eventually(t, "raw mode", term.Raw)
				row.end(conn, term)
				if code := term.WaitProgram(); code != row.code {
					t.Errorf("status %d, want %d", code, row.code)
				}
				if after := term.Settings(); after.Cc[unix.VINTR] != 7 || after.Lflag&unix.ICANON == 0 || after.Lflag&unix.ECHO == 0 || after.Oflag&unix.OPOST == 0 {
					t.Errorf("settings after the end: %+v", after)
				}
				conn.Close()
				term.Wait()
				if row.say != "" {
					legacyLine(t, string(term.Output()), row.say)
				} else if out := term.Output(); len(out) != 0 {
					t.Errorf("printed %q", out)
				}
			})
		}
	})
}

// With a terminal signals go as they are. A resize is applied to the pty, and
// told. A5, B6
func TestLegacyTerminalSignals(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	term, conn := legacyTerminal(t, d, d.Client("sleep", "1000"))
	spawntest.Eventually(t, "raw mode", term.Raw)
	term.Signal(unix.SIGINT)
	expectSignal(t, conn, unix.SIGINT)
	term.Resize(12, 34, 56, 78)
	expectSignal(t, conn, unix.SIGWINCH)
	size, err := unix.IoctlGetWinsize(int(conn.Files[0].Fd()), unix.TIOCGWINSZ)
	if err != nil || *size != (unix.Winsize{Row: 12, Col: 34, Xpixel: 56, Ypixel: 78}) {
		t.Errorf("size %+v, %v, when SIGWINCH arrives", size, err)
	}
	term.Signal(unix.SIGUSR1)
	expectSignal(t, conn, unix.SIGUSR1)
	conn.End(0)
	term.Wait()
}

// A9: the client stops with the job, and gives the terminal back meanwhile.
func TestLegacySuspend(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	term := spawntest.OpenTerminal(t, d.Who)
	shell := d.Client()
	shell.Path, shell.Args = spawntest.Helper(t, "spawntest-jobs"), []string{"spawntest-jobs"}
	jobs := spawntest.StartJobs(term, shell)
	client := jobs.Run(spawntest.ClientPath(t), "sleep", "1000")
	conn := d.AcceptRequest()
	before := term.Settings()
	for range 3 {
		spawntest.Eventually(t, "raw mode", term.Raw)
		if err := unix.Kill(client, unix.SIGTSTP); err != nil {
			t.Fatal(err)
		}
		expectSignal(t, conn, unix.SIGTSTP)
		jobs.Expect("stopped")
		if term.Raw() {
			t.Errorf("raw while stopped; was %+v", before)
		}
		jobs.Foreground()
		expectSignal(t, conn, unix.SIGCONT)
	}
	spawntest.Eventually(t, "raw mode", term.Raw)
	conn.End(6)
	if code := jobs.Exited(); code != 6 {
		t.Errorf("status %d, want 6", code)
	}
}

// An interactive shell through a daemon of the old dialect: keys, job, output to
// the last byte, status. A1, A7
func TestLegacyInteractive(t *testing.T) {
	spawntest.EachUser(t, func(t *testing.T, who spawntest.Who) {
		d := spawntest.StartLegacyDaemon(t, who)
		served := d.Serve()
		term := spawntest.OpenTerminal(t, who)
		term.Start(d.Client("-c", "exec bash --norc --noprofile -i"))
		term.Send("PS1='prom''pt '\r")
		term.Expect("prompt ")
		term.Send("tty; sleep 1000\r")
		term.Expect(`/dev/pts/\d+\r\n`)
		legacyJob(t, "sleep")
		term.Send("\x03")
		term.Expect("prompt ")
		term.Send("seq 1 50000; exit 9\r")
		if code := term.Wait(); code != 9 {
			t.Errorf("status %d, want 9", code)
		}
		if out := string(term.Output()); !strings.Contains(out, "\r\n49999\r\n50000\r\n") || strings.Contains(out, "no job control") {
			t.Errorf("the output ends %q", out[max(0, len(out)-200):])
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// legacyJob waits until a program of that name that the test's own daemon has
// started through a shell is the foreground job of its session.
func legacyJob(t *testing.T, name string) {
	t.Helper()
	spawntest.Eventually(t, "job in the foreground", func() bool {
		return slices.ContainsFunc(spawntest.Descendants(os.Getpid()), func(p spawntest.Process) bool {
			return p.Name == name && p.Foreground == p.Group && p.Session != p.PID
		})
	})
}

// D10 on a terminal: it is never put into raw mode for a daemon that does not
// answer.
func TestLegacyDaemonForNewTerminal(t *testing.T) {
	d := spawntest.StartLegacyDaemon(t, spawntest.Self())
	cmd := d.Client()
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "DPREFIX=") })
	cmd.Env = append(cmd.Env, "SHELLSPAWN_SOCKET="+d.Socket)
	term := spawntest.OpenTerminal(t, d.Who).Start(cmd)
	conn := d.Accept()
	if err := conn.ReadRequest(); err == nil {
		t.Errorf("an old daemon accepts %v", conn.Request)
	}
	if term.Raw() {
		t.Error("raw mode before an answer")
	}
	conn.Close()
	if code := term.Wait(); code != 125 || !strings.Contains(string(term.Output()), "--legacy") {
		t.Errorf("status %d, %q", code, term.Output())
	}
}
