package main_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"shellspawn/internal/spawntest"
)

// The filter of a container may deny what is younger than itself. Both programs run under
// one here, and everything works; where clone3(2) was denied, nothing started.
func TestUnderFilter(t *testing.T) {
	for _, row := range []struct {
		name  string
		nr    int
		errno unix.Errno
	}{
		{"clone3, a usual filter", unix.SYS_CLONE3, unix.ENOSYS},
		{"clone3, an old filter", unix.SYS_CLONE3, unix.EPERM},
		{"statx, an old filter", unix.SYS_STATX, unix.EPERM},
	} {
		t.Run(row.name, func(t *testing.T) {
			filter := []string{spawntest.Helper(t, "spawntest-denied"), fmt.Sprint(row.nr), fmt.Sprint(int(row.errno))}
			d := spawntest.StartDaemon(t, spawntest.Under(filter...))
			run := func(args ...string) []string {
				return append(append(filter[:len(filter):len(filter)], spawntest.ClientPath(t)), args...)
			}
			out, errs, code := d.Collect(d.Command(run("sh", "-c", "cat; exit 3")...), []byte("through\n"))
			if string(out) != "through\n" || len(errs) != 0 || code != 3 {
				t.Errorf("pipes: %q, %q, status %d", out, errs, code)
			}
			term := spawntest.OpenTerminal(t, d.Who).Start(d.Command(run("sh", "-c", "true </dev/tty && tty; exit 4")...))
			term.Expect(`/dev/pts/\d+`)
			if code := term.Wait(); code != 4 {
				t.Errorf("terminal: status %d", code)
			}
		})
	}
}
