//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A child gets its descriptors through a socket, and no copy of all those that this
// process has. With a copy, a child that hangs in exec would hold open
// what others wait for the end of; and as the child has to close it, a file
// on a file system that does not answer, passed here by one user, would hold up the
// starts of all. So the child shares our table (CLONE_FILES) until it leaves it
// with close_range(2), which copies only the part below the conduits' end. It
// closes that too, but for one conduit, and receives what it is to have from there.

// conduit is a socket pair that carries the descriptors of one start at a time.
type conduit struct {
	tx, rx int
	by     *loan // nil if it is free
}

// loan is the use of a conduit by one start.
type loan struct {
	conduit *conduit
	end     int // of the part of the table that the child copies
}

const (
	conduitCount = 16
	// firstConduit leaves room below for what a child receives: 0, 1, 2 and a terminal.
	firstConduit = 4
	conduitPause = 100 * time.Microsecond
)

// conduits are made once and never closed.
var conduits struct {
	sync.Mutex
	all []*conduit
	end int // above the highest of them
}

// Prepare does now what the first Start would do: it opens the few descriptors that
// every start needs, and looks at what programs are to inherit. What is opened after
// that is never seen by a child, not even for a moment, so a process that holds
// descriptors of others calls it first.
func Prepare() error {
	timerSlack()
	conduits.Lock()
	defer conduits.Unlock()
	return makeConduits()
}

// makeConduits is called with the conduits locked.
func makeConduits() error {
	for len(conduits.all) < conduitCount {
		c, err := newConduit()
		if err != nil {
			return &StartError{Op: "socketpair", Err: errnoOf(err)}
		}
		conduits.all = append(conduits.all, c)
		conduits.end = max(conduits.end, c.rx+1)
	}
	return nil
}

func newConduit() (*conduit, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	c := &conduit{tx: pair[0], rx: pair[1]}
	if c.rx >= firstConduit {
		return c, nil
	}
	c.rx, err = unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD_CLOEXEC, firstConduit)
	closeFD(pair[1])
	if err != nil {
		closeFD(c.tx)
		return nil, err
	}
	return c, nil
}

// lend puts descriptors into a conduit for a child. It blocks only while more starts than
// there are conduits are between clone and the receipt, which is no time at all.
func lend(fds []int) (*loan, error) {
	for {
		l, err := tryLend(fds)
		if l != nil || err != nil {
			return l, err
		}
		time.Sleep(conduitPause)
	}
}

// tryLend returns nil if no conduit is free.
func tryLend(fds []int) (*loan, error) {
	conduits.Lock()
	defer conduits.Unlock()
	if err := makeConduits(); err != nil {
		return nil, err
	}
	for _, c := range conduits.all {
		// A start that has received what was in its conduit needs it no more, even
		// if it hangs.
		if c.by != nil && !c.empty() {
			continue
		}
		if err := unix.Sendmsg(c.tx, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
			return nil, &StartError{Op: "descriptors", Err: errnoOf(err)}
		}
		c.by = &loan{conduit: c, end: conduits.end}
		return c.by, nil
	}
	return nil, nil
}

// empty reports whether everything in the conduit has been received.
func (c *conduit) empty() bool {
	n, err := unix.IoctlGetInt(c.rx, unix.SIOCINQ)
	return err == nil && n == 0
}

// giveBack ends the loan. What a child that is gone has not received is dropped; the
// descriptors are still ours, so nothing is closed by that.
func (l *loan) giveBack(received bool) {
	conduits.Lock()
	defer conduits.Unlock()
	c := l.conduit
	if c.by != l {
		return // somebody else has it by now
	}
	if !received {
		_, _, _, _, _ = unix.Recvmsg(c.rx, make([]byte, 1), nil, unix.MSG_DONTWAIT) // it may be empty
	}
	c.by = nil
}

// receipt is where the child's recvmsg(2) puts things. It is part of a plan, so it
// is on the heap and stays where it is.
type receipt struct {
	message unix.Msghdr
	vector  unix.Iovec
	payload [8]byte
	control [64]byte
}

// notReceived is what the flags of the message are until the kernel sets them.
const notReceived = -1

// prepareReceipt lays out the message for n descriptors.
func (r *receipt) prepareReceipt(n int) {
	r.vector.Base = &r.payload[0]
	r.vector.SetLen(1)
	r.message.Iov, r.message.Iovlen = &r.vector, 1
	r.message.Control = &r.control[0]
	r.message.SetControllen(unix.CmsgSpace(n * int(unsafe.Sizeof(int32(0)))))
	r.message.Flags = notReceived
}

func (r *receipt) received() bool { return r.message.Flags != notReceived }

// cut reports whether the child got fewer descriptors than it was sent: it has no room
// for more, or a security module forbids one.
func (r *receipt) cut() bool { return r.received() && r.message.Flags&unix.MSG_CTRUNC != 0 }
