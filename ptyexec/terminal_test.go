package ptyexec_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func isErrno(err error, want syscall.Errno) bool { return errors.Is(err, want) }

func init() {
	helpers["terminal"] = describeTerminal
	helpers["reopen"] = closeAndReopen
	helpers["controlling"] = func() { fmt.Println(controlling()) }
	helpers["unmapped group"] = startWithUnmappedGroup
}

// describeTerminal prints what a program can find out about its terminal.
func describeTerminal() {
	pid := os.Getpid()
	sid, _ := unix.Getsid(0)
	name, _ := os.Readlink("/proc/self/fd/0")
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	check(err == nil, "TIOCGPGRP: %v", err)
	size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	check(err == nil, "TIOCGWINSZ: %v", err)
	var st unix.Stat_t
	check(unix.Fstat(0, &st) == nil, "fstat")
	fmt.Println("leader", sid == pid, "group", unix.Getpgrp() == pid, "foreground", group == pid)
	fmt.Println("name", name)
	fmt.Println("size", size.Row, size.Col, size.Xpixel, size.Ypixel)
	fmt.Printf("owner %d group %d mode %#o\n", st.Uid, st.Gid, st.Mode&0o777)

	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	check(err == nil, "open /dev/tty: %v", err)
	fmt.Fprintln(tty, "through /dev/tty")
}

func controlling() string {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "no controlling terminal"
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return fmt.Sprintln("controlling terminal, group", group, err)
}

// TestTerminal has the program look at its terminal.
func TestTerminal(t *testing.T) { // A4, A6, A8, E6
	for _, size := range []unix.Winsize{{}, {Row: 24, Col: 80}, {Row: 50, Col: 132, Xpixel: 1320, Ypixel: 999}} {
		t.Run(fmt.Sprintf("%dx%d", size.Row, size.Col), func(t *testing.T) {
			s := helper("terminal")
			s.Terminal = &ptyexec.Terminal{Size: size}
			p := start(t, s)
			screen := openScreen(t, p)
			screen.expect("through /dev/tty")
			number, err := unix.IoctlGetInt(int(screen.file.Fd()), unix.TIOCGPTN)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("/dev/pts/%d", number); p.TTY() != want {
				t.Errorf("TTY %q, the master says %q", p.TTY(), want)
			}
			for _, want := range []string{
				"leader true group true foreground true",
				"name " + p.TTY(),
				fmt.Sprintln("size", size.Row, size.Col, size.Xpixel, size.Ypixel),
				fmt.Sprintf("owner %d ", os.Geteuid()),
			} {
				if !strings.Contains(screen.seen.String(), strings.TrimSpace(want)) {
					t.Errorf("no %q in %q", want, screen.seen.String())
				}
			}
			if status := wait(t, p); status != 0 {
				t.Error(status)
			}
		})
	}
}

// TestTerminalOwner has root give terminals to a user and to the group tty.
func TestTerminalOwner(t *testing.T) { // E6
	needRoot(t)
	s := sh("stat -L -c 'owner %u group %g mode %a' /proc/self/fd/0")
	s.Credential = &ptyexec.Credential{UID: 4321, GID: 4321}
	s.Terminal = &ptyexec.Terminal{Group: 5}
	openScreen(t, start(t, s)).expect("owner 4321 group 5 mode 620")

	s.Terminal = &ptyexec.Terminal{}
	openScreen(t, start(t, s)).expect("owner 4321 group ")
}

// TestTerminalForeignGroup asks for a group that this user may not give away:
// the terminal works, and that group gets no rights on it.
func TestTerminalForeignGroup(t *testing.T) { // E6
	needUser(t)
	s := sh("stat -L -c 'group %g mode %a' /proc/self/fd/0")
	s.Terminal = &ptyexec.Terminal{Group: 54321}
	screen := openScreen(t, start(t, s))
	screen.expect("mode 600")
	if strings.Contains(screen.seen.String(), "54321") {
		t.Errorf("saw %q", screen.seen.String())
	}
}

// startWithUnmappedGroup runs in a user namespace that knows the users and groups 0
// to 9 only, as many a container does, and wants terminals of group 10.
func startWithUnmappedGroup() {
	for _, who := range []*ptyexec.Credential{nil, {UID: 9, GID: 9}} {
		s := sh("stat -L -c 'owner %u mode %a' /proc/self/fd/0")
		s.Terminal = &ptyexec.Terminal{Group: 10}
		s.Stdio = &[3]int{-1, 1, 2}
		s.Credential = who
		p, err := ptyexec.Start(context.Background(), s)
		check(err == nil, "start: %v", err)
		_, _ = p.Wait()
	}
}

// TestTerminalUnmappedGroup: there is a group "tty" in /etc/group, but not in the user
// namespace. That is no reason to go without a terminal.
func TestTerminalUnmappedGroup(t *testing.T) { // E6
	needRoot(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{helperVar + "=unmapped group"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER,
		UidMappings:                []syscall.SysProcIDMap{{Size: 10}},
		GidMappings:                []syscall.SysProcIDMap{{Size: 10}},
		GidMappingsEnableSetgroups: true,
	}
	got, err := cmd.CombinedOutput()
	if want := "owner 0 mode 600\nowner 9 mode 600\n"; string(got) != want || err != nil {
		t.Errorf("%v, got\n%s", err, got)
	}
}

// TestTerminalSettings proves which settings the program finds.
func TestTerminalSettings(t *testing.T) { // A11
	stty := sh("stty -a; stty -g; echo done")
	stty.Terminal = &ptyexec.Terminal{}
	p := start(t, stty)
	screen := openScreen(t, p)
	screen.expect("done")
	for _, want := range []string{" iutf8", " icanon", " echo ", "intr = ^C"} {
		if !strings.Contains(screen.seen.String(), want) {
			t.Errorf("by default no %q in %q", want, screen.seen.String())
		}
	}

	settings := defaultSettings(t)
	settings.Cc[unix.VINTR] = 'x' - 'a' + 1
	settings.Lflag &^= unix.ECHO
	settings.Iflag &^= unix.IUTF8
	stty.Terminal = &ptyexec.Terminal{Settings: settings}
	screen = openScreen(t, start(t, stty))
	screen.expect("done")
	for _, want := range []string{"-iutf8", "-echo ", "intr = ^X"} {
		if !strings.Contains(screen.seen.String(), want) {
			t.Errorf("no %q in %q", want, screen.seen.String())
		}
	}
}

// defaultSettings reads the settings of a terminal that nobody has changed.
func defaultSettings(t *testing.T) *unix.Termios {
	t.Helper()
	p := start(t, ptyexec.Spec{Program: "/bin/cat", Terminal: &ptyexec.Terminal{}})
	tty, err := os.OpenFile(p.TTY(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	settings, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// closeAndReopen leaves its terminal without a single descriptor for a while.
func closeAndReopen() {
	fmt.Println("closing")
	for fd := range 3 {
		_ = unix.Close(fd)
	}
	wake := make(chan os.Signal, 1)
	notify(wake, unix.SIGUSR1)
	<-wake
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(tty, "back")
}

// TestTerminalStaysOpen: a master reports EIO as soon as nobody has the terminal
// open, and reading on later works again. A program that closes its descriptors
// and opens /dev/tty later used to look as if it had ended.
func TestTerminalStaysOpen(t *testing.T) {
	s := helper("reopen")
	s.Terminal = &ptyexec.Terminal{}
	p := start(t, s)
	screen := openScreen(t, p)
	screen.expect("closing\r\n")
	until(t, "descriptors are closed", func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", p.PID()))
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := screen.file.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := screen.file.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read while nobody has the terminal: %d %v", n, err)
	}
	if err := screen.file.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	// The handler is there once the signal is caught, which the kernel shows.
	until(t, "signal is caught", func() bool { return catches(p.PID(), unix.SIGUSR1) })
	if err := p.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	screen.expect("back")
	if status := wait(t, p); status != 0 {
		t.Error(status)
	}
	screen.rest() // EIO, now that the program is gone
}

// TestTerminalWithPipe gives the program a controlling terminal although two of its
// streams are elsewhere.
func TestTerminalWithPipe(t *testing.T) { // C4
	r, w := pipe(t)
	s := sh("test ! -t 0 && test ! -t 1 && test -t 2 && echo ok; echo err >&2; echo tty >/dev/tty")
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s.Stdio = &[3]int{int(null.Fd()), int(w.Fd()), -1}
	s.Terminal = &ptyexec.Terminal{}
	p := start(t, s)
	w.Close()
	screen := openScreen(t, p)
	if got := readAll(t, r); got != "ok\n" {
		t.Errorf("stdout %q", got)
	}
	wait(t, p)
	if got := screen.rest(); got != "err\r\ntty\r\n" {
		t.Errorf("terminal %q", got)
	}
}

// TestAdoptTerminal hands one terminal to two programs: the first becomes its
// session, and the second must not take it away.
func TestAdoptTerminal(t *testing.T) { // E6
	ptm, pts := freePty(t)
	holder := sh("echo holding; read line; read stat </proc/$$/stat; set -- ${stat##*) }; test $6 -eq $$ && echo still")
	holder.Stdio = &[3]int{pts, pts, pts}
	holder.AdoptTerminal = true
	first := start(t, holder)
	screen := &screen{t: t, file: ptm}
	screen.expect("holding")
	if first.TTY() != "" || first.TakeMaster() != -1 {
		t.Error("an adopted terminal is not the package's to hand out")
	}

	s := helper("controlling")
	s.Stdio = &[3]int{pts, pts, pts}
	s.AdoptTerminal = true
	second := start(t, s)
	screen.expect("no controlling terminal")
	wait(t, second)

	screen.typeIn("\n")
	screen.expect("still")
	if status := wait(t, first); status != 0 {
		t.Error(status)
	}
}

// TestAdoptNoTerminal: without a terminal as descriptor 0 there is none to adopt.
func TestAdoptNoTerminal(t *testing.T) {
	s := helper("controlling")
	s.AdoptTerminal = true
	if got, _ := output(t, s); !strings.Contains(got, "no controlling terminal") {
		t.Errorf("got %q", got)
	}
}

// freePty returns a pty of this test, which no session has as its terminal.
func freePty(t *testing.T) (ptm *os.File, pts int) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ptm = os.NewFile(uintptr(fd), "pty master")
	t.Cleanup(func() { ptm.Close() })
	if err := ptm.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { unix.Close(int(peer)) })
	return ptm, int(peer)
}

// TestResize changes the size from outside, before and after the master is taken.
func TestResize(t *testing.T) {
	s := sh("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done")
	s.Terminal = &ptyexec.Terminal{Size: unix.Winsize{Row: 1, Col: 2}}
	p := start(t, s)
	screen := openScreen(t, p)
	screen.expect("ready")
	if err := p.Resize(unix.Winsize{Row: 30, Col: 40, Xpixel: 5, Ypixel: 6}); err != nil {
		t.Fatal(err)
	}
	screen.expect("30 40")
	wait(t, p)
	if err := p.Resize(unix.Winsize{}); err != os.ErrProcessDone {
		t.Errorf("after Wait: %v", err)
	}
	if err := start(t, sh("exit")).Resize(unix.Winsize{}); err != unix.ENOTTY {
		t.Errorf("without a pty: %v", err)
	}
}

// TestTakeMaster proves what kind of descriptor the master is and who owns it.
func TestTakeMaster(t *testing.T) { // A14
	p := start(t, ptyexec.Spec{Program: "/bin/cat", Terminal: &ptyexec.Terminal{}})
	fd := p.TakeMaster()
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("F_GETFL %#x %v", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("F_GETFD %#x %v", flags, err)
	}
	if again := p.TakeMaster(); again != -1 {
		t.Errorf("taken twice: %d", again)
	}

	before := len(openFDs(t))
	p = start(t, ptyexec.Spec{Program: "/bin/true", Terminal: &ptyexec.Terminal{}})
	wait(t, p)
	if p.TakeMaster() != -1 || len(openFDs(t)) != before {
		t.Errorf("a master that nobody took is left: %q", openFDs(t))
	}
}
