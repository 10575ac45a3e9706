package spawntest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Daemon is a running shellspawn with a socket of its own.
type Daemon struct {
	Socket string
	Dir    string // private to the daemon's user; gone after the test
	PID    int
	Who    Who

	t         testing.TB
	under     []string // what the daemon is started through
	args      []string
	daemonEnv []string
	attr      *syscall.SysProcAttr
	cmd       *exec.Cmd
	env       []string
	raceDir   string
	panicking bool
	ended     chan struct{} // closed once the process has been waited for
	orphans   []Process     // left behind by Kill
}

// Option changes how StartDaemon starts the daemon.
type Option func(*Daemon)

// Args adds arguments to the command line, after "serve --socket PATH".
func Args(args ...string) Option {
	return func(d *Daemon) { d.args = append(d.args, args...) }
}

// AsUser runs the daemon, and the clients made by Client and Run, as who.
func AsUser(who Who) Option {
	return func(d *Daemon) { d.Who = who }
}

// Env adds variables to the daemon's environment, as NAME=VALUE.
func Env(vars ...string) Option {
	return func(d *Daemon) { d.daemonEnv = append(d.daemonEnv, vars...) }
}

// Under starts the daemon through another program, which must end in an exec of
// its last arguments, as nohup, taskset, setpriv and some helpers do.
func Under(argv ...string) Option {
	return func(d *Daemon) { d.under = append(argv, d.under...) }
}

// Attr sets attributes of the new process.
func Attr(attr *syscall.SysProcAttr) Option {
	return func(d *Daemon) { d.attr = attr }
}

// MayPanic accepts panics in the log, for tests that cause them.
func MayPanic() Option {
	return func(d *Daemon) { d.panicking = true }
}

// StartDaemon starts a daemon in the foreground and returns once its socket
// accepts connections. Its shell is /bin/bash unless Args says otherwise.
//
// When the test ends the daemon gets SIGTERM; the test fails if it then does
// not exit with 0, or if it ever printed a panic or a data race.
func StartDaemon(t testing.TB, options ...Option) *Daemon {
	t.Helper()
	d := &Daemon{t: t, Who: Self(), ended: make(chan struct{})}
	for _, option := range options {
		option(d)
	}
	d.Dir = d.Who.TempDir(t)
	d.Socket = filepath.Join(d.Dir, "s")
	d.makeRaceDir()
	d.start()
	t.Cleanup(d.finish)
	d.waitAccepting()
	return d
}

func (d *Daemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	argv := append(d.under, DaemonPath(d.t), "serve", "--socket", d.Socket, "--shell", "/bin/bash")
	argv = append(argv, d.args...)
	d.env = d.baseEnv()
	d.cmd = exec.Command(argv[0], argv[1:]...)
	d.cmd.Env = append(d.baseEnv(), d.daemonEnv...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = d.attr
	if err := d.Who.As(d.cmd).Start(); err != nil {
		d.t.Fatalf("start the daemon: %v", err)
	}
	d.PID = d.cmd.Process.Pid
	keep(d.t, d.PID)
	go func() {
		_ = d.cmd.Wait() // judged by finish, from ProcessState
		close(d.ended)
	}()
}

// makeRaceDir makes the directory that race reports go to: there they cannot be
// overlooked, also when a client prints them onto a terminal in raw mode. A
// client of another user must be able to write there.
func (d *Daemon) makeRaceDir() {
	d.raceDir = Self().TempDir(d.t)
	if err := os.Chmod(d.raceDir, 0o777|os.ModeSticky); err != nil {
		d.t.Fatal(err)
	}
}

// baseEnv is the same whatever the environment of the test is.
func (d *Daemon) baseEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + d.Dir, "TERM=xterm", "LANG=C.UTF-8",
		"GORACE=exitcode=66 log_path=" + filepath.Join(d.raceDir, "race"),
	}
}

func (d *Daemon) logPath() string { return filepath.Join(d.Dir, "log") }

// waitAccepting dials until the socket accepts.
func (d *Daemon) waitAccepting() {
	d.t.Helper()
	Eventually(d.t, "daemon that accepts", func() bool {
		select {
		case <-d.ended:
			d.t.Fatalf("daemon ended at once: %v\n%s", d.cmd.ProcessState, d.Log())
		default:
		}
		conn, err := net.Dial("unix", d.Socket)
		if err == nil {
			_ = conn.Close() // it was opened for nothing else
		}
		return err == nil
	})
}

// Log returns what the daemon has printed so far.
func (d *Daemon) Log() string {
	text, _ := os.ReadFile(d.logPath())
	return string(text)
}

// WaitLog waits until the daemon has printed this text. What it logs it writes when
// clients have had their answers.
func (d *Daemon) WaitLog(text string) {
	d.t.Helper()
	if !Within(Deadline, func() bool { return strings.Contains(d.Log(), text) }) {
		d.t.Fatalf("the log does not say %q:\n%s", text, tail([]byte(d.Log())))
	}
}

// Threads counts the daemon's threads.
func (d *Daemon) Threads() int { return Threads(d.PID) }

// FDs maps the daemon's open descriptors to what they refer to.
func (d *Daemon) FDs() map[int]string { return FDs(d.PID) }

// Children lists the daemon's children: the running shells, and zombies.
func (d *Daemon) Children() []Process { return Children(d.PID) }

// Signal sends the daemon a signal.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatalf("signal the daemon: %v", err)
	}
}

// Freeze stops the daemon as a debugger would, and returns once none of its
// threads runs any more. Thaw, or the end of the test, lets it go on.
func (d *Daemon) Freeze() {
	d.t.Helper()
	d.Signal(syscall.SIGSTOP)
	Eventually(d.t, "frozen daemon", func() bool { return Stopped(d.PID) })
}

// Thaw lets a frozen daemon go on.
func (d *Daemon) Thaw() {
	d.t.Helper()
	d.Signal(syscall.SIGCONT)
}

// Kill ends the daemon with SIGKILL and waits until it is gone. What it leaves
// running is killed when the test ends.
func (d *Daemon) Kill() {
	d.t.Helper()
	d.orphans = append(d.orphans, Descendants(d.PID)...)
	d.Signal(syscall.SIGKILL)
	<-d.ended
}

// WaitExit waits until the daemon has ended by itself and returns its state.
func (d *Daemon) WaitExit() *os.ProcessState {
	d.t.Helper()
	if !d.endsWithin(Deadline) {
		d.t.Fatalf("the daemon did not end within %v\n%s", Deadline, d.Log())
	}
	return d.cmd.ProcessState
}

func (d *Daemon) endsWithin(limit time.Duration) bool {
	select {
	case <-d.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// finish stops the daemon if it still runs, and judges it.
func (d *Daemon) finish() {
	select {
	case <-d.ended:
	default:
		d.stop()
	}
	for _, p := range d.orphans {
		if p.Same() {
			_ = syscall.Kill(p.PID, syscall.SIGKILL) // it may end by itself first
		}
	}
	if log := d.Log(); !d.panicking && (strings.Contains(log, "panic:") || strings.Contains(log, "\ngoroutine ")) {
		d.t.Errorf("the daemon panicked")
	}
	reports, _ := filepath.Glob(filepath.Join(d.raceDir, "race*"))
	for _, report := range reports {
		text, _ := os.ReadFile(report)
		d.t.Errorf("data race:\n%s", text)
	}
	if d.t.Failed() {
		d.t.Logf("the daemon's log ends:\n%s", tail([]byte(d.Log())))
	}
}

func (d *Daemon) stop() {
	d.orphans = append(d.orphans, Descendants(d.PID)...)
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may be ending already
	_ = d.cmd.Process.Signal(syscall.SIGCONT) // or be frozen
	if !d.endsWithin(Deadline) {
		d.t.Errorf("the daemon did not stop within %v of SIGTERM", Deadline)
		_ = d.cmd.Process.Kill()
		<-d.ended
		return
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the daemon stopped with %v, want exit status 0", d.cmd.ProcessState)
	}
}

// tail cuts text down to what fits into a test's log.
func tail(text []byte) []byte {
	const most = 4000
	if len(text) <= most {
		return text
	}
	return bytes.Join([][]byte{fmt.Appendf(nil, "[%d bytes]", len(text)-most), text[len(text)-most:]}, nil)
}
