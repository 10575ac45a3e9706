package main

import (
	"fmt"
	"slices"
	"time"
)

// growth takes what one more start costs beside many shells, and then beside fewer and
// fewer. A daemon that has the fewest all the time takes turns with it.
func (h *herd) growth() error {
	few, stop, err := h.smallHerd()
	if err != nil {
		return err
	}
	defer stop()
	t := newTable("idle shells, "+h.way, "floor ms", "client ms", "p99 ms", "ratio to the floor", "in the daemon ms", "p99 ms", "against the fewest")
	for _, n := range slices.Backward(h.bench.sizes.shells) {
		if err := h.shrink(n); err != nil {
			return err
		}
		row, err := h.oneMore(few)
		if err != nil {
			return err
		}
		t.rows = slices.Insert(t.rows, 0, row)
	}
	fmt.Printf("What one more start of `true` costs then:\n\n")
	t.print()
	return nil
}

// smallHerd starts a daemon with the fewest shells, none of which has a client.
func (h *herd) smallHerd() (d *daemon, stop func(), err error) {
	if d, err = h.bench.startDaemon("few-" + h.way); err != nil {
		return nil, nil, err
	}
	held := h.speak(d, sleeper...)
	stop = func() {
		held.close()
		d.stop()
	}
	for len(held.slots) < h.bench.sizes.shells[0] {
		if err := held.hold(); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return d, stop, nil
}

// oneMore starts true beside the herd: through clients, with the floor taking
// turns, and directly, with the daemon that has few shells.
func (h *herd) oneMore(few *daemon) ([]string, error) {
	b := h.bench
	floor := &series{name: floorName, run: h.through(b.floorSubject())}
	client := &series{name: oursName, run: h.through(b.ours(h.daemon))}
	beside := &series{name: "direct", run: h.direct(h.daemon)}
	alone := &series{name: "direct, few shells", run: h.direct(few)}
	all := []*series{floor, client, beside, alone}
	alternate(b.sizes.moreStarts, b.limit(), all...)
	for _, s := range all {
		if s.err != nil {
			return nil, s.err
		}
	}
	grown := beside.got.ratioTo(alone.got)
	if h.complete() {
		b.summary.add(fmt.Sprintf("one more start beside %d shells against %d, %s", h.shells(), b.sizes.shells[0], h.way),
			oursName, grown.medians)
	}
	return []string{
		fmt.Sprint(h.shells()), milli(floor.got.median()), milli(client.got.median()), milli(client.got.p99()),
		client.got.ratioTo(floor.got).String(), milli(beside.got.median()), milli(beside.got.p99()), grown.String(),
	}, nil
}

// direct is one start without a client.
func (h *herd) direct(d *daemon) func() (samples, error) {
	p := h.speak(d, "/bin/true")
	return single(func() (float64, error) {
		began := time.Now()
		err := p.run(1, 1)
		return time.Since(began).Seconds(), err
	})
}

// through is one start by a subject.
func (h *herd) through(s subject) func() (samples, error) {
	command, run := s.pipes, h.bench.timePipes
	if h.terminal {
		command, run = s.pty, h.bench.timePty
	}
	return single(func() (float64, error) {
		argv, err := command("/bin/true")
		if err != nil {
			return 0, err
		}
		return run(argv)
	})
}
