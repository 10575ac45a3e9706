package tty

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Master is the master side of a pty that belongs to the client, whether it
// came from the daemon or was made here.
type Master struct{ FD int }

// NewPair makes a pty for the old dialect, in which the client does. The caller
// closes both. The subsidiary comes from the master itself (TIOCGPTPEER,
// ioctl_tty(2)), so it is the right one in any mount namespace.
func NewPair() (m Master, subsidiary int, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Master{}, 0, err
	}
	var unlock int32
	if err = ioctl(fd, unix.TIOCSPTLCK, unsafe.Pointer(&unlock)); err == nil {
		subsidiary, err = openSubsidiary(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return Master{FD: fd}, subsidiary, err
}

func openSubsidiary(master int) (int, error) {
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if e != 0 {
		return 0, e
	}
	return int(fd), nil
}

// Configure sets size and settings on a pty that no program runs on yet.
// Settings are the kernel's struct termios2; without any, IUTF8 is added to
// what the kernel starts with.
func (m Master) Configure(ws unix.Winsize, settings []byte) {
	m.Resize(ws)
	var s unix.Termios
	if len(settings) == int(unsafe.Sizeof(s)) {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s)), settings)
	} else if ioctl(m.FD, unix.TCGETS2, unsafe.Pointer(&s)) == nil {
		s.Iflag |= unix.IUTF8
	}
	_ = ioctl(m.FD, unix.TCSETS2, unsafe.Pointer(&s)) // the kernel's defaults stand
}

// EndOfInput is what ends the input of a program that reads lines, or nil if it
// reads raw bytes: there is no end of file on a terminal then.
func (m Master) EndOfInput() []byte {
	var s unix.Termios
	if ioctl(m.FD, unix.TCGETS2, unsafe.Pointer(&s)) != nil || s.Lflag&unix.ICANON == 0 {
		return nil
	}
	return []byte{s.Cc[unix.VEOF]}
}

// Resize sets the window size. The kernel sends SIGWINCH to the foreground
// process group if it changed.
func (m Master) Resize(ws unix.Winsize) {
	_ = ioctl(m.FD, unix.TIOCSWINSZ, unsafe.Pointer(&ws)) // a pty that has ended has no size
}
