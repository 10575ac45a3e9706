//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"strconv"
	"syscall"
)

// ExitStatus is how a program ended, as wait(2) encodes it. The zero value is
// success.
type ExitStatus uint32

// Raw returns the status as wait4(2) would have given it.
func (s ExitStatus) Raw() uint32 { return uint32(s) }

// Exited reports whether the program ended by itself, so that Code is valid.
func (s ExitStatus) Exited() bool { return s&0x7f == 0 }

// Code returns the exit code, 0 to 255, or -1 if a signal killed the program.
func (s ExitStatus) Code() int {
	if !s.Exited() {
		return -1
	}
	return int(s >> 8 & 0xff)
}

// Signaled reports whether a signal killed the program.
func (s ExitStatus) Signaled() bool { return !s.Exited() }

// Signal returns the signal that killed the program, or 0.
func (s ExitStatus) Signal() syscall.Signal { return syscall.Signal(s & 0x7f) }

// CoreDumped reports whether the program left a core dump.
func (s ExitStatus) CoreDumped() bool { return s.Signaled() && s&0x80 != 0 }

// Shell returns the status as a shell's $? shows it: the exit code, or 128 plus
// the number of the signal.
func (s ExitStatus) Shell() int {
	if s.Exited() {
		return s.Code()
	}
	return 128 + int(s.Signal())
}

// String returns "exit status 3" or "signal: hangup".
func (s ExitStatus) String() string {
	if s.Exited() {
		return "exit status " + strconv.Itoa(s.Code())
	}
	if s.CoreDumped() {
		return "signal: " + s.Signal().String() + " (core dumped)"
	}
	return "signal: " + s.Signal().String()
}
