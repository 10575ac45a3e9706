package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// burst lets many clients start at the same instant.
func (b *bench) burst() error {
	title("Burst: many clients at the same instant, each running `true`")
	for _, way := range []struct {
		name     string
		terminal bool
		of       func(subject) command
	}{
		{"pipes", false, func(s subject) command { return s.pipes }},
		{"pty", true, func(s subject) command { return s.pty }},
	} {
		t := newTable("subject, "+way.name, "clients", "succeeded", "failed", "starts/s", "ratio to the floor")
		for i, clients := range b.sizes.bursts {
			b.burstOf(t, clients, b.sizes.burstRuns[i], way.name, way.terminal, way.of)
		}
		t.print()
	}
	return nil
}

// burstOf adds the rows for one number of clients. Peers take part in one of the sizes,
// and once: some take seconds.
func (b *bench) burstOf(t *table, clients, runs int, name string, terminal bool, of func(subject) command) {
	var all []*series
	var failed []*int
	for _, s := range b.subjects() {
		peer := s.name != floorName && s.name != oursName
		command := of(s)
		if command == nil || !s.many || peer && clients != b.sizes.peerBurst {
			continue
		}
		lost := new(int)
		one := &series{name: s.name, run: single(func() (float64, error) { return b.burstRun(command, clients, terminal, lost) })}
		if peer {
			one.budget = time.Nanosecond // one run
		}
		all, failed = append(all, one), append(failed, lost)
	}
	alternate(runs, b.limit(), all...)
	for i, s := range all {
		r := s.got.ratioTo(all[0].got)
		done := len(s.got)*clients - *failed[i]
		t.row(s.name, fmt.Sprint(clients), fmt.Sprint(done), fmt.Sprint(*failed[i]), number(s.got.median(), "%.0f"), r.String())
		t.note(s.failure())
		measure := fmt.Sprintf("burst of %d, %s", clients, name)
		b.summary.add(measure+", starts/s", s.name, r.medians)
		b.summary.count(measure+", failed", s.name, float64(*failed[i]))
	}
}

// crowd is the clients of one burst: each is a gate that becomes the client
// when the pipe that all of them wait for is closed.
type crowd struct {
	gates     []*process
	terminals []*terminal
	pipes     *pipes
}

// burstRun returns successes per second, and adds the failures to lost.
func (b *bench) burstRun(command command, clients int, terminal bool, lost *int) (float64, error) {
	c := &crowd{}
	defer c.end()
	opener, err := newPipes()
	if err != nil {
		return 0, err
	}
	defer opener.close()
	for range clients {
		argv, err := command("/bin/true")
		if err == nil {
			err = b.join(c, append(b.floor.gate[:len(b.floor.gate):len(b.floor.gate)], argv...), opener.child[0], terminal)
		}
		if err != nil {
			opener.close()
			c.wait()
			return 0, err
		}
	}
	b.settled(c)
	runtime.GC() // not while they run
	began := time.Now()
	opener.close()
	failures := c.wait()
	*lost += failures
	return float64(clients-failures) / time.Since(began).Seconds(), nil
}

// join adds one gate to the crowd.
func (b *bench) join(c *crowd, argv []string, opener int, terminal bool) error {
	files, err := c.streams(terminal)
	if err != nil {
		return err
	}
	list := []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2]), uintptr(opener)}
	p, err := b.startWith(argv, list, terminal, patience*2)
	if err != nil {
		return err
	}
	c.gates = append(c.gates, p)
	if terminal {
		c.terminals[len(c.terminals)-1].started()
	}
	return nil
}

// streams is a terminal for each, or pipes for all.
func (c *crowd) streams(terminal bool) ([3]int, error) {
	if terminal {
		t, err := newTerminal()
		if err != nil {
			return [3]int{}, err
		}
		c.terminals = append(c.terminals, t)
		return t.files(), nil
	}
	if c.pipes == nil {
		p, err := newPipes()
		if err != nil {
			return [3]int{}, err
		}
		c.pipes = p
	}
	return c.pipes.child, nil
}

// settled waits until the gates sleep. One that does not yet is no harm: it
// opens as soon as it gets there.
func (b *bench) settled(c *crowd) {
	for _, p := range c.gates {
		_ = eventually("gate", func() bool { return processState(p.pid) != 'R' })
	}
}

// wait waits for all clients and returns how many failed. Terminals are drained
// meanwhile, as a program may show more than a pty holds.
func (c *crowd) wait() (failed int) {
	stop := c.drainAll()
	for _, p := range c.gates {
		if p.wait() != nil {
			failed++
		}
	}
	c.gates = nil
	stop()
	return failed
}

// drainAll reads all terminals in one thread and only now and then, so that
// little of the machine is taken from those who are measured.
func (c *crowd) drainAll() (stop func()) {
	if len(c.terminals) == 0 {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				c.discard()
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

// discard reads what the terminals hold now.
func (c *crowd) discard() {
	fds := make([]unix.PollFd, len(c.terminals))
	for i, t := range c.terminals {
		fds[i] = unix.PollFd{Fd: int32(t.master), Events: unix.POLLIN}
	}
	_, _ = unix.Poll(fds, 0) // the next tick tries again
	buf := make([]byte, 4096)
	for _, fd := range fds {
		if fd.Revents&unix.POLLIN != 0 {
			_, _ = unix.Read(int(fd.Fd), buf) // EIO if it ended meanwhile
		}
	}
}

func (c *crowd) end() {
	for _, t := range c.terminals {
		t.hangUp()
	}
	if c.pipes != nil {
		c.pipes.close()
	}
}
