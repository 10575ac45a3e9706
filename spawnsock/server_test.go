//go:build linux

package spawnsock_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shellspawn/spawnsock"
)

// serve runs srv on a new listener until the end of the test and returns the
// path and what Serve will return.
func serve(t *testing.T, srv *spawnsock.Server, o spawnsock.Options) (string, *spawnsock.Listener, <-chan error) {
	t.Helper()
	path := socketPath(t)
	l := listen(t, path, o)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return path, l, served
}

// client is a connection with a deadline for everything.
func client(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := spawnsock.Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// lineServer answers one line with the same line. Before that a connection has
// asked for nothing.
func lineServer() *spawnsock.Server {
	srv := &spawnsock.Server{}
	srv.Handler = func(_ context.Context, c *net.UnixConn) {
		line, err := bufio.NewReaderSize(c, 64).ReadString('\n')
		if err != nil {
			return
		}
		srv.Asked(c)
		_, _ = io.WriteString(c, line)
	}
	return srv
}

func ask(t *testing.T, c *net.UnixConn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "hello\n" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestServe(t *testing.T) {
	srv := lineServer()
	path, _, served := serve(t, srv, spawnsock.Options{})
	for range 10 {
		ask(t, client(t, path))
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := receive(t, "Serve", served); err != spawnsock.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	s := srv.Stats()
	if s.Accepted != 10 || s.Open != 0 || s.Pending != 0 || s.Dropped != 0 || len(s.AcceptErrors) != 0 {
		t.Errorf("stats are %+v", s)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("socket file: %v", err)
	}
}

// One server may serve several listeners, and stops on all of them.
func TestServeSeveral(t *testing.T) {
	srv := lineServer()
	one, _, served1 := serve(t, srv, spawnsock.Options{})
	two, _, served2 := serve(t, srv, spawnsock.Options{})
	ask(t, client(t, one))
	ask(t, client(t, two))
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	for _, served := range []<-chan error{served1, served2} {
		if err := receive(t, "Serve", served); err != spawnsock.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	}
	l := listen(t, socketPath(t), spawnsock.Options{})
	if err := srv.Serve(l); err != spawnsock.ErrServerClosed {
		t.Errorf("Serve after Close: %v", err)
	}
	if err := l.Close(); !isClosed(err) {
		t.Errorf("Serve left the listener open: %v", err)
	}
}

// A listener that is closed elsewhere ends Serve with that error.
func TestServeListenerClosed(t *testing.T) {
	_, l, served := serve(t, lineServer(), spawnsock.Options{})
	_ = l.Close()
	if err := receive(t, "Serve", served); !isClosed(err) {
		t.Errorf("Serve: %v", err)
	}
}

// E8: a panic ends its connection, is reported with its stack, and harms
// nobody else, not even without a Panic function.
func TestHandlerPanic(t *testing.T) {
	for _, reported := range []bool{true, false} {
		srv := &spawnsock.Server{Handler: func(_ context.Context, c *net.UnixConn) {
			b := make([]byte, 1)
			if _, err := c.Read(b); err == nil && b[0] == 'p' {
				explode()
			}
			_, _ = c.Write(b)
		}}
		reports := make(chan error, 1)
		if reported {
			srv.Panic = func(c *net.UnixConn, value any, stack []byte) {
				if c == nil || value != "boom" || !strings.Contains(string(stack), "explode") {
					t.Errorf("conn %v, value %v, stack %s", c, value, stack)
				}
				reports <- nil
			}
		}
		path, _, _ := serve(t, srv, spawnsock.Options{})
		other := client(t, path)
		c := client(t, path)
		if _, err := c.Write([]byte("p")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if reported {
			_ = receive(t, "report", reports)
		}
		if _, err := other.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(other); string(got) != "x" || err != nil {
			t.Errorf("another connection got %q, %v", got, err)
		}
		eventually(t, "no connection open", func() bool { return srv.Stats().Open == 0 })
	}
}

func explode() { panic("boom") }

// Shutdown lets handlers say goodbye: it cancels their context, leaves the
// connections open and waits.
func TestShutdownWaits(t *testing.T) {
	var ended atomic.Bool
	goOn := make(chan struct{})
	srv := &spawnsock.Server{Handler: func(ctx context.Context, c *net.UnixConn) {
		_, _ = io.WriteString(c, "a")
		<-ctx.Done()
		<-goOn
		_, _ = io.WriteString(c, "b")
		ended.Store(true)
	}}
	path, _, _ := serve(t, srv, spawnsock.Options{})
	c := client(t, path)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown of a busy server: %v", err)
	}
	close(goOn)
	if err := srv.Shutdown(t.Context()); err != nil || !ended.Load() {
		t.Errorf("Shutdown: %v, handler ended: %v", err, ended.Load())
	}
	if got, err := io.ReadAll(c); string(got) != "b" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// Shutdown with clients in the accept queue: they see the end, not a hang.
func TestShutdownWithClientsWaiting(t *testing.T) {
	srv := &spawnsock.Server{MaxPending: 1, PendingGrace: -1}
	srv.Handler = func(ctx context.Context, _ *net.UnixConn) { <-ctx.Done() }
	path, l, _ := serve(t, srv, spawnsock.Options{})
	var waiting []*net.UnixConn
	for range 20 {
		waiting = append(waiting, client(t, path))
	}
	eventually(t, "19 wait", func() bool { return queue(t, l).Now == 19 })
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, c := range waiting {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
}

// Close ends connections whose handlers only read.
func TestCloseEndsConnections(t *testing.T) {
	srv := lineServer()
	path, _, _ := serve(t, srv, spawnsock.Options{})
	c := client(t, path)
	eventually(t, "connection open", func() bool { return srv.Stats().Open == 1 })
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("read: %v", err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A server that never served can be stopped.
func TestCloseUnused(t *testing.T) {
	srv := &spawnsock.Server{}
	if err := errors.Join(srv.Close(), srv.Shutdown(t.Context())); err != nil {
		t.Error(err)
	}
}

// ServeConn serves a connection that somebody else accepted, to its end, and
// nothing once the server stops.
func TestServeConn(t *testing.T) {
	srv := lineServer()
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	for _, want := range []error{nil, spawnsock.ErrServerClosed} {
		c := client(t, path)
		conn, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.ServeConn(conn) }()
		if want == nil {
			ask(t, c)
		}
		if err := receive(t, "ServeConn", served); err != want {
			t.Errorf("ServeConn: %v, want %v", err, want)
		}
		if _, err := conn.Write([]byte("x")); !isClosed(err) {
			t.Errorf("connection: %v", err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
