package client

import (
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// relayed are the signals that go on to the program. Everything else is the
// client's own affair; SIGURG above all, with which the Go runtime talks to
// itself.
var relayed = []unix.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1,
	unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT, unix.SIGTSTP,
}

// relay passes signals on in the order of their arrival.
type relay struct {
	session *session
	ch      chan os.Signal
	seq     atomic.Uint32
	started chan struct{} // closed when the program runs: signals are for it then
}

// defaultQuit gives SIGQUIT its default action, in place of the Go runtime's,
// which prints the stacks of all goroutines. The result undoes that, for
// os/signal to take over.
func defaultQuit() (undo func()) {
	var old, none [4]uintptr
	rtSigaction(unix.SIGQUIT, &none, &old)
	return func() { rtSigaction(unix.SIGQUIT, &old, nil) }
}

// rtSigaction is rt_sigaction(2). Its struct is opaque here but for this: all
// zero is SIG_DFL.
func rtSigaction(sig unix.Signal, set, old *[4]uintptr) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

// startRelay begins to catch signals. Those that were ignored when the client
// started, as under nohup, stay so.
func startRelay(s *session) *relay {
	r := &relay{session: s, ch: make(chan os.Signal, 64), started: make(chan struct{})}
	caught := make([]os.Signal, 0, len(relayed)+1)
	for _, sig := range relayed {
		if !signal.Ignored(sig) {
			caught = append(caught, sig)
		}
	}
	if s.streams.pty {
		caught = append(caught, unix.SIGWINCH)
	}
	signal.Notify(r.ch, caught...)
	go r.run()
	return r
}

func (r *relay) next() uint32 { return r.seq.Add(1) }

// run ends with the process: nobody waits for it.
func (r *relay) run() {
	defer r.session.endOnPanic()
	for _, sig := range r.untilStart() {
		r.deliver(sig)
	}
	for sig := range r.ch {
		r.deliver(sig.(unix.Signal))
	}
}

// untilStart returns the signals that came before we knew that the program runs
// and are meant for it: it may have been running already.
func (r *relay) untilStart() (kept []unix.Signal) {
	for {
		select {
		case <-r.started:
			return kept
		case s := <-r.ch:
			sig := s.(unix.Signal)
			if r.hasStarted() || !r.endsClient(sig) {
				kept = append(kept, sig)
			}
		}
	}
}

func (r *relay) hasStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}

// deliver does with one signal what its time and kind ask for.
func (r *relay) deliver(sig unix.Signal) {
	s := r.session
	switch {
	case s.ended.Load():
		r.whileDraining(sig)
	case !s.streams.pty:
		s.dialect.signal(sig)
	case sig == unix.SIGWINCH:
		s.master.Resize(s.streams.getwinsize())
		s.dialect.signal(sig)
	case sig == unix.SIGTSTP:
		s.dialect.signal(sig)
		r.suspend()
	case sig == unix.SIGCONT:
		s.enterRaw()
		s.dialect.signal(sig)
	default:
		s.dialect.signal(sig)
	}
}

// endsClient: while no program is known to run, the signals that end a program
// end the client.
func (r *relay) endsClient(sig unix.Signal) bool {
	switch sig {
	case unix.SIGTERM, unix.SIGHUP, unix.SIGINT:
		signal.Reset(sig)
		_ = unix.Kill(unix.Getpid(), sig)
	case unix.SIGQUIT:
		r.session.abort(128 + int(sig))
	default:
		return false
	}
	return true
}

// whileDraining: the shell has ended and only output is left, which somebody
// may have stopped reading.
func (r *relay) whileDraining(sig unix.Signal) {
	switch sig {
	case unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT:
		r.session.abort(128 + int(sig))
	}
}

// suspend gives the terminal back as it was, stops, and takes it again when
// somebody continues us.
func (r *relay) suspend() {
	if t := r.session.streams.outer; t != nil {
		t.Restore()
	}
	r.stop()
	r.session.enterRaw()
}

// stop stops the process the way the caller's shell expects. os/signal cannot
// give SIGTSTP its default action back, so that is done below it. The signal
// goes to this very thread: then it acts before the system call returns. In an
// orphaned process group, where nobody could continue us, the kernel drops it.
func (r *relay) stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var caught, none [4]uintptr
	rtSigaction(unix.SIGTSTP, &none, &caught)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTSTP)
	rtSigaction(unix.SIGTSTP, &caught, nil)
}

// endOnPanic keeps a bug in one goroutine from leaving the terminal raw.
func (s *session) endOnPanic() {
	if p := recover(); p != nil {
		s.report.release()
		s.report.line("internal error: ", panicText(p))
		s.abort(statusFailure)
	}
}

func panicText(p any) string {
	switch v := p.(type) {
	case error:
		return v.Error()
	case string:
		return v
	}
	return "panic"
}
