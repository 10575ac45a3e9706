package client

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// copierSize is the most that one read takes; a pty hands out at most 4 KiB.
const copierSize = 4 << 10

// copier moves bytes from one descriptor to another while there is nothing else to
// do. What the Go scheduler sees of it is one system call, from the first wait to
// whatever is not a byte to be copied: to leave each read and each write
// separately takes a processor of the scheduler and wakes its monitor, and a key
// would wait for that twice on its way out and twice on its way back.
type copier struct {
	from, to int32
	over     *flag // nothing is read once it is set
	wake     int32 // stops the waiting once it is readable; -1: nothing does
	group    int32 // from is read only while this is the foreground process group of that terminal; 0: always

	buf     [copierSize]byte
	n, done uintptr       // bytes of the last read, and how many of them are written
	ended   bool          // the input is at its end
	errno   syscall.Errno // what read(2) or write(2) failed with
}

// rest is what was read and not yet written.
func (c *copier) rest() []byte { return c.buf[c.done:c.n] }

// last is the last byte that was read, or a line end before the first.
func (c *copier) last() byte {
	if c.n == 0 {
		return '\n'
	}
	return c.buf[c.n-1]
}

// run copies until wake is readable, there is input after over was set, from is not
// ours to read, the input is at its end, or a call fails, with EAGAIN among others.
// What was read and not written then is in rest, and taken for written by the next
// run.
//
// Nothing here may be known to the scheduler or the race detector: the processor
// is somebody else's meanwhile. c does not move, since while a goroutine is in a
// system call its stack does not.
//
//go:nosplit
//go:norace
func (c *copier) run() {
	c.errno, c.done = 0, c.n
	entersyscallblock()
	for c.await() && c.read() && c.write() {
	}
	exitsyscall()
}

// await waits for input and reports whether it may be read. A signal does not make
// it ours: it may be the one that continued us in the background, where a read
// would stop us.
//
//go:nosplit
//go:norace
func (c *copier) await() bool {
	for {
		fds := [2]unix.PollFd{{Fd: c.from, Events: unix.POLLIN}, {Fd: c.wake, Events: unix.POLLIN}}
		_, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), uintptr(len(fds)), 0, 0, 0, 0)
		switch {
		case e == 0:
			return fds[1].Revents == 0 && c.over.set == 0 && (c.group == 0 || c.foreground())
		case e != unix.EINTR:
			c.errno = e
			return false
		}
	}
}

// foreground is true for a terminal that is not our controlling terminal, too: job
// control does not apply there.
//
//go:nosplit
//go:norace
func (c *copier) foreground() bool {
	var group int32
	_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(c.from), unix.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return e != 0 || group == c.group
}

//go:nosplit
//go:norace
func (c *copier) read() bool {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(c.from), uintptr(unsafe.Pointer(&c.buf)), copierSize)
	c.errno, c.ended = e, e == 0 && n == 0
	if e != 0 || n == 0 {
		return e == unix.EINTR
	}
	c.n, c.done = n, 0
	return true
}

//go:nosplit
//go:norace
func (c *copier) write() bool {
	for c.done < c.n {
		n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(c.to), uintptr(unsafe.Pointer(&c.buf))+c.done, c.n-c.done)
		switch {
		case e == 0:
			c.done += n
		case e != unix.EINTR:
			c.errno = e
			return false
		}
	}
	return true
}

// flag is set once. A copier looks at it where no atomic operation is possible,
// since the race detector wants to hear of those, and system calls come before and
// after.
type flag struct{ set uint32 }

func (f *flag) Load() bool { return atomic.LoadUint32(&f.set) != 0 }

func (f *flag) Store() { atomic.StoreUint32(&f.set, 1) }

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()
