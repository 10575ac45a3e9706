package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// throughput takes how fast bytes get out of a program and into one.
func (b *bench) throughput() error {
	title("Throughput, MiB/s")
	text := b.path("text")
	line := "all work and no play makes a terminal a dull place to be, says the man at the tty\n"
	if err := os.WriteFile(text, bytes.Repeat([]byte(line), b.sizes.ptyBytes/len(line)), 0o600); err != nil {
		return err
	}
	const binary = "/dev/zero"
	outPipes := []string{"/usr/bin/env", "head", "-c", fmt.Sprint(b.sizes.pipeBytes), binary}
	inPipes := []string{"/usr/bin/env", "dd", "of=/dev/null", "bs=64k", "status=none"}
	outPty := []string{"/usr/bin/env", "cat", text}
	inPty := []string{"/bin/sh", "-c", rawReader + fmt.Sprintf("exec head -c %d >/dev/null", b.sizes.ptyInput)}
	for _, way := range []struct {
		name string
		of   func(subject) command
		run  func(*bench, []string) (float64, error)
		argv []string
	}{
		{"pipes out", asPipes, (*bench).pipesOut, outPipes},
		{"pipes in", asPipes, (*bench).pipesIn, inPipes},
		{"pty out", asPty, (*bench).ptyOut, outPty},
		{"pty in", asPty, (*bench).ptyIn, inPty},
	} {
		all := b.seriesOf(way.of, way.run, way.argv...)
		b.takeTurns(all)
		b.rates(way.name, all)
	}
	return nil
}

// takeTurns measures floor and product first, and each peer once: a run moves so much
// that there would be one round of all. What runs first after a pause is the fastest,
// so the first run does not count.
func (b *bench) takeTurns(all []*series) {
	_, _ = all[0].run()
	limit := b.limit()
	alternate(b.sizes.copies, limit, all[:2]...)
	alternate(1, limit, all[2:]...)
}

func asPty(s subject) command { return s.pty }

func asPipes(s subject) command {
	if s.noStream {
		return nil
	}
	return s.pipes
}

// rawReader is what a program does that takes input as it is: it says so once
// it is ready.
const (
	rawReader = "stty raw -echo; echo " + readyWord + "; "
	readyWord = "ready~"
)

// rates prints one table; more is better here.
func (b *bench) rates(name string, all []*series) {
	t := newTable("subject, "+name, "MiB/s", "ratio to the floor")
	for _, s := range all {
		r := s.got.ratioTo(all[0].got)
		t.row(s.name, number(s.got.median()/(1<<20), "%.0f"), r.String())
		t.note(s.failure())
		b.summary.add("throughput, "+name, s.name, r.medians)
	}
	t.print()
}

// pipesOut reads all that a program writes, as fast as it can.
func (b *bench) pipesOut(argv []string) (float64, error) {
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
	p.started()
	got := 0
	for buf := make([]byte, 256<<10); ; {
		n, err := unix.Read(p.ours[1], buf)
		if n == 0 || err != nil && err != unix.EINTR {
			break
		}
		got += max(n, 0)
	}
	if err := child.wait(); err != nil {
		return 0, err
	}
	if got != b.sizes.pipeBytes {
		return 0, fmt.Errorf("%d bytes arrived of %d", got, b.sizes.pipeBytes)
	}
	return float64(got) / time.Since(began).Seconds(), nil
}

// pipesIn writes to a program that reads until the end.
func (b *bench) pipesIn(argv []string) (float64, error) {
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
	p.started()
	buf := make([]byte, 256<<10)
	for left := b.sizes.pipeBytes; left > 0 && err == nil; {
		var n int
		n, err = unix.Write(p.ours[0], buf[:min(left, len(buf))])
		left -= max(n, 0)
		if err == unix.EINTR {
			err = nil
		}
	}
	p.closeOne(&p.ours[0])
	if failed := child.wait(); failed != nil {
		return 0, failed
	}
	return float64(b.sizes.pipeBytes) / time.Since(began).Seconds(), err
}

// ptyOut reads all that a program shows until its client has ended. The size is
// not judged: tmux shows a screen, not a stream.
func (b *bench) ptyOut(argv []string) (float64, error) {
	seconds, err := b.timePty(argv)
	return float64(b.sizes.ptyBytes) / seconds, err
}

// ptyIn types as fast as it is taken, into a program that ends after so many
// bytes.
func (b *bench) ptyIn(argv []string) (float64, error) {
	took, err := b.timeTyping(argv, bytes.Repeat([]byte("x"), b.sizes.ptyInput))
	return float64(b.sizes.ptyInput) / took.Seconds(), err
}

// timeTyping types text into a program that ends after so many bytes. The clock
// starts when the program says that it is ready, and stops when it has ended.
func (b *bench) timeTyping(argv []string, text []byte) (time.Duration, error) {
	t, err := newTerminal()
	if err != nil {
		return 0, err
	}
	child, err := b.start(argv, t.files(), true, patience)
	if err != nil {
		t.hangUp()
		return 0, err
	}
	t.started()
	if err := t.await(readyWord, patience); err != nil {
		child.kill()
		t.hangUp()
		return 0, err
	}
	t.drain()
	defer t.end()
	began := time.Now()
	if err := t.send(text, patience/3); err != nil {
		child.kill()
		return 0, err
	}
	err = child.wait()
	return time.Since(began), err
}
