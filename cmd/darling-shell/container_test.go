package main_test

import (
	"fmt"
	"strings"
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

// Where the kernel is too old, or a filter too strict, the client says what it takes.
func TestUnderStrictFilter(t *testing.T) {
	d := spawntest.StartDaemon(t, spawntest.Under(spawntest.Helper(t, "spawntest-denied"), fmt.Sprint(unix.SYS_CLOSE_RANGE), fmt.Sprint(int(unix.ENOSYS))))
	_, errs, code := d.Run(nil, "true")
	oneLine(t, errs, "close_range: function not implemented")
	if code != 125 || !strings.Contains(string(errs), "Linux 5.11") {
		t.Errorf("status %d, %q", code, errs)
	}
}

// A container may have a devpts and no /dev/ptmx, or one that is something else; or no
// devpts at all.
func TestWithoutPtmx(t *testing.T) {
	spawntest.NeedRoot(t)
	under := func(script string) *spawntest.Daemon {
		return spawntest.StartDaemon(t, spawntest.Under("unshare", "--mount", "sh", "-c", script+` && exec "$0" "$@"`))
	}
	// A /dev of its own, since /dev/ptmx may be a link to the one in /dev/pts.
	noPtmx := "d=" + t.TempDir() + `; mount -t tmpfs none $d && mkdir $d/pts && mount --bind /dev/pts $d/pts &&
		for n in null zero tty urandom; do : >$d/$n && mount --bind /dev/$n $d/$n || exit; done &&
		: >$d/ptmx && mount --bind /dev/null $d/ptmx &&
		mount --rbind $d /dev`
	term := onTerminal(t, under(noPtmx), "tty")
	term.Expect(`/dev/pts/\d+`)
	if code := term.Wait(); code != 0 {
		t.Errorf("with a devpts: status %d", code)
	}
	_, errs, code := under(noPtmx+" && mount -t tmpfs none /dev/pts").Run(nil, "-t", "tty")
	oneLine(t, errs, "open pty: ")
	if code != 125 || !strings.Contains(string(errs), "mount devpts on /dev/pts") {
		t.Errorf("without: status %d, %q", code, errs)
	}
}
