package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// oneShot takes how long it is from starting the client to its end when the
// program does nothing.
func (b *bench) oneShot() error {
	title("One-shot latency of `true`")
	for _, way := range []struct {
		measure, text string
		of            func(subject) command
		run           func(*bench, []string) (float64, error)
	}{
		{"one-shot, pipes", "Pipes:", func(s subject) command { return s.pipes }, (*bench).timePipes},
		{"one-shot, pty", "On a terminal:", func(s subject) command { return s.pty }, (*bench).timePty},
		{"one-shot, login shell", "Through a login shell, pipes:", func(s subject) command { return s.login }, (*bench).timePipes},
	} {
		all := b.seriesOf(way.of, way.run, "/bin/true")
		alternate(b.sizes.rounds, b.limit(), all...)
		fmt.Printf("%s\n\n", way.text)
		b.latencies(way.measure, "ms", milli, all)
	}
	return nil
}

// seriesOf makes a series of each subject that can run argv this way.
func (b *bench) seriesOf(of func(subject) command, run func(*bench, []string) (float64, error), argv ...string) []*series {
	var all []*series
	for _, s := range b.subjects() {
		command := of(s)
		if command == nil {
			continue
		}
		all = append(all, &series{name: s.name, budget: b.budget(s), run: single(func() (float64, error) {
			line, err := command(argv...)
			if err != nil {
				return 0, err
			}
			return run(b, line)
		})})
	}
	return all
}

// timePipes runs argv once on pipes that carry nothing.
func (b *bench) timePipes(argv []string) (float64, error) {
	p, err := newPipes()
	if err != nil {
		return 0, err
	}
	defer p.close()
	began := time.Now()
	child, err := b.start(argv, p.child, false, patience)
	if err != nil {
		return 0, err
	}
	err = child.wait()
	return time.Since(began).Seconds(), err
}

// timePty runs argv once on a terminal of its own.
func (b *bench) timePty(argv []string) (float64, error) {
	t, err := newTerminal()
	if err != nil {
		return 0, err
	}
	t.drain()
	defer t.end()
	began := time.Now()
	child, err := b.start(argv, t.files(), true, patience)
	if err != nil {
		return 0, err
	}
	err = child.wait()
	return time.Since(began).Seconds(), err
}

// pipes are the three streams of one program.
type pipes struct {
	child [3]int
	ours  [3]int
}

func newPipes() (*pipes, error) {
	p := &pipes{child: [3]int{-1, -1, -1}, ours: [3]int{-1, -1, -1}}
	for i := range p.child {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			p.close()
			return nil, fmt.Errorf("pipe: %w", err)
		}
		p.child[i], p.ours[i] = fds[1], fds[0]
		if i == 0 {
			p.child[i], p.ours[i] = fds[0], fds[1]
		}
	}
	return p, nil
}

// started gives up the program's ends.
func (p *pipes) started() {
	for i := range p.child {
		p.closeOne(&p.child[i])
	}
}

func (p *pipes) close() {
	p.started()
	for i := range p.ours {
		p.closeOne(&p.ours[i])
	}
}

func (p *pipes) closeOne(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd) // nothing was written through it that matters
		*fd = -1
	}
}
