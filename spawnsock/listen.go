//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

var errClosed = net.ErrClosed

// Listener is a listening Unix stream socket. It is a net.Listener; its
// methods may be called from several goroutines.
type Listener struct {
	path      string // as the caller gave it
	opts      Options
	inherited bool

	mu        sync.Mutex
	closed    bool
	done      chan struct{} // closed by Close
	now       socket
	old       []socket // replaced by Rebind, with clients in the queue
	place     *place   // nil if inherited, like lock
	lock      *lock
	watch     watch
	asked     int
	effective int

	meter meter
}

// Listen makes a socket at path and listens on it.
//
// The path is ours until Close: a lock file beside it, path + ".lock", keeps
// away whoever uses this package, and a socket on which somebody else listens
// is left alone; both give an error that matches ErrInUse and names the other
// process. A socket file that nobody listens on is replaced; any other file is
// not. A directory that others may write to is refused, see Options.TrustDir.
//
// The file has its mode and its group from the moment it appears. Nothing of
// the process changes for that, neither umask nor working directory. Every
// descriptor is close-on-exec. The caller closes the listener.
func Listen(path string, o Options) (*Listener, error) {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	l := &Listener{path: path, opts: o, done: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	return l, nil
}

// open takes the place, the lock and the name, in this order: what follows may
// be done only by whoever has what comes before.
func (l *Listener) open() (err error) {
	p, err := openPlace(l.path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if !l.opts.TrustDir {
		if err := p.check(); err != nil {
			return err
		}
	}
	lock, err := takeLock(p)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			lock.release()
		}
	}()
	s, err := newSocket(p, l.opts)
	if err != nil {
		return err
	}
	l.place, l.lock = p, lock
	l.useLocked(s, l.opts.Backlog)
	return nil
}

// useLocked makes s the socket of the listener, on which listen(2) has been
// called for a backlog of n.
func (l *Listener) useLocked(s socket, n int) {
	l.now = s
	l.asked, l.effective = n, effectiveOf(n)
}

// Inherited says whether the socket was adopted.
func (l *Listener) Inherited() bool { return l.inherited }

// Path is where clients find the socket, as it was given to Listen; for an
// adopted socket it is the address that it was bound to.
func (l *Listener) Path() string { return l.path }

// Addr returns Path as a *net.UnixAddr.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Accept is AcceptUnix for callers that want a net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptUnix waits for the next client and returns its connection, which the
// caller closes. Close wakes it with an error that matches net.ErrClosed.
func (l *Listener) AcceptUnix() (*net.UnixConn, error) {
	c, err := l.accept()
	if err == nil {
		l.sample()
	}
	return c, err
}

func (l *Listener) accept() (*net.UnixConn, error) {
	for {
		l.mu.Lock()
		ln, old := l.now.ln, l.old
		l.mu.Unlock()
		if len(old) > 0 {
			if c, err := l.acceptOld(old[0]); c != nil || err != nil {
				return c, err
			}
			continue
		}
		c, err := ln.AcceptUnix()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		// Rebind has put another socket in the place of this one.
	}
}

// Close removes the socket file, if it is still ours, closes the socket and
// gives up the lock. Clients that wait in the accept queue are dropped.
// AcceptUnix and WaitGone return. A second call returns net.ErrClosed.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	l.closed = true
	close(l.done)
	var err error
	// The name goes first: as long as the socket is open its inode number
	// cannot be given to another file, which we would remove by mistake.
	if l.place != nil {
		err = l.place.remove(l.now.name)
	}
	err = errors.Join(err, l.now.close())
	for _, old := range l.old {
		_ = old.close() // its clients are dropped like the others
	}
	l.watch.close()
	if l.lock != nil {
		l.lock.release()
		l.place.close()
	}
	l.meter.close()
	if err != nil {
		return fmt.Errorf("close %s: %w", l.path, err)
	}
	return nil
}

func (l *Listener) fail(op string, err error) error {
	return fmt.Errorf("%s %s: %w", op, l.path, err)
}
