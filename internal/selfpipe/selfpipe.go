//go:build linux && (amd64 || arm64)

// Package selfpipe turns signals into bytes of a pipe, so that a goroutine can read
// them like any other input and hold no thread while there are none.
//
// os/signal does the same for programs that live long. It costs a short one too
// much: for each signal asked for it goes back and forth with a goroutine that is
// locked to a thread, and that thread and another stay for good. Both may be used
// in one program for different signals.
package selfpipe

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mark is the byte that Post writes; no signal has this number.
const Mark = 0

// end is the writing end of the pipe; the handler reads it.
var end int32 = -1

// Open makes the pipe and returns its reading end, in which each signal caught is
// one byte, its number. Reading waits in the runtime's poller. Whoever falls
// behind by a whole pipe, 64 KiB, loses what comes then. It is called once, before
// Catch; what it returns stays open for as long as the process lives.
func Open() (*os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	end = int32(fds[1])
	return os.NewFile(uintptr(fds[0]), "signals"), nil
}

// Post puts a Mark between the signals that came before and those that come after.
func Post() {
	mark := [1]byte{Mark}
	_, _ = unix.Write(int(end), mark[:]) // full only if nobody reads
}

// Ignored reports whether sig is ignored now. The Go runtime puts its own handler
// in the place of what the process has inherited, but for SIGHUP, SIGINT and those
// that it has no use for, the ones of job control among them.
func Ignored(sig unix.Signal) bool {
	var now action
	rtSigaction(sig, nil, &now)
	return now.handler == ignore
}

// Catch has sig written into the pipe from now on.
func Catch(sig unix.Signal) {
	rtSigaction(sig, &action{
		handler:  handlerAddress(),
		flags:    onStack | restart | restorerFlag,
		restorer: restorerAddress(),
		mask:     ^uint64(0),
	}, nil)
}

// Default gives sig its default action, whatever it had before.
func Default(sig unix.Signal) { rtSigaction(sig, &action{}, nil) }

// action is the kernel's struct sigaction, see rt_sigaction(2). All zero is the
// default action.
type action struct {
	handler  uintptr
	flags    uintptr
	restorer uintptr
	mask     uint64
}

// ignore is SIG_IGN.
const ignore = 1

// The handler runs on the signal stack that the runtime gives each of its threads,
// since the stack of a goroutine may have no room, and with all signals blocked.
const (
	onStack      = 0x08000000 // SA_ONSTACK
	restart      = 0x10000000 // SA_RESTART
	restorerFlag = 0x04000000 // SA_RESTORER
)

// rtSigaction cannot fail: the arguments are right, and SIGKILL and SIGSTOP are
// nobody's to ask for.
func rtSigaction(sig unix.Signal, set, old *action) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set.mask), 0, 0)
}

// handlerAddress and restorerAddress are where the code in the assembly begins that
// the kernel calls for a signal, and that returns from it with rt_sigreturn(2).
func handlerAddress() uintptr

func restorerAddress() uintptr
