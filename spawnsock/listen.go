//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
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
	ln        *net.UnixListener
	raw       syscall.RawConn
	socket    atomic.Uint32       // the socket's inode number, by which sock_diag(7) finds it
	old       []*net.UnixListener // replaced by Rebind, with clients in the queue
	place     *place              // nil if inherited, like lock
	lock      *lock
	file      fileID
	watch     *os.File
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

// socket is a listening socket and its file.
type socket struct {
	ln   *net.UnixListener
	raw  syscall.RawConn
	ino  uint32
	file fileID
}

// newSocket binds a new socket to the place, which has been cleared, and
// listens. On failure nothing is left of it.
func newSocket(p *place, o Options) (s socket, err error) {
	if err := clearStale(p); err != nil {
		return s, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return s, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), p.path)
	defer f.Close() // wrap has duplicated it
	file, err := bindAt(fd, p, o)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EEXIST) {
		return s, &InUseError{PID: listenerPID(p)}
	}
	if err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			_ = p.remove(file) // the first error is the one that matters
		}
	}()
	if err := unix.Listen(fd, askBacklog(o.Backlog)); err != nil {
		return s, os.NewSyscallError("listen", err)
	}
	s, err = wrap(f)
	s.file = file
	return s, err
}

// wrap makes a net listener of f, which stays the caller's. A listener made
// this way does not remove its file when it is closed.
func wrap(f *os.File) (s socket, err error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return s, err
	}
	unixLn, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close() // a duplicate; the caller has the original
		return s, errors.New("not a Unix socket")
	}
	s.ln = unixLn
	if s.raw, err = unixLn.SyscallConn(); err != nil {
		return s, err
	}
	err = control(s.raw, func(fd int) error {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		s.ino = uint32(st.Ino)
		return os.NewSyscallError("fstat", err)
	})
	return s, err
}

// useLocked makes s the socket of the listener, on which listen(2) has been
// called for a backlog of n.
func (l *Listener) useLocked(s socket, n int) {
	l.ln, l.raw, l.file = s.ln, s.raw, s.file
	l.socket.Store(s.ino)
	l.asked, l.effective = n, effectiveOf(n)
}

// Adopt makes a Listener of a listening Unix stream socket that somebody else
// opened, as a service manager does. The descriptor is duplicated; the caller
// closes f. The file of the socket is not ours: it is never removed, and
// Mode, Group and TrustDir of the options are ignored. If the backlog asked for
// is larger than the socket has, it is raised; it is never lowered.
func Adopt(f *os.File, o Options) (*Listener, error) {
	if err := acceptable(f); err != nil {
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	s, err := wrap(f)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	l := &Listener{path: s.ln.Addr().String(), opts: o, inherited: true, done: make(chan struct{})}
	l.useLocked(s, o.Backlog)
	if _, limit, err := l.queueLocked(); err == nil {
		if l.effective <= limit {
			l.effective = limit
			return l, nil
		}
	}
	if err := l.listenLocked(o.Backlog); err != nil {
		_ = l.Close() // the first error is the one that matters
		return nil, fmt.Errorf("adopt %s: %w", f.Name(), err)
	}
	return l, nil
}

// acceptable says what is wrong with f as a listening Unix stream socket.
func acceptable(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		for _, want := range []struct {
			option, value int
			otherwise     string
		}{
			{unix.SO_DOMAIN, unix.AF_UNIX, "not a Unix socket"},
			{unix.SO_TYPE, unix.SOCK_STREAM, "not a stream socket"},
			{unix.SO_ACCEPTCONN, 1, "not a listening socket"},
		} {
			value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
			if err != nil {
				return os.NewSyscallError("getsockopt", err)
			}
			if value != want.value {
				return errors.New(want.otherwise)
			}
		}
		return nil
	})
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
	for {
		l.mu.Lock()
		ln, old := l.ln, l.old
		l.mu.Unlock()
		if len(old) > 0 {
			if c, err := l.acceptOld(old[0]); c != nil || err != nil {
				return c, err
			}
			continue
		}
		c, err := ln.AcceptUnix()
		if err == nil {
			l.sample()
			return c, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
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
		err = l.place.remove(l.file)
	}
	err = errors.Join(err, l.ln.Close())
	for _, old := range l.old {
		_ = old.Close() // its clients are dropped like the others
	}
	if l.watch != nil {
		_ = l.watch.Close() // only wakes the reader
	}
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

// control runs f on the descriptor behind raw, which cannot be closed
// meanwhile, and returns whichever error there is.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var inner error
	err := raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	if err != nil {
		return err
	}
	return inner
}
