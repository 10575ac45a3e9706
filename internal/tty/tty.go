// Package tty is the caller's own terminal: its size, its settings, raw mode
// and the way back.
//
// The rules, for everybody who touches the terminal of the user:
//
//   - Raw mode is set after the daemon has accepted the request, never before.
//   - Only a process of the foreground process group changes settings. One in
//     the background leaves them alone, also when it ends.
//   - Whoever set raw mode restores what was there before, on every way out.
//     Restore may be called at any time, from any goroutine, more than once.
//   - Output processing stays on unless our own output goes to this terminal:
//     another program's lines must not become stairs.
//   - No flag of a descriptor is changed. O_NONBLOCK belongs to the open file
//     description, which the user's shell shares with us.
package tty

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Terminal is one of the descriptors that the caller was given, known to be a
// terminal. It does not own the descriptor.
type Terminal struct {
	fd int

	mu    sync.Mutex
	saved unix.Termios // as before raw mode
	set   unix.Termios // as raw mode was set
	raw   bool
	over  bool // Release has been called
}

// Open reads the settings of the terminal at fd, or answers nil if fd is no
// terminal.
func Open(fd int) *Terminal {
	t := &Terminal{fd: fd}
	if ioctl(fd, unix.TCGETS2, unsafe.Pointer(&t.saved)) != nil {
		return nil
	}
	return t
}

// Settings are the settings before raw mode, as the kernel's struct termios2.
func (t *Terminal) Settings() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := unsafe.Slice((*byte)(unsafe.Pointer(&t.saved)), unsafe.Sizeof(t.saved))
	return append([]byte(nil), b...)
}

// Size is the window size, all four fields; all 0 if it cannot be read.
func (t *Terminal) Size() (ws unix.Winsize) {
	_ = ioctl(t.fd, unix.TIOCGWINSZ, unsafe.Pointer(&ws)) // a terminal without a size has 0x0
	return ws
}

// Foreground reports whether the calling process belongs to the foreground
// process group. It is true for a terminal that is not our controlling
// terminal: job control does not apply there.
func (t *Terminal) Foreground() bool {
	var group int32
	if ioctl(t.fd, unix.TIOCGPGRP, unsafe.Pointer(&group)) != nil {
		return true
	}
	return int(group) == unix.Getpgrp()
}

// Raw sets raw mode if we are in the foreground. It may be called again, after
// a stop above all: if the settings are no longer the ones it set, then what is
// there now is what Restore will bring back. With keepOutput output processing
// stays on. In the background it only forgets that raw mode was ours.
func (t *Terminal) Raw(keepOutput bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || !t.Foreground() {
		t.raw = false
		return
	}
	var now unix.Termios
	if ioctl(t.fd, unix.TCGETS2, unsafe.Pointer(&now)) != nil || t.raw && now == t.set {
		return
	}
	t.saved, t.set = now, rawSettings(now, keepOutput)
	t.raw = ioctl(t.fd, unix.TCSETS2, unsafe.Pointer(&t.set)) == nil
	// The driver may have adjusted a field; the comparison above is with what it kept.
	_ = ioctl(t.fd, unix.TCGETS2, unsafe.Pointer(&t.set))
}

// Restore sets the settings from before raw mode, at once: waiting for output
// to drain would hang on a terminal that the user has stopped.
func (t *Terminal) Restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restore()
}

// Release restores for good: Raw does nothing from then on, whoever calls it.
func (t *Terminal) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restore()
	t.over = true
}

// restore is called with the mutex held.
func (t *Terminal) restore() {
	if t.raw && t.Foreground() {
		_ = ioctl(t.fd, unix.TCSETS2, unsafe.Pointer(&t.saved)) // the terminal may be gone
	}
	t.raw = false
}

// IsRaw reports whether raw mode is on by our doing.
func (t *Terminal) IsRaw() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raw
}

// rawSettings follows cfmakeraw(3).
func rawSettings(s unix.Termios, keepOutput bool) unix.Termios {
	s.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP |
		unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	if !keepOutput {
		s.Oflag &^= unix.OPOST
	}
	s.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	s.Cflag &^= unix.CSIZE | unix.PARENB
	s.Cflag |= unix.CS8
	s.Cc[unix.VMIN], s.Cc[unix.VTIME] = 1, 0
	return s
}

// ioctl passes a pointer, which unix.IoctlSetInt and its like cannot.
func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		if e == 0 {
			return nil
		}
		if e != unix.EINTR {
			return e
		}
	}
}
