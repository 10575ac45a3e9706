package daemon

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher notices what clients of running shells do: signals to pass on, and
// that they go away. One epoll(7) for all of them lets an idle shell do with the one
// goroutine that waits for its end.
//
// Each connection is armed for one event at a time (EPOLLONESHOT), so that never
// two goroutines read the same one.
type watcher struct {
	daemon *Daemon
	file   *os.File
	raw    syscall.RawConn
}

// newWatcher opens the epoll descriptor and has it waited for by the runtime's
// poller: an epoll descriptor can be polled itself.
func newWatcher(d *Daemon) (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd) // nothing is registered
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &watcher{daemon: d, file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

// run ends with the process.
func (w *watcher) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		var n int
		err := w.raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0) // EINTR is no event
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if s := w.daemon.shell(uint32(e.Fd)); s != nil {
				go s.readable()
			}
		}
	}
}

// add begins to watch, arm continues after an event. Closing the connection
// ends it. The event carries the shell's number and not the descriptor's, which
// may be another connection's by then.
func (w *watcher) add(s *shell) error { return w.control(s, unix.EPOLL_CTL_ADD) }
func (w *watcher) arm(s *shell) error { return w.control(s, unix.EPOLL_CTL_MOD) }

func (w *watcher) control(s *shell, op int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(s.id)}
	var err error
	watchErr := w.raw.Control(func(epoll uintptr) {
		connErr := s.raw.Control(func(fd uintptr) {
			err = unix.EpollCtl(int(epoll), op, int(fd), &event)
		})
		if connErr != nil {
			err = connErr
		}
	})
	if watchErr != nil {
		return watchErr
	}
	return os.NewSyscallError("epoll_ctl", err)
}
