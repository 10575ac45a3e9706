//go:build linux

package spawnsock_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"shellspawn/spawnsock"
)

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// D2: the depth is what is really waiting, and the peak stays.
func TestQueueDepth(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 40})
	check := func(now, peak int) {
		t.Helper()
		want := spawnsock.Depth{Now: now, Peak: peak, Limit: 40}
		if d := queue(t, l); d != want {
			t.Errorf("queue is %+v, want %+v", d, want)
		}
	}
	check(0, 0)
	enter(t, path, 3)
	check(3, 3)
	acceptAll(t, l, 2)
	check(1, 3)
	enter(t, path, 40)
	check(41, 41)
	acceptAll(t, l, 41)
	check(0, 41)
	_ = l.Close()
	if _, err := l.Queue(); !isClosed(err) {
		t.Errorf("after Close: %v", err)
	}
}

// D2: the peak is seen by accepting alone, when nobody asks while they wait;
// the one accepted first counts. It never exceeds what the queue can hold.
func TestQueuePeakSampled(t *testing.T) {
	for _, n := range []int{1, 2, 33} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			path := socketPath(t)
			l := listen(t, path, spawnsock.Options{Backlog: 32})
			enter(t, path, n)
			acceptAll(t, l, n)
			if d := queue(t, l); d.Now != 0 || d.Peak != n {
				t.Errorf("queue is %+v, want a peak of %d", d, n)
			}
		})
	}
}

// D2: an ordinary user may ask as well.
func TestQueueOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("all tests of the queue run as an ordinary user now")
		return
	}
	path := socketPath(t)
	f := inherit(t, path, 7)
	enter(t, path, 5)
	h := startHelper(t, func(cmd *exec.Cmd) {
		cmd.Path, cmd.ExtraFiles = publicCopy(t), []*os.File{f}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}, "queue")
	if got := h.line(t); got != "65534 {5 5 7}" {
		t.Errorf("helper says %s, want uid 65534 and {5 5 7}", got)
	}
}

// publicCopy is a copy of the test binary that every user may execute.
func publicCopy(t *testing.T) string {
	t.Helper()
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := socketDir(t)
	path := filepath.Join(dir, "public.test")
	if err := errors.Join(os.WriteFile(path, binary, 0o755), os.Chmod(path, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

func init() {
	helpers["queue"] = func([]string) error {
		l, err := spawnsock.Adopt(os.NewFile(3, "inherited"), spawnsock.Options{Backlog: 1})
		if err != nil {
			return err
		}
		d, err := l.Queue()
		if err != nil {
			return err
		}
		fmt.Println(os.Getuid(), d)
		return nil
	}
}
