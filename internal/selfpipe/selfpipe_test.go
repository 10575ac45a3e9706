//go:build linux && (amd64 || arm64)

package selfpipe

import (
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// signals is the reading end: there is one for the whole process.
var signals = sync.OnceValues(Open)

// next reads one byte.
func next(t *testing.T) byte {
	t.Helper()
	f, err := signals()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

// raise sends sig to this process.
func raise(t *testing.T, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// Every signal is one byte, in order, with marks in between, while goroutines are
// busy with what the runtime uses signals and stacks for.
func TestSignalsAreBytes(t *testing.T) {
	if _, err := signals(); err != nil {
		t.Fatal(err)
	}
	caught := []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGTERM, unix.SIGTSTP}
	for _, sig := range caught {
		Catch(sig)
	}
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for depth := 1; ; depth = depth%1000 + 1 {
				select {
				case <-stop:
					return
				default:
					deep(depth)
				}
			}
		}()
	}
	for i := range 5000 {
		sig := caught[i%len(caught)]
		raise(t, sig)
		if got := next(t); got != byte(sig) {
			t.Fatalf("read %d for %v", got, sig)
		}
		Post()
		if got := next(t); got != Mark {
			t.Fatalf("read %d for a mark", got)
		}
	}
}

// deep makes a stack grow and leaves garbage.
func deep(n int) int {
	if n == 0 {
		return 0
	}
	b := make([]byte, 64)
	return deep(n-1) + len(b)
}

func TestIgnored(t *testing.T) {
	if Ignored(unix.SIGURG) {
		t.Error("SIGURG is ignored")
	}
	Catch(unix.SIGHUP)
	if Ignored(unix.SIGHUP) {
		t.Error("SIGHUP is ignored when caught")
	}
	rtSigaction(unix.SIGHUP, &action{handler: ignore}, nil)
	if !Ignored(unix.SIGHUP) {
		t.Error("SIGHUP is not ignored")
	}
	Default(unix.SIGHUP)
	if Ignored(unix.SIGHUP) {
		t.Error("SIGHUP is ignored by default")
	}
}
