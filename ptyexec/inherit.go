//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"math/bits"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec/internal/startlimit"
)

// numSignals is the highest signal number of Linux on our architectures.
const numSignals = 64

// changeableSignals are all but the two that can be neither caught nor ignored.
const changeableSignals = ^uint64(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))

// initiallyIgnored asks the kernel, once, which signals are ignored: those that
// were so when this process started (under nohup, or in the background of a
// script) and that the Go runtime left alone. Bit n-1 stands for signal n.
var initiallyIgnored = sync.OnceValue(func() (set uint64) {
	const ignore = 1 // SIG_IGN
	for sig := uintptr(1); sig <= numSignals; sig++ {
		var action [4]uintptr
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, addr(&action), 8, 0, 0)
		if errno == 0 && action[0] == ignore {
			set |= 1 << (sig - 1)
		}
	}
	return set
})

// ignoredSignals returns which signals have to be set back to their default, as
// those that are ignored stay so across clone and exec. To ask the kernel for 64
// signals at every start would be slow, but those ignored later were so through
// package os/signal, which knows. Not covered is what C code changes later.
func ignoredSignals() uint64 {
	set := initiallyIgnored()
	for sig := 1; sig <= numSignals; sig++ {
		if signal.Ignored(syscall.Signal(sig)) {
			set |= 1 << (sig - 1)
		}
	}
	return set & changeableSignals
}

// trailingSignal returns the lowest signal in set.
func trailingSignal(set uint64) uintptr { return uintptr(bits.TrailingZeros64(set) + 1) }

// timerSlack returns the slack that this process had at first. A program would get that
// of the thread which starts it, and single threads may have been given another.
var timerSlack = sync.OnceValue(func() uintptr {
	slack, _, _ := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK, 0, 0) // cannot fail
	return slack
})

// startLimit returns the limit on open descriptors to give to a program, if it
// is not the one it would inherit: the soft limit of our own start, which
// package syscall has raised since, below the hard limit of now.
func startLimit() (unix.Rlimit, bool) {
	var now unix.Rlimit
	soft, ok := startlimit.NoFile()
	if !ok || unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil {
		return now, false
	}
	soft = min(soft, now.Max)
	if soft == now.Cur {
		return now, false
	}
	now.Cur = soft
	return now, true
}

// oomScored reports whether this process is protected from, or offered to, the
// OOM killer. It is read once, as whoever does that does it at the start.
var oomScored = sync.OnceValue(func() bool {
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	return err == nil && strings.TrimSpace(string(score)) != "0"
})
