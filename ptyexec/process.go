//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Process is a program that Start has started. All methods may be called
// from several goroutines at once.
type Process struct {
	child    *child
	file     *os.File // the pidfd, known to the runtime's poller
	terminal bool     // there may be a controlling terminal, ours or an adopted one
	dir      string

	wait sync.Once
	err  error // of wait

	mu  sync.Mutex // guards pty.ptm and pty.pts
	pty *pty       // nil without a pty of ours
}

func newProcess(p *plan, s *Spec, d *descriptors) *Process {
	return &Process{
		child:    p.child,
		file:     os.NewFile(uintptr(p.child.pidfd), "pidfd"),
		terminal: s.Terminal != nil || s.AdoptTerminal,
		dir:      p.dir(s),
		pty:      d.pty,
	}
}

// PID returns the process id, which is also that of the session and of the
// leader's process group. After Wait it may belong to somebody else.
func (p *Process) PID() int { return p.child.pid }

// Dir returns the directory that the program was started in, as Spec.Dir or
// Spec.Fallback has it, or "" if neither was asked for.
func (p *Process) Dir() string { return p.dir }

// TTY returns the name of the program's terminal, such as /dev/pts/3, or "" if
// it was started without a pty.
func (p *Process) TTY() string {
	if p.pty == nil {
		return ""
	}
	return p.pty.ttyName()
}

// TakeMaster hands the pty master over to the caller, who closes it, which hangs
// the terminal up. It is a blocking descriptor with close-on-exec set. The result is -1 if there
// is no pty, if the master has been taken, or after Wait.
//
// The Process keeps the subsidiary open until Wait has returned, so that the
// master does not report the end (EIO) while the program lives, even if it has no
// descriptor of its terminal open at the moment. After Wait what is
// left can be read, and then comes EIO, once no other process holds the terminal.
func (p *Process) TakeMaster() int {
	if p.pty == nil {
		return -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := p.pty.ptm
	p.pty.ptm = -1
	return fd
}

// Resize sets the window size of the pty; the kernel tells the foreground process
// group with SIGWINCH if it is another one. It returns os.ErrProcessDone after
// Wait, and ENOTTY without a pty.
func (p *Process) Resize(size unix.Winsize) error {
	if p.pty == nil {
		return unix.ENOTTY
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pty.pts < 0 {
		return os.ErrProcessDone
	}
	return unix.IoctlSetWinsize(p.pty.pts, unix.TIOCSWINSZ, &size)
}

// Wait waits until the program has ended and returns how. It may be called any
// number of times, also at once; all calls return the same. While it
// waits it holds a goroutine, but no thread and no timer.
//
// With the end of Wait the Process gives its descriptors back, among them a pty
// master that nobody has taken. Other processes may live on in the session.
//
// The error is not nil only if the status is lost because somebody
// else has reaped the child.
func (p *Process) Wait() (ExitStatus, error) {
	p.wait.Do(func() {
		p.err = p.await()
		p.release()
	})
	return p.child.status, p.err
}

// await blocks until the child has ended and is reaped.
func (p *Process) await() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	polled := conn.Read(func(uintptr) (done bool) {
		done, result = p.child.reap()
		return done
	})
	if polled != nil {
		// The poller could not take the descriptor, for instance because of
		// fs.epoll.max_user_watches. Then it costs a thread.
		result = p.child.await()
	}
	return os.NewSyscallError("waitid", result)
}

func (p *Process) release() {
	_ = p.file.Close() // a pidfd has nothing to lose
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pty != nil {
		p.pty.close()
		p.pty.ptm, p.pty.pts = -1, -1
	}
}
