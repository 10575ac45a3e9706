package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
	"shellspawn/ptyexec"
)

// brokenLog is a log that can be made to panic at one event. It keeps what is said of
// panics, and counts the other events.
type brokenLog struct {
	mu     sync.Mutex
	at     string
	seen   map[string]int
	panics []map[string]string
}

func (l *brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *brokenLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *brokenLog) WithGroup(string) slog.Handler            { return l }
func (l *brokenLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[r.Message]++
	if r.Message == l.at {
		panic("injected at " + l.at)
	}
	if r.Message == "panic" {
		facts := make(map[string]string)
		r.Attrs(func(a slog.Attr) bool {
			facts[a.Key] = a.Value.String()
			return true
		})
		l.panics = append(l.panics, facts)
	}
	return nil
}

// panicAt makes the log panic at the next event of that name; "" mends it.
func (l *brokenLog) panicAt(event string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = event
}

func (l *brokenLog) count(event string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[event]
}

// check asserts that there was just one panic and that its line says where.
func (l *brokenLog) check(t *testing.T, where string) {
	t.Helper()
	spawntest.Eventually(t, "panic in the log", func() bool { return l.count("panic") > 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	facts := l.panics[0]
	if len(l.panics) > 1 || facts["conn"] == "" || facts["cause"] == "" || !strings.Contains(facts["stack"], where) {
		t.Errorf("%d panics, of which the first is %q; want %s in the stack", len(l.panics), facts, where)
	}
}

// client is the other end of a connection that the daemon serves.
type client struct {
	*net.UnixConn
	reader *wire.Reader
	served chan struct{} // closed when the daemon is through with it
}

// connect opens a connection for the time of a test.
func (s *subject) connect(t testing.TB) *client {
	t.Helper()
	ours, theirs := socketPair(t)
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.SetReadDeadline(time.Now().Add(spawntest.Deadline)) // fails only on a closed connection
	c := &client{UnixConn: ours, served: make(chan struct{})}
	c.reader = wire.NewReader(func(p []byte) (n int, fds []int, err error) {
		wait := raw.Read(func(fd uintptr) bool {
			n, fds, err = wire.RecvNow(int(fd), p)
			return err != unix.EAGAIN
		})
		return n, fds, errors.Join(wait, err)
	}, nil)
	go func() {
		defer close(c.served)
		s.daemon.handle(context.Background(), theirs)
		_ = theirs.Close() // as the server does
	}()
	t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.reader.Close()
	_ = c.Close() // a second time does no harm
}

// ask sends a request and waits for an answer of that kind. The error is a *refusal if the
// daemon refuses.
func (c *client) ask(t testing.TB, want wire.Kind, message []byte, fds ...int) (payload []byte, err error) {
	t.Helper()
	if _, _, err := c.WriteMsgUnix(message, unix.UnixRights(fds...), nil); err != nil {
		return nil, err // it was closed before it could be asked
	}
	return c.expect(want)
}

func (c *client) expect(want wire.Kind) ([]byte, error) {
	kind, payload, err := c.reader.Message()
	switch {
	case err != nil:
		return nil, err
	case kind == want:
		return payload, nil
	case kind != wire.KindError:
		return nil, fmt.Errorf("message %#x", uint16(kind))
	}
	e, err := wire.ParseError(payload)
	if err != nil {
		return nil, err
	}
	return nil, &refusal{answer: e}
}

// wait waits until the daemon is through with the connection.
func (c *client) wait(t testing.TB) {
	t.Helper()
	select {
	case <-c.served:
	case <-time.After(spawntest.Deadline):
		t.Fatal("the connection does not end")
	}
}

// exits waits for the end of the shell, which must be in order.
func (c *client) exits(t testing.TB) {
	t.Helper()
	payload, err := c.expect(wire.KindExited)
	if err == nil {
		var end wire.Exited
		if end, err = wire.ParseExited(payload); err == nil && end.WaitStatus != 0 {
			err = fmt.Errorf("%+v", end)
		}
	}
	if err != nil {
		t.Errorf("the end of a shell: %v", err)
	}
	c.wait(t)
	c.close()
}

func devNull(t testing.TB) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// fault is a bug that strikes one connection.
type fault struct {
	name  string
	at    string          // the event whose line panics
	spoil func(d *Daemon) // or else what is spoilt
	argv  []string
	pty   bool
	where string // a function in the stack
}

// E8: a bug in one connection ends that connection, wherever it strikes, and is logged with
// its stack. Nothing is left of it, neither descriptors nor shell nor place, and others do
// not notice.
func TestPanic(t *testing.T) {
	sleep := []string{"sleep", "1000"}
	for _, f := range []fault{
		{name: "before the request", at: "accept", argv: sleep, where: ".open("},
		{name: "in a refusal", at: "deny", argv: []string{"nosuchprogram"}, where: ".deny("},
		{name: "with descriptors in hand", spoil: func(d *Daemon) { d.users = nil }, argv: sleep, where: ".identity("},
		{name: "with a shell on descriptors", at: "start", argv: sleep, where: ".logStart("},
		{name: "with a shell on a pty", at: "start", argv: sleep, pty: true, where: ".logStart("},
		{name: "with a shell that stays", at: "start", argv: []string{"sh", "-c", "trap '' HUP; exec sleep 1000"}, pty: true, where: ".logStart("},
		{name: "when the shell is to be watched", spoil: func(d *Daemon) { d.watch = nil }, argv: sleep, pty: true, where: ".beginWatch("},
		{name: "when the client goes", at: "client gone", argv: sleep, where: ".readable("},
		{name: "after the end", at: "exit", argv: []string{"true"}, where: ".serve("},
	} {
		t.Run(f.name, f.strike)
	}
}

func (f *fault) strike(t *testing.T) {
	s, log := newSubject(t), &brokenLog{seen: make(map[string]int)}
	s.logTo(slog.New(log))
	null := devNull(t)
	s.calm = openDescriptors(t)
	users, watch := s.daemon.users, s.daemon.watch
	bystander := func() {}
	if f.spoil != nil {
		f.spoil(s.daemon)
	} else {
		bystander = s.bystander(t, null)
		spawntest.Eventually(t, "line about the bystander", func() bool { return log.count("start") == 1 })
		log.panicAt(f.at)
	}
	broken := s.connect(t)
	_, _ = broken.ask(t, wire.KindStarted, f.request(), null, null, null) // it may not come so far
	if f.at == "client gone" {
		broken.close()
	}
	broken.wait(t)
	log.check(t, f.where)
	log.panicAt("")
	if f.spoil != nil {
		s.daemon.users, s.daemon.watch = users, watch
	}
	next := s.connect(t)
	if _, err := next.ask(t, wire.KindStarted, f.next(), null, null, null); err != nil {
		t.Errorf("the next one: %v", err)
	}
	next.exits(t)
	bystander()
	broken.close()
	s.settle(t)
}

// request is for the program, with three descriptors.
func (f *fault) request() []byte {
	start := &wire.Start{Argv: f.argv, Stdio: []byte{0, 1, 2}}
	if f.pty {
		start.Terminal = &wire.Terminal{Rows: 24, Cols: 80}
	}
	return opening(start)
}

func (*fault) next() []byte {
	return opening(&wire.Start{Argv: []string{"true"}, Stdio: []byte{0, 1, 2}})
}

func opening(s *wire.Start) []byte {
	return wire.AppendStart(nil, wire.Hello{Version: wire.Version}, s)
}

// bystander starts a program that runs until its input ends. The function ends that, and
// asserts that all is well.
func (s *subject) bystander(t *testing.T, null int) (end func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := s.connect(t)
	if _, err := c.ask(t, wire.KindStarted, opening(&wire.Start{Argv: []string{"cat"}, Stdio: []byte{0, 1, 2}}), int(r.Fd()), null, null); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = w.Close() // nothing was written
		c.exits(t)
	}
}

// A bug between taking a place and having a shell gives the place back.
func TestPanicGivesPlaceBack(t *testing.T) {
	s, log := newSubject(t), &brokenLog{seen: make(map[string]int)}
	s.logTo(slog.New(log))
	ours, theirs := socketPair(t)
	defer ours.Close()
	cn := &conn{daemon: s.daemon, id: 1, unix: theirs}
	func() {
		defer cn.endOnPanic()
		_, _ = cn.spawn(brokenContext{}, ptyexec.Spec{Program: onlyProgram}, identity{})
	}()
	log.check(t, ".spawn(")
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v in place of the end", err)
	}
	_ = ours.Close()
	s.settle(t)
}

// brokenContext panics when it is asked anything.
type brokenContext struct{ context.Context }
