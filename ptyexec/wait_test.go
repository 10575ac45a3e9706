package ptyexec_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

func init() { helpers["exhausted"] = startWithFewDescriptors }

// TestExitStatus compares every kind of end with what os/exec makes of it.
func TestExitStatus(t *testing.T) { // B1
	scripts := []string{"kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "ulimit -c 0; kill -ABRT $$"}
	for _, code := range []int{0, 1, 2, 125, 127, 128, 255} {
		scripts = append(scripts, "exit "+strconv.Itoa(code))
	}
	for _, script := range scripts {
		t.Run(script, func(t *testing.T) {
			s := sh(script)
			s.Dir = t.TempDir() // for a core dump
			got := wait(t, start(t, s))

			cmd := exec.Command("/bin/sh", "-c", script)
			cmd.Dir = s.Dir
			_ = cmd.Run() // the state tells
			want := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if got.Raw() != uint32(want) {
				t.Errorf("%#x, want %#x", got.Raw(), uint32(want))
			}
			if got.Exited() != want.Exited() || got.Signaled() != want.Signaled() || got.CoreDumped() != want.CoreDump() {
				t.Errorf("kind of %v", got)
			}
			if got.Code() != want.ExitStatus() || got.Signaled() && got.Signal() != want.Signal() {
				t.Errorf("value of %v", got)
			}
			if got.String() != cmd.ProcessState.String() {
				t.Errorf("%q, want %q", got, cmd.ProcessState)
			}
			shell := want.ExitStatus()
			if want.Signaled() {
				shell = 128 + int(want.Signal())
			}
			if got.Shell() != shell {
				t.Errorf("shell's status %d, want %d", got.Shell(), shell)
			}
		})
	}
}

// TestWaitTogether has many goroutines wait for one program.
func TestWaitTogether(t *testing.T) {
	p := start(t, sh("exit 9"))
	var waiters sync.WaitGroup
	for range 20 {
		waiters.Go(func() {
			if status, err := p.Wait(); status.Shell() != 9 || err != nil {
				t.Error(status, err)
			}
		})
	}
	waiters.Wait()
}

// TestIdle: programs that run cost no thread each.
func TestIdle(t *testing.T) { // F1
	const n = 100
	var waiters sync.WaitGroup
	processes := make([]*ptyexec.Process, n)
	for i := range processes {
		s := ptyexec.Spec{Program: "/bin/cat", Terminal: &ptyexec.Terminal{}}
		p, err := ptyexec.Start(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		processes[i] = p
		waiters.Go(func() {
			if status, err := p.Wait(); status.Signal() != unix.SIGKILL || err != nil {
				t.Error(status, err)
			}
		})
	}
	if threads, _ := strconv.Atoi(statusField(os.Getpid(), "Threads")); threads > n/2 {
		t.Errorf("%d threads for %d programs", threads, n)
	}
	for _, p := range processes {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}
	waiters.Wait()
}

// startWithFewDescriptors starts with room for none, one, two, ... more descriptors.
func startWithFewDescriptors() {
	s := sh("exit 3")
	s.Terminal = &ptyexec.Terminal{}
	run := func() error {
		p, err := ptyexec.Start(context.Background(), s)
		if err != nil {
			return err
		}
		status, err := p.Wait()
		check(err == nil && status.Shell() == 3, "%v %v", status, err)
		return nil
	}
	check(run() == nil, "the first start, which sets up the poller")
	const full = 60
	for fd := 0; fd < full; { // so that no gap is left below
		var err error
		fd, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		check(err == nil, "%v", err)
	}
	before, err := fdNames()
	check(err == nil, "%v", err)

	var limits unix.Rlimit
	check(unix.Getrlimit(unix.RLIMIT_NOFILE, &limits) == nil, "getrlimit")
	failed := map[string]bool{}
	for room := range uint64(8) {
		few := unix.Rlimit{Cur: full + 1 + room, Max: limits.Max}
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &few) == nil, "setrlimit")
		err := run()
		check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limits) == nil, "setrlimit")
		if err != nil {
			var e *ptyexec.StartError
			check(errors.As(err, &e) && e.Err == unix.EMFILE, "error with room for %d: %v", room, err)
			failed[e.Op] = true
		}
		after, _ := fdNames()
		check(slices.Equal(before, after), "left over: %q, before %q", after, before)
	}
	fmt.Println(failed, run())
}

// TestExhausted lets a start fail for want of descriptors at each of its steps.
// It costs this one start and nothing else.
func TestExhausted(t *testing.T) { // F3
	got, status := output(t, helper("exhausted"))
	if got != "map[clone:true open pty:true] <nil>\n" || status != 0 {
		t.Errorf("got %q %v", got, status)
	}
}

// TestMany starts thousands of short programs, eight at a time.
func TestMany(t *testing.T) { // B5, F2
	const workers, each = 8, 625
	start(t, sh("exit")) // sets up the poller
	before := openFDs(t)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				code := (w + i) % 2
				s := ptyexec.Spec{Program: []string{"/bin/true", "/bin/false"}[code]}
				if i%3 == 0 {
					s.Terminal = &ptyexec.Terminal{}
				}
				p, err := ptyexec.Start(context.Background(), s)
				if err != nil {
					t.Error(err)
					return
				}
				if status, err := p.Wait(); status.Code() != code || err != nil {
					t.Error(status, err)
				}
			}
		})
	}
	all.Wait()
	if after := openFDs(t); len(after) > len(before) {
		t.Errorf("descriptors before %q, after %q", before, after)
	}
}
