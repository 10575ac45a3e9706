//go:build linux && (amd64 || arm64)

package ptyexec

import (
	"errors"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// pty is a pair of descriptors: the pty master and its subsidiary.
type pty struct {
	ptm, pts int
	number   int // of /dev/pts/number
}

// openPty allocates a pty that belongs to uid, with size and settings in place.
//
// The subsidiary is opened through the master and not by its name, which in
// another mount namespace may mean something else. O_NOCTTY, because
// this process must not get a controlling terminal by accident.
func openPty(t *Terminal, uid int) (p *pty, err error) {
	p = &pty{ptm: -1, pts: -1}
	defer func() {
		if err != nil {
			p.close()
			p, err = nil, &StartError{Op: "open pty", Err: errnoOf(err)}
		}
	}()
	p.ptm, err = openMaster("/dev/ptmx")
	if err != nil {
		// In a container it may be missing, or be of no use, beside a devpts that works.
		if ptm, again := openMaster("/dev/pts/ptmx"); again == nil {
			p.ptm, err = ptm, nil
		}
	}
	if err != nil {
		return p, err
	}
	p.number, err = unix.IoctlGetInt(p.ptm, unix.TIOCGPTN)
	if err != nil {
		return p, err
	}
	p.pts, err = openPeer(p.ptm)
	if err != nil {
		return p, err
	}
	if err = setOwner(p.pts, uid, t.Group); err != nil {
		return p, err
	}
	return p, setTerminal(p.pts, t)
}

// openMaster opens a master and unlocks its subsidiary, as unlockpt(3) does.
func openMaster(name string) (int, error) {
	ptm, err := open(name)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(ptm, unix.TIOCSPTLCK, 0); err != nil {
		closeFD(ptm)
		return -1, err
	}
	return ptm, nil
}

func (p *pty) close() {
	closeFD(p.pts)
	closeFD(p.ptm)
}

// open opens name for reading and writing, above the standard descriptors.
func open(name string) (int, error) {
	for {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			return aboveStdio(fd)
		}
		if err != unix.EINTR {
			return -1, err
		}
	}
}

// openPeer opens the subsidiary that belongs to the master ptm.
func openPeer(ptm int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(ptm), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return aboveStdio(int(fd))
}

// aboveStdio returns fd, or a duplicate of it that is 3 or above, and then closes
// fd. In a process that runs with some of 0 to 2 closed a new descriptor may
// take their place, and what is printed would go there.
func aboveStdio(fd int) (int, error) {
	if fd > 2 {
		return fd, nil
	}
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	closeFD(fd)
	if err != nil {
		return -1, err
	}
	return up, nil
}

// setOwner gives the terminal to uid, with group and mode as grantpt(3) would.
// Without the right to set the group, or without knowing it, only the owner can
// write to the terminal, unless devpts was mounted with other settings.
func setOwner(pts, uid int, group uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(pts, &st); err != nil {
		return err
	}
	gid, mode := st.Gid, st.Mode&0o777
	if group != 0 {
		gid, mode = group, 0o620
	}
	if int(st.Uid) != uid || st.Gid != gid {
		err := unix.Fchown(pts, uid, int(gid))
		if err == unix.EPERM || err == unix.EINVAL {
			// Not our group to give, or this user namespace has no such group.
			// Then it must have no rights.
			mode = 0o600
			err = unix.Fchown(pts, uid, -1)
		}
		if err != nil {
			return err
		}
	}
	if st.Mode&0o777 == mode {
		return nil
	}
	return unix.Fchmod(pts, mode)
}

// setTerminal sets settings and size before any program could see others.
func setTerminal(pts int, t *Terminal) error {
	settings := t.Settings
	if settings == nil {
		defaults, err := unix.IoctlGetTermios(pts, unix.TCGETS)
		if err != nil {
			return err
		}
		defaults.Iflag |= unix.IUTF8
		settings = defaults
	}
	if err := unix.IoctlSetTermios(pts, unix.TCSETS, settings); err != nil {
		return err
	}
	if t.Size == (unix.Winsize{}) {
		return nil // as it is already
	}
	return unix.IoctlSetWinsize(pts, unix.TIOCSWINSZ, &t.Size)
}

// ttyName returns the name of the pty subsidiary in its own devpts.
func (p *pty) ttyName() string { return "/dev/pts/" + strconv.Itoa(p.number) }

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // Linux releases the descriptor in any case
	}
}

// errnoOf returns the error number in err.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EINVAL
}
