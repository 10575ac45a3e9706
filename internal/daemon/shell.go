package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/userdb"
	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
	"shellspawn/spawnsock"
)

// Causes of an end in which the daemon has a part.
const (
	causeHungUp   = wire.CauseHungUp
	causeKilled   = wire.CauseKilled
	causeShutdown = wire.CauseShutdown
)

// shell is all that is known of one running shell.
type shell struct {
	daemon  *Daemon
	id      uint32
	legacy  bool
	conn    *net.UnixConn
	raw     syscall.RawConn
	client  spawnsock.Cred
	user    userdb.User
	program string
	started time.Time
	process *ptyexec.Process
	reader  *wire.Reader // used by one goroutine at a time, see watcher
	key     uint32       // whose turns this connection takes

	mu    sync.Mutex
	cause wire.Cause  // why it is being ended, 0 while it is not
	kill  *time.Timer // the end of the hang-up's grace
	ended bool
}

// serve waits for the shell's end and reports it. The shell gives up its place
// before the client learns of the end, so that who starts the next one then
// finds it free.
func (s *shell) serve() {
	d := s.daemon
	s.logStart()
	s.reader.SetRecv(s.recvNow)
	s.reader.SetLimit(wire.MaxLater)
	s.beginWatch()
	status, err := s.process.Wait()
	cause := s.finish(status)
	d.unregister(s)
	if err != nil {
		d.log.Error("wait", "conn", s.id, "cause", err)
		return // the client sees a lost status, never a wrong one
	}
	// A client that is gone needs no status, and one that does not read gets none.
	_ = s.conn.SetWriteDeadline(time.Now().Add(d.now().RequestTimeout))
	_ = send(s.raw, s.goodbye(status, cause))
	s.log("exit", slog.Int("status", status.Shell()), slog.String("cause", cause.String()))
}

// log writes one of the two lines that every shell gets. Attributes with a type cost
// a third of those without.
func (s *shell) log(event string, more ...slog.Attr) {
	s.daemon.log.LogAttrs(context.Background(), slog.LevelInfo, event, append([]slog.Attr{
		slog.Uint64("conn", uint64(s.id)), slog.Uint64("uid", uint64(s.user.UID)), slog.Int("pid", s.process.PID()),
	}, more...)...)
}

// beginWatch handles what came in one piece with the request, then leaves the
// connection to the watcher.
func (s *shell) beginWatch() {
	var err error
	for err == nil && s.reader.Buffered() > 0 {
		err = s.message()
	}
	if err == nil || err == unix.EAGAIN {
		err = s.daemon.watch.add(s)
	}
	if err != nil {
		s.daemon.log.Debug("watch", "conn", s.id, "cause", err)
		s.hangUp(causeHungUp, s.daemon.now().HangupGrace)
	}
}

// finish notes the end and stops the timer of a hang-up.
func (s *shell) finish(status ptyexec.ExitStatus) wire.Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.kill != nil {
		s.kill.Stop()
	}
	if s.cause == wire.CauseExited && status.Signaled() {
		return wire.CauseSignalled
	}
	return s.cause
}

func (s *shell) goodbye(status ptyexec.ExitStatus, cause wire.Cause) []byte {
	if s.legacy {
		return wire.AppendLegacyStatus(nil, int32(status.Shell()))
	}
	return wire.AppendExited(nil, wire.Exited{WaitStatus: status.Raw(), Cause: cause})
}

// hangUp ends the shell the way a lost terminal does: SIGHUP and SIGCONT, and if
// it is still there after the grace, SIGKILL to it alone. What ran under nohup
// or in a session of its own lives on. The first cause counts.
func (s *shell) hangUp(cause wire.Cause, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.cause != wire.CauseExited {
		return
	}
	s.cause = cause
	_ = s.process.Hangup() // fails only if the shell is gone or has become another user
	s.kill = time.AfterFunc(grace, func() { _ = s.process.Kill() })
}

// readable handles what the client has sent, then waits for more.
func (s *shell) readable() {
	defer s.endOnPanic()
	for {
		err := s.message()
		if err == nil {
			continue
		}
		if err == unix.EAGAIN && s.daemon.watch.arm(s) == nil {
			return
		}
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if !ended {
			s.daemon.log.Debug("client gone", "conn", s.id, "cause", err)
			s.hangUp(causeHungUp, s.daemon.now().HangupGrace)
		}
		return
	}
}

// message reads and carries out one message; EAGAIN if there is none.
func (s *shell) message() error {
	if s.legacy {
		return s.legacyMessage()
	}
	kind, payload, err := s.reader.Message()
	if err != nil {
		return err
	}
	switch kind {
	case wire.KindSignal:
		m, err := wire.ParseSignal(payload)
		if err != nil {
			return err
		}
		if err := s.signal(m.Number); err != nil {
			s.daemon.log.Debug("signal", "conn", s.id, "signal", m.Number, "cause", err)
			return nil // without an answer a client that was to end does so
		}
		return send(s.raw, wire.AppendAck(nil, m.Seq))
	case wire.KindHangup:
		s.hangUp(causeHungUp, s.daemon.now().HangupGrace)
		return nil
	}
	return wire.ErrProtocol
}

// relayed are the signals that a client may pass on: those with which people
// and programs control a job. Faults, SIGCHLD and SIGURG are none of them.
var relayed = map[syscall.Signal]bool{
	unix.SIGTERM: true, unix.SIGINT: true, unix.SIGHUP: true, unix.SIGQUIT: true,
	unix.SIGUSR1: true, unix.SIGUSR2: true, unix.SIGALRM: true, unix.SIGCONT: true,
	unix.SIGTSTP: true, unix.SIGWINCH: true,
}

// signal fails if nobody there may be signalled: a program that has become another
// user. One that has just ended needs no signal.
func (s *shell) signal(number uint32) error {
	sig := syscall.Signal(number)
	if !relayed[sig] {
		return nil
	}
	if err := s.process.Signal(sig); errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// recvNow lets the reader take what is there without waiting. Descriptors had
// their place in the request: from now on they never become ours, and to drop them
// takes a turn of the client's user, see turns.
func (s *shell) recvNow(p []byte) (n int, fds []int, err error) {
	n, plain, err := recvPlain(s.raw, p)
	if plain || err != nil {
		return n, nil, err
	}
	turn, err := s.daemon.turns.take(context.Background(), s.key)
	if err == nil { // always, as nothing ends the wait
		defer turn.end()
	}
	closed := s.raw.Control(func(fd uintptr) {
		interruptibly(func() { n, err = wire.RecvBare(int(fd), p) }) // it closes what it drops
	})
	if closed != nil {
		return 0, nil, closed
	}
	return n, nil, err
}

// endOnPanic keeps a bug in the handling of one client from ending others.
func (s *shell) endOnPanic() {
	if p := recover(); p != nil {
		s.daemon.logPanic(s.id, p)
		s.hangUp(causeHungUp, s.daemon.now().HangupGrace)
	}
}

// shell returns the running shell of that number, or nil.
func (d *Daemon) shell(id uint32) *shell {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shells[id]
}

// register makes the shell known. A daemon that is stopping hangs it up at
// once: the sweep over all shells may be over.
func (d *Daemon) register(s *shell) {
	d.mu.Lock()
	d.shells[s.id] = s
	d.total++
	stopping := d.stopping
	d.mu.Unlock()
	if stopping {
		s.hangUp(causeShutdown, d.shutdownHangup())
	}
}

func (d *Daemon) unregister(s *shell) {
	d.mu.Lock()
	if d.shells[s.id] == s {
		delete(d.shells, s.id)
		d.release(s.user.UID)
	}
	stopping := d.stopping
	d.mu.Unlock()
	if stopping {
		select {
		case d.left <- struct{}{}:
		default: // the one who reports it has not yet seen the last one
		}
	}
}

// shortName is what logs and lists call a program: no directory, no arguments.
func shortName(program string) string { return filepath.Base(program) }
