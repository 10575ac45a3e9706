package ptyexec_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() {
	helpers["job"] = runJob
	helpers["report"] = reportSignals
	helpers["stranger"] = becomeStranger
}

// becomeStranger reports like any job, until SIGCONT has it leave for a session of
// its own in which it is the leader of a group with the same number as before.
func becomeStranger() {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, unix.SIGCONT)
	fmt.Println("job ready")
	<-leave
	check(unix.Setpgid(0, os.Getppid()) == nil, "setpgid")
	_, err := unix.Setsid()
	check(err == nil && unix.Getpgrp() == os.Getpid(), "setsid: %v", err)
	reportSignals()
}

func notify(c chan<- os.Signal, sigs ...os.Signal) { signal.Notify(c, sigs...) }

// runJob is a shell with one job in the foreground, in a group of its own, which is
// the helper named by its argument. It never takes the terminal back.
func runJob() {
	got := make(chan os.Signal, 8)
	signal.Notify(got, unix.SIGUSR1, unix.SIGHUP, unix.SIGCONT)
	signal.Ignore(unix.SIGTTOU)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[1], "job"}
	cmd.Env = []string{helperVar + "=" + os.Args[1]}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true}
	check(cmd.Start() == nil, "start")
	go func() {
		_ = cmd.Wait()
		fmt.Println("job is gone")
	}()
	for sig := range got {
		fmt.Println("shell:", sig)
		if sig == unix.SIGUSR1 {
			return
		}
	}
}

// reportSignals prints the signals that it gets, and ends at SIGTERM.
func reportSignals() {
	got := make(chan os.Signal, 8)
	signal.Notify(got, unix.SIGUSR1, unix.SIGTERM, unix.SIGHUP, unix.SIGCONT)
	fmt.Println(os.Args[1], "ready as", os.Getpid(), "now")
	for sig := range got {
		fmt.Println(os.Args[1]+":", sig)
		if sig == unix.SIGTERM {
			return
		}
	}
}

// statusField returns a field of /proc/pid/status, or "".
func statusField(pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

func catches(pid int, sig syscall.Signal) bool {
	set, err := strconv.ParseUint(statusField(pid, "SigCgt"), 16, 64)
	return err == nil && set&(1<<(sig-1)) != 0
}

// TestSignalForeground: with a terminal a signal goes to the job in the
// foreground and not to the shell, as if a key had been pressed. When the
// job is gone, the terminal still names its group, and signals go to the shell.
func TestSignalForeground(t *testing.T) { // B6, B7
	s := helper("job", "report")
	s.Terminal = &ptyexec.Terminal{}
	p := start(t, s)
	screen := openScreen(t, p)
	screen.expect("job ready")
	for _, step := range []struct {
		sig  syscall.Signal
		want string
	}{
		{unix.SIGUSR1, "job: user defined signal 1"},
		{unix.SIGTERM, "job is gone"},
	} {
		if err := p.Signal(step.sig); err != nil {
			t.Fatal(err)
		}
		screen.expect(step.want)
	}
	if strings.Contains(screen.seen.String(), "shell:") {
		t.Errorf("the shell got a signal of the job's: %q", screen.seen.String())
	}
	if err := p.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	screen.expect("shell: user defined signal 1")
	if status := wait(t, p); status != 0 {
		t.Error(status)
	}
}

// TestSignalStranger: a terminal goes on naming the number of a group that is
// gone, and the number may be in use again, in another session. Nothing may be
// sent there. The job plays this by leaving, with its number, for a new session.
func TestSignalStranger(t *testing.T) { // B7
	s := helper("job", "stranger")
	s.Terminal = &ptyexec.Terminal{}
	p := start(t, s)
	screen := openScreen(t, p)
	screen.expect("job ready")
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	screen.expect(" now")
	if err := p.Hangup(); err != nil {
		t.Fatal(err)
	}
	screen.expect("shell: continued")
	if err := p.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	_, pid, _ := strings.Cut(screen.seen.String(), "job ready as ")
	number, err := strconv.Atoi(strings.Fields(pid)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(number, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	screen.expect("job: terminated")
	// SIGHUP may have come from the kernel: it does to the terminal's group, when
	// the leader of the session ends, what we must not do.
	for _, sent := range []string{"job: continued", "job: user defined"} {
		if seen := screen.seen.String(); strings.Contains(seen, sent) {
			t.Errorf("a stranger got a signal: %q", seen)
		}
	}
}

// TestSignalGroup: without a terminal a signal goes to all of the leader's group.
func TestSignalGroup(t *testing.T) { // B6
	r, w := pipe(t)
	s := sh(`trap 'echo shell; exit 7' USR1; sh -c 'trap "echo member; exit" USR1; echo ready; while :; do sleep 0.01; done' & while :; do sleep 0.01; done`)
	s.Stdio = &[3]int{-1, int(w.Fd()), int(w.Fd())}
	p := start(t, s)
	w.Close()
	buf := make([]byte, 64)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("%q %v", buf[:n], err)
	}
	if err := p.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, r)
	if !strings.Contains(got, "shell\n") || !strings.Contains(got, "member\n") {
		t.Errorf("got %q", got)
	}
	if status := wait(t, p); status.Shell() != 7 {
		t.Error(status)
	}
}

// TestHangup reaches the shell and its foreground job, the stopped ones too.
func TestHangup(t *testing.T) { // B8
	s := helper("job", "report")
	s.Terminal = &ptyexec.Terminal{}
	p := start(t, s)
	screen := openScreen(t, p)
	screen.expect("job ready")
	if err := p.Hangup(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shell: hangup", "shell: continued", "job: hangup", "job: continued"} {
		screen.expect(want)
	}
	if err := p.Signal(unix.SIGTERM); err != nil { // the job would live on
		t.Fatal(err)
	}
	screen.expect("job is gone")

	stopped := start(t, sh("kill -STOP $$"))
	until(t, "stop", func() bool { return strings.HasPrefix(statusField(stopped.PID(), "State"), "T") })
	if err := stopped.Hangup(); err != nil {
		t.Fatal(err)
	}
	if status := wait(t, stopped); status.Signal() != unix.SIGHUP {
		t.Error(status)
	}
}

// TestKill ends the leader and leaves alone what shares its group.
func TestKill(t *testing.T) { // B8
	r, w := pipe(t)
	in, typed := pipe(t)
	s := sh(`exec 3<&0; sh -c 'echo ready; read line; echo survived' <&3 & wait`)
	s.Stdio = &[3]int{int(in.Fd()), int(w.Fd()), int(w.Fd())}
	p := start(t, s)
	w.Close()
	buf := make([]byte, 6)
	if _, err := r.Read(buf); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if status := wait(t, p); status.Signal() != unix.SIGKILL {
		t.Error(status)
	}
	if _, err := typed.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r); got != "survived\n" {
		t.Errorf("got %q", got)
	}
}

// TestSignalAfterEnd: as long as the leader is a zombie its number is safe, and
// once it is reaped nothing is sent any more.
func TestSignalAfterEnd(t *testing.T) { // B7
	p := start(t, sh("exit 4"))
	until(t, "zombie", func() bool { return strings.HasPrefix(statusField(p.PID(), "State"), "Z") })
	if err := p.Signal(unix.SIGTERM); err != nil && err != os.ErrProcessDone {
		t.Errorf("to a zombie: %v", err)
	}
	if status := wait(t, p); status.Shell() != 4 {
		t.Error(status)
	}
	for name, send := range map[string]func() error{
		"Signal":       func() error { return p.Signal(unix.SIGTERM) },
		"SignalLeader": func() error { return p.SignalLeader(unix.SIGTERM) },
		"Hangup":       p.Hangup,
		"Kill":         p.Kill,
	} {
		if err := send(); err != os.ErrProcessDone {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignalRace sends signals to programs that are about to end.
func TestSignalRace(t *testing.T) { // B7
	for range 100 {
		p := start(t, ptyexec.Spec{Program: "/bin/true"})
		var senders sync.WaitGroup
		for range 3 {
			senders.Go(func() {
				for {
					err := p.Signal(0)
					if errors.Is(err, os.ErrProcessDone) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if status := wait(t, p); status != 0 {
			t.Error(status)
		}
		senders.Wait()
	}
}
