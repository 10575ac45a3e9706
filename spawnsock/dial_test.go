//go:build linux

package spawnsock_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"shellspawn/spawnsock"

	"golang.org/x/sys/unix"
)

// D1: net.Dial fails at once on a full queue, which is why there is Dial: it
// comes in when there is room.
func TestDialWaits(t *testing.T) {
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{Backlog: 1})
	fill(t, path)
	if _, err := net.DialTimeout("unix", path, patience); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("net.Dial: %v, want EAGAIN", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error)
	go func() {
		c, err := spawnsock.Dial(ctx, path)
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	acceptAll(t, l, 3)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// D1: at the end of the time it says that the queue is full, and why it gave up.
func TestDialQueueFull(t *testing.T) {
	path := socketPath(t)
	listen(t, path, spawnsock.Options{Backlog: 1})
	fill(t, path)
	began := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := spawnsock.Dial(short, path)
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("it gave up after %v", took)
	}
	if !errors.Is(err, spawnsock.ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if want := "connect " + path + ": accept queue is full"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := spawnsock.Dial(cancelled, path); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// D4: nobody there is an error at once, which names the path and the reason.
func TestDialErrors(t *testing.T) {
	file := socketPath(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := file + "absent"
	long := file + strings.Repeat("x", 200)
	for _, c := range []struct {
		name, path string
		errno      unix.Errno
	}{
		{"absent", absent, unix.ENOENT},
		{"absent, long", long, unix.ENOENT},
		{"nobody listens", file, unix.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := spawnsock.Dial(t.Context(), c.path)
			want := "connect " + c.path + ": " + c.errno.Error()
			if !errors.Is(err, c.errno) || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

// D1: a thousand at once, with a queue for two.
func TestDialBurst(t *testing.T) {
	srv := &spawnsock.Server{Handler: func(_ context.Context, c *net.UnixConn) { _, _ = c.Write([]byte("x")) }}
	path, l, _ := serve(t, srv, spawnsock.Options{Backlog: 1})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			c, err := spawnsock.Dial(ctx, path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if b, err := io.ReadAll(c); string(b) != "x" || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
	wg.Wait()
	t.Logf("queue %+v", queue(t, l))
}
