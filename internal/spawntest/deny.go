package spawntest

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Deny has the kernel answer the system call nr with errno, in this process from now on
// and in all that come from it, as the filter of a container does; see seccomp(2).
func Deny(nr uintptr, errno syscall.Errno) error {
	// The one who asks for the filter must be the one who has given up new privileges.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("no_new_privs", err)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Raw, as the runtime may use the time of another call to make a thread, and the C library
	// of this process takes only ENOSYS for an answer when it does that.
	_, _, failed := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if failed != 0 {
		return os.NewSyscallError("seccomp", failed)
	}
	return nil
}

// denied denies a system call, then becomes another program.
func denied(args []string) int {
	nr, err := strconv.Atoi(args[0])
	if err != nil {
		return fail(err)
	}
	errno, err := strconv.Atoi(args[1])
	if err != nil {
		return fail(err)
	}
	env := os.Environ()
	if err := Deny(uintptr(nr), syscall.Errno(errno)); err != nil {
		return fail(err)
	}
	return fail(syscall.Exec(args[2], args[2:], env))
}
