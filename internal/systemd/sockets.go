package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is the number of the first descriptor that is passed, by definition.
const firstFD = 3

// Socket is one socket that was open when the process started.
type Socket struct {
	File *os.File
	Name string // FileDescriptorName= of the socket unit; "unknown" if none was given

	// Connected tells the one connection of Accept=yes from a listening socket.
	Connected bool
}

// Sockets returns the sockets that were passed to this process, in order; none
// and no error if there are none, or if they were meant for another process. Call
// it once. The caller closes the files; they are close-on-exec, and otherwise as
// they were passed.
//
// Anything but Unix stream sockets, listening or connected, is an error that
// names the descriptor and says what it is: a unit that passes something else is
// wrong and must not seem to work. After an error the descriptors are still
// open, since a count that is too high may have led to descriptors that belong
// to somebody else in this process.
func Sockets() ([]Socket, error) { return process.sockets() }

func (e edge) sockets() ([]Socket, error) {
	count, err := e.listenFDs()
	if err != nil || count == 0 {
		return nil, err
	}
	names, err := e.listenNames(count)
	if err != nil {
		return nil, err
	}
	connected := make([]bool, count)
	for i := range count {
		// Close-on-exec comes first, so that even a refused descriptor reaches no
		// child.
		if _, err := unix.FcntlInt(uintptr(firstFD+i), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("passed descriptor %d (%s): %w", firstFD+i, names[i], err)
		}
		if connected[i], err = inspect(firstFD + i); err != nil {
			return nil, fmt.Errorf("passed descriptor %d (%s): %w", firstFD+i, names[i], err)
		}
	}
	sockets := make([]Socket, count)
	for i, name := range names {
		sockets[i] = Socket{os.NewFile(uintptr(firstFD+i), name), name, connected[i]}
	}
	return sockets, nil
}

// maxFDs is more sockets than any unit has. It keeps a nonsensical count from
// being believed.
const maxFDs = 1024

// listenFDs returns how many descriptors were passed to this very process.
func (e edge) listenFDs() (int, error) {
	pid, fds := e.getenv("LISTEN_PID"), e.getenv("LISTEN_FDS")
	if pid == "" || fds == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(pid); err != nil || n <= 0 {
		return 0, fmt.Errorf("LISTEN_PID %q: not a process id", pid)
	} else if n != e.getpid() {
		return 0, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > maxFDs {
		return 0, fmt.Errorf("LISTEN_FDS %q: not a number of descriptors", fds)
	}
	return n, nil
}

// listenNames returns one name for each descriptor.
func (e edge) listenNames(count int) ([]string, error) {
	text := e.getenv("LISTEN_FDNAMES")
	if text == "" {
		return strings.Split(strings.Repeat(":unknown", count)[1:], ":"), nil
	}
	names := strings.Split(text, ":")
	if len(names) != count {
		return nil, fmt.Errorf("LISTEN_FDNAMES %q: %d names for %d descriptors", text, len(names), count)
	}
	return names, nil
}

// inspect reports whether a descriptor is a connected Unix stream socket (true)
// or a listening one (false); the error says what else it is.
func inspect(fd int) (connected bool, err error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == unix.ENOTSOCK {
		return false, fmt.Errorf("not a socket")
	}
	if err != nil {
		return false, os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	if domain != unix.AF_UNIX {
		return false, fmt.Errorf("not a Unix socket (address family %d)", domain)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false, os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	if kind != unix.SOCK_STREAM {
		return false, fmt.Errorf("a %s socket, not a stream socket", kindName(kind))
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return false, os.NewSyscallError("getsockopt SO_ACCEPTCONN", err)
	}
	if listening != 0 {
		return false, nil
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return false, fmt.Errorf("a socket that is neither listening nor connected")
	}
	return true, nil
}

// kindName names a socket type as the settings of a socket unit do.
func kindName(kind int) string {
	switch kind {
	case unix.SOCK_DGRAM:
		return "datagram"
	case unix.SOCK_SEQPACKET:
		return "sequential-packet"
	}
	return fmt.Sprintf("type %d", kind)
}
