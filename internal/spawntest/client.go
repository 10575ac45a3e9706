package spawntest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// Client returns a command that runs darling-shell with these arguments, as the
// daemon's user, with SHELLSPAWN_SOCKET naming this daemon and an environment
// that holds nothing of the test's own. The caller sets descriptors and starts it.
func (d *Daemon) Client(args ...string) *exec.Cmd {
	return d.ClientContext(context.Background(), args...)
}

// ClientContext is Client with a context that kills the client when done.
func (d *Daemon) ClientContext(ctx context.Context, args ...string) *exec.Cmd {
	return d.Command(ctx, append([]string{ClientPath(d.t)}, args...)...)
}

// Command returns a command other than the client that runs as the daemon's
// user in the environment that Client describes.
func (d *Daemon) Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(d.env[:len(d.env):len(d.env)], "SHELLSPAWN_SOCKET="+d.Socket)
	cmd.Dir = d.Dir
	return d.Who.As(cmd)
}

// Run runs darling-shell on three pipes until it ends. The status is -N if
// signal N killed it. A client that does not end within Deadline fails the
// test; Run may be called from any goroutine.
func (d *Daemon) Run(stdin []byte, args ...string) (stdout, stderr []byte, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	return d.Collect(ctx, d.ClientContext(ctx, args...), stdin)
}

// Collect runs a command on three pipes until it ends, as Run does.
func (d *Daemon) Collect(ctx context.Context, cmd *exec.Cmd, stdin []byte) (stdout, stderr []byte, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	// What a program leaves running may hold the pipes; it is no part of the result.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		d.t.Errorf("%.200q did not end within its deadline", cmd.Args)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		d.t.Errorf("%.200q: %v", cmd.Args, err)
		return nil, nil, -1
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
