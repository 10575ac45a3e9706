package daemon

import (
	"context"
	"errors"
	"io"
	"net"
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
}

// requestBuffer holds a common request whole, so that one recvmsg(2) reads it.
const requestBuffer = 16 << 10

var requestBuffers = sync.Pool{New: func() any { return new([requestBuffer]byte) }}

// handle serves one connection to its end. It is the server's handler: the
// connection is closed when it returns.
func (d *Daemon) handle(ctx context.Context, c *net.UnixConn) {
	cn := &conn{daemon: d, id: d.lastConn.Add(1), unix: c}
	if err := cn.serve(ctx); err != nil {
		d.log.Debug("close", "conn", cn.id, "uid", cn.cred.UID, "pid", cn.cred.PID, "cause", err)
	}
}

// serve returns why the connection ended without a shell, or nil.
func (cn *conn) serve(ctx context.Context) (err error) {
	if cn.cred, err = spawnsock.PeerCred(cn.unix); err != nil {
		return err
	}
	if cn.raw, err = cn.unix.SyscallConn(); err != nil {
		return err
	}
	cn.daemon.log.Debug("accept", "conn", cn.id, "uid", cn.cred.UID, "gid", cn.cred.GID, "pid", cn.cred.PID)
	// One deadline from here to exec, whatever trickles in.
	deadline := time.Now().Add(cn.daemon.config.RequestTimeout)
	if err := cn.unix.SetReadDeadline(deadline); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	s, err := cn.request(ctx)
	if err != nil || s == nil {
		return err
	}
	cancel()
	s.serve()
	return nil
}

// request reads the request and starts what it asks for. The buffer that it was
// read into goes back before the shell runs; descriptors that nobody took are
// closed on every way out.
func (cn *conn) request(ctx context.Context) (*shell, error) {
	buf, n, fds, err := cn.first()
	if err != nil {
		wire.CloseAll(fds)
		return nil, err
	}
	cn.reader = wire.NewReader(cn.recv, buf[:])
	cn.reader.Prime(n, fds)
	defer cn.reader.Close()
	defer cn.giveBack(buf)
	hello, legacy, err := cn.reader.Opening()
	if err != nil {
		return nil, err
	}
	if cn.legacy = legacy; legacy {
		return cn.legacyRequest(ctx)
	}
	return cn.modernRequest(ctx, hello)
}

// first waits for the first bytes. Only then does it take a buffer, so that
// connections that stay silent cost none.
func (cn *conn) first() (buf *[requestBuffer]byte, n int, fds []int, err error) {
	waitErr := cn.raw.Read(func(fd uintptr) bool {
		buf = requestBuffers.Get().(*[requestBuffer]byte)
		n, fds, err = wire.RecvNow(int(fd), buf[:])
		if err == unix.EAGAIN || err == unix.EINTR {
			requestBuffers.Put(buf)
			return false
		}
		return true
	})
	if waitErr != nil {
		return buf, 0, nil, waitErr
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return buf, n, fds, err
}

func (cn *conn) giveBack(buf *[requestBuffer]byte) {
	cn.reader.ReleaseBuffer()
	requestBuffers.Put(buf)
}

// recv waits in the runtime poller, until the read deadline.
func (cn *conn) recv(p []byte) (n int, fds []int, err error) {
	waitErr := cn.raw.Read(func(fd uintptr) bool {
		n, fds, err = wire.RecvNow(int(fd), p)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if waitErr != nil {
		return n, fds, waitErr
	}
	return n, fds, err
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
