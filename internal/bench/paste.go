package main

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// paste sends 1 MiB at once to a program that echoes all of it, and looks
// whether the program got every byte. A proxy that waits for the one side to
// take something while the other does not read stands still here.
func (b *bench) paste() error {
	title("Paste of 1 MiB into a program that echoes it")
	t := newTable("subject", "complete", "ms")
	var pasted []byte
	for i := 0; len(pasted) < 1<<20; i++ {
		pasted = fmt.Appendf(pasted, "line %d of a long paste\n", i)
	}
	pasted = pasted[:1<<20]
	for _, s := range b.subjects() {
		if s.pty == nil {
			continue
		}
		took, err := b.pasteOnce(s, pasted)
		answer, time := "**yes**", milli(took.Seconds())
		if err != nil {
			answer, time = "no: "+err.Error(), "–"
		}
		t.row(s.name, answer, time)
		word, _, _ := bytes.Cut([]byte(answer), []byte(":"))
		if s.name != floorName {
			b.summary.put("1 MiB paste complete", s.name, string(bytes.Trim(word, "*")))
		}
	}
	t.print()
	return nil
}

func (b *bench) pasteOnce(s subject, pasted []byte) (time.Duration, error) {
	copied := b.path("pasted." + s.name)
	argv, err := s.pty("/bin/sh", "-c", rawReader+fmt.Sprintf("head -c %d | tee %s", len(pasted), copied))
	if err != nil {
		return 0, err
	}
	took, err := b.timeTyping(argv, pasted)
	if err != nil {
		return 0, err
	}
	got, err := os.ReadFile(copied)
	if err == nil && !bytes.Equal(got, pasted) {
		err = fmt.Errorf("%d of %d bytes are right", commonPrefix(got, pasted), len(pasted))
	}
	return took, err
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
