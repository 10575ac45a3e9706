//go:build linux

package spawnsock_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"

	"golang.org/x/sys/unix"
)

func somaxconn(t *testing.T) int {
	t.Helper()
	limit, err := spawnsock.Somaxconn()
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

func TestEffectiveBacklog(t *testing.T) {
	limit := somaxconn(t)
	for _, c := range []struct {
		name    string
		n, want int
	}{
		{"as much as possible", -1, limit},
		{"zero", 0, 0},
		{"small", 1, 1},
		{"the limit", limit, limit},
		{"one too many", limit + 1, limit},
		{"far too many", math.MaxInt, limit},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := spawnsock.EffectiveBacklog(c.n); got != c.want {
				t.Errorf("EffectiveBacklog(%d) = %d, want %d", c.n, got, c.want)
			}
		})
	}
}

// D2: a backlog of n lets n+1 clients in, and no more.
func TestBacklogAdmitsOneMore(t *testing.T) {
	for _, n := range []int{1, 2, 16, 100} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			path := socketPath(t)
			l := listen(t, path, spawnsock.Options{Backlog: n})
			if got := fill(t, path); got != n+1 {
				t.Errorf("%d clients got in, want %d", got, n+1)
			}
			if asked, effective := l.Backlog(); asked != n || effective != n {
				t.Errorf("Backlog() = %d, %d, want %d, %d", asked, effective, n, n)
			}
		})
	}
}

// D2: what the kernel cuts off is told, for every way to ask for too much.
func TestBacklogClamped(t *testing.T) {
	limit := somaxconn(t)
	for _, n := range []int{0, -1, limit + 1, math.MaxInt32, math.MaxInt} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			l := listen(t, socketPath(t), spawnsock.Options{Backlog: n})
			if asked, effective := l.Backlog(); asked != n || effective != limit {
				t.Errorf("Backlog() = %d, %d, want %d, %d", asked, effective, n, limit)
			}
			if d := queue(t, l); d.Limit != limit {
				t.Errorf("the kernel says %d, want %d", d.Limit, limit)
			}
		})
	}
}

// D2: the backlog grows at once while clients wait, and whoever waits for room
// outside comes in without an accept.
func TestSetBacklogRaise(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 2})
	fill(t, path)
	waiting := make(chan error)
	go func() {
		fd, _, err := dial.Connect(path, patience, false)
		if err == nil {
			_ = unix.Close(fd)
		}
		waiting <- err
	}()
	if err := l.SetBacklog(10); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	if got := fill(t, path); got != 11-4 {
		t.Errorf("%d more clients got in, want 7", got)
	}
	if asked, effective := l.Backlog(); asked != 10 || effective != 10 {
		t.Errorf("Backlog() = %d, %d", asked, effective)
	}
	acceptAll(t, l, 11)
}

// D2: a shorter queue drops nobody who is in it.
func TestSetBacklogLower(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 10})
	enter(t, path, 11)
	if err := l.SetBacklog(3); err != nil {
		t.Fatal(err)
	}
	if d := queue(t, l); d.Now != 11 || d.Limit != 3 {
		t.Errorf("queue is %+v, want 11 waiting, limit 3", d)
	}
	if err := try(t, path); err != unix.EAGAIN {
		t.Errorf("another client: %v, want EAGAIN", err)
	}
	acceptAll(t, l, 8)
	enter(t, path, 1)
	if err := try(t, path); err != unix.EAGAIN {
		t.Errorf("another client: %v, want EAGAIN", err)
	}
	acceptAll(t, l, 4)
}

func TestSetBacklogClosed(t *testing.T) {
	l := listen(t, socketPath(t), spawnsock.Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.SetBacklog(3); err == nil {
		t.Error("SetBacklog on a closed listener succeeded")
	}
}

// D2: setting the same backlog again applies a somaxconn that was changed. The
// helper has a network namespace, and so a somaxconn, of its own.
func TestSetBacklogNewSomaxconn(t *testing.T) {
	if !mayUnshareNet() {
		t.Skip("needs root (user namespaces are closed to ordinary users here)")
	}
	h := startHelper(t, ownNetwork, "somaxconn", socketPath(t))
	if got := h.line(t); got != "8 8 64" {
		t.Errorf("effective backlog first, with the new limit, and set again: %s, want 8 8 64", got)
	}
}

func ownNetwork(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

func mayUnshareNet() bool {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	ownNetwork(cmd)
	return cmd.Run() == nil
}

func init() {
	helpers["somaxconn"] = func(args []string) error {
		set := func(n string) error {
			return os.WriteFile("/proc/sys/net/core/somaxconn", []byte(n), 0)
		}
		if err := set("8"); err != nil {
			return err
		}
		l, err := spawnsock.Listen(args[0], spawnsock.Options{Backlog: 100})
		if err != nil {
			return err
		}
		defer l.Close()
		_, before := l.Backlog()
		if err := set("64"); err != nil {
			return err
		}
		_, unchanged := l.Backlog()
		if err := l.SetBacklog(100); err != nil {
			return err
		}
		_, after := l.Backlog()
		fmt.Println(before, unchanged, after)
		return nil
	}
}
