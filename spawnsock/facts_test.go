//go:build linux

package spawnsock_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

// What the documentation says about the kernel's accept queue, asked of the
// kernel.

// A client that connected and left still holds its place until it is accepted.
func TestGoneClientHoldsPlace(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 1})
	for range 2 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
	}
	if d := queue(t, l); d.Now != 2 {
		t.Errorf("queue is %+v, want 2 waiting", d)
	}
	if err := try(t, path); err != unix.EAGAIN {
		t.Errorf("another client: %v, want EAGAIN", err)
	}
	acceptAll(t, l, 1)
	enter(t, path, 1)
}

// A client is connected, and may send, long before it is accepted: connect
// tells nothing about the server being awake.
func TestConnectedBeforeAccepted(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	c := client(t, path)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 10)
	if n, err := conn.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

// A non-blocking client that found the queue full has nothing to wait for: poll
// returns at once, before and after there is room.
func TestNothingToPollFor(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 1})
	fill(t, path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, want := range []error{unix.EAGAIN, nil} {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(fds, 0); n != 1 || err != nil || fds[0].Revents&unix.POLLHUP == 0 {
			t.Errorf("poll says %d, %v, %#x", n, err, fds[0].Revents)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != want {
			t.Errorf("connect: %v, want %v", err, want)
		}
		acceptAll(t, l, 1)
	}
}

// The counters of TCP, ListenOverflows and ListenDrops, know nothing of a full
// Unix queue, nor does the limit on half-open TCP connections shorten it. The
// helper has a network namespace of its own, where nobody else counts.
func TestNoTCPCounter(t *testing.T) {
	if !mayUnshareNet() {
		t.Skip("needs root (user namespaces are closed to ordinary users here)")
	}
	path := socketPath(t)
	h := startHelper(t, ownNetwork, "overflow", path)
	if got := h.line(t); got != "refused 20, ListenOverflows 0, ListenDrops 0" {
		t.Errorf("helper says %s", got)
	}
}

func init() {
	helpers["overflow"] = func(args []string) error {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_max_syn_backlog", []byte("1"), 0); err != nil {
			return err
		}
		l, err := spawnsock.Listen(args[0], spawnsock.Options{Backlog: 10})
		if err != nil {
			return err
		}
		defer l.Close()
		refused := 0
		for range 31 {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			if unix.Connect(fd, &unix.SockaddrUnix{Name: args[0]}) == unix.EAGAIN {
				refused++
			}
		}
		text, err := os.ReadFile("/proc/self/net/netstat")
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		fmt.Printf("refused %d, ListenOverflows %s, ListenDrops %s\n", refused,
			counter(lines, "ListenOverflows"), counter(lines, "ListenDrops"))
		return nil
	}
}

// counter finds a value of /proc/net/netstat, where a line of names precedes
// each line of numbers.
func counter(lines []string, name string) string {
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := range names {
			if names[j] == name && j < len(values) {
				return values[j]
			}
		}
	}
	return "unknown"
}

// ss(8) shows what Queue says: Recv-Q is how many wait, Send-Q the effective
// backlog, under the path of the socket.
func TestLikeSS(t *testing.T) {
	ss, err := exec.LookPath("ss")
	if err != nil {
		t.Logf("no ss(8) to compare with: %v", err)
		return
	}
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 6})
	enter(t, path, 4)
	out, err := exec.Command(ss, "-xlnH", "src", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	d := queue(t, l)
	want := []string{"u_str", "LISTEN", fmt.Sprint(d.Now), fmt.Sprint(d.Limit), path}
	if got := strings.Fields(string(out)); len(got) < 5 || fmt.Sprint(got[:5]) != fmt.Sprint(want) {
		t.Errorf("ss says %q, want %v", out, want)
	}
}
