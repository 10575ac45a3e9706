//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is one system call that the child makes between clone and exec, and what
// came of it. The child walks a list of them in assembly and runs no Go.
type step struct {
	nr      uintptr
	args    [6]uintptr
	advance uintptr  // bytes to the step that follows success
	pass    errnoSet // errors after which the child goes on with the next step
	errno   uintptr  // written by the child
}

const stepSize = unsafe.Sizeof(step{})

// errnoSet is a set of the error numbers 0 to 127.
type errnoSet [2]uint64

// cloneArgs is struct clone_args of clone3(2), its first version.
type cloneArgs struct {
	flags      uint64
	pidfd      uint64
	_          uint64 // child_tid
	parentTID  uint64
	exitSignal uint64
	_, _, _    uint64 // stack, stack_size, tls
}

// call is what one vfork reads and writes. It must live on the heap, where
// nothing moves, and stay reachable until vfork has returned. The fields from
// cancelled on may be written by the kernel or the child, so Go reads
// them only atomically or after vfork has returned.
type call struct {
	nr    uintptr    // of clone3(2) or clone(2)
	args  [5]uintptr // its arguments
	clone cloneArgs  // to which those of clone3 point
	first uintptr    // address of the first step
	//lint:ignore U1000 used by vfork
	mask uint64 // the thread's signal mask, which the parent puts back

	cancelled uint32  // not 0: the child makes no further step
	pidfd     int32   // written by the kernel before the child runs
	pid       int32   // written by the kernel before the child makes a step; 0 until then
	stopped   uintptr // address of the step at which the child gave up
}

// cloneFlags are common to both calls. The child shares memory and descriptors.
const cloneFlags = unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | unix.CLONE_FILES

// prepare fills in everything vfork needs but the list of steps.
//
// CLONE_PIDFD and the pid make the child known here before it has made a
// step, so that another goroutine can end a start that hangs, and the
// reaper of orphans can tell the child from a stranger.
func (c *call) prepare() {
	c.pidfd = -1
	if !hasClone3() {
		c.prepareOld()
		return
	}
	c.clone = cloneArgs{
		flags:      cloneFlags | unix.CLONE_PARENT_SETTID | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(addr(&c.pidfd)),
		parentTID:  uint64(addr(&c.pid)),
		exitSignal: uint64(unix.SIGCHLD),
	}
	c.nr, c.args = unix.SYS_CLONE3, [5]uintptr{addr(&c.clone), unsafe.Sizeof(c.clone)}
}

// prepareOld is for clone(2). That has one address for the pidfd and for the pid that
// the parent would write, so the pid comes from the child, in which the kernel writes it
// as the first thing of all, even if the child is to die at once. As no signal handler
// is cleared, the list of steps does that, see addInherited.
//
// The last two arguments are the address of the pid and that of thread-local storage,
// on arm64 in the other order; without CLONE_SETTLS the latter is not looked at.
func (c *call) prepareOld() {
	flags := cloneFlags | unix.CLONE_CHILD_SETTID | uintptr(unix.SIGCHLD)
	c.nr, c.args = unix.SYS_CLONE, [5]uintptr{flags, 0, addr(&c.pidfd), addr(&c.pid), addr(&c.pid)}
}

// hasClone3 asks the kernel, once, whether clone3(2) may be used. Filters of containers
// deny it with ENOSYS or EPERM, as they cannot look at flags that are in memory. The kernel
// itself says EINVAL of arguments of no size.
var hasClone3 = sync.OnceValue(func() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return errno == unix.EINVAL
})

// launch clones the child and returns its pid, or a negative error number, once
// the child has exec'd or is gone.
//
// The scheduler gets the processor back at once, as vfork(2) always blocks for a
// while: a child that is stuck in exec holds up this thread and nothing else.
// vfork blocks all signals before the clone and puts the mask back
// before exitsyscall, after which the goroutine may go on in another thread.
//
//go:nosplit
//go:norace
func (c *call) launch() int {
	entersyscallblock()
	r := vfork(c)
	exitsyscall()
	return r
}

// cancel makes the child give up: at its next step, and by a kill if it is
// already there. Either the child sees cancelled, or cancel sees the pid.
func (c *call) cancel() {
	atomic.StoreUint32(&c.cancelled, 1)
	if atomic.LoadInt32(&c.pid) != 0 {
		// The only failure is that the child is gone already.
		_ = unix.PidfdSendSignal(int(atomic.LoadInt32(&c.pidfd)), syscall.SIGKILL, nil, 0)
	}
}

// vfork is in child_*.s.
func vfork(c *call) int

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()
