//go:build linux

package spawnsock_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"

	"golang.org/x/sys/unix"
)

// connectBoth connects once with each dialler.
func connectBoth(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := spawnsock.Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	fd, _, err := dial.Connect(path, patience, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
}

func isInUse(err error, pid int) bool {
	var e *spawnsock.InUseError
	return errors.Is(err, spawnsock.ErrInUse) && errors.As(err, &e) && e.PID == pid
}

func init() {
	// hold listens until stdin ends; with a command it runs that meanwhile,
	// which inherits what is not close-on-exec.
	helpers["hold"] = func(args []string) error {
		l, err := spawnsock.Listen(args[0], spawnsock.Options{})
		if err != nil {
			return err
		}
		defer l.Close()
		if len(args) > 1 {
			child := exec.Command(args[1], args[2:]...)
			child.Stdin = os.Stdin
			if err := child.Start(); err != nil {
				return err
			}
			fmt.Println("ready", child.Process.Pid)
			return child.Wait()
		}
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return nil
	}
}

// D5: a second listener is told the pid of the first, in the promised words,
// and the first is none the worse for it.
func TestSecondListener(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "hold", path)
	h.line(t)
	pid := h.cmd.Process.Pid
	_, err := spawnsock.Listen(path, spawnsock.Options{})
	want := fmt.Sprintf("listen %s: address already in use by pid %d", path, pid)
	if !isInUse(err, pid) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	enter(t, path, 1)
}

// D5: a lock file that was removed defeats nothing: the socket itself answers.
func TestSecondListenerWithoutLockFile(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "hold", path)
	h.line(t)
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := spawnsock.Listen(path, spawnsock.Options{})
		if !isInUse(err, h.cmd.Process.Pid) {
			t.Errorf("error %v, want pid %d", err, h.cmd.Process.Pid)
		}
	}
	enter(t, path, 1)
}

// D5: so is a listener that knows nothing of locks, also when its accept queue
// is full and nobody can ask who it is.
func TestListenForeign(t *testing.T) {
	path := socketPath(t)
	inherit(t, path, 1)
	if _, err := spawnsock.Listen(path, spawnsock.Options{}); !isInUse(err, os.Getpid()) {
		t.Errorf("error %v, want pid %d", err, os.Getpid())
	}
	fill(t, path)
	_, err := spawnsock.Listen(path, spawnsock.Options{})
	if !isInUse(err, 0) || !strings.HasSuffix(err.Error(), ": address already in use by another process") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// D5: what a killed daemon leaves behind is replaced at once.
func TestListenAfterKill(t *testing.T) {
	path := socketPath(t)
	for range 3 {
		h := startHelper(t, nil, "hold", path)
		h.line(t)
		h.kill()
		if _, err := os.Lstat(path); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, path, spawnsock.Options{})
	enter(t, path, 1)
	acceptAll(t, l, 1)
	text, err := os.ReadFile(path + ".lock")
	if err != nil || string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("lock file says %q, %v", text, err)
	}
}

// D5, E3: neither lock nor socket leaks into children: one that lives on after
// its killed parent holds nobody up.
func TestLockDoesNotLeak(t *testing.T) {
	path := socketPath(t)
	h := startHelper(t, nil, "hold", path, "cat")
	var pid int
	if _, err := fmt.Sscanf(h.line(t), "ready %d", &pid); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Process.Kill()
	eventually(t, "the lock is free", func() bool {
		l, err := spawnsock.Listen(path, spawnsock.Options{})
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("the child did not live on: %v", err)
	}
	_ = h.stdin.Close() // ends the child
}

// D5: in the moment between taking the lock and signing it the file names one
// that was killed; that one is not the culprit.
func TestHolderSignsLate(t *testing.T) {
	path := socketPath(t)
	dead := startHelper(t, nil, "hold", path)
	dead.line(t)
	dead.kill()
	holder, err := os.OpenFile(path+".lock", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	listened := make(chan error, 1)
	go func() {
		_, err := spawnsock.Listen(path, spawnsock.Options{})
		listened <- err
	}()
	time.AfterFunc(20*time.Millisecond, func() {
		_ = holder.Truncate(0)
		_, _ = holder.WriteAt([]byte(fmt.Sprintln(os.Getpid())), 0)
	})
	if err := receive(t, "Listen", listened); !isInUse(err, os.Getpid()) {
		t.Errorf("error %v, want pid %d", err, os.Getpid())
	}
}

// D5: of many that start at the same instant one listens, and the others learn
// who. Rounds follow each other closely, so that locks are released and lock
// files removed while others are about to take them.
func TestManyListeners(t *testing.T) {
	path := socketPath(t)
	var holding atomic.Int32
	var served, refused atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				l, err := spawnsock.Listen(path, spawnsock.Options{})
				if err != nil {
					if !isInUse(err, os.Getpid()) {
						t.Errorf("refused: %v", err)
					}
					refused.Add(1)
					continue
				}
				if n := holding.Add(1); n != 1 {
					t.Errorf("%d hold the path", n)
				}
				served.Add(1)
				holding.Add(-1)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d listened, %d were refused", served.Load(), refused.Load())
	if served.Load() == 0 {
		t.Error("nobody listened")
	}
}

// D5: two daemons at the same instant: one serves, the other says who does.
func TestTwoProcessesAtOnce(t *testing.T) {
	for range 10 {
		path := socketPath(t)
		a, b := startHelper(t, nil, "hold", path), startHelper(t, nil, "hold", path)
		first, err1 := a.out.ReadString('\n')
		second, err2 := b.out.ReadString('\n')
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if first != "ready\n" {
			a, b, first, second = b, a, second, first
		}
		want := fmt.Sprintf("error: listen %s: address already in use by pid %d\n", path, a.cmd.Process.Pid)
		if first != "ready\n" || second != want {
			t.Fatalf("one said %q, the other %q, want %q", first, second, want)
		}
		enter(t, path, 1)
		_ = a.stdin.Close()
		if err := a.end(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// D5: on Close only our own file goes; what took its place stays.
func TestCloseLeavesForeignFile(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace func(t *testing.T, path string)
	}{
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"another socket", func(t *testing.T, path string) { inherit(t, path, 1) }},
		{"a link to our socket", func(t *testing.T, path string) {
			if err := os.Symlink("elsewhere", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := socketPath(t)
			l := listen(t, path, spawnsock.Options{})
			if err := os.Rename(path, filepath.Join(filepath.Dir(path), "elsewhere")); err != nil {
				t.Fatal(err)
			}
			c.replace(t, path)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// A second Close says so, and does not touch what came after the first.
func TestCloseTwice(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := listen(t, path, spawnsock.Options{})
	if err := l.Close(); !isClosed(err) {
		t.Errorf("second Close: %v", err)
	}
	if here, err := other.Present(); !here || err != nil {
		t.Errorf("the successor's file: %v, %v", here, err)
	}
}

func TestCloseWakesAccept(t *testing.T) {
	l := listen(t, socketPath(t), spawnsock.Options{})
	woken := make(chan error)
	go func() {
		_, err := l.Accept()
		woken <- err
	}()
	time.AfterFunc(10*time.Millisecond, func() { _ = l.Close() })
	if err := <-woken; !isClosed(err) {
		t.Errorf("Accept: %v", err)
	}
}

// D5: only a socket is taken for a stale socket.
func TestListenKeepsOtherFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"a file", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"a link", func(p string) error { return os.Symlink("/nonexistent", p) }},
		{"a fifo", func(p string) error { return unix.Mkfifo(p, 0o600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := socketPath(t)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			_, err := spawnsock.Listen(path, spawnsock.Options{})
			if err == nil || !strings.HasSuffix(err.Error(), ": file exists and is not a socket") {
				t.Errorf("error %v", err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// A socket of another type may be alive although nobody can connect to it.
func TestListenKeepsDatagramSocket(t *testing.T) {
	path := socketPath(t)
	socketFile(t, unix.AF_UNIX, unix.SOCK_DGRAM, func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	})
	if _, err := spawnsock.Listen(path, spawnsock.Options{}); !errors.Is(err, spawnsock.ErrInUse) {
		t.Errorf("error %v", err)
	}
}

// D6: a directory in which others could put another socket is refused, and
// nothing is made in it.
func TestDirectoryOfOthers(t *testing.T) {
	own := os.Geteuid()
	for _, c := range []struct {
		name string
		mode fs.FileMode
		uid  int
		want string
	}{
		{"ours alone", 0o700, own, ""},
		{"others may read", 0o755, own, ""},
		{"the group may write", 0o770, own, "may be written to by others (mode 0770)"},
		{"everybody may write", 0o777, own, "may be written to by others (mode 0777)"},
		{"sticky", 0o777 | fs.ModeSticky, own, stickyUnlessRoot(own)},
		{"another user's", 0o755, 54321, "belongs to uid 54321"},
		{"another user's, sticky", 0o777 | fs.ModeSticky, 54321, "belongs to uid 54321"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.uid != own {
				needRoot(t)
			}
			path := socketPath(t)
			dir := filepath.Dir(path)
			if err := errors.Join(os.Chown(dir, c.uid, -1), os.Chmod(dir, c.mode)); err != nil {
				t.Fatal(err)
			}
			l, err := spawnsock.Listen(path, spawnsock.Options{})
			if err == nil {
				_ = l.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			l, err = spawnsock.Listen(path, spawnsock.Options{TrustDir: true})
			if err != nil {
				t.Errorf("with TrustDir: %v", err)
				return
			}
			_ = l.Close()
		})
	}
}

func stickyUnlessRoot(uid int) string {
	if uid == 0 {
		return ""
	}
	return "may be written to by others (mode 1777)"
}

// D5, D6: in /tmp anybody may leave something under the name of the lock: it is
// refused, not waited for and not written to.
func TestLockOfStranger(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"a fifo", "not a regular file", func(p string) error { return unix.Mkfifo(p, 0o600) }},
		{"a link", "too many levels of symbolic links", func(p string) error { return os.Symlink("/nonexistent", p) }},
		{"another user's", "belongs to uid 54321", func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o666), os.Chown(p, 54321, -1))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.want, "uid") {
				needRoot(t)
			}
			path := socketPath(t)
			if err := c.make(path + ".lock"); err != nil {
				t.Fatal(err)
			}
			_, err := spawnsock.Listen(path, spawnsock.Options{})
			want := fmt.Sprintf("listen %s: lock %s.lock: %s", path, path, c.want)
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

func TestListenErrors(t *testing.T) {
	dir := socketDir(t)
	for _, c := range []struct{ name, path, want string }{
		{"empty", "", "listen : not a path in the file system"},
		{"abstract", "@x", "listen @x: not a path in the file system"},
		{"no directory", dir + "/no/s", "listen " + dir + "/no/s: directory " + dir + "/no: no such file or directory"},
		{"ends in a slash", dir + "/", "listen " + dir + "/: is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := spawnsock.Listen(c.path, spawnsock.Options{})
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

// E3: every descriptor of a listener is close-on-exec, and all are gone after
// Close.
func TestDescriptors(t *testing.T) {
	path := socketPath(t)
	warm := listen(t, path, spawnsock.Options{}) // the poller's own descriptors
	_ = warm.Close()
	before := openFiles(t)
	l := listen(t, path, spawnsock.Options{Backlog: 3})
	queue(t, l)
	for fd := range openFiles(t) {
		if before[fd] {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec", fd)
		}
	}
	_ = l.Close()
	if after := openFiles(t); len(after) != len(before) {
		t.Errorf("%d descriptors before, %d after", len(before), len(after))
	}
}

func openFiles(t *testing.T) map[int]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	fds := map[int]bool{}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil {
			fds[fd] = true
		}
	}
	return fds
}

// A Listener is a net.Listener.
func TestNetListener(t *testing.T) {
	path := socketPath(t)
	var l net.Listener = listen(t, path, spawnsock.Options{})
	enter(t, path, 1)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
