package main_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
	"shellspawn/internal/wire"
)

// E4, E7: ten thousand connections that say nothing. They cost little, nothing is
// forked for them, and others are served.
func TestSilentConnections(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", "1h"))
	alive(t, d)
	descriptors, memory := len(d.FDs()), spawntest.ResidentKiB(d.PID)
	silent := make([]*spawntest.Conn, 0, 10000)
	connect := func(n int) {
		for range n {
			silent = append(silent, d.Connect())
		}
	}
	const accepted = 2000
	connect(accepted)
	// What the shell before had open may have been counted, and be closed by now.
	spawntest.Eventually(t, "all accepted", func() bool { return len(d.FDs()) >= descriptors+accepted-10 })
	each := float64(spawntest.ResidentKiB(d.PID)-memory) / accepted
	t.Logf("%.1f KiB for a silent connection", each)
	if each > 12 && !spawntest.Race() {
		t.Errorf("a silent connection costs %.1f KiB", each)
	}
	connect(cap(silent) - accepted)
	served(t, d, 20)
	if n := d.Threads(); n >= 20 {
		t.Errorf("the daemon has %d threads", n)
	}
	for fd, target := range d.FDs() {
		if strings.Contains(target, "pt") && !strings.HasPrefix(target, "socket") { // ptmx, /dev/pts
			t.Errorf("descriptor %d is %s", fd, target)
		}
	}
	if children := d.Children(); len(children) > 0 {
		t.Errorf("children: %v", children)
	}
	for _, c := range silent {
		c.Close()
	}
	d.Settle(t, descriptors)
	if log := d.Log(); strings.Contains(log, "msg=deny") || strings.Contains(log, "msg=close") {
		t.Error("silence is logged")
	}
}

// E4: one deadline for the whole request, however it trickles in, in both dialects.
func TestTrickle(t *testing.T) {
	const limit = 2 * time.Second
	d := spawntest.StartDaemon(t, spawntest.Args("--request-timeout", limit.String()))
	alive(t, d)
	descriptors := len(d.FDs())
	modern := wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(0, strings.Repeat("x", 100000)))
	legacy, err := wire.AppendLegacyString(nil, wire.LegacyAddArg, strings.Repeat("x", 60000))
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string][]byte{"modern": modern, "legacy": legacy, "silent": nil} {
		t.Run(name, func(t *testing.T) {
			c := d.Connect()
			began := time.Now()
			for len(request) > 1 && c.Send(request[:1]) == nil { // until the daemon has closed
				request = request[1:]
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLIN}}, 5) // the pace of the trickle
			}
			_, _, err := c.Started()
			if name == "modern" {
				refused(t, err, "not complete within "+limit.String())
			} else if err == nil {
				t.Error("it started")
			}
			if took := time.Since(began); took < limit/2 || took > spawntest.Deadline/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
	d.Settle(t, descriptors)
	if s := status(t, d); s.Shells.Refused["timeout"] != 3 {
		t.Errorf("refused: %v", s.Shells.Refused)
	}
}

// E4: memory for requests that are large and never complete is bounded, and others
// get theirs meanwhile.
func TestLargeRequests(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	descriptors, memory := len(d.FDs()), spawntest.ResidentKiB(d.PID)
	big := spawntest.Request(0, "true")
	for range 60 {
		big.Env = append(big.Env, strings.Repeat("x", 120000))
	}
	request := wire.AppendStart(nil, spawntest.Greeting(), big)
	request = request[:len(request)-1]
	var senders sync.WaitGroup
	var greedy []*spawntest.Conn
	for range 60 {
		c := d.Connect()
		greedy = append(greedy, c)
		senders.Go(func() { _ = c.Send(request) }) // it blocks until the connection is shut down
	}
	spawntest.Eventually(t, "memory in use", func() bool { return spawntest.ResidentKiB(d.PID)-memory > 8<<10 })
	served(t, d, 50)
	if used := spawntest.ResidentKiB(d.PID) - memory; used > 128<<10 {
		t.Errorf("60 requests of 7 MiB take %d MiB", used>>10)
	}
	for _, c := range greedy {
		_ = unix.Shutdown(c.FD, unix.SHUT_RDWR) // wakes the sender
	}
	senders.Wait()
	for _, c := range greedy {
		c.Close()
	}
	d.Settle(t, descriptors)
	// What is complete is carried out, up to what the kernel takes.
	big.Env = big.Env[:8]
	if _, code, err := runOn(t, d.Connect(), big); err != nil || code != 0 {
		t.Errorf("status %d, %v", code, err)
	}
}

// What a client sends can be as long as a message, but no line of the log or of an answer
// is, and nothing is multiplied.
func TestLongNames(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	memory := spawntest.ResidentKiB(d.PID)
	long := strings.Repeat("n", 100000)
	null := spawntest.DevNull(t)
	inside := spawntest.Request(3, "true")
	inside.Dir, inside.DirRequired = "/"+long, true
	path := spawntest.Request(3, strings.Repeat("n", 200))
	path.Env = []string{"PATH=" + strings.Repeat(":", 4<<20)}
	user := spawntest.Request(3, "true")
	user.User = long
	for name, c := range map[string]struct {
		s      *wire.Start
		status uint32
	}{
		"program":   {spawntest.Request(3, long), 126},
		"path":      {spawntest.Request(3, "/"+long), 126},
		"directory": {inside, 125},
		"user":      {user, 125},
		"PATH":      {path, 127},
	} {
		t.Run(name, func(t *testing.T) {
			peer := d.Connect()
			if err := peer.Start(c.s, null...); err != nil {
				t.Fatal(err)
			}
			_, _, err := peer.Started()
			refusedWith(t, c.status, err)
			if err != nil && len(err.Error()) > 6000 {
				t.Errorf("the answer has %d bytes", len(err.Error()))
			}
		})
	}
	for line := range strings.Lines(d.Log()) {
		if len(line) > 6000 {
			t.Errorf("a line of the log has %d bytes", len(line))
		}
	}
	if used := spawntest.ResidentKiB(d.PID) - memory; used > 100<<10 && !spawntest.Race() {
		t.Errorf("they took %d MiB", used>>10)
	}
}

// E7: random bytes, random descriptors, requests cut and changed at random places,
// and connections closed at once. No panic, nothing left, others served, and the log
// keeps quiet.
func TestRandomBytes(t *testing.T) {
	d := spawntest.StartDaemon(t)
	alive(t, d)
	descriptors := len(d.FDs())
	null := spawntest.DevNull(t)[0]
	patterns := [][]byte{
		wire.AppendStart(nil, spawntest.Greeting(), spawntest.Request(3, "true")),
		wire.AppendStart(nil, spawntest.Greeting(), terminalRequest(0, "true", "argument")),
		wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: "list"}),
		wire.AppendLegacySignal(wire.AppendLegacyGo(wire.AppendLegacySetUIDGID(nil, uint32(os.Getuid()), uint32(os.Getgid()))), 15),
		nil,
	}
	var clients sync.WaitGroup
	for worker := range 4 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for range spawntest.Count(1000, 20000) {
				c, err := spawntest.Dial(d.Socket)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.Send(mangled(r, patterns[r.IntN(len(patterns))]), times(r.IntN(5), null)...) // the daemon may have closed
				if r.IntN(4) == 0 {
					_ = unix.Shutdown(c.FD, unix.SHUT_WR)
					_, _ = unix.Read(c.FD, make([]byte, 1000)) // whatever it answers
				}
				c.Close()
			}
		})
	}
	served(t, d, 100)
	clients.Wait()
	d.Settle(t, descriptors)
	alive(t, d)
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, "msg=deny") && strings.Contains(line, "protocol error") || strings.Contains(line, "level=ERROR") {
			t.Fatalf("in the log: %s", line)
		}
	}
}

// mangled changes, cuts or lengthens bytes at random.
func mangled(r *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	switch r.IntN(4) {
	case 0:
		return b
	case 1:
		return append(b[:r.IntN(len(b)+1)], randomBytes(r, r.IntN(100))...)
	case 2:
		return randomBytes(r, r.IntN(70000))
	}
	for range min(1+r.IntN(3), len(b)) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	return b
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// One request cannot have the same shell signalled, and logged, a million times.
func TestKillIsNoFlood(t *testing.T) {
	d := spawntest.StartDaemon(t)
	if err := sleeper(t, d.Connect()); err != nil {
		t.Fatal(err)
	}
	id := list(t, d)[0].ID
	ask := func(n int) ([]byte, error) {
		c := d.Connect()
		args := append([]string{strconv.Itoa(int(unix.SIGCONT))}, slices.Repeat([]string{jsonNumber(id)}, n)...)
		if err := c.Send(wire.AppendControl(nil, spawntest.Greeting(), wire.Control{Command: "kill", Args: args})); err != nil {
			t.Fatal(err)
		}
		return c.Reply()
	}
	if reply, err := ask(900); err != nil || strings.Count(string(reply), `"id"`) != 1 {
		t.Errorf("%v, %.300s", err, reply)
	}
	_, err := ask(100000)
	refused(t, err, "kill: more than 4096 shells at once")
	d.WaitLog("msg=kill")
	if n := strings.Count(d.Log(), "msg=kill"); n != 1 {
		t.Errorf("%d lines about it in the log", n)
	}
}
