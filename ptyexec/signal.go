//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal sends sig as a terminal would: to the foreground process group of the
// controlling terminal, or to the leader's process group if there is none.
// It returns os.ErrProcessDone once the leader has been reaped.
func (p *Process) Signal(sig syscall.Signal) error {
	foreground := p.foreground()
	family.Lock()
	defer family.Unlock()
	if p.child.reaped {
		return os.ErrProcessDone
	}
	if p.inSession(foreground) {
		err := unix.Kill(-foreground, sig)
		if err != unix.ESRCH {
			return os.NewSyscallError("kill", err)
		}
	}
	return p.signalGroup(sig)
}

// SignalLeader sends sig to the leader alone. It returns os.ErrProcessDone if
// the leader has ended.
func (p *Process) SignalLeader(sig syscall.Signal) error {
	family.Lock()
	defer family.Unlock()
	if p.child.reaped {
		return os.ErrProcessDone
	}
	err := unix.PidfdSendSignal(p.child.pidfd, sig, nil, 0)
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// Kill sends SIGKILL to the leader alone. What else runs in its process group
// may be there under nohup(1), and is meant to live.
func (p *Process) Kill() error { return p.SignalLeader(unix.SIGKILL) }

// Hangup sends what a terminal sends when its line drops, SIGHUP and then SIGCONT
// for those that are stopped, to the leader's process group and to the foreground
// process group. It returns os.ErrProcessDone once the leader has been reaped.
func (p *Process) Hangup() error {
	foreground := p.foreground()
	family.Lock()
	defer family.Unlock()
	if p.child.reaped {
		return os.ErrProcessDone
	}
	var errs []error
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGCONT} {
		errs = append(errs, p.signalGroup(sig))
		if foreground != p.child.pid && p.inSession(foreground) {
			_ = unix.Kill(-foreground, sig) // it may be gone
		}
	}
	return errors.Join(errs...)
}

// signalGroup signals the leader's process group. As long as the leader is
// unreaped, which the caller has made sure of, its pid cannot be used anew.
func (p *Process) signalGroup(sig syscall.Signal) error {
	return os.NewSyscallError("kill", unix.Kill(-p.child.pid, sig))
}

// inSession reports whether the process group pgid can be signalled. The
// terminal may still name a group that is gone, and whose number serves a stranger
// by now: then there is a process of that number in another session. No
// process of that number means that the group is gone or that it holds the number.
func (p *Process) inSession(pgid int) bool {
	if pgid <= 1 {
		return false
	}
	sid, err := unix.Getsid(pgid)
	return err == unix.ESRCH || err == nil && sid == p.child.pid
}

// foreground returns the foreground process group of the leader's controlling
// terminal, or a number that is not positive. tcgetpgrp(3) answers only processes
// of that session, so the kernel is asked about the leader.
func (p *Process) foreground() int {
	if !p.terminal {
		return -1
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.child.pid) + "/stat")
	if err != nil {
		return -1
	}
	return foregroundOf(stat)
}

// foregroundOf takes tpgid, field 8, from a stat file as in proc(5). Field 2, the
// program's name in parentheses, may itself hold spaces and parentheses.
func foregroundOf(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const tpgid = 8 - 3 // field 3 is the first behind the name
	if len(fields) <= tpgid {
		return -1
	}
	pgid, err := strconv.Atoi(string(fields[tpgid]))
	if err != nil {
		return -1
	}
	return pgid
}
