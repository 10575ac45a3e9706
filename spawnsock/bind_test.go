//go:build linux

package spawnsock_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

// look is what stat tells of the socket file.
type look struct {
	mode, gid uint32
}

// watcher looks at a name again and again, as fast as it can, and keeps the
// different things it saw.
type watcher struct {
	stop  atomic.Bool
	looks atomic.Int64
	done  chan map[look]int
}

func watch(path string) *watcher {
	w := &watcher{done: make(chan map[look]int)}
	go func() {
		seen := map[look]int{}
		for !w.stop.Load() {
			var st unix.Stat_t
			if unix.Lstat(path, &st) == nil {
				seen[look{st.Mode, st.Gid}]++
				w.looks.Add(1)
			}
		}
		w.done <- seen
	}()
	return w
}

func (w *watcher) seen() map[look]int {
	w.stop.Store(true)
	return <-w.done
}

// otherGroup is a group that we may give to our files and do not run as: any
// for root, a supplementary one for others, or nil if there is none.
func otherGroup(t *testing.T) *int {
	t.Helper()
	if os.Geteuid() == 0 {
		return new(12345)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g != os.Getegid() && g > 0 {
			return new(g)
		}
	}
	return nil
}

// D6: whoever looks never sees the socket with another mode or group than it
// is meant to have, however the process's umask stands and whichever way leads
// there; and the process's umask and working directory stay as they are.
func TestModeFromFirstInstant(t *testing.T) {
	group := otherGroup(t)
	for _, c := range []struct {
		name  string
		mode  fs.FileMode
		umask int
		group *int
		dir   fs.FileMode
		base  string
	}{
		{name: "default", umask: 0o022},
		{name: "default, no umask", umask: 0},
		{name: "strict umask", umask: 0o177, mode: 0o600},
		{name: "wider than the umask", umask: 0o077, mode: 0o666},
		{name: "group", umask: 0o022, mode: 0o660, group: group},
		{name: "group that we run as", umask: 0o027, mode: 0o660, group: new(os.Getegid())},
		{name: "group for the owner's eyes", umask: 0o022, mode: 0o600, group: group},
		{name: "group in a set-group-ID directory", umask: 0o022, mode: 0o660, group: group, dir: 0o700 | fs.ModeSetgid},
		{name: "name too long for an address", umask: 0o077, mode: 0o620, group: group, base: strings.Repeat("n", 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := socketDir(t)
			if c.dir != 0 {
				if err := os.Chmod(dir, c.dir); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, "s"+c.base)
			setUmask(t, c.umask)
			cwd, _ := os.Getwd()
			w, spare := watch(path), watch(fmt.Sprint(path, ".", os.Getpid()))
			for range 100 {
				l, err := spawnsock.Listen(path, spawnsock.Options{Mode: c.mode, Group: c.group})
				if err != nil {
					w.seen()
					spare.seen()
					t.Fatal(err)
				}
				looks := w.looks.Load()
				eventually(t, "it is looked at", func() bool { return w.looks.Load() > looks })
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
			want := look{unix.S_IFSOCK | 0o600, uint32(os.Getegid())}
			if c.mode != 0 {
				want.mode = unix.S_IFSOCK | uint32(c.mode)
			}
			if c.group != nil {
				want.gid = uint32(*c.group)
			}
			seen := w.seen()
			if len(seen) != 1 || seen[want] == 0 {
				t.Errorf("saw %v, want only %v", seen, want)
			}
			for look := range spare.seen() {
				if look.mode&^want.mode != 0 {
					t.Errorf("before it had its name it was open to others: %o", look.mode)
				}
			}
			if mask := syscall.Umask(c.umask); mask != c.umask {
				t.Errorf("umask is %04o now, was %04o", mask, c.umask)
			}
			if now, _ := os.Getwd(); now != cwd {
				t.Errorf("working directory is %s now, was %s", now, cwd)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// A umask that takes rights from the owner is no reason for a wrong mode; here
// alone the first instant may be stricter.
func TestModeAbsurdUmask(t *testing.T) {
	path := socketPath(t)
	setUmask(t, 0o777)
	listen(t, path, spawnsock.Options{})
	if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

// D6: group 0 is a group like any other: it is given where the directory would give
// another one.
func TestGroupOfRoot(t *testing.T) {
	needRoot(t)
	for name, mode := range map[string]fs.FileMode{"by the process": 0o700, "by the directory": 0o700 | fs.ModeSetgid} {
		t.Run(name, func(t *testing.T) {
			dir := socketDir(t)
			if err := errors.Join(os.Chown(dir, -1, 12345), os.Chmod(dir, mode)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "s")
			for _, c := range []struct {
				group *int
				want  uint32
			}{{nil, 12345}, {new(0), 0}, {new(4321), 4321}} {
				if c.group == nil && mode&fs.ModeSetgid == 0 {
					c.want = uint32(os.Getegid())
				}
				l := listen(t, path, spawnsock.Options{Mode: 0o660, Group: c.group})
				var st unix.Stat_t
				if err := unix.Stat(path, &st); err != nil || st.Gid != c.want {
					t.Errorf("the group is %d, %v, want %d", st.Gid, err, c.want)
				}
				_ = l.Close()
			}
		})
	}
}

// A group that one may not give is an error, and leaves nothing behind.
func TestGroupRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs non-root")
	}
	for _, group := range []int{54321, 0} {
		path := socketPath(t)
		_, err := spawnsock.Listen(path, spawnsock.Options{Group: &group})
		want := fmt.Sprintf("listen %s: set group %d: operation not permitted", path, group)
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// ss(8), fuser(1) and lsof(8) take a socket's name from /proc/net/unix: it is
// the path, with a group as well as without, where the kernel lets us.
func TestNameInProc(t *testing.T) {
	for _, o := range []spawnsock.Options{
		{},
		{Mode: 0o666},
		{Mode: 0o660, Group: new(os.Getegid())},
	} {
		path := socketPath(t)
		l := listen(t, path, o)
		text, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), " "+path+"\n") {
			t.Errorf("%+v: %s is not in /proc/net/unix", o, path)
		}
		_ = l.Close()
	}
}

// D7: long paths work on both sides, also with a long last element, and are
// cleaned up like short ones.
func TestLongPath(t *testing.T) {
	for _, c := range []struct {
		length int
		base   string
	}{
		{107, "s"}, {108, "s"}, {109, "s"}, {300, "s"}, {2000, "s"},
		{300, strings.Repeat("b", 91)}, {300, strings.Repeat("b", 92)}, {300, strings.Repeat("b", 200)},
	} {
		t.Run(fmt.Sprintf("%d bytes, last element %d", c.length, len(c.base)), func(t *testing.T) {
			path := longPath(t, c.length, c.base)
			for range 2 {
				l := listen(t, path, spawnsock.Options{Backlog: 4})
				if l.Path() != path || l.Addr().String() != path {
					t.Errorf("Path %q, Addr %q", l.Path(), l.Addr())
				}
				connectBoth(t, path)
				acceptAll(t, l, 2)
				if _, err := spawnsock.Listen(path, spawnsock.Options{}); !isInUse(err, os.Getpid()) {
					t.Errorf("second listener: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				left, err := os.ReadDir(filepath.Dir(path))
				if err != nil || len(left) != 0 {
					t.Errorf("left behind: %v %v", left, err)
				}
			}
		})
	}
}

// D7: a relative path is one, whatever becomes of the working directory.
func TestRelativePath(t *testing.T) {
	dir := socketDir(t)
	t.Chdir(dir)
	l := listen(t, "s", spawnsock.Options{})
	t.Chdir("/")
	connectBoth(t, filepath.Join(dir, "s"))
	acceptAll(t, l, 2)
	if here, err := l.Present(); !here || err != nil {
		t.Errorf("Present() = %v, %v", here, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// longPath makes a directory for a path of exactly the given length.
func longPath(t *testing.T, length int, base string) string {
	t.Helper()
	path := socketDir(t)
	for {
		left := length - len(path) - 1 - len(base)
		if left == 0 {
			break
		}
		element := min(left-1, 200)
		if left-1-element == 1 {
			element-- // not a path that ends in a slash
		}
		path = filepath.Join(path, strings.Repeat("d", element))
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(path, base)
	if len(path) != length {
		t.Fatalf("made a path of %d bytes", len(path))
	}
	return path
}
