//go:build linux

package spawnsock_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

// inherit opens a listening socket as a service manager would.
func inherit(t *testing.T, path string, backlog int) *os.File {
	t.Helper()
	return socketFile(t, unix.AF_UNIX, unix.SOCK_STREAM, func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
}

func socketFile(t *testing.T, family, kind int, prepare func(fd int) error) *os.File {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inherited")
	t.Cleanup(func() { _ = f.Close() })
	if err := prepare(fd); err != nil {
		t.Fatal(err)
	}
	return f
}

// D2: an inherited socket's backlog is raised to ours, with clients queued, and
// never lowered.
func TestAdoptBacklog(t *testing.T) {
	for _, c := range []struct {
		name             string
		theirs, ours     int
		effective, admit int
	}{
		{"ours is larger", 2, 20, 20, 21},
		{"theirs is larger", 20, 2, 20, 21},
		{"equal", 5, 5, 5, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := socketPath(t)
			f := inherit(t, path, c.theirs)
			enter(t, path, 1)
			l, err := spawnsock.Adopt(f, spawnsock.Options{Backlog: c.ours})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if asked, effective := l.Backlog(); asked != c.ours || effective != c.effective {
				t.Errorf("Backlog() = %d, %d, want %d, %d", asked, effective, c.ours, c.effective)
			}
			if got := 1 + fill(t, path); got != c.admit {
				t.Errorf("%d clients got in, want %d", got, c.admit)
			}
			if err := l.SetBacklog(30); err != nil {
				t.Fatal(err)
			}
			if got := c.admit + fill(t, path); got != 31 {
				t.Errorf("after SetBacklog(30) %d clients got in, want 31", got)
			}
			if d := queue(t, l); d.Now != 31 || d.Limit != 30 {
				t.Errorf("queue is %+v", d)
			}
			acceptAll(t, l, 31)
		})
	}
}

// D5, D6: the file of an inherited socket is left alone: not removed, not
// re-moded, not made anew.
func TestAdoptLeavesFile(t *testing.T) {
	path := socketPath(t)
	f := inherit(t, path, 1)
	if err := os.Chmod(path, 0o612); err != nil {
		t.Fatal(err)
	}
	l, err := spawnsock.Adopt(f, spawnsock.Options{Mode: 0o600, Group: new(1)})
	if err != nil {
		t.Fatal(err)
	}
	if !l.Inherited() || l.Path() != path || l.Addr().String() != path {
		t.Errorf("Inherited %v, Path %s, Addr %v", l.Inherited(), l.Path(), l.Addr())
	}
	if here, err := l.Present(); !here || err != nil {
		t.Errorf("Present() = %v, %v", here, err)
	}
	if err := l.Rebind(); err == nil {
		t.Error("Rebind succeeded")
	}
	gone := make(chan error)
	go func() { gone <- l.WaitGone() }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-gone; !isClosed(err) {
		t.Errorf("WaitGone: %v", err)
	}
	st, err := os.Lstat(path)
	if err != nil || st.Mode().Perm() != 0o612 {
		t.Errorf("after Close: %v, %v", st, err)
	}
	if _, err := os.Lstat(path + ".lock"); !os.IsNotExist(err) {
		t.Errorf("lock file: %v", err)
	}
}

// What cannot be served is refused by name, not dropped silently.
func TestAdoptRefuses(t *testing.T) {
	bind := func(t *testing.T) func(int) error {
		path := socketPath(t)
		return func(fd int) error { return unix.Bind(fd, &unix.SockaddrUnix{Name: path}) }
	}
	none := func(int) error { return nil }
	for _, c := range []struct {
		name, want string
		file       func(t *testing.T) *os.File
	}{
		{"datagram", "not a stream socket", func(t *testing.T) *os.File {
			return socketFile(t, unix.AF_UNIX, unix.SOCK_DGRAM, bind(t))
		}},
		{"seqpacket", "not a stream socket", func(t *testing.T) *os.File {
			return socketFile(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, bind(t))
		}},
		{"not listening", "not a listening socket", func(t *testing.T) *os.File {
			return socketFile(t, unix.AF_UNIX, unix.SOCK_STREAM, bind(t))
		}},
		{"internet", "not a Unix socket", func(t *testing.T) *os.File {
			return socketFile(t, unix.AF_INET, unix.SOCK_STREAM, none)
		}},
		{"no socket", "socket operation on non-socket", func(t *testing.T) *os.File {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := spawnsock.Adopt(c.file(t), spawnsock.Options{})
			if err == nil || !strings.HasPrefix(err.Error(), "adopt ") || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want adopt …: %s", err, c.want)
			}
		})
	}
}

// An abstract socket may be inherited, too.
func TestAdoptAbstract(t *testing.T) {
	name := "@" + socketPath(t)
	l, err := spawnsock.Adopt(inherit(t, name, 1), spawnsock.Options{Backlog: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	acceptAll(t, l, 1)
}
