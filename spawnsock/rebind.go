//go:build linux

package spawnsock

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Present says whether the path still leads to this socket: false if the file
// was removed, renamed or replaced. The file of an adopted socket is not ours
// to look after, so there the answer is always true.
func (l *Listener) Present() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, errClosed
	}
	ok, err := l.presentLocked()
	if err != nil {
		return false, l.fail("stat", err)
	}
	return ok, nil
}

// presentLocked asks by path and not by our directory, which may itself have
// been moved away.
func (l *Listener) presentLocked() (bool, error) {
	if l.inherited {
		return true, nil
	}
	var st unix.Stat_t
	err := unix.Lstat(l.place.path, &st)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return false, nil
	}
	// unlink(2) reports the lost link before it forgets the name, and for that
	// moment the name leads to a file without links.
	return err == nil && idOf(&st) == l.now.name && st.Nlink > 0, err
}

// WaitGone blocks until Present would say false, and returns nil; Close wakes
// it with an error that matches net.ErrClosed. It waits in the runtime poller
// for inotify(7) events of the file and of its directory as such, so it costs
// nothing meanwhile, in a busy directory either. Call it again after Rebind,
// and from one goroutine at a time. For an adopted socket it waits for Close.
//
// Where no watch can be had, for instance because the user has no inotify instance
// left, it returns nil if the file is gone at this moment, and an error otherwise.
func (l *Listener) WaitGone() error {
	if l.inherited {
		<-l.done
		return errClosed
	}
	events, err := l.startWatch()
	if err != nil {
		// Out of inotify instances, say. What is gone by now can be told all the same.
		if here, lookErr := l.Present(); lookErr != nil || here {
			return errors.Join(err, lookErr)
		}
	}
	if events == nil {
		return nil // it is gone already
	}
	buf := make([]byte, 4096)
	for {
		// Look after the watch has begun, and after every event.
		here, err := l.Present()
		if err != nil || !here {
			return err
		}
		if _, err := events.Read(buf); errors.Is(err, os.ErrClosed) {
			return errClosed
		} else if err != nil {
			return l.fail("watch", err)
		}
	}
}

// startWatch watches our file and its directory, instead of those before, and
// returns the inotify descriptor; it is nil if one of them is not there.
func (l *Listener) startWatch() (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	err := l.watch.begin(l.place)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, l.fail("watch", err)
	}
	return l.watch.events, nil
}

// watch is one inotify instance for the life of the listener: instances are
// few for each user, and the kernel is slow to take them back.
type watch struct {
	events *os.File
	marks  []int
}

// begin watches the file at p and its directory. A file that is still open does
// not report that it was deleted but, as IN_ATTRIB, that its link count changed.
func (w *watch) begin(p *place) error {
	if w.events == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return os.NewSyscallError("inotify_init1", err)
		}
		w.events = os.NewFile(uintptr(fd), "inotify")
	}
	raw, err := w.events.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		for _, mark := range w.marks {
			_, _ = unix.InotifyRmWatch(fd, uint32(mark)) // gone with its file, usually
		}
		w.marks = nil
		// By path, like presentLocked, and not through /proc, which may be missing: a
		// file that is there and said to be gone would be made anew for ever.
		err := w.add(fd, filepath.Dir(p.path), unix.IN_MOVE_SELF|unix.IN_DELETE_SELF)
		if err == nil {
			err = w.add(fd, p.path, unix.IN_ATTRIB|unix.IN_MOVE_SELF|unix.IN_DELETE_SELF|unix.IN_DONT_FOLLOW)
		}
		return err
	})
}

func (w *watch) add(fd int, path string, events uint32) error {
	mark, err := unix.InotifyAddWatch(fd, path, events)
	if err == nil {
		w.marks = append(w.marks, mark)
	}
	return err
}

func (w *watch) close() {
	if w.events != nil {
		_ = w.events.Close() // only wakes the reader
	}
}

// Rebind makes the socket anew, with the same options and the present backlog,
// if its file is gone: under the same path, in a directory that was replaced
// as well. Clients that wait in the old queue are accepted first. If somebody
// else has taken the path meanwhile, the error matches ErrInUse, and the
// listener goes on as it was. If the file is there, nothing is done. The file
// of an adopted socket cannot be made anew.
func (l *Listener) Rebind() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.fail("rebind", errClosed)
	}
	if l.inherited {
		return l.fail("rebind", errors.New("socket is inherited"))
	}
	if here, err := l.presentLocked(); here || err != nil {
		return err
	}
	if err := l.rebindLocked(); err != nil {
		return l.fail("rebind", err)
	}
	return nil
}

func (l *Listener) rebindLocked() (err error) {
	p, lock, err := l.regain()
	if err != nil {
		return err
	}
	fresh := lock != l.lock
	defer func() {
		if err != nil && fresh {
			lock.release()
			p.close()
		}
	}()
	o := l.opts
	o.Backlog = l.asked
	s, err := newSocket(p, o)
	if err != nil {
		return err
	}
	if fresh {
		l.lock.release()
		l.place.close()
		l.place, l.lock = p, lock
	}
	old := l.now
	l.old = append(l.old, old)
	l.useLocked(s, o.Backlog)
	// Whoever waits for clients of the old socket goes on with this one.
	return old.wake()
}

// regain returns the place and the lock under which the path may be bound: our
// own if both still stand, and new ones otherwise.
func (l *Listener) regain() (*place, *lock, error) {
	p, err := openPlace(l.place.path)
	if err != nil {
		return nil, nil, err
	}
	if l.lock.current() && sameDir(p, l.place) {
		p.close()
		return l.place, l.lock, nil
	}
	if !l.opts.TrustDir {
		err = p.check()
	}
	var lock *lock
	if err == nil {
		lock, err = takeLock(p)
	}
	if err != nil {
		p.close()
		return nil, nil, err
	}
	return p, lock, nil
}

func sameDir(a, b *place) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a.dir, &x) == nil && unix.Fstat(b.dir, &y) == nil && idOf(&x) == idOf(&y)
}

// acceptOld takes a client out of the queue of a socket that Rebind replaced.
// When the queue is empty the socket is closed, and both results are nil.
func (l *Listener) acceptOld(old socket) (*net.UnixConn, error) {
	fd := -1
	err := old.control(func(listening int) error {
		// FileConn takes a second descriptor. Without one it would be too late to leave
		// the client where it is.
		second, err := unix.FcntlInt(uintptr(listening), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		defer unix.Close(second)
		fd, _, err = unix.Accept4(listening, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return os.NewSyscallError("accept4", err)
	})
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, os.ErrClosed):
		l.dropOld(old)
		return nil, nil
	case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
		return nil, nil
	case err != nil:
		return nil, err
	}
	f := os.NewFile(uintptr(fd), l.path)
	defer f.Close() // FileConn duplicates it
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// dropOld closes a socket whose queue is empty and which nobody can reach.
func (l *Listener) dropOld(old socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.old {
		if o == old {
			l.old = append(l.old[:i:i], l.old[i+1:]...)
			_ = old.close() // nobody is in it
		}
	}
}
