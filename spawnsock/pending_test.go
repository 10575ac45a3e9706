//go:build linux

package spawnsock_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"shellspawn/spawnsock"
	"shellspawn/spawnsock/dial"

	"golang.org/x/sys/unix"
)

func init() {
	// silent makes so many connections, says so, and holds them until stdin
	// ends.
	helpers["silent"] = func(args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for i := range n {
			if _, _, err := dial.Connect(args[0], patience, false); err != nil {
				return fmt.Errorf("connection %d: %w", i+1, err)
			}
		}
		fmt.Println("connected")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return nil
	}
}

// E4: at the cap on connections that have asked for nothing nobody is accepted,
// and the rest wait in the accept queue. One that asks, and one that leaves,
// make room for the next.
func TestMaxPending(t *testing.T) {
	srv := lineServer()
	srv.MaxPending, srv.PendingGrace = 3, -1
	path, l, _ := serve(t, srv, spawnsock.Options{})
	var clients []*net.UnixConn
	for range 10 {
		clients = append(clients, client(t, path))
	}
	state := func(open, waiting int) {
		t.Helper()
		eventually(t, fmt.Sprint(open, " open, ", waiting, " waiting"), func() bool {
			s := srv.Stats()
			if s.Pending > 3 {
				t.Fatalf("stats are %+v", s)
			}
			return s.Open == open && s.Pending == open && queue(t, l).Now == waiting
		})
	}
	state(3, 7)
	ask(t, clients[0])
	state(3, 6)
	_ = clients[1].Close()
	state(3, 5)
	for _, c := range clients[2:] {
		ask(t, c)
	}
	state(0, 0)
	if s := srv.Stats(); s.Accepted != 10 || s.Dropped != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// A connection that has asked does not count, however long it lasts.
func TestAsked(t *testing.T) {
	srv := &spawnsock.Server{MaxPending: 1, PendingGrace: -1}
	release := make(chan struct{})
	defer close(release)
	srv.Handler = func(_ context.Context, c *net.UnixConn) {
		srv.Asked(c)
		srv.Asked(c)
		<-release
	}
	path, _, _ := serve(t, srv, spawnsock.Options{})
	enter(t, path, 20)
	eventually(t, "20 open", func() bool { return srv.Stats().Open == 20 })
	if s := srv.Stats(); s.Pending != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// E4, E7: silent clients, more than the cap and the queue together hold, keep
// others waiting but not out: the oldest are let go.
func TestSilentMakeRoom(t *testing.T) {
	srv := lineServer()
	srv.MaxPending, srv.PendingGrace = 20, 20*time.Millisecond
	path, _, _ := serve(t, srv, spawnsock.Options{Backlog: 100})
	for range 100 {
		client(t, path)
	}
	ask(t, client(t, path))
	if s := srv.Stats(); s.Dropped == 0 || s.Pending > 20 {
		t.Errorf("stats are %+v", s)
	}
}

// One that has spoken is not let go because its handler is late.
func TestLateHandler(t *testing.T) {
	srv := lineServer()
	answer := srv.Handler
	goOn := make(chan struct{})
	srv.Handler = func(ctx context.Context, c *net.UnixConn) {
		<-goOn
		answer(ctx, c)
	}
	srv.MaxPending, srv.PendingGrace = 2, 300*time.Millisecond
	path := socketPath(t)
	l := listen(t, path, spawnsock.Options{})
	var clients []*net.UnixConn
	for range 5 {
		c := client(t, path)
		if _, err := c.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	eventually(t, "the cap is reached", func() bool { return queue(t, l).Now == 3 })
	time.AfterFunc(time.Second, func() { close(goOn) }) // several times the grace
	for _, c := range clients {
		got := make([]byte, 6)
		if _, err := c.Read(got); err != nil || string(got) != "hello\n" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// E7: ten thousand silent connections cost little, others are served at once
// beside them, and nothing of them is left when they go.
func TestTenThousandSilent(t *testing.T) {
	n := 10_000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if room := int(limit.Max) - 200; limit.Max < 1<<20 && room < n {
		t.Logf("only %d descriptors allowed, so %d connections", limit.Max, room)
		n = room
	}
	srv := lineServer()
	srv.MaxPending = -1
	path, l, _ := serve(t, srv, spawnsock.Options{})
	ask(t, client(t, path))
	queue(t, l) // opens a descriptor that is kept
	eventually(t, "nobody is left", func() bool { return srv.Stats().Open == 0 })
	before, files, routines := memory(), len(openFiles(t)), runtime.NumGoroutine()

	h := startHelper(t, nil, "silent", path, strconv.Itoa(n))
	h.line(t)
	eventually(t, "all are accepted", func() bool { return srv.Stats().Open == n })
	each := (memory() - before) / uint64(n)
	t.Logf("%d connections, %d bytes each, queue %+v", n, each, queue(t, l))
	if each > 24<<10 {
		t.Errorf("a silent connection costs %d bytes", each)
	}
	ask(t, client(t, path))

	h.kill()
	eventually(t, "all are gone", func() bool { return srv.Stats().Open == 0 })
	eventually(t, "goroutines are gone", func() bool { return runtime.NumGoroutine() <= routines })
	if now := len(openFiles(t)); now > files+1 { // our own client's
		t.Errorf("%d descriptors before, %d after", files, now)
	}
	if s := srv.Stats(); s.Accepted != uint64(n)+2 || s.Pending != 0 || s.Dropped != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
