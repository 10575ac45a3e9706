//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// family knows every child of ours, from before it is cloned until it is reaped.
//
// Its mutex is held across each look at a zombie together with its reaping, and
// across each check that a child is unreaped together with the signal that
// follows. So a pid or process group that is signalled is still ours.
var family = struct {
	sync.Mutex
	starting map[*plan]struct{}
	running  map[int]*child
}{starting: map[*plan]struct{}{}, running: map[int]*child{}}

// child is one process of ours. The last two fields are guarded by family.
type child struct {
	pid   int
	pidfd int

	reaped bool
	status ExitStatus
}

func register(p *plan) {
	family.Lock()
	family.starting[p] = struct{}{}
	family.Unlock()
}

// settle makes the start p an ordinary child, or forgets it if there is none.
func settle(p *plan, pid int) {
	family.Lock()
	defer family.Unlock()
	delete(family.starting, p)
	if pid <= 0 {
		return
	}
	p.child.pid, p.child.pidfd = pid, int(p.pidfd)
	if !p.child.reaped {
		family.running[pid] = p.child
	}
}

// ours returns the child of ours with this pid, or nil. The family is locked.
func ours(pid int) *child {
	if c := family.running[pid]; c != nil {
		return c
	}
	for p := range family.starting {
		if int(atomic.LoadInt32(&p.pid)) == pid {
			return p.child
		}
	}
	return nil
}

// reap takes the child's status if it has ended, and reports whether it has. It
// does not block.
func (c *child) reap() (bool, error) {
	family.Lock()
	defer family.Unlock()
	if c.reaped {
		return true, nil
	}
	info, err := waitid(unix.P_PIDFD, c.pidfd, unix.WEXITED|unix.WNOHANG)
	if err == unix.EAGAIN || err == nil && info.pid == 0 {
		return false, nil
	}
	if err == nil {
		c.status = info.exitStatus()
	}
	c.forget()
	return true, err
}

// forget marks c as reaped. The family is locked.
func (c *child) forget() {
	c.reaped = true
	delete(family.running, c.pid)
}

// await blocks this thread until the child has ended, and reaps it. It waits
// before it locks, since the last things a process does, such as to close files,
// may take time.
func (c *child) await() error {
	for {
		fds := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
		if done, err := c.reap(); done {
			return err
		}
	}
}

// ReapOrphans reaps every child of this process that has ended and was not
// started by this package, and returns how many those were. It never blocks. It is
// for a process that inherits orphans, as pid 1 or as a child subreaper
// (PR_SET_CHILD_SUBREAPER in prctl(2)), which calls it upon SIGCHLD.
//
// The status of a child of this package is not lost: if such a one is found, it
// is reaped too, and its status kept for Process.Wait. But children
// started by other means, such as os/exec, are taken away from there, so a process
// that calls ReapOrphans should start everything through this package.
func ReapOrphans() int {
	n := 0
	for {
		orphan, found := reapAny()
		if !found {
			return n
		}
		if orphan {
			n++
		}
	}
}

// reapAny reaps one child that has ended. It looks first and reaps then, since
// who it is decides who gets the status. To leave ours as a zombie would not do:
// the kernel would show the same one again and hide those behind it.
func reapAny() (orphan, found bool) {
	family.Lock()
	defer family.Unlock()
	info, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
	if err != nil || info.pid == 0 {
		return false, false
	}
	pid := int(info.pid)
	_, err = waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG)
	if err != nil {
		return false, false
	}
	c := ours(pid)
	if c == nil {
		return true, true
	}
	c.status = info.exitStatus()
	c.forget()
	return false, true
}

// childInfo is siginfo_t as waitid(2) fills it in, on 64-bit systems.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

const (
	codeExited = 1 // CLD_EXITED
	codeDumped = 3 // CLD_DUMPED
)

// exitStatus encodes what waitid tells in the form that wait4 would have used.
func (i *childInfo) exitStatus() ExitStatus {
	switch i.code {
	case codeExited:
		return ExitStatus(i.status&0xff) << 8
	case codeDumped:
		return ExitStatus(i.status&0x7f | 0x80)
	}
	return ExitStatus(i.status & 0x7f)
}

func waitid(idType, id, options int) (childInfo, error) {
	var info childInfo
	err := unix.Waitid(idType, id, (*unix.Siginfo)(unsafe.Pointer(&info)), options, nil)
	return info, err
}
