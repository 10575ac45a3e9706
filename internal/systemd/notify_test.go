package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a service manager's notification socket.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func receive(t *testing.T, from *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := from.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func notifierFor(t *testing.T, address string) *Notifier {
	t.Helper()
	e := edge{getenv: func(name string) string { return map[string]string{"NOTIFY_SOCKET": address}[name] }}
	n, err := e.newNotifier()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// G1: every notification, through a path and through an abstract socket.
func TestNotifications(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@shellspawn-test-" + strconv.Itoa(os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			systemd := manager(t, address)
			n := notifierFor(t, address)
			for _, tc := range []struct {
				send func() error
				want string
			}{
				{func() error { return n.Ready("serving /run/shellspawn.sock") }, "READY=1\nSTATUS=serving /run/shellspawn.sock"},
				{func() error { return n.Status("waiting for 3 shells") }, "STATUS=waiting for 3 shells"},
				{func() error { return n.Status("a\nREADY=1\r\nb") }, "STATUS=a READY=1 b"},
				{n.Watchdog, "WATCHDOG=1"},
				{n.Stopping, "STOPPING=1"},
			} {
				if err := tc.send(); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, systemd); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			}
		})
	}
}

// RELOADING carries a time between the one before the call and the one after.
func TestReloading(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	systemd := manager(t, address)
	n := notifierFor(t, address)
	before := monotonic(t)
	if err := n.Reloading(); err != nil {
		t.Fatal(err)
	}
	after := monotonic(t)
	text, ok := strings.CutPrefix(receive(t, systemd), "RELOADING=1\nMONOTONIC_USEC=")
	usec, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || usec < before || usec > after {
		t.Errorf("got %q, want a time from %d to %d", text, before, after)
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestNoManager(t *testing.T) {
	var zero Notifier
	for _, n := range []*Notifier{&zero, notifierFor(t, "")} {
		for _, send := range []func() error{n.Stopping, n.Reloading, n.Watchdog, n.Close} {
			if err := send(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestWrongAddress(t *testing.T) {
	for _, address := range []string{"relative/path", "vsock:2:1234", "@", "/"} {
		e := edge{getenv: func(string) string { return address }}
		if n, err := e.newNotifier(); err == nil {
			n.Close()
			t.Errorf("%q was accepted", address)
		}
	}
}

func TestManagerGone(t *testing.T) {
	n := notifierFor(t, filepath.Join(t.TempDir(), "gone"))
	if err := n.Ready(""); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	n.Close()
	if err := n.Ready(""); err == nil {
		t.Error("a notification after Close succeeded")
	}
}

// A service manager that does not read makes a notification fail, not hang.
func TestManagerDoesNotRead(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	systemd := manager(t, address)
	n := notifierFor(t, address)
	failed := make(chan error)
	go func() {
		for {
			if err := n.Status(strings.Repeat("x", 1000)); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case err := <-failed:
		if !errors.Is(err, unix.EAGAIN) {
			t.Errorf("got %v, want EAGAIN", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a notification hangs")
		systemd.Close() // which ends it
		<-failed
	}
}

func TestConcurrentNotifications(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	systemd := manager(t, address)
	n := notifierFor(t, address)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := n.Watchdog(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		if got := receive(t, systemd); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
	all.Wait()
}

// A daemon that has run out of descriptors is alive; the watchdog must hear so.
func TestNotifyWithoutDescriptors(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	systemd := manager(t, address)
	if err := helper(t, "notify without descriptors", nil, "NOTIFY_SOCKET="+address).Run(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, systemd); got != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
}
