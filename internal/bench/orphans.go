package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of servers that peers put into the
// background, so that they can be ended for certain.
func adoptOrphans() error {
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	return os.NewSyscallError("prctl", err)
}

// reapOrphans takes the zombies away that have gathered.
func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
	}
}

// killOrphans ends all children there are, and theirs as they come up.
func killOrphans() {
	for {
		children := childrenOf(os.Getpid())
		if len(children) == 0 {
			return
		}
		for _, pid := range children {
			_ = unix.Kill(pid, unix.SIGKILL) // unreaped, so it is ours
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}
