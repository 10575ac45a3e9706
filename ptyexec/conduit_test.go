package ptyexec_test

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestHangHoldsNothing: a child that hangs in exec has no copy of what else is open
// here, which would keep others from seeing its end.
func TestHangHoldsNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path, release := slowProgram(t)
	result, pid := startSlowly(t, context.Background(), path)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("read of a pipe whose other end is closed: %d, %v; process %d hangs", n, err, pid)
	}
	release()
	started := <-result
	if started.err != nil {
		t.Fatal(started.err)
	}
	if status := wait(t, started.p); status != 0 {
		t.Error(status)
	}
}
