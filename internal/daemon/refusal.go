package daemon

import (
	"errors"
	"os"
	"syscall"

	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
)

// refusal is an answer to a request that is not granted: what the client is
// told, and the cause under which it is counted.
type refusal struct {
	answer wire.Error
	cause  string
}

func (r *refusal) Error() string { return r.answer.Text }

// Statuses that a client exits with.
const (
	statusFailure       = 125
	statusNotExecutable = 126
	statusNotFound      = 127
)

func refuse(cause, text, hint string) *refusal {
	return &refusal{wire.Error{Status: statusFailure, Text: text, Hint: hint}, cause}
}

// asRefusal puts an error into the client's words. It is nil if the client is
// gone, which nobody needs to be told.
func (d *Daemon) asRefusal(err error) *refusal {
	var r *refusal
	var start *ptyexec.StartError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &start):
		return startRefusal(start)
	case errors.Is(err, wire.ErrProtocol), errors.Is(err, wire.ErrTooLarge):
		return refuse("protocol", "request: "+err.Error(), "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse("timeout", "request: not complete within "+d.config.RequestTimeout.String(), "")
	}
	return nil
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

// startHint says which limit of the machine was met.
func startHint(e *ptyexec.StartError) string {
	switch {
	case e.Op == "open pty" && (e.Err == syscall.ENOSPC || e.Err == syscall.EIO || e.Err == syscall.EAGAIN):
		return "all ptys are in use; raise /proc/sys/kernel/pty/max"
	case e.Op == "clone" && e.Err == syscall.EAGAIN:
		return "no more processes are allowed; see 'ulimit -u', kernel.pid_max and the TasksMax of the unit"
	case e.Err == syscall.EMFILE || e.Err == syscall.ENFILE:
		return "the daemon has no descriptor left; raise its LimitNOFILE or fs.file-max"
	}
	return ""
}
