package daemon

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
)

// refusal is an answer to a request that is not granted: what the client is
// told, and the cause under which it is counted.
type refusal struct {
	answer wire.Error
	cause  string
	noise  bool // what anybody can make as much of as he likes, and no log wants to keep
}

func (r *refusal) Error() string { return r.answer.Text }

// Statuses that a client exits with.
const (
	statusFailure       = 125
	statusNotExecutable = 126
	statusNotFound      = 127
)

func refuse(cause, text, hint string) *refusal {
	return &refusal{answer: wire.Error{Status: statusFailure, Text: clip(text), Hint: hint}, cause: cause}
}

func noise(cause, text string) *refusal {
	r := refuse(cause, text, "")
	r.noise = true
	return r
}

// A request may hold longer texts than the longest path there is. Nobody has to
// read them and no log has to keep them, so clip leaves out the middle: what was to
// be done stands at the beginning, and why it could not be at the end.
const (
	maxText = 5000
	tail    = 500
)

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return text[:maxText-tail] + "..." + text[len(text)-tail:]
}

// failedAt reports whether err is the failure of that step of a start.
func failedAt(err error, step string) bool {
	var start *ptyexec.StartError
	return errors.As(err, &start) && start.Op == step
}

// asRefusal puts an error into the client's words. It is nil if the client is
// gone, which nobody needs to be told.
func (d *Daemon) asRefusal(err error) *refusal {
	var r *refusal
	var start *ptyexec.StartError
	var field *wire.UnknownFieldError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &start):
		return startRefusal(start)
	case d.isStopping():
		return stoppingRefusal()
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return refuse("descriptors", "request: "+err.Error(), noDescriptorHint)
	case errors.As(err, &field):
		return refuse("protocol", "request: "+err.Error(), "the client may be newer than this daemon")
	case errors.Is(err, wire.ErrProtocol), errors.Is(err, wire.ErrTooLarge):
		return noise("protocol", "request: "+err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return noise("timeout", "request: not complete within "+d.now().RequestTimeout.String())
	case errors.Is(err, context.DeadlineExceeded):
		return refuse("timeout", err.Error(), "the directory or the program may be on a file system that does not answer")
	}
	return nil
}

func stoppingRefusal() *refusal {
	return refuse("shutdown", "request: the daemon is shutting down", "")
}

// startRefusal: only what concerns the program itself is 126 or 127.
func startRefusal(e *ptyexec.StartError) *refusal {
	r := refuse("start", e.Error(), startHint(e))
	r.answer.Errno = uint32(e.Err)
	if e.Op == "exec" {
		r.cause = "exec"
		r.answer.Status = statusNotExecutable
		if e.Err == syscall.ENOENT || e.Err == syscall.ENOTDIR {
			r.answer.Status = statusNotFound
		}
	}
	return r
}

const noDescriptorHint = "the daemon has no descriptor left; raise its LimitNOFILE or fs.file-max"

// Errors that mean that there is no devpts to open a pty in, and that the kernel, or the
// filter of a container, does not have what a start needs.
var (
	noDevpts  = []syscall.Errno{unix.ENOENT, unix.ENXIO, unix.ENODEV, unix.EACCES, unix.ENOTTY}
	oldKernel = []syscall.Errno{unix.ENOSYS, unix.EPERM, unix.EINVAL}
)

// startHint says which limit of the machine was met, or what is missing there.
func startHint(e *ptyexec.StartError) string {
	switch {
	case e.Op == "open pty" && slices.Contains(noDevpts, e.Err):
		return "mount devpts on /dev/pts, and link or bind its ptmx to /dev/ptmx; 'shellspawn doctor' looks at it"
	case (e.Op == "clone" || e.Op == "close_range") && slices.Contains(oldKernel, e.Err):
		return "it takes Linux 5.11, and in a container a filter that allows clone, close_range and pidfds"
	case e.Found && e.Err == syscall.ENOENT:
		return "the file is there; the interpreter or loader that it names is not"
	case e.Op == "open pty" && (e.Err == syscall.ENOSPC || e.Err == syscall.EIO || e.Err == syscall.EAGAIN):
		return "all ptys are in use; raise /proc/sys/kernel/pty/max, or max= of the mount of devpts"
	case e.Op == "clone" && e.Err == syscall.EAGAIN:
		return "no more processes are allowed; see 'ulimit -u', kernel.pid_max and the TasksMax of the unit"
	case e.Err == syscall.EMFILE || e.Err == syscall.ENFILE:
		return noDescriptorHint
	}
	return ""
}
