//go:build linux

package spawnsock_test

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From <linux/seccomp.h>, seccomp(2) and seccomp_unotify(2).
const (
	seccompSetModeFilter  = 1
	seccompTsync          = 1 << 0
	seccompNewListener    = 1 << 3
	seccompTsyncEsrch     = 1 << 4
	seccompRetAllow       = 0x7fff0000
	seccompRetUserNotif   = 0x7fc00000
	seccompNotifRecv      = 0xc0502100
	seccompNotifSend      = 0xc0182101
	seccompContinue       = 1
	seccompDataOffsetOfNr = 0
)

type notification struct {
	id         uint64
	pid, flags uint32
	data       [64]byte
}

type verdict struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// supervise has the kernel ask us about every call of the system call nr in this
// process. The answers are the errors of plan in their order, where 0 stands
// for the true answer, which all later calls get, too.
func supervise(nr uint32, plan []unix.Errno) error {
	// Some calls keep their processor of the scheduler, and the answer needs another one.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	listener := make(chan error, 1)
	// This thread is not supervised by itself: it never makes that call.
	go func() {
		runtime.LockOSThread()
		fd, err := installFilter(nr)
		listener <- err
		for err == nil {
			var n notification
			err = ioctl(fd, seccompNotifRecv, unsafe.Pointer(&n))
			if err == nil {
				v := verdict{id: n.id, flags: seccompContinue}
				if len(plan) > 0 && plan[0] != 0 {
					v = verdict{id: n.id, errno: -int32(plan[0])}
				}
				err = ioctl(fd, seccompNotifSend, unsafe.Pointer(&v))
			}
			switch {
			case errors.Is(err, unix.ENOENT):
				err = nil // a signal interrupted the call, which comes again
			case err == nil && len(plan) > 0:
				plan = plan[1:]
			}
		}
		fmt.Println("error:", err)
	}()
	return <-listener
}

// installFilter filters all threads and returns the notification descriptor.
func installFilter(nr uint32) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("no_new_privs: %w", err)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: seccompDataOffsetOfNr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: seccompRetUserNotif},
		{Code: unix.BPF_RET | unix.BPF_K, K: seccompRetAllow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, seccompSetModeFilter,
		seccompTsync|seccompTsyncEsrch|seccompNewListener, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return fmt.Errorf("seccomp notification: %w", errno)
		}
	}
}
