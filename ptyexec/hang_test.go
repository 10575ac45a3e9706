package ptyexec_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

// slowProgram returns a program whose exec hangs, in the kernel, until the test
// lets go of it: there is a lease on the file (F_SETLEASE in fcntl(2)), so whoever
// opens it waits until its holder gives that up, or for lease-break-time.
func slowProgram(t *testing.T) (path string, release func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "slow")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	until(t, "lease", func() bool { // a writer may not be quite gone
		_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		return err == nil || err != unix.EAGAIN
	})
	if err != nil {
		t.Fatal("lease:", err)
	}
	return path, func() {
		if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
			t.Error("release:", err)
		}
	}
}

type started struct {
	p   *ptyexec.Process
	err error
}

// startSlowly starts path in a goroutine and returns when it hangs in exec, as pid.
func startSlowly(t *testing.T, ctx context.Context, path string) (_ <-chan started, pid int) {
	t.Helper()
	return startSlowlyAs(t, ctx, path, nil)
}

func startSlowlyAs(t *testing.T, ctx context.Context, path string, who *ptyexec.Credential) (_ <-chan started, pid int) {
	t.Helper()
	result := make(chan started, 1)
	go func() {
		p, err := ptyexec.Start(ctx, ptyexec.Spec{Program: path, Terminal: &ptyexec.Terminal{}, Credential: who})
		result <- started{p, err}
	}()
	until(t, "child hangs in exec", func() bool {
		pid = hanging(t)
		return pid != 0
	})
	return result, pid
}

// hanging returns the pid of our child that is in exec, or 0.
func hanging(t *testing.T) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		call, _ := os.ReadFile(dir + "/syscall")
		nr, _, _ := strings.Cut(string(call), " ")
		if statusField(pid, "PPid") == strconv.Itoa(os.Getpid()) && nr == strconv.Itoa(unix.SYS_EXECVE) {
			return pid
		}
	}
	return 0
}

// TestHang: a child that hangs in exec, as on a dead network file system, does not
// keep other goroutines from running, not even with a single processor, nor other
// starts, and when it goes on all is well.
func TestHang(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	path, release := slowProgram(t)
	result, _ := startSlowly(t, context.Background(), path)
	for range 10 {
		if status := wait(t, start(t, sh("exit 2"))); status.Shell() != 2 {
			t.Error(status)
		}
	}
	runtime.GC() // stops the world
	select {
	case r := <-result:
		t.Fatalf("it does not hang: %v", r.err)
	default:
	}
	release()
	r := <-result
	if r.err != nil {
		t.Fatal(r.err)
	}
	if status := wait(t, r.p); status != 0 {
		t.Error(status)
	}
}

// TestHangCancelled gives such a start up.
func TestHangCancelled(t *testing.T) {
	path, _ := slowProgram(t)
	before := openFDs(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	result, pid := startSlowly(t, ctx, path)
	cancel(io.ErrNoProgress)
	select {
	case r := <-result:
		if !errors.Is(r.err, io.ErrNoProgress) || r.err.Error() != "start "+path+": "+io.ErrNoProgress.Error() {
			t.Errorf("error %v", r.err)
		}
	case <-time.After(limit):
		t.Fatal("Start does not return")
	}
	if statusField(pid, "PPid") == strconv.Itoa(os.Getpid()) {
		t.Error("the child is still there")
	}
	if after := openFDs(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before %q, after %q", before, after)
	}
}

// TestCancelled ends the context at any moment of a start: either there is a
// program, or the error, and nothing in between.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ptyexec.Start(ctx, sh("exit")); !errors.Is(err, context.Canceled) {
		t.Errorf("before the start: %v", err)
	}
	before := openFDs(t)
	outcomes := map[bool]int{}
	for i := range 300 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*10*time.Microsecond)
		p, err := ptyexec.Start(ctx, sh("exit 6"))
		cancel()
		outcomes[err == nil]++
		if err == nil {
			if status := wait(t, p); status.Shell() != 6 {
				t.Error(status)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if after := openFDs(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before %q, after %q", before, after)
	}
	t.Log("started or not:", outcomes)
}
