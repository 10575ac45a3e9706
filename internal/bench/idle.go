package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// idle takes what shells cost that do nothing, and what one more start costs
// beside them. It has a daemon of its own for each way, which starts empty.
func (b *bench) idle() error {
	title("Idle shells")
	for _, terminal := range []bool{true, false} {
		way := "pipes"
		if terminal {
			way = "pty"
		}
		h, err := b.newHerd(way, terminal)
		if err != nil {
			return err
		}
		err = h.measure()
		h.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// herd is many idle shells of one daemon, with their clients.
type herd struct {
	bench    *bench
	way      string
	terminal bool
	daemon   *daemon
	clients  []*process
	screens  []*terminal
	held     *protocol // shells without a client
	null     *os.File
	empty    usage // of the daemon before the first shell
}

func (b *bench) newHerd(way string, terminal bool) (*herd, error) {
	d, err := b.startDaemon("idle-" + way)
	if err != nil {
		return nil, err
	}
	h := &herd{bench: b, way: way, terminal: terminal, daemon: d}
	if h.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		h.end()
		return nil, err
	}
	h.held = h.speak(d, sleeper...)
	// One start first: what it sets up for good is no shell's.
	if err := h.speak(d, "/bin/true").run(1, 1); err != nil {
		h.end()
		return nil, err
	}
	h.empty, err = usageOf(d.process.pid)
	return h, err
}

// speak prepares starts by a daemon without a client.
func (h *herd) speak(d *daemon, argv ...string) *protocol {
	return h.bench.newProtocol(d, h.terminal, int(h.null.Fd()), argv...)
}

// measure takes what the shells cost while the herd grows, and what one more start
// costs while it shrinks: the garbage of those starts is none of the shells'.
func (h *herd) measure() error {
	t := newTable("idle shells, "+h.way, "daemon PSS KiB/shell", "fds/shell", "threads in all", "client PSS KiB", "fds", "threads")
	for _, n := range h.bench.sizes.shells {
		if err := h.grow(n); err != nil {
			return err
		}
		row, err := h.cost()
		if err != nil {
			return err
		}
		t.row(row...)
	}
	calm, err := h.calm()
	if err != nil {
		return err
	}
	t.note(calm)
	t.note(h.floorCost())
	t.print()
	return h.growth()
}

// shells is how many there are.
func (h *herd) shells() int { return len(h.clients) + len(h.held.slots) }

// complete says that there are as many as there will be.
func (h *herd) complete() bool { return h.shells() == slices.Max(h.bench.sizes.shells) }

// mostClients are started; further shells have their connection here. A client
// on a terminal takes two ptys, and the kernel allows 4096 unless told
// otherwise.
const mostClients = 1000

// grow starts clients until there are n shells, and waits until all their
// programs run.
func (h *herd) grow(n int) error {
	for h.shells() < n {
		add := h.add
		if len(h.clients) >= mostClients {
			add = h.held.hold
		}
		if err := add(); err != nil {
			return err
		}
	}
	return h.arrived(n)
}

// shrink ends shells until there are n, those first that came last.
func (h *herd) shrink(n int) error {
	h.held.drop(max(0, n-len(h.clients)))
	for len(h.clients) > n {
		last := len(h.clients) - 1
		h.clients[last].kill()
		h.clients = h.clients[:last]
		if h.terminal {
			h.screens[last].hangUp()
			h.screens = h.screens[:last]
		}
	}
	return h.arrived(n)
}

// arrived waits until the daemon has n shells.
func (h *herd) arrived(n int) error {
	return eventually(fmt.Sprintf("%d shells", n), func() bool { return len(childrenOf(h.daemon.process.pid)) == n && h.settled() })
}

// settled says that the last client has reached its rest.
func (h *herd) settled() bool { return processState(h.clients[len(h.clients)-1].pid) == 'S' }

// sleeper is a program that does nothing for longer than the benchmark runs.
var sleeper = []string{"/usr/bin/env", "sleep", "3600"}

func (h *herd) add() error {
	ours := h.bench.ours(h.daemon)
	argv, err := ours.pipes(sleeper...)
	if err != nil {
		return err
	}
	null := int(h.null.Fd())
	files := [3]int{null, null, null}
	if h.terminal {
		t, err := newTerminal()
		if err != nil {
			return err
		}
		h.screens = append(h.screens, t)
		files = t.files()
		defer t.started()
	}
	p, err := h.bench.start(argv, files, h.terminal, time.Hour)
	if err == nil {
		h.clients = append(h.clients, p)
	}
	return err
}

// cost reads what daemon and clients take, after a moment of rest.
func (h *herd) cost() ([]string, error) {
	time.Sleep(200 * time.Millisecond)
	d, err := usageOf(h.daemon.process.pid)
	if err != nil {
		return nil, err
	}
	var pss, fds, threads samples
	for i := 0; i < len(h.clients); i += max(1, len(h.clients)/50) {
		u, err := usageOf(h.clients[i].pid)
		if err != nil {
			return nil, err
		}
		pss, fds, threads = append(pss, u.pss), append(fds, float64(u.fds)), append(threads, float64(u.threads))
	}
	n := float64(h.shells())
	perShell, perShellFDs := (d.pss-h.empty.pss)/n, float64(d.fds-h.empty.fds)/n
	if h.complete() {
		idle := "idle shell, " + h.way
		h.bench.summary.count(idle+", daemon PSS in KiB", oursName, perShell)
		h.bench.summary.count(idle+", daemon descriptors", oursName, perShellFDs)
		h.bench.summary.count(idle+", daemon threads", oursName, float64(d.threads-h.empty.threads)/n)
		h.bench.summary.count(idle+", client PSS in KiB", oursName, pss.median())
	}
	return []string{
		fmt.Sprint(h.shells()), number(perShell, "%.1f"), number(perShellFDs, "%.2f"), fmt.Sprint(d.threads),
		number(pss.median(), "%.0f"), number(fds.median(), "%.0f"), number(threads.median(), "%.0f"),
	}, nil
}

// calm counts context switches while nothing happens.
func (h *herd) calm() (string, error) {
	time.Sleep(time.Second) // what the starts stirred up has settled
	before, err := h.switches()
	if err != nil {
		return "", err
	}
	time.Sleep(h.bench.sizes.calm)
	after, err := h.switches()
	perMinute := time.Minute.Seconds() / h.bench.sizes.calm.Seconds()
	daemon, client := float64(after[0]-before[0])*perMinute, float64(after[1]-before[1])*perMinute
	h.bench.summary.count("idle daemon, "+h.way+", context switches a minute", oursName, daemon)
	return fmt.Sprintf("Context switches per minute beside %d idle shells, taken over %v: daemon %.0f, one client %.0f.",
		h.shells(), h.bench.sizes.calm, daemon, client), err
}

func (h *herd) switches() (n [2]int, err error) {
	for i, pid := range []int{h.daemon.process.pid, h.clients[0].pid} {
		u, err := usageOf(pid)
		if err != nil {
			return n, err
		}
		n[i] = u.switches
	}
	return n, nil
}

// floorCost is what the C proxy takes, for comparison.
func (h *herd) floorCost() string {
	if !h.terminal {
		return ""
	}
	c := &crowd{}
	var pss samples
	for range 100 {
		t, err := newTerminal()
		if err != nil {
			break
		}
		p, err := h.bench.start(append(h.bench.floor.pty[:len(h.bench.floor.pty):len(h.bench.floor.pty)], sleeper...), t.files(), true, time.Hour)
		t.started()
		c.terminals = append(c.terminals, t)
		if err != nil {
			break
		}
		c.gates = append(c.gates, p)
	}
	time.Sleep(200 * time.Millisecond)
	for _, p := range c.gates {
		if v, err := pssOf(p.pid); err == nil {
			pss = append(pss, v)
		}
	}
	for _, p := range c.gates {
		p.kill()
	}
	c.end()
	return fmt.Sprintf("A hundred of the floor's proxies: %.0f KiB each.", pss.median())
}

// end ends clients, shells and daemon.
func (h *herd) end() {
	for _, p := range h.clients {
		_ = unix.Kill(p.pid, unix.SIGKILL) // unreaped, so it is ours
	}
	for _, p := range h.clients {
		_ = p.wait() // killed, as we know
	}
	for _, t := range h.screens {
		t.hangUp()
	}
	if h.held != nil {
		h.held.close()
	}
	h.daemon.stop()
	if h.null != nil {
		_ = h.null.Close() // nothing was written
	}
}
