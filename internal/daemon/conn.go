package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
	"shellspawn/spawnsock"
)

// conn is one connection that has not yet started a shell.
type conn struct {
	daemon *Daemon
	id     uint32
	unix   *net.UnixConn
	raw    syscall.RawConn
	cred   spawnsock.Cred
	reader *wire.Reader
	legacy bool
	shell  *shell // once there is one, whatever happens then

	opening  [2]byte // what the client sent first
	laden    bool    // descriptors come with what is to be received next
	key      uint32  // whose turns this connection takes
	turn     *turn   // nil while it waits for the client, or has ended
	large    *turn   // of a request that needs much memory
	received int
	half     bool // see beginHalf
}

// requestBuffer holds a common request whole, so that one recvmsg(2) reads it.
const requestBuffer = 16 << 10

var requestBuffers = sync.Pool{New: func() any { return new([requestBuffer]byte) }}

// smallRequest is how much of a request is kept before it has to wait for one of
// the few places for large ones.
const smallRequest = 64 << 10

// handle serves one connection to its end. It is the server's handler: the
// connection is closed when it returns.
func (d *Daemon) handle(ctx context.Context, c *net.UnixConn) {
	cn := &conn{daemon: d, id: d.lastConn.Add(1), unix: c}
	defer cn.endOnPanic()
	s, err := cn.open(ctx)
	if s != nil {
		s.serve()
	}
	if err != nil {
		d.log.Debug("close", "conn", cn.id, "uid", cn.cred.UID, "pid", cn.cred.PID, "cause", err)
	}
	cn.close()
}

// open returns the shell that the client has asked for. Without one it returns
// why the connection ended, or nil if the client has had an answer.
func (cn *conn) open(ctx context.Context) (s *shell, err error) {
	d := cn.daemon
	if cn.cred, err = spawnsock.PeerCred(cn.unix); err != nil {
		return nil, err
	}
	if cn.raw, err = cn.unix.SyscallConn(); err != nil {
		return nil, err
	}
	policy := d.now().policy
	cn.key = policy.turnsOf(cn)
	d.log.Debug("accept", "conn", cn.id, "uid", cn.cred.UID, "gid", cn.cred.GID, "pid", cn.cred.PID)
	// One deadline from here to exec, whatever trickles in.
	deadline := time.Now().Add(d.now().RequestTimeout)
	if err := cn.unix.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	// Who has not yet asked for anything when the daemon stops is not waited for.
	asking := context.AfterFunc(ctx, func() {
		_ = cn.unix.SetReadDeadline(time.Unix(1, 0)) // it may be closed already
	})
	defer asking()
	if err := cn.await(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && !d.isStopping() {
			d.countRefused("timeout")
		}
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if s, err = cn.request(ctx); s != nil {
		_ = cn.unix.SetReadDeadline(time.Time{}) // no timer for a shell that runs
	}
	return s, err
}

// request reads the request and starts what it asks for. The buffer that it was
// read into goes back before the shell runs; descriptors that nobody took are
// closed on every way out.
func (cn *conn) request(ctx context.Context) (*shell, error) {
	recv := func(p []byte) (int, []int, error) { return cn.recv(ctx, p) }
	buf := requestBuffers.Get().(*[requestBuffer]byte)
	cn.reader = wire.NewReader(recv, buf[:])
	defer func() {
		if cn.reader.Descriptors() > 0 {
			_ = cn.takeTurn(context.Background()) // waits for as long as it takes
			interruptibly(cn.reader.Close)
		}
		cn.endHalf()
		cn.reader.ReleaseBuffer()
		requestBuffers.Put(buf)
		cn.endTurns()
	}()
	hello, legacy, err := cn.reader.Opening()
	if err != nil {
		return nil, cn.unheard(err)
	}
	if cn.legacy = legacy; legacy {
		return cn.legacyRequest(ctx)
	}
	return cn.modernRequest(ctx, hello)
}

// unheard tells a client why nothing of its request was read, for which a look at
// its first bytes has to be enough. The old dialect has no words for it.
func (cn *conn) unheard(err error) error {
	r := cn.daemon.asRefusal(err)
	if r == nil {
		return err
	}
	cn.deny(r)
	if wire.OpensModern(cn.opening) {
		_ = send(cn.raw, wire.AppendError(nil, r.answer)) // the client may be gone
	}
	return nil
}

// await returns when the client has sent something, or has gone. It does not
// take it: what is not received costs nothing, and descriptors that come with it
// are not ours yet.
func (cn *conn) await() error {
	return cn.raw.Read(func(fd uintptr) bool {
		var peek [2]byte
		_, _, got, _, err := unix.Recvmsg(int(fd), peek[:], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		cn.laden = got&unix.MSG_CTRUNC != 0
		if cn.received == 0 {
			cn.opening = peek
		}
		return err != unix.EAGAIN && err != unix.EINTR
	})
}

// recv takes what the client has sent. It takes a turn for what may block, and gives
// that up while there is nothing. Bytes alone it takes without: who only has a
// question gets an answer also while the starts of his user hang.
func (cn *conn) recv(ctx context.Context, p []byte) (n int, fds []int, err error) {
	for {
		if cn.received > smallRequest && cn.large == nil {
			cn.endTurn()
			if cn.large, err = cn.daemon.large.take(ctx, cn.key); err != nil {
				return 0, nil, err
			}
		}
		plain := false
		if !cn.laden {
			if n, plain, err = recvPlain(cn.raw, p); err != nil && !plain {
				return 0, nil, err
			}
		}
		if !plain {
			if err := cn.takeTurn(ctx); err != nil {
				return 0, nil, err
			}
			n, fds, err = recvNow(cn.raw, p)
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			cn.received += n
			return n, fds, err
		}
		if err := cn.beginHalf(); err != nil {
			return 0, nil, err
		}
		cn.endTurn()
		if err := cn.await(); err != nil {
			return 0, nil, err
		}
	}
}

// beginHalf counts a request of which descriptors have come and the rest has not: to close
// them takes a turn, so what a user could leave lying is bounded.
func (cn *conn) beginHalf() error {
	if cn.half || cn.reader.Descriptors() == 0 {
		return nil
	}
	d := cn.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.halves[cn.key] >= max(8, min(256, d.server.MaxPending/8)) {
		return noise("busy", "request: too many requests of this user are incomplete")
	}
	d.halves[cn.key]++
	cn.half = true
	return nil
}

func (cn *conn) endHalf() {
	if !cn.half {
		return
	}
	d := cn.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.halves[cn.key]--; d.halves[cn.key] == 0 {
		delete(d.halves, cn.key)
	}
	cn.half = false
}

// recvPlain and recvNow are those of wire. An error without plain is that of a closed
// connection.
func recvPlain(raw syscall.RawConn, p []byte) (n int, plain bool, err error) {
	closed := raw.Control(func(fd uintptr) { n, plain, err = wire.RecvPlain(int(fd), p) })
	if closed != nil {
		return 0, false, closed
	}
	return n, plain, err
}

func recvNow(raw syscall.RawConn, p []byte) (n int, fds []int, err error) {
	closed := raw.Control(func(fd uintptr) { n, fds, err = wire.RecvNow(int(fd), p) })
	if closed != nil {
		return 0, nil, closed
	}
	return n, fds, err
}

// takeTurn waits until this connection may go on, see turns.
func (cn *conn) takeTurn(ctx context.Context) (err error) {
	if cn.turn == nil {
		cn.turn, err = cn.daemon.turns.take(ctx, cn.key)
	}
	return err
}

func (cn *conn) endTurn() {
	if cn.turn != nil {
		cn.turn.end()
		cn.turn = nil
	}
}

func (cn *conn) endTurns() {
	cn.endTurn()
	if cn.large != nil {
		cn.large.end()
		cn.large = nil
	}
}

// close takes a turn of its own kind, as the client may have left descriptors in the
// connection whose end takes time. That can be interrupted, unlike what the other turns are
// for: a client who hangs in all of those must not keep his connections open.
func (cn *conn) close() {
	turn, err := cn.daemon.closing.take(context.Background(), cn.key)
	if err == nil { // always, as nothing ends the wait
		defer turn.end()
	}
	interruptibly(func() { _ = cn.unix.Close() }) // what there was to say has been said
}

// admit judges who connects. To ask the user database about a stranger takes a turn.
func (cn *conn) admit(ctx context.Context) error {
	if cn.key == noID {
		if err := cn.takeTurn(ctx); err != nil {
			return err
		}
	}
	return cn.daemon.now().policy.admit(cn)
}

// endOnPanic keeps a bug in one connection from ending others. The shell that it
// may have started is ended as if its client had gone.
func (cn *conn) endOnPanic() {
	v := recover()
	if v == nil {
		return
	}
	cn.endTurns()
	_ = cn.unix.Close() // a client must not wait for the end of what is broken
	cn.daemon.logPanic(cn.id, v)
	if s := cn.shell; s != nil {
		s.hangUp(causeHungUp, cn.daemon.now().HangupGrace)
		_, _ = s.process.Wait() // nobody is there to be told
		cn.daemon.unregister(s)
	}
}

// send writes b, with descriptors on its first bytes. It waits for as long as
// the client does not read; the client's end, or ours, wakes it.
func send(raw syscall.RawConn, b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var err error
	waitErr := raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			var n int
			n, err = unix.SendmsgN(int(fd), b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err != unix.EAGAIN
			}
			b, oob = b[n:], nil
		}
		return true
	})
	return errors.Join(waitErr, err)
}
