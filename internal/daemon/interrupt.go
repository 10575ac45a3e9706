package daemon

import (
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// linger is how long a close may take before it is interrupted.
const linger = 50 * time.Millisecond

// interruptibly calls f, which closes what a client has passed, and interrupts each
// system call of it that takes long. The close of a socket with SO_LINGER, see
// socket(7), waits for as long as the client has set, and a signal ends that wait; the
// socket is closed all the same. SIGURG is what the Go runtime sends to its own threads, so
// one more of it does no harm. Not all waits can be ended so: for the rest there are turns.
func interruptibly(f func()) {
	runtime.LockOSThread() // the signal is for this thread
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	var mu sync.Mutex
	over := false
	var interrupt func()
	interrupt = func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG) // it may just be through
			time.AfterFunc(linger, interrupt)
		}
	}
	timer := time.AfterFunc(linger, interrupt)
	f()
	timer.Stop()
	mu.Lock()
	over = true
	mu.Unlock()
}
