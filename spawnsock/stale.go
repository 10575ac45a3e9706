//go:build linux

package spawnsock

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// clearStale removes a socket file on which nobody listens, and fails if there
// is any other file. The caller has the lock, so none of us is between its bind
// and its listen.
func clearStale(p *place) error {
	id, err := refused(p)
	if err != nil || id == (fileID{}) {
		return err
	}
	return os.NewSyscallError("unlink", p.remove(id))
}

// refused returns the identity of the socket file at p if a connection to it is
// refused, and none if there is no file. A listener that answers, or one with
// a full queue, or a socket of another type is an *InUseError.
func refused(p *place) (id fileID, err error) {
	file, err := unix.Openat(p.dir, p.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return id, nil
	}
	if err != nil {
		return id, os.NewSyscallError("open", err)
	}
	defer unix.Close(file) // until then its inode number is not used again
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return id, os.NewSyscallError("fstat", err)
	}
	if st.Nlink == 0 {
		return id, nil // being removed; the name is about to go
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return id, errors.New("file exists and is not a socket")
	}
	switch pid, err := probe(file); err {
	case unix.ECONNREFUSED:
		return idOf(&st), nil
	case nil, unix.EAGAIN, unix.EPROTOTYPE:
		return id, &InUseError{PID: pid}
	default:
		return id, fmt.Errorf("probe: %w", err)
	}
}

// probe connects to the opened socket file, without waiting, and returns the
// pid of the listener if it could be told.
func probe(file int) (pid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	name := "/proc/self/fd/" + strconv.Itoa(file)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return 0, err
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, nil // connected all the same
	}
	return int(cred.Pid), nil
}

// listenerPID is the pid of whoever listens at p, or 0.
func listenerPID(p *place) int {
	var in *InUseError
	if _, err := refused(p); errors.As(err, &in) {
		return in.PID
	}
	return 0
}
