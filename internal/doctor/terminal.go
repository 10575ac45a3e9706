package doctor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ptys looks how many terminals there can be.
func (p *patient) ptys() Finding {
	const check = "ptys"
	most, err := readNumber("/proc/sys/kernel/pty/max")
	if err != nil {
		return fail(check, err.Error(), "mount /proc")
	}
	used, err := readNumber("/proc/sys/kernel/pty/nr")
	if err != nil {
		return fail(check, err.Error(), "mount /proc")
	}
	f := p.enough(check, most-used, 1, fmt.Sprintf("kernel.pty.max is %d, %d in use; left", most, used),
		fmt.Sprintf("'sysctl -w kernel.pty.max=%d' for that many with a terminal", used+int64(p.shells)))
	if here, ok := mountMax(); ok && here < most-used {
		f = p.enough(check, here, 1, "the devpts at /dev/pts is mounted with max=; left",
			"remount it with a larger one for that many with a terminal")
	}
	return f
}

// mountMax returns how many terminals are left of those that the mount of devpts
// allows, if it says so; see mount(8). What is not there limits nothing.
func mountMax() (left int64, ok bool) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	names, _ := os.ReadDir("/dev/pts")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 7 || f[4] != "/dev/pts" {
			continue
		}
		ok = false // a later mount hides this one
		for option := range strings.SplitSeq(f[len(f)-1], ",") {
			if text, found := strings.CutPrefix(option, "max="); found {
				most, err := number(text)
				left, ok = most-int64(len(names))+1, err == nil // ptmx is no terminal
			}
		}
	}
	return left, ok
}

// devpts opens a terminal the way the daemon does, and gives it back.
func (p *patient) devpts() Finding {
	const check = "devpts"
	from := "/dev/ptmx"
	ptm, err := openMaster(from)
	if err != nil {
		// The daemon tries this one, too.
		if again, failed := openMaster("/dev/pts/ptmx"); failed == nil {
			from, ptm, err = "/dev/pts/ptmx", again, nil
		}
	}
	if err != nil {
		return fail(check, from+": "+err.Error(), "mount devpts on /dev/pts, and link or bind its ptmx to /dev/ptmx")
	}
	defer unix.Close(ptm)
	number, err := unix.IoctlGetInt(ptm, unix.TIOCGPTN)
	if err != nil {
		return fail(check, "TIOCGPTN: "+err.Error(), "")
	}
	// The name must lead to the terminal that was opened: in a container /dev/ptmx
	// may be that of another devpts.
	name := fmt.Sprintf("/dev/pts/%d", number)
	pts, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(check, name+", which "+from+" has just made: "+err.Error(), "mount devpts on /dev/pts, and link or bind its ptmx to /dev/ptmx")
	}
	defer pts.Close() // nothing was written
	peer, err := unix.IoctlGetInt(int(pts.Fd()), unix.TIOCGPTN)
	if err == nil && peer == number {
		return fail(check, name+" is a master", "mount devpts on /dev/pts")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(pts.Fd()), &st); err != nil {
		return fail(check, name+": "+err.Error(), "")
	}
	if st.Mode&0o007 != 0 {
		return warn(check, fmt.Sprintf("%s has mode %04o: others may write to it until the daemon changes that", name, st.Mode&0o7777),
			"mount devpts with mode=0620,gid=tty")
	}
	return fine(check, "%s opened, mode %04o, gid %d", name, st.Mode&0o7777, st.Gid)
}

// openMaster opens a pty and unlocks it, as unlockpt(3) does.
func openMaster(name string) (int, error) {
	ptm, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(ptm, unix.TIOCSPTLCK, 0); err != nil {
		_ = unix.Close(ptm) // nothing was written
		return -1, err
	}
	return ptm, nil
}
