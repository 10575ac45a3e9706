package main

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one started program. It is started and waited for with as little
// of Go as possible in between: os/exec costs more than what is measured.
type process struct {
	pid   int
	timer *time.Timer
	late  chan struct{}
}

// start runs argv on the three descriptors. With terminal set, the first of
// them becomes its controlling terminal. After limit it is killed.
func (b *bench) start(argv []string, files [3]int, terminal bool, limit time.Duration) (*process, error) {
	return b.startWith(argv, []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])}, terminal, limit)
}

func (b *bench) startWith(argv []string, files []uintptr, terminal bool, limit time.Duration) (*process, error) {
	attr := syscall.ProcAttr{Env: b.env, Files: files}
	if terminal {
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	pid, err := syscall.ForkExec(argv[0], argv, &attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &process{pid: pid, late: make(chan struct{})}
	p.timer = time.AfterFunc(limit, func() {
		_ = unix.Kill(pid, unix.SIGKILL) // unreaped, as wait waits for late first
		close(p.late)
	})
	return p, nil
}

// hurry shortens the limit.
func (p *process) hurry(limit time.Duration) { p.timer.Reset(limit) }

// wait returns an error if the process did not end by itself with status 0.
func (p *process) wait() error {
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	if !p.timer.Stop() {
		<-p.late
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.pid, &status, 0, nil); err != nil {
		return err
	}
	switch {
	case status.Signaled() && p.expired():
		return fmt.Errorf("hung and was killed")
	case status.Signaled():
		return fmt.Errorf("killed by %v", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return nil
}

func (p *process) expired() bool {
	select {
	case <-p.late:
		return true
	default:
		return false
	}
}

// kill ends the process and reaps it.
func (p *process) kill() {
	_ = unix.Kill(p.pid, unix.SIGKILL) // it may have ended
	_ = p.wait()                       // how it ended is known
}

// find returns the path of a program, or "" if it is not installed.
func find(name string) string {
	for _, where := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(where); err == nil {
			return path
		}
	}
	return ""
}
