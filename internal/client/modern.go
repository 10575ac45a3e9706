package client

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// modern is the dialect of our own daemon.
type modern struct{ *session }

// request sends everything in one message. A daemon may refuse before it has read
// all of a long one, so that it could not be sent is not told here: the answer,
// or that there is none, says more.
func (m modern) request() *failure {
	start := buildStart(m.options, m.dir)
	if m.streams.pty {
		size := m.streams.getwinsize()
		start.Terminal = &wire.Terminal{Rows: size.Row, Cols: size.Col, XPixels: size.Xpixel, YPixels: size.Ypixel}
		if m.streams.outer != nil {
			start.Terminal.Settings = m.streams.outer.Settings()
		}
	}
	for _, fd := range m.streams.passed {
		start.Stdio = append(start.Stdio, byte(fd))
	}
	hello := wire.Hello{Version: wire.Version, WaitedMillis: uint32(m.conn.waited.Milliseconds())}
	b := wire.AppendStart(requestBuffer[:0], hello, start)
	if len(b) > wire.MaxMessage {
		return unsendable(unix.E2BIG)
	}
	if err := m.conn.send(b, m.streams.passed...); err == unix.EAGAIN {
		return fail("send request: ", m.conn.path, ": the daemon does not read")
	}
	return nil
}

// started waits for the first answer, no longer than for the connection. The first
// deadline was set with the connection.
func (m modern) started() *failure {
	deadline := m.conn.since.Add(m.options.ConnectTimeout)
	for {
		kind, payload, err := m.reader.Message()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = m.conn.file.SetReadDeadline(time.Time{}) // it is in the poller
			return m.answer(kind, payload, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fail("connect ", m.conn.path, ": connected but no answer within ", m.options.ConnectTimeout.String()).
				withHint("the daemon may hang; its log tells more")
		}
		m.report.notice("connected, waiting up to ", m.options.ConnectTimeout.String(), " for an answer from the daemon at ", m.conn.path)
		_ = m.conn.file.SetReadDeadline(time.Now().Add(min(left, noticeAfter)))
	}
}

// answer is what the first answer means.
func (m modern) answer(kind wire.Kind, payload []byte, err error) *failure {
	switch {
	case errors.Is(err, wire.ErrTooLarge), errors.Is(err, wire.ErrProtocol):
		return m.strange(err.Error())
	case err != nil:
		return m.strange(lostCause(err) + " without an answer")
	case kind == wire.KindStarted:
		return m.accept(payload)
	case kind == wire.KindError:
		return m.options.perhapsShell(refusal(payload))
	}
	return m.strange("protocol error: unexpected message " + strconv.Itoa(int(kind)))
}

// strange is an answer that no daemon of ours gives to a client of its version.
func (m modern) strange(cause string) *failure {
	return fail("connect ", m.conn.path, ": ", cause).
		withHint("is it a shellspawn daemon that listens there? one of the old dialect needs --legacy")
}

// accept takes over what the program was started with.
func (m modern) accept(payload []byte) *failure {
	started, err := wire.ParseStarted(payload)
	fds := m.reader.TakeDescriptors()
	want := 0
	if m.streams.pty {
		want = 1
	}
	if err == nil && len(fds) != want {
		err = wire.ErrProtocol
	}
	if err != nil {
		wire.CloseAll(fds)
		return m.strange(err.Error())
	}
	if m.streams.pty {
		m.master.FD = fds[0]
	}
	if started.Warning != "" {
		m.report.line("warning: ", started.Warning)
	}
	m.report.explain("started after ", milliseconds(time.Since(m.conn.since)), ": pid ", strconv.Itoa(int(started.PID)), ", id ", strconv.Itoa(int(started.ID)))
	return nil
}

// refusal turns the daemon's error into ours.
func refusal(payload []byte) *failure {
	e, err := wire.ParseError(payload)
	if err != nil {
		return fail("refused: ", err.Error())
	}
	f := fail(e.Text)
	f.hint = e.Hint
	if e.Status == 126 || e.Status == 127 {
		f.status = int(e.Status)
	}
	return f
}

// exited reads until the end is reported. Acks are noted on the way.
func (m modern) exited() (int, error) {
	for {
		kind, payload, err := m.reader.Message()
		if err != nil {
			return 0, err
		}
		switch kind {
		case wire.KindAck:
			seq, err := wire.ParseAck(payload)
			if err != nil {
				return 0, err
			}
			m.acked.Store(seq)
		case wire.KindExited:
			e, err := wire.ParseExited(payload)
			if err != nil {
				return 0, err
			}
			w := unix.WaitStatus(e.WaitStatus)
			m.ending = e.Cause.String() + ", " + describe(w)
			m.ordered = e.Cause == wire.CauseKilled || e.Cause == wire.CauseShutdown
			return exitStatus(w), nil
		case wire.KindError:
			return 0, errors.New(refusal(payload).text)
		}
	}
}

// describe is the wait status for --verbose.
func describe(w unix.WaitStatus) string {
	text := "status " + strconv.Itoa(exitStatus(w))
	if w.Signaled() {
		text += " from " + unix.SignalName(w.Signal())
	}
	return text
}

// exitStatus is the wait status as a shell reports it.
func exitStatus(w unix.WaitStatus) int {
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}

// ackTimeout is how long a forwarded TERM or HUP may go unacknowledged.
const ackTimeout = time.Second

// signal sends one signal on. A daemon that does not acknowledge TERM or HUP in
// time does not hold the client back from ending.
func (m modern) signal(sig unix.Signal) {
	if sig == unix.SIGWINCH {
		return // the kernel has told the program
	}
	seq := m.signals.next()
	err := m.conn.send(wire.AppendSignal(nil, wire.Signal{Number: uint32(sig), Seq: seq}))
	if sig != unix.SIGTERM && sig != unix.SIGHUP {
		return
	}
	if err != nil && !m.ended.Load() {
		m.giveUp(sig)
		return
	}
	time.AfterFunc(ackTimeout, func() {
		if !m.ended.Load() && m.acked.Load() < seq {
			m.giveUp(sig)
		}
	})
}

func (m modern) giveUp(sig unix.Signal) {
	m.report.release()
	m.report.line("signal ", unix.SignalName(sig), ": not delivered within "+ackTimeout.String())
	m.abort(statusFailure)
}

func (m modern) hangup() { _ = m.conn.send(wire.AppendHangup(nil)) } // a lost daemon is noticed by the reader

// requestBuffer holds most requests. On the stack it would make that grow, twice,
// and a process makes one request.
var requestBuffer [8 << 10]byte
