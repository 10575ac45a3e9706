//go:build linux

package spawnsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"
)

// waitGone starts WaitGone and returns what it will return. It returns when
// the watch has begun, as far as one can tell: a removal before that is
// noticed as well.
func waitGone(l *spawnsock.Listener) <-chan error {
	gone := make(chan error, 1)
	go func() { gone <- l.WaitGone() }()
	return gone
}

func receive(t *testing.T, what string, ch <-chan error) error {
	t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
		return nil
	}
}

// D9: whatever takes the name away is noticed, and the socket comes back under
// it, with mode and backlog.
func TestRebind(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(path string) error
	}{
		{"removed", os.Remove},
		{"renamed", func(p string) error { return os.Rename(p, p+".old") }},
		{"replaced by a stale socket", func(p string) error {
			l, err := net.Listen("unix", p+".new")
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return errors.Join(l.Close(), os.Rename(p+".new", p))
		}},
		{"everything in the directory removed", func(p string) error {
			return errors.Join(os.Remove(p+".lock"), os.Remove(p))
		}},
		{"directory replaced", func(p string) error {
			dir := filepath.Dir(p)
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
		}},
		{"directory moved away and replaced", func(p string) error {
			dir := filepath.Dir(p)
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "dir", "s")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			l := listen(t, path, spawnsock.Options{Backlog: 3, Mode: 0o640})
			if err := l.SetBacklog(5); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				gone := waitGone(l)
				if here, err := l.Present(); !here || err != nil {
					t.Fatalf("Present() = %v, %v", here, err)
				}
				if err := c.lose(path); err != nil {
					t.Fatal(err)
				}
				if err := receive(t, "the file is missed", gone); err != nil {
					t.Fatal(err)
				}
				if err := l.Rebind(); err != nil {
					t.Fatal(err)
				}
				if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != 0o640 {
					t.Fatalf("%v, %v", st, err)
				}
				if n := fill(t, path); n != 6 {
					t.Errorf("%d clients got in, want 6", n)
				}
				if _, err := spawnsock.Listen(path, spawnsock.Options{}); !isInUse(err, os.Getpid()) {
					t.Errorf("second listener: %v", err)
				}
				acceptAll(t, l, 6)
				_ = os.RemoveAll(filepath.Dir(path) + ".old")
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			for _, name := range []string{path, path + ".lock"} {
				if _, err := os.Lstat(name); !os.IsNotExist(err) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// D9: clients that were in the queue when the name was lost are served, and so
// are those that come by the new one; whoever sits in Accept serves them all.
func TestRebindKeepsClients(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 20})
	for range 3 {
		enter(t, path, 7)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := l.Rebind(); err != nil {
			t.Fatal(err)
		}
	}
	enter(t, path, 2)
	acceptAll(t, l, 23)
}

// D9: an accept that is under way goes on with the new socket.
func TestRebindWakesAccept(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	accepted := make(chan error, 2)
	go func() {
		for range 2 {
			c, err := l.AcceptUnix()
			if err == nil {
				_ = c.Close()
			}
			accepted <- err
		}
	}()
	enter(t, path, 1)
	if err := receive(t, "first client", accepted); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Rebind(); err != nil {
		t.Fatal(err)
	}
	enter(t, path, 1)
	if err := receive(t, "client of the new socket", accepted); err != nil {
		t.Fatal(err)
	}
}

// D9: with a server, the whole of what a daemon does about it.
func TestRebindUnderServer(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	srv := &spawnsock.Server{Handler: func(_ context.Context, c *net.UnixConn) { _, _ = c.Write([]byte("x")) }}
	served := make(chan error, 2)
	go func() { served <- srv.Serve(l) }()
	go func() {
		for {
			if err := l.WaitGone(); err != nil {
				served <- err
				return
			}
			if err := l.Rebind(); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 20 {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the socket is back", func() bool { _, err := os.Lstat(path); return err == nil })
		expect(t, path, "x")
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := receive(t, "end", served); !isClosed(err) && err != spawnsock.ErrServerClosed {
			t.Error(err)
		}
	}
}

// expect connects, to a server that may be about to listen, and reads until the
// end.
func expect(t *testing.T, path, want string) {
	t.Helper()
	fd, _, err := dial.Connect(path, patience, true)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// D9: where another daemon has taken the path meanwhile, it keeps it, and we
// are told; our clients are still served.
func TestRebindTaken(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	enter(t, path, 1)
	if err := errors.Join(os.Remove(path), os.Remove(path+".lock")); err != nil {
		t.Fatal(err)
	}
	h := startHelper(t, nil, "hold", path)
	h.line(t)
	if err := l.Rebind(); !isInUse(err, h.cmd.Process.Pid) {
		t.Errorf("Rebind: %v, want pid %d", err, h.cmd.Process.Pid)
	}
	acceptAll(t, l, 1)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	enter(t, path, 1)
	if _, err := os.Lstat(path + ".lock"); err != nil {
		t.Error(err)
	}
}

// D9: without its directory the socket cannot come back, which is an error to
// end with.
func TestRebindNoDirectory(t *testing.T) {
	path := filepath.Join(socketDir(t), "dir", "s")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l := listen(t, path, spawnsock.Options{})
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the directory is missed", waitGone(l)); err != nil {
		t.Fatal(err)
	}
	if err := l.Rebind(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Rebind: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// D9: what else happens to the file or in the directory is no reason to return,
// and Close ends the wait.
func TestWaitGoneOnly(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	gone := waitGone(l)
	for range 50 {
		if err := errors.Join(
			os.Chmod(path, 0o640), os.Link(path, path+".link"), os.Remove(path+".link"),
			os.WriteFile(path+".other", nil, 0o600), os.Remove(path+".other")); err != nil {
			t.Fatal(err)
		}
		if err := l.Rebind(); err != nil {
			t.Errorf("Rebind with nothing to do: %v", err)
		}
	}
	select {
	case err := <-gone:
		t.Fatalf("WaitGone returned %v", err)
	default:
	}
	_ = l.Close()
	if err := receive(t, "Close", gone); !isClosed(err) {
		t.Errorf("WaitGone: %v", err)
	}
	if err := l.WaitGone(); !isClosed(err) {
		t.Errorf("WaitGone after Close: %v", err)
	}
	if _, err := l.Present(); !isClosed(err) {
		t.Errorf("Present after Close: %v", err)
	}
	if err := l.Rebind(); !isClosed(err) {
		t.Errorf("Rebind after Close: %v", err)
	}
}

func init() {
	// "no inotify" looks twice whether its socket is gone, while the user has no
	// inotify instance left: when it is there, and when it is not.
	helpers["no inotify"] = func(args []string) error {
		l, err := spawnsock.Listen(args[0], spawnsock.Options{})
		if err != nil {
			return err
		}
		if err := supervise(unix.SYS_INOTIFY_INIT1, []unix.Errno{unix.EMFILE, unix.EMFILE}); err != nil {
			return err
		}
		fmt.Println("there:", errors.Is(l.WaitGone(), unix.EMFILE))
		if err := os.Remove(args[0]); err != nil {
			return err
		}
		fmt.Println("gone:", l.WaitGone())
		return nil
	}
	// "no proc" does without /proc, as in a chroot(2) directory, and waits for the end
	// of its socket file.
	helpers["no proc"] = func(args []string) error {
		if err := errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("none", "/proc", "tmpfs", 0, "")); err != nil {
			return err
		}
		l, err := spawnsock.Listen(args[0], spawnsock.Options{})
		if err != nil {
			return err
		}
		gone := make(chan error, 1)
		go func() { gone <- l.WaitGone() }()
		select {
		case err := <-gone:
			fmt.Println("returned", err)
			return nil
		case <-time.After(100 * time.Millisecond): // that nothing comes can only be waited for
			fmt.Println("waits")
		}
		if err := os.Remove(args[0]); err != nil {
			return err
		}
		fmt.Println("gone:", <-gone)
		return nil
	}
}

// D9: without a watch one can still look. A daemon that only tried to watch again
// would never notice.
func TestWaitGoneWithoutInotify(t *testing.T) {
	h := startHelper(t, nil, "no inotify", socketPath(t))
	for _, want := range []string{"there: true", "gone: <nil>"} {
		if got := h.line(t); got != want {
			t.Errorf("helper says %q, want %q", got, want)
		}
	}
}

// D9: where /proc is not mounted, a socket file that is there is not gone. It was
// taken to be, and so made anew a hundred thousand times a second.
func TestWaitGoneWithoutProc(t *testing.T) {
	needRoot(t)
	h := startHelper(t, func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	}, "no proc", socketPath(t))
	for _, want := range []string{"waits", "gone: <nil>"} {
		if got := h.line(t); got != want {
			t.Errorf("helper says %q, want %q", got, want)
		}
	}
}
