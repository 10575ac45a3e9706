package client

import (
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"shellspawn/internal/tty"
	"shellspawn/internal/wire"
)

// session is one connection from the request to the exit status.
//
// Who waits for whom: run, in the main goroutine, reads the socket. The output
// pump is waited for once the shell has ended, since what the pty still holds
// belongs to the user; the input pump and the signal goroutine never are,
// since they block on the user. All of them are woken through the wake
// descriptor, which becomes readable for good when the shell has ended.
type session struct {
	options *Options
	report  *reporter
	streams streams
	dir     directory
	conn    connection
	dialect dialect

	reader *wire.Reader
	master tty.Master
	wake   int // eventfd(2), with a pty

	signals  *relay
	ended    flag // the shell has ended, or the connection has
	aborted  atomic.Int32
	abortion chan struct{} // closed with aborted set
	drained  chan struct{} // closed by the output pump
	acked    atomic.Uint32 // the last signal that the daemon has sent on
	ending   string        // what ended the shell
	ordered  bool          // somebody else wanted the end
}

// dialect is what differs between the two ways to speak to a daemon.
type dialect interface {
	// request sends everything up to the start.
	request() *failure
	// started waits for the daemon's word that the program runs.
	started() *failure
	// signal passes a signal on.
	signal(unix.Signal)
	// hangup says that our terminal is gone.
	hangup()
	// exited waits for the end and returns the exit status.
	exited() (int, error)
}

// run takes the connection to its end.
func (s *session) run() int {
	s.reader = wire.NewReader(s.conn.recv, nil)
	s.abortion = make(chan struct{})
	// Before the request: the program may be signalled as soon as it runs.
	if err := s.startRelay(); err != nil {
		return s.report.failed(fail("catch signals: ", err.Error()))
	}
	if f := s.dialect.request(); f != nil {
		return s.report.failed(f)
	}
	if f := s.dialect.started(); f != nil {
		if status := int(s.aborted.Load()); status != 0 {
			return status
		}
		return s.report.failed(f)
	}
	s.signals.begin()
	if s.streams.pty {
		return s.attach()
	}
	s.letGo()
	return s.finish()
}

// letGo puts /dev/null over stdin and stdout: the program owns them now, and a
// copy of ours would hold back the end of file from whoever reads or writes at
// the other end. Descriptor 2 stays for messages.
func (s *session) letGo() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(0) // nothing of ours uses them any more
		_ = unix.Close(1)
		return
	}
	_ = unix.Dup3(null, 0, 0)
	_ = unix.Dup3(null, 1, 0)
	_ = unix.Close(null)
}

// attach puts the terminal into raw mode and copies until the shell has ended
// and the pty is drained. Raw mode comes first: a terminal that still processes
// output would double the carriage returns of the pty.
func (s *session) attach() int {
	defer s.report.release()
	s.enterRaw()
	if err := s.startPumps(); err != nil {
		s.report.release()
		return s.report.failed(fail("attach terminal: ", err.Error()))
	}
	return s.finish()
}

// enterRaw sets raw mode if there is somebody who types, and gives the pty the
// present size, which may have changed since the request was sent.
func (s *session) enterRaw() {
	if s.streams.typed {
		s.streams.outer.Raw(!s.streams.shown)
	}
	s.master.Resize(s.streams.getwinsize())
}

// finish waits for the end, lets the output drain, and returns the status.
func (s *session) finish() int {
	status, err := s.dialect.exited()
	s.end()
	if s.drained != nil {
		select {
		case <-s.drained:
		case <-s.abortion:
		}
	}
	if code := int(s.aborted.Load()); code != 0 {
		s.report.release()
		return code
	}
	if err != nil {
		s.report.release()
		return s.report.failed(fail("connection ", s.conn.path, ": ", lostCause(err), " before the exit status arrived"))
	}
	if s.ordered && s.streams.pty {
		s.report.line("ended: ", s.ending) // whoever sat there wonders
	} else {
		s.report.explain("ended: ", s.ending)
	}
	return status
}

// end stops the input at once and wakes whoever waits; output drains. The copier of
// the input need not be woken: it sees the end before it reads.
func (s *session) end() {
	s.ended.Store()
	if s.streams.pty {
		one := [8]byte{1}
		_, _ = unix.Write(s.wake, one[:]) // cannot be full
	}
}

// abort ends the client with a status of its own while run waits for the
// daemon or for the output to drain.
func (s *session) abort(status int) {
	if s.aborted.CompareAndSwap(0, int32(status)) {
		close(s.abortion)
		_ = unix.Shutdown(s.conn.fd, unix.SHUT_RDWR) // wakes the reader in run
	}
}

// unsendable is a request that cannot be sent: too long is the program's affair,
// as with execve(2), everything else ours.
func unsendable(err error) *failure {
	f := fail("send request: ", err.Error())
	if errors.Is(err, unix.E2BIG) || errors.Is(err, wire.ErrTooLarge) {
		f.status = statusNotExecutable
	}
	return f
}

// lostCause names what a connection died of.
func lostCause(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return "closed by the daemon"
	}
	return err.Error()
}
