package spawntest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is the outer terminal of a test: a pty whose master the test holds,
// as a terminal emulator would, and on which one program is started.
//
// Everything printed on it is collected at once, unless PauseReading or SlowTo
// hold it back. The methods end the test where something does not happen
// within Limit, and print what the terminal showed last.
type Terminal struct {
	// Limit is how long Expect and Wait wait; it starts as Deadline.
	Limit time.Duration

	t      testing.TB
	master *os.File // non-blocking, so that deadlines work
	peer   *os.File // keeps the terminal alive until Wait
	closed sync.Once
	number int
	who    Who

	cmd   *exec.Cmd
	ended chan struct{} // closed once the program has been waited for

	mu      sync.Mutex
	changed *sync.Cond // output, done, paused or holding changed
	output  []byte
	done    bool // the reader has seen the end
	paused  bool // asked for
	holding bool // the reader has obeyed
	rate    int  // bytes per second, 0 for as fast as possible
	seen    int  // output before this was matched by Expect
}

// OpenTerminal opens a terminal of 24 rows and 80 columns that belongs to who.
// It is closed when the test ends, and what runs on it gets SIGHUP then.
func OpenTerminal(t testing.TB, who Who) *Terminal {
	t.Helper()
	term := &Terminal{Limit: Deadline, t: t, who: who, ended: make(chan struct{})}
	term.changed = sync.NewCond(&term.mu)
	if err := term.open(); err != nil {
		t.Fatal(err)
	}
	term.Resize(24, 80, 0, 0)
	go term.read()
	t.Cleanup(term.Close)
	return term
}

func (term *Terminal) open() error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/ptmx: %w", err)
	}
	term.master = os.NewFile(uintptr(fd), "outer terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return os.NewSyscallError("TIOCSPTLCK", err)
	}
	if term.number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
		return os.NewSyscallError("TIOCGPTN", err)
	}
	return term.openPeer(fd)
}

// openPeer opens the subsidiary by its descriptor and not by its name, which
// may lie in another devpts. TIOCGPTPEER takes flags, see ioctl_tty(2).
func (term *Terminal) openPeer(master int) error {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return os.NewSyscallError("TIOCGPTPEER", errno)
	}
	term.peer = os.NewFile(fd, "outer terminal's subsidiary")
	if term.who.UID == os.Getuid() {
		return nil
	}
	return term.peer.Chown(term.who.UID, term.who.GID)
}

// control calls f with the master's descriptor. Fd would do, but would also put
// the master into blocking mode, in which no deadline wakes a read.
func (term *Terminal) control(f func(fd int) error) error {
	raw, err := term.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Name is the path of the terminal, such as /dev/pts/7.
func (term *Terminal) Name() string { return fmt.Sprintf("/dev/pts/%d", term.number) }

// File is the subsidiary, for programs that are to have the terminal as one of
// their descriptors without Start. It stays open until Wait or the test's end.
func (term *Terminal) File() *os.File { return term.peer }

// Resize changes the size of the terminal: rows, columns, and pixels.
func (term *Terminal) Resize(rows, cols, xpixel, ypixel int) {
	term.t.Helper()
	size := unix.Winsize{Row: uint16(rows), Col: uint16(cols), Xpixel: uint16(xpixel), Ypixel: uint16(ypixel)}
	if err := term.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size) }); err != nil {
		term.t.Fatalf("resize the terminal: %v", err)
	}
}

// Settings reads the terminal's settings, as stty on it would.
func (term *Terminal) Settings() (settings unix.Termios) {
	term.t.Helper()
	err := term.control(func(fd int) error {
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			settings = *got
		}
		return err
	})
	if err != nil {
		term.t.Fatalf("read the terminal's settings: %v", err)
	}
	return settings
}

// Set changes the terminal's settings.
func (term *Terminal) Set(settings unix.Termios) {
	term.t.Helper()
	if err := term.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, &settings) }); err != nil {
		term.t.Fatalf("change the terminal's settings: %v", err)
	}
}

// Raw reports whether the terminal is in raw mode.
func (term *Terminal) Raw() bool {
	term.t.Helper()
	return term.Settings().Lflag&(unix.ICANON|unix.ECHO) == 0
}

// Foreground is the foreground process group of the terminal.
func (term *Terminal) Foreground() (group int) {
	term.t.Helper()
	err := term.control(func(fd int) (err error) {
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	if err != nil {
		term.t.Fatalf("read the foreground process group: %v", err)
	}
	return group
}

// Start starts a program on the terminal, as leader of a session whose
// controlling terminal it is. Streams that cmd already names stay as they are;
// a program that has none of the three there finds the terminal as a further one.
func (term *Terminal) Start(cmd *exec.Cmd) *Terminal {
	term.t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	cmd.SysProcAttr.Ctty = term.attach(cmd)
	if err := term.who.As(cmd).Start(); err != nil {
		term.t.Fatal(err)
	}
	term.cmd = cmd
	go func() {
		_ = cmd.Wait() // judged by the test, from what Wait returns
		close(term.ended)
	}()
	return term
}

// attach gives the terminal to every standard stream that cmd leaves open, and
// returns the number of a descriptor that is the terminal in the child.
func (term *Terminal) attach(cmd *exec.Cmd) (ctty int) {
	ctty = -1
	if cmd.Stdin == nil {
		cmd.Stdin, ctty = term.peer, 0
	}
	if cmd.Stdout == nil {
		cmd.Stdout, ctty = term.peer, 1
	}
	if cmd.Stderr == nil {
		cmd.Stderr, ctty = term.peer, 2
	}
	if ctty < 0 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, term.peer)
		ctty = 2 + len(cmd.ExtraFiles)
	}
	return ctty
}

// PID is the process that Start started.
func (term *Terminal) PID() int { return term.cmd.Process.Pid }

// Signal sends a signal to the process that Start started.
func (term *Terminal) Signal(sig syscall.Signal) {
	term.t.Helper()
	if err := term.cmd.Process.Signal(sig); err != nil {
		term.t.Fatalf("signal the program on the terminal: %v", err)
	}
}

// Send types on the terminal. It blocks while the terminal takes no more.
func (term *Terminal) Send(text string) {
	term.t.Helper()
	if _, err := io.WriteString(term.master, text); err != nil {
		term.t.Errorf("type on the terminal: %v", err)
	}
}

// read collects the output until the last subsidiary descriptor is closed.
func (term *Terminal) read() {
	buf := make([]byte, 64<<10)
	for {
		most := term.gate(len(buf))
		n, err := term.master.Read(buf[:most])
		term.mu.Lock()
		term.output = append(term.output, buf[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			term.done = true
		}
		done := term.done
		term.changed.Broadcast()
		term.mu.Unlock()
		if done {
			return
		}
	}
}

// gate waits while reading is paused, and says how much may be read next.
func (term *Terminal) gate(most int) int {
	term.mu.Lock()
	for term.paused {
		term.holding = true
		term.changed.Broadcast()
		term.changed.Wait()
	}
	term.holding = false
	rate := term.rate
	term.mu.Unlock()
	if rate == 0 {
		return most
	}
	const perSecond = 20
	time.Sleep(time.Second / perSecond)
	return max(rate/perSecond, 1)
}

// PauseReading stops the reader, as a terminal emulator that hangs would. When
// it returns nothing more is read until ResumeReading.
func (term *Terminal) PauseReading() {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.paused = true
	_ = term.master.SetReadDeadline(time.Unix(1, 0)) // wakes the read that waits
	for !term.holding && !term.done {
		term.changed.Wait()
	}
}

// ResumeReading starts the reader again, at the rate SlowTo has set.
func (term *Terminal) ResumeReading() {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.paused = false
	_ = term.master.SetReadDeadline(time.Time{})
	term.changed.Broadcast()
}

// SlowTo makes the reader take n bytes a second, or as many as come where n is 0.
func (term *Terminal) SlowTo(n int) {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.rate = n
}

// Output returns everything that was read from the terminal so far.
func (term *Terminal) Output() []byte {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.output[:len(term.output):len(term.output)]
}

// Expect waits until the output after the last match matches the regular
// expression, and returns the match and its groups. Later calls look behind it.
func (term *Terminal) Expect(expr string) []string {
	term.t.Helper()
	match, ok := term.ExpectWithin(term.Limit, expr)
	if !ok {
		term.fatalf("no %q on the terminal", expr)
	}
	return match
}

// ExpectWithin is Expect with a deadline of its own that does not end the test.
func (term *Terminal) ExpectWithin(limit time.Duration, expr string) (match []string, ok bool) {
	re := regexp.MustCompile(expr)
	ok = term.await(limit, func() bool {
		at := re.FindSubmatchIndex(term.output[term.seen:])
		if at == nil {
			return false
		}
		fresh := term.output[term.seen:]
		for i := 0; i < len(at); i += 2 {
			group := ""
			if at[i] >= 0 {
				group = string(fresh[at[i]:at[i+1]])
			}
			match = append(match, group)
		}
		term.seen += at[1]
		return true
	})
	return match, ok
}

// Position is how much of the output Expect has passed. It gives ExpectBytes a
// place to count from.
func (term *Terminal) Position() int {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen
}

// ExpectBytes waits for n bytes after the last match, takes them, and returns them.
func (term *Terminal) ExpectBytes(n int) []byte {
	term.t.Helper()
	var got []byte
	ok := term.await(term.Limit, func() bool {
		if len(term.output) < term.seen+n {
			return false
		}
		got = term.output[term.seen : term.seen+n]
		term.seen += n
		return true
	})
	if !ok {
		term.fatalf("%d bytes on the terminal within %v, want %d", len(term.Output())-term.Position(), term.Limit, n)
	}
	return got
}

// await waits, with the lock held, until cond holds, the terminal is at its end
// or limit has passed, and reports whether cond holds.
func (term *Terminal) await(limit time.Duration, cond func() bool) bool {
	expired := false
	timer := time.AfterFunc(limit, func() {
		term.mu.Lock()
		defer term.mu.Unlock()
		expired = true
		term.changed.Broadcast()
	})
	defer timer.Stop()
	term.mu.Lock()
	defer term.mu.Unlock()
	for !cond() {
		if term.done || expired {
			return false
		}
		term.changed.Wait()
	}
	return true
}

// fatalf ends the test and shows what was on the terminal last.
func (term *Terminal) fatalf(format string, args ...any) {
	term.t.Helper()
	term.t.Fatalf("%s; the output ends:\n%q", fmt.Sprintf(format, args...), tail(term.Output()))
}

// Ended reports whether the program has ended within limit.
func (term *Terminal) Ended(limit time.Duration) bool {
	select {
	case <-term.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// WaitProgram waits until the program has ended and returns its exit status, or
// -N if signal N killed it. The terminal stays open.
func (term *Terminal) WaitProgram() int {
	term.t.Helper()
	if !term.Ended(term.Limit) {
		term.fatalf("%.200q did not end", term.cmd.Args)
	}
	return Code(term.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// Wait waits until the program has ended and all its output has been read, and
// returns its exit status, or -N if signal N killed it. The test's own hold on
// the subsidiary is given up, since only then the master tells its end.
func (term *Terminal) Wait() int {
	term.t.Helper()
	code := term.WaitProgram()
	_ = term.peer.Close() // closed for its effect on the master
	if !term.await(term.Limit, func() bool { return term.done }) {
		term.fatalf("something holds the terminal after %.200q has ended", term.cmd.Args)
	}
	return code
}

// Close hangs the terminal up and makes sure that nothing is left on it. It
// need not be called: the end of the test does.
func (term *Terminal) Close() {
	term.closed.Do(func() {
		_ = term.peer.Close() // Wait may have closed it
		term.ResumeReading()
		_ = term.master.Close() // hangs up what still runs here
		if term.cmd != nil && !term.Ended(Deadline/2) {
			term.t.Errorf("%.200q survived the end of its terminal", term.cmd.Args)
			_ = term.cmd.Process.Kill()
			<-term.ended
		}
		if term.t.Failed() {
			term.t.Logf("the terminal's output ends:\n%q", tail(term.Output()))
		}
	})
}
