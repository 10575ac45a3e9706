package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// onlyProgram is all that a fuzzed request may run.
const onlyProgram = "/bin/true"

// subject is a daemon whose connections are socket pairs.
type subject struct {
	daemon *Daemon
	panics atomic.Int32
	log    atomic.Pointer[slog.Logger]
	calm   int // descriptors that are open while there is no connection
}

// Enabled, Handle, WithAttrs and WithGroup make it the daemon's log, which keeps
// nothing but the number of panics, or what logTo has said.
func (s *subject) Enabled(context.Context, slog.Level) bool { return true }
func (s *subject) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *subject) WithGroup(string) slog.Handler            { return s }
func (s *subject) Handle(ctx context.Context, r slog.Record) error {
	if log := s.log.Load(); log != nil {
		return log.Handler().Handle(ctx, r)
	}
	if r.Message == "panic" {
		s.panics.Add(1)
	}
	return nil
}

// logTo changes the log, also while something may still be logged.
func (s *subject) logTo(log *slog.Logger) { s.log.Store(log) }

func newSubject(t testing.TB) *subject {
	t.Helper()
	s := &subject{}
	var err error
	s.daemon, err = New(Config{
		Version:  "fuzzed",
		Settings: Settings{Shell: onlyProgram, RequestTimeout: time.Minute, HangupGrace: 20 * time.Millisecond},
	}, slog.New(s))
	if err != nil {
		t.Fatal(err)
	}
	// What is opened once and kept is opened by a start that is in order.
	start := &wire.Start{Argv: []string{onlyProgram}, Terminal: &wire.Terminal{}}
	for range 2 {
		s.talk(t, [][]byte{wire.AppendStart(nil, wire.Hello{Version: wire.Version}, start)}, nil, false)
		s.calm = openDescriptors(t)
	}
	return s
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// talk is one connection: it sends the pieces, each with the descriptors that
// fds has for it, and then stops sending, or goes away at once. It returns what
// the daemon answered.
func (s *subject) talk(t testing.TB, pieces [][]byte, fds [][]int, abrupt bool) (answer []byte) {
	t.Helper()
	ours, theirs := socketPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.daemon.handle(context.Background(), theirs)
	}()
	received := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(ours) // whatever ends it
		received <- b
	}()
	for i, piece := range pieces {
		var oob []byte
		if i < len(fds) && len(fds[i]) > 0 {
			oob = unix.UnixRights(fds[i]...)
		}
		if len(piece) == 0 {
			continue
		}
		if n, _, err := ours.WriteMsgUnix(piece, oob, nil); err != nil || n < len(piece) {
			break // the daemon has heard enough
		}
	}
	if abrupt {
		_ = ours.Close() // to see what becomes of what was sent
	} else {
		_ = ours.CloseWrite()
	}
	select {
	case <-done:
	case <-time.After(spawntest.Deadline):
		t.Fatal("the connection does not end")
	}
	_ = theirs.Close() // as the server does
	answer = <-received
	_ = ours.Close()
	return answer
}

func socketPair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // the connection is a duplicate
		conns[i] = c.(*net.UnixConn)
		_ = c.SetWriteDeadline(time.Now().Add(spawntest.Deadline))
	}
	return conns[0], conns[1]
}

// settle waits until no trace of the connections is left, and fails if there
// has been a panic or something stays.
func (s *subject) settle(t testing.TB) {
	t.Helper()
	calm := func() bool {
		s.daemon.mu.Lock()
		defer s.daemon.mu.Unlock()
		return len(s.daemon.shells) == 0 && s.daemon.places == 0 && len(s.daemon.perUser) == 0 && openDescriptors(t) == s.calm
	}
	if !spawntest.Within(10*time.Second, calm) {
		t.Fatalf("%d shells, %d places, %d descriptors open; there were %d",
			len(s.daemon.shells), s.daemon.places, openDescriptors(t), s.calm)
	}
	if n := s.panics.Swap(0); n != 0 {
		t.Fatalf("%d panics", n)
	}
}

// harmless reports whether b, sent whole, can run no other program than the one,
// and tells the daemon nothing that would end it. The dynamic linker takes
// orders from the environment, so those are out as well.
func harmless(b []byte) bool {
	if bytes.Contains(b, []byte("LD_")) || bytes.Contains(b, []byte("GLIBC_")) {
		return false
	}
	rest := bytes.NewReader(b)
	r := wire.NewReader(func(p []byte) (int, []int, error) {
		n, _ := rest.Read(p) // 0 is the end
		return n, nil, nil
	}, nil)
	_, legacy, err := r.Opening()
	if err != nil {
		return true
	}
	if legacy {
		return harmlessCommands(r)
	}
	kind, payload, err := r.Message()
	if err != nil {
		return true
	}
	switch kind {
	case wire.KindControl:
		c, err := wire.ParseControl(payload)
		return err != nil || c.Command != "stop"
	case wire.KindStart:
		s, err := wire.ParseStart(payload)
		if err != nil {
			return true
		}
		if s.Shell {
			return s.ShellPath == "" || s.ShellPath == onlyProgram
		}
		return s.Argv[0] == onlyProgram
	}
	return true
}

func harmlessCommands(r *wire.Reader) bool {
	var req wire.LegacyRequest
	for {
		c, payload, err := r.Legacy()
		if err != nil || c == wire.LegacyGo {
			return req.Exec == "" || req.Exec == onlyProgram
		}
		if req.Apply(c, payload) != nil {
			return true
		}
	}
}

// cargo holds one descriptor of each kind that somebody may pass.
type cargo []int

func newCargo(t testing.TB) cargo {
	t.Helper()
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return cargo{
		open("/dev/null", unix.O_RDWR), open("/", unix.O_RDONLY|unix.O_DIRECTORY), open("/dev/ptmx", unix.O_RDWR),
		open("/etc/passwd", unix.O_PATH), p[0], p[1], epoll, pair[0],
	}
}

// load chooses descriptors by one byte: how many by its lower half, up to
// seven, or more than any message may carry, and which by its upper half.
func (c cargo) load(order byte) (fds []int) {
	n := int(order & 7)
	if order&8 != 0 && n == 7 {
		n = 40
	}
	for i := range n {
		fds = append(fds, c[(int(order>>4)+i)%len(c)])
	}
	return fds
}

// cut makes pieces of b: each pair of plan says how long the next one is, and
// which descriptors go with it. What the plan does not cover goes in one piece.
func cut(b, plan []byte, c cargo) (pieces [][]byte, fds [][]int) {
	for len(plan) > 1 && len(b) > 0 {
		n := min(int(plan[0])+1, len(b))
		pieces, fds = append(pieces, b[:n]), append(fds, c.load(plan[1]))
		b, plan = b[n:], plan[2:]
	}
	return append(pieces, b), fds
}

// FuzzConnection: whatever a client sends, in whatever pieces and with whatever
// descriptors: the connection ends, nothing of it is left, and there is no panic.
func FuzzConnection(f *testing.F) {
	s, c := newSubject(f), newCargo(f)
	s.calm = openDescriptors(f)
	for _, name := range spawntest.Transcripts(f) {
		pieces := spawntest.Transcript(f, name)
		b := spawntest.Side(pieces, true)
		first := byte(0)
		for _, p := range pieces {
			first = max(first, byte(p.Descriptors))
		}
		f.Add(b, []byte{255, first}, false)
		f.Add(b, []byte{3, 0, 15, first}, true)
	}
	for _, b := range requests() {
		f.Add(b, []byte{255, 3}, false)
		f.Add(b, []byte{0, 0x43, 1, 0, 0, 1}, false)
		f.Add(b, []byte{9, 0x1f}, true)
	}
	f.Fuzz(func(t *testing.T, b, plan []byte, abrupt bool) {
		if !harmless(b) || len(b) > 32<<10 || len(plan) > 64 {
			return
		}
		pieces, fds := cut(b, plan, c)
		s.talk(t, pieces, fds, abrupt)
		s.settle(t)
	})
}

// requests are such as run the one program, in both dialects, followed by what a
// client may say then.
func requests() (all [][]byte) {
	h := wire.Hello{Version: wire.Version, WaitedMillis: 5}
	later := slices.Concat(
		wire.AppendSignal(nil, wire.Signal{Number: 15, Seq: 1}), wire.AppendSignal(nil, wire.Signal{Number: 28, Seq: 2}),
		wire.AppendHangup(nil), wire.AppendReply(nil, []byte("{}")))
	for _, s := range []*wire.Start{
		{Argv: []string{onlyProgram, "x"}, Env: []string{"A=b"}, Dir: "/tmp", Stdio: []byte{0, 1, 2}},
		{Argv: []string{onlyProgram}, Dir: "/nowhere", DirRequired: true, Stdio: []byte{2, 1, 0}},
		{Shell: true, Login: true, Terminal: &wire.Terminal{Rows: 24, Cols: 80, Settings: make([]byte, 44)}, Stdio: []byte{1}},
		{Shell: true, ShellPath: onlyProgram, Umask: 0o777, Terminal: &wire.Terminal{}},
	} {
		all = append(all, slices.Concat(wire.AppendStart(nil, h, s), later))
	}
	for _, c := range []wire.Control{{Command: "status"}, {Command: "list"}, {Command: "kill", Args: []string{"9", "1", "2"}}, {Command: "backlog", Args: []string{"7"}}, {Command: "limits"}} {
		all = append(all, wire.AppendControl(nil, h, c))
	}
	signal := wire.AppendLegacySignal(nil, 15)
	for _, commands := range []string{
		"", legacyText(wire.LegacySetEnv, "A=b") + legacyText(wire.LegacyAddArg, "-c") + legacyText(wire.LegacyChdir, "/tmp"),
		legacyText(wire.LegacySetExec, onlyProgram) + legacyText(wire.LegacyAddArg, "true"),
		string(wire.AppendLegacySetUIDGID(nil, uint32(os.Getuid()), uint32(os.Getgid()))),
	} {
		all = append(all, slices.Concat([]byte(commands), wire.AppendLegacyGo(nil), signal, signal))
	}
	return all
}

func legacyText(c wire.LegacyCommand, text string) string {
	b, _ := wire.AppendLegacyString(nil, c, text) // short enough
	return string(b)
}

// The seeds of the fuzzer reach what they are meant to reach, with the number of
// descriptors that fits: a program that runs, an answer to a question, a status
// of the old dialect. Two are refused.
func TestConnectionSeeds(t *testing.T) {
	s, c := newSubject(t), newCargo(t)
	s.calm = openDescriptors(t)
	refused := 0
	for _, b := range requests() {
		granted := 0
		for _, n := range []int{0, 1, 2, 3, 4} {
			answer := s.talk(t, [][]byte{b}, [][]int{slices.Repeat(c[:1], n)}, false)
			if len(answer) == 4 || bytes.HasPrefix(answer, []byte{byte(wire.KindStarted & 0xff), 2}) ||
				bytes.HasPrefix(answer, []byte{byte(wire.KindReply & 0xff), 2}) {
				granted++
			}
			s.settle(t)
		}
		if granted > 1 {
			t.Errorf("granted with %d different numbers of descriptors: %q", granted, b)
		}
		refused += 1 - granted
	}
	if refused != 2 { // a directory that is not there, a backlog without a socket
		t.Errorf("%d requests are refused", refused)
	}
}

// The filter lets the requests through that are meant to run, and no other
// program.
func TestHarmless(t *testing.T) {
	for _, b := range requests() {
		if !harmless(b) {
			t.Errorf("refuses %q", b)
		}
	}
	h := wire.Hello{Version: wire.Version}
	for _, b := range [][]byte{
		wire.AppendStart(nil, h, &wire.Start{Argv: []string{"/bin/sh", "-c", ":"}}),
		wire.AppendStart(nil, h, &wire.Start{Shell: true, ShellPath: "/bin/sh"}),
		wire.AppendStart(nil, h, &wire.Start{Argv: []string{onlyProgram}, Env: []string{"LD_PRELOAD=/tmp/x"}}),
		wire.AppendControl(nil, h, wire.Control{Command: "stop"}),
		append([]byte(legacyText(wire.LegacySetExec, "/bin/sh")), wire.AppendLegacyGo(nil)...),
	} {
		if harmless(b) {
			t.Errorf("lets through %q", strings.ToValidUTF8(string(b), "?"))
		}
	}
}
