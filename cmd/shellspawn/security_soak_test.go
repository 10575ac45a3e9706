package main_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// short is one kind of shell of the soak: how it is asked for, and how it has to end.
type short struct {
	stdio    int // descriptors that are announced
	sent     int // and those that are sent
	terminal bool
	argv     []string
	refused  uint32 // status of the refusal, or 0
	status   uint32 // wait status otherwise
}

var shorts = []short{
	{stdio: 3, sent: 3, argv: []string{"true"}},
	{stdio: 3, sent: 3, argv: []string{"false"}, status: 1 << 8},
	{stdio: 1, sent: 1, argv: []string{"true"}},
	{argv: []string{"true"}},
	{terminal: true, argv: []string{"true"}},
	{terminal: true, stdio: 1, sent: 1, argv: []string{"sh", "-c", "exit 7"}, status: 7 << 8},
	{stdio: 3, sent: 3, argv: []string{"sh", "-c", "kill -KILL $$"}, status: uint32(unix.SIGKILL)},
	{terminal: true, argv: []string{"sh", "-c", "kill -TERM $$"}, status: uint32(unix.SIGTERM)},
	{stdio: 3, sent: 3, argv: []string{"nosuchprogram"}, refused: 127},
	{terminal: true, argv: []string{"/etc/passwd"}, refused: 126},
	{stdio: 2, sent: 3, argv: []string{"true"}, refused: 125},
	{terminal: true, stdio: 3, sent: 1, argv: []string{"true"}, refused: 125},
}

// soaker runs shells against one daemon, one after the other.
type soaker struct {
	d    *spawntest.Daemon
	r    *rand.Rand
	null []int
}

// one runs one shell: in one of fifty cases with a real client that is killed, else over
// the protocol, in which every fifth client goes away at a random moment.
func (s *soaker) one() error {
	switch n := s.r.IntN(50); {
	case n == 0:
		argv := [][]string{{"sleep", "1000"}, {"-t", "sleep", "1000"}, {"true"}}[s.r.IntN(3)]
		return killedAfter(s.d, time.Duration(s.r.IntN(20))*time.Millisecond, argv...)
	case n < 5:
		return s.legacy()
	}
	return s.modern(shorts[s.r.IntN(len(shorts))], s.r.IntN(20))
}

// modern runs a shell of one kind. The client leaves after the stage of that number,
// of which there are four.
func (s *soaker) modern(kind short, leave int) error {
	c, err := spawntest.Dial(s.d.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	request := spawntest.Request(kind.stdio, kind.argv...)
	if kind.terminal {
		request = terminalRequest(kind.stdio, kind.argv...)
	}
	message := wire.AppendStart(nil, spawntest.Greeting(), request)
	if leave == 0 {
		message = message[:s.r.IntN(len(message))]
	}
	if err := c.Send(message, s.null[:kind.sent]...); err != nil || leave <= 1 {
		return closedBy(err)
	}
	_, master, err := c.Started()
	if master >= 0 {
		defer unix.Close(master)
	}
	var refusal *spawntest.Refusal
	if errors.As(err, &refusal) && refusal.Answer.Status == kind.refused {
		return nil
	}
	if err != nil || leave == 2 {
		return err
	}
	err = c.Send(wire.AppendSignal(nil, wire.Signal{Number: uint32(unix.SIGCONT), Seq: 1}))
	if err != nil || leave == 3 {
		return closedBy(err)
	}
	end, err := c.Exited()
	if err == nil && end.WaitStatus != kind.status {
		err = fmt.Errorf("%q: %+v, want %#x", kind.argv, end, kind.status)
	}
	return err
}

// legacy runs a shell with the old dialect. Every second client does not wait for its
// status.
func (s *soaker) legacy() error {
	c, err := spawntest.Dial(s.d.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	request := spawntest.LegacyText(spawntest.LegacySetExec, "/bin/sh")
	for _, arg := range []string{"sh", "-c", "exit 9"} {
		request = append(request, spawntest.LegacyText(spawntest.LegacyAddArg, arg)...)
	}
	if err := c.Send(request); err != nil {
		return err
	}
	err = c.Send(spawntest.LegacyFrame(spawntest.LegacyGo, nil), s.null...)
	if err != nil || s.r.IntN(2) == 0 {
		return err
	}
	code, err := wire.NewReader(wire.RecvFD(c.FD, 0), nil).Status()
	if err == nil && code != 9 {
		err = fmt.Errorf("status %d of the old dialect, want 9", code)
	}
	return err
}

// closedBy drops the error of a send to a daemon that has already answered and closed.
func closedBy(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// soak runs n shells, a few at a time.
func soak(t *testing.T, d *spawntest.Daemon, n int) {
	t.Helper()
	const workers = 8
	null := spawntest.DevNull(t)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			s := &soaker{d: d, r: rand.New(rand.NewPCG(uint64(n), uint64(worker))), null: null}
			for range n / workers {
				if err := s.one(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// remains is what may be left of a shell. Of the goroutines only their memory can be seen
// from outside.
type remains struct{ descriptors, children, threads, files, ptys, kib int }

func remainsOf(t *testing.T, d *spawntest.Daemon) remains {
	t.Helper()
	files, err := os.ReadDir(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r := remains{len(d.FDs()), len(d.Children()), d.Threads(), len(files), 0, spawntest.ResidentKiB(d.PID)}
	for _, target := range d.FDs() {
		if target == "/dev/ptmx" || target == "/dev/pts/ptmx" {
			r.ptys++
		}
	}
	return r
}

// F2, B9: thousands of short shells of every kind, with clients that go away at random
// moments. Afterwards there is no descriptor, no thread, no zombie, no pty, no file, no
// place and no memory more than before.
func TestSoak(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--max-shells", "200", "--hangup-grace", "1s"))
	soak(t, d, spawntest.Count(600, 4000)) // fills what is kept for good: pools, threads, the heap
	spawntest.Eventually(t, "end of the last shell", func() bool { return len(d.Children()) == 0 })
	spawntest.Idle(t, d.PID)
	before := remainsOf(t, d)
	soak(t, d, spawntest.Count(2400, 20000))
	d.Settle(t, before.descriptors)
	after := remainsOf(t, d)
	t.Logf("before %+v", before)
	t.Logf("after  %+v", after)
	if after.threads > before.threads+2 || after.files != before.files || after.ptys != 0 {
		t.Error("there is more than before")
	}
	if more := after.kib - before.kib; more > 4<<10 && !spawntest.Race() {
		t.Errorf("%d KiB more than before", more)
	}
	if s := status(t, d); s.Shells.Running != 0 {
		t.Errorf("status: %+v", s.Shells)
	}
	served(t, d, 10)
}
