package daemon

import (
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/ptyexec"
)

// inheritsOrphans reports whether processes whose parent has died become
// children of this one: it is pid 1 of a container, or was made a child subreaper
// by whoever started it, see PR_SET_CHILD_SUBREAPER in prctl(2).
func inheritsOrphans() bool {
	var subreaper int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0)
	return os.Getpid() == 1 || err == nil && subreaper != 0
}

// reapOrphans keeps them from staying as zombies. It returns when a stop is over;
// what the shells leave behind after that is for the next one to reap.
//
// Several children that end at once may give one signal, so everything that can
// be reaped is; and once before the first signal, for what ended before this
// process could hear of it.
func (d *Daemon) reapOrphans() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	defer signal.Stop(ends)
	for {
		if n := ptyexec.ReapOrphans(); n > 0 {
			d.log.Debug("reap", "orphans", n)
		}
		select {
		case <-d.ended:
			return
		case <-ends:
		}
	}
}
