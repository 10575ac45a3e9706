package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// echo takes how long a key needs to the program and back to the screen. The
// program puts it back itself, like an editor or a shell with line editing.
func (b *bench) echo() error {
	title("Key echo")
	for _, way := range []struct {
		measure, text string
		block         int
		flood         bool
	}{
		{"key echo p50", "Nothing else going on:", 1, false},
		{"key echo p50, flood", "While another shell of the same kind floods its terminal:", 50, true},
	} {
		blocks := b.sizes.keys / way.block
		keyboards, all := b.keyboards(blocks*way.block, way.block, way.flood)
		alternate(blocks, b.limit(), all...)
		for _, k := range keyboards {
			k.close()
		}
		fmt.Printf("%s\n\n", way.text)
		b.latencies(way.measure, "µs", micro, all)
	}
	return nil
}

// keyboard is one session in which keys are typed.
type keyboard struct {
	terminal *terminal
	child    *process
	left     int // keys until the program ends
	key      int
}

// keyboards opens a session of each subject, and of the pty without any proxy,
// which nobody can beat.
func (b *bench) keyboards(keys, block int, flood bool) (opened []*keyboard, all []*series) {
	bare := subject{name: bareName, pty: prefixed()}
	for _, s := range append(b.subjects(), bare) {
		if s.pty == nil {
			continue
		}
		one := &series{name: s.name, budget: b.budget(s) * 2}
		all = append(all, one)
		k, err := b.openKeyboard(s.pty, keys)
		if one.err = err; err != nil {
			continue
		}
		opened = append(opened, k)
		one.run = func() (samples, error) { return k.typeBlock(block) }
		if flood {
			one.run = func() (got samples, err error) {
				failed := b.flooded(s.pty, func() { got, err = k.typeBlock(block) })
				if err == nil {
					err = failed
				}
				return got, err
			}
		}
	}
	return opened, all
}

// openKeyboard starts a program that ends after so many keys.
func (b *bench) openKeyboard(pty command, keys int) (*keyboard, error) {
	argv, err := pty("/bin/sh", "-c", rawReader+fmt.Sprintf("exec dd bs=1 count=%d status=none", keys))
	if err != nil {
		return nil, err
	}
	t, err := newTerminal()
	if err != nil {
		return nil, err
	}
	child, err := b.start(argv, t.files(), true, time.Hour)
	if err != nil {
		t.hangUp()
		return nil, err
	}
	t.started()
	k := &keyboard{terminal: t, child: child, left: keys}
	if err := t.await(readyWord, patience); err != nil {
		k.close()
		return nil, err
	}
	time.Sleep(10 * time.Millisecond) // for what tmux draws behind the word
	return k, nil
}

// keys do not occur in what a terminal program draws of its own.
const keys = "#&^"

// keyPause is between two keys: long enough that everybody has gone to sleep.
const keyPause = time.Millisecond

func (k *keyboard) typeBlock(n int) (samples, error) {
	got := make(samples, 0, n)
	for range n {
		v, err := k.press()
		if err != nil {
			return nil, err
		}
		got = append(got, v)
	}
	return got, nil
}

// press types one key and waits until it is on the screen.
func (k *keyboard) press() (float64, error) {
	time.Sleep(keyPause)
	k.key = (k.key + 1) % len(keys)
	key := []byte{keys[k.key]}
	var buf [4096]byte
	began := time.Now()
	if err := k.terminal.send(key, patience/5); err != nil {
		return 0, err
	}
	k.left--
	for {
		n, err := k.terminal.read(buf[:], patience/5)
		if err != nil {
			return 0, err
		}
		if bytes.Contains(buf[:n], key) {
			return time.Since(began).Seconds(), nil
		}
	}
}

// close types what the program still waits for, which ends it in servers too
// that would keep it otherwise.
func (k *keyboard) close() {
	k.terminal.drain()
	_ = k.terminal.send([]byte(strings.Repeat("x", k.left)), patience/5) // or it has ended
	k.child.hurry(patience / 5)
	_ = k.child.wait() // it has done its part
	k.terminal.end()
}

// flooded calls f while another session of the same kind shows text without
// end.
func (b *bench) flooded(pty command, f func()) error {
	text, flag := b.path("flood"), b.path("flooding")
	if err := os.WriteFile(text, bytes.Repeat([]byte("all work and no play\n"), 12000), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		return err
	}
	argv, err := pty("/bin/sh", "-c", fmt.Sprintf("echo %s; while test -e %s; do cat %s; done", readyWord, flag, text))
	if err != nil {
		return err
	}
	t, err := newTerminal()
	if err != nil {
		return err
	}
	child, err := b.start(argv, t.files(), true, patience)
	if err != nil {
		t.hangUp()
		return err
	}
	t.started()
	err = t.await(readyWord, patience)
	t.drain()
	if err == nil {
		f()
	}
	_ = os.Remove(flag) // ends the flood; if it cannot, patience does
	if failed := child.wait(); err == nil {
		err = failed
	}
	t.end()
	return err
}
