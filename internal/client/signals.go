package client

import (
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"shellspawn/internal/selfpipe"
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
	pipe    *os.File // the signals caught, a byte each
	seq     atomic.Uint32
	started atomic.Bool // the program runs: signals are for it now
	held    atomic.Bool // signals came before
}

// startRelay begins to catch signals. SIGHUP, as under nohup, SIGINT and those of
// job control stay ignored if they were when the client started.
func (s *session) startRelay() error {
	pipe, err := selfpipe.Open()
	if err != nil {
		return err
	}
	for _, sig := range relayed {
		if !selfpipe.Ignored(sig) {
			selfpipe.Catch(sig)
		}
	}
	if s.streams.pty {
		selfpipe.Catch(unix.SIGWINCH)
	}
	s.signals = &relay{session: s, pipe: pipe}
	go s.signals.run()
	return nil
}

func (r *relay) next() uint32 { return r.seq.Add(1) }

// begin says that the program runs. Signals that came before and did not end the
// client go to it first: it may have been running already. Nobody is woken unless
// there are some: either we see that, or run sees that it has begun.
func (r *relay) begin() {
	r.started.Store(true)
	if r.held.Load() {
		selfpipe.Post()
	}
}

// run ends with the process: nobody waits for it.
func (r *relay) run() {
	defer r.session.endOnPanic()
	var kept []unix.Signal
	buf := make([]byte, 64)
	for {
		n, err := r.pipe.Read(buf)
		if err != nil {
			return // only if it cannot be read at all
		}
		for _, b := range buf[:n] {
			sig := unix.Signal(b)
			if b != selfpipe.Mark && (r.started.Load() || !r.endsClient(sig)) {
				kept = append(kept, sig)
				r.held.Store(true)
			}
			if r.started.Load() {
				r.deliver(kept)
				kept = nil
			}
		}
	}
}

// deliver does with each signal what its time and kind ask for.
func (r *relay) deliver(signals []unix.Signal) {
	for _, sig := range signals {
		r.deliverOne(sig)
	}
}

func (r *relay) deliverOne(sig unix.Signal) {
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
		selfpipe.Default(sig)
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

// stop stops the process the way the caller's shell expects. The signal goes to
// this very thread: then it acts before the system call returns. In an orphaned
// process group, where nobody could continue us, the kernel drops it.
func (r *relay) stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	selfpipe.Default(unix.SIGTSTP)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTSTP)
	selfpipe.Catch(unix.SIGTSTP)
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
