//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start runs a program as the leader of a new session and returns once it has
// been exec'd. The program has every signal at its default and none blocked,
// exactly the descriptors 0, 1 and 2, the soft limit on descriptors that this process
// had at its own start, and a neutral score for the OOM killer where that is
// permitted.
//
// An error is a *StartError, or wraps the cause of ctx. Then nothing is left
// behind: no process, no descriptor, no pty.
//
// Start blocks as long as exec does, which on a network file system may
// be for ever. If ctx ends first, the child is killed and Start returns.
// After that ctx has no influence on the program.
//
// Every Process must be waited for.
func Start(ctx context.Context, s Spec) (*Process, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx, &s)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	d, err := openDescriptors(&s)
	if err != nil {
		return nil, err
	}
	p, err := startIn(ctx, &s, d)
	d.closeTemporary()
	if err != nil {
		d.closePty()
	}
	return p, err
}

// startIn makes a plan and carries it out.
func startIn(ctx context.Context, s *Spec, d *descriptors) (*Process, error) {
	l, err := lend(d.forChild())
	if err != nil {
		return nil, err
	}
	p := newPlan(s, d, l)
	defer p.recycle()
	defer func() { l.giveBack(p.received()) }()
	if err := p.start(ctx, s); err != nil {
		return nil, err
	}
	return newProcess(p, s, d), nil
}

// start carries the plan out. On error there is no child any more.
func (p *plan) start(ctx context.Context, s *Spec) error {
	register(p)
	stop := p.cancelWith(ctx)
	pid := p.launch()
	runtime.KeepAlive(p)
	intime := stop()
	settle(p, pid)
	if pid < 0 {
		return &StartError{Op: "clone", Err: syscall.Errno(-pid)}
	}

	err := p.failure(s)
	if err == nil && p.cut() {
		p.cancel() // it runs with less than it should have
		err = &StartError{Op: "descriptors", Err: unix.EMFILE}
	}
	if !intime {
		err = cancelled(ctx, s) // even if it had exec'd when it was killed
	}
	if err != nil {
		_ = p.child.await() // how it ended says nothing
		closeFD(p.child.pidfd)
		return err
	}
	return p.pollable(s)
}

// cancelWith has the child killed when ctx ends. The function it returns ends
// that, waits for a kill that is under way, and reports whether there was none.
func (p *plan) cancelWith(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	done := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		p.cancel()
		close(done)
	})
	return func() bool {
		if unhook() {
			return true
		}
		<-done
		return false
	}
}

// pollable makes the pidfd non-blocking, so that the runtime's poller takes it.
func (p *plan) pollable(s *Spec) error {
	_, err := unix.FcntlInt(uintptr(p.child.pidfd), unix.F_SETFL, unix.O_RDWR|unix.O_NONBLOCK)
	if err == nil {
		return nil
	}
	p.cancel()
	_ = p.child.await() // how it ended says nothing
	closeFD(p.child.pidfd)
	return &StartError{Op: "pidfd", Err: errnoOf(err)}
}

func cancelled(ctx context.Context, s *Spec) error {
	return fmt.Errorf("start %s: %w", s.Program, context.Cause(ctx))
}

// descriptors are those that one start works with.
type descriptors struct {
	stdio     [3]int // what becomes 0, 1, 2
	pty       *pty   // nil without a terminal of our own
	terminal  int    // the subsidiary, or -1
	temporary []int  // to be closed after the start
}

func openDescriptors(s *Spec) (d *descriptors, err error) {
	d = &descriptors{terminal: -1}
	defer func() {
		if err != nil {
			d.closeTemporary()
			d.closePty()
		}
	}()
	if s.Terminal != nil {
		owner := os.Geteuid()
		if s.Credential != nil {
			owner = int(s.Credential.UID)
		}
		if d.pty, err = openPty(s.Terminal, owner); err != nil {
			return d, err
		}
		d.terminal = d.pty.pts
	}
	fill := d.terminal
	for i := range d.stdio {
		if given := s.stdio(i); given >= 0 {
			d.stdio[i] = given
			continue
		}
		if fill < 0 {
			if fill, err = d.openNull(); err != nil {
				return d, err
			}
		}
		d.stdio[i] = fill
	}
	return d, nil
}

// stdio returns the caller's descriptor for i, or a negative number.
func (s *Spec) stdio(i int) int {
	if s.Stdio == nil {
		return -1
	}
	return s.Stdio[i]
}

// forChild lists what the child receives as 0, 1, 2, and perhaps 3: the terminal, if
// it is none of the three.
func (d *descriptors) forChild() []int {
	fds := d.stdio[:]
	if d.terminal >= 0 && !slices.Contains(fds, d.terminal) {
		fds = append(slices.Clone(fds), d.terminal)
	}
	return fds
}

// terminalInChild is the number under which the child receives the terminal.
func (d *descriptors) terminalInChild() int { return slices.Index(d.forChild(), d.terminal) }

func (d *descriptors) openNull() (int, error) {
	fd, err := open("/dev/null")
	if err != nil {
		return -1, &StartError{Op: "open /dev/null", Err: errnoOf(err)}
	}
	d.temporary = append(d.temporary, fd)
	return fd, nil
}

func (d *descriptors) closeTemporary() {
	for _, fd := range d.temporary {
		closeFD(fd)
	}
	d.temporary = nil
}

func (d *descriptors) closePty() {
	if d.pty != nil {
		d.pty.close()
	}
}
