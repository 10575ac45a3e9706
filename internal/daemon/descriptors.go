package daemon

import (
	"bytes"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"shellspawn/internal/wire"
)

// noDescriptors refuses those that came where none belong.
func (cn *conn) noDescriptors() error {
	fds := cn.reader.TakeDescriptors()
	interruptibly(func() { wire.CloseAll(fds) })
	return cn.judge(fds, nil)
}

// judge compares the descriptors that came with those announced. More, fewer, or
// one that no program can use as a stream is an attack or a bug. They are
// all closed by the caller, whatever the judgement.
func (cn *conn) judge(fds []int, announced []byte) error {
	if len(fds) != len(announced) {
		return refuse("descriptors", "request: the descriptors are not those announced", "")
	}
	for i, fd := range fds {
		if cause := cn.useless(fd); cause != "" {
			name := [...]string{"stdin", "stdout", "stderr"}[announced[i]]
			return refuse("descriptors", name+": "+cause, "")
		}
	}
	return nil
}

// useless says why fd cannot be a stream of a program, or nothing.
//
// A connection to this daemon must not be one: the program would itself hold the end
// by which the daemon learns that the client is gone.
func (cn *conn) useless(fd int) string {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err.Error()
	}
	if flags&unix.O_PATH != 0 {
		return "opened with O_PATH: " + syscall.EBADF.Error()
	}
	mode, err := fileType(fd)
	switch {
	case err != nil:
		return err.Error()
	case mode == unix.S_IFDIR:
		return syscall.EISDIR.Error()
	case mode == unix.S_IFSOCK && cn.isOurs(fd):
		return "a socket of this daemon"
	}
	return ""
}

// fileType asks for nothing that is not known already: the file may lie on a file
// system of the client's that does not answer.
func fileType(fd int) (uint16, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st)
	if err == unix.EPERM || err == unix.ENOSYS {
		// A filter for system calls that is older than this one. fstat(2) may wait.
		var old unix.Stat_t
		err = unix.Fstat(fd, &old)
		return uint16(old.Mode & unix.S_IFMT), err
	}
	return st.Mode & unix.S_IFMT, err
}

// isOurs reports whether a socket listens under the name under which this connection
// was accepted, or is connected to that name.
func (cn *conn) isOurs(fd int) bool {
	var ours string
	if cn.raw.Control(func(own uintptr) { ours = socketName(unix.SYS_GETSOCKNAME, int(own)) }) != nil {
		return false
	}
	return ours != "" && (ours == socketName(unix.SYS_GETSOCKNAME, fd) || ours == socketName(unix.SYS_GETPEERNAME, fd))
}

// socketName is the name of a Unix socket, or of its peer; it is empty for one
// that has none and for other sockets. Package unix would make up names for
// some that have none.
func socketName(call uintptr, fd int) string {
	var address unix.RawSockaddrUnix
	size := uint32(unsafe.Sizeof(address))
	_, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&size)))
	header := uint32(unsafe.Sizeof(address.Family))
	if errno != 0 || address.Family != unix.AF_UNIX || size <= header || size > uint32(unsafe.Sizeof(address)) {
		return ""
	}
	path := unsafe.Slice((*byte)(unsafe.Pointer(&address.Path)), len(address.Path))[:size-header]
	if path[0] != 0 { // not an abstract name, which ends where its length says
		path, _, _ = bytes.Cut(path, []byte{0})
	}
	return string(path)
}
