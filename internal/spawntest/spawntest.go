// Package spawntest starts the real programs for tests: a daemon with a socket
// in a directory of its own, clients on pipes or on a real outer terminal, and
// small helper programs that are played by the test binary itself.
//
// It is for tests only. Nothing in it stands in for the product: every process,
// pty and socket is the kernel's. It leaves to the tests what is right; it
// fails them by itself only where no test may ever pass: a daemon that does not
// stop cleanly, a panic, a data race, a wait past its deadline.
//
//	func TestMain(m *testing.M) { os.Exit(spawntest.Main(m)) }
//
//	func TestEcho(t *testing.T) {
//		d := spawntest.StartDaemon(t)
//		out, _, code := d.Run(nil, "echo", "hello")
//		...
//	}
//
// The environment steers it:
//
//	SHELLSPAWN_TEST_RACE=1   build the programs with the race detector
//	SHELLSPAWN_TEST_FULL=1   run the long loops at their full length
//	SHELLSPAWN_TEST_BIN=DIR  use the programs in DIR instead of building them
package spawntest

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Deadline is how long anything that ought to happen at once may take on a
// loaded machine before the test is told that it did not.
const Deadline = 60 * time.Second

// Main runs the tests of a package, or, where the test binary was started under
// the name of a helper program, that helper. The result is the exit status:
// TestMain is to hand it to os.Exit.
func Main(m *testing.M) int {
	if run, ok := helpers[filepath.Base(os.Args[0])]; ok {
		return run(os.Args[1:])
	}
	// Files made for another user must not depend on the umask of the caller.
	syscall.Umask(0o022)
	catchIgnored()
	code := m.Run()
	removePrograms()
	return code
}

// catchIgnored catches what is ignored, as under nohup or in the background of a
// script: programs would inherit that, while what is caught they have at its default.
func catchIgnored() {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// Race reports whether the programs are built with the race detector.
func Race() bool { return os.Getenv("SHELLSPAWN_TEST_RACE") == "1" }

// Count chooses the length of a loop: usual, or full where
// SHELLSPAWN_TEST_FULL=1 asks for it, or a tenth of usual (at least one) under
// the race detector, where every start costs ten times as much.
func Count(usual, full int) int {
	switch {
	case os.Getenv("SHELLSPAWN_TEST_FULL") == "1":
		return full
	case Race():
		return max(usual/10, 1)
	}
	return usual
}

// Eventually waits until cond holds, and ends the test if it does not within
// Deadline. The text names the condition, as in "two children".
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Within(Deadline, cond) {
		t.Fatalf("no %s within %v", what, Deadline)
	}
}

// Within polls cond until it holds or limit has passed, and reports which.
func Within(limit time.Duration, cond func() bool) bool {
	end := time.Now().Add(limit)
	for pause := time.Millisecond; !cond(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			return cond()
		}
		time.Sleep(pause)
	}
	return true
}
