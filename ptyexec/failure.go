//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// failure returns why the child gave up, or nil if it did not.
func (p *plan) failure(s *Spec) error {
	if p.stopped == 0 {
		return nil
	}
	at := int((p.stopped - p.first) / stepSize)
	st := &p.steps[at]
	e := &StartError{Op: stepName(st.nr), Err: syscall.Errno(st.errno)}
	switch st.nr {
	case unix.SYS_CHDIR:
		e.Path, e.Err = s.Dir, syscall.Errno(p.steps[p.chdirAt].errno)
	case unix.SYS_FACCESSAT:
		e.Path, e.Err = s.Program, syscall.Errno(p.steps[p.execAt].errno)
	case unix.SYS_EXECVE:
		e.Path, e.Err = s.Program, syscall.Errno(st.errno)
		if e.Found = p.steps[at-1].nr == unix.SYS_FACCESSAT; !e.Found {
			e.Err = worst(p.steps[p.execAt : at+1])
		}
	}
	return e
}

// worst picks, as execvp(3) does, the one error to report for a search: what
// stopped it early, else that something was found but not permitted,
// else that nothing was found.
func worst(execs []step) syscall.Errno {
	last := syscall.Errno(execs[len(execs)-1].errno)
	if !tryNext.has(last) {
		return last
	}
	result := last
	for i := range execs {
		switch syscall.Errno(execs[i].errno) {
		case unix.EACCES:
			return unix.EACCES
		case unix.ENOENT:
			result = unix.ENOENT
		}
	}
	return result
}

func stepName(nr uintptr) string {
	switch nr {
	case unix.SYS_SETSID:
		return "setsid"
	case unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK:
		return "reset signals"
	case unix.SYS_PRLIMIT64:
		return "set limit"
	case unix.SYS_SETGROUPS:
		return "setgroups"
	case unix.SYS_SETRESGID:
		return "setgid"
	case unix.SYS_SETRESUID:
		return "setuid"
	case unix.SYS_PRCTL:
		return "prctl"
	case unix.SYS_CAPSET:
		return "capset"
	case unix.SYS_CHDIR:
		return "chdir"
	case unix.SYS_DUP3:
		return "dup"
	case unix.SYS_IOCTL:
		return "terminal"
	case unix.SYS_CLOSE_RANGE:
		return "close_range"
	}
	return "exec"
}

// dir returns the directory that the child entered.
func (p *plan) dir(s *Spec) string {
	for i := range p.chdirs {
		if p.steps[p.chdirAt+i].errno != 0 {
			continue
		}
		if i == 0 {
			return s.Dir
		}
		return s.Fallback[i-1]
	}
	return ""
}
