//go:build linux

package spawnsock

import (
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PeerCred returns the process, user and group at the other end of c, as the
// kernel knows them, SO_PEERCRED in unix(7). They are those of the moment when
// the peer connected; the process may be gone, or have changed its user.
func PeerCred(c *net.UnixConn) (Cred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Cred{}, err
	}
	var cred Cred
	err = control(raw, func(fd int) error {
		u, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return os.NewSyscallError("getsockopt SO_PEERCRED", err)
		}
		cred = Cred{PID: int(u.Pid), UID: u.Uid, GID: u.Gid}
		return nil
	})
	return cred, err
}

// PeerGroups returns the supplementary groups that the peer had when it
// connected, SO_PEERGROUPS in unix(7). The list may be empty, and may or may
// not contain the primary group, which PeerCred tells.
func PeerGroups(c *net.UnixConn) ([]uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var groups []uint32
	err = control(raw, func(fd int) (err error) {
		groups, err = peerGroups(fd)
		return os.NewSyscallError("getsockopt SO_PEERGROUPS", err)
	})
	return groups, err
}

// peerGroups asks with room for as many groups as most people have. The kernel
// answers ERANGE and the true size if that is too little.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno != unix.ERANGE || int(size/4) <= len(groups):
			return nil, errno
		}
		groups = make([]uint32, size/4)
	}
}
