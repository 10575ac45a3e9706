package spawntest

import (
	"bytes"
	"errors"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// Client returns a command that runs darling-shell with these arguments, as the
// daemon's user, with SHELLSPAWN_SOCKET naming this daemon and an environment
// that holds nothing of the test's own. The caller sets descriptors and starts it.
func (d *Daemon) Client(args ...string) *exec.Cmd {
	return d.Command(append([]string{ClientPath(d.t)}, args...)...)
}

// Command returns a command other than the client that runs as the daemon's
// user in the environment that Client describes.
func (d *Daemon) Command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(d.env[:len(d.env):len(d.env)], "SHELLSPAWN_SOCKET="+d.Socket)
	cmd.Dir = d.Dir
	return d.Who.As(cmd)
}

// Run runs darling-shell on three pipes until it ends. The status is -N if
// signal N killed it. A client that does not end within Deadline fails the
// test; Run may be called from any goroutine.
func (d *Daemon) Run(stdin []byte, args ...string) (stdout, stderr []byte, code int) {
	d.t.Helper()
	return d.Collect(d.Client(args...), stdin)
}

// Collect runs a command until it ends, as Run does. Streams that it already
// names stay as they are.
func (d *Daemon) Collect(cmd *exec.Cmd, stdin []byte) (stdout, stderr []byte, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	if cmd.Stdin == nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &errs
	}
	// What a program leaves running may hold the pipes; it is no part of the result.
	cmd.WaitDelay = 3 * time.Second
	if err := cmd.Start(); err != nil {
		d.t.Errorf("%.200q: %v", cmd.Args, err)
		return nil, nil, -1
	}
	var late atomic.Bool
	watchdog := time.AfterFunc(Deadline, func() {
		late.Store(true)
		_ = cmd.Process.Kill() // it may end at this moment
	})
	err := cmd.Wait()
	watchdog.Stop()
	if late.Load() {
		d.t.Errorf("%.200q did not end within %v", cmd.Args, Deadline)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		d.t.Errorf("%.200q: %v", cmd.Args, err)
	}
	return out.Bytes(), errs.Bytes(), Code(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// Code is the exit status in a wait status, or -N if signal N killed the process.
func Code(status syscall.WaitStatus) int {
	if status.Signaled() {
		return -int(status.Signal())
	}
	return status.ExitStatus()
}
